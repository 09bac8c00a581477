"""Layers one after another: a recurrent network with its read-out, as one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from . import _arguments as arguments
from ._activation import Activation
from ._arguments import Array
from ._dense import Dense
from ._module import Module, Written
from ._modules import GRU, LSTM, RNN, Recurrent
from ._sequential_run import SequentialStream, SequentialTape

Layer: TypeAlias = LSTM | GRU | RNN | Dense | Activation
# What a model may hold, by the name in its configuration.
LAYERS: dict[str, type[Layer]] = {cls.__name__: cls for cls in (LSTM, GRU, RNN, Dense, Activation)}


class Sequential(Written):
    """Layers one after another.

    Parameters
    ----------
    *layers : LSTM, GRU, RNN, Dense or Activation
        Each reads what the one before it gives. All of one dtype; recurrent ones agree in
        `batch_first`.
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

    def __init__(self, *layers: Layer, initial_state: Any = False) -> None:
        if not layers:
            raise ValueError("layers: expected at least one, got none")
        kinds = tuple(LAYERS.values())
        for n, layer in enumerate(layers):
            if not isinstance(layer, kinds):
                expected = ", ".join(LAYERS)
                raise TypeError(
                    f"layers[{n}]: expected one of {expected}, got {arguments.kind(layer)}"
                )
        if len({id(layer) for layer in layers}) < len(layers):
            raise ValueError("layers: expected each once, got one of them twice")
        self.layers = layers
        self.dtype = self._common_dtype()
        self.batch_first = self._common_order()
        self._check_sizes()
        self._initial: dict[str, Array] = {}
        if initial_state is not False:
            self._initial = self._initial_zeros()
            if initial_state is not True:
                self._set_initial(initial_state)

    # What the layers have in common.

    def _common_dtype(self) -> np.dtype[Any]:
        found = [(n, m.dtype) for n, m in enumerate(self.layers) if isinstance(m, Module)]
        for n, dtype in found:
            if dtype != found[0][1]:
                raise TypeError(
                    f"layers[{n}]: expected dtype {found[0][1]} as layers[{found[0][0]}], "
                    f"got {dtype}"
                )
        return found[0][1] if found else np.dtype(np.float32)

    def _common_order(self) -> bool:
        found = self._recurrent()
        for n, layer in found:
            if layer.batch_first != found[0][1].batch_first:
                raise ValueError(
                    f"layers[{n}]: expected batch_first={found[0][1].batch_first} as "
                    f"layers[{found[0][0]}], got {layer.batch_first}"
                )
        return bool(found) and found[0][1].batch_first

    def _check_sizes(self) -> None:
        width: int | None = None
        for n, layer in enumerate(self.layers):
            if isinstance(layer, Activation):
                continue
            takes, gives = features(layer)
            if width is not None and takes != width:
                raise ValueError(
                    f"layers[{n}]: expected an input of {width}, the output of the layers before, "
                    f"got {layer!r}"
                )
            width = gives

    def _recurrent(self) -> list[tuple[int, Recurrent[Any]]]:
        return [(n, layer) for n, layer in enumerate(self.layers) if isinstance(layer, Recurrent)]

    @property
    def modules(self) -> tuple[Module, ...]:
        """The layers that have parameters."""
        return tuple(layer for layer in self.layers if isinstance(layer, Module))

    @property
    def input_size(self) -> int | None:
        """Features of x; None if there are only activations, which take any."""
        sizes = [features(m)[0] for m in self.layers if not isinstance(m, Activation)]
        return sizes[0] if sizes else None

    @property
    def output_size(self) -> int | None:
        """Features of y; None if there are only activations."""
        sizes = [features(m)[1] for m in self.layers if not isinstance(m, Activation)]
        return sizes[-1] if sizes else None

    # Parameters.

    @property
    def num_parameters(self) -> int:
        """How many numbers `state_dict` holds."""
        own = sum(a.size for a in self._initial.values())
        return own + sum(module.num_parameters for module in self.modules)

    def state_dict(self) -> dict[str, Array]:
        """Copies of the parameters: the layers' own names after their place, ``0.weight_ih_l0``.

        They are `torch.nn.Sequential`'s, and after each layer's the initial state's, if it is one
        of the parameters: ``0.h_0``, ``0.c_0``.
        """
        found: dict[str, Array] = {}
        for n, layer in enumerate(self.layers):
            if isinstance(layer, Module):
                found |= {f"{n}.{key}": a for key, a in layer.state_dict().items()}
            for name in ("h_0", "c_0"):
                if (key := f"{n}.{name}") in self._initial:
                    found[key] = self._initial[key].copy()
        return found

    def load_state_dict(self, mapping: Mapping[str, Any]) -> None:
        """Replace every parameter. All or nothing: on an error nothing has changed.

        Parameters
        ----------
        mapping : mapping of str to array
            Under the keys of `state_dict`, and of the same shapes and dtype.

        Raises
        ------
        ValueError
            If keys are missing or unexpected (the message lists them), or a shape does not fit.
        TypeError
            If an array does not have the dtype of the parameters.
        """
        if not isinstance(mapping, Mapping):
            raise TypeError(f"mapping: expected a mapping, got {arguments.kind(mapping)}")
        shapes = self._shapes()
        if mapping.keys() != shapes.keys():
            missing = [key for key in shapes if key not in mapping]
            unexpected = [key for key in mapping if key not in shapes]
            raise ValueError(
                "mapping: expected the keys of state_dict(), "
                f"got missing keys {missing}, unexpected keys {unexpected}"
            )
        found: dict[str, Array] = {}
        for key, shape in shapes.items():
            a = arguments.array(f"mapping[{key!r}]", mapping[key], self.dtype)
            found[key] = arguments.shaped(f"mapping[{key!r}]", a, "of the parameter", shape)
        for n, layer in enumerate(self.layers):
            if isinstance(layer, Module):
                layer.load_state_dict({key: found[f"{n}.{key}"] for key in layer._shapes})
        for key in self._initial:
            self._initial[key] = found[key].copy()

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {}
        for n, layer in enumerate(self.layers):
            if isinstance(layer, Module):
                shapes |= {f"{n}.{key}": shape for key, shape in layer._shapes.items()}
        return shapes | {key: a.shape for key, a in self._initial.items()}

    # The initial state.

    def _initial_zeros(self) -> dict[str, Array]:
        found: dict[str, Array] = {}
        for n, layer in self._recurrent():
            for name, columns in zip(("h_0", "c_0"), layer._sizes.states, strict=False):
                shape = (layer._sizes.cells, columns)
                found[f"{n}.{name}"] = np.zeros(shape, dtype=self.dtype)
        return found

    @property
    def initial_state(self) -> tuple[Any, ...] | None:
        """Where a run without a state starts: copies, without an axis of rows; None for zeros."""
        if not self._initial:
            return None
        return tuple(
            (self._initial[f"{n}.h_0"].copy(), self._initial[f"{n}.c_0"].copy())
            if isinstance(layer, LSTM)
            else self._initial[f"{n}.h_0"].copy()
            for n, layer in self._recurrent()
        )

    def _set_initial(self, value: Any) -> None:
        for (n, layer), state in zip(
            self._recurrent(), self._each_state("initial_state", value), strict=True
        ):
            parts = state if isinstance(layer, LSTM) else (state,)
            if not isinstance(parts, (tuple, list)) or len(parts) != len(layer._sizes.states):
                raise TypeError(f"initial_state: expected (h, c) for layers[{n}], an LSTM")
            for name, part in zip(("h_0", "c_0"), parts, strict=False):
                key = f"{n}.{name}"
                a = arguments.array(f"initial_state: {key}", part, self.dtype)
                shape = self._initial[key].shape
                arguments.shaped(f"initial_state: {key}", a, "(L*D, H)", shape)
                self._initial[key] = a.copy()

    def _each_state(self, name: str, value: Any) -> list[Any]:
        """A state for each recurrent layer."""
        count = len(self._recurrent())
        if value is None:
            return [None] * count
        if not isinstance(value, (tuple, list)) or len(value) != count:
            got = f"{len(value)}" if isinstance(value, (tuple, list)) else arguments.kind(value)
            raise ValueError(
                f"{name}: expected a tuple of {count}, one for each recurrent layer, got {got}"
            )
        return list(value)

    def _start(self, state: Any, batch: int | None) -> list[Any]:
        """What each recurrent layer starts from; `batch` is None where there is no such axis."""
        if state is not None or not self._initial:
            return self._each_state("state", state)

        def rows(a: Array) -> Array:
            return a if batch is None else np.repeat(a[:, None], batch, axis=1)

        assert self.initial_state is not None
        return [
            tuple(map(rows, own)) if isinstance(own, tuple) else rows(own)
            for own in self.initial_state
        ]

    def _batch(self, x: Array) -> int | None:
        return None if x.ndim != 3 else x.shape[0 if self.batch_first else 1]

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
        y = arguments.array("x", x, self.dtype)
        starts = iter(self._start(state, self._batch(y)))
        ends = []
        for layer in self.layers:
            if isinstance(layer, Recurrent):
                y, end = layer(y, next(starts), lengths=lengths, resets=resets)
                ends.append(end)
            else:
                y = layer(y)
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
        y = arguments.array("x", x, self.dtype)
        starts = iter(self._start(state, self._batch(y)))
        ends: list[Any] = []
        tapes: list[Any] = []
        for layer in self.layers:
            if isinstance(layer, Recurrent):
                y, end, tape = layer.record(
                    y,
                    next(starts),
                    lengths=lengths,
                    resets=resets,
                    train=train,
                    checkpoint=checkpoint,
                )
                ends.append(end)
                tapes.append(tape)
            else:
                before, y = y, layer(y)
                tapes.append((before, y))
        own = state is None and bool(self._initial)
        return y, tuple(ends), SequentialTape(self, tapes, own)

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


def features(layer: Recurrent[Any] | Dense) -> tuple[int, int]:
    """What a layer takes and gives for each step."""
    if isinstance(layer, Dense):
        return layer.in_features, layer.out_features
    return layer.input_size, layer._sizes.states[0] * layer.num_directions
