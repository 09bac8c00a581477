"""Keras 3's files: ``.keras`` archives of Sequential models, and bare ``.weights.h5``.

Keras itself is not needed. The archive's ``config.json`` says what the layers are; their weights
are groups of ``model.weights.h5``, named by class and count: ``lstm``, ``lstm_1`` …
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .._activation import Activation
from .._arguments import Array
from .._keras_weights import from_keras_weights
from .._layers import Layer
from .._residual import Residual
from .._sequential import Sequential
from . import _keras_config as keras
from ._format import MOST_INFLATED, Content, Format, json_object
from ._h5 import MAGIC, Weights
from ._keys import got, plain, printable, shown
from ._zip import Archive

CONFIG, STORE = "config.json", "model.weights.h5"
# Who wrote it, and when.
METADATA = "metadata.json"
LONGEST_CONFIG = 16 << 20
# Keras' classes with weights that are known here, and what their groups are called.
GROUPS = {
    "LSTM": "lstm",
    "GRU": "gru",
    "SimpleRNN": "simple_rnn",
    "Dense": "dense",
    "Bidirectional": "bidirectional",
    "TimeDistributed": "time_distributed",
}


def load(content: Content, hints: Mapping[str, Any]) -> Any:
    """A Sequential of the layers in the archive."""
    config, store = _opened(content)
    layers: list[Layer] = []
    counts: dict[str, int] = {}
    with Weights(store, STORE) as weights:
        for n, about in enumerate(keras.layers_of(config)):
            at = f"config.layers[{n}]"
            kind, own = keras.layer(at, about)
            if kind in GROUPS:
                count = counts.get(kind, 0)
                counts[kind] = count + 1
                place = f"{GROUPS[kind]}_{count}" if count else GROUPS[kind]
                layers += _layer(at, kind, own, weights, place, hints)
            elif kind not in keras.IDLE:
                layers += keras.activation_layer(at, kind, own)
        if not layers:
            raise ValueError("path: config.layers: expected at least one that computes, got none")
        _all_read(weights)
    return Sequential(*layers)


def _opened(content: Content) -> tuple[dict[str, Any], bytes]:
    """The configuration and the weights, out of the archive."""
    with Archive(content.path, MOST_INFLATED) as archive:
        for name in archive.names:
            if name not in (CONFIG, STORE, METADATA):
                raise ValueError(
                    f"path: {shown(name)}: expected no such entry in an archive of Keras', got it"
                )
        where = f"{content.path}: {CONFIG}"
        return json_object(archive.read(CONFIG, LONGEST_CONFIG), where), archive.read(STORE)


def _layer(
    at: str,
    kind: str,
    config: Mapping[str, Any],
    weights: Weights,
    place: str,
    hints: Mapping[str, Any],
) -> list[Layer]:
    """A layer with weights, out of the configuration."""
    finite = not hints.get("allow_nonfinite")
    if kind == "Bidirectional":
        return _both(at, config, weights, place, hints)
    if kind == "TimeDistributed":
        kind, config = keras.layer(f"{at}.layer", config.get("layer"), ("Dense",))
        place = f"{place}/layer"
    elif kind in keras.RECURRENT:
        place = f"{place}/cell"
    arrays = weights.arrays(place, finite=finite)
    if kind == "Dense":
        plain(f"{at}.", config, keras.DENSE_PLAIN)
        after = keras.activation(at, config.get("activation", "linear"))
        made = _made(at, kind, arrays, units=config.get("units"))
        _biased(at, config.get("use_bias", True), made)
        return [made, *after]
    settings = keras.cell(at, kind, config, backwards=False)
    return [_recurrent(at, kind, settings, config, arrays, hints)]


def _both(
    at: str, config: Mapping[str, Any], weights: Weights, place: str, hints: Mapping[str, Any]
) -> list[Layer]:
    """A Bidirectional, whose second half has a configuration of its own, or the first's."""
    plain(f"{at}.", config, {"merge_mode": "concat"})
    inner, own = keras.layer(f"{at}.layer", config.get("layer"), keras.RECURRENT)
    plain(f"{at}.layer.", own, {"return_sequences": True})
    settings = keras.cell(f"{at}.layer", inner, own, backwards=False)
    if config.get("backward_layer") is not None:
        second = f"{at}.backward_layer"
        _, other = keras.layer(second, config["backward_layer"], (inner,))
        plain(f"{second}.", other, {"return_sequences": True, "units": own.get("units")})
        plain(f"{second}.", keras.cell(second, inner, other, backwards=True), settings)
    halves = [
        weights.arrays(f"{place}/{half}/cell", finite=not hints.get("allow_nonfinite"))
        for half in ("forward_layer", "backward_layer")
    ]
    arrays = halves[0] + halves[1]
    return [_recurrent(at, inner, settings, own, arrays, hints, bidirectional=True)]


