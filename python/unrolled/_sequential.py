"""Layers one after another: a recurrent network with its read-out, as one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from . import _arguments as arguments
from ._arguments import Array
from ._dense import Dense
from ._layers import LAYERS, Layers
from ._modules import RecurrentNet
from ._residual import Residual, added
from ._sequential_run import SequentialStream, SequentialTape
from ._tape import Given, Tape


class Sequential(Layers):
    """Layers one after another.

    Parameters
    ----------
    *layers : LSTM, GRU, RNN, Recurrent, Dense, Activation or Residual
        Each reads what the one before it gives; a `Residual` adds to that what an earlier one
        read. All of one dtype; recurrent ones agree in `batch_first`.
    initial_state : bool or tuple of states, optional
        The state that a run without one starts from, and that a stream goes back to: a tuple with
        one state for each recurrent layer, each without the axis of rows, (L*D, H). It counts as
        parameters then, named ``0.h_0`` and, for an LSTM, ``0.c_0``. True is zeros to be loaded
        or learned; False, the default, is zeros that are no parameters.

    Attributes
    ----------
    layers : tuple
    modules : tuple
        Those with parameters, as an optimiser takes them:
        ``ur.optim.Adam(model.modules)``, then ``opt.step(gradients.modules)``.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> model = ur.Sequential(ur.LSTM(1, 8, seed=0), ur.Dense(8, 2, seed=1), ur.Activation("tanh"))
    >>> x = np.ones((20, 4, 1), dtype=np.float32)
    >>> y, state = model(x)
    >>> y.shape, len(state), list(model.state_dict())[:2]
    ((20, 4, 2), 1, ['0.weight_ih_l0', '0.weight_hh_l0'])
    >>> stream = model.stream(batch=4)
    >>> np.array_equal(np.stack([stream.step(x_t) for x_t in x]), y)
    True
    >>> y, state, tape = model.record(x)
    >>> loss, dy = ur.losses.mse(y, np.zeros_like(y))
    >>> tape.backward(dy).parameters["1.weight"].shape
    (2, 8)
    """

    # Runs.

    def __call__(
        self, x: Any, state: Any = None, *, lengths: Any = None, resets: Any = None
    ) -> tuple[Array, tuple[Any, ...]]:
        """Run the model and keep nothing.

        Parameters
        ----------
        x : array (T, B, I), or (B, T, I) if `batch_first`, or (T, I) without a batch
        state : tuple of states, optional
            One for each recurrent layer, as that layer takes it. None means the initial state.
        lengths, resets : optional
            For the recurrent layers, as they take them; a reset goes to zeros. Past a row's end
            the layers after them see zeros, which a bias makes something else.

        Returns
        -------
        y : array, ordered as x
        state : tuple of states

        Raises
        ------
        TypeError
            For a wrong dtype or kind of object; nothing is cast.
        ValueError
            For a wrong shape or value.
        """
        y = self._input(x)
        modules, initial = self._now()
        starts, natives = iter(self._start(state, self._batch(y), initial)), iter(modules)
        ends = []
        read: dict[int, Array] = {}
        for n, layer in enumerate(self.layers):
            if n in self._sources:
                read[n] = y
            if isinstance(layer, RecurrentNet):
                y, end = next(natives).forward(y, next(starts), lengths, resets)
                ends.append(end)
            elif isinstance(layer, Residual):
                y = added(y, read[layer.since])
            else:
                y = layer._forward(next(natives), y) if isinstance(layer, Dense) else layer(y)
        return y, tuple(ends)

    def record(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        resets: Any = None,
        train: bool = True,
        checkpoint: Any = None,
    ) -> tuple[Array, tuple[Any, ...], SequentialTape]:
        """Run the model and keep what the way back needs.

        Arguments as for a call; `train` and `checkpoint` as the recurrent layers take them.

        Returns
        -------
        y : array, ordered as x
        state : tuple of states
        tape : SequentialTape
            ``tape.backward(dy)`` gives the gradients.
        """
        arguments.flag("train", train)
        y = self._input(x)
        modules, initial = self._now()
        starts, natives = iter(self._start(state, self._batch(y), initial)), iter(modules)
        ends: list[Any] = []
        kept: list[Any] = []
        read: dict[int, Array] = {}
        for n, layer in enumerate(self.layers):
            before = y
            if n in self._sources:
                read[n] = y
            if isinstance(layer, RecurrentNet):
                start, dropout = next(starts), layer._masks(train)
                y, end, tape = next(natives).record(y, start, lengths, resets, checkpoint, dropout)
                given = Given(before, start, lengths, resets, dropout is not None)
                kept.append(Tape(layer, tape, given))
                ends.append(end)
            elif isinstance(layer, Dense):
                native = next(natives)
                y = layer._forward(native, y)
                kept.append((before, y, native))
            elif isinstance(layer, Residual):
                y = added(y, read[layer.since])
                kept.append((y.shape, read[layer.since].shape))
            else:
                y = layer(y)
                kept.append((before, y))
        own = state is None and bool(self._initial)
        return y, tuple(ends), SequentialTape(self, kept, own)

    def stream(self, batch: int = 1) -> SequentialStream:
        """The model one time step a call, from its initial state.

        Parameters
        ----------
        batch : int
            Rows, each a sequence of its own.
        """
        return SequentialStream(self, batch)

    # As JSON, text and pickle.

    def config(self) -> dict[str, Any]:
        """What `from_config` makes the model from, as JSON knows it; without parameters."""
        layers = [{"class": type(m).__name__, "config": m.config()} for m in self.layers]
        return {"layers": layers, "initial_state": bool(self._initial)}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Sequential:
        """A model with that `config`, its parameters drawn anew.

        Raises
        ------
        TypeError, ValueError
            If it is no such configuration, or says what is not known here.
        """
        known = _keys("config", config, ("layers", "initial_state"))
        layers = known.get("layers")
        if not isinstance(layers, Sequence) or isinstance(layers, str):
            raise ValueError(f"config['layers']: expected a list, got {arguments.kind(layers)}")
        made = []
        for n, about in enumerate(layers):
            at = f"config['layers'][{n}]"
            inner = _keys(at, about, ("class", "config"))
            name, own = inner.get("class"), inner.get("config")
            if not isinstance(name, str) or name not in LAYERS or not isinstance(own, Mapping):
                raise ValueError(
                    f"{at}: expected a class of {', '.join(LAYERS)} and its config, "
                    f"got {name!r:.80} and {arguments.kind(own)}"
                )
            made.append(LAYERS[name](**own))
        initial = arguments.flag("config['initial_state']", config.get("initial_state", False))
        return cls(*made, initial_state=initial)

    def __repr__(self) -> str:
        lines = [f"  ({n}): {layer!r}" for n, layer in enumerate(self.layers)]
        if self._initial:
            lines.append("  initial_state=True")
        return "\n".join(["Sequential(", *lines, ")"])


def _keys(name: str, value: Any, known: tuple[str, ...]) -> Mapping[str, Any]:
    """A mapping without other keys than these."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name}: expected a mapping, got {arguments.kind(value)}")
    for key in value:
        if key not in known:
            raise ValueError(f"{name}[{key!r:.80}]: expected one of {', '.join(known)}, got it")
    return value
