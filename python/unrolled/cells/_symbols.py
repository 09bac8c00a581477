"""What stands for the arrays while a cell's function is run once: symbols that note what is done.

Every operation appends a node to the `Graph` of the cell being traced. What a symbol cannot do
raises an error that names the user's line, which is the nearest frame outside this package.
"""

from __future__ import annotations

import math
import numbers
import os
import sys
import types
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from ._description import MOST

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
COMPARISONS = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
_UFUNCS = {
    "add": "add",
    "subtract": "sub",
    "multiply": "mul",
    "divide": "div",
    "power": "pow",
    **{name: name for name in COMPARISONS},
}


def place() -> str:
    """The user's file, line and function where an operation is under way."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_HERE):
        frame = frame.f_back
    code = frame.f_code
    return f"{line_of(code, frame.f_lineno)}, in {code.co_name}"


def line_of(code: types.CodeType, line: int) -> str:
    return f"{os.path.basename(code.co_filename)}, line {line}"


def refuse(message: str, kind: type[Exception] = TypeError, at: str = "") -> NoReturn:
    """Raise with the user's line in front, where it is not `at`."""
    raise kind(f"{at or place()}: {message}")


class Graph:
    """The nodes of one cell, each distinct one once, in order of first use."""

    def __init__(self) -> None:
        self.nodes: list[tuple[Any, ...]] = []
        self.lines: list[str] = []
        self._index: dict[tuple[Any, ...], int] = {}
        self._of_h: dict[str, int | None] = {}
        self._conditions: set[int] = set()

    def add(self, *node: Any) -> int:
        # The text tells 0.0 from -0.0 and 1 from 1.0.
        key = tuple(map(repr, node))
        if key not in self._index:
            if len(self.nodes) >= MOST["nodes"]:
                refuse(f"expected at most {MOST['nodes']} operations, got more", ValueError)
            index = self._index[key] = len(self.nodes)
            self.nodes.append(node)
            self.lines.append(place())
            op, *operands = node
            # Both hold: a comparison times a comparison.
            if op in COMPARISONS or op == "mul" and self._conditions.issuperset(operands):
                self._conditions.add(index)
        return self._index[key]

    def map_of_h(self, name: str, value: int | None = None) -> Symbol:
        """h.name, or the map `name` of a value, which share their names."""
        if self._of_h.setdefault(name, value) != value:
            came = f"h.{name}" if value is None else f"linear({name!r}, ...)"
            refuse(f"expected a name for one map of h or of a value, got {came} beside another "
                   "map of that name", ValueError)  # fmt: skip
        node = ("h", name) if value is None else ("linear", name, value)
        return Symbol(self, self.add(*node))

    def operand(self, value: Any, at: str = "") -> int:
        """The node of a symbol or a number; `at` is where it is, if not where the user is."""
        if isinstance(value, Symbol):
            if value._graph is not self:
                refuse("expected a symbol of this cell, got one of another cell", at=at)
            return value._node
        return self.add("number", number(value, at))

    def apply(self, op: str, *operands: Any) -> Symbol:
        indices = [self.operand(value) for value in operands]
        self._refuse_conditions(op, indices)
        return Symbol(self, self.add(op, *indices))

    def is_condition(self, index: int) -> bool:
        return index in self._conditions

    def _refuse_conditions(self, op: str, indices: list[int]) -> None:
        # Arrays of truth values add as "or" in NumPy and not at all in PyTorch: a formula that
        # used them as numbers would mean something else on arrays.
        checked = indices[1:] if op == "where" else [] if op == "mul" else indices
        if any(map(self.is_condition, checked)):
            refuse(
                f"{op}: expected numbers, got a comparison's result; "
                "use where(comparison, 1.0, 0.0)"
            )


def number(value: Any, at: str = "") -> float:
    """A finite number in a formula, or an error that says what may stand there."""
    found = real(value, at)
    if not math.isfinite(found):
        refuse(f"expected a finite number, got {found}", ValueError, at)
    return found


