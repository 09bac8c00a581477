"""What the page says of random networks is true of all the data that it shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from hypothesis import given, settings
from hypothesis import strategies as st
from unrolled import flow
from unrolled._cases import VARIANTS
from unrolled.flow import _words as words
from unrolled.flow._report import figures, measure
from unrolled.flow._report import findings as rules
from unrolled.flow._sample import Sequences

SCALES = (0.0, 1e-3, 0.3, 1.0, 3.0, 30.0)
ODD = (np.nan, np.inf, -np.inf, 1e30)


@st.composite
def problems(draw: Any, *, finite: bool = True) -> dict[str, Any]:
    """A network with the data for a page; small enough that all of it is looked at."""
    variant = draw(st.sampled_from(VARIANTS))
    arguments = dict(variant.arguments)
    if "proj_size" in arguments:
        arguments["proj_size"] = 1
    dtype = draw(st.sampled_from(["float64", "float32"]))
    hidden = draw(st.integers(2 if arguments.get("proj_size") else 1, 5))
    net = getattr(ur, variant.cell)(
        2, hidden, draw(st.integers(1, 2)), dtype=dtype, seed=draw(st.integers(0, 99)),
        bias=draw(st.booleans()), bidirectional=draw(st.booleans()),
        batch_first=draw(st.booleans()), **arguments,
    )  # fmt: skip
    steps, batch = draw(st.integers(1, 24)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    scale, offset = draw(st.sampled_from(SCALES)), draw(st.sampled_from([0.0, 0.0, -4.0, 4.0]))
    net.load_state_dict({
        name: ((rng.normal(size=a.shape) * scale) / np.sqrt(hidden)
               + offset * name.startswith("bias")).astype(dtype)
        for name, a in net.state_dict().items()
    })  # fmt: skip
    x = rng.normal(size=(steps, batch, 2)) * draw(st.sampled_from(SCALES))
    if not finite:
        x[rng.random(x.shape) < draw(st.sampled_from([0.02, 0.5]))] = draw(st.sampled_from(ODD))
    lengths = draw(st.none() | st.lists(st.integers(1, steps), min_size=batch, max_size=batch))
    resets = rng.random((steps, batch)) < 0.1 if draw(st.booleans()) else None
    dy = rng.normal(size=(steps, batch, net.num_directions * net._sizes.states[0]))
    dy = None if draw(st.booleans()) else dy.astype(dtype)
    if net.batch_first:
        x, dy = np.swapaxes(x, 0, 1), None if dy is None else np.swapaxes(dy, 0, 1)
        resets = None if resets is None else resets.T
    return {"net": net, "x": x.astype(dtype), "dy": dy, "lengths": lengths, "resets": resets}


def studied(p: dict[str, Any]) -> measure.Study:
    lengths = None if p["lengths"] is None else np.asarray(p["lengths"])
    sequences = Sequences.of(p["net"], p["x"], lengths, p["resets"])
    dy = p["dy"]
    if dy is not None and p["net"].batch_first:
        dy = np.swapaxes(dy, 0, 1)
    return measure.study(p["net"], sequences, dy, iter)


def rows(r: measure.Results) -> Any:
    """Powers of ten over the span, by the exponents of each row, and the last transition's norm."""
    assert r.exponents is not None
    decades = r.exponents[0][:, 0] * r.numbers.span / np.log(10)
    return decades, None if r.bounds is None else r.bounds.measured[-1]


def medians(r: measure.Results) -> dict[int, float]:
    ratio = np.abs(r.path.ratio).reshape(len(r.path.ratio), -1)
    with np.errstate(all="ignore"):
        return {
            lag: float(np.median(a[~np.isnan(a)]))
            for lag, a in enumerate(ratio)
            if lag and not np.isnan(a).all()
        }


def said(text: str, pattern: str) -> list[str]:
    match = re.search(pattern, text)
    assert match, (pattern, text)
    return list(match.groups())


def check_explode(text: str, r: Any, p: Any) -> None:
    decades, last = rows(r)
    assert (decades > 1).all()
    if last is not None:
        assert (last > 1).all()
        assert said(text, r"up to (\S+) times itself") == [words.number(float(last.max()))]


def check_vanish(text: str, r: Any, p: Any) -> None:
    decades, last = rows(r)
    assert (decades < (-3 if "vanish" in text else -1)).all()
    if last is not None:
        assert (last < 1).all()
        assert said(text, r"at most (\S+) times itself") == [words.number(float(last.max()))]
    if "lost" not in text:
        (tenth,) = said(text, r"to a tenth in (\S+) steps")
        assert tenth == words.number(-np.log(10) / float(r.exponents[0][:, 0].mean()))


