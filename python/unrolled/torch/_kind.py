"""What a recurrence is, whoever computes it."""

from __future__ import annotations

from typing import Any, NamedTuple

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


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


class Sizes(NamedTuple):
    """Columns of x, of c and of h; the last two differ where h is projected."""

    input: int
    hidden: int
    state: int
