"""What a recurrence is, whoever computes it."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

from .._native import Formula, Network
from ..cells import Cell

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


class Traits(NamedTuple):
    """What follows from a cell alone."""

    # None for a cell of `GATES`.
    formula: Cell | None
    # Blocks of as many rows as there are units in weight_ih.
    blocks: int
    states: int
    # Weights of each layer and direction: matrices, then biases if there are any, then others.
    matrices: tuple[str, ...]
    biases: tuple[str, ...]
    others: tuple[str, ...]
    # What `_native` makes the cell of.
    native: str | Formula
    # For a profiler.
    label: str


@lru_cache(maxsize=256)
def _traits(cell: str) -> Traits:
    matrices: tuple[str, ...] = ("weight_ih", "weight_hh")
    biases: tuple[str, ...] = ("bias_ih", "bias_hh")
    if cell in GATES:
        states = 2 if cell == "lstm" else 1
        return Traits(None, GATES[cell], states, matrices, biases, (), cell, cell)
    formula = Cell(cell)
    of = slice(None) if any(entry["h"] is not None for entry in formula.maps) else slice(1)
    return Traits(
        formula,
        sum(entry["x"] for entry in formula.maps),
        len(formula.states),
        matrices[of],
        biases[of],
        ("weight_p",) if formula.parameters else (),
        formula._compiled,
        formula.name,
    )


class Kind(NamedTuple):
    """A recurrence, all but its sizes, which the weights have."""

    # "lstm", "gru", "rnn_tanh" or "rnn_relu": `_native`'s names, and those of PyTorch's functions.
    # Or a formula: its description as JSON.
    cell: str
    layers: int
    bidirectional: bool
    bias: bool
    # An LSTM whose h is projected: each direction has a weight_hr.
    projected: bool

    @property
    def traits(self) -> Traits:
        return _traits(self.cell)

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def names(self) -> tuple[str, ...]:
        """Of the weights of each layer and direction."""
        traits = self.traits
        biases = traits.biases if self.bias else ()
        return *traits.matrices, *biases, *traits.others, *("weight_hr",) * self.projected

    @property
    def per_direction(self) -> int:
        """Weights of each layer and direction."""
        return len(self.names)

    def layer(self) -> Kind:
        """One of its layers alone."""
        return self._replace(layers=1)

    def sizes(self, weights: Any) -> Sizes:
        """Of these weights, all layers' and directions' in a row."""
        rows, columns = weights[0].shape
        hidden = rows // self.traits.blocks
        return Sizes(columns, hidden, weights[1].shape[1] if self.projected else hidden)

    def columns(self, sizes: Sizes) -> tuple[int, ...]:
        """Of each state."""
        return (sizes.state, *(sizes.hidden,) * (self.traits.states - 1))

    def network(self, sizes: Sizes, dtype: str) -> Network:
        """One with weights of zero."""
        return Network(
            self.traits.native,
            sizes.input,
            sizes.hidden,
            self.layers,
            self.bias,
            self.bidirectional,
            sizes.state if self.projected else 0,
            False,
            dtype,
        )


class Sizes(NamedTuple):
    """Columns of x, of c and of h; the last two differ where h is projected."""

    input: int
    hidden: int
    state: int
