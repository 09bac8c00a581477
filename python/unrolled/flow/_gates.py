"""How open the gates are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _arguments as arguments
from .._arguments import Array
from .._modules import GRU, LSTM
from .._tape import Tape
from ._kernels import _net as network

# A logistic gate beyond these has a slope f (1 - f) under 0.09, against 0.25 in the middle.
LOW, HIGH = 0.1, 0.9

LABELS = {
    "i": "input gate i",
    "f": "forget gate f",
    "o": "output gate o",
    "r": "reset gate r",
    "z": "update gate z",
    "h": "state h",
}


@dataclass(frozen=True)
class GateSaturation:
    """How many units' gates are nearly shut or nearly open at each step.

    Attributes
    ----------
    names : tuple of str
        i, f, o of an LSTM (without f if it has none), r, z of a GRU, h of an RNN or a formula.
    low, high, mean : array (T, gates)
        In order of time: share of units and rows below 0.1, above 0.9, and the mean. NaN at a step
        where no row runs. Of an RNN and a formula the size |h|; of an RNN with relu, low is the
        share of exact zeros, which pass no gradient.
    labels, low_label, high_label, mean_label : tuple of str
        What to write beside them.
    """

    names: tuple[str, ...]
    low: Array
    high: Array
    mean: Array
    labels: tuple[str, ...]
    low_label: tuple[str, ...]
    high_label: tuple[str, ...]
    mean_label: tuple[str, ...]

    def overall(self, gate: str) -> tuple[float, float, float]:
        """low, high and mean of a gate over all steps that ran; NaN if none did."""
        index = self.names.index(gate)
        # A state that is not finite is a step that ran, and makes the mean NaN.
        there = np.isfinite(self.low[:, index])
        if not there.any():
            return (np.nan,) * 3
        low, high, mean = (float(a[there, index].mean()) for a in (self.low, self.high, self.mean))
        return low, high, mean


def gate_saturation(tape: Tape[Any], layer: int = 0, reverse: bool = False) -> GateSaturation:
    """Count the gates that are nearly shut or open: a saturated gate passes little gradient.

    Parameters
    ----------
    tape : Tape
        Not one with checkpoints.
    layer : int
    reverse : bool
        Which of the two directions.

    Returns
    -------
    GateSaturation

    Raises
    ------
    ValueError
        If the network has no such layer or direction, or the tape does not hold every step.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> net = ur.LSTM(3, 8, forget_bias=4.0, seed=0)
    >>> _, _, tape = net.record(np.ones((20, 4, 3), dtype=np.float32))
    >>> ur.flow.gate_saturation(tape).overall("f")[1] > 0.9
    True
    """
    net = network(tape)
    values, runs = _values(tape, layer, reverse)
    low_label, high_label, mean_label = (f"share < {LOW}", f"share > {HIGH}", "mean")
    names = _names(net)[1]
    if names == ("h",):
        low_label, high_label, mean_label = f"|h| < {LOW}", f"|h| > {HIGH}", "mean |h|"
    low = values < LOW
    if names == ("h",) and getattr(net, "nonlinearity", "") == "relu":
        low, low_label = values == 0, "h = 0"
    count = runs.sum(1)[:, None] * values.shape[-1]

    def share(a: Array) -> Array:
        total = np.where(runs[:, :, None, None], a, 0).sum((1, 3), dtype=np.float64)
        nowhere = np.full(total.shape, np.nan)
        return np.asarray(np.divide(total, count, out=nowhere, where=count > 0))

    many = len(names)
    return GateSaturation(
        names,
        share(low),
        share(values > HIGH),
        share(values),
        tuple(LABELS[name] for name in names),
        (low_label,) * many,
        (high_label,) * many,
        (mean_label,) * many,
    )


def gate_values(tape: Tape[Any], layer: int, reverse: bool) -> dict[str, Array]:
    """Every value of each gate (|h| where there are none) at the steps that ran."""
    values, runs = _values(tape, layer, reverse)
    names = _names(tape._net)[1]
    return {name: values[:, :, index][runs].ravel() for index, name in enumerate(names)}


def _names(net: Any) -> tuple[str, tuple[str, ...]]:
    """In the order of the tape, and those that are gates."""
    if isinstance(net, LSTM):
        return ("ifgo", ("i", "f", "o")) if net.forget_gate else ("igo", ("i", "o"))
    return ("rzn", ("r", "z")) if isinstance(net, GRU) else ("h", ("h",))


def _values(tape: Tape[Any], layer: int, reverse: bool) -> tuple[Array, Array]:
    """(T, B, gates, H), and which steps ran (T, B)."""
    net = tape._net
    layer = arguments.integer("layer", layer, at_least=0)
    if layer >= net.num_layers or (arguments.flag("reverse", reverse) and not net.bidirectional):
        raise ValueError(f"layer, reverse: expected one of {net!r}, got {layer}, {reverse}")
    order, names = _names(net)
    # An RNN's h is its only gate, and what a formula's gates are nobody says.
    found: Any = tape.hidden if names == ("h",) else tape.gates
    every = found if isinstance(found, tuple) else (found,)
    gates = np.asarray(every[layer * net.num_directions + int(reverse)], np.float64)
    if names == ("h",):
        gates = gates[..., None, :]
    if gates.ndim == 3:
        gates = gates[:, None]
    steps, batch = gates.shape[:2]
    runs = np.ones((steps, batch), np.bool_)
    if tape._given.lengths is not None:
        lengths = arguments.lengths(tape._given.lengths, steps, batch)
        runs = np.arange(steps)[:, None] < np.asarray(lengths)
    values = gates[:, :, [order.index(name) for name in names]]
    return np.abs(values) if names == ("h",) else values, runs