def _recurrent(
    at: str,
    kind: str,
    settings: Mapping[str, Any],
    config: Mapping[str, Any],
    arrays: list[Array],
    hints: Mapping[str, Any],
    *,
    bidirectional: bool = False,
) -> Layer:
    more: dict[str, Any] = {"bidirectional": bidirectional}
    more["batch_first"] = hints.get("batch_first", False)
    for name in ("activation", "recurrent_activation", "reset_after"):
        if name in settings:
            more[name] = settings[name]
    layer: Layer = _made(at, kind, arrays, units=config.get("units"), **more)
    _biased(at, settings["use_bias"], layer)
    return layer


def _made(at: str, kind: str, arrays: list[Array], *, units: Any = None, **more: Any) -> Any:
    """The layer of these weights."""
    try:
        layer = from_keras_weights(arrays, kind, **more)
    except (ValueError, TypeError) as error:
        raise ValueError(f"path: {at}: {printable(error)}") from None
    own = layer.out_features if hasattr(layer, "out_features") else layer.hidden_size
    if units is not None and units != own:
        raise ValueError(f"path: {at}.units: expected {own} by the weights, got {got(units)}")
    return layer


def _biased(at: str, said: Any, layer: Any) -> None:
    if said is not layer.bias:
        raise ValueError(
            f"path: {at}.use_bias: expected {layer.bias} by the weights, got {got(said)}"
        )


def _all_read(weights: Weights) -> None:
    """Refuse weights that no layer has taken: of some layer's, what it computes is not known."""
    if unread := weights.unread():
        raise ValueError(f"path: expected weights of the layers alone, got also {unread!r:.200}")


def load_weights(content: Content, hints: Mapping[str, Any]) -> Any:
    """A model from weights alone: what is not in them, the user says."""
    with Weights(content.path, f"{str(content.path)!r}") as weights:
        groups = weights.groups()
        if not groups:
            raise ValueError(
                "path: expected weights as Keras 3 writes them (save_weights), got a file without "
                "its group 'layers'"
            )
        order = hints.get("layers")
        if order is None:
            if len(groups) > 1 or groups[0].startswith((GROUPS["Dense"], "time_distributed")):
                raise ValueError(
                    f"path: got weights of {sorted(groups)!r:.400}, which do not say in which "
                    "order they are computed or what their activations are; pass layers=(…), these "
                    "names in order with an unrolled.Activation wherever there is one"
                )
            order = groups
        if isinstance(order, str) or not isinstance(order, Sequence):
            raise TypeError(f"layers: expected a sequence, got {type(order).__name__}")
        layers: list[Layer] = []
        for entry in order:
            if isinstance(entry, (Activation, Residual)):
                layers.append(entry)
            elif isinstance(entry, str) and entry in groups:
                layers.append(_by_group(entry, weights, hints))
            else:
                raise ValueError(f"layers: expected names of {sorted(groups)}, got {entry!r:.80}")
        used = sorted(entry for entry in order if isinstance(entry, str))
        if used != sorted(groups):
            raise ValueError(f"layers: expected each of {sorted(groups)} once, got {used}")
        _all_read(weights)
    return Sequential(*layers)


def _by_group(name: str, weights: Weights, hints: Mapping[str, Any]) -> Layer:
    """A layer by its group's name, which is its class's."""
    kinds = {group: kind for kind, group in GROUPS.items()}
    kind = kinds.get(re.sub(r"_\d+\Z", "", name))
    at, finite = shown(name), not hints.get("allow_nonfinite")
    if kind == "Bidirectional":
        raise ValueError(f"path: {at}: whose cell the weights do not say; see from_keras_weights")
    if kind is None:
        raise ValueError(f"path: {at}: a layer that is not known here")
    if kind not in keras.RECURRENT:
        place = f"{name}/layer" if kind == "TimeDistributed" else name
        layer: Layer = _made(at, "Dense", weights.arrays(place, finite=finite))
        return layer
    arrays = weights.arrays(f"{name}/cell", finite=finite)
    if hints.get("keras_defaults") is not True:
        functions = {"SimpleRNN": "tanh"}.get(kind, "tanh and sigmoid")
        # A GRU's biases show where it resets.
        if kind == "GRU" and len(arrays) < 3:
            functions += ", reset_after=True"
        raise ValueError(
            f"path: {at}: the weights do not say its activations, nor whether it goes backwards; "
            f"if these are Keras' defaults ({functions}, forwards), pass keras_defaults=True, and "
            "else load the .keras archive"
        )
    config: dict[str, Any] = {"use_bias": len(arrays) == 3}
    if kind == "SimpleRNN" and "nonlinearity" in hints:
        config["activation"] = hints["nonlinearity"]
    if kind == "GRU" and len(arrays) == 3:
        config["reset_after"] = arrays[2].ndim == 2
    settings = keras.cell(at, kind, config, backwards=False)
    return _recurrent(at, kind, settings, config, arrays, hints)


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
    hints=("layers", "nonlinearity", "batch_first", "keras_defaults"),
)
