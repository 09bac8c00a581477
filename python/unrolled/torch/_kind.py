"""What a recurrence is, whoever computes it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from .._native import Network
from ..cells import Cell

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


class Recurrence(Protocol):
    """What `_weights` and `_run` ask of it."""

    @property
    def matrices(self) -> int:
        """So many of the weights, the first, are matrices."""

    @property
    def directions(self) -> int:
        """1 or 2."""

    @property
    def label(self) -> str:
        """For a profiler."""

    def sizes(self, weights: Any) -> Sizes:
        """Of these weights, all layers' and directions' in a row."""

    def network(self, sizes: Sizes, dtype: str) -> Network:
        """One with weights of zero."""


class Kind(NamedTuple):
    """A recurrence, all but its sizes, which the weights have."""

    # "lstm", "gru", "rnn_tanh" or "rnn_relu": `_native`'s names, and those of PyTorch's functions.
    cell: str
    layers: int
    bidirectional: bool
    bias: bool
    # An LSTM whose h is projected: each direction has a weight_hr.
    projected: bool

    @property
    def matrices(self) -> int:
        return 2

    @property
    def label(self) -> str:
        return self.cell

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def has_c(self) -> bool:
        return self.cell == "lstm"

    @property
    def per_direction(self) -> int:
        """Weights of each layer and direction: w_ih, w_hh, b_ih, b_hh, w_hr."""
        return 2 + 2 * self.bias + self.projected

    def layer(self) -> Kind:
        """One of its layers alone."""
        return self._replace(layers=1)

    def sizes(self, weights: Any) -> Sizes:
        """Of these weights, all layers' and directions' in a row."""
        state = weights[1].shape[1]
        return Sizes(weights[0].shape[1], weights[1].shape[0] // GATES[self.cell], state)

    def network(self, sizes: Sizes, dtype: str) -> Network:
        """One with weights of zero."""
        return Network(
            self.cell,
            sizes.input,
            sizes.hidden,
            self.layers,
            self.bias,
            self.bidirectional,
            sizes.state if self.projected else 0,
            False,
            dtype,
        )


@lru_cache(maxsize=256)
def parsed(text: str) -> Cell:
    """The cell of a description."""
    return Cell(text)


class FormulaKind(NamedTuple):
    """A recurrence of a formula, all but its sizes."""

    # Its description as JSON.
    formula: str
    layers: int
    bidirectional: bool
    bias: bool

    @property
    def cell(self) -> Cell:
        return parsed(self.formula)

    @property
    def label(self) -> str:
        return self.cell.name

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def states(self) -> int:
        return len(self.cell.states)

    @property
    def names(self) -> tuple[str, ...]:
        """The weights of each layer and direction."""
        maps = self.cell.maps
        of_h = any(entry["h"] is not None for entry in maps)
        names = ["weight_ih"] + ["weight_hh"] * of_h
        names += ["bias_ih"] * self.bias + ["bias_hh"] * (self.bias and of_h)
        return (*names, *["weight_p"] * bool(self.cell.parameters))

    @property
    def matrices(self) -> int:
        return sum(name.startswith("weight") and name != "weight_p" for name in self.names)

    def layer(self) -> FormulaKind:
        """One of its layers alone."""
        return self._replace(layers=1)

    def sizes(self, weights: Any) -> Sizes:
        """Of these weights, all layers' and directions' in a row."""
        blocks = sum(entry["x"] for entry in self.cell.maps)
        units = weights[0].shape[0] // blocks
        return Sizes(weights[0].shape[1], units, units)

    def network(self, sizes: Sizes, dtype: str) -> Network:
        """One with weights of zero."""
        sides = self.layers, self.bias, self.bidirectional
        return Network(self.cell._compiled, sizes.input, sizes.hidden, *sides, 0, False, dtype)


class Sizes(NamedTuple):
    """Columns of x, of c and of h; the last two differ where h is projected."""

    input: int
    hidden: int
    state: int
