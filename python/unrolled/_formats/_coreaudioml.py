"""CoreAudioML's JSON, which Proteus, NeuralPi and Chameleon load: its `SimpleRNN`.

A recurrent layer of PyTorch's, of one direction and with biases, a linear one, and perhaps the
first channels of the input added: ``lin(rec(x)) + x[..., :skip]``. ``model_data`` holds the
constructor's arguments, ``state_dict`` PyTorch's parameters as lists.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .. import _arguments as arguments
from .._dense import Dense
from .._layers import Layer
from .._modules import GRU, LSTM, RNN
from .._residual import Residual
from .._sequential import Sequential
from .._write import replace
from . import _limits
from ._format import Content, Format
from ._keys import got, only, shown
from ._numbers import array, dtype_name, size, text

MODEL = "SimpleRNN"
TOP = ("model_data", "state_dict")
SIZES = ("input_size", "hidden_size", "num_layers", "output_size")
ABOUT = ("model", "unit_type", "skip", "bias_fl", *SIZES)
# PyTorch's classes; of the functions its RNN may have, CoreAudioML leaves it tanh.
UNITS: dict[str, type[LSTM | GRU | RNN]] = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}
NAME = re.compile(r"(rec|lin)\.((?:weight|bias)(?:_[ih]h_l\d+)?)", re.A)


def sniff(content: Content) -> bool:
    """Whether it is JSON with such keys."""
    return content.is_json and set(TOP) <= content.json.keys()


def load(content: Content, hints: Mapping[str, Any]) -> Any:
    """The layers as a Sequential, float32 unless the user says otherwise: JSON has no types."""
    dtype, batch_first = dtype_name(hints), hints.get("batch_first", False)
    about, state = (_object(name, content.json[name]) for name in TOP)
    model = text("model_data.model", about.get("model"))
    if model != MODEL:
        raise ValueError(
            f"path: model_data.model: expected {MODEL}, the one of CoreAudioML's that is known "
            f"here, got {shown(model)}"
        )
    only("", content.json, TOP)
    only("model_data.", about, ABOUT)
    unit = text("model_data.unit_type", about.get("unit_type"))
    if unit not in UNITS:
        raise ValueError(
            f"path: model_data.unit_type: expected one of {', '.join(UNITS)}, got {shown(unit)}"
        )
    inputs, hidden, layers, outputs = (size(f"model_data.{k}", about.get(k)) for k in SIZES)
    bias = about.get("bias_fl")
    if not isinstance(bias, bool):
        raise ValueError(f"path: model_data.bias_fl: expected true or false, got {got(bias)}")
    skip = size("model_data.skip", about.get("skip"), at_least=0)
    if skip not in (0, outputs) or skip > inputs:
        known = "0" if outputs > inputs else f"0 or output_size = {outputs}"
        raise ValueError(f"path: model_data.skip: expected {known}, got {skip}")
    made = _parameters(state, dtype)
    recurrent = {"input_size": inputs, "hidden_size": hidden, "num_layers": layers}
    dense = {"in_features": hidden, "out_features": outputs, "bias": bias}
    for kind, config, part in ((unit, recurrent, "rec"), ("Dense", dense, "lin")):
        shapes = {name: a.shape for name, a in made[part].items()}
        _limits.agree(kind, config, shapes, f"path: state_dict.{part}")
    rec = UNITS[unit](inputs, hidden, layers, batch_first=batch_first, dtype=dtype, seed=0)
    rec.load_state_dict(made["rec"])
    lin = Dense(hidden, outputs, bias=bias, dtype=dtype, seed=0)
    lin.load_state_dict(made["lin"])
    return Sequential(rec, lin, *([Residual()] if skip else []))


def _object(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"path: {name}: expected an object, got {got(value)}")
    return value


def _parameters(state: Mapping[str, Any], dtype: str) -> dict[str, dict[str, arguments.Array]]:
    """Those of each layer."""
    only("state_dict.", state, [key for key in state if NAME.fullmatch(key)])
    made: dict[str, dict[str, arguments.Array]] = {"rec": {}, "lin": {}}
    for key, value in state.items():
        part, _, name = key.partition(".")
        axes = 2 if name.startswith("weight") else 1
        made[part][name] = array(f"state_dict.{key}", value, axes, dtype)
    return made


def save(net: Any, path: Path) -> None:
    """A recurrent layer, a dense one and perhaps the input added, as `SimpleRNN`'s file."""
    layers = net.layers if isinstance(net, Sequential) else (net,)
    rec, lin, skip = (*layers, *([None] * 3))[:3]
    there = isinstance(rec, (LSTM, GRU, RNN))
    if len(layers) > 3 or not there or not isinstance(lin, Dense):
        came = ", ".join(map(repr, layers))
        raise ValueError(
            "net: expected a Sequential of an LSTM, GRU or RNN, a Dense and perhaps Residual(), "
            f"got {came:.200}"
        )
    if skip is not None and not (isinstance(skip, Residual) and skip.since == 0):
        raise ValueError(f"layers[2]: expected Residual() or nothing, got {skip!r}")
    _plain(rec)
    if getattr(net, "initial_state", None) is not None:
        raise ValueError("net: expected no initial_state, which CoreAudioML does not have")
    own, state = rec.state_dict(), {}
    every = _limits.recurrent_shapes(type(rec).__name__, rec.config() | {"bias": True})
    for name, shape in every:
        state[f"rec.{name}"] = own[name] if name in own else np.zeros(shape, dtype=rec.dtype)
    state |= {f"lin.{name}": a for name, a in lin.state_dict().items()}
    about = {
        "model": MODEL,
        "input_size": rec.input_size,
        "skip": 0 if skip is None else lin.out_features,
        "output_size": lin.out_features,
        "unit_type": type(rec).__name__,
        "num_layers": rec.num_layers,
        "hidden_size": rec.hidden_size,
        "bias_fl": lin.bias,
    }
    parameters = {name: a.tolist() for name, a in state.items()}
    whole = {"model_data": about, "state_dict": parameters}
    replace(path, json.dumps(whole, allow_nan=False).encode())


def _plain(layer: Layer) -> None:
    """Refuse what the class of PyTorch's, as CoreAudioML makes it, does not compute."""
    plain = {
        "bidirectional": False,
        "proj_size": 0,
        "forget_gate": True,
        "reset_after": True,
        "nonlinearity": "tanh",
    }
    for name, value in plain.items():
        if (found := getattr(layer, name, value)) != value:
            raise ValueError(
                f"layers[0].{name}: expected {value}, as in CoreAudioML's {MODEL}, got {found}"
            )


FORMAT = Format(
    name="coreaudioml",
    title="CoreAudioML JSON",
    # A name that ends in .json says RTNeural's.
    suffixes=(),
    sniff=sniff,
    load=load,
    save=save,
    hints=("dtype", "batch_first"),
)
