"""A formula that an LSTM, GRU or RNN node of ONNX computes, told from its graph.

The formulas of `cells._standard` are made with marks where a node's attributes may say this or
that: an activation, the threshold of ``clip``. A cell is one of them if its graph is, whatever its
maps and parameters are called and in whichever order they and the terms of sums and products come.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any

from ..cells import Cell, cell, maximum
from ..cells._activations import FORMULAS, ONNX, Function
from ..cells._standard import Standard
from ..reference._onnx_functions import FORMULAS as CONSTANTS

# Numbers that stand in no formula of `_standard` for themselves.
GATE, CANDIDATE, OUTPUT, CLIP, ALPHA, BETA = 101.0, 102.0, 103.0, 104.0, 105.0, 106.0
# Of each kind, what it has beside the usual.
FORMS: dict[str, tuple[tuple[float, ...], tuple[str, ...]]] = {
    "LSTM": ((GATE, CANDIDATE, OUTPUT), ("coupled", "peepholes")),
    "GRU": ((GATE, CANDIDATE), ("reset_after",)),
    "RNN": ((CANDIDATE,), ()),
}
COMMUTATIVE = ("add", "mul", "minimum", "maximum")
# What no node's formula has; nothing larger is looked at.
MOST_NODES = 128
# Nodes by their numbers, marks by their names.
Bound = Mapping[Any, Any]


@dataclass(frozen=True)
class Found:
    """What a cell is, and where its blocks of rows stand, each in the order of the `Standard`'s."""

    standard: Standard
    of_x: tuple[int, ...]
    of_h: tuple[int, ...]
    parameters: tuple[int, ...]


@dataclass(frozen=True)
class _Mark(Function):
    """In the place of an activation."""

    mark: float = 0.0

    def __call__(self, a: Any) -> Any:
        return maximum(a, self.mark)


@lru_cache(maxsize=1)
def _standards() -> list[tuple[Standard, dict[str, Any]]]:
    """Every form, with marks for functions, and its formula."""
    found = []
    for kind, (marks, words) in FORMS.items():
        functions = tuple(_Mark(f"function_{mark:g}", mark=mark) for mark in marks)
        for clip in (None, CLIP):
            for flags in product((False, True), repeat=len(words)):
                form = Standard(kind, functions, clip, **dict(zip(words, flags, strict=True)))
                assert form.formula is not None
                found.append((form, form.formula.formula()))
    return found


@lru_cache(maxsize=1)
def _functions() -> dict[str, dict[str, Any]]:
    """The formula of each activation, by ONNX's name, with marks for its constants."""
    marks = {"alpha": ALPHA, "beta": BETA}

    def traced(own: str, constants: list[float]) -> dict[str, Any]:
        def activation(x: Any, h: Any) -> Any:
            return FORMULAS[own](x.a, *constants)

        return cell(activation).formula()

    return {
        name: traced(own, [marks[key] for key in CONSTANTS[name].constants])
        for name, own in ONNX.items()
    }


@lru_cache(maxsize=256)
def recognised(of: Cell) -> Found | None:
    """What a node calls the cell, or None if there is no such node."""
    data = of.formula()
    if len(data["nodes"]) > MOST_NODES:
        return None
    for form, pattern in _standards():
        if any(len(pattern[key]) != len(data[key]) for key in ("states", "maps", "parameters")):
            continue
        for bound in _Search(pattern, data).all():
            found = _read(form, pattern, data, bound)
            if found is not None:
                return found
    return None


def _read(
    form: Standard, pattern: Mapping[str, Any], data: Mapping[str, Any], bound: Bound
) -> Found | None:
    """What was found in the places of the marks, if every map and parameter has a place."""
    maps = [bound["slot", at] for at in range(len(pattern["maps"]))]
    parameters = [bound["parameter", at] for at in range(len(pattern["parameters"]))]
    if len({*maps}) < len(maps) or len({*parameters}) < len(parameters):
        return None
    rows = []
    for side in ("x", "h"):
        there = [at for at, entry in enumerate(data["maps"]) if _feeds(side, entry)]
        own = (at for at, entry in zip(maps, pattern["maps"], strict=True) if _feeds(side, entry))
        rows.append(tuple(map(there.index, own)))
    functions = tuple(bound[mark] for mark in map(_key, FORMS[form.kind][0]))
    standard = replace(form, functions=functions, clip=bound.get(_key(CLIP)))
    return Found(standard, rows[0], rows[1], tuple(parameters))