def check_keep(text: str, r: Any, p: Any) -> None:
    decades, last = rows(r)
    assert (np.abs(decades) <= 1).all()
    assert last is None or ((last >= 0.1) & (last <= 10)).all()


def check_varies(text: str, r: Any, p: Any) -> None:
    decades, last = rows(r)
    estimates = list(decades)
    with np.errstate(divide="ignore"):
        estimates += [] if last is None else list(np.log10(last))
    # Not all shrink, not all grow, not all keep their size.
    assert not max(estimates) < -1
    assert not min(estimates) > 1
    assert max(np.abs(estimates)) > 1


def check_reach(text: str, r: Any, p: Any) -> None:
    net, n = p["net"], r.numbers
    name = r.gradients.parameter
    y, _, tape = net.record(p["x"], lengths=p["lengths"], resets=p["resets"], train=False)
    chosen = Sequences.of(net, p["x"], np.asarray(p["lengths"]) if p["lengths"] else None)
    dy = p["dy"]
    if dy is None:
        whole = chosen.window(np.zeros(len(chosen.lengths), int), chosen.lengths.astype(int))
        dy = np.zeros(y.shape, net.dtype)
        inner = np.swapaxes(dy, 0, 1) if net.batch_first else dy
        inner[: whole.steps] = measure.ends(whole)
    if len(chosen.longest(measure.ROWS)) < len(chosen.lengths):
        return
    full = tape.backward(dy).parameters[name].astype(np.float64)
    by_lag = flow.gradient_by_lag(tape, dy, name).by_lag
    assert by_lag[n.reach + 1 :].sum() <= 0.01001 * np.linalg.norm(full)
    if "truncate" in text:
        (lag,) = said(text, r"truncate=(\d+)")
        part = tape.backward(dy, truncate=int(lag)).parameters[name].astype(np.float64)
        assert np.linalg.norm(full - part) <= 0.0101 * np.linalg.norm(full)
    if "Far lags" in text:
        assert n.reach > n.steps // 2
        assert by_lag[n.reach :].sum() > 0.0099 * np.linalg.norm(full)


def check_path(text: str, r: Any, p: Any) -> None:
    found = medians(r)
    low, high = min(found.values()), max(found.values())
    assert words.number(low) in text
    assert words.number(high) in text
    assert ("At every lag" in text) == (low >= 0.5 and high <= 2)
    assert ("cancel" in text) == (low < 0.5)
    assert ("most of it comes through h" in text) == (high > 2)


def check_detour(text: str, r: Any, p: Any) -> None:
    mean = r.bounds.measured.mean(axis=1)
    peak, lag = said(text, r"up to (\S+) times \(at lag (\d+)\)")
    assert peak == words.number(float(mean.max()))
    assert mean[int(lag)] == mean.max()
    assert mean[-1] < mean.max() / 10


def check_bound(text: str, r: Any, p: Any) -> None:
    n = r.numbers
    if r.bounds is not None:
        lags = np.arange(len(r.bounds.measured))[:, None]
        assert (r.bounds.measured <= n.bound**lags * 1.001 + 1e-300).all()
    (left,) = said(text, r"at most (\S+) is left")
    assert left == words.number(n.bound**n.span)


def check_memory(text: str, r: Any, p: Any) -> None:
    (lag,) = said(text, r"1/e in (\S+) steps")
    assert lag == words.number(float(np.median(r.path.memory)))
    direct = r.path.direct.reshape(len(r.path.direct), -1)
    # At that lag half of the units have got so far.
    assert (direct[int(float(lag))] < 1 / np.e).mean() >= 0.5
    if "forget_bias" in text:
        assert p["net"].bias


def check_share(gate: str, part: str) -> Callable[..., None]:
    def check(text: str, r: Any, p: Any) -> None:
        values = getattr(r.gates, part)[:, r.gates.names.index(gate)]
        value = float(values[np.isfinite(values)].mean())
        assert value > 0.5
        assert text.startswith(words.percent(value))

    return check


def check_gru(text: str, r: Any, p: Any) -> None:
    mean, needed = said(text, r"is (\S+) on average.*is above (\S+?)\.(?: |$)")
    assert mean == words.beside_one(r.numbers.mean)
    assert r.numbers.mean < float(needed) < 1
    assert float(needed) ** r.numbers.span == pytest.approx(1 / np.e, rel=2 / r.numbers.span)
    assert ("bias_ih" in text) <= p["net"].bias


