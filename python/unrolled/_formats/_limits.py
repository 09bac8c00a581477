"""What a file says of itself, checked before anything of that size is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from .._arguments import Array
from ..cells._description import validated
from ._keys import got, shown

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def finite(arrays: Mapping[str, Array]) -> None:
    """Refuse NaN and infinity, naming the parameter."""
    for name, a in arrays.items():
        good = np.isfinite(a)
        if not good.all():
            wrong = np.unravel_index(int(np.argmin(good)), a.shape)
            at = ", ".join(map(str, wrong))
            raise ValueError(
                f"path: {shown(name)}: expected finite numbers, got {a[wrong]} at [{at}] "
                f"({a.size - int(good.sum())} of {a.size})"
            )


def _size(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"path: {name}: expected a size, got {got(value)}")
    return value


def recurrent_shapes(kind: str, config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The parameters of a recurrent layer, one by one: a configuration may name billions."""
    inputs, hidden = _size(config, "input_size"), _size(config, "hidden_size")
    layers, proj = _size(config, "num_layers", 1), _size(config, "proj_size", 0)
    of_x, of_h, of_units = (blocks * hidden for blocks in _blocks(kind, config))
    state = proj or hidden
    directions = ("", "_reverse") if config.get("bidirectional") else ("",)
    for layer in range(layers):
        columns = inputs if layer == 0 else state * len(directions)
        for direction in directions:
            name = f"l{layer}{direction}"
            yield f"weight_ih_{name}", (of_x, columns)
            if of_h:
                yield f"weight_hh_{name}", (of_h, state)
            if config.get("bias", True):
                yield f"bias_ih_{name}", (of_x,)
                if of_h:
                    yield f"bias_hh_{name}", (of_h,)
            if of_units:
                yield f"weight_p_{name}", (of_units,)
            if proj:
                yield f"weight_hr_{name}", (proj, hidden)


def _blocks(kind: str, config: Mapping[str, Any]) -> tuple[int, int, int]:
    """How many blocks of H rows the weights of x, of h and of the units have."""
    if kind == "Recurrent":
        # Not compiled: that is for the network, once the parameters agree.
        cell = validated(config.get("cell"))
        of_h = sum(entry["h"] is not None for entry in cell["maps"])
        return sum(entry["x"] for entry in cell["maps"]), of_h, len(cell["parameters"])
    gates = 3 if config.get("forget_gate") is False else GATES[kind]
    return gates, gates, 0


def shapes(kind: str, config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The parameters that a model of that class and configuration has."""
    if kind == "Sequential":
        layers = config.get("layers")
        for n, about in enumerate(layers if isinstance(layers, list) else ()):
            if isinstance(about, dict) and isinstance(about.get("config"), dict):
                inner, own = str(about.get("class")), about["config"]
                # None within another: however deep a file nests them, nothing here follows.
                if inner == "Sequential":
                    continue
                for name, shape in shapes(inner, own):
                    yield f"{n}.{name}", shape
                # With its initial state, if that is one of the parameters.
                if config.get("initial_state") is True and (inner in GATES or inner == "Recurrent"):
                    yield from _initial(n, inner, own)
    elif kind == "Dense":
        outputs = _size(config, "out_features")
        yield "weight", (outputs, _size(config, "in_features"))
        if config.get("bias", True):
            yield "bias", (outputs,)
    elif kind in GATES or kind == "Recurrent":
        yield from recurrent_shapes(kind, config)


def _initial(n: int, kind: str, config: Mapping[str, Any]) -> Iterator[tuple[str, tuple[int, ...]]]:
    hidden, directions = _size(config, "hidden_size"), 2 if config.get("bidirectional") else 1
    cells = _size(config, "num_layers", 1) * directions
    states: tuple[str, ...] = ("h", "c") if kind == "LSTM" else ("h",)
    if kind == "Recurrent":
        states = tuple(validated(config.get("cell"))["states"])
    yield f"{n}.{states[0]}_0", (cells, _size(config, "proj_size", 0) or hidden)
    for name in states[1:]:
        yield f"{n}.{name}_0", (cells, hidden)


def agree(
    kind: str, config: Mapping[str, Any], arrays: Mapping[str, tuple[int, ...]], where: str
) -> None:
    """Refuse a configuration that does not describe these arrays, before it asks for memory."""
    count = 0
    for name, shape in shapes(kind, config):
        if name not in arrays:
            raise ValueError(f"{where} says, by its configuration, that it holds {name}; got none")
        if arrays[name] != shape:
            raise ValueError(
                f"{where}: {name}: expected shape {shape} by the configuration, got {arrays[name]}"
            )
        count += 1
    if count != len(arrays):
        known = {name for name, _ in shapes(kind, config)}
        raise ValueError(
            f"{where}: got {[n for n in arrays if n not in known][:8]}, which its configuration "
            "does not know"
        )
