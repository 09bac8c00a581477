"""What a report says of each layer: measured on few rows and steps, so that it takes seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._arguments import Array
from ..._modules import GRU, LSTM, RNN
from .._cell_path import cell_path
from .._gates import GateSaturation, gate_saturation
from .._kernels import gradient_by_lag, lyapunov_exponents, step_jacobians
from .._plots import lag_shares
from .._sample import Sequences, Window, recurrent_weight
from .._spectra import GAMMA, singular_values_by_lag
from .._spectra import bounds as bounds_of
from .._theory import matrix_power_curve

# Terms of the gradient cost T² steps of so many rows: 200² / 2 of 4 are about a second.
ROWS, STEPS = 4, 200
# Steps with a loss, where there are more: enough rows for the picture to be a triangle.
LOSSES = 32
# Exponents take S (n + H) a step only, and settle like 1 / steps.
EXPONENTS, EXPONENT_STEPS, EXPONENT_ROWS = 4, 1000, 3
# Multiplications of S³ that spectra of all lags may take: some seconds (an SVD is about 20 S³).
SPECTRAL_WORK = 2e9
SPECTRAL_ROWS, SPECTRAL_LAGS = 2, 64
# Fewer lags than these show nothing.
SPECTRAL_LEAST = 4
POWERS = 100
# What is less than this of the gradient no step of training notices.
REST = 0.01
LN10 = float(np.log(10.0))


@dataclass(frozen=True)
class Numbers:
    """One layer in one direction, in numbers. None where it does not apply or was not measured.

    Attributes
    ----------
    cell : str
        "LSTM", "GRU" or "RNN".
    top : bool
        Whether it is of the top layer, where `truncate` leaves out exactly the lags beyond.
    bias : bool
    steps : int
        Length of the sequences as looked at.
    span : int
        The most of them without a reset: as far as a small change can go.
    gradient : float
        ||dL/dW_hh||, Frobenius.
    far : float
        Share of the lags beyond half the steps in the sum of the norms of all lags.
    reach : int
        Least lag such that those beyond it, by the sum of their norms, change the gradient by no
        more than 1 %.
    exponent, exponent_low, exponent_high : float
        The largest Lyapunov exponent: mean, least and greatest of the rows.
    lag : int
        The furthest lag of the next five.
    transition, transition_low, transition_high : float
        ||ds_t/ds_{t-lag}||_2 at that lag: mean, least and greatest of the rows.
    peak : float
        Its mean of the rows, the largest of all lags up to that.
    peak_lag : int
    radius, norm, bound : float
        RNN: spectral radius and 2-norm of W_hh, and gamma times that.
    low, high, mean : float
        Of the gate that decides what is kept: f, z; |h| of an RNN (with relu, low: zeros).
    shut : float
        LSTM: share of input gates below 0.1.
    memory : float
        LSTM: median lag at which the direct path along the cell is below 1/e.
    ratio_low, ratio_high : float
        LSTM: the least and the greatest of all lags of the median |full / direct|.
    ratio_low_lag, ratio_high_lag : int
    ratio_lags : int
        The furthest of those lags.
    """

    cell: str
    steps: int
    span: int
    top: bool = True
    bias: bool = True
    gradient: float | None = None
    far: float | None = None
    reach: int | None = None
    exponent: float | None = None
    exponent_low: float | None = None
    exponent_high: float | None = None
    lag: int | None = None
    transition: float | None = None
    transition_low: float | None = None
    transition_high: float | None = None
    peak: float | None = None
    peak_lag: int | None = None
    radius: float | None = None
    norm: float | None = None
    bound: float | None = None
    low: float | None = None
    high: float | None = None
    mean: float | None = None
    shut: float | None = None
    memory: float | None = None
    ratio_low: float | None = None
    ratio_low_lag: int | None = None
    ratio_high: float | None = None
    ratio_high_lag: int | None = None
    ratio_lags: int | None = None
    nonlinearity: str | None = None
    # Whose gradient it is.
    weight: str = "weight_hh"

    @property
    def decades(self) -> tuple[float, ...]:
        """By how many powers of ten a small change would grow over the span, least and greatest."""
        rates = (self.exponent_low, self.exponent_high)
        return tuple(rate * self.span / LN10 for rate in rates if rate is not None)


@dataclass(frozen=True)
class Results:
    """What the pictures of one layer are drawn from, and its numbers."""

    layer: int
    reverse: bool
    numbers: Numbers
    gradients: Any
    gates: GateSaturation
    exponents: tuple[Array, Array] | None
    bounds: Any
    spectra: Array | None
    path: Any
    powers: dict[str, Any]

    def name(self, net: Any) -> str:
        """How the page calls it; empty where there is but one."""
        parts = [f"layer {self.layer}"] if net.num_layers > 1 else []
        if net.bidirectional:
            parts.append("reverse" if self.reverse else "forward")
        return ", ".join(parts)


@dataclass(frozen=True)
class Study:
    """All layers, and what was looked at of the data."""

    layers: list[Results]
    sampled: list[str]


def study(
    net: Any,
    sequences: Sequences,
    dy: Array | None,
    progress: Callable[[list[Any]], Iterator[Any]],
) -> Study:
    """Measure every layer and direction; `dy` is (T, B, D*H), None a loss at each end."""
    rows = sequences.longest(ROWS)
    chosen = sequences.rows(rows)
    stops = chosen.lengths.astype(int)
    if dy is not None:
        stops = _last_losses(dy[:, rows], stops)
    starts = np.maximum(stops - STEPS, 0)
    window = chosen.window(starts, stops)
    losses = ends(window) if dy is None else _cut(dy[:, rows], window)
    kept, had = _thin(losses)
    y, tape = window.record()
    directions = (False, True)[: net.num_directions]
    places = [(layer, reverse) for layer in range(net.num_layers) for reverse in directions]
    weights = net.state_dict()
    small = _spectral_window(net, chosen, len(places))
    layers = []
    for layer, reverse in progress(places):
        parameter = recurrent_weight(net, layer, reverse)
        layers.append(
            _layer(net, layer, reverse, weights[parameter], parameter, tape, kept, chosen, small)
        )
    said = _sampled(sequences, window, rows, kept, had, small, dy is None)
    if layers[0].exponents is not None:
        running = layers[0].exponents[1]
        said.append(f"exponents over {len(running)} steps, {_rows(running.shape[1])}")
    return Study(layers, said)


def ends(window: Window) -> Array:
    """The loss taken where each direction's own run ends: all outputs summed there."""
    net = window.net
    size = net.num_directions * net._sizes.states[0]
    dy = np.zeros((window.steps, len(window.lengths), size), net.dtype)
    rows = np.flatnonzero(window.lengths)
    half = net._sizes.states[0]
    dy[window.lengths[rows] - 1, rows, :half] = 1
    dy[:1, rows, half:] = 1
    return dy


