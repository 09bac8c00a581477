"""From a function to a formula: run it once with symbols, share slots, leave plain data."""

from __future__ import annotations

import contextlib
import inspect
import math
import traceback
import types
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, overload

from ..reference._checks import shown
from ._cell import Cell
from ._symbols import (
    Graph,
    HiddenSymbol,
    Namespace,
    Symbol,
    as_float,
    line_of,
)


@overload
def cell(function: Callable[..., Any], /) -> Cell: ...


@overload
def cell(
    *, p: Mapping[str, float] | None = None, x: Mapping[str, float] | None = None
) -> Callable[[Callable[..., Any]], Cell]: ...


def cell(
    function: Callable[..., Any] | None = None,
    /,
    *,
    p: Mapping[str, float] | None = None,
    x: Mapping[str, float] | None = None,
) -> Cell | Callable[[Callable[..., Any]], Cell]:
    """Make a recurrent cell of a function of x, h, further states and, by keyword, p.

    In the function ``x.a`` is ``W_ia x + b_ia`` and ``h.a`` is ``W_ha h + b_ha``, maps that exist
    by being named; ``h`` and the other states are their values, ``p.a`` is a parameter of each
    unit. It combines them by arithmetic and the functions of `unrolled.cells`.

    Parameters
    ----------
    function : function
        Such as ``f(x, h, c, *, p, alpha=0.1)``: the input, the states, h first, and by keyword the
        parameters and constants, if there are any. It returns the new states in their order, a
        tuple if there are several. It is run once, with symbols.
    p : dict, optional
        First values of parameters, ``p.name``; the others begin at 0.
    x : dict, optional
        First values of the biases of ``x.name``; the others are drawn, as those of an `LSTM`.

    Returns
    -------
    Cell, or a decorator where `function` is left out

    Raises
    ------
    TypeError, ValueError
        With the line of the function, what was expected, what came.

    Example
    -------
    >>> import unrolled as ur
    >>> from unrolled.cells import sigmoid, tanh
    >>> @ur.cell(x={"f": 1.0})
    ... def gated(x, h, *, p, gain=0.5):
    ...     f = sigmoid(x.f + p.f * h)
    ...     return f * h + (1 - f) * gain * tanh(x.n + h.n)
    >>> gated.states, gated.parameters, gated.constants
    (('h',), {'f': 0.0}, {'gain': 0.5})
    >>> ur.Recurrent(gated, 3, 8, gain=0.9).cell.constants
    {'gain': 0.9}
    """
    if function is None:
        return lambda f: _traced(f, {} if p is None else p, {} if x is None else x)
    return _traced(function, {} if p is None else p, {} if x is None else x)


def _traced(function: Any, p: Any, x: Any) -> Cell:
    if not isinstance(function, types.FunctionType):
        cure = "; a cell's with_first_values sets p and x" if isinstance(function, Cell) else ""
        raise TypeError(f"cell: expected a function, got {type(function).__name__}{cure}")
    code = _innermost(function).__code__
    where = line_of(code, code.co_firstlineno)
    flags = code.co_flags | function.__code__.co_flags
    if flags & (inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR):
        raise TypeError(f"{where}: expected an ordinary function, got a generator or async one")
    p, x = _values("p", p, where), _values("x", x, where)
    states, constants, has_p = _signature(function, where)
    graph = Graph()
    arguments = [Namespace(graph, "x", "x"), HiddenSymbol(graph, graph.add("state", 0))]
    arguments += [Symbol(graph, graph.add("state", n)) for n in range(1, len(states))]
    keywords: dict[str, Any] = {"p": Namespace(graph, "p", "p")} if has_p else {}
    for name in constants:
        keywords[name] = Symbol(graph, graph.add("constant", name))
    try:
        returned = function(*arguments, **keywords)
    except RecursionError:
        raise ValueError(f"{where}: expected no recursion, got too deep a one") from None
    except Exception as error:
        _note(error, code, where)
        raise
    outputs = _outputs(returned, states, graph, where)
    name = function.__name__ if function.__name__.isidentifier() else "cell"
    data = _Formula(graph, outputs, where).data(name, states, constants, p, x)
    try:
        return Cell(data, function)
    except ValueError as error:
        message = str(error).removeprefix("cell's description: ")
        raise ValueError(f"{where}: {message}") from None


def _innermost(function: types.FunctionType) -> types.FunctionType:
    """What decorators have been put around, if they say so."""
    try:
        inner = inspect.unwrap(function)
    except ValueError:  # A circle.
        inner = function
    return inner if isinstance(inner, types.FunctionType) else function


