"""Random cells: a strategy that draws the text of a cell's function, and where its kinks are.

Every function of `unrolled.cells` takes part. Bounds are tracked through the formula, so that no
value leaves the range in which float32 says something.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import unrolled as ur
from hypothesis import strategies as st
from support import arrays
from unrolled.reference import _formula

DEPTH, MOST = 12, 8.0
NUMBERS = (-1.5, -1.0, 0.0, 0.25, 0.5, 1.0, 2.0)
CONSTANTS = {"alpha": 0.25, "beta": -1.0}
COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")
KEPT = ("tanh({0})", "0.5 * h + 0.5 * sin({0})", "0.5 * tanh({0}) + clip(x.a * h, -1, 1)")
# Functions of any number, and the bounds of their values from those of the argument.
UNARY: dict[str, Any] = {
    "abs": lambda a, b: (0.0, max(-a, b)),
    "sin": lambda a, b: (-1.0, 1.0),
    "cos": lambda a, b: (-1.0, 1.0),
    "tanh": lambda a, b: (-1.0, 1.0),
    "sigmoid": lambda a, b: (0.0, 1.0),
    "log_sigmoid": lambda a, b: (min(a, 0.0) - 1, 0.0),
    "relu": lambda a, b: (0.0, max(b, 0.0)),
    "softplus": lambda a, b: (0.0, max(b, 0.0) + 1),
    "silu": lambda a, b: (min(a, -0.3), max(b, 0.0)),
    "stop_gradient": lambda a, b: (a, b),
}
# Each function, each surrogate, and each comparison, once.
ALL = """
def f(x, h, c, m, *, p, alpha=0.25):
    a, b = x.a + h.a, p.a * c - x.b
    s = spike(a) + spike(b, "atan", 2.0) * spike(c, "sigmoid", slope=3)
    u = exp(-abs(a)) * log(softplus(b) + 0.5) + sqrt(1 + c * c) / (1.5 + sin(b))
    v = silu(u) * sigmoid(b) + log_sigmoid(a) * relu(m) - cos(tanh(u))
    w = minimum(u, v) + maximum(0.1 * v, b) + clip(v, -1, alpha)
    n, k = normalise(a + s, v, eps=0.01)
    y = where((a < b) * (c <= 0.25), n, k) + where((a > 1) * (m >= p.b), 0.5, alpha)
    z = where(relu(a) != 0, w, stop_gradient(w)) + where(relu(b) == 0, a, m)
    y = y + linear("d", normalise(y * z)) + x.d
    o = softplus(z) ** sin(y) + (sigmoid(w) + 0.5) ** -2 + 2 ** tanh(y) + a**2 - b**3
    return tanh(o), 0.5 * c + 0.5 * sin(y + z), tanh(n - k)
