"""Nets of formulas that the tests write as Rust: the gallery's, every function, awkward names."""

from __future__ import annotations

from typing import Any

import unrolled as ur
from unrolled.cells import (
    abs,
    clip,
    cos,
    exp,
    linear,
    log,
    log_sigmoid,
    maximum,
    minimum,
    relu,
    sigmoid,
    silu,
    sin,
    softplus,
    spike,
    sqrt,
    stop_gradient,
    tanh,
    where,
)


@ur.cell(p={"power": 1.5})
def everything(x: Any, h: Any, c: Any, *, p: Any, alpha: float = 0.3, beta: float = 1e-3) -> Any:
    """Every function there is, and every kind of map."""
    a = sigmoid(x.a + h.a) + log(1 + exp(-abs(x.b))) + sqrt(beta + c * c)
    b = sin(h.c) * cos(x.a2) + log_sigmoid(x.b2) - softplus(-c) / (2 + silu(a))
    m = minimum(a, b) + maximum(c, clip(b, -alpha, 0.7)) + abs(b) ** p.power
    s = where(a <= b, m, relu(b)) + where(m > 1.5, 1.0, 0.0) * where(c == 0.0, a, 2 * m) ** 3
    n = tanh(linear("n", alpha * s) + where(h != 0.0, s, 1.0)) - (1.0 + c) * stop_gradient(c)
    fired = spike(n - 0.1, "atan", 2.0) + spike(a - 1, "sigmoid", 4.0) + spike(b)
    return tanh(n - alpha * h) + 0.1 * fired, 0.5 * tanh(c - s + p.power)


@ur.cell
def crowded(x: Any, h: Any) -> Any:
    """A stage that keeps more than it has slots for, and a slot that feeds both stages."""
    d = x.d + h.d
    quotient, other = d / (2 + abs(d)), (1 + d) / (3 + abs(h))
    n = linear("n", quotient * h) + linear("m", other)
    return quotient * tanh(n) + other * tanh(n / (2 + abs(quotient)))


@ur.cell
def of_number(x: Any, h: Any, *, scale: float = 1.0) -> Any:
    """A map of a constant, whose value is needed elsewhere as well."""
    return where(h < 0.1, scale, 0.5) * tanh(x.a + linear("k", scale))


@ur.cell
def leaky_rnn(x: Any, h: Any, *, alpha: float = 0.1) -> Any:
    """Of the same name as the gallery's, and another."""
    return (1 - alpha) * h + alpha * tanh(x.h)


@ur.cell(p={"fn": 0.5})
def awkward(x: Any, h: Any, slots: Any, *, p: Any, one: float = 3.1415, σ: float = 0.25) -> Any:
    """Names that mean something in Rust, or are not ASCII, or differ in case alone."""
    i = sigmoid(x.match + h.match + p.fn * slots) + x.α * σ + x.R
    slots = tanh(i * one + h.d_states + x.d) + 0.5 * slots * x.r
    return tanh(x.len + linear("type", slots) + p.math), slots + p.P


def renamed(cell: ur.cells.Cell, name: str, maps: list[str] | None = None) -> ur.cells.Cell:
    """With names that a function could not have, but a file may."""
    formula = cell.formula()
    formula["name"] = name
    for entry, own in zip(formula["maps"], maps or [], strict=False):
        entry["name"] = own
    return ur.cells.from_description(formula)


def recurrent(cell: Any, *sizes: int, **more: Any) -> ur.Recurrent:
    return ur.Recurrent(cell, *sizes, **more)


CELLS = ur.cells
MODELS: dict[str, Any] = {
    "peephole": lambda: recurrent(CELLS.peephole_lstm, 2, 9, seed=1),
    "coupled": lambda: recurrent(CELLS.coupled_lstm, 1, 16, dtype="float64", seed=2),
    "mgu": lambda: recurrent(CELLS.mgu, 3, 7, seed=3),
    "min_gru": lambda: recurrent(CELLS.min_gru, 3, 12, seed=4),
    "gru_original": lambda: recurrent(CELLS.gru_original, 2, 10, dtype="float64", seed=5),
    "slstm": lambda: recurrent(CELLS.slstm, 2, 8, seed=6),
    "ind_rnn": lambda: recurrent(CELLS.ind_rnn, 2, 17, bias=False, seed=7),
    "lem": lambda: recurrent(CELLS.lem, 2, 6, dtype="float64", dt=0.7, seed=8),
    "co_rnn": lambda: recurrent(CELLS.co_rnn, 2, 11, seed=9),
    "lif": lambda: recurrent(CELLS.lif, 3, 9, threshold=0.3, seed=10),
    "everything": lambda: recurrent(everything, 2, 5, seed=11),
    "everything_f64": lambda: recurrent(everything, 2, 9, dtype="float64", seed=11),
    "crowded": lambda: recurrent(crowded, 2, 6, seed=12),
    "of_number": lambda: recurrent(of_number, 2, 5, seed=20),
    "awkward": lambda: recurrent(renamed(awkward, "Self"), 2, 6, seed=13),
    "renamed": lambda: recurrent(renamed(CELLS.gru, "_", ["a_", "a", "a__", "A"]), 1, 4, seed=19),
    "mixed": lambda: ur.Sequential(
        recurrent(CELLS.leaky_rnn, 2, 7, num_layers=2, alpha=0.3, seed=14),
        ur.Activation("tanh"),
        recurrent(CELLS.leaky_rnn, 7, 5, seed=15),
        recurrent(leaky_rnn, 5, 5, seed=16),
        ur.LSTM(5, 4, seed=17),
        ur.Dense(4, 2, seed=18),
    ),
}
# Those that the program also trains, forward and back.
TRAINED = [
    "peephole",
    "mgu",
    "min_gru",
    "gru_original",
    "slstm",
    "lem",
    "co_rnn",
    "lif",
    "everything_f64",
    "crowded",
    "of_number",
    "awkward",
]
