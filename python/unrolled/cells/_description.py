"""Whether data are the description of a cell: every field, every index, bounded in size."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

LIMIT_TEXT, LIMIT_NODES, LIMIT_NAMES, LIMIT_OPERANDS = 1 << 20, 4096, 256, 16384
LIMIT_NAME = 64
KEYS = ("version", "name", "states", "maps", "parameters", "constants", "nodes", "outputs", "bias")
ARITY = {
    **dict.fromkeys(
        [
            "neg",
            "abs",
            "exp",
            "log",
            "sqrt",
            "sin",
            "cos",
            "tanh",
            "sigmoid",
            "log_sigmoid",
            "relu",
            "softplus",
            "silu",
            "stop_gradient",
        ],
        1,
    ),
    **dict.fromkeys(
        [
            "add",
            "sub",
            "mul",
            "div",
            "pow",
            "minimum",
            "maximum",
            "less",
            "less_equal",
            "greater",
            "greater_equal",
            "equal",
            "not_equal",
        ],
        2,
    ),
    "where": 3,
}


def _no(message: str) -> NoReturn:
    raise ValueError(f"cell's description: {message}")


def _name(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LIMIT_NAME or not value.isidentifier():
        _no(f"expected a name of at most {LIMIT_NAME} letters, got {str(value)[:80]!r}")
    return value


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _no(f"expected a number, got {type(value).__name__}")
    if isinstance(value, int) and abs(value) > 1 << 53 or not math.isfinite(value):
        _no("expected a finite number below 2**53 if whole, got another")
    return float(value)


def _index(value: Any, below: int) -> int:
    if type(value) is not int or not 0 <= value < below:
        _no(f"expected an index below {below}, got {str(value)[:40]}")
    return value


def _list(value: Any, most: int) -> list[Any]:
    if not isinstance(value, (list, tuple)) or len(value) > most:
        _no(f"expected a list of at most {most}, got {type(value).__name__}")
    return list(value)


def _entry(value: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(keys):
        _no(f"expected the keys {keys}, got {type(value).__name__}")
    return value


def _distinct(names: list[str]) -> None:
    if len(set(names)) != len(names):
        _no("expected distinct names, got one twice")


def validated(data: Any) -> dict[str, Any]:
    """A copy of the data in its one form, or an error."""
    if isinstance(data, (str, bytes)):
        if len(data) > LIMIT_TEXT:
            _no(f"expected at most {LIMIT_TEXT} bytes, got {len(data)}")
        try:
            data = json.loads(data)
        except (ValueError, RecursionError) as error:
            _no(f"expected JSON, got {type(error).__name__}")
    data = _entry(data, KEYS)
    if type(data["version"]) is not int or data["version"] != 1:
        _no("expected version 1, got another; a later unrolled may read it")
    states = [_name(n) for n in _list(data["states"], LIMIT_NAMES)]
    parameters = [_entry(e, ("name", "init")) for e in _list(data["parameters"], LIMIT_NAMES)]
    constants = [_entry(e, ("name", "value")) for e in _list(data["constants"], LIMIT_NAMES)]
    maps = [_entry(e, ("name", "x", "h")) for e in _list(data["maps"], LIMIT_NAMES)]
    out: dict[str, Any] = {
        "version": 1,
        "name": _name(data["name"]),
        "states": states,
        "maps": [{"name": _name(m["name"]), "x": m["x"], "h": m["h"]} for m in maps],
        "parameters": [{"name": _name(e["name"]), "init": _real(e["init"])} for e in parameters],
        "constants": [{"name": _name(e["name"]), "value": _real(e["value"])} for e in constants],
    }
    for names in (states, [e["name"] for e in parameters], [e["name"] for e in constants]):
        _distinct(names)
    sizes = {"slot": len(maps), "state": len(states), "parameter": len(parameters),
             "constant": len(constants)}  # fmt: skip
    out["nodes"] = _nodes(data["nodes"], sizes)
    _check_maps(out)
    out["outputs"] = [_index(i, len(out["nodes"])) for i in _list(data["outputs"], LIMIT_NAMES)]
    if not states or len(out["outputs"]) != len(states):
        _no(f"expected {len(states)} outputs and at least one, got {len(out['outputs'])}")
    bias = data["bias"]
    known = {m["name"] for m in out["maps"] if m["x"]}
    if not isinstance(bias, dict) or not set(bias) <= known:
        _no("expected biases of maps of x, got others")
    out["bias"] = {_name(n): _real(v) for n, v in bias.items()}
    return out


def _nodes(value: Any, sizes: dict[str, int]) -> list[list[Any]]:
    nodes: list[list[Any]] = []
    operands = 0
    for at, node in enumerate(_list(value, LIMIT_NODES)):
        op, *rest = _list(node, 4) or _no("expected a node, got an empty list")
        if not isinstance(op, str):
            _no(f"expected an operation's name, got {type(op).__name__}")
        if op in sizes and len(rest) == 1:
            nodes.append([op, _index(rest[0], sizes[op])])
        elif op == "number" and len(rest) == 1:
            nodes.append([op, _real(rest[0])])
        elif op == "spike" and len(rest) == 3:
            if rest[1] not in ("fast_sigmoid", "atan", "sigmoid") or _real(rest[2]) <= 0:
                _no("spike: expected a surrogate and a slope > 0, got others")
            nodes.append([op, _index(rest[0], at), rest[1], _real(rest[2])])
        elif op == "normalise" and len(rest) == 3:
            of = [_index(i, at) for i in _list(rest[0], LIMIT_NAMES)]
            operands += len(of)
            if operands > LIMIT_OPERANDS or not _real(rest[1]) > 0:
                _no("normalise: expected eps > 0 and fewer values, got others")
            nodes.append([op, of, _real(rest[1]), _index(rest[2], len(of))])
        elif ARITY.get(op) == len(rest):
            nodes.append([op, *(_index(i, at) for i in rest)])
        else:
            _no(f"expected an operation and its operands, got {op[:40]!r} of {len(rest)}")
    return nodes


def _check_maps(out: dict[str, Any]) -> None:
    """One node for each slot, after the value it maps; names distinct on each side."""
    at = [n for n, node in enumerate(out["nodes"]) if node[0] == "slot"]
    if sorted(out["nodes"][n][1] for n in at) != list(range(len(out["maps"]))):
        _no("expected one node for each slot, got others")
    for n in at:
        entry = out["maps"][out["nodes"][n][1]]
        if type(entry["x"]) is not bool or not (entry["x"] or entry["h"] is not None):
            _no("expected a map of x, of h or of both, got neither")
        if entry["h"] is not None and entry["h"] != "state":
            _index(entry["h"], n)
    _distinct([m["name"] for m in out["maps"] if m["x"]])
    _distinct([m["name"] for m in out["maps"] if m["h"] is not None])
    if not any(m["x"] for m in out["maps"]):
        _no("expected a map of x, got none")
