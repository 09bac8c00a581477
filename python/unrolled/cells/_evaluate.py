"""The graph of a formula walked over on arrays of any library."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from . import _functions as functions
from ._maps import plain

BINARY = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
}
COMPARE = {
    "less": operator.lt,
    "less_equal": operator.le,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "equal": operator.eq,
    "not_equal": operator.ne,
}


def evaluated(formula: Mapping[str, Any], x: Any, states: tuple[Any, ...], p: Any) -> list[Any]:
    """The values of all nodes, of arrays as a cell's function takes them."""
    values: list[Any] = []
    for op, *rest in formula["nodes"]:
        if op == "slot":
            entry = formula["maps"][rest[0]]
            name, h = entry["name"], entry["h"]
            parts = [getattr(x, name)] if entry["x"] else []
            if h == "state":
                parts.append(getattr(states[0], name))
            elif h is not None:
                parts.append(functions.linear(name, values[h]))
            value = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        elif op == "state":
            value = plain(states[rest[0]])
        elif op == "parameter":
            value = getattr(p, formula["parameters"][rest[0]]["name"])
        elif op == "constant":
            value = formula["constants"][rest[0]]["value"]
        elif op == "number":
            value = rest[0]
        elif op == "normalise":
            found = functions.normalise(*(values[i] for i in rest[0]), eps=rest[1])
            value = found[rest[2]] if len(rest[0]) > 1 else found
        elif op == "spike":
            value = functions.spike(values[rest[0]], rest[1], rest[2])
        elif op == "neg":
            value = -values[rest[0]]
        elif op in BINARY:
            a, b = values[rest[0]], values[rest[1]]
            alone = isinstance(a, float) and isinstance(b, float)
            # Python's own numbers raise errors where arrays have infinities.
            value = float(BINARY[op](np.float64(a), b)) if alone else BINARY[op](a, b)
        elif op in COMPARE:
            # As a number, which a description may go on with.
            value = functions.where(COMPARE[op](values[rest[0]], values[rest[1]]), 1.0, 0.0)
        else:
            value = functions.apply(op, *(values[i] for i in rest))
        values.append(value)
    return values
