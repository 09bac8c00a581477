"""What `fuzz/api.py` passes to what has to do with cells: the package's, and a user's functions."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import unrolled as ur
from odd import EVERY, RaisedError

c = ur.cells


def _nested(x: Any, h: Any) -> Any:
    return c.tanh(c.cell(lambda x, h: x.q * h)(x, h) + c.linear("z", 0.5 * h))


def _raises(x: Any, h: Any) -> Any:
    raise RaisedError("mine")


def _itself(x: Any, h: Any) -> Any:
    return _itself(x, h)


# Functions of cells, right and wrong.
FUNCTIONS: list[Callable[..., Any]] = [
    lambda x, h: c.tanh(x.a + h.a),
    lambda x, h, k, *, p, alpha=0.5: (c.tanh(x.a + p.b * k), alpha * k + h.n),
    lambda x, h, *, p: c.where(x.a > 0, c.spike(h.a), c.normalise(x.b, p.b)[0]),
    lambda x, h: functools.reduce(lambda v, n: v * v + n, range(1500), x.a),
    lambda x, h: functools.reduce(lambda v, n: v * v, range(1500), x.a > 0),
    lambda x, h: sum(getattr(x, f"m{n}") * h for n in range(16)),
    lambda x, h: h,
    lambda x, h: (x.a, h),
    lambda x, h: x,
    lambda x, h: None,
    lambda x, h: x.a if h > 0 else h,
    lambda x, h: h.a[0] + x.a,
    lambda x, h: x.a + x._graph,
    lambda x, h: (yield x.a),
    lambda *of: of[0].a,
    lambda x, h, p: p,
    lambda x: x.a,
    len,
    _nested,
    _raises,
    _itself,
]


def function(world: Any) -> Any:
    """One of those, or one that does something odd with what is given."""
    dice = world.dice
    if dice.random() < 0.5:
        return dice.choice(FUNCTIONS)
    other, name = dice.choice(EVERY)(), dice.choice(OPERATIONS)

    def f(x: Any, h: Any, *, p: Any) -> Any:
        a = c.tanh(x.a + h.a * p.b)
        return c.tanh(x.b + name(*(dice.choice((a, other, h)) for _ in range(2))))

    return f


OPERATIONS: list[Callable[..., Any]] = [
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a / b,
    lambda a, b: a**b,
    lambda a, b: c.where(a < b, a, b),
    lambda a, b: c.where(a == b, a, b),
    lambda a, b: c.where(a, b, 0.0),
    lambda a, b: c.normalise(a, b)[1],
    lambda a, b: c.normalise(a, eps=b),
    lambda a, b: c.spike(a, slope=b),
    lambda a, b: c.spike(a, b),
    lambda a, b: c.linear("m", a) + c.linear("n", b),
    lambda a, b: c.linear(b, a),
    c.minimum,
    c.maximum,
    lambda a, b: c.clip(a, b, 1.0),
    lambda a, b: c.exp(a) + c.log(b),
    lambda a, b: getattr(a, "shape", b),
    lambda a, b: a[b],
    lambda a, b: f"{a}{b!r}" and a,
]


def cell(world: Any) -> Any:
    """A small one of the gallery, or such a one of its description alone."""
    found = world.dice.choice((c.rnn, c.leaky_rnn, c.slstm, c.layer_norm_gru, c.lif))
    return found if world.dice.random() < 0.5 else c.from_description(found.text)


def _arrays(names: Any, world: Any) -> dict[str, Any]:
    return {name: world.normal(2, 3) for name in names}


def step_arguments(name: str) -> Callable[[Any], Any]:
    """An argument of `Cell.step` for `ur.cells.gru_original`."""

    def given(world: Any) -> Any:
        maps = c.gru_original.maps
        return {
            "x": _arrays([m["name"] for m in maps if m["x"]], world),
            "h": _arrays([m["name"] for m in maps if m["h"] == "state"], world),
            "states": (world.normal(2, 3),),
            "p": {},
            "linear": lambda _, value: value,
        }[name]

    return given


def called(of: Any) -> dict[str, Callable[[Any], Any]]:
    """Arguments of a cell that is called itself."""

    def maps(side: str, world: Any) -> Any:
        names = [m["name"] for m in of.maps if m[side]]
        return c.Maps(_arrays(names, world), world.normal(2, 3) if side == "h" else None)

    return {
        "x": lambda w: maps("x", w),
        "h": lambda w: maps("h", w),
        "p": lambda w: c.Maps(_arrays(of.parameters, w)),
        **{name: lambda w: w.normal(2, 3) for name in of.states[1:]},
        **{name: lambda w: 0.25 for name in of.constants},
    }


STEP = {name: step_arguments(name) for name in ("x", "h", "states", "p", "linear")}
VALUES: dict[str, Callable[[Any], Any]] = {
    "cell": cell,
    "cells": lambda w: [cell(w), c.rnn],
    "lag": lambda w: 3,
    "reach": lambda w: ur.flow.reach([cell(w)], 3, input_size=2, hidden_size=2),
    "maps": lambda w: _arrays("ab", w),
    "condition": lambda w: w.normal(2, 3) > 0,
    "a": lambda w: w.normal(2, 3),
    "b": lambda w: w.normal(2, 3),
    "low": lambda w: -1.0,
    "high": lambda w: 1.0,
    "surrogate": lambda w: "atan",
    "slope": lambda w: 2.0,
    "eps": lambda w: 1e-5,
    "constants": lambda w: 0.25,
    "keywords": lambda w: 0.25,
    "states": lambda w: [w.normal(2, 3)],
    "value": lambda w: None,
}
# Of those that are not all of a kind.
SPECIAL: dict[str, dict[str, Callable[[Any], Any]]] = {
    **{name: called(of) for name, of in vars(c).items() if isinstance(of, c.Cell)},
    "cell": {"function": function, "p": lambda w: {"b": 1.0}, "x": lambda w: {"a": 1.0}},
    "from_description": {"data": lambda w: cell(w).formula()},
    "linear": {"name": lambda w: "m", "value": lambda w: w.normal(2, 3)},
    "spike": {"v": lambda w: w.normal(2, 3)},
    "normalise": {"values": lambda w: [w.normal(2, 3), w.normal(2, 3)]},
    "Cell": {"data": lambda w: cell(w).text, "function": lambda w: None},
    "Cell.__call__": {
        "x": called(c.gru_original)["x"],
        "states": lambda w: [called(c.gru_original)["h"](w)],
    },
    "Cell.step": STEP,
    "Cell.values": STEP,
}
INSTANCES: dict[type, Callable[[Any], Any]] = {
    c.Cell: lambda w: c.gru_original,
    c.Maps: lambda w: c.Maps(_arrays("ab", w), np.ones(3)),
    ur.flow.Reach: VALUES["reach"],
}