def _last_losses(dy: Array, stops: Array) -> Array:
    """Where to stop: behind the last loss of each row, if it has one."""
    there = np.any(dy != 0, axis=2)
    there &= np.arange(len(dy))[:, None] < stops
    last = len(dy) - np.argmax(there[::-1], axis=0)
    return np.where(there.any(axis=0), last, stops)


def _cut(dy: Array, window: Window) -> Array:
    found = np.zeros((window.steps, *dy.shape[1:]), dy.dtype)
    for row, (start, stop) in enumerate(zip(window.starts, window.stops, strict=True)):
        found[: stop - start, row] = dy[start:stop, row]
    return found


def _thin(dy: Array) -> tuple[Array, int]:
    """At most LOSSES steps with a loss, the last among them; and how many there were."""
    steps = np.flatnonzero(np.any(dy != 0, axis=(1, 2)))
    if len(steps) <= LOSSES:
        return dy, len(steps)
    chosen = steps[np.linspace(0, len(steps) - 1, LOSSES).round().astype(int)]
    kept = np.zeros_like(dy)
    kept[chosen] = dy[chosen]
    return kept, len(steps)


def _spectral_window(net: Any, chosen: Sequences, places: int) -> Window | None:
    """Few rows, and as many lags as a few seconds allow; None if that is too few."""
    size = sum(net._sizes.states)
    # Three decompositions of each: of the product, for its norm and for the step's.
    affordable = SPECTRAL_WORK / (places * 60.0 * size**3 / 20.0)
    begins, stops = chosen.stretches()
    rows = np.argsort(begins - stops, kind="stable")[:SPECTRAL_ROWS]
    rows = rows[(stops - begins)[rows] == (stops - begins)[rows].max(initial=0)]
    lags = int(min(SPECTRAL_LAGS, affordable // max(len(rows), 1), (stops - begins)[rows].max()))
    if lags < SPECTRAL_LEAST:
        return None
    return chosen.rows(rows).window(stops[rows] - lags, stops[rows])


def _layer(
    net: Any,
    layer: int,
    reverse: bool,
    weight: Array,
    parameter: str,
    tape: Any,
    dy: Array,
    chosen: Sequences,
    small: Window | None,
) -> Results:
    shown = np.ascontiguousarray(np.swapaxes(dy, 0, 1)) if net.batch_first else dy
    gradients = gradient_by_lag(tape, shown, parameter)
    whole = tape.backward(shown).parameters[parameter].astype(np.float64)
    numbers: dict[str, Any] = {"gradient": length(whole)}
    shares = lag_shares(gradients)
    steps = len(shares)
    if np.any(shares > 0):
        numbers["far"] = float(shares[steps // 2 + 1 :].sum())
        # What the lags beyond each can change at most: their norms, whatever their directions.
        beyond = np.cumsum(gradients.by_lag[::-1])[::-1][1:]
        within = np.append(beyond, 0.0) <= REST * numbers["gradient"]
        numbers["reach"] = int(np.argmax(within))

    gates = gate_saturation(tape, layer, reverse)
    deciding = next((name for name in ("f", "z", "h") if name in gates.names), None)
    seen = bool(np.isfinite(gates.low).any())
    if deciding is not None and seen:
        numbers["low"], numbers["high"], numbers["mean"] = gates.overall(deciding)
    if "i" in gates.names and seen:
        numbers["shut"] = gates.overall("i")[0]

    sound = bool(np.isfinite(whole).all() and np.isfinite(weight).all())
    exponents = _exponents(net, chosen, layer, reverse) if sound else None
    if exponents is not None:
        first = exponents[0][:, 0]
        numbers["exponent"] = float(first.mean())
        numbers["exponent_low"], numbers["exponent_high"] = float(first.min()), float(first.max())

    powers: dict[str, Any] = {}
    if isinstance(net, RNN) and sound:
        powers["W"] = matrix_power_curve(weight, POWERS)
        numbers["radius"] = float(powers["W"].spectral_radius)
        numbers["norm"] = float(np.linalg.norm(weight.astype(np.float64), 2))
        numbers["bound"] = GAMMA[net.nonlinearity] * numbers["norm"]
        numbers["nonlinearity"] = net.nonlinearity

    bounds = spectra = path = None
    if small is not None and sound:
        _, little = small.record()
        last = small.steps - 1
        bounds = bounds_of(little, None, last, layer, reverse)
        spectra = singular_values_by_lag(little, None, last, layer, reverse)
        measured = bounds.measured.mean(axis=1)
        numbers |= {
            "lag": last,
            "transition": float(measured[-1]),
            "transition_low": float(bounds.measured[-1].min()),
            "transition_high": float(bounds.measured[-1].max()),
            "peak": float(measured.max()),
            "peak_lag": int(measured.argmax()),
        }
        if isinstance(net, LSTM):
            path = cell_path(little, None, last, layer, reverse)
            numbers["memory"] = float(np.median(path.memory))
            numbers |= _ratios(path.ratio)
        jacobian = step_jacobians(little, layer, reverse)[0 if reverse else -1, 0]
        powers["J of the last step"] = matrix_power_curve(jacobian, POWERS)
    begins, stops = chosen.stretches()
    cell = next((kind.__name__ for kind in (LSTM, GRU, RNN) if isinstance(net, kind)), "formula")
    return Results(
        layer,
        reverse,
        Numbers(
            cell,
            steps,
            min(steps, int((stops - begins).max())),
            top=layer == net.num_layers - 1,
            bias=net.bias,
            weight=parameter[: parameter.index("_l")],
            **numbers,
        ),
        gradients,
        gates,
        exponents,
        bounds,
        spectra,
        path,
        powers,
    )


def length(a: Array) -> float:
    """The Frobenius norm, also of numbers whose squares float64 cannot hold."""
    largest = float(np.abs(a).max(initial=0.0))
    if not 0 < largest < np.inf:
        return largest
    return largest * float(np.linalg.norm((a / largest).ravel()))


def _ratios(ratio: Array) -> dict[str, Any]:
    """The extremes by lag of the median size, of the units that have a path of their own."""
    found = {}
    for lag, values in enumerate(np.abs(ratio).reshape(len(ratio), -1)):
        values = values[~np.isnan(values)]
        if lag and values.size:
            found[lag] = float(np.median(values))
    if not found:
        return {}
    low, high = min(found, key=found.__getitem__), max(found, key=found.__getitem__)
    return {
        "ratio_low": found[low], "ratio_low_lag": low,
        "ratio_high": found[high], "ratio_high_lag": high, "ratio_lags": max(found),
    }  # fmt: skip


def _exponents(
    net: Any, chosen: Sequences, layer: int, reverse: bool
) -> tuple[Array, Array] | None:
    """Of each row's longest episode, its end: (B, n), and the running estimates (T, B, n)."""
    begins, stops = chosen.stretches()
    count = min(EXPONENT_STEPS, int((stops - begins).max(initial=0)))
    rows = np.flatnonzero(stops - begins >= count)[:EXPONENT_ROWS]
    if count < 2:
        return None
    window = chosen.rows(rows).window(stops[rows] - count, stops[rows])
    size = sum(net._sizes.states)
    x = np.swapaxes(window.x, 0, 1) if net.batch_first else window.x
    # The first vectors are none of the system's: a tenth of the steps turns them.
    found = lyapunov_exponents(
        net,
        np.ascontiguousarray(x),
        min(EXPONENTS, size),
        discard=count // 10,
        state=window.state,
        layer=layer,
        reverse=reverse,
        history=True,
    )
    return np.asarray(found[0]), np.asarray(found[1])


def _sampled(
    sequences: Sequences,
    window: Window,
    rows: Array,
    kept: Array,
    had: int,
    small: Window | None,
    default: bool,
) -> list[str]:
    """In words, what was looked at."""
    steps, batch = sequences.x.shape[:2]
    said = []
    if len(rows) < batch:
        said.append(f"{len(rows)} of {batch} rows, the longest")
    if (window.stops - window.starts < sequences.lengths[rows]).any():
        said.append(
            f"{window.steps} of up to {steps} steps of each, from the states that led there"
        )
    count = int(np.any(kept != 0, axis=(1, 2)).sum())
    if count < had:
        said.append(f"{count} of {had} steps with a loss")
    if default:
        said.append("as loss the sum of the outputs where each direction's run ends")
    if small is None:
        said.append("no spectra: the state is too large, or the sequences too short")
    else:
        last = small.steps - 1
        said.append(f"Jacobians over {last} lags, {_rows(len(small.lengths))}")
    return said


def _rows(count: int) -> str:
    return f"{count} row{'s' if count != 1 else ''}"