""".lstrip()


@dataclass(frozen=True)
class Value:
    """An expression: its text, its bounds, how deep it is, and which lines it is made of."""

    text: str
    low: float
    high: float
    depth: int = 0
    of: frozenset[int] = frozenset()

    @property
    def size(self) -> float:
        return max(abs(self.low), abs(self.high))


@dataclass
class Writer:
    """The lines of a function as they are drawn."""

    draw: st.DrawFn
    states: tuple[str, ...]
    values: list[Value] = field(default_factory=list)
    lines: list[tuple[str, frozenset[int]]] = field(default_factory=list)
    maps_of_values: int = 0

    def pick(self, *from_: Any) -> Any:
        return self.draw(st.sampled_from(from_))

    def leaf(self) -> Value:
        kind = self.pick("x", "h", "slot", "state", "state", "p", "constant", "number")
        name = self.pick(*"abc")
        if kind == "slot":
            return Value(f"(x.{name} + h.{name})", -4.0, 4.0)
        if kind in "xh":
            return Value(f"{kind}.{name}", -3.0, 3.0)
        if kind == "state":
            return Value(self.pick(*self.states), -2.0, 2.0)
        if kind == "p":
            return Value(f"p.{name}", -1.0, 1.0)
        if kind == "constant":
            name = self.pick(*CONSTANTS)
            return Value(name, CONSTANTS[name], CONSTANTS[name])
        number = self.pick(*NUMBERS)
        return Value(f"({number})", number, number)

    def value(self) -> Value:
        """A value from before, more often a late one; or a leaf."""
        usable = [v for v in self.values if v.depth < DEPTH]
        if usable and self.draw(st.integers(0, 3)):
            return usable[-1 - min(self.draw(st.integers(0, 7)), len(usable) - 1)]
        return self.leaf()

    def symbol(self) -> Value:
        """A value that is more than a number."""
        value = self.value()
        return Value(f"x.d * {value.text}", -3 * value.size, 3 * value.size, value.depth + 1,
                     value.of) if value.text[1:2] in "-0123456789" else value  # fmt: skip

    def line(self, text: str, bounds: tuple[float, float], *operands: Value, left: str = "") -> int:
        """One more line, within bounds; what it gives is a value from then on."""
        low, high = bounds
        if max(abs(low), abs(high)) > MOST:
            text, low, high = f"tanh({text})", -1.0, 1.0
        at = len(self.lines)
        of = frozenset({at}).union(*(v.of for v in operands))
        depth = 1 + max((v.depth for v in operands), default=0)
        name = left or f"v{at}"
        self.lines.append((f"{name} = {text}", of))
        for part in name.split(", "):
            self.values.append(Value(part, low, high, depth, of))
        return at

    def positive(self, a: Value) -> Value:
        """A value that is well above 0, made of another."""
        if a.low >= 0.25:
            return a
        how = self.pick(
            ("(softplus({0}) + 0.5)", 0.5, max(a.high, 0.0) + 1.5),
            ("(1 + {0} * {0})", 1.0, 1 + a.size**2),
        )
        return Value(how[0].format(a.text), how[1], how[2], a.depth, a.of)

    def condition(self) -> tuple[str, list[Value]]:
        """A comparison, a product of two, or a value that is 0 or not."""
        if self.pick(False, False, False, True):
            a = self.value()
            return f"relu({a.text})", [a]
        parts, operands = [], []
        for _ in range(self.pick(1, 1, 2)):
            a, b = self.symbol(), self.value()
            parts.append(f"({a.text} {self.pick(*COMPARISONS)} {b.text})")
            operands += [a, b]
        return " * ".join(parts), operands

    def power(self, a: Value) -> None:
        kind = self.pick("whole", "number", "value", "of a number")
        if kind == "whole":
            n = self.pick(0, 1, 2, 3)
            self.line(f"({a.text}) ** {n}", (-(a.size**n), a.size**n), a)
        elif kind == "of a number":
            b = self.small(self.symbol())
            self.line(f"{self.pick(0.5, 2, 3.0)} ** {b.text}", (0.0, 3.0**b.high), b)
        else:
            a = self.positive(a)
            b = self.small(self.value()) if kind == "value" else Value("0", -2.0, 2.0)
            exponent = b.text if kind == "value" else self.pick("-2", "-1", "0.5", "1.75")
            most = max(a.high, 1 / a.low) ** b.size
            self.line(f"{a.text} ** ({exponent})", (0.0, most), a, b)

    def small(self, a: Value) -> Value:
        return a if a.size <= 2 else Value(f"sin({a.text})", -1.0, 1.0, a.depth, a.of)

    def operation(self) -> None:
        kind = self.pick(
            *UNARY, "+", "-", "*", "neg", "/", "**", "exp", "log", "sqrt",
            "minimum", "maximum", "where", "clip", "normalise", "spike", "linear", "compared",
        )  # fmt: skip
        a, t = self.value(), None
        t = a.text
        if kind in UNARY:
            self.line(f"{kind}({t})", UNARY[kind](a.low, a.high), a)
        elif kind == "neg":
            self.line(f"-{t}", (-a.high, -a.low), a)
        elif kind in "+-*":
            b = self.value()
            most = a.size * b.size if kind == "*" else a.size + b.size
            self.line(f"{t} {kind} {b.text}", (-most, most), a, b)
        elif kind == "/":
            b = self.positive(self.value())
            sign = self.pick("", "-")
            self.line(f"{t} / {sign}{b.text}", (-a.size / b.low, a.size / b.low), a, b)
        elif kind == "**":
            self.power(a)
        elif kind == "exp":
            a = self.small(a)
            self.line(f"exp({a.text})", (math.exp(a.low), math.exp(a.high)), a)
        elif kind in ("log", "sqrt"):
            a = self.positive(a)
            f = math.log if kind == "log" else math.sqrt
            self.line(f"{kind}({a.text})", (f(a.low), f(a.high)), a)
        elif kind in ("minimum", "maximum"):
            b = self.value()
            f = min if kind == "minimum" else max
            self.line(f"{kind}({t}, {b.text})", (f(a.low, b.low), f(a.high, b.high)), a, b)
        elif kind == "where":
            (condition, of), b = self.condition(), self.value()
            bounds = (min(a.low, b.low), max(a.high, b.high))
            self.line(f"where({condition}, {t}, {b.text})", bounds, a, b, *of)
        elif kind == "compared":
            condition, of = self.condition()
            self.line(f"where({condition}, 1.0, 0.0)", (0.0, 1.0), *of)
        elif kind == "clip":
            a, b = self.symbol(), self.leaf()
            low, high = self.pick(("-0.5", "0.75"), ("-1", b.text), (b.text, "1"))
            most = max(a.size, b.size, 1.0)
            self.line(f"clip({a.text}, {low}, {high})", (-most, most), a)
        elif kind == "normalise":
            values = [self.symbol(), *(self.value() for _ in range(self.pick(0, 0, 1, 2)))]
            left = ", ".join(f"v{len(self.lines)}{c}" for c in "abc"[: len(values)])
            # A smaller eps makes numbers of rounding, where there are few units.
            eps = self.pick(0.01, 0.5)
            all_ = ", ".join(v.text for v in values)
            self.line(f"normalise({all_}, eps={eps})", (-6.0, 6.0), *values, left=left)
        elif kind == "spike":
            a = self.symbol()
            surrogate = self.pick("fast_sigmoid", "atan", "sigmoid")
            more = self.pick(f', "{surrogate}", slope=2.0', f', "{surrogate}", 5', "")
            self.line(f"spike({a.text}{more})", (0.0, 1.0), a)
        elif self.maps_of_values < 3:
            name = self.pick("d", "e", "f")[0] + str(self.maps_of_values)
            self.maps_of_values += 1
            a = self.symbol()
            shared = self.pick("", f" + x.{name}")
            self.line(f'linear("{name}", {a.text}){shared}', (-4.0, 4.0), a)


@st.composite
def functions(draw: st.DrawFn) -> str:
    """The text of a cell's function, ``f``."""
    states = ("h", "c", "m")[: draw(st.integers(1, 3))]
    writer = Writer(draw, states)
    for _ in range(draw(st.integers(1, 20))):
        writer.operation()
    outputs, live = [], frozenset()
    for _ in states:
        values = [writer.value() for _ in range(draw(st.integers(1, 3)))]
        total = " + ".join(v.text for v in values)
        outputs.append(draw(st.sampled_from(KEPT)).format(total))
        # A state may be a number, or another's new value; it stays bounded all the same.
        if len(values) == 1 and values[0].size <= 2 and draw(st.booleans()):
            outputs[-1] = total
        live |= frozenset().union(*(v.of for v in values))
    lines = [writer.lines[at][0] for at in sorted(live)]
    if "x." not in " ".join([*lines, *outputs]):
        outputs[0] = f"tanh(x.a + {outputs[0]})"
    text = "\n".join([*lines, f"return {', '.join(outputs)}"])
    keywords = [f"{name}={value}" for name, value in CONSTANTS.items() if name in text]
    keywords = ["p", *keywords] if "p." in text else keywords
    arguments = ["x", *states, *(["*", *keywords] if keywords else [])]
    body = text.replace("\n", "\n    ")
    return f"def f({', '.join(arguments)}):\n    {body}\n"