def check_radius(text: str, r: Any, p: Any) -> None:
    weight = p["net"].state_dict()[r.gradients.parameter].astype(np.float64)
    radius = float(np.abs(np.linalg.eigvals(weight)).max())
    assert words.number(radius) in text or words.beside_one(radius) in text


def check_zero(text: str, r: Any, p: Any) -> None:
    assert r.numbers.gradient == 0


def check_not_finite(text: str, r: Any, p: Any) -> None:
    assert not np.isfinite(r.numbers.gradient)


CHECKS: dict[str, Callable[..., None]] = {
    "Gradients explode": check_explode,
    "Far gradients": check_vanish,
    "Gradients keep": check_keep,
    "Neither growth": check_varies,
    "Without all lags|Far lags count": check_reach,
    "The full derivative|At every lag": check_path,
    "On the way": check_detour,
    "γ‖W‖₂": check_bound,
    "‖W‖₂|ρ": check_radius,
    "The cell's own path": check_memory,
    r".* % of the forget gates": check_share("f", "low"),
    r".* % of the input gates": check_share("i", "low"),
    r".* % of the units are 0": check_share("h", "low"),
    r".* % of the units have": check_share("h", "high"),
    "The update gate": check_gru,
    "The gradient is exactly zero": check_zero,
    "The gradient is not finite": check_not_finite,
}


@settings(max_examples=120, deadline=None)
@given(problems())
def test_every_sentence_is_true_of_all_its_data(p: dict[str, Any]) -> None:
    for r in studied(p).layers:
        for finding in rules.findings(r.numbers, limit=99):
            (check,) = [check for start, check in CHECKS.items() if re.match(start, finding.text)]
            check(finding.text, r, p)
        for _, caption, alt in figures._drawings(r):
            assert "nan" not in caption + alt
            assert "None" not in caption + alt


@settings(max_examples=60, deadline=None)
@given(problems(finite=False))
def test_what_is_not_finite_is_said_to_be_so(p: dict[str, Any]) -> None:
    for r in studied(p).layers:
        n, found = r.numbers, rules.findings(r.numbers, limit=99)
        if n.gradient is not None and not np.isfinite(n.gradient):
            assert [each.text[:26] for each in found] == ["The gradient is not finite"]
        for each in found:
            assert "nan" not in each.text
            assert "not a number" not in each.text


@settings(max_examples=8, deadline=None)
@given(problems(finite=False))
def test_a_page_can_be_drawn_of_anything(tmp_path_factory: Any, p: dict[str, Any]) -> None:
    path: Path = tmp_path_factory.mktemp("page") / "flow.html"
    flow.report(p["net"], p["x"], p["dy"], path, lengths=p["lengths"], resets=p["resets"])
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 5), st.integers(0, 999), st.sampled_from(SCALES), st.booleans(), st.booleans()
)
def test_what_is_said_of_a_matrix(
    size: int, seed: int, scale: float, triangular: bool, normal: bool
) -> None:
    w = np.random.default_rng(seed).normal(size=(size, size)) * scale
    w = np.triu(w) if triangular else w
    w = (w + w.T) / 2 if normal else w
    curve, verdict = flow.matrix_power_curve(w, 40), flow.classify(w)
    text = str(verdict)
    rho, norm = curve.spectral_radius, float(np.linalg.norm(w, 2))
    if curve.normal:
        np.testing.assert_allclose(curve.norms, rho ** np.arange(41.0), rtol=1e-10, atol=1e-300)
    # A factor of e in so many steps, in the end: as far as the condition of the eigenvectors.
    if verdict.kind == "vanishing":
        assert (curve.norms <= curve.condition * rho ** np.arange(41.0) * 1.001 + 1e-300).all()
    assert ("makes far gradients vanish" in text) == (norm < 1)
    assert ("decides nothing" in text) == (norm > 1)
    assert f"γ‖W‖₂ = {words.beside_one(norm)}" in text


@settings(max_examples=80, deadline=None)
@given(problems())
def test_what_is_said_of_a_network(p: dict[str, Any]) -> None:
    net, x = p["net"], p["x"]
    steps = x.shape[1 if net.batch_first else 0]
    if steps < 2:
        return
    verdict = flow.classify(net, x)
    exponents = np.atleast_2d(flow.lyapunov_exponents(net, x, 1, discard=steps // 4))[:, 0]
    assert verdict.exponent == pytest.approx(exponents.mean(), nan_ok=False)
    if verdict.kind == "vanishing":
        assert verdict.exponent < 0
    elif verdict.kind == "exploding":
        assert verdict.exponent > 0
        assert verdict.bound is None or verdict.bound > 1
    else:
        assert abs(verdict.exponent) <= verdict.tolerance
    assert "nan" not in str(verdict)
