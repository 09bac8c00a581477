"""Whether data are the description of a cell: every field, every index, bounded in size."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

KEYS = ("version", "name", "states", "maps", "parameters", "constants", "nodes", "outputs", "bias")
# What the kernels take at most, as `MOST_STATES` and so on in the crate. What they count in a
# compiled formula, as means and values to keep, they refuse themselves.
MOST = {
    "states": 8,
    "maps": 16,
    "maps of values": 4,
    "maps and maps of values": 16,
    "parameters": 16,
    "constants": 64,
    "nodes": 4096,
}
# What keeps the check itself short.
MOST_BYTES, MOST_LETTERS, MOST_OPERANDS, MOST_NORMALISED = 1 << 20, 64, 16384, 256
# Names of constants are arguments of `Recurrent`, also PyTorch's, and of JAX's `recurrent`, beside
# these of their own.
TAKEN = ("self", "cell", "input_size", "hidden_size", "num_layers", "bias", "batch_first",
         "dropout", "bidirectional", "device", "dtype", "seed", "params", "x", "state", "lengths",
         "resets", "p")  # fmt: skip
ONE = ("neg", "abs", "exp", "log", "sqrt", "sin", "cos", "tanh", "sigmoid", "log_sigmoid", "relu",
       "softplus", "silu", "stop_gradient")  # fmt: skip
TWO = ("add", "sub", "mul", "div", "pow", "minimum", "maximum", "less", "less_equal", "greater",
       "greater_equal", "equal", "not_equal")  # fmt: skip
ARITY = {**dict.fromkeys(ONE, 1), **dict.fromkeys(TWO, 2), "where": 3}
SURROGATES = ("fast_sigmoid", "atan", "sigmoid")


def _no(message: str) -> NoReturn:
    raise ValueError(f"cell's description: {message}")


def _shown(value: Any) -> str:
    """What came, in short, whatever it is."""
    if isinstance(value, str):
        return ascii(value[:40]) + ("..." if len(value) > 40 else "")
    small = type(value) in (int, float) and abs(value) < 1e18
    return repr(value) if small or value is None else type(value).__name__


def _name(value: Any, what: str) -> str:
    if not isinstance(value, str) or len(value) > MOST_LETTERS or not value.isidentifier():
        _no(f"{what}: expected an identifier of at most {MOST_LETTERS} letters, "
            f"got {_shown(value)}")  # fmt: skip
    return value


def _attribute(value: Any, what: str) -> str:
    """A name that a function may use as an attribute."""
    if _name(value, what).startswith("_"):
        _no(f"{what}: expected a name that does not begin with _, got {_shown(value)}")
    return str(value)


def _argument(value: Any, what: str) -> str:
    """A name that can be an argument of `Recurrent` beside its own."""
    if _name(value, what) in TAKEN:
        _no(f"{what}: expected another name than the arguments of Recurrent, got {_shown(value)}")
    return str(value)


def _real(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _no(f"{what}: expected a number, got {_shown(value)}")
    if isinstance(value, int) and abs(value) > 1 << 53 or not math.isfinite(value):
        _no(f"{what}: expected a finite number, below 2**53 if whole, got {_shown(value)}")
    return float(value)


def _index(value: Any, below: int, what: str) -> int:
    if type(value) is not int or not 0 <= value < below:
        _no(f"{what}: expected an index below {below}, got {_shown(value)}")
    return value


def _list(value: Any, what: str, most: int | None = None) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        _no(f"{what}: expected a list, got {_shown(value)}")
    return list(value[: _bounded(what, len(value), most)])


def _bounded(what: str, count: int, most: int | None = None) -> int:
    most = MOST[what] if most is None else most
    if count > most:
        _no(f"expected at most {most} {what}, got {count}")
    return count


def _entries(value: Any, what: str, keys: tuple[str, ...]) -> list[dict[str, Any]]:
    return [_entry(e, what, keys) for e in _list(value, what)]


def _entry(value: Any, what: str, keys: tuple[str, ...]) -> dict[str, Any]:
    if not isinstance(value, dict):
        _no(f"{what}: expected the keys {keys}, got {_shown(value)}")
    if set(value) != set(keys):
        came = ", ".join(_shown(key) for key in list(value)[: len(keys) + 1])
        _no(f"{what}: expected the keys {keys}, got {came or 'none'}")
    return value


def _distinct(names: list[str], what: str) -> None:
    for at, name in enumerate(names):
        if name in names[:at]:
            _no(f"{what}: expected distinct names, got {name!r} twice")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _parsed(text: str | bytes) -> Any:
    _bounded("bytes", len(text), MOST_BYTES)
    try:
        return json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        _no(f"expected JSON, got {str(error)[:80] or type(error).__name__}")


def validated(data: Any) -> dict[str, Any]:
    """A copy of the data in its one form, or an error."""
    if isinstance(data, (str, bytes)):
        data = _parsed(data)
    data = _entry(data, "description", KEYS)
    if type(data["version"]) is not int or data["version"] != 1:
        _no(f"expected version 1, got {_shown(data['version'])}; a later unrolled may read it")
    maps = _entries(data["maps"], "maps", ("name", "x", "h"))
    parameters = _entries(data["parameters"], "parameters", ("name", "init"))
    constants = _entries(data["constants"], "constants", ("name", "value"))
    out: dict[str, Any] = {
        "version": 1,
        "name": _name(data["name"], "name"),
        "states": [_name(n, "states") for n in _list(data["states"], "states")],
        "maps": [{"name": _attribute(m["name"], "maps"), "x": m["x"], "h": m["h"]} for m in maps],
        "parameters": [
            {"name": _attribute(e["name"], "parameters"), "init": _real(e["init"], "parameters")}
            for e in parameters
        ],
        "constants": [
            {"name": _argument(e["name"], "constants"), "value": _real(e["value"], "constants")}
            for e in constants
        ],
    }
    _distinct(out["states"], "states")
    for what in ("parameters", "constants"):
        _distinct([entry["name"] for entry in out[what]], what)
    out["nodes"] = _nodes(data["nodes"], {
        "slot": len(maps), "state": len(out["states"]), "parameter": len(parameters),
        "constant": len(constants),
    })  # fmt: skip
    _check_maps(out)
    states, outputs = len(out["states"]), _list(data["outputs"], "outputs", MOST["states"])
    if not states or len(outputs) != states:
        _no(f"expected one or more states and as many outputs, got {states} and {len(outputs)}")
    out["outputs"] = [_index(i, len(out["nodes"]), "outputs") for i in outputs]
    known = [m["name"] for m in out["maps"] if m["x"]]
    if not isinstance(data["bias"], dict):
        _no(f"bias: expected numbers by names of maps of x, got {_shown(data['bias'])}")
    for name in data["bias"]:
        if name not in known:
            _no(f"bias: expected names among {known}, got {_shown(name)}")
    out["bias"] = {n: _real(v, "bias") for n, v in data["bias"].items()}
    return out


def _nodes(value: Any, sizes: dict[str, int]) -> list[list[Any]]:
    nodes: list[list[Any]] = []
    operands = 0
    for at, node in enumerate(_list(value, "nodes")):
        op, *rest = _list(node, "a node", 4) or [None]
        if not isinstance(op, str):
            _no(f"a node: expected an operation's name, got {_shown(op)}")
        if op in sizes and len(rest) == 1:
            nodes.append([op, _index(rest[0], sizes[op], op)])
        elif op == "number" and len(rest) == 1:
            nodes.append([op, _real(rest[0], op)])
        elif op == "spike" and len(rest) == 3:
            if not isinstance(rest[1], str) or rest[1] not in SURROGATES:
                _no(f"spike: expected one of {SURROGATES}, got {_shown(rest[1])}")
            nodes.append([op, _index(rest[0], at, op), rest[1], _above_zero(rest[2], op)])
        elif op == "normalise" and len(rest) == 3:
            of = [_index(i, at, op) for i in _list(rest[0], "values", MOST_NORMALISED)]
            operands = _bounded("operands of normalise", operands + len(of), MOST_OPERANDS)
            nodes.append([op, of, _above_zero(rest[1], op), _index(rest[2], len(of), op)])
        elif ARITY.get(op) == len(rest):
            nodes.append([op, *(_index(i, at, op) for i in rest)])
        else:
            _no(f"a node: expected an operation and its operands, got {_shown(op)} of {len(rest)}")
    return nodes


def _above_zero(value: Any, what: str) -> float:
    found = _real(value, what)
    if not found > 0:
        _no(f"{what}: expected a number above 0, got {_shown(value)}")
    return found


def _check_maps(out: dict[str, Any]) -> None:
    """One node for each slot, after the value it maps; names distinct on each side."""
    maps, at = out["maps"], [n for n, node in enumerate(out["nodes"]) if node[0] == "slot"]
    if sorted(out["nodes"][n][1] for n in at) != list(range(len(maps))):
        _no(f"maps: expected one node for each of {len(maps)}, got {len(at)} or one twice")
    for n in at:
        entry = maps[out["nodes"][n][1]]
        if type(entry["x"]) is not bool or not (entry["x"] or entry["h"] is not None):
            _no(f"maps: expected a map of x, of h or of both, got {_shown(entry['x'])} as x and "
                f"{_shown(entry['h'])} as h")  # fmt: skip
        if entry["h"] is not None and entry["h"] != "state":
            _index(entry["h"], n, "maps")
    of_x = [m["name"] for m in maps if m["x"]]
    _distinct(of_x, "maps of x")
    _distinct([m["name"] for m in maps if m["h"] is not None], "maps of h")
    values = sum(m["h"] is not None and m["h"] != "state" for m in maps)
    _bounded("maps of values", values)
    _bounded("maps and maps of values", len(maps) + values)
    if not of_x:
        _no("maps: expected a map of x, got none")
