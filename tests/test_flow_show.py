"""Pictures, the page, the command and the monitor of `unrolled.flow`."""

from __future__ import annotations

import csv
import importlib.util
import re
import struct
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
import unrolled as ur
from hypothesis import given, settings
from hypothesis import strategies as st
from support import VARIANTS, make, normal, same
from tolerances import TOLERANCES
from unrolled import flow
from unrolled.flow import _monitor, _plots
from unrolled.flow import _words as words
from unrolled.flow._report import findings as rules
from unrolled.flow._report import measure, page
from unrolled.flow._sample import CHUNK, Sequences, cells


@pytest.fixture(autouse=True)
def _figures() -> Any:
    yield
    plt.close("all")


def line(ax: Any, gid: str, index: int = 0) -> Any:
    """What a line with that name shows."""
    found = [each for each in ax.get_lines() if each.get_gid() == gid]
    return found[index]


def said(ax: Any) -> str:
    """Every text of an axes: title, labels, legend."""
    legend = ax.get_legend()
    names = [text.get_text() for text in legend.get_texts()] if legend else []
    return " | ".join([ax.get_title(loc="left"), ax.get_xlabel(), ax.get_ylabel(), *names])


# Pictures


def test_power_curves() -> None:
    normal_one, other = np.diag([0.9, 0.4]), np.array([[0.9, 5.0], [0.0, 0.8]])
    curves = {"normal": flow.matrix_power_curve(normal_one, 30)}
    ax = flow.plot_power_curve(curves)
    assert ax.get_yscale() == "log"
    assert ax.figure.axes == [ax]
    again = flow.plot_power_curve({"other": flow.matrix_power_curve(other, 30)}, ax)
    assert again is ax
    for index, m in enumerate((normal_one, other)):
        powers = [np.linalg.norm(np.linalg.matrix_power(m, n), 2) for n in range(31)]
        np.testing.assert_allclose(
            line(ax, "norms", index).get_ydata(), powers, rtol=TOLERANCES["reordered"]
        )
        np.testing.assert_allclose(
            line(ax, "radius", index).get_ydata(),
            0.9 ** np.arange(31),
            rtol=TOLERANCES["reordered"],
        )
    assert line(ax, "norms", 0).get_color() != line(ax, "norms", 1).get_color()
    assert line(ax, "radius", 1).get_color() == line(ax, "norms", 1).get_color()
    assert "ρ = 0.9" in said(ax)
    assert "normal" in said(ax)
    assert ax.get_ylim()[1] > 10, "the growth before the decay is in the picture"


def test_power_curve_of_nothing_and_of_too_much() -> None:
    nilpotent = flow.plot_power_curve(flow.matrix_power_curve(np.array([[0.0, 1.0], [0, 0]]), 5))
    np.testing.assert_array_equal(
        line(nilpotent, "norms").get_ydata(), [1, 1, np.nan, np.nan, np.nan, np.nan]
    )
    huge = flow.plot_power_curve(flow.matrix_power_curve(np.array([[1e120]]), 3))
    np.testing.assert_allclose(line(huge, "radius").get_ydata(), [1, 1e120, 1e240, np.nan])


def gradients(norms: Any) -> flow.LagGradients:
    """A result as if measured: terms that point one way."""
    norms = np.asarray(norms, np.float64)
    t, k = np.indices(norms.shape)
    by_lag = np.array([norms[abs(t - k) == lag].sum() for lag in range(len(norms))])
    return flow.LagGradients("weight_hh_l0", norms, by_lag)


def test_triangle() -> None:
    norms = np.tril(10.0 ** -np.arange(36).reshape(6, 6)[::-1, ::-1])
    ax = flow.plot_triangle(gradients(norms), decades=8)
    (mesh,) = ax.collections
    drawn = mesh.get_array()
    assert drawn.shape == (6, 6)
    t, k = np.indices((6, 6))
    np.testing.assert_array_equal(np.ma.getmaskarray(drawn), k > t)
    np.testing.assert_array_equal(drawn.compressed(), norms[k <= t])
    assert (mesh.norm.vmin, mesh.norm.vmax) == (pytest.approx(1e-8 * norms.max()), norms.max())
    assert isinstance(mesh.norm, matplotlib.colors.LogNorm)
    assert ax.get_xlabel().endswith("k")
    assert ax.get_ylabel().endswith("t")
    # The cell of loss t and use k lies around that point.
    corners = mesh.get_coordinates()
    np.testing.assert_array_equal(corners[2, 3], [2.5, 1.5])


def test_triangle_with_few_losses() -> None:
    norms = np.zeros((9, 9))
    norms[2, :3], norms[8, :9] = 1.0, 2.0
    ax = flow.plot_triangle(gradients(norms))
    (mesh,) = ax.collections
    assert mesh.get_array().shape == (2, 9)
    assert mesh.get_coordinates()[:, 0, 1].tolist() == [-1.0, 5.0, 11.0], "half-way between"
    assert ax.get_yticks().tolist() == [2, 8]
    silent = flow.plot_triangle(gradients(np.zeros((3, 3))))
    assert "every term is zero" in silent.texts[0].get_text()


def fake_bounds(rnn: bool = True) -> Any:
    lags = np.arange(4)
    return SimpleNamespace(
        measured=np.stack([0.3**lags, 0.5**lags], axis=1),
        jacobians=np.stack([0.6**lags, 0.7**lags], axis=1),
        per_step=np.stack([0.8**lags] * 2, axis=1) if rnn else None,
        uniform=0.9**lags if rnn else None,
    )


def test_by_lag() -> None:
    norms = np.tril(0.5 ** np.abs(np.subtract.outer(np.arange(5), np.arange(5))))
    result = gradients(norms)
    ax = flow.plot_by_lag(result)
    shares = result.by_lag / result.by_lag.sum()
    np.testing.assert_allclose(line(ax, "shares").get_ydata(), shares)
    assert ax.get_yscale() == "log"
    assert ax.get_legend() is None
    bounds = fake_bounds()
    ax = flow.plot_by_lag(result, bounds=bounds)
    expected = [bounds.jacobians.mean(1), bounds.per_step.mean(1), bounds.uniform]
    for index, values in enumerate(expected):
        np.testing.assert_allclose(line(ax, "bound", index).get_ydata(), shares[0] * values)
    assert len([each for each in ax.get_lines() if each.get_gid() == "bound"]) == 3
    gated = flow.plot_by_lag(result, bounds=fake_bounds(rnn=False))
    assert len([each for each in gated.get_lines() if each.get_gid() == "bound"]) == 1


