"""A model from parameters under PyTorch's names: what it is, the names and shapes say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .._activation import Activation
from .._arguments import Array
from .._dense import Dense
from .._modules import GRU, LSTM, RNN
from .._sequential import Layer, Sequential
from . import _limits

# What a user may say that names and shapes leave open.
HINTS = ("kind", "nonlinearity", "batch_first", "layers")
RECURRENT = re.compile(r"(?:(.+)\.)?((?:weight|bias)_(?:ih|hh|hr))(?:_(l\d+(?:_reverse)?))?", re.A)
DENSE = re.compile(r"(?:(.+)\.)?(weight|bias)", re.A)
KINDS: dict[str, type[LSTM | GRU | RNN]] = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}

# By the layer's prefix: parameters by their names in the layer.
Groups = dict[str, dict[str, Array]]


def model(arrays: Mapping[str, Array], hints: Mapping[str, Any]) -> Any:
    """The layer, or the layers one after another, that these are the parameters of.

    Hints
    -----
    kind : {"LSTM", "GRU", "RNN"}
        Which cell, where its rows leave it open (an LSTM without a forget gate has a GRU's).
    nonlinearity : str
        Of an RNN, which its parameters do not show.
    batch_first : bool
    layers : sequence of str and Activation
        The prefixes in the order of computation, and what stands between them.
    """
    if not arrays:
        raise ValueError("path: expected parameters, got none")
    groups = _grouped(arrays)
    order = hints.get("layers")
    if order is None:
        order = _order(groups)
    layers = _layers(groups, order, hints)
    return layers[0] if len(layers) == 1 and isinstance(order, _Alone) else Sequential(*layers)


class _Alone(tuple[str]):
    """One layer that is the whole model."""


def _grouped(arrays: Mapping[str, Array]) -> Groups:
    groups: Groups = {}
    for key, a in arrays.items():
        if found := RECURRENT.fullmatch(key):
            # A torch.nn.LSTMCell is one layer.
            name = f"{found[2]}_{found[3] or 'l0'}"
        elif found := DENSE.fullmatch(key):
            name = found[2]
        else:
            raise ValueError(
                f"path: {key}: expected the parameters of recurrent and linear layers under "
                "PyTorch's names (weight_ih_l0, …, weight, bias), got another layer's"
            )
        group = groups.setdefault(found[1] or "", {})
        if name in group:
            raise ValueError(f"path: {key}: expected each parameter once, got it twice")
        group[name] = a
    return groups


def _order(groups: Groups) -> Sequence[str]:
    if len(groups) == 1:
        return _Alone(groups)
    numbers = {prefix.rpartition(".")[2]: prefix for prefix in groups}
    heads = {prefix.rpartition(".")[0] for prefix in groups}
    places = [str(n) for n in range(len(groups))]
    if len(heads) == 1 and numbers.keys() == set(places):
        return [numbers[place] for place in places]
    raise ValueError(
        f"path: got parameters of {sorted(groups)}, whose names do not say in which order they "
        "are computed or what stands between them; pass layers=(…), these names in order with "
        "an unrolled.Activation wherever there is one"
    )


def _layers(groups: Groups, order: Any, hints: Mapping[str, Any]) -> list[Layer]:
    if isinstance(order, str) or not isinstance(order, Sequence):
        raise TypeError(f"layers: expected a sequence, got {type(order).__name__}")
    layers: list[Layer] = []
    used = []
    for entry in order:
        if isinstance(entry, Activation):
            layers.append(entry)
            continue
        if not isinstance(entry, str) or entry not in groups:
            raise ValueError(f"layers: expected names of {sorted(groups)}, got {entry!r:.80}")
        used.append(entry)
        layers.append(_layer(entry, groups[entry], hints))
    if sorted(used) != sorted(groups):
        raise ValueError(f"layers: expected each of {sorted(groups)} once, got {used}")
    return layers


def _layer(prefix: str, own: Mapping[str, Array], hints: Mapping[str, Any]) -> Layer:
    at = f"path: {prefix}." if prefix else "path: "
    config: dict[str, Any] = {"dtype": _dtype(at, own), "seed": 0}
    found: dict[str, tuple[int, ...]] = {name: a.shape for name, a in own.items()}
    layer: LSTM | GRU | RNN | Dense
    if "weight_hh_l0" in own or "weight_ih_l0" in own:
        kind, more = _recurrent(at, own, hints)
        config |= more
        _limits.agree(kind, config, found, f"path: {prefix or kind}")
        layer = KINDS[kind](**config)
    else:
        weight = own.get("weight")
        if weight is None or weight.ndim != 2 or 0 in weight.shape:
            got = "none" if weight is None else f"{weight.shape}"
            raise ValueError(
                f"{at}weight: expected shape (O, I) as a torch.nn.Linear's, got {got}: "
                "a layer that is not known here"
            )
        outputs, inputs = weight.shape
        config |= {"in_features": inputs, "out_features": outputs, "bias": "bias" in own}
        _limits.agree("Dense", config, found, f"path: {prefix or 'Dense'}")
        layer = Dense(**config)
    layer.load_state_dict(own)
    return layer


def _dtype(at: str, own: Mapping[str, Array]) -> str:
    dtypes = {a.dtype.name for a in own.values()}
    if len(dtypes) > 1 or not dtypes <= {"float32", "float64"}:
        raise ValueError(
            f"{at}{next(iter(own))}: expected all of float32 or all of float64, "
            f"got {', '.join(sorted(dtypes))}"
        )
    return dtypes.pop()


def _recurrent(
    at: str, own: Mapping[str, Array], hints: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """The cell and its configuration."""
    missing = [name for name in ("weight_ih_l0", "weight_hh_l0") if name not in own]
    if missing:
        raise ValueError(f"{at}{missing[0]}: expected this parameter too, got none")
    for name, a in own.items():
        if a.ndim != (1 if name.startswith("bias") else 2) or 0 in a.shape:
            raise ValueError(f"{at}{name}: expected a weight or bias, got shape {a.shape}")
    w_ih, w_hh, projection = own["weight_ih_l0"], own["weight_hh_l0"], own.get("weight_hr_l0")
    rows, state = w_hh.shape
    hidden = state if projection is None else projection.shape[1]
    gates = rows // hidden
    if rows % hidden or gates not in (1, 3, 4):
        raise ValueError(
            f"{at}weight_hh_l0: expected H, 3H or 4H rows for H = {hidden}, got {rows}"
        )
    kind = hints.get("kind") or {1: "RNN", 3: "GRU", 4: "LSTM"}[gates]
    config: dict[str, Any] = {
        "input_size": w_ih.shape[1],
        "hidden_size": hidden,
        "num_layers": 1 + max(int(name.split("_")[2][1:]) for name in own),
        "bias": "bias_ih_l0" in own,
        "bidirectional": "weight_ih_l0_reverse" in own,
        "batch_first": hints.get("batch_first", False),
    }
    fits = {"LSTM": (3, 4), "GRU": (3,), "RNN": (1,)}.get(kind)
    if fits is None:
        raise ValueError(f"kind: expected one of {', '.join(map(repr, KINDS))}, got {kind!r:.80}")
    if gates not in fits:
        raise ValueError(f"kind: expected a cell with {gates} gates, got {kind!r}")
    if kind == "LSTM":
        config |= {"forget_gate": gates == 4, "proj_size": 0 if projection is None else state}
    elif projection is not None:
        raise ValueError(f"{at}weight_hr_l0: expected in an LSTM, got it in {kind}")
    if kind == "RNN":
        if "nonlinearity" not in hints:
            raise ValueError(
                f"{at}weight_hh_l0: an RNN, whose parameters do not show whether it has tanh or "
                'relu; pass nonlinearity="tanh" or "relu"'
            )
        config["nonlinearity"] = hints["nonlinearity"]
    return kind, config
