"""The three networks."""

from __future__ import annotations

import warnings
from typing import Any, TypeVar

from . import _arguments as arguments
from ._arguments import Array, Sizes
from ._module import Network
from ._native import Formula
from ._native import Network as NativeNetwork
from ._stream import Stream
from ._tape import Given, Tape

S = TypeVar("S")


class RecurrentNet(Network[S]):
    """What LSTM, GRU and RNN share; `S` is the type of their state."""

    proj_size = 0
    _forget_bias = 0.0

    def __init__(
        self,
        input_size: Any,
        hidden_size: Any,
        num_layers: Any,
        *,
        bias: Any,
        batch_first: Any,
        dropout: Any,
        bidirectional: Any,
        dtype: Any,
        seed: Any,
    ) -> None:
        self.input_size = arguments.size("input_size", input_size, at_least=1)
        self.hidden_size = arguments.size("hidden_size", hidden_size, at_least=1)
        self.num_layers = arguments.size("num_layers", num_layers, at_least=1)
        self.bias = arguments.flag("bias", bias)
        self.batch_first = arguments.flag("batch_first", batch_first)
        self.dropout = arguments.probability("dropout", dropout)
        if self.dropout and self.num_layers == 1:
            warnings.warn(
                f"dropout = {self.dropout} acts between layers only, and num_layers is 1",
                stacklevel=3,
            )
        self.bidirectional = arguments.flag("bidirectional", bidirectional)
        self.dtype = arguments.float_dtype(dtype)
        self.seed = arguments.seed("seed", seed)
        self._adopt(self._make())
        self._native.initialise("uniform", self._forget_bias, self.seed)

    def _native_cell(self) -> str | Formula:
        """What `_native` calls the cell."""
        raise NotImplementedError

    def _states(self) -> int:
        """How many states the cell carries."""
        return 1

    def _make(self) -> NativeNetwork:
        others = (self.hidden_size,) * (self._states() - 1)
        columns = (self.proj_size or self.hidden_size, *others)
        self._sizes = Sizes(columns, self.num_layers * self.num_directions)
        return NativeNetwork(
            self._native_cell(),
            self.input_size,
            self.hidden_size,
            self.num_layers,
            self.bias,
            self.bidirectional,
            self.proj_size,
            self.batch_first,
            self.dtype.name,
        )

    @property
    def isa(self) -> str:
        """The instruction set of its kernels: "portable", "neon", "avx2" or "avx512"."""
        return self._native.isa

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON knows them."""
        return {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "num_layers": self.num_layers,
            "bias": self.bias,
            "batch_first": self.batch_first,
            "dropout": self.dropout,
            "bidirectional": self.bidirectional,
            "dtype": self.dtype.name,
            "seed": self.seed,
        }

    def __repr__(self) -> str:
        defaults = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
            "proj_size": 0,
            "forget_gate": True,
            "forget_bias": 0.0,
            "reset_after": True,
            "nonlinearity": "tanh",
            "dtype": "float32",
        }
        config = self.config()
        said = [f"{key}={config[key]!r}" for key, v in defaults.items() if config.get(key, v) != v]
        sizes = [str(self.input_size), str(self.hidden_size)]
        return f"{type(self).__name__}({', '.join(sizes + said)})"

    def initialise(self, init: str = "uniform", *, seed: int | None = None) -> None:
        """Draw the parameters anew.

        Parameters
        ----------
        init : {"uniform", "orthogonal", "xavier"}
            "uniform" in +-1/sqrt(H), as PyTorch does and the constructor too. "orthogonal": each
            gate's block of ``weight_hh`` and ``weight_hr`` orthogonal (Saxe et al. 2014), of
            ``weight_ih`` as for "xavier", biases zero. "xavier": every gate's block uniform in
            +-sqrt(6 / (rows + columns)) (Glorot & Bengio 2010), biases zero.
            An LSTM's `forget_bias` is added each time.
        seed : int, optional
            None means the network's own.
        """
        arguments.choice("init", init, ("uniform", "orthogonal", "xavier"))
        if seed is not None:
            seed = arguments.seed("seed", seed)
        self._native.initialise(init, self._forget_bias, self.seed if seed is None else seed)

    def __call__(
        self, x: Any, state: Any = None, *, lengths: Any = None, resets: Any = None
    ) -> tuple[Array, S]:
        """Run the network and keep nothing.

        Parameters
        ----------
        x : array (T, B, I), or (B, T, I) if `batch_first`, or (T, I) without a batch
        state : array (L*D, B, H), for an LSTM a tuple (h, c); without a batch no B axis
            L layers, D directions. None means zeros.
        lengths : integers (B,), optional
            Row b ends after ``lengths[b]`` steps, 0 allowed. Past its end x is not read, outputs
            are zero; the final state is that at the row's own end, where the reverse direction
            starts.
        resets : bool array (T, B), ordered as x, optional
            The state becomes zeros just before step t. In the reverse direction the cut lies
            between the same two steps, t - 1 and t.

        Returns
        -------
        y : array (T, B, D*H), ordered as x
            Forward and reverse direction of the last layer side by side.
        state : as the argument
            (h, c) for an LSTM, whose h has `proj_size` columns if that is not 0.

        Raises
        ------
        TypeError
            For a wrong dtype or kind of object; nothing is cast.
        ValueError
            For a wrong shape or value.
        MemoryError
            If the sizes ask for more than there is.
        """
        return self._native.forward(x, state, lengths, resets)

    def record(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        resets: Any = None,
        train: bool = True,
        checkpoint: Any = None,
    ) -> tuple[Array, S, Tape[S]]:
        """Run the network and keep what the way back needs. Arguments as for a call.

        Parameters
        ----------
        train : bool
            Whether dropout acts. Its masks follow from the network's seed and the number of such
            calls before: equal seeds and calls, equal masks.
        checkpoint : int or "auto", optional
            Keep x and, every so many steps (rounded up to a whole piece of work), the state, and
            compute the rest again on the way back: less memory, the same gradients to the last
            bit, about a third more time. "auto" chooses about sqrt(T / 3) steps. In two directions
            the outputs of all layers but the last are kept too.

        Returns
        -------
        y, state
            As from a call.
        tape : Tape
        """
        arguments.flag("train", train)
        dropout = self._masks(train)
        y, final, native = self._native.record(x, state, lengths, resets, checkpoint, dropout)
        given = Given(x, state, lengths, resets, dropout is not None)
        return y, final, Tape(self, native, given)

    def _masks(self, train: bool) -> tuple[int, float] | None:
        """Seed and probability of the dropout in a recording, if there is any."""
        return (self.seed, self.dropout) if train and self.dropout else None

    def stream(self, batch: int = 1) -> Stream[S]:
        """The network one time step a call, from a state of zeros; not for two directions.

        Parameters
        ----------
        batch : int
            Rows, each a sequence of its own.
        """
        return self._stream(batch)

    def _stream(self, batch: Any, *, undone: bool = False) -> Stream[S]:
        """As `stream`; `undone`: whether its last step may have to be."""
        batch = arguments.size("batch", batch, at_least=1)
        if self.bidirectional:
            raise ValueError(
                "bidirectional: expected False for a stream, whose end is not known, got True"
            )
        return Stream(self, batch, undone)

    # How often dropout has been drawn goes with the parameters.

    @property
    def _draws(self) -> int:
        return self._native.draws

    @_draws.setter
    def _draws(self, draws: int) -> None:
        self._native.draws = draws

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"draws": self._draws}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._draws = state["draws"]


class LSTM(RecurrentNet[tuple[Array, Array]]):
    """Long short-term memory, any number of layers, one or two directions.

    ::

        i = sigmoid(W_ii x + b_ii + W_hi h + b_hi)     f, o likewise, g with tanh
        c' = f * c + i * g
        h' = o * tanh(c')

    (Hochreiter & Schmidhuber 1997; the forget gate f: Gers et al. 2000.)

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
        Probability, in `record` with ``train=True``, that an output of a layer but the last is
        zero; the others are scaled by 1 / (1 - dropout).
    bidirectional : bool
        A second set of parameters, named ``..._reverse``, runs from each row's end to its start.
    proj_size : int
        If not 0, ``h' = W_hr (o * tanh(c'))`` with this many columns (Sak et al. 2014), < H.
    forget_gate : bool
        False is the cell of 1997: f is exactly 1, parameters have the rows of i, g, o.
    forget_bias : float
        Added to the forget gate's rows of ``bias_ih`` when they are drawn.
    dtype : {"float32", "float64"}
    seed : int, optional
        For the parameters, uniform in +-1/sqrt(H), and for dropout. None draws a seed, which is
        then the attribute `seed`.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> net = ur.LSTM(3, 8, num_layers=2, seed=1)
    >>> net
    LSTM(3, 8, num_layers=2)
    >>> y, (h, c) = net(np.zeros((5, 4, 3), dtype=np.float32))
    >>> y.shape, h.shape, c.shape
    ((5, 4, 8), (2, 4, 8), (2, 4, 8))
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
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        self.proj_size = arguments.size("proj_size", proj_size, at_least=0)
        if self.proj_size >= arguments.size("hidden_size", hidden_size, at_least=1):
            raise ValueError(
                f"proj_size: expected less than hidden_size = {hidden_size}, got {self.proj_size}"
            )
        self.forget_gate = arguments.flag("forget_gate", forget_gate)
        self._forget_bias = arguments.real("forget_bias", forget_bias)
        if self._forget_bias and not (self.forget_gate and arguments.flag("bias", bias)):
            raise ValueError(
                "forget_bias: expected 0.0 when forget_gate or bias is False, "
                f"got {self._forget_bias}"
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

    @property
    def forget_bias(self) -> float:
        """What is added to the forget gate's rows of ``bias_ih`` when they are drawn."""
        return self._forget_bias

    def _states(self) -> int:
        return 2

    def _native_cell(self) -> str:
        return "lstm" if self.forget_gate else "lstm_without_forget_gate"

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON knows them."""
        return super().config() | {
            "proj_size": self.proj_size,
            "forget_gate": self.forget_gate,
            "forget_bias": self.forget_bias,
        }


class GRU(RecurrentNet[Array]):
    """Gated recurrent unit, any number of layers, one or two directions (Cho et al. 2014).

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

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> net = ur.GRU(3, 8, bidirectional=True, dtype="float64")
    >>> y, h = net(np.zeros((5, 4, 3)), lengths=[5, 2, 3, 0])
    >>> y.shape, h.shape
    ((5, 4, 16), (2, 4, 8))
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
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        self.reset_after = arguments.flag("reset_after", reset_after)
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

    def _native_cell(self) -> str:
        return "gru" if self.reset_after else "gru_reset_before"

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON knows them."""
        return super().config() | {"reset_after": self.reset_after}


class RNN(RecurrentNet[Array]):
    """Simple recurrent network, any number of layers, one or two directions (Elman 1990).

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
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        choices = ("tanh", "relu", "sigmoid")
        self.nonlinearity = arguments.choice("nonlinearity", nonlinearity, choices)
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

    def _native_cell(self) -> str:
        return f"rnn_{self.nonlinearity}"

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON knows them."""
        return super().config() | {"nonlinearity": self.nonlinearity}