def _note(error: Exception, code: types.CodeType, where: str) -> None:
    """Let a traceback say the last of the function's lines, unless the message does."""
    # What the error's own class does, or code without lines, must not come in its place.
    with contextlib.suppress(Exception):
        line = _last_line(error, code) or where
        if line not in str(error):
            BaseException.add_note(error, f"{line}: while symbols stood for arrays; a "
                                   "formula has the functions of unrolled.cells")  # fmt: skip


def _last_line(error: Exception, code: types.CodeType) -> str:
    """Where in the user's file it came from."""
    lines = [
        line_of(code, entry.lineno)
        for entry in traceback.extract_tb(error.__traceback__)
        if entry.filename == code.co_filename and entry.lineno is not None
    ]
    return lines[-1] if lines else ""


def _values(what: str, given: Any, where: str) -> dict[str, float]:
    """First values by names."""
    if not isinstance(given, Mapping):
        raise TypeError(
            f"{where}: {what}: expected a dict of numbers by names, got {type(given).__name__}"
        )
    return {name: _finite(f"{what}: {shown(name)}", value, where) for name, value in given.items()}


def _finite(what: str, value: Any, where: str) -> float:
    found = as_float(value)
    if found is None:
        raise TypeError(f"{where}: {what}: expected a number, got {type(value).__name__}")
    if not math.isfinite(found):
        raise ValueError(f"{where}: {what}: expected a finite number, got {found}")
    return found


def _signature(function: Any, where: str) -> tuple[list[str], dict[str, float], bool]:
    states: list[str] = []
    constants: dict[str, float] = {}
    has_p = False
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where}: expected a function's arguments, got none: {error}") from None
    for name, parameter in parameters.items():
        given = parameter.default is not parameter.empty
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(f"{where}: expected named arguments, got {parameter}")
        if parameter.kind is not parameter.KEYWORD_ONLY:
            if given:
                raise TypeError(
                    f"{where}: expected states without defaults, got {parameter}; constants stand "
                    "behind *"
                )
            if name in ("p", "self", "cls"):
                cure = "p stands behind *" if name == "p" else "a cell is no method"
                raise TypeError(f"{where}: expected x, h and other states, got {name}; {cure}")
            states.append(name)
        elif name == "p":
            if given:
                raise TypeError(f"{where}: expected p without a default, got {parameter}")
            has_p = True
        elif not given:
            raise TypeError(f"{where}: expected a default for the constant {name}, got none")
        else:
            constants[name] = _finite(name, parameter.default, where)
    if len(states) < 2:
        raise TypeError(f"{where}: expected the arguments x and h, got {states}")
    return states[1:], constants, has_p


def _outputs(returned: Any, states: list[str], graph: Graph, where: str) -> list[int]:
    values = returned if isinstance(returned, tuple) else (returned,)
    if returned is None or isinstance(returned, list) or len(values) != len(states):
        came = str(len(values))
        if not isinstance(returned, (tuple, Symbol)):
            came = type(returned).__name__
        raise ValueError(
            f"{where}: expected {len(states)} new states to be returned, {', '.join(states)}, "
            f"got {came}"
        )
    outputs = [graph.operand(value, f"{where}: a new state") for value in values]
    if any(map(graph.is_condition, outputs)):
        raise TypeError(f"{where}: expected numbers as new states, got a comparison's result")
    return outputs


def _operands(node: tuple[Any, ...]) -> list[int]:
    op, *rest = node
    if op in ("x", "h", "p", "constant", "state", "number"):
        return []
    if op == "normalise":
        return list(rest[0])
    return [rest[1]] if op == "linear" else [v for v in rest[:1] if op == "spike"] or rest