def test_bounds_singular_values_and_exponents() -> None:
    ax = flow.plot_bounds(fake_bounds())
    np.testing.assert_allclose(line(ax, "measured").get_ydata(), fake_bounds().measured.mean(1))
    assert all(word in said(ax) for word in ("measured", "‖diag σ′‖‖W‖", "γ‖W‖"))

    values = np.sort(np.random.default_rng(0).random((5, 3, 4)), axis=-1)[..., ::-1]
    values[4, :, 3] = 1e-30
    ax = flow.plot_singular_values(values)
    middle = np.median(values, axis=1)
    np.testing.assert_allclose(line(ax, "largest").get_ydata(), middle[:, 0])
    np.testing.assert_allclose(line(ax, "median").get_ydata(), middle[:, 2])
    np.testing.assert_allclose(line(ax, "smallest").get_ydata(), [*middle[:4, 3], np.nan])
    assert len([each for each in ax.get_lines() if each.get_gid() == "value"]) == 4
    with pytest.raises(ValueError, match=r"values: expected shape \(L\+1, B, S\).*got \(3,\)"):
        flow.plot_singular_values(np.ones(3))

    exponents = np.array([[0.1, -0.2, -0.3], [0.3, -0.1, -0.5]])
    ax = flow.plot_lyapunov(exponents)
    np.testing.assert_allclose(line(ax, "mean").get_ydata(), exponents.mean(0))
    np.testing.assert_allclose(line(ax, "row", 1).get_ydata(), exponents[1])
    running = np.linspace(exponents * 2, exponents, 50)
    ax = flow.plot_lyapunov((exponents, running))
    np.testing.assert_allclose(line(ax, "running", 2).get_ydata(), running[:, :, 2].mean(1))
    assert line(ax, "running", 0).get_xdata()[-1] == 50
    assert ax.get_ylim()[0] < -0.5
    assert ax.get_ylim()[1] > 0.3
    long = np.repeat(running, 40, axis=0)
    ends = line(flow.plot_lyapunov((exponents, long)), "running").get_xdata()
    assert (len(ends), ends[-1]) == (400, 2000)


def test_gates() -> None:
    saturation = flow.GateSaturation(
        ("i", "f"),
        low=np.array([[0.1, 0.5], [0.2, 0.25]]),
        high=np.array([[0.0, 0.25], [0.0, 0.5]]),
        mean=np.array([[0.4, 0.45], [0.5, 0.55]]),
        labels=("input gate", "forget gate"),
        low_label=("share < 0.1",) * 2,
        high_label=("share > 0.9",) * 2,
        mean_label=("mean",) * 2,
    )
    ax = flow.plot_gates(saturation)
    assert ax.get_title(loc="left") == "forget gate"
    np.testing.assert_allclose(line(ax, "mean").get_ydata(), [0.45, 0.55])
    low, high = (
        next(each for each in ax.collections if each.get_gid() == gid) for gid in ("low", "high")
    )
    tops = {tuple(v) for v in low.get_paths()[0].vertices.tolist()}
    assert {(0.0, 0.5), (1.0, 0.25)} <= tops
    bottoms = {tuple(v) for v in high.get_paths()[0].vertices.tolist()}
    assert {(0.0, 0.75), (1.0, 0.5)} <= bottoms
    assert flow.plot_gates(saturation, gate="i").get_title(loc="left") == "input gate"
    with pytest.raises(ValueError, match="gate: expected one of i, f, got 'z'"):
        flow.plot_gates(saturation, gate="z")


def test_cell_path() -> None:
    direct = np.array([[[1.0, 1.0]], [[0.5, 0.1]], [[0.25, 0.0]]])
    full = np.zeros((3, 1, 2, 2))
    full[..., 0, 0], full[..., 1, 1] = direct[..., 0] * 2, -direct[..., 1]
    with np.errstate(invalid="ignore"):
        ratio = np.diagonal(full, axis1=-2, axis2=-1) / direct
    path = flow.CellPath(direct, full, ratio, np.array([[2.0, 4.0]]))
    ax = flow.plot_cell_path(path)
    np.testing.assert_allclose(line(ax, "direct").get_ydata(), [1.0, 0.3, 0.125])
    np.testing.assert_allclose(line(ax, "full").get_ydata(), [1.5, 0.55, 0.25])
    np.testing.assert_allclose(line(ax, "ratio").get_ydata(), [1.5, 1.5, 2.0])
    assert set(line(ax, "memory").get_xdata()) == {3.0}
    endless = replace(path, memory=np.array([[np.inf, np.inf]]))
    ax = flow.plot_cell_path(endless)
    assert not [each for each in ax.get_lines() if each.get_gid() == "memory"]


def test_axes_that_are_none_and_no_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TypeError, match="ax: expected matplotlib Axes, got int"):
        flow.plot_lyapunov(np.zeros(3), 3)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[flow\]'"):
        flow.plot_lyapunov(np.zeros(3))


def test_pictures_wait_until_they_are_wanted() -> None:
    code = "import sys, unrolled; print({'matplotlib', 'tensorboardX'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


# How saturated the gates are


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_saturation_is_counted_from_the_tape(variant: Any) -> None:
    net = make(variant, num_layers=2, bidirectional=True, batch_first=True)
    x = 8 * normal(4, 7, 3)
    lengths = [7, 3, 0, 5]
    _, _, tape = net.record(x, lengths=lengths)
    order = {"LSTM": "ifgo", "GRU": "rzn", "RNN": "h"}[variant.cell]
    if not variant.arguments.get("forget_gate", True):
        order = "igo"
    found = flow.gate_saturation(tape, 1, True)
    held = cells(tape.gates)[3]
    for index, name in enumerate(found.names):
        for t in range(7):
            values = np.abs(held[t, [b for b in range(4) if t < lengths[b]], order.index(name)])
            assert found.high[t, index] == pytest.approx(np.mean(values > 0.9))
            assert found.mean[t, index] == pytest.approx(np.mean(values, dtype=np.float64))
            low = values == 0 if variant.arguments.get("nonlinearity") == "relu" else values < 0.1
            assert found.low[t, index] == pytest.approx(np.mean(low))
    _, _, tape = net.record(x, lengths=[3, 3, 0, 1])
    assert np.isnan(flow.gate_saturation(tape).mean[3:]).all()
    assert np.isfinite(flow.gate_saturation(tape).overall(found.names[0])).all()
    with pytest.raises(ValueError, match="layer, reverse: expected one of"):
        flow.gate_saturation(tape, 2)


