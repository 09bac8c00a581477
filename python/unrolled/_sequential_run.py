"""A `Sequential` one step a call, and its way back."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from . import _arguments as arguments
from . import _native
from ._activation import Activation
from ._arguments import Array
from ._dense import Dense, DenseGradients
from ._gradients import ModuleGradients
from ._layers import Layers
from ._modules import RecurrentNet
from ._residual import Residual, added, d_added
from ._stream import Stream
from ._tape import Gradients, Tape


class SequentialStream:
    """A model that is fed one time step a call, made by its `stream`.

    What `step` returns is, bit for bit, what a call of the model on the whole sequence gives.
    """

    def __init__(self, model: Layers, batch: int = 1) -> None:
        arguments.instance("model", model, Layers, "a Sequential")
        self._model = model
        self._sources = model._sources
        self._batch = arguments.size("batch", batch, at_least=1)
        self._steps = [
            layer._stream(self._batch, undone=True) if isinstance(layer, RecurrentNet) else layer
            for layer in model.layers
        ]
        self._streams: list[Stream[Any]] = [s for s in self._steps if isinstance(s, Stream)]
        self.reset()

    @property
    def batch(self) -> int:
        """The number of rows, B."""
        return self._batch

    def step(self, x: Any) -> Array:
        """Feed one time step.

        Parameters
        ----------
        x : array (B, I), or (I,) if B is 1

        Returns
        -------
        y : array (B, O), or (O,) if x has one axis

        On an error, and on Ctrl-C, the state is as it was.
        """
        y: Any = x
        read: dict[int, Array] = {}
        # All of them have taken as many.
        count = self._streams[0].count if self._streams else 0
        try:
            if self._sources:
                y = self._model._input(x)
            for n, layer in enumerate(self._steps):
                if n in self._sources:
                    read[n] = y
                if isinstance(layer, Stream):
                    y = layer.step(y)
                else:
                    y = added(y, read[layer.since]) if isinstance(layer, Residual) else layer(y)
        except BaseException:
            _native.undo(self._streams, count)
            raise
        found: Array = y
        return found

    def reset(self) -> None:
        """Go back to the model's initial state."""
        self.state = None

    @property
    def state(self) -> tuple[Any, ...]:
        """A tuple with the state of each recurrent layer: copies.

        It can be set to what a call or another stream gave; None means the initial state.
        """
        return tuple(stream.state for stream in self._streams)

    @state.setter
    def state(self, value: Any) -> None:
        states = self._model._start(value, self._batch, self._model._initial.copy())
        before = self.state
        try:
            for stream, state in zip(self._streams, states, strict=True):
                stream.state = state
        except BaseException:
            for stream, state in zip(self._streams, before, strict=True):
                stream.state = state
            raise

    def __repr__(self) -> str:
        return f"<Stream of {self.batch} rows through {self._model!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("stream: cannot be pickled or copied; make another and set its state")


class SequentialGradients:
    """The derivatives of a loss.

    Attributes
    ----------
    parameters : dict of str to array
        With the keys and shapes of the model's `state_dict`.
    input : array
        With the shape of x.
    state : tuple
        For the recurrent layers' initial states, each with the state's shape.
    modules : tuple
        The gradients of each of the model's `modules`, as an optimiser of those takes them.
    """

    def __init__(
        self,
        parameters: dict[str, Array],
        input: Array,
        state: tuple[Any, ...],
        modules: tuple[ModuleGradients, ...],
    ) -> None:
        self.parameters = parameters
        self.input = input
        self.state = state
        self.modules = modules

    def __repr__(self) -> str:
        return f"<SequentialGradients by {', '.join(self.parameters)}; input {self.input.shape}>"


class SequentialTape:
    """A recorded run of a model, made by its `record`.

    Attributes
    ----------
    tapes : tuple
        The recurrent layers' own tapes, in order.
    """

    def __init__(self, model: Layers, kept: list[Any], own_start: bool) -> None:
        self._model = model
        self._kept = kept
        # Whether the run started from the model's own initial state.
        self._own_start = own_start

    @property
    def tapes(self) -> tuple[Tape[Any], ...]:
        """The recurrent layers' tapes."""
        return tuple(tape for tape in self._kept if isinstance(tape, Tape))

    def backward(self, dy: Any, dstate: Any = None, *, truncate: Any = None) -> SequentialGradients:
        """The derivatives of a loss.

        Parameters
        ----------
        dy : array, as y
            Derivative of the loss with respect to y.
        dstate : tuple, as the state, optional
            Derivative with respect to the final states.
        truncate : int, optional
            As the recurrent layers take it.

        Returns
        -------
        SequentialGradients

        Raises
        ------
        ValueError
            If a shape does not fit, or parameters of the model have changed since the recording.
        TypeError
            If a dtype does not fit.
        """
        model = self._model
        for layer, kept in zip(model.layers, self._kept, strict=True):
            if isinstance(layer, Dense) and not layer._native.is_as(kept[2]):
                raise ValueError(
                    "tape: expected parameters as they were, but the parameters have changed since "
                    "the tape was recorded; record again"
                )
        d = arguments.array("dy", dy, model.dtype)
        d_ends = model._each_state("dstate", dstate)
        found: dict[int, ModuleGradients] = {}
        # By what a layer read, of the sums with that.
        d_read: dict[int, Array] = {}
        for n in reversed(range(len(model.layers))):
            layer, kept = model.layers[n], self._kept[n]
            g: DenseGradients | Gradients[Any]
            if isinstance(layer, Residual):
                d = arguments.shaped("dy", d, "of y", kept[0])
                d_x = d_added(d, kept[1])
                before = d_read.get(layer.since)
                d_read[layer.since] = d_x if before is None else added(before, d_x)
            elif isinstance(layer, Activation):
                d = layer.backward(kept[0], d, y=kept[1])
            else:
                if isinstance(layer, Dense):
                    g = layer._backward(kept[2], kept[0], d)
                else:
                    g = kept.backward(d, d_ends.pop(), truncate=truncate)
                found[n], d = g, g.input
            if n in d_read:
                d = added(d, d_read.pop(n))
        return self._gathered(found, d)

    def _gathered(self, found: dict[int, ModuleGradients], d_x: Array) -> SequentialGradients:
        model = self._model
        parameters: dict[str, Array] = {}
        states: list[Any] = []
        for n in sorted(found):
            g = found[n]
            parameters |= {f"{n}.{key}": a for key, a in g.parameters.items()}
            if isinstance(g, Gradients):
                states.append(g.state)
                parts = g.state if isinstance(g.state, tuple) else (g.state,)
                own = [key for key in model._initial if key.startswith(f"{n}.")]
                for key, part in zip(own, parts, strict=False):
                    parameters[key] = self._by_initial(key, part)
        modules = tuple(found[n] for n in sorted(found))
        return SequentialGradients(parameters, d_x, tuple(states), modules)

    def _by_initial(self, key: str, d_state: Array) -> Array:
        """Every row started from the same numbers."""
        if not self._own_start:
            return np.zeros_like(self._model._initial[key])
        return d_state if d_state.ndim == 2 else d_state.sum(axis=1)

    def __reduce__(self) -> NoReturn:
        raise TypeError("tape: cannot be pickled or copied; pickle the model and record again")
