"""Keras 3's files: ``.keras`` archives of Sequential models, and bare ``.weights.h5``.

Keras itself is not needed. The archive's ``config.json`` says what the layers are; their weights
are groups of ``model.weights.h5``, named by class and count: ``lstm``, ``lstm_1`` …
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

from .._activation import Activation
from .._arguments import Array
from .._keras_weights import from_keras_weights
from .._sequential import Layer, Sequential
from ._format import Content, Format, json_object
from ._h5 import MAGIC, Weights
from ._numbers import text

CONFIG, STORE = "config.json", "model.weights.h5"
LONGEST_CONFIG = 16 << 20
# Weights hardly shrink; an archive that is so much larger inside is meant to be a burden.
MOST_INFLATED = 20

ACTIVATIONS: dict[str, Activation | None] = {
    "linear": None,
    "tanh": Activation("tanh"),
    "relu": Activation("relu"),
    "sigmoid": Activation("sigmoid"),
    "softmax": Activation("softmax"),
    "elu": Activation("elu"),
    "leaky_relu": Activation("leaky_relu", alpha=0.2),
    "hard_sigmoid": Activation("hard_sigmoid"),
    "softsign": Activation("softsign"),
    "silu": Activation("silu"),
    "swish": Activation("silu"),
}
# Keras' classes with weights that are known here, and what their groups are called.
GROUPS = {
    "LSTM": "lstm",
    "GRU": "gru",
    "SimpleRNN": "simple_rnn",
    "Dense": "dense",
    "Bidirectional": "bidirectional",
    "TimeDistributed": "time_distributed",
}
RECURRENT = ("LSTM", "GRU", "SimpleRNN")
# Those that do something in training only, or nothing at all.
IDLE = (
    "InputLayer",
    "Dropout",
    "SpatialDropout1D",
    "GaussianDropout",
    "GaussianNoise",
    "ActivityRegularization",
    "Identity",
)


def load(content: Content, hints: Mapping[str, Any]) -> Any:
    """A Sequential of the layers in the archive."""
    config, store = _opened(content)
    if config.get("class_name") != "Sequential":
        raise ValueError(
            "path: expected a Keras Sequential model, "
            f"got {config.get('class_name')!r:.40}; from_keras_weights takes single layers"
        )
    given = _inner(config, "config.json").get("layers")
    if not isinstance(given, list):
        raise ValueError(f"path: config.layers: expected a list, got {given!r:.80}")
    layers: list[Layer] = []
    counts: dict[str, int] = {}
    with Weights(store, STORE) as weights:
        for n, about in enumerate(given):
            kind = about.get("class_name") if isinstance(about, dict) else None
            if not isinstance(kind, str):
                raise ValueError(f"path: config.layers[{n}]: expected a layer, got {about!r:.80}")
            group = GROUPS.get(kind, "")
            count = counts.get(kind, 0)
            counts[kind] = count + 1
            place = f"{group}_{count}" if count else group
            layers += _layer(f"config.layers[{n}]", kind, about, weights, place, hints)
    if not layers:
        raise ValueError("path: config.layers: expected at least one that computes, got none")
    return Sequential(*layers)


def _opened(content: Content) -> tuple[dict[str, Any], bytes]:
    """The configuration and the weights, out of the archive."""
    path = str(content.path)
    try:
        with zipfile.ZipFile(content.path) as archive:
            inside = sum(archive.getinfo(name).file_size for name in (CONFIG, STORE))
            if inside > MOST_INFLATED * content.size:
                raise ValueError(
                    f"path: expected an archive of weights, got {inside} bytes in a file of "
                    f"{content.size}, {path!r}"
                )
            if archive.getinfo(CONFIG).file_size > LONGEST_CONFIG:
                raise ValueError(f"path: expected a configuration, got too long a one in {path!r}")
            return json_object(archive.read(CONFIG), f"{path}: {CONFIG}"), archive.read(STORE)
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
    ) as error:
        raise ValueError(f"path: a damaged archive, {path!r}: {error}") from None


def _inner(about: Mapping[str, Any], at: str) -> dict[str, Any]:
    config = about.get("config")
    if not isinstance(config, dict):
        raise ValueError(f"path: {at}: expected a configuration, got {config!r:.80}")
    return config


def _layer(
    at: str, kind: str, about: Mapping[str, Any], weights: Weights, place: str, hints: Any
) -> list[Layer]:
    if kind in IDLE:
        return []
    config = _inner(about, at)
    if kind in ("ELU", "LeakyReLU", "ReLU", "Softmax", "Activation"):
        return _activation_layer(at, kind, config)
    if kind not in GROUPS:
        raise ValueError(f"path: {at}: {kind:.40} is a layer that is not known here")
    finite = not hints.get("allow_nonfinite")
    if kind in ("Bidirectional", "TimeDistributed"):
        within = config.get("layer")
        inner = within.get("class_name") if isinstance(within, dict) else None
        expected = RECURRENT if kind == "Bidirectional" else ("Dense",)
        if not isinstance(within, dict) or inner not in expected:
            raise ValueError(
                f"path: {at}: expected {kind} of {', '.join(expected)}, got {inner!r:.40}"
            )
        own = _inner(within, at)
        if kind == "TimeDistributed":
            return _made(at, "Dense", own, weights.arrays(f"{place}/layer", finite=finite), hints)
        _plain(at, config, {"merge_mode": "concat"})
        # The other direction's configuration is the same, but that it goes backwards.
        _plain(at, own, {"return_sequences": True})
        halves = [
            weights.arrays(f"{place}/{half}/cell", finite=finite)
            for half in ("forward_layer", "backward_layer")
        ]
        return _made(at, str(inner), own, halves[0] + halves[1], hints, bidirectional=True)
    cell = f"{place}/cell" if kind in RECURRENT else place
    return _made(at, kind, config, weights.arrays(cell, finite=finite), hints)


def _plain(at: str, config: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse a layer that is told to be something else."""
    for name, value in expected.items():
        if config.get(name, value) != value:
            raise ValueError(f"path: {at}.{name}: expected {value}, got {config[name]!r:.80}")


