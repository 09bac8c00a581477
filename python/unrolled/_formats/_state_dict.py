"""A model from parameters under PyTorch's names: what it is, the names and shapes say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from .._activation import Activation
from .._arguments import Array
from .._dense import Dense
from .._layers import Layer
from .._modules import GRU, LSTM, RNN
from .._residual import Residual
from .._sequential import Sequential
from . import _limits
from ._keys import shown

# What a user may say that names and shapes leave open.
HINTS = ("kind", "nonlinearity", "batch_first", "layers")
RECURRENT = re.compile(r"(?:(.+)\.)?((?:weight|bias)_(?:ih|hh|hr))(?:_(l\d+(?:_reverse)?))?", re.A)
DENSE = re.compile(r"(?:(.+)\.)?(weight|bias)", re.A)
# Parameters of the units of a cell that is a formula, which no name tells.
OF_UNITS = re.compile(r"(?:.+\.)?weight_p_l\d+(?:_reverse)?", re.A)
KINDS: dict[str, type[LSTM | GRU | RNN]] = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}

# By the layer's prefix: parameters by their names in the layer.
Groups = dict[str, dict[str, Array]]


def model(arrays: Mapping[str, Array], hints: Mapping[str, Any]) -> Any:
    """The layer, or the layers one after another, that these are the parameters of.

    Hints
    -----
    kind : {"LSTM", "GRU", "RNN", "Dense"} or mapping of prefixes to these
        What a layer is, where names and shapes leave it open: an LSTM without a forget gate has a
        GRU's rows; a lone ``weight`` of two axes is a linear layer's without a bias, or an
        embedding's, or something else's.
    nonlinearity : str
        Of an RNN, which its parameters do not show.
    batch_first : bool
    layers : sequence of str, Activation and Residual
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
            came = "another layer's"
            if OF_UNITS.fullmatch(key):
                came = "a formula's; make the network of its cell, whose load_state_dict takes them"
            raise ValueError(
                f"path: {shown(key)}: expected the parameters of recurrent and linear layers under "
                "PyTorch's names (weight_ih_l0, …, weight, bias), got "
                f"{came}"
            )
        group = groups.setdefault(found[1] or "", {})
        if name in group:
            raise ValueError(f"path: {shown(key)}: expected each parameter once, got it twice")
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
        f"path: got parameters of {sorted(groups)!r:.400}, whose names do not say in which order "
        "they are computed or what stands between them; pass layers=(…), these names in order "
        "with an unrolled.Activation wherever there is one"
    )


def _layers(groups: Groups, order: Any, hints: Mapping[str, Any]) -> list[Layer]:
    if isinstance(order, str) or not isinstance(order, Sequence):
        raise TypeError(f"layers: expected a sequence, got {type(order).__name__}")
    layers: list[Layer] = []
    used = []
    for entry in order:
        if isinstance(entry, (Activation, Residual)):
            layers.append(entry)
            continue
        if not isinstance(entry, str) or entry not in groups:
            raise ValueError(f"layers: expected names of {sorted(groups)}, got {entry!r:.80}")
        used.append(entry)
        layers.append(_layer(entry, groups[entry], hints, _kind(entry, groups, hints)))
    if sorted(used) != sorted(groups):
        raise ValueError(f"layers: expected each of {sorted(groups)} once, got {used}")
    return layers


def _kind(prefix: str, groups: Groups, hints: Mapping[str, Any]) -> str | None:
    """What the user says that a layer is."""
    kind = hints.get("kind")
    if isinstance(kind, Mapping):
        if unknown := [name for name in kind if name not in groups]:
            raise ValueError(f"kind: expected names of {sorted(groups)}, got {unknown[0]!r:.80}")
        kind = kind.get(prefix)
    if kind is not None and kind not in (*KINDS, "Dense"):
        expected = ", ".join(map(repr, (*KINDS, "Dense")))
        raise ValueError(f"kind: expected one of {expected}, got {kind!r:.80}")
    cell = any(name.startswith(("weight_hh", "weight_ih")) for name in groups[prefix])
    # Said of all layers at once, it is said of those that it can be.
    if not isinstance(hints.get("kind"), Mapping) and len(groups) > 1:
        return kind if cell != (kind == "Dense") else None
    return kind


def _layer(
    prefix: str, own: Mapping[str, Array], hints: Mapping[str, Any], kind: str | None
) -> Layer:
    at = f"path: {shown(prefix)}." if prefix else "path: "
    config: dict[str, Any] = {"dtype": _dtype(at, own), "seed": 0}
    found: dict[str, tuple[int, ...]] = {name: a.shape for name, a in own.items()}
    layer: LSTM | GRU | RNN | Dense
    if "weight_hh_l0" in own or "weight_ih_l0" in own:
        name, more = _recurrent(at, own, hints, kind)
        config |= more
        _limits.agree(name, config, found, f"path: {shown(prefix or name)}")
        layer = KINDS[name](**config)
    else:
        config |= _linear(at, prefix, own, kind)
        _limits.agree("Dense", config, found, f"path: {shown(prefix or 'Dense')}")
        layer = Dense(**config)
    layer.load_state_dict(own)
    return layer


def _linear(at: str, prefix: str, own: Mapping[str, Array], kind: str | None) -> dict[str, Any]:
    """The configuration of a linear layer, if that is what it is."""
    weight = own.get("weight")
    if weight is None or weight.ndim != 2 or 0 in weight.shape:
        got = "none" if weight is None else f"{weight.shape}"
        raise ValueError(
            f"{at}weight: expected shape (O, I) as a torch.nn.Linear's, got {got}: "
            "a layer that is not known here"
        )
    if kind not in (None, "Dense"):
        raise ValueError(f"kind: expected 'Dense' for {shown(prefix or 'weight')}, got {kind!r}")
    if "bias" not in own and kind is None:
        raise ValueError(
            f"{at}weight: {weight.shape} without a bias may be a torch.nn.Linear's or a "
            "torch.nn.Embedding's, which is not known here; if it is a Linear's, pass "
            f"kind={{{prefix!r:.80}: 'Dense'}}"
        )
    outputs, inputs = weight.shape
    return {"in_features": inputs, "out_features": outputs, "bias": "bias" in own}


def _dtype(at: str, own: Mapping[str, Array]) -> str:
    dtypes = {a.dtype.name for a in own.values()}
    if len(dtypes) > 1 or not dtypes <= {"float32", "float64"}:
        raise ValueError(
            f"{at}{next(iter(own))}: expected all of float32 or all of float64, "
            f"got {', '.join(sorted(dtypes))}"
        )
    return dtypes.pop()


def _recurrent(
    at: str, own: Mapping[str, Array], hints: Mapping[str, Any], said: str | None
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
    kind = said or {1: "RNN", 3: "GRU", 4: "LSTM"}[gates]
    config: dict[str, Any] = {
        "input_size": w_ih.shape[1],
        "hidden_size": hidden,
        "num_layers": 1 + max(int(name.split("_")[2][1:]) for name in own),
        "bias": "bias_ih_l0" in own,
        "bidirectional": "weight_ih_l0_reverse" in own,
        "batch_first": hints.get("batch_first", False),
    }
    if gates not in {"LSTM": (3, 4), "GRU": (3,), "RNN": (1,)}.get(kind, ()):
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
