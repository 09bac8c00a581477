"""RTNeural's JSON: a Keras-like list of layers, weights and all.

``in_shape`` and ``layers``; each layer has ``type``, ``shape`` (its output's), ``weights`` as
Keras' `get_weights` gives them and, for dense ones, an ``activation`` that is computed after it.
RTNeural knows dense, lstm, gru, convolutions, batch normalisation and activations; here are all
but the convolutions and normalisations, and prelu with one slope.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._activation import Activation
from .._dense import Dense
from .._keras_weights import from_keras_weights, to_keras_weights
from .._layers import Layer, features
from .._modules import GRU, LSTM, RecurrentNet
from .._residual import Residual
from .._sequential import Sequential
from .._write import replace
from ..cells._recurrent import Recurrent
from ._format import Content, Format
from ._keys import got, only, shown
from ._numbers import array, dtype_name, last_size, text

# RTNeural's names are ours; its elu has alpha = 1.
ACTIVATIONS = ("tanh", "relu", "sigmoid", "softmax", "elu")
# `in_shape` and `layers` are RTNeural's. Plug-ins keep more in such files: notes and a batch to
# try them with, and what AIDA-X does beside the layers.
NOTES = ("metadata", "input_batch", "output_batch")
ADDED = {
    "in_gain": "a gain before the layers is not known",
    "out_gain": "a gain behind the layers is not known",
}
# 1 in models of one output, to which AIDA-X then adds the first input.
SKIP = "in_skip"
TOP = ("in_shape", "layers", *NOTES, SKIP, *ADDED)
LAYER = ("type", "activation", "shape", "weights", "name")
# How many lists deep the weights of a layer are.
WEIGHTS = {"dense": (2, 1), "lstm": (2, 2, 1), "gru": (2, 2, 2)}
KINDS = {"dense": "Dense", "lstm": "LSTM", "gru": "GRU"}


def sniff(content: Content) -> bool:
    """Whether it is JSON with such keys."""
    return content.is_json and {"in_shape", "layers"} <= content.json.keys()


def load(content: Content, hints: Mapping[str, Any]) -> Any:
    """The layers as a Sequential, float32 unless the user says otherwise: JSON has no types."""
    dtype, batch_first = dtype_name(hints), hints.get("batch_first", False)
    only("", content.json, TOP)
    for name, why in ADDED.items():
        # 0 dB, or nothing added.
        if content.json.get(name) not in (None, 0):
            got_it = got(content.json[name])
            raise ValueError(f"path: {name}: expected 0, for {why} here, got {got_it}")
    width = last_size("in_shape", content.json["in_shape"])
    given = content.json["layers"]
    if not isinstance(given, list) or not given:
        raise ValueError(f"path: layers: expected a list of layers, got {got(given)}")
    layers: list[Layer] = []
    for n, about in enumerate(given):
        at = f"layers[{n}]"
        if not isinstance(about, dict):
            raise ValueError(f"path: {at}: expected an object, got {got(about)}")
        made = _layer(at, about, dtype, batch_first)
        for layer in made:
            if isinstance(layer, (RecurrentNet, Dense)):
                takes, gives = features(layer)
                if takes != width:
                    raise ValueError(f"path: {at}: expected {width} inputs, got {takes}")
                width = gives
        if (said := last_size(f"{at}.shape", about.get("shape"))) != width:
            raise ValueError(f"path: {at}.shape: expected {width} at its end, got {said}")
        layers += made
    if not layers:
        raise ValueError("path: layers: expected at least one that computes something, got none")
    if _skips(content.json.get(SKIP), width):
        layers.append(Residual())
    return Sequential(*layers)


def _skips(value: Any, width: int) -> bool:
    """Whether the input is added to an output of that width."""
    if value in (None, 0):
        return False
    # Of true and false the program takes neither for a number.
    if isinstance(value, bool) or value != 1:
        raise ValueError(f"path: {SKIP}: expected 0 or 1, got {got(value)}")
    if width != 1:
        raise ValueError(
            f"path: {SKIP}: expected 0 in a model of {width} outputs, got {got(value)}"
        )
    return True


def _layer(at: str, about: Mapping[str, Any], dtype: str, batch_first: bool) -> list[Layer]:
    only(f"{at}.", about, LAYER)
    kind = text(f"{at}.type", about.get("type")).removeprefix("time-distributed-")
    activation = text(f"{at}.activation", about.get("activation", ""))
    if kind == "activation":
        if about.get("weights"):
            raise ValueError(f"path: {at}.weights: expected none in an activation, got some")
        return _activation(at, activation)
    weights = about.get("weights")
    if not isinstance(weights, list):
        raise ValueError(f"path: {at}.weights: expected a list, got {got(weights)}")
    if kind == "prelu":
        if len(weights) != 1 or activation:
            raise ValueError(f"path: {at}: expected one list of slopes and no activation")
        slopes = array(f"{at}.weights[0]", weights[0], 2, dtype)
        if (slopes != slopes[0, 0]).any():
            raise ValueError(f"path: {at}: prelu with slopes that differ is not known here")
        return [Activation("leaky_relu", alpha=float(slopes[0, 0]))]
    if kind not in KINDS:
        known = ", ".join((*KINDS, "prelu", "activation"))
        raise ValueError(f"path: {at}: expected one of {known}, got {shown(kind)}")
    depths = WEIGHTS[kind]
    # A dense layer may be without a bias.
    if len(weights) != len(depths) and not (kind == "dense" and len(weights) == 1):
        raise ValueError(f"path: {at}.weights: expected {len(depths)} of them, got {len(weights)}")
    arrays = [
        array(f"{at}.weights[{n}]", a, ndim, dtype)
        for n, (a, ndim) in enumerate(zip(weights, depths, strict=False))
    ]
    try:
        layer = from_keras_weights(arrays, KINDS[kind], batch_first=batch_first)
    except ValueError as error:
        raise ValueError(f"path: {at}.{error}") from None
    if isinstance(layer, Dense):
        return [layer, *_activation(at, activation)]
    # RTNeural computes tanh whatever is written here.
    if activation not in ("", "tanh"):
        raise ValueError(f"path: {at}.activation: expected tanh in {kind}, got {shown(activation)}")
    return [layer]


def _activation(at: str, name: str) -> list[Layer]:
    if name in ("", "linear"):
        return []
    if name not in ACTIVATIONS:
        expected = ", ".join(ACTIVATIONS)
        raise ValueError(f"path: {at}.activation: expected one of {expected}, got {shown(name)}")
    return [Activation(name)]


def save(net: Any, path: Path) -> None:
    """The model as RTNeural's `parseJson` reads it."""
    if getattr(net, "initial_state", None) is not None:
        raise ValueError("net: expected no initial_state, which RTNeural does not have")
    model = net if isinstance(net, Sequential) else Sequential(net)
    layers: list[dict[str, Any]] = []
    width = model.input_size
    if width is None:
        raise ValueError("net: expected a layer with parameters, got activations alone")
    begin = width
    for n, layer in enumerate(model.layers):
        at = f"layers[{n}]"
        if isinstance(layer, Residual):
            if layer.since or width != 1 or n + 1 < len(model.layers):
                raise ValueError(
                    f"{at}: expected Residual() alone, as the last layer of a model of one output, "
                    f"which AIDA-X has, got {layer!r}"
                )
            continue
        if isinstance(layer, Activation):
            layers.append(_written_activation(at, layer, width))
            continue
        if isinstance(layer, GRU) and not layer.reset_after:
            raise ValueError(f"{at}: expected reset_after=True, as RTNeural's GRU, got False")
        kind = "dense" if isinstance(layer, Dense) else type(layer).__name__.lower()
        if kind not in KINDS:
            raise ValueError(f"{at}: expected a layer that RTNeural has, got {layer!r}")
        assert not isinstance(layer, Recurrent)  # of no kind that RTNeural has
        try:
            stacks = to_keras_weights(layer)
        except ValueError as error:
            raise ValueError(f"{at}.{error}") from None
        width = features(layer)[1]
        for weights in stacks:
            if not layer.bias:
                shape = (2, weights[0].shape[1]) if kind == "gru" else weights[0].shape[1]
                weights.append(np.zeros(shape, dtype=model.dtype))
            layers.append(
                {
                    "type": kind,
                    "activation": "tanh" if isinstance(layer, (LSTM, GRU)) else "",
                    "shape": [None, None, width],
                    "weights": [a.tolist() for a in weights],
                }
            )
    about: dict[str, Any] = {"in_shape": [None, None, begin], "layers": layers}
    if isinstance(model.layers[-1], Residual):
        about[SKIP] = 1
    replace(path, json.dumps(about, allow_nan=False).encode())


def _written_activation(at: str, layer: Activation, width: int) -> dict[str, Any]:
    shape = [None, None, width]
    if layer.function == "leaky_relu":
        # What RTNeural has for a slope below 0 is one of each unit's own.
        return {"type": "prelu", "shape": shape, "weights": [[[layer.alpha] * width]]}
    if layer.function not in ACTIVATIONS or layer.alpha not in (None, 1.0):
        raise ValueError(f"{at}: expected an activation that RTNeural has, got {layer!r}")
    return {"type": "activation", "activation": layer.function, "shape": shape, "weights": []}


FORMAT = Format(
    name="rtneural",
    title="RTNeural JSON",
    suffixes=(".json",),
    sniff=sniff,
    load=load,
    save=save,
    hints=("dtype", "batch_first"),
)