# Part of the data


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("bidirectional", [False, True])
def test_a_window_is_as_in_the_whole(variant: Any, bidirectional: bool, batch_first: bool) -> None:
    """Same states at every step of it, of every layer and direction."""
    net = make(
        variant, num_layers=2, bidirectional=bidirectional, batch_first=batch_first, dtype="float64"
    )
    steps, batch = 15, 4
    x = normal(steps, batch, 3, dtype="float64")
    resets = np.random.default_rng(1).random((steps, batch)) < 0.15
    resets[9] = True
    lengths = np.array([15, 9, 12, 15])
    _, initial = net(np.swapaxes(x, 0, 1) if batch_first else x)
    turned = [np.swapaxes(a, 0, 1) if batch_first else a for a in (x, resets)]
    _, _, whole = net.record(turned[0], initial, lengths=lengths, resets=turned[1])
    sequences = Sequences.of(net, turned[0], lengths, turned[1], initial)
    starts, stops = np.array([4, 0, 6, 9]), np.array([9, 9, 12, 11])
    window = sequences.window(starts, stops)
    _, part = window.record()
    quantities = ["hidden", "cell"] if variant.cell == "LSTM" else ["hidden"]
    for quantity in quantities:
        pairs = zip(cells(getattr(whole, quantity)), cells(getattr(part, quantity)), strict=True)
        for index, (all_of_it, some) in enumerate(pairs):
            if bidirectional and index >= 2:
                # The upper layer hears steps outside of the window through the lower.
                continue
            for row in range(batch):
                expected = all_of_it[starts[row] : stops[row], row]
                np.testing.assert_allclose(
                    some[: len(expected), row], expected, atol=TOLERANCES["reordered.small"]
                )
                assert not some[len(expected) :, row].any()


def test_states_of_long_data_come_in_pieces() -> None:
    net = ur.GRU(2, 3, dtype="float64", seed=0)
    x = normal(2 * CHUNK + 50, 2, 2, dtype="float64")
    sequences = Sequences.of(net, x)
    starts = np.array([CHUNK + 7, 2 * CHUNK + 30])
    window = sequences.window(starts, starts + 20)
    y, _ = net(x)
    part, _ = window.record()
    for row, start in enumerate(starts):
        np.testing.assert_allclose(
            part[:, row], y[start : start + 20, row], atol=TOLERANCES["reordered.small"]
        )


def test_the_longest_rows_and_episodes() -> None:
    net = ur.RNN(1, 1, seed=0)
    x = np.zeros((10, 5, 1), np.float32)
    resets = np.zeros((10, 5), np.bool_)
    resets[[3, 8], 0] = True
    resets[0, 1] = True
    sequences = Sequences.of(net, x, [10, 7, 2, 6, 10], resets)
    assert sequences.longest(2).tolist() == [0, 4]
    assert sequences.longest(4).tolist() == [0, 1, 3, 4]
    assert sequences.longest(5).tolist() == [0, 1, 3, 4], "half as long or shorter: left out"
    starts, stops = sequences.stretches()
    assert starts.tolist() == [3, 0, 0, 0, 0]
    assert stops.tolist() == [8, 7, 2, 6, 10]


# Sentences


def rate(low: float, high: float | None = None) -> dict[str, Any]:
    """Exponents, the same in all rows or from `low` to `high`."""
    high = low if high is None else high
    return {"exponent": (low + high) / 2, "exponent_low": low, "exponent_high": high}


def ends(lag: int, value: float) -> dict[str, Any]:
    """The transition's norm at the last lag."""
    return {
        "lag": lag,
        "transition": value,
        "transition_low": value,
        "transition_high": value,
    }


def ratios(low: float, low_lag: int, high: float, high_lag: int) -> dict[str, Any]:
    return {
        "cell": "LSTM",
        "ratio_low": low,
        "ratio_low_lag": low_lag,
        "ratio_high": high,
        "ratio_high_lag": high_lag,
        "ratio_lags": 63,
    }


SOUND = measure.Numbers("RNN", steps=100, span=100, gradient=1.0)


