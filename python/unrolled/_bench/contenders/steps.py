"""Cells of formulas as users of the peers write them: one step, by the functions of a library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..._arguments import Array
from ..task import Task
from .base import UnsupportedError

ALPHA = 0.1


class Functions(Protocol):
    """What a library calls them, on arrays (B, H)."""

    sigmoid: Callable[[Any], Any]
    log_sigmoid: Callable[[Any], Any]
    tanh: Callable[[Any], Any]
    exp: Callable[[Any], Any]
    maximum: Callable[[Any, Any], Any]
    # Zero mean and unit variance of each row, 1e-5 added to the variance.
    normalise: Callable[[Any], Any]


# The new state of the library, the sums of the maps of x and h and the biases in blocks, the state,
# and the parameters of the units in blocks.
Step = Callable[[Functions, Any, Any, Any], tuple[Any, ...]]


def peephole_lstm(f: Functions, gates: Any, state: Any, p: Any) -> tuple[Any, ...]:
    i, forget, g, o = gates
    p_i, p_f, p_o = p
    c = state[1]
    c = f.sigmoid(forget + p_f * c) * c + f.sigmoid(i + p_i * c) * f.tanh(g)
    return f.sigmoid(o + p_o * c) * f.tanh(c), c


def layer_norm_lstm(f: Functions, gates: Any, state: Any, p: Any) -> tuple[Any, ...]:
    i, forget, g, o = (f.normalise(gate) for gate in gates)
    scale, shift = p
    c = f.sigmoid(forget) * state[1] + f.sigmoid(i) * f.tanh(g)
    return f.sigmoid(o) * f.tanh((1 + scale) * f.normalise(c) + shift), c


def slstm(f: Functions, gates: Any, state: Any, p: Any) -> tuple[Any, ...]:
    i, forget, z, o = gates
    _, c, n, m = state
    forget = f.log_sigmoid(forget) + m
    m = f.maximum(i, forget)
    i, forget = f.exp(i - m), f.exp(forget - m)
    c, n = forget * c + i * f.tanh(z), forget * n + i
    return f.sigmoid(o) * c / n, c, n, m


def leaky_rnn(f: Functions, gates: Any, state: Any, p: Any) -> tuple[Any, ...]:
    return ((1 - ALPHA) * state[0] + ALPHA * f.tanh(gates[0]),)


# Those in which every map of x and of h is summed before anything else is done with it.
STEPS: dict[str, Step] = {
    step.__name__: step for step in (peephole_lstm, layer_norm_lstm, slstm, leaky_rnn)
}


def step(task: Task) -> Step:
    """The step of a work that is a formula; or UnsupportedError."""
    work = task.work
    if work.cell not in STEPS:
        raise UnsupportedError("its LSTM and GRU are in the works of ours")
    if task.lengths is not None or task.resets is not None or work.layers * work.directions > 1:
        raise UnsupportedError("formulas in one layer, one direction, of whole rows")
    return STEPS[work.cell]


def weights(task: Task) -> dict[str, Array]:
    """By names: w_x (I, G H), w_h (H, G H), b (G H,), p (P, H)."""
    own, units = task.weights, task.work.units
    bias = own["bias_ih_l0"] + own["bias_hh_l0"]
    p = own.get("weight_p_l0", np.zeros(0, bias.dtype)).reshape(-1, units)
    return {"w_x": own["weight_ih_l0"].T, "w_h": own["weight_hh_l0"].T, "b": bias, "p": p}


def gradients(d: dict[str, Array]) -> dict[str, Array]:
    """The way back, of gradients."""
    found = {
        "weight_ih_l0": d["w_x"].T,
        "weight_hh_l0": d["w_h"].T,
        "bias_ih_l0": d["b"],
        "bias_hh_l0": d["b"],
    }
    return found | ({"weight_p_l0": d["p"].ravel()} if d["p"].size else {})
