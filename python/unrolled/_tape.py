"""A recorded run: what every step was, and the way back."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar

from . import _native
from ._arguments import Array
from ._gradients import ModuleGradients
from ._module import Network

S = TypeVar("S")


class Gradients(ModuleGradients, Generic[S]):
    """The derivatives of a loss.

    Attributes
    ----------
    parameters : dict of str to array
        With the keys and shapes of `state_dict`.
    input : array
        With the shape of x.
    state : array, or tuple of two arrays for an LSTM
        For the initial state, with its shape.
    """

    __slots__ = ("_state",)

    def __init__(
        self, flat: Array, shapes: dict[str, tuple[int, ...]], input: Array, state: S
    ) -> None:
        super().__init__(flat, shapes, input)
        self._state = state

    @property
    def state(self) -> S:
        """For the initial state, with its shape."""
        return self._state

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"state": self._state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._state = state["state"]


class Given(NamedTuple):
    """The arguments of a recording, as the caller passed them."""

    x: Any
    state: Any
    lengths: Any
    resets: Any
    # Whether masks of dropout acted between the layers.
    dropout: bool


class Tape(Generic[S]):
    """A recorded run of a network, made by its `record`.

    `backward` may be called repeatedly, until the network's parameters change; what was recorded
    can be read after that too. A tape refers to the arrays it
    was recorded from, and copies none of them: `backward` does not need them, but
    `unrolled.reference.flow` does, and refuses a tape whose arrays have been written to since.
    """

    def __init__(self, net: Network[S], native: _native.Tape, given: Given) -> None:
        self._net = net
        self._native = native
        self._given = given

    def backward(self, dy: Any, dstate: Any = None, *, truncate: Any = None) -> Gradients[S]:
        """The derivatives of a loss, by back-propagation through time.

        Parameters
        ----------
        dy : array, as y
            Derivative of the loss with respect to y. Not read past a row's end.
        dstate : as the state, optional
            Derivative with respect to the final state; it counts as part of the loss at the row's
            last step. A row of length 0 hands its state on, and so its derivative too.
        truncate : int, optional
            None is the gradient. With K, each layer and direction keeps exactly the terms with at
            most K steps between the loss and the use of a parameter, an input or the initial state.

        Returns
        -------
        Gradients

        Raises
        ------
        ValueError
            If a shape does not fit, or the network's parameters have changed since the recording.
        TypeError
            If a dtype does not fit.
        """
        net = self._net
        flat, d_x, d_state = net._native.backward(self._native, dy, dstate, truncate)
        return Gradients(flat, net._shapes, d_x, d_state)

    @cached_property
    def hidden(self) -> Array | tuple[Array, ...]:
        """The output h at every step: (T, B, H), read-only, zero past a row's end.

        One array for one layer in one direction, otherwise a tuple with one for each, ordered as in
        the state: layer 0 forward, layer 0 reverse, layer 1 forward, ... Always in order of time
        with the time axis first; without a batch there is no B axis. Not to be had from a tape with
        checkpoints, which does not hold every step (ValueError).
        """
        return self._every(0)

    @cached_property
    def cell(self) -> Array | tuple[Array, ...]:
        """The LSTM's c at every step: (T, B, H), arranged as `hidden`."""
        if len(self._net._sizes.states) < 2:
            raise AttributeError("tape.cell: expected the tape of an LSTM; other cells have no c")
        return self._every(1)

    @cached_property
    def states(self) -> tuple[Array | tuple[Array, ...], ...]:
        """Every state at every step, h first: each arranged as `hidden`."""
        return tuple(self._every(state) for state in range(len(self._net._sizes.states)))

    @cached_property
    def gates(self) -> Array | tuple[Array, ...]:
        """The gates' values at every step: (T, B, G, H), arranged as `hidden`.

        In PyTorch's order: i, f, g, o (without f if `forget_gate=False`); r, z, n; the RNN's h.
        The values in a formula are not to be had (AttributeError); `states` are.
        """
        if not self._net._has_gates:
            raise AttributeError(
                "tape.gates: expected the tape of an LSTM, GRU or RNN; of a formula there are the "
                "states, tape.states"
            )
        return self._every("gates")

    @property
    def nbytes(self) -> int:
        """Memory held."""
        return self._native.nbytes

    def _every(self, quantity: int | str) -> Array | tuple[Array, ...]:
        net = self._net
        arrays = []
        for cell in range(net._sizes.cells):
            a = self._native.trace(cell, quantity)
            if quantity == "gates":
                a = a.reshape(*a.shape[:2], a.shape[2] // net.hidden_size, net.hidden_size)
            if self._native.unbatched:
                a = a[:, 0]
            a.flags.writeable = False
            arrays.append(a)
        return arrays[0] if len(arrays) == 1 else tuple(arrays)

    def __repr__(self) -> str:
        steps, batch = self._native.shape
        return f"<Tape of {steps} steps, {batch} rows of {self._net!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "tape: expected to stay with the network that recorded it; it cannot be pickled or "
            "copied. Pickle the network and record again."
        )