@pytest.mark.parametrize(
    ("changed", "expected", "names"),
    [
        ({"gradient": float("nan")}, "not finite", {"gradient"}),
        ({"gradient": 0.0}, "exactly zero", {"gradient"}),
        (rate(0.1), "explode: a small change of the state grows 1.11 times a step. Clip",
         {"exponent", "span"}),
        (rate(0.1) | ends(99, 1e4),
         "1.11 times a step, over the last 99 steps up to 10000 times itself. Clip",
         {"exponent", "transition_high", "lag"}),
        (rate(0.1), "clip_grad_norm", {"exponent"}),
        (rate(-0.1), "Far gradients vanish: a small change of the state shrinks to a tenth in 23 "
         "steps.", {"exponent"}),
        (rate(-0.1) | ends(59, 6.1e-4), "in 23 steps, and over the last 59 steps becomes at most "
         "6.10·10⁻⁴ times itself.", {"exponent", "transition_high", "lag"}),
        (rate(-0.05), "Far gradients fade: a small change of the state shrinks to a tenth in 46",
         {"exponent"}),
        (rate(-0.1, -0.05), "Far gradients fade", {"exponent_low", "exponent_high"}),
        (rate(-float("inf")), "is lost altogether", {"exponent"}),
        (rate(0.01), "keep their order of size: λ₁ = 0.01 over 100 steps", {"exponent"}),
        (rate(-0.1, 0.1), "Neither growth nor decay alone: λ₁ is −0.1 to 0.1",
         {"exponent_low", "exponent_high"}),
        (rate(-0.1) | ends(63, 40.0), "Neither growth nor decay alone",
         {"exponent", "transition_high"}),
        (rate(0.01) | ends(63, 1e-3), "Neither growth nor decay alone",
         {"exponent", "transition_low"}),
        (rate(0.1) | {"norm": 1.4, "radius": 1.3}, "initialise('orthogonal')",
         {"norm", "radius"}),
        (rate(-0.1) | {"norm": 0.5, "radius": 0.4, "bound": 0.9, "nonlinearity": "tanh"},
         "γ‖W‖₂ = 0.9 < 1: whatever the input, at most 2.66·10⁻⁵ is left after 100 steps; "
         "initialise('orthogonal')", {"bound", "span"}),
        (rate(-0.9) | {"norm": 1.0, "radius": 0.4, "bound": 0.25, "nonlinearity": "sigmoid"},
         "an orthogonal W has 1/4", {"bound"}),
        (rate(-0.1) | {"norm": 1.5, "radius": 0.8, "bound": 1.5}, "ρ(W) = 0.8", {"radius"}),
        (rate(-0.1) | {"norm": 1.5, "radius": 0.99999, "bound": 1.5}, "ρ(W) = 0.99999",
         {"radius"}),
        ({"reach": 12, "far": 0.001}, "Without all lags beyond 12 the gradient changes by 1 % "
         "at most (truncate=12).", {"reach"}),
        ({"reach": 12, "far": 0.001, "top": False}, "1 % at most.", {"reach"}),
        ({"reach": 80, "far": 0.25}, "those beyond 50 hold 25 % of the sum of all lags' norms, and "
         "only what is beyond 80", {"far", "reach"}),
        ({"nonlinearity": "tanh", "high": 0.6, "low": 0.0}, "60 % of the units have |h| > 0.9",
         {"high"}),
        ({"nonlinearity": "relu", "low": 0.7}, "70 % of the units are 0", {"low"}),
        (rate(-0.01) | {"peak": 40.0, "peak_lag": 5, "transition": 0.1, "lag": 63},
         "grows up to 40 times (at lag 5), more than the 0.1 times at lag 63",
         {"peak", "peak_lag", "transition", "lag"}),
        (rate(-0.1) | {"cell": "LSTM", "low": 0.0, "mean": 0.5, "memory": 2.0},
         "below 1/e in 2 steps (median of the units), with forget gates of 0.50 on average. A "
         "forget_bias of 4.6", {"mean", "memory"}),
        (rate(-0.1) | {"cell": "LSTM", "low": 0.0, "mean": 0.5, "memory": 2.0, "bias": False},
         "with forget gates of 0.50 on average.", {"mean", "memory"}),
        ({"cell": "LSTM", "low": 0.6, "mean": 0.2}, "60 % of the forget gates are under 0.1",
         {"low"}),
        ({"cell": "LSTM", "shut": 0.7}, "70 % of the input gates", {"shut"}),
        (ratios(1.03, 30, 423.0, 59), "1.03 times that along the cell alone at lag 30 and 423 "
         "times at lag 59: at the latter, most of it comes through h and the gates.",
         {"ratio_low", "ratio_high_lag"}),
        (ratios(0.99, 3, 1.01, 32), "At every lag up to 63", {"ratio_low", "ratio_lags"}),
        (ratios(0.1, 3, 1.01, 32), "at the former, paths through h and the gates cancel more than "
         "half.", {"ratio_low"}),
        (ratios(0.1, 3, 9.0, 32), "cancel more than half; at the latter, most", {"ratio_high"}),
        (rate(-0.1) | {"cell": "GRU", "mean": 0.5}, "above 0.99. Adding 4.6", {"mean"}),
        (rate(-0.1) | {"cell": "GRU", "mean": 0.5, "bias": False}, "where z is above 0.99.",
         {"mean"}),
    ],
)  # fmt: skip
def test_sentences(changed: dict[str, Any], expected: str, names: set[str]) -> None:
    found = rules.findings(replace(SOUND, **changed))
    (match,) = [each for each in found if expected in each.text]
    assert names <= set(match.numbers)


@pytest.mark.parametrize(
    ("changed", "unexpected"),
    [
        # Just inside each threshold.
        (rate(0.99 * measure.LN10 / 100), "explode"),
        (rate(-0.99 * measure.LN10 / 100), "fade"),
        (rate(-2.99 * measure.LN10 / 100), "vanish"),
        # Between two resets there are ten steps to grow in.
        (rate(0.1) | {"span": 10}, "explode"),
        (rate(-0.1) | {"span": 10}, "vanish"),
        ({"reach": 51, "far": 0.02}, "truncate="),
        ({"nonlinearity": "tanh", "high": 0.5, "low": 0.0}, "|h| > 0.9"),
        ({"nonlinearity": "relu", "low": 0.5}, "units are 0"),
        ({"peak": 40.0, "peak_lag": 5, "transition": 5.0}, "On the way"),
        ({"peak": 9.0, "peak_lag": 5, "transition": 0.1}, "On the way"),
        ({"cell": "LSTM", "low": 0.0, "mean": 0.99, "memory": 25.0}, "forget_bias"),
        ({"cell": "LSTM", "low": 0.0, "mean": 0.99, "memory": float("inf")}, "forget_bias"),
        ({"cell": "LSTM", "low": 0.6, "mean": 0.2, "bias": False}, "forget_bias"),
        (rate(0.1) | {"cell": "LSTM", "low": 0.0, "mean": 0.5, "memory": 2.0}, "forget_bias"),
        (rate(-0.01) | {"cell": "GRU", "mean": 0.5}, "update gate"),
        (rate(-0.1) | {"cell": "GRU", "mean": 0.995}, "update gate"),
        (rate(-0.1) | {"cell": "GRU", "mean": 0.5, "bias": False}, "bias_ih"),
    ],
)
def test_sentences_that_are_not_said(changed: dict[str, Any], unexpected: str) -> None:
    found = rules.findings(replace(SOUND, **changed), limit=10)
    assert not [each for each in found if unexpected in each.text]


size = st.one_of(st.none(), st.floats(0, 1e6), st.floats(1e-12, 1.0))
share = st.one_of(st.none(), st.floats(0, 1))
count = st.one_of(st.none(), st.integers(0, 500))


