"""Neural Amp Modeler's ``.nam``: the LSTM models among them.

JSON with ``architecture``, ``config`` and all weights in one list. An LSTM's are, layer by layer,
the rows of ``[weight_ih, weight_hh]`` side by side, one bias, the initial h, the initial c; and
then the head, a dense layer: weight by output, bias. Gates are in PyTorch's order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._arguments import Array
from .._dense import Dense
from .._modules import LSTM
from .._sequential import Sequential
from .._write import replace
from ._format import Content, Format
from ._keys import got, only, shown
from ._numbers import array, size, text

VERSION = "0.5.4"
# The version, the sampling rate and the metadata (loudness, gear, training) change no number.
TOP = ("version", "architecture", "config", "weights", "metadata", "sample_rate")
CONFIG = ("input_size", "hidden_size", "num_layers", "in_channels", "out_channels")


def sniff(content: Content) -> bool:
    """Whether it is JSON with such keys."""
    return content.is_json and {"architecture", "config", "weights"} <= content.json.keys()


def load(content: Content, hints: Mapping[str, Any]) -> Any:
    """An LSTM and its head as a Sequential whose initial state is the file's."""
    about = content.json
    only("", about, TOP)
    version = text("version", about.get("version", VERSION))
    if not version.startswith("0."):
        raise ValueError(f"path: version: expected 0.…, as is known here, got {shown(version)}")
    architecture = text("architecture", about["architecture"])
    if architecture != "LSTM":
        raise ValueError(
            f"path: architecture: expected LSTM, the one of Neural Amp Modeler's that is known "
            f"here, got {shown(architecture)}"
        )
    config = about["config"]
    if not isinstance(config, dict):
        raise ValueError(f"path: config: expected an object, got {got(config)}")
    only("config.", config, CONFIG)
    inputs, hidden, layers = (
        size(f"config.{name}", config.get(name))
        for name in ("input_size", "hidden_size", "num_layers")
    )
    outputs = size("config.out_channels", config.get("out_channels", 1))
    if size("config.in_channels", config.get("in_channels", inputs)) != inputs:
        raise ValueError(
            f"path: config.in_channels: expected input_size = {inputs}, got {config['in_channels']}"
        )
    weights = array("weights", about["weights"], 1)
    above = 4 * hidden * 2 * hidden + 6 * hidden
    total = 4 * hidden * (inputs + hidden) + 6 * hidden + (layers - 1) * above
    total += outputs * (hidden + 1)
    if total != len(weights):
        raise ValueError(f"path: weights: expected {total} by config, got {len(weights)}")
    return _model(weights, inputs, hidden, layers, outputs, hints.get("batch_first", False))


def _model(
    weights: Array, inputs: int, hidden: int, layers: int, outputs: int, batch_first: bool
) -> Sequential:
    at = 0

    def take(*shape: int) -> Array:
        nonlocal at
        begin, at = at, at + int(np.prod(shape))
        return weights[begin:at].reshape(shape)

    parameters: dict[str, Array] = {}
    h, c = [], []
    for n in range(layers):
        columns = inputs if n == 0 else hidden
        both = take(4 * hidden, columns + hidden)
        parameters[f"weight_ih_l{n}"] = both[:, :columns]
        parameters[f"weight_hh_l{n}"] = both[:, columns:]
        parameters[f"bias_ih_l{n}"] = take(4 * hidden)
        parameters[f"bias_hh_l{n}"] = np.zeros(4 * hidden, dtype=weights.dtype)
        h.append(take(hidden))
        c.append(take(hidden))
    lstm = LSTM(inputs, hidden, layers, batch_first=batch_first, seed=0)
    lstm.load_state_dict(parameters)
    head = Dense(hidden, outputs, seed=0)
    head.load_state_dict({"weight": take(outputs, hidden), "bias": take(outputs)})
    return Sequential(lstm, head, initial_state=((np.stack(h), np.stack(c)),))


def save(net: Any, path: Path) -> None:
    """An LSTM and a dense layer as a model of Neural Amp Modeler."""
    layers = net.layers if isinstance(net, Sequential) else ()
    lstm, head = layers if len(layers) == 2 else (None, None)
    if not isinstance(lstm, LSTM) or not isinstance(head, Dense):
        came = ", ".join(map(repr, layers)) or repr(net)
        raise ValueError(f"net: expected a Sequential of an LSTM and a Dense, got {came:.200}")
    if lstm.bidirectional or lstm.proj_size or not lstm.forget_gate:
        raise ValueError(f"layers[0]: expected a plain LSTM in one direction, got {lstm!r}")
    if net.dtype != np.float32:
        raise ValueError(f"dtype: expected float32, as the program computes, got {net.dtype}")
    state, initial = lstm.state_dict(), net._initial or net._initial_zeros()
    parts: list[Array] = []
    for n in range(lstm.num_layers):
        parts.append(np.hstack([state[f"weight_ih_l{n}"], state[f"weight_hh_l{n}"]]))
        if lstm.bias:
            parts.append(state[f"bias_ih_l{n}"] + state[f"bias_hh_l{n}"])
        else:
            parts.append(np.zeros(4 * lstm.hidden_size, dtype=net.dtype))
        parts += [initial["0.h_0"][n], initial["0.c_0"][n]]
    own = head.state_dict()
    parts += [own["weight"], own.get("bias", np.zeros(head.out_features, dtype=net.dtype))]
    config = {
        "input_size": lstm.input_size,
        "hidden_size": lstm.hidden_size,
        "num_layers": lstm.num_layers,
    }
    if head.out_features != 1:
        config["out_channels"] = head.out_features
    about = {
        "version": VERSION,
        "metadata": {},
        "architecture": "LSTM",
        "config": config,
        "weights": np.concatenate([part.ravel() for part in parts]).tolist(),
    }
    replace(path, json.dumps(about, allow_nan=False).encode())


FORMAT = Format(
    name="nam",
    title="Neural Amp Modeler",
    suffixes=(".nam",),
    sniff=sniff,
    load=load,
    save=save,
    hints=("batch_first",),
)
