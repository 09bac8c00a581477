"""A cell's kernels against the plain reference, and that against central differences."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _arguments as arguments
from .._arguments import Array
from .._tolerances import TOLERANCES, relative_error
from ..reference import Recurrent as Plain
from ._cell import Cell
from ._recurrent import Recurrent

STEPS, BATCH, INPUTS, HIDDEN = 7, 3, 4, 11


def check(cell: Cell, *, seed: int = 0) -> bool:
    """Judge a cell: forward, every gradient, and central differences. Prints a table.

    The kernels, in float32 and float64, are compared with `unrolled.reference.Recurrent`, which
    calls the cell's own function; the gradients of that with central differences of its outputs,
    unless `spike` or `stop_gradient` give the formula a derivative that is not that of its values.

    Parameters
    ----------
    cell : Cell
    seed : int
        For the parameters and the input.

    Returns
    -------
    good : bool
        Whether every error is within its bound.

    Example
    -------
    >>> import unrolled as ur
    >>> ur.cells.check(ur.cells.ugrnn)  # doctest: +ELLIPSIS
    ugrnn ...
    True
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"cell: expected a cell of unrolled.cell, got {type(cell).__name__}")
    seed = arguments.seed("seed", seed)
    good, nan = True, False
    print(f"{cell.name:<32}{'error':>10}{'bound':>10}")
    for what, error, bound in _errors(cell, seed):
        within = bool(error <= bound)
        good &= within
        nan |= bool(np.isnan(error))
        print(f"  {what:<30}{error:>10.1e}{bound:>10.0e}{'' if within else '  TOO LARGE'}")
    if nan:
        print("  nan: not every result is finite; x and the parameters are of both signs here")
    if not _differentiable(cell):
        print("  no central differences: a spike or stop_gradient has a derivative of its own")
    return good


def _differentiable(cell: Cell) -> bool:
    """Whether the gradient is meant to be the derivative of what the cell computes."""
    return not any(op in ("spike", "stop_gradient") for op, *_ in cell.formula()["nodes"])


def _errors(cell: Cell, seed: int) -> Iterator[tuple[str, float, float]]:
    plain = Plain(cell, INPUTS, HIDDEN, dtype="float64", seed=seed)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(STEPS, BATCH, INPUTS))
    dy = rng.normal(size=(STEPS, BATCH, HIDDEN))
    expected = _all(plain, x, dy)
    for dtype in ("float32", "float64"):
        net = Recurrent(cell, INPUTS, HIDDEN, dtype=dtype, seed=seed)
        net.load_state_dict({k: v.astype(dtype) for k, v in plain.state_dict().items()})
        found = _all(net, x.astype(dtype), dy.astype(dtype))
        for name, value in found.items():
            bound = TOLERANCES[f"reference.{'output' if name == 'y' else 'gradient'}.{dtype}"]
            yield f"{name}, {dtype}", relative_error(value, expected[name]), bound
    if _differentiable(cell):
        yield "central differences", _differences(plain, x, dy, expected), TOLERANCES["difference"]


def _all(net: Any, x: Array, dy: Array) -> dict[str, Array]:
    """The outputs and every gradient, by name."""
    y, _, tape = net.record(x)
    g = tape.backward(dy)
    return {"y": y, "d_x": g.input, **{f"d_{name}": a for name, a in g.parameters.items()}}


def _differences(plain: Any, x: Array, dy: Array, expected: dict[str, Array]) -> float:
    """The largest error of a few derivatives by each parameter, relative to its largest."""
    step, worst = TOLERANCES["difference.step"], 0.0
    rng = np.random.default_rng(1)
    parameters = plain.state_dict()
    for name, a in parameters.items():
        flat = a.reshape(-1)
        largest = max(1.0, float(np.abs(expected[f"d_{name}"]).max()))
        for at in rng.choice(flat.size, min(8, flat.size), replace=False):
            values = []
            for sign in (1, -1):
                moved = flat.copy()
                moved[at] += sign * step
                plain.load_state_dict({**parameters, name: moved.reshape(a.shape)})
                values.append(float((plain(x)[0] * dy).sum()))
            slope = (values[0] - values[1]) / (2 * step)
            error = abs(slope - float(expected[f"d_{name}"].reshape(-1)[at]))
            # Of the two the NaN, if there is one.
            worst = float(np.maximum(worst, error / largest))
    plain.load_state_dict(parameters)
    return worst