@settings(max_examples=300, deadline=None)
@given(
    st.builds(
        measure.Numbers,
        cell=st.sampled_from(["RNN", "GRU", "LSTM"]),
        steps=st.integers(1, 1000),
        span=st.integers(1, 1000),
        top=st.booleans(),
        bias=st.booleans(),
        gradient=st.one_of(size, st.just(float("nan")), st.just(float("inf"))),
        far=share,
        reach=count,
        exponent=st.one_of(st.none(), st.floats(-50, 50), st.just(-float("inf"))),
        exponent_low=st.floats(-50, 50),
        exponent_high=st.floats(-50, 50),
        lag=st.integers(0, 500),
        transition=size,
        transition_low=size,
        transition_high=size,
        peak=size,
        peak_lag=st.integers(0, 500),
        radius=size,
        norm=size,
        bound=size,
        low=share,
        high=share,
        mean=share,
        shut=share,
        memory=st.one_of(size, st.just(float("inf"))),
        ratio_low=size,
        ratio_low_lag=st.integers(0, 500),
        ratio_high=size,
        ratio_high_lag=st.integers(0, 500),
        ratio_lags=st.integers(0, 500),
        nonlinearity=st.sampled_from([None, "tanh", "relu", "sigmoid"]),
    )
)
def test_every_sentence_follows_from_numbers_beside_it(n: measure.Numbers) -> None:
    if n.exponent is not None:
        n = replace(n, exponent_low=n.exponent, exponent_high=n.exponent + abs(n.decades[0]) / 9)
    found = rules.findings(n)
    assert len(found) <= rules.SHOWN
    table = page.shown(n)
    for each in found:
        assert each.numbers
        assert set(each.numbers) <= set(table), "a number it rests on is in the table"
        assert each.text.endswith(".")
        assert "None" not in each.text
        assert "nan" not in each.text


@pytest.mark.parametrize("steps", [10, 100, 1000])
def test_the_bias_advised_does_what_is_said(steps: int) -> None:
    f = 1 / (1 + np.exp(-rules._bias(steps)))
    assert f**steps == pytest.approx(1 / np.e, rel=1 / steps)
    net = ur.LSTM(1, 2, forget_bias=rules._bias(steps), bias=True, seed=0)
    state = {k: np.zeros_like(a) for k, a in net.state_dict().items()}
    state["bias_ih_l0"][2:4] = net.forget_bias
    net.load_state_dict(state)
    _, _, tape = net.record(np.zeros((3, 1, 1), np.float32))
    np.testing.assert_allclose(tape.gates[:, 0, 1], f, rtol=1e-5)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0"), (1.0, "1"), (-0.12345, "−0.123"), (1234.5, "1234"), (4.44e-7, "4.44·10⁻⁷"),
     (-2e9, "−2.00·10⁹"), (float("inf"), "∞"), (float("nan"), "not a number"), (999.6, "1000")],
)  # fmt: skip
def test_numbers_in_words(value: float, expected: str) -> None:
    assert words.number(value) == expected


# The page


