"""Layers one after another: that they fit, their parameters, and the states they start from."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from . import _arguments as arguments
from . import _native
from ._activation import Activation
from ._arguments import Array
from ._compress import Weights
from ._dense import Dense
from ._module import Module, Written
from ._modules import GRU, LSTM, RNN, RecurrentNet
from ._residual import Residual
from .cells._recurrent import Recurrent

Layer: TypeAlias = LSTM | GRU | RNN | Recurrent | Dense | Activation | Residual
# What a model may hold, by the name in its configuration.
LAYERS: dict[str, type[Layer]] = {
    cls.__name__: cls for cls in (LSTM, GRU, RNN, Recurrent, Dense, Activation, Residual)
}


class Layers(Written):
    """What a `Sequential` is before it runs, as its tapes and streams know it."""

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
        # The layers whose inputs are wanted again.
        self._sources = frozenset(m.since for m in layers if isinstance(m, Residual))
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
        width = self.input_size
        read: list[int | None] = []
        for n, layer in enumerate(self.layers):
            read.append(width)
            if isinstance(layer, Residual):
                self._check_residual(n, layer, read)
            elif not isinstance(layer, Activation):
                takes, gives = features(layer)
                if takes != width:
                    raise ValueError(
                        f"layers[{n}]: expected an input of {width}, the output of the layers "
                        f"before, got {arguments.shown(layer)}"
                    )
                width = gives

    def _check_residual(self, n: int, layer: Residual, read: list[int | None]) -> None:
        """`read` is how many features each layer reads, up to this one; None for any number."""
        if n == 0:
            raise ValueError("layers[0]: expected a layer before the Residual, got none")
        if layer.since >= n:
            raise ValueError(
                f"layers[{n}].since: expected less than {n}, the layer's own place, "
                f"got {arguments.shown(layer.since)}"
            )
        there, width = read[layer.since], read[n]
        if there is not None and width is not None and there < width:
            raise ValueError(
                f"layers[{n}]: expected layers[{layer.since}] to read at least {width} features, "
                f"as many as come, got {there}"
            )

    def _recurrent(self) -> list[tuple[int, RecurrentNet[Any]]]:
        return [
            (n, layer) for n, layer in enumerate(self.layers) if isinstance(layer, RecurrentNet)
        ]

    @cached_property
    def modules(self) -> tuple[Module, ...]:
        """The layers that have parameters."""
        return tuple(layer for layer in self.layers if isinstance(layer, Module))

    @property
    def input_size(self) -> int | None:
        """Features of x; None if no layer has parameters, and all take any."""
        sizes = [features(m)[0] for m in self.layers if isinstance(m, (RecurrentNet, Dense))]
        return sizes[0] if sizes else None

    @property
    def output_size(self) -> int | None:
        """Features of y; None if no layer has parameters."""
        sizes = [features(m)[1] for m in self.layers if isinstance(m, (RecurrentNet, Dense))]
        return sizes[-1] if sizes else None

    # Parameters.

    def _store(self, weights: Weights) -> None:
        for module in self.modules:
            module._store(weights)

    @property
    def num_parameters(self) -> int:
        """How many numbers `state_dict` holds."""
        own = sum(a.size for a in self._initial.values())
        return own + sum(module.num_parameters for module in self.modules)

    def state_dict(self) -> dict[str, Array]:
        """Copies of the parameters: the layers' own names after their place, ``0.weight_ih_l0``.

        They are `torch.nn.Sequential`'s, and after each layer's the initial state's, if it is one
        of the parameters: ``0.h_0``, ``0.c_0``, by the names of the cell's states.
        """
        # Of one time, whatever other threads and signal handlers do meanwhile.
        modules, initial = self._now()
        natives = iter(modules)
        found: dict[str, Array] = {}
        for n, layer in enumerate(self.layers):
            if isinstance(layer, Module):
                values = zip(layer._shapes, next(natives).parameters(), strict=True)
                found |= {f"{n}.{key}": a for key, a in values}
            found |= {key: a.copy() for key, a in initial.items() if key.startswith(f"{n}.")}
        return found

    def _now(self) -> tuple[list[Any], dict[str, Array]]:
        """The native parts of `modules`, which stay as they are now, and the initial state."""
        while True:
            initial = self._initial.copy()
            natives = _native.snapshots([module._native for module in self.modules])
            # Both are replaced at once: the one is of the other's time if it is the same after it.
            if all(self._initial[key] is a for key, a in initial.items()):
                return natives, initial

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
        arrays = [
            [arguments.contiguous(found[f"{n}.{key}"]) for key in layer._shapes]
            for n, layer in enumerate(self.layers)
            if isinstance(layer, Module)
        ]
        initial = {key: found[key].copy() for key in self._initial}
        natives = [module._native for module in self.modules]
        _native.load(natives, arrays, (self._initial, initial))

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
            for name, columns in zip(initial_names(layer), layer._sizes.states, strict=True):
                shape = (layer._sizes.cells, columns)
                found[f"{n}.{name}"] = np.zeros(shape, dtype=self.dtype)
        return found

    @property
    def initial_state(self) -> tuple[Any, ...] | None:
        """Where a run without a state starts: copies, without an axis of rows; None for zeros."""
        return self._states(self._initial.copy())

    def _states(self, initial: dict[str, Array]) -> tuple[Any, ...] | None:
        if not initial:
            return None
        each = [
            tuple(initial[f"{n}.{name}"].copy() for name in initial_names(layer))
            for n, layer in self._recurrent()
        ]
        return tuple(parts if len(parts) > 1 else parts[0] for parts in each)

    def _set_initial(self, value: Any) -> None:
        for (n, layer), state in zip(
            self._recurrent(), self._each_state("initial_state", value), strict=True
        ):
            names = initial_names(layer)
            parts = state if len(names) > 1 else (state,)
            if not isinstance(parts, (tuple, list)) or len(parts) != len(names):
                expected = ", ".join(name.removesuffix("_0") for name in names)
                raise TypeError(
                    f"initial_state: expected ({expected}) for layers[{n}], {type(layer).__name__}"
                )
            for name, part in zip(names, parts, strict=True):
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

    def _start(self, state: Any, batch: int | None, initial: dict[str, Array]) -> list[Any]:
        """What each recurrent layer starts from; `batch` is None where there is no such axis."""
        own = None if state is not None else self._states(initial)
        if own is None:
            return self._each_state("state", state)

        def rows(a: Array) -> Array:
            return a if batch is None else np.repeat(a[:, None], batch, axis=1)

        return [
            tuple(map(rows, start)) if isinstance(start, tuple) else rows(start) for start in own
        ]

    def _input(self, x: Any) -> Array:
        """x as an array; where it is added again, one that nobody else can change meanwhile."""
        found = arguments.array("x", x, self.dtype)
        return found.copy() if 0 in self._sources else found

    def _batch(self, x: Array) -> int | None:
        return None if x.ndim != 3 else x.shape[0 if self.batch_first else 1]


def initial_names(layer: RecurrentNet[Any]) -> tuple[str, ...]:
    """What the states that a layer starts from are called."""
    states = layer.cell.states if isinstance(layer, Recurrent) else ("h", "c")
    return tuple(f"{name}_0" for name in states[: len(layer._sizes.states)])


def features(layer: RecurrentNet[Any] | Dense) -> tuple[int, int]:
    """What a layer takes and gives for each step."""
    if isinstance(layer, Dense):
        return layer.in_features, layer.out_features
    return layer.input_size, layer._sizes.states[0] * layer.num_directions
