"""Networks of any cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .. import _arguments as arguments
from .._modules import RecurrentNet
from .._native import Formula
from ._cell import Cell


def given(cell: Any, constants: Mapping[str, float]) -> Cell:
    """The cell that an argument `cell` stands for, with these constants as its own."""
    expected = "cell: expected what ur.cell makes of a function, such as ur.cells.peephole_lstm"
    if isinstance(cell, str) and cell.isidentifier():
        raise ValueError(f"{expected}, got the name {cell!r}")
    if isinstance(cell, (Mapping, str)):
        cell = Cell(cell)
    if not isinstance(cell, Cell):
        raise TypeError(f"{expected}, got {arguments.kind(cell)}")
    return cell.with_constants(**constants) if constants else cell


class Recurrent(RecurrentNet[Any]):
    """A network of a cell of your own, or of the gallery in `unrolled.cells`.

    Everything else is as for `LSTM`: layers, directions, ragged rows, resets, checkpoints,
    truncation, streams. The cell's formula is compiled to a short program of vector instructions,
    forward and back.

    Parameters
    ----------
    cell : Cell
        What `unrolled.cell` makes of a function; or its description, as `Cell.formula` gives it.
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype, seed
        As for `LSTM`.
    **constants : float
        Values of the cell's constants, instead of their defaults.

    Raises
    ------
    TypeError, ValueError
        If an argument is none that was expected, or names no constant of the cell.

    Notes
    -----
    The state is h for a cell of one state, else a tuple in the cell's order. The parameters are
    ``weight_ih_l0`` and ``bias_ih_l0``, whose blocks of H rows are the maps of x in order of first
    use; ``weight_hh_l0`` and ``bias_hh_l0``, the maps of h and of computed values; and
    ``weight_p_l0``, blocks of H numbers, the parameters of the units. What a cell does not have is
    left out. All begin as an `LSTM`'s, but what the cell gives first values for: its ``p.name``, 0
    if nothing else is said, and biases.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> from unrolled.cells import sigmoid, tanh
    >>> @ur.cell
    ... def gated(x, h):
    ...     z = sigmoid(x.z + h.z)
    ...     return z * h + (1 - z) * tanh(x.n + h.n)
    >>> net = ur.Recurrent(gated, 3, 8, seed=1)
    >>> y, h, tape = net.record(np.ones((5, 4, 3), dtype=np.float32))
    >>> y.shape, tape.backward(y).parameters["weight_hh_l0"].shape
    ((5, 4, 8), (16, 8))
    """

    _has_gates = False

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = "float32",
        seed: int | None = None,
        **constants: float,
    ) -> None:
        self.cell = given(cell, constants)
        self._formula = self.cell.formula()
        if self._formula["bias"] and not arguments.flag("bias", bias):
            raise ValueError(
                "bias: expected True for a cell with first values of biases, got False"
            )
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            dtype=dtype,
            seed=seed,
        )
        self._first_values()

    def _native_cell(self) -> Formula:
        return self.cell._compiled

    def _states(self) -> int:
        return len(self.cell.states)

    def _first_values(self) -> None:
        """Sets what the cell gives first values for, the others as they have been drawn."""
        values = self.state_dict()
        self.cell.first_values(self.hidden_size, values)
        self.load_state_dict(values)

    def initialise(self, init: str = "uniform", *, seed: int | None = None) -> None:
        """Draw the parameters anew; then set what the cell gives first values for.

        As `LSTM.initialise`.
        """
        super().initialise(init, seed=seed)
        self._first_values()

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON knows them; the cell as its description."""
        return {"cell": self._formula, **super().config()}

    def __repr__(self) -> str:
        inner = super().__repr__().removeprefix("Recurrent(").removesuffix(")")
        constants = [f", {name}={value:g}" for name, value in self.cell.constants.items()]
        return f"Recurrent({self.cell.name}, {inner}{''.join(constants)})"