class Page(HTMLParser):
    """What a page holds, as far as tests ask."""

    VOID = ("meta", "link", "br", "image", "use", "path")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, Any]]] = []
        self.open: list[str] = []
        self.table: dict[str, list[str]] = {}
        self.key: str | None = None
        self.feed(self.text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link"):
            self.open.append(tag)
        if tag == "tr":
            self.key = dict(attrs).get("data-key")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.key and self.open and self.open[-1] == "td":
            self.table.setdefault(self.key, []).append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def written(tmp_path: Path, net: Any, x: Any, dy: Any = None, **more: Any) -> Page:
    path = tmp_path / "flow.html"
    flow.report(net, x, dy, path, **more)
    assert [each.name for each in tmp_path.iterdir()] == ["flow.html"], "nothing beside it"
    return Page(path)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_report_of_every_cell(variant: Any, tmp_path: Path) -> None:
    net = make(variant, hidden_size=6)
    x = normal(12, 3, 3)
    y, _ = net(x)
    found = written(tmp_path, net, x, normal(*y.shape, seed=1), title="A <title> & more")
    assert not found.open
    assert found.text.startswith("<!DOCTYPE html>")
    assert "<h1>A &lt;title&gt; &amp; more</h1>" in found.text
    # By lag, triangle, exponents, bounds, spectra, path, gates and powers.
    gates = {"LSTM": 3, "GRU": 2, "RNN": 1}[variant.cell]
    gates -= not variant.arguments.get("forget_gate", True)
    figures = 6 + gates + (variant.cell == "LSTM")
    assert found.count("svg") == found.count("figure") == found.count("figcaption") == figures
    assert found.table["steps"] == ["12"]
    # Nothing to fetch: references lead to the page itself or carry their data.
    for tag, attributes in found.tags:
        assert tag != "script"
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert "@import" not in found.text
    assert "url(http" not in found.text
    ids = [a["id"] for _, a in found.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for tag, attributes in found.tags:
        if tag == "svg":
            assert attributes["role"] == "img"
            assert attributes["aria-labelledby"] in ids
    assert len(found.text) < 600_000


def test_report_states_true_numbers(tmp_path: Path) -> None:
    net = ur.RNN(3, 5, dtype="float64", seed=0)
    x, w = normal(20, 2, 3, dtype="float64"), net.state_dict()["weight_hh_l0"]
    y, _, tape = net.record(x)
    dy = normal(*y.shape, dtype="float64", seed=1)
    found = written(tmp_path, net, x, dy)
    gradient = np.linalg.norm(tape.backward(dy).parameters["weight_hh_l0"])
    exponents = flow.lyapunov_exponents(net, x, 4, discard=2)
    by_lag = flow.gradient_by_lag(tape, dy).by_lag
    expected = {
        "gradient": gradient,
        "radius": np.abs(np.linalg.eigvals(w)).max(),
        "norm": np.linalg.norm(w, 2),
        "exponent": exponents[:, 0].mean(),
        "exponent_low": exponents[:, 0].min(),
        "transition": np.mean([np.linalg.norm(m, 2) for m in flow.transition(tape, 19, 0)]),
    }
    for key, value in expected.items():
        assert found.table[key] == [words.number(float(value))], key
    assert found.table["far"] == [words.percent(by_lag[11:].sum() / by_lag.sum())]
    assert found.table["lag"] == ["19"]


def test_report_of_layers_and_directions(tmp_path: Path) -> None:
    net = ur.GRU(3, 4, num_layers=2, bidirectional=True, batch_first=True, seed=0)
    x = normal(3, 10, 3)
    found = written(tmp_path, net, x, lengths=[10, 8, 3])
    names = ["layer 0, forward", "layer 0, reverse", "layer 1, forward", "layer 1, reverse"]
    headings = re.findall(r'<h2 id="s\d">([^<]*)</h2>', found.text)
    assert headings == [name.capitalize() for name in names]
    assert len(found.table["exponent"]) == 4
    assert len(set(found.table["exponent"])) == 4
    assert "2 of 3 rows, the longest" in found.text
    assert found.count("nav") == 1


def test_report_samples_what_is_long(tmp_path: Path) -> None:
    net = ur.RNN(2, 3, seed=0)
    x = normal(600, 6, 2)
    dy = np.zeros((600, 6, 3), np.float32)
    dy[:500] = normal(500, 6, 3)
    found = written(tmp_path, net, x, dy)
    assert found.table["steps"] == [str(measure.STEPS)]
    assert f"{measure.ROWS} of 6 rows" in found.text
    assert f"{measure.STEPS} of up to 600 steps" in found.text
    assert f"{measure.LOSSES} of {measure.STEPS} steps with a loss" in found.text
    # The window ends with the last loss, so that the loss at its last step is in the picture.
    assert found.table["gradient"] != ["0"]


def test_report_without_batch_with_resets_and_one_step(tmp_path: Path) -> None:
    net = ur.LSTM(3, 4, seed=0)
    resets = np.zeros(14, np.bool_)
    resets[[5, 11]] = True
    found = written(tmp_path, net, normal(14, 3), resets=resets)
    assert found.table["lag"] == ["5"], "spectra within the longest episode"
    short = written(tmp_path, net, normal(1, 2, 3))
    assert short.table["steps"] == ["1"]
    assert "no spectra" in short.text


def test_report_of_a_net_that_has_diverged(tmp_path: Path) -> None:
    net = ur.GRU(3, 4, seed=0)
    broken = net.state_dict()
    broken["weight_hh_l0"][0, 0] = np.nan
    net.load_state_dict(broken)
    with np.errstate(invalid="ignore"):
        found = written(tmp_path, net, normal(8, 2, 3))
    assert "The gradient is not finite" in found.text
    assert found.table["gradient"] == ["not a number"]


def test_report_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, x = ur.RNN(3, 4, seed=0), normal(6, 2, 3)
    path = tmp_path / "flow.html"
    path.write_text("as it was")
    for where, error in ((measure, "bounds_of"), (_plots, "plot_bounds")):
        with monkeypatch.context() as patch:

            def fail(*_: Any, **__: Any) -> Any:
                raise OSError("no more")

            patch.setattr(where, error, fail)
            with pytest.raises(OSError, match="no more"):
                flow.report(net, x, None, path)
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", fail)
        with pytest.raises(OSError, match="no more"):
            flow.report(net, x, None, path)
    with pytest.raises(FileNotFoundError):
        flow.report(net, x, None, tmp_path / "nowhere" / "flow.html")
    assert path.read_text() == "as it was"
    assert [each.name for each in tmp_path.iterdir()] == ["flow.html"]


def test_report_checks_its_arguments(tmp_path: Path) -> None:
    net, path = ur.RNN(3, 4, seed=0), tmp_path / "flow.html"
    x = normal(6, 2, 3)
    for wrong, error, match in (
        (
            (ur.Dense(3, 4), x, None),
            TypeError,
            "net: expected an LSTM, GRU, RNN or Recurrent, got Dense",
        ),
        ((net, x.astype("float64"), None), TypeError, "x: expected"),
        ((net, x[..., :2], None), ValueError, "x: expected"),
        ((net, x, normal(6, 2, 5)), ValueError, "dy: expected"),
        ((net, x[:0], None), ValueError, "at least one step"),
        ((net, x[:, :0], None), ValueError, "at least one step"),
    ):
        with pytest.raises(error, match=match):
            flow.report(*wrong, path)
    with pytest.raises(TypeError, match="title: expected a str, got int"):
        flow.report(net, x, None, path, title=3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="lengths: expected"):
        flow.report(net, x, None, path, lengths=[7, 1])
    assert not list(tmp_path.iterdir())


# The command


def run(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "unrolled", "flow", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    ur.save(ur.LSTM(3, 4, seed=0), tmp_path / "model.safetensors")
    # A file of other numbers than the net's is as good.
    np.save(tmp_path / "x.npy", normal(8, 2, 3, dtype="float64"))
    np.save(tmp_path / "dy.npy", normal(8, 2, 4))
    return tmp_path


def test_command(files: Path) -> None:
    out = files / "flow.html"
    model, x = files / "model.safetensors", files / "x.npy"
    done = run(model, x, "-o", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"written: {out}\n"
    assert "as loss the sum of the outputs" in Page(out).text
    assert "<h1>How gradients flow: model on x</h1>" in Page(out).text
    done = run(model, x, "-o", out, "--dy", files / "dy.npy", "--title", "Mine")
    assert done.returncode == 0
    assert "<h1>Mine</h1>" in Page(out).text
    assert "as loss the sum" not in Page(out).text


def test_command_says_what_is_wrong(files: Path) -> None:
    out = files / "flow.html"
    model, x = files / "model.safetensors", files / "x.npy"
    (files / "corrupt.npy").write_bytes(b"\x93NUMPY\x01\x00garbage")
    (files / "corrupt.safetensors").write_bytes(b"garbage")
    np.save(files / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(files / "words.npy", np.array(["a"]))
    np.savez(files / "several.npz", a=np.zeros(3))
    np.save(files / "narrow.npy", normal(8, 2, 2))
    ur.save(ur.Dense(3, 4), files / "dense.safetensors")
    before = sorted(each.name for each in files.iterdir())
    for arguments, expected in (
        ((files / "none.safetensors", x), "no such file"),
        ((files / "corrupt.safetensors", x), "expected a file of one of safetensors"),
        (
            (files / "dense.safetensors", x),
            "MODEL: expected an LSTM, GRU, RNN or Recurrent, got a Dense",
        ),
        ((model, files / "none.npy"), "DATA: no such file"),
        ((model, files / "corrupt.npy"), "DATA: expected a NumPy file"),
        ((model, files / "objects.npy"), "DATA: expected a NumPy file"),
        ((model, files / "words.npy"), "got dtype <U1"),
        ((model, files / "several.npz"), "an archive of several"),
        ((model, files / "narrow.npy"), "x: expected shape"),
        ((model, x, "--dy", files / "narrow.npy"), "dy: expected shape"),
    ):
        done = run(*arguments, "-o", out)
        assert done.returncode == 1, arguments
        assert done.stderr.startswith("unrolled flow: ")
        assert expected in done.stderr
        assert "Traceback" not in done.stderr
    done = run(model, x, "-o", files / "nowhere" / "flow.html")
    assert done.returncode == 1
    assert "--output: expected a file in a directory that exists" in done.stderr
    assert run(model, x).returncode == run().returncode == 2
    assert sorted(each.name for each in files.iterdir()) == before


# The monitor


def train(net: Any, watch: Any, steps: int = 6) -> dict[str, np.ndarray]:
    """A short training, `watch` called before each step."""
    rng = np.random.default_rng(0)
    opt = ur.optim.Adam(net, lr=0.01)
    for _ in range(steps):
        x = rng.normal(size=(12, 5, 3)).astype(net.dtype)
        resets = rng.random((12, 5)) < 0.1
        y, _, tape = net.record(x, lengths=[12, 12, 4, 9, 0], resets=resets)
        loss, dy = ur.losses.mse(y, np.zeros_like(y))
        watch(tape, dy, loss)
        opt.step(tape.backward(dy))
    return net.state_dict()


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.filterwarnings("error")
def test_training_is_the_same_with_a_monitor(variant: Any) -> None:
    """To the last bit, dropout's masks included."""
    more = {"num_layers": 2, "dropout": 0.3, "bidirectional": True}
    plain = train(make(variant, **more), lambda *_: None)
    net = make(variant, **more)
    monitor = flow.Monitor(net, every=2)
    watched = train(net, monitor)
    assert all(same(watched[name], plain[name]) for name in plain)
    assert [sample.call for sample in monitor.history] == [0, 2, 4]


@pytest.mark.parametrize("batch_first", [False, True])
def test_monitor_measures_what_it_says(batch_first: bool) -> None:
    net = ur.LSTM(3, 4, batch_first=batch_first, dtype="float64", seed=0)
    shape = (3, 20, 3) if batch_first else (20, 3, 3)
    x = normal(*shape, dtype="float64")
    initial = (normal(1, 3, 4, dtype="float64"), normal(1, 3, 4, dtype="float64", seed=2))
    y, _, tape = net.record(x, initial)
    dy = normal(*y.shape, dtype="float64", seed=1)
    monitor = flow.Monitor(net, rows=3, jacobians=4)
    monitor(tape, dy, 0.5)
    (sample,) = monitor.history
    assert (sample.call, sample.loss, sample.rows) == (0, 0.5, (0, 1, 2))
    whole = tape.backward(dy).parameters
    for name, value in sample.gradient_norms.items():
        assert value == pytest.approx(np.linalg.norm(whole[name]), rel=TOLERANCES["reordered"])
    terms = flow.gradient_by_lag(tape, dy, terms="all").terms
    t, k = np.indices((20, 20))
    assert sample.bands == ((0, 0), (1, 1), (2, 3), (4, 7), (8, 15), (16, 19))
    for (low, high), value in zip(sample.bands, sample.by_lag, strict=True):
        lags = (abs(t - k) >= low) & (abs(t - k) <= high)
        expected = np.linalg.norm(terms[lags].sum(0))
        assert value == pytest.approx(expected, rel=1e-9, abs=1e-12)
    jacobians = flow.step_jacobians(tape)
    # Rows in turn, in the middle of each quarter of the steps.
    expected = [np.linalg.norm(jacobians[t, b], 2) for t, b in ((2, 0), (7, 1), (12, 2), (17, 0))]
    np.testing.assert_allclose(sample.jacobian_norms["l0"], expected, rtol=1e-7)
    low, high, mean = flow.gate_saturation(tape).overall("f")
    assert sample.gates["f_l0"] == pytest.approx((low, high, mean))
    assert sample.gate_counts["f_l0"].sum() == 20 * 3 * 4

    # From x as from the tape.
    other = flow.Monitor(net, rows=3, jacobians=4)
    other(x, dy, 0.5, state=initial, gradients=tape.backward(dy))
    assert other.history[0].scalars() == sample.scalars()


def test_monitor_outlives_a_training_that_diverges(tmp_path: Path) -> None:
    net = ur.GRU(3, 4, seed=0)
    broken = net.state_dict()
    broken["weight_hh_l0"][:] = np.nan
    net.load_state_dict(broken)
    monitor = flow.Monitor(net)
    monitor(normal(5, 2, 3), normal(5, 2, 4))
    assert np.isnan(monitor.history[0].gradient_norms["weight_hh_l0"])
    assert np.isnan(monitor.history[0].jacobian_norms["l0"]).all()
    monitor.plot().savefig(tmp_path / "plot.png")
    monitor.to_tensorboard(Writer())
    monitor.to_csv(tmp_path / "history.csv")


def test_monitor_looks_at_other_rows_each_time() -> None:
    net = ur.GRU(3, 4, seed=0)
    monitor = flow.Monitor(net, every=1, rows=2)
    train(net, monitor, steps=4)
    rows = [sample.rows for sample in monitor.history]
    assert rows == [(0, 2), (1, 3), (2, 0), (3, 1)], "row 4 has no steps"


def test_monitor_survives_empty_batches_and_refuses_wrong_ones() -> None:
    net = ur.GRU(3, 4, seed=0)
    monitor = flow.Monitor(net, every=1)
    x, dy = normal(5, 2, 3), normal(5, 2, 4)
    monitor(x, dy, lengths=[0, 0])
    monitor(x[:0], dy[:0])
    assert monitor.history == []
    monitor(x[:1], dy[:1])
    assert monitor.history[0].bands == ((0, 0),)
    monitor(x[:, 0], dy[:, 0])
    assert monitor.history[1].rows == (0,)
    _, _, tape = ur.GRU(3, 4, seed=1).record(x)
    for arguments, more, error, match in (
        ((tape, dy), {}, ValueError, "recording: expected a tape of the network watched"),
        ((x, dy[1:]), {}, ValueError, "dy: expected"),
        ((x, dy.astype("float64")), {}, TypeError, "dy: expected"),
        ((net.record(x)[2], dy), {"lengths": [1, 1]}, ValueError, "expected None with a tape"),
        ((3, dy), {}, TypeError, "x: expected"),
    ):
        with pytest.raises(error, match=match):
            monitor(*arguments, **more)
    with pytest.raises(TypeError, match="net: expected an LSTM, GRU, RNN or Recurrent, got Dense"):
        flow.Monitor(ur.Dense(3, 4))
    with pytest.raises(ValueError, match="every: expected"):
        flow.Monitor(net, every=0)
    with pytest.raises(ValueError, match="parameter: expected"):
        flow.Monitor(net, parameter="weight_hh_l1")


def test_monitor_costs_a_twentieth_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows times steps, forward and back, at its defaults; time is for benches/monitor.py."""
    steps, batch, calls = 100, 32, 200
    net = ur.LSTM(32, 64, seed=0)
    x, dy = normal(steps, batch, 32), normal(steps, batch, 64)
    done = []

    def counting(original: Any, cost: Any) -> Any:
        def counted(self: Any, *arguments: Any, **more: Any) -> Any:
            done.append(cost(self, *arguments, **more))
            return original(self, *arguments, **more)

        return counted

    def forward(_: Any, x: Any, *__: Any, **___: Any) -> int:
        return int(x.shape[0] * x.shape[1])

    def back(tape: Any, *_: Any, truncate: Any = None, **__: Any) -> int:
        long, rows = tape._native.shape
        return int(long * rows * (1 if truncate is None else truncate + 1))

    monkeypatch.setattr(ur.LSTM, "record", counting(ur.LSTM.record, forward))
    monkeypatch.setattr(ur.LSTM, "__call__", counting(ur.LSTM.__call__, forward))
    monkeypatch.setattr(ur.Tape, "backward", counting(ur.Tape.backward, back))
    jacobians = []
    original = flow.step_jacobians
    monkeypatch.setattr(
        _monitor, "step_jacobians", lambda tape, *a: jacobians.append(tape._native.shape) or
        original(tape, *a),
    )  # fmt: skip
    monitor = flow.Monitor(net)
    for _ in range(calls):
        monitor(x, dy)
    assert len(monitor.history) == 1
    training = calls * 2 * steps * batch
    assert 0 < sum(done) <= training / 20
    # Each costs S steps back at most.
    assert jacobians == [(1, 2)]
    assert sum(done) + 2 * 128 <= training / 20


def test_monitor_plot_and_csv(tmp_path: Path) -> None:
    net = ur.LSTM(3, 4, num_layers=2, seed=0)
    monitor = flow.Monitor(net, every=2)
    with pytest.raises(ValueError, match="history: expected at least one sample"):
        monitor.plot()
    train(net, monitor)
    figure = monitor.plot()
    gradients, shares, jacobians, gates = figure.axes
    labels = {each.get_label(): each for each in gradients.get_lines()}
    expected = [sample.gradient_norms["weight_hh_l1"] for sample in monitor.history]
    np.testing.assert_allclose(labels["weight_hh_l1"].get_ydata(), expected)
    first = [sample.by_lag[0] / sample.by_lag.sum() for sample in monitor.history]
    np.testing.assert_allclose(shares.get_lines()[0].get_ydata(), first)
    assert shares.get_lines()[0].get_xdata().tolist() == [0, 2, 4]
    means = [sample.jacobian_norms["l0"].mean() for sample in monitor.history]
    np.testing.assert_allclose(jacobians.get_lines()[0].get_ydata(), means)
    assert "f_l1, mean" in [text.get_text() for text in gates.get_legend().get_texts()]

    path = tmp_path / "history.csv"
    monitor.to_csv(path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["call"]) for row in rows] == [0, 2, 4]
    for row, sample in zip(rows, monitor.history, strict=True):
        assert {k: float(v) for k, v in row.items() if k != "call" and v} == sample.scalars()
    assert [each.name for each in tmp_path.iterdir()] == ["history.csv"]


class Writer:
    """Takes what a SummaryWriter takes."""

    def __init__(self) -> None:
        self.scalars: dict[tuple[str, int], float] = {}
        self.histograms: dict[tuple[str, int], Any] = {}

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars[tag, step] = value

    def add_histogram(self, tag: str, values: Any, step: int) -> None:
        self.histograms[tag, step] = values

    def add_histogram_raw(self, tag: str, *, global_step: int, **more: Any) -> None:
        self.histograms[tag, global_step] = more


def test_monitor_to_a_writer() -> None:
    net = ur.GRU(3, 4, seed=0)
    monitor = flow.Monitor(net, every=3)
    train(net, monitor)
    writer = Writer()
    monitor.to_tensorboard(writer)
    for sample in monitor.history:
        for name, value in sample.scalars().items():
            assert writer.scalars[f"flow/{name}", sample.call] == value
        raw = writer.histograms["flow/gate/z_l0/values", sample.call]
        assert raw["bucket_counts"] == sample.gate_counts["z_l0"].tolist()
        assert raw["num"] == sum(raw["bucket_counts"])
        assert len(raw["bucket_limits"]) == len(raw["bucket_counts"])
        assert same(
            writer.histograms["flow/jacobian_norm/l0/steps", sample.call],
            sample.jacobian_norms["l0"],
        )
    with pytest.raises(TypeError, match="writer: expected a SummaryWriter or a path, got int"):
        monitor.to_tensorboard(3)


def test_monitor_to_tensorboard_files(tmp_path: Path) -> None:
    if importlib.util.find_spec("tensorboardX") is None:
        pytest.skip("tensorboardX is not installed: no event files to read back")
    from tensorboardX.proto.event_pb2 import Event

    net = ur.GRU(3, 4, seed=0)
    monitor = flow.Monitor(net, every=3)
    train(net, monitor)
    monitor.to_tensorboard(tmp_path / "runs")
    (file,) = (tmp_path / "runs").iterdir()
    data, at, found = file.read_bytes(), 0, {}
    while at < len(data):
        # A TFRecord: length, its checksum, the record, its checksum.
        (length,) = struct.unpack_from("<Q", data, at)
        event = Event.FromString(data[at + 12 : at + 12 + length])
        at += length + 16
        for value in event.summary.value:
            found[value.tag, event.step] = value
    for sample in monitor.history:
        for name, value in sample.scalars().items():
            assert found[f"flow/{name}", sample.call].simple_value == pytest.approx(value)
        histogram = found["flow/gate/r_l0/values", sample.call].histo
        assert histogram.num == sample.gate_counts["r_l0"].sum()
        assert found["flow/jacobian_norm/l0/steps", sample.call].histo.num == 2


def test_monitor_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorboardX", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    net = ur.GRU(3, 4, seed=0)
    monitor = flow.Monitor(net)
    train(net, monitor, steps=1)
    with pytest.raises(ImportError, match=r"pip install '\.\[tensorboard\]'"):
        monitor.to_tensorboard(tmp_path / "runs")
    assert not list(tmp_path.iterdir())


def test_the_page_has_a_row_for_every_number() -> None:
    words = {"cell", "nonlinearity", "top", "bias", "weight"}
    fields = set(measure.Numbers.__dataclass_fields__) - words
    assert set(page.ROWS) == fields
