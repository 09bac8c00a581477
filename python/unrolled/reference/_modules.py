"""The three networks: a cell, its arguments, and everything else from `Network`."""

from __future__ import annotations

from typing import Any

from . import _checks as checks
from ._cells import ACTIVATIONS, GRUCell, LSTMCell, RNNCell
from ._network import Network


class LSTM(Network):
    """Long short-term memory, any number of layers, one or two directions.

    ::

        i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)     f, o likewise, g with tanh
        c' = f * c + i * g
        h' = o * tanh(c')

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    num_layers : int
        Layer l > 0 reads the outputs of layer l - 1, both directions side by side.
    bias : bool
        Whether there are ``bias_ih`` and ``bias_hh``.
    batch_first : bool
        x, y, their gradients and resets are (B, T, ...) instead of (T, B, ...). States are not.
    dropout : float
        0.0 only.
    bidirectional : bool
        A second set of parameters, named ``..._reverse``, runs from each row's end to its start.
    proj_size : int
        If not 0, ``h' = W_hr (o * tanh(c'))`` with this many columns (Sak et al. 2014), < H.
    forget_gate : bool
        False is the cell of 1997: f is exactly 1, parameters have the rows of i, g, o.
    forget_bias : float
        Added to the forget gate's rows of ``bias_ih`` when they are drawn.
    dtype : {"float64", "float32"}
    seed : int, optional
        For the uniform draw in +-1/sqrt(H).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        forget_gate: bool = True,
        forget_bias: float = 0.0,
        dtype: Any = "float64",
        seed: int | None = None,
    ) -> None:
        input_size, hidden_size = _sizes(input_size, hidden_size)
        self.proj_size = checks.integer("proj_size", proj_size, at_least=0)
        if self.proj_size >= hidden_size:
            raise ValueError(
                f"proj_size: expected less than hidden_size = {hidden_size}, got {self.proj_size}"
            )
        self.forget_gate = checks.flag("forget_gate", forget_gate)
        self.forget_bias = checks.real("forget_bias", forget_bias)
        super().__init__(
            LSTMCell(hidden_size, self.proj_size, self.forget_gate),
            input_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            dtype=dtype,
            seed=seed,
        )
        if self.forget_bias != 0.0:
            self._add_forget_bias()

    def _add_forget_bias(self) -> None:
        if not (self.forget_gate and self.bias):
            raise ValueError(
                "forget_bias: expected 0.0 when forget_gate or bias is False, "
                f"got {self.forget_bias}"
            )
        first = self._cell.gates.index("f") * self.hidden_size
        for name, a in self._parameters.items():
            if name.startswith("bias_ih"):
                a[first : first + self.hidden_size] += self.forget_bias


class GRU(Network):
    """Gated recurrent unit, any number of layers, one or two directions.

    ::

        r = sigmoid(W_ir x + b_ir + W_hr h + b_hr)     z likewise
        n = tanh(W_in x + b_in + r * (W_hn h + b_hn))
        h' = (1 - z) * n + z * h

    Parameters
    ----------
    reset_after : bool
        False is the original form, ``n = tanh(W_in x + b_in + W_hn (r * h) + b_hn)``.
    others
        As for `LSTM`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        reset_after: bool = True,
        dtype: Any = "float64",
        seed: int | None = None,
    ) -> None:
        input_size, hidden_size = _sizes(input_size, hidden_size)
        self.reset_after = checks.flag("reset_after", reset_after)
        super().__init__(
            GRUCell(hidden_size, self.reset_after),
            input_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            dtype=dtype,
            seed=seed,
        )


class RNN(Network):
    """Simple recurrent network, any number of layers, one or two directions.

    ``h' = s(W_ih x + b_ih + W_hh h + b_hh)``

    Parameters
    ----------
    nonlinearity : {"tanh", "relu", "sigmoid"}
        s.
    others
        As for `LSTM`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        nonlinearity: str = "tanh",
        dtype: Any = "float64",
        seed: int | None = None,
    ) -> None:
        input_size, hidden_size = _sizes(input_size, hidden_size)
        self.nonlinearity = checks.choice("nonlinearity", nonlinearity, tuple(ACTIVATIONS))
        super().__init__(
            RNNCell(hidden_size, self.nonlinearity),
            input_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            dtype=dtype,
            seed=seed,
        )


def _sizes(input_size: Any, hidden_size: Any) -> tuple[int, int]:
    return (
        checks.integer("input_size", input_size, at_least=1),
        checks.integer("hidden_size", hidden_size, at_least=1),
    )