def real(value: Any, at: str = "") -> float:
    """A number, or an error that says what may stand there."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    found = as_float(value)
    if found is not None:
        return found
    if isinstance(value, Symbol):
        refuse("expected a number, got a symbol", at=at)
    if isinstance(value, Namespace):
        refuse(f"expected a map or a parameter, got {value._what}; write {value._what}.name", at=at)
    shape = getattr(value, "shape", None)
    came = type(value).__name__ + (f" of shape {tuple(shape)}" if shape is not None else "")
    refuse(
        f"expected a symbol or a number, got {came}; numbers that differ from unit to unit, "
        "of shape (units,), are parameters: p.name",
        at=at,
    )


def as_float(value: Any) -> float | None:
    """A real number, infinite if it is beyond all floats; None for anything else."""
    # To NumPy a span of time is an integer, whose unit would be lost.
    if isinstance(value, (bool, np.bool_, np.timedelta64)) or not isinstance(value, numbers.Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return -math.inf if value < 0 else math.inf


def _binary(op: str, swapped: bool = False) -> Any:
    def method(self: Symbol, other: Any) -> Symbol:
        operands = (other, self) if swapped else (self, other)
        return self._graph.apply(op, *operands)

    return method


def _unusable(expected: str, came: str) -> Any:
    def method(self: Any, *arguments: Any, **keywords: Any) -> NoReturn:
        refuse(f"expected {expected}, got {came}")

    return method


_FUNCTIONS = "use the function of that name in unrolled.cells"


class Symbol:
    """A value of every unit, known when the cell runs."""

    __slots__ = ("_graph", "_node")

    def __init__(self, graph: Graph, node: int) -> None:
        object.__setattr__(self, "_graph", graph)
        object.__setattr__(self, "_node", node)

    _graph: Graph
    _node: int

    def __repr__(self) -> str:
        return f"<symbol {self._node}: {self._graph.nodes[self._node][0]}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        refuse(
            f"expected a value, got its attribute .{name}; maps are x.{name} and h.{name}, "
            f"parameters p.{name}, a map of a value linear({name!r}, value)"
        )

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any:
        op = _UFUNCS.get(ufunc.__name__)
        # A NumPy number on the left of an operator comes here.
        if op is None or method != "__call__" or keywords:
            refuse(
                f"expected a function of unrolled.cells, got NumPy's {ufunc.__name__}; {_FUNCTIONS}"
            )
        return self._graph.apply(op, *inputs)

    def __array_function__(self, function: Any, *rest: Any) -> Any:
        refuse(
            f"expected a function of unrolled.cells, got NumPy's {function.__name__}; {_FUNCTIONS}"
        )

    @classmethod
    def __torch_function__(cls, function: Any, *rest: Any) -> Any:
        name = getattr(function, "__name__", "function")
        refuse(f"expected a function of unrolled.cells, got PyTorch's {name}; {_FUNCTIONS}")

    def __neg__(self) -> Symbol:
        return self._graph.apply("neg", self)

    def __pos__(self) -> Symbol:
        return self

    def __abs__(self) -> Symbol:
        return self._graph.apply("abs", self)

    __hash__ = object.__hash__

    def __setattr__(self, name: str, value: Any) -> None:
        refuse(f"expected no assignment to a symbol's attribute, got .{name} = ...")


for _op, _name in {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "div": "truediv",
    "pow": "pow",
}.items():
    setattr(Symbol, f"__{_name}__", _binary(_op))
    setattr(Symbol, f"__r{_name}__", _binary(_op, swapped=True))
for _op, _name in zip(COMPARISONS, ("lt", "le", "gt", "ge", "eq", "ne"), strict=True):
    setattr(Symbol, f"__{_name}__", _binary(_op))
# What there is no operation for: what to write instead, and what came.
_NOWHERE = {
    "bool": (
        "where(condition, a, b), minimum or maximum",
        "a Python if, while, and, or, not, max or chain of comparisons; a symbol has no value yet",
    ),
    "float int complex index round trunc floor ceil": (
        "functions of unrolled.cells",
        "a number made of a symbol, which has no value yet",
    ),
    "array": ("functions of unrolled.cells", "an array made of a symbol"),
    "len iter getitem setitem contains reversed": (
        "arithmetic or a function of unrolled.cells",
        "a symbol's length or entry; a symbol stands for every unit alike and has no axes",
    ),
    "call": ("arithmetic or a function of unrolled.cells", "a symbol called as a function"),
    "and rand or ror xor rxor invert": (
        "a product of comparisons for &, nested where for | and ~",
        "another operator",
    ),
    "matmul rmatmul floordiv rfloordiv mod rmod divmod rdivmod lshift rlshift rshift rrshift": (
        "+ - * / **, a comparison or, for products with a matrix, x.name, h.name or linear",
        "another operator",
    ),
}
for _names, _said in _NOWHERE.items():
    for _name in _names.split():
        setattr(Symbol, f"__{_name}__", _unusable(*_said))


def _attribute(name: str, of: str) -> None:
    """Refuse what cannot be a name; Python and others look for what begins with _."""
    if name.startswith("_"):
        raise AttributeError(
            f"{place()}: expected a name that does not begin with _, got {of}.{name}"
        )


class HiddenSymbol(Symbol):
    """h: its value in arithmetic; h.name is a map of it."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        _attribute(name, "h")
        return self._graph.map_of_h(name)


class Namespace:
    """x or p: symbols by name, and nothing itself."""

    __slots__ = ("_graph", "_op", "_what")

    def __init__(self, graph: Graph, op: str, what: str) -> None:
        for name, value in (("_graph", graph), ("_op", op), ("_what", what)):
            object.__setattr__(self, name, value)

    _graph: Graph
    _op: str
    _what: str

    def __getattr__(self, name: str) -> Any:
        _attribute(name, self._what)
        return Symbol(self._graph, self._graph.add(self._op, name))

    def __setattr__(self, name: str, value: Any) -> None:
        refuse(f"expected no assignment, got {self._what}.{name} = ...")

    def _refused(self, *rest: Any, **keywords: Any) -> NoReturn:
        refuse(f"expected a map or a parameter, got {self._what} itself; write {self._what}.name")

    @classmethod
    def __torch_function__(cls, function: Any, *rest: Any) -> Any:
        refuse("expected a map or a parameter, got x or p itself; write x.name")

    __hash__ = object.__hash__


for _name in (
    "add radd sub rsub mul rmul truediv rtruediv pow rpow neg pos abs lt le gt ge eq ne "
    "array_ufunc array_function " + " ".join(_NOWHERE)
).split():
    setattr(Namespace, f"__{_name}__", Namespace._refused)


def symbols(values: Any) -> Iterator[Symbol]:
    """Those among the arguments of a function."""
    return (value for value in values if isinstance(value, Symbol))