def _made(
    at: str,
    kind: str,
    config: Mapping[str, Any],
    arrays: list[Array],
    hints: Mapping[str, Any],
    *,
    bidirectional: bool = False,
) -> list[Layer]:
    """A layer with weights, and its activation as a layer of its own."""
    after: list[Layer] = []
    more: dict[str, Any] = {}
    if kind == "Dense":
        after = _activation(at, config.get("activation", "linear"))
    elif kind == "SimpleRNN":
        more["nonlinearity"] = text(f"{at}.activation", config.get("activation", "tanh"))
    else:
        _plain(at, config, {"activation": "tanh", "recurrent_activation": "sigmoid"})
    if kind != "Dense":
        _plain(at, config, {"go_backwards": False})
        more |= {"bidirectional": bidirectional, "batch_first": hints.get("batch_first", False)}
    if kind == "GRU":
        more["reset_after"] = config.get("reset_after", True)
    try:
        layer = from_keras_weights(arrays, kind, **more)
    except (ValueError, TypeError) as error:
        raise ValueError(f"path: {at}: {error}") from None
    units = config.get("units")
    own = layer.out_features if hasattr(layer, "out_features") else layer.hidden_size
    if units is not None and units != own:
        raise ValueError(f"path: {at}.units: expected {own} by the weights, got {units!r:.80}")
    return [layer, *after]


def _activation(at: str, name: Any) -> list[Layer]:
    if isinstance(name, dict):
        name = name.get("class_name")
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"path: {at}.activation: {name!r:.40} is not known here")
    found = ACTIVATIONS[name]
    return [] if found is None else [Activation(**found.config())]


def _activation_layer(at: str, kind: str, config: Mapping[str, Any]) -> list[Layer]:
    try:
        if kind == "Activation":
            return _activation(at, config.get("activation"))
        if kind == "ELU":
            return [Activation("elu", alpha=config.get("alpha", 1.0))]
        if kind == "Softmax":
            _plain(at, config, {"axis": -1})
            return [Activation("softmax")]
        _plain(at, config, {"max_value": None, "threshold": 0.0})
        slope = config.get("negative_slope", 0.3 if kind == "LeakyReLU" else 0.0)
        return [Activation("leaky_relu", alpha=slope) if slope else Activation("relu")]
    except TypeError as error:
        raise ValueError(f"path: {at}: {error}") from None


def load_weights(content: Content, hints: Mapping[str, Any]) -> Any:
    """A model from weights alone: what is not in them, the user says."""
    with Weights(content.path, str(content.path)) as weights:
        groups = weights.groups()
        if not groups:
            raise ValueError(
                "path: expected weights as Keras 3 writes them (save_weights), got a file without "
                "its group 'layers'"
            )
        order = hints.get("layers")
        if order is None:
            if len(groups) > 1 or groups[0].startswith(GROUPS["Dense"]):
                raise ValueError(
                    f"path: got weights of {sorted(groups)}, which do not say in which order they "
                    "are computed or what their activations are; pass layers=(…), these names in "
                    "order with an unrolled.Activation wherever there is one"
                )
            order = groups
        if isinstance(order, str) or not isinstance(order, Sequence):
            raise TypeError(f"layers: expected a sequence, got {type(order).__name__}")
        layers: list[Layer] = []
        for entry in order:
            if isinstance(entry, Activation):
                layers.append(entry)
            elif isinstance(entry, str) and entry in groups:
                layers += _by_group(entry, weights, hints)
            else:
                raise ValueError(f"layers: expected names of {sorted(groups)}, got {entry!r:.80}")
        used = sorted(entry for entry in order if isinstance(entry, str))
        if used != sorted(groups):
            raise ValueError(f"layers: expected each of {sorted(groups)} once, got {used}")
    return Sequential(*layers)


def _by_group(name: str, weights: Weights, hints: Mapping[str, Any]) -> list[Layer]:
    kinds = {group: kind for kind, group in GROUPS.items()}
    kind = kinds.get(re.sub(r"_\d+\Z", "", name))
    if kind == "Bidirectional":
        raise ValueError(f"path: {name}: whose cell the weights do not say; see from_keras_weights")
    if kind is None:
        raise ValueError(f"path: {name}: a layer that is not known here")
    if kind == "SimpleRNN" and "nonlinearity" not in hints:
        raise ValueError(
            f'path: {name}: whose activation the weights do not say; pass nonlinearity="tanh"'
        )
    config = {"activation": hints.get("nonlinearity")} if kind == "SimpleRNN" else {}
    place = f"{name}/cell" if kind in RECURRENT else name
    if kind == "TimeDistributed":
        kind, place = "Dense", f"{name}/layer"
    arrays = weights.arrays(place, finite=not hints.get("allow_nonfinite"))
    if kind == "GRU" and len(arrays) == 3:
        config["reset_after"] = arrays[2].ndim == 2
    return _made(name, kind, config, arrays, hints)


FORMAT = Format(
    name="keras",
    title="Keras",
    suffixes=(".keras",),
    sniff=lambda content: {CONFIG, STORE} <= content.zip_names,
    load=load,
    hints=("batch_first",),
)
WEIGHTS = Format(
    name="keras-weights",
    title="Keras weights",
    suffixes=(".weights.h5",),
    sniff=lambda content: content.head.startswith(MAGIC),
    load=load_weights,
    hints=("layers", "nonlinearity", "batch_first"),
)