def made(text: str) -> Any:
    """The cell of a function's text."""
    names = {name: getattr(ur.cells, name) for name in ur.cells.__all__}
    exec(compile(text, "f.py", "exec"), names)
    return ur.cell(names["f"])


def problem(cell: Any, steps: int, batch: int, units: int, seed: int) -> tuple[Any, ...]:
    """A net of the reference; x, a state, and derivatives by y and the final states, by name."""
    net = ur.reference.Recurrent(cell, 3, units, dtype="float64", seed=seed)
    rng = np.random.default_rng(seed)

    def drawn(*shape: int) -> Any:
        # What float32 holds as well, so that all see the same numbers.
        return rng.uniform(-1.5, 1.5, size=shape).astype(np.float32).astype(np.float64)

    weights = {n: a.astype(np.float32).astype(np.float64) for n, a in net.state_dict().items()}
    if "weight_p_l0" in weights:
        weights["weight_p_l0"] = drawn(*weights["weight_p_l0"].shape)
    net.load_state_dict(weights)
    state = tuple(drawn(1, batch, units) for _ in cell.states)
    d = {f"state {n}": drawn(1, batch, units) for n in range(len(state))}
    return net, drawn(steps, batch, 3), state, {"y": drawn(steps, batch, units), **d}


def everything(net: Any, x: Any, state: tuple[Any, ...], d: dict[str, Any]) -> dict[str, Any]:
    """Outputs, final states, and every gradient, by name."""

    def one(parts: tuple[Any, ...]) -> Any:
        return parts if len(parts) > 1 else parts[0]

    y, final, tape = net.record(x, one(state))
    g = tape.backward(d["y"], one(tuple(d[f"state {n}"] for n in range(len(state)))))
    found = {"y": y, **{f"state {n}": a for n, a in enumerate(arrays(final))}, "d_x": g.input}
    return found | {f"d_state {n}": a for n, a in enumerate(arrays(g.state))} | g.parameters