class _Formula:
    """The graph laid out anew: only what reaches an output, maps gathered into slots."""

    def __init__(self, graph: Graph, outputs: list[int], where: str) -> None:
        self.graph, self.outputs, self.where = graph, outputs, where
        self.uses: Counter[int] = Counter(outputs)
        live = set(outputs)
        for index in reversed(range(len(graph.nodes))):
            if index in live:
                operands = _operands(graph.nodes[index])
                live.update(operands)
                self.uses.update(operands)
            elif graph.nodes[index][0] in ("x", "h", "p", "linear"):
                op, name, *_ = graph.nodes[index]
                raise ValueError(
                    f"{graph.lines[index]}: expected every map and parameter to reach a new "
                    f"state, got {op} {name!r}, which reaches none"
                )
        self.live = live
        self.shared: dict[int, int] = {}
        self.inner: set[int] = set()
        self.skipped: set[int] = set()
        self._share()
        self.nodes: list[list[Any]] = []
        self.new: dict[int, int] = {}
        self.maps: dict[int, dict[str, Any]] = {}

    def _terms(self, index: int) -> tuple[list[int], set[int]]:
        """The terms of a sum whose partial sums are used by nothing else, and those sums."""
        pending, terms, partial = [index], [], set()
        while pending:
            at = pending.pop()
            op, *rest = self.graph.nodes[at]
            if op == "add" and (at == index or self.uses[at] == 1):
                partial.add(at)
                pending += [rest[1], rest[0]]
            else:
                terms.append(at)
        self.inner |= partial
        return terms, partial - {index}

    def _share(self) -> None:
        self.sums: dict[int, list[int]] = {}
        for index in sorted(self.live, reverse=True):
            if self.graph.nodes[index][0] != "add" or index in self.inner:
                continue
            terms, partial = self._terms(index)
            single = [t for t in terms if self.uses[t] == 1]
            from_x = {self.graph.nodes[t][1]: t for t in single if self.graph.nodes[t][0] == "x"}
            for t in single:
                op, name, *_ = self.graph.nodes[t]
                if op in ("h", "linear") and name in from_x:
                    self.shared[t] = from_x[name]
                    self.shared[from_x[name]] = t
                    self.sums[index] = terms
                    # The sum is laid out anew: its partial sums are not computed.
                    self.skipped |= partial

    def _emit(self, *node: Any) -> int:
        self.nodes.append(list(node))
        return len(self.nodes) - 1

    def _slot(self, index: int) -> int:
        """The node of the slot that a map belongs to."""
        first = min(index, self.shared.get(index, index))
        if first not in self.new:
            both = [self.graph.nodes[i] for i in {index, self.shared.get(index, index)}]
            h: Any = None
            for op, *rest in both:
                h = "state" if op == "h" else self.new[rest[1]] if op == "linear" else h
            x = any(op == "x" for op, *_ in both)
            self.maps[first] = {"name": both[0][1], "x": x, "h": h}
            self.new[first] = self._emit("slot", first)
        return self.new[first]

    def _sum(self, terms: list[int]) -> int:
        parts: list[int] = []
        for t in terms:
            if t in self.shared:
                slot = self._slot(t)
                if slot not in parts:
                    parts.append(slot)
            else:
                parts.append(self.new[t])
        total = parts[0]
        for part in parts[1:]:
            total = self._emit("add", total, part)
        return total

    def data(
        self,
        name: str,
        states: list[str],
        constants: dict[str, float],
        p: Mapping[str, float],
        x: Mapping[str, float],
    ) -> dict[str, Any]:
        nodes = self.graph.nodes
        parameters = [nodes[i][1] for i in sorted(self.live) if nodes[i][0] == "p"]
        names = list(constants)
        for index in sorted(self.live):
            op, *rest = nodes[index]
            if index in self.sums:
                self.new[index] = self._sum(self.sums[index])
            elif op in ("x", "h", "linear"):
                if index not in self.shared:
                    self._slot(index)
            elif op == "p":
                self.new[index] = self._emit("parameter", parameters.index(rest[0]))
            elif op == "constant":
                self.new[index] = self._emit("constant", names.index(rest[0]))
            elif op in ("state", "number"):
                self.new[index] = self._emit(op, *rest)
            elif op == "normalise":
                self.new[index] = self._emit(op, [self.new[i] for i in rest[0]], *rest[1:])
            elif op == "spike":
                self.new[index] = self._emit(op, self.new[rest[0]], *rest[1:])
            elif index not in self.skipped:
                self.new[index] = self._emit(op, *(self.new[i] for i in rest))
        order = {first: k for k, first in enumerate(sorted(self.maps))}
        for node in self.nodes:
            if node[0] == "slot":
                node[1] = order[node[1]]
        maps = [self.maps[first] for first in sorted(self.maps)]
        self._known("p", p, parameters)
        self._known("x", x, [m["name"] for m in maps if m["x"]])
        if not any(m["x"] for m in maps):
            raise ValueError(f"{self.where}: expected a map of x, got none; write x.name")
        return {
            "version": 1,
            "name": name,
            "states": states,
            "maps": maps,
            "parameters": [{"name": n, "init": p.get(n, 0.0)} for n in parameters],
            "constants": [{"name": n, "value": v} for n, v in constants.items()],
            "nodes": self.nodes,
            "outputs": [self.new[i] for i in self.outputs],
            "bias": dict(x),
        }

    def _known(self, what: str, given: Mapping[str, float], used: list[str]) -> None:
        for name in given:
            if name not in used:
                raise ValueError(
                    f"{self.where}: {what}: expected names among {used}, got {shown(name)}"
                )
