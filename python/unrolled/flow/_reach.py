"""How far back gradients reach in one cell and in another, as they begin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _arguments as arguments
from .. import cells as gallery
from .._arguments import Array
from ..cells._recurrent import Recurrent, given
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
    kept : array
        Numbers that a tape in float32 keeps of every unit, step and row, the input left out.
        Fractional where rows are padded.
    by_lag : array (cells, lag + 1)
        Norm of the part of the gradient by ``weight_ih`` that comes from so many steps back, a loss
        at the last step alone; divided by that of lag 0. NaN where that is 0.
    """

    names: tuple[str, ...]
    states: Array
    parameters: Array
    kept: Array
    by_lag: Array

    def __str__(self) -> str:
        wide = max(map(len, self.names))
        last = f"lag {self.by_lag.shape[1] - 1}"
        lines = [f"{'cell':<{wide}}  states  parameters  kept  {last:>9}"]
        columns = self.states, self.parameters, self.kept, self.by_lag[:, -1]
        for name, states, count, kept, share in zip(self.names, *columns, strict=True):
            lines.append(f"{name:<{wide}}  {states:>6}  {count:>10}  {kept:>4.3g}  {share:>9.2g}")
        return "\n".join(lines)


def named(cells: Any) -> dict[str, Any]:
    """Cells by name: those of a sequence or a mapping, or the whole gallery for None."""
    if cells is None:
        cells = [cell for cell in vars(gallery).values() if isinstance(cell, gallery.Cell)]
    if isinstance(cells, (gallery.Cell, str)):
        cells = [cells]
    if not isinstance(cells, Iterable) or isinstance(cells, (bytes, np.ndarray)):
        raise TypeError(
            f"cells: expected a sequence of cells or a mapping, got {arguments.kind(cells)}"
        )
    found: dict[str, Any] = {}
    for name, cell in cells.items() if isinstance(cells, Mapping) else _pairs(cells):
        if not isinstance(name, str):
            raise TypeError(f"cells: expected names as keys, got {arguments.kind(name)}")
        if name in found:
            raise ValueError(
                f"cells: expected a name for each, got two cells named {name!r}; "
                "use a dict of names to cells"
            )
        found[name] = given(cell, {})
    if not found:
        raise ValueError("cells: expected at least one, got none")
    return found


def _pairs(cells: Iterable[Any]) -> Iterator[tuple[str, Any]]:
    for each in cells:
        cell = given(each, {})
        yield cell.name, cell


def reach(
    cells: Any = None,
    lag: int = 100,
    *,
    input_size: int = 32,
    hidden_size: int = 32,
    seed: int = 0,
) -> Reach:
    """Compare how far back gradients reach in networks of several cells, at initialisation.

    One layer each, in float64, reads the same ``lag + 1`` steps of 8 rows of standard normal
    numbers. The loss is at the last step alone, with normal derivatives by h. Its gradient by
    ``weight_ih_l0`` is a sum over the steps at which these weights were used, as
    `gradient_by_lag` has it; the norms of its terms are what is compared.

    Parameters
    ----------
    cells : sequence of unrolled.cells.Cell, mapping of names to them, or one, optional
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

    Raises
    ------
    TypeError, ValueError
        If what is given are no cells, or two of them have one name and no mapping tells them apart.

    Example
    -------
    >>> import unrolled as ur
    >>> found = ur.flow.reach([ur.cells.rnn, ur.cells.lstm], 20)
    >>> bool(found.by_lag[0, 20] < found.by_lag[1, 20])
    True
    """
    lag = arguments.size("lag", lag, at_least=0)
    input_size = arguments.size("input_size", input_size, at_least=1)
    hidden_size = arguments.size("hidden_size", hidden_size, at_least=1)
    cells, seed = named(cells), arguments.seed("seed", seed)
    x = np.random.default_rng(seed).normal(size=(lag + 1, ROWS, input_size))
    states, parameters, kept, by_lag = [], [], [], []
    for cell in cells.values():
        net = Recurrent(cell, input_size, hidden_size, dtype="float64", seed=seed)
        y, _, tape = net.record(x)
        dy = np.zeros_like(y)
        dy[-1] = np.random.default_rng(seed + 1).normal(size=y.shape[1:])
        lags = gradient_by_lag(tape, dy, "weight_ih_l0").by_lag
        states.append(len(net.cell.states))
        parameters.append(net.num_parameters)
        kept.append(_kept(Recurrent(cell, input_size, hidden_size, seed=seed)))
        with np.errstate(divide="ignore", invalid="ignore"):
            by_lag.append(lags / lags[0])
    return Reach(tuple(cells), *map(np.array, (states, parameters, kept, by_lag)))


def _kept(net: Any) -> float:
    """Numbers of a tape a unit, step and row: what a longer one has more than a shorter one."""
    sizes = []
    for steps in (16, 80):
        _, _, tape = net.record(np.zeros((steps, ROWS, net.input_size), net.dtype))
        sizes.append(tape.nbytes / net.dtype.itemsize)
    return float(((sizes[1] - sizes[0]) / (64 * ROWS) - net.input_size) / net.hidden_size)


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