def kinks(net: Any, x: Any, state: tuple[Any, ...]) -> list[Any]:
    """By step and node, what changes sign where the function jumps or has a corner: (B, H)."""
    p = {name.removesuffix("_l0"): a for name, a in net.state_dict().items()}
    now, found = tuple(s[0] for s in state), []
    for x_t in x:
        step = net._cell.evaluate(p, x_t, now)
        v = step.values
        now = tuple(np.broadcast_to(v[i], step.shape) for i in step.formula["outputs"])
        for op, *rest in step.formula["nodes"]:
            if op in _formula.COMPARE or op in ("minimum", "maximum"):
                found.append(np.broadcast_to(v[rest[0]] - v[rest[1]], step.shape))
            elif op in ("relu", "abs", "spike", "where"):
                found.append(np.broadcast_to(v[rest[0]], step.shape))
    return found


def clear_rows(net: Any, x: Any, state: tuple[Any, ...], within: float) -> Any:
    """Which rows are nowhere so near a kink that rounding decides on which side: (B,).

    A tie counts as one that rounding does not break where it is one for other inputs as well.
    """
    clear = np.ones(x.shape[1], bool)
    moved = kinks(net, x * 1.01, tuple(s * 0.99 for s in state))
    for a, b in zip(kinks(net, x, state), moved, strict=True):
        clear &= ((np.abs(a) > within) | ((a == 0) & (b == 0))).all(-1)
    return clear