def _feeds(side: str, entry: Mapping[str, Any]) -> bool:
    return entry[side] not in (False, None)


def _key(mark: float) -> tuple[str, float]:
    return "mark", mark


class _Search:
    """The ways in which the graph of a formula with marks is that of another without."""

    def __init__(
        self, pattern: Mapping[str, Any], data: Mapping[str, Any], *, any_slot: bool = False
    ) -> None:
        # Of an activation, the slot is whatever it is a function of.
        self.pattern, self.data, self.any_slot = pattern, data, any_slot

    def all(self) -> Iterator[Bound]:
        """Each with what stands in the places of nodes, maps, parameters and marks."""
        pairs = zip(self.pattern["outputs"], self.data["outputs"], strict=True)
        return self._each([*pairs], {})

    def _each(self, pairs: list[tuple[int, int]], bound: Bound) -> Iterator[Bound]:
        if not pairs:
            yield bound
            return
        for found in self.ways(*pairs[0], bound):
            yield from self._each(pairs[1:], found)

    def ways(self, p: int, a: int, bound: Bound) -> Iterator[Bound]:
        """Node p of the pattern stands for node a."""
        op, *rest = self.pattern["nodes"][p]
        if op == "number":
            yield from self._number(rest[0], _number(self.data, a), bound)
            return
        if p in bound:
            if bound[p] == a:
                yield bound
            return
        bound = {**bound, p: a}
        mark = _marked(self.pattern, p)
        if mark is not None:
            for function, leaf in _activations(self.data, a):
                if bound.get(mark, function) == function:
                    yield from self.ways(rest[0], leaf, {**bound, mark: function})
            return
        if op == "slot" and self.any_slot:
            yield {**bound, "leaf": a}
            return
        own, *of = self.data["nodes"][a]
        if own != op:
            return
        if op in ("slot", "parameter"):
            yield from self._fed(op, rest[0], of[0], {**bound, (op, rest[0]): of[0]})
        elif op == "state":
            if rest == of:
                yield bound
        else:
            yield from self._each([*zip(rest, of, strict=True)], bound)
            if op in COMMUTATIVE and of[0] != of[1]:
                yield from self._each([*zip(rest, reversed(of), strict=True)], bound)

    def _fed(self, op: str, p: int, a: int, bound: Bound) -> Iterator[Bound]:
        """A map or parameter, if it is fed alike."""
        if op == "parameter":
            yield bound
            return
        wanted, got = self.pattern["maps"][p], self.data["maps"][a]
        if wanted["x"] != got["x"]:
            return
        if isinstance(wanted["h"], int) and isinstance(got["h"], int):
            yield from self.ways(wanted["h"], got["h"], bound)
        elif wanted["h"] == got["h"]:
            yield bound

    def _number(self, wanted: float, got: float | None, bound: Bound) -> Iterator[Bound]:
        if got is None:
            return
        mark = _key(abs(wanted))
        if abs(wanted) in (CLIP, ALPHA, BETA):
            got = got if wanted > 0 else -got
            fits = bound.get(mark, got) == got and (abs(wanted) != CLIP or got > 0)
            if fits:
                yield {**bound, mark: got}
        elif wanted == got:
            yield bound


def _number(data: Mapping[str, Any], at: int) -> float | None:
    """The value of a node, if it is one number for all units."""
    op, *rest = data["nodes"][at]
    if op == "number":
        return float(rest[0])
    if op == "constant":
        return float(data["constants"][rest[0]]["value"])
    value = _number(data, rest[0]) if op == "neg" else None
    return None if value is None else -value


def _marked(pattern: Mapping[str, Any], at: int) -> tuple[str, float] | None:
    """The mark of an activation that a node of a pattern is."""
    op, *rest = pattern["nodes"][at]
    value = _number(pattern, rest[1]) if op == "maximum" else None
    return _key(value) if value in (GATE, CANDIDATE, OUTPUT) else None


def _activations(data: Mapping[str, Any], at: int) -> Iterator[tuple[Function, int]]:
    """ONNX's functions that node `at` may be, and the node that each would be of."""
    for name, pattern in _functions().items():
        for bound in _Search(pattern, data, any_slot=True).ways(pattern["outputs"][0], at, {}):
            constants = (ALPHA, BETA)[: len(CONSTANTS[name].constants)]
            values = tuple(bound[_key(mark)] for mark in constants)
            yield Function(ONNX[name], values), bound["leaf"]
