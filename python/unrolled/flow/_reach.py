"""How far back gradients reach in one cell and in another, as they begin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _arguments as arguments
from .. import cells as gallery
from .._arguments import Array
from ..cells._recurrent import Recurrent
from ._axes import label_decades, on_axes
from ._kernels import gradient_by_lag
from ._plots import BLUE, GREY

ROWS = 8
# Where a picture ends.
LEAST = 1e-40


@dataclass(frozen=True)
class Reach:
    """What `reach` found, a line for each cell.

    Attributes
    ----------
    names : tuple of str
    states, parameters : array of int
        How many states a cell carries, how many numbers its parameters are.
    by_lag : array (cells, lag + 1)
        Norm of the part of the gradient by ``weight_ih`` that comes from so many steps back, a loss
        at the last step alone; divided by that of lag 0.
    """

    names: tuple[str, ...]
    states: Array
    parameters: Array
    by_lag: Array

    def __str__(self) -> str:
        wide = max(map(len, self.names))
        last = f"lag {self.by_lag.shape[1] - 1}"
        lines = [f"{'cell':<{wide}}  states  parameters  {last:>9}"]
        for name, states, count, lags in zip(
            self.names, self.states, self.parameters, self.by_lag, strict=True
        ):
            lines.append(f"{name:<{wide}}  {states:>6}  {count:>10}  {lags[-1]:>9.2g}")
        return "\n".join(lines)


def reach(
    cells: Any = None,
    lag: int = 100,
    *,
    input_size: int = 32,
    hidden_size: int = 32,
    seed: int = 0,
) -> Reach:
    """Compare how far back gradients reach in networks of several cells, at initialisation.

    One layer each, in float64, on the same 8 rows of standard normal numbers.

    Parameters
    ----------
    cells : sequence of unrolled.cells.Cell, or mapping of names to them, optional
        None is the whole gallery.
    lag : int
        The furthest.
    input_size, hidden_size : int
    seed : int
        Of the parameters and of the numbers.

    Returns
    -------
    Reach
        To be printed, or drawn by `plot_reach`.

    Example
    -------
    >>> import unrolled as ur
    >>> found = ur.flow.reach([ur.cells.rnn, ur.cells.lstm], 20)
    >>> bool(found.by_lag[0, 20] < found.by_lag[1, 20])
    True
    """
    lag = arguments.integer("lag", lag, at_least=0)
    if cells is None:
        cells = [cell for cell in vars(gallery).values() if isinstance(cell, gallery.Cell)]
    if not isinstance(cells, Mapping):
        cells = {getattr(cell, "name", ""): cell for cell in cells}
    if not cells:
        raise ValueError("cells: expected at least one, got none")
    x = np.random.default_rng(seed).normal(size=(lag + 1, ROWS, input_size))
    states, parameters, by_lag = [], [], []
    for cell in cells.values():
        net = Recurrent(cell, input_size, hidden_size, dtype="float64", seed=seed)
        y, _, tape = net.record(x)
        dy = np.zeros_like(y)
        dy[-1] = np.random.default_rng(seed + 1).normal(size=y.shape[1:])
        lags = gradient_by_lag(tape, dy, "weight_ih_l0").by_lag
        states.append(len(net.cell.states))
        parameters.append(net.num_parameters)
        with np.errstate(divide="ignore", invalid="ignore"):
            by_lag.append(lags / lags[0])
    return Reach(tuple(cells), np.array(states), np.array(parameters), np.array(by_lag))


@on_axes(Reach, "names", "by_lag")
def plot_reach(reach: Any, ax: Any = None) -> Any:
    """Draw what reaches the furthest lag, a bar for each cell, the farthest-reaching on top.

    Parameters
    ----------
    reach : Reach
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    last = np.asarray(reach.by_lag)[:, -1]
    order = np.argsort(np.nan_to_num(last, nan=0.0), kind="stable")
    names = [reach.names[n] for n in order]
    # A term by itself is exact far below what a sum of all of them would show.
    low = max(float(np.min(last, where=last > 0, initial=1.0)) / 10, LEAST)
    ax.barh(names, np.maximum(last[order] - low, 0), left=low, color=BLUE, height=0.7, gid="reach")
    ax.axvline(1, color=GREY, lw=0.8)
    ax.set_xscale("log")
    label_decades(ax.xaxis)
    ax.set_xlim(low, max(10.0, 3 * float(np.nanmax(last, initial=1.0))))
    ax.tick_params(axis="y", labelsize="x-small")
    ax.grid(axis="y", visible=False)
    lag = np.asarray(reach.by_lag).shape[1] - 1
    ax.set(
        title="How far back gradients reach", xlabel=f"gradient from lag {lag}, of that of lag 0"
    )
    return ax
