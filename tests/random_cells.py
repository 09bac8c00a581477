"""Random cells for tests: expression graphs of depth 12 at most, with every function there is.

Values stay moderate – what a function may not have is put right before it – so that two ways to
compute a graph in float64 differ by rounding alone.
"""

from __future__ import annotations

from typing import Any

import unrolled as ur
from hypothesis import strategies as st
from unrolled import cells as c

DEPTH = 12

ONE = {
    "neg": lambda a: -a,
    "abs": c.abs,
    "exp": lambda a: c.exp(c.clip(a, -3, 3)),
    "log": lambda a: c.log(c.abs(a) + 0.3),
    "sqrt": lambda a: c.sqrt(c.abs(a) + 0.3),
    "sin": c.sin,
    "cos": c.cos,
    "tanh": c.tanh,
    "sigmoid": c.sigmoid,
    "log_sigmoid": c.log_sigmoid,
    "relu": c.relu,
    "softplus": c.softplus,
    "silu": c.silu,
    "square": lambda a: c.clip(a, -3, 3) ** 2,
    "power": lambda a: 1.7 ** c.clip(a, -3, 3),
    "beside numbers": lambda a: (2 - a * 0.5) / 3 + 1 / (2 + c.abs(a)),
    "normalise": lambda a: c.normalise(a, eps=0.1),
    "stop_gradient": c.stop_gradient,
    "fast_sigmoid": lambda a: c.spike(a, "fast_sigmoid", 2.0),
    "atan": lambda a: c.spike(a, "atan", 2.0),
    "sigmoid spike": lambda a: c.spike(a, "sigmoid", 2.0),
}
TWO = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: c.clip(a, -3, 3) * c.clip(b, -3, 3),
    "div": lambda a, b: a / (0.5 + c.abs(b)),
    "pow": lambda a, b: (c.abs(a) + 0.3) ** c.tanh(b),
    "minimum": c.minimum,
    "maximum": c.maximum,
    "normalise": lambda a, b: c.normalise(a, b, eps=0.1)[1],
    "less": lambda a, b: c.where(a < b, a, 2 * b),
    "less_equal": lambda a, b: c.where(a <= b, c.sin(a), b),
    "greater": lambda a, b: c.where(a > b, a, 0.5),
    "greater_equal": lambda a, b: c.where(a >= b, 1.0, b),
    "equal": lambda a, b: c.where(a == b, a, -b),
    "not_equal": lambda a, b: c.where(a != b, a, b),
}


def _values(draw: Any, count: int, x: Any, states: Any, p: Any, constant: Any) -> tuple[Any, ...]:
    """What a cell does with its arguments, as drawn."""
    h = states[0]
    values = [(x.a + h.a, 0), (x.b, 0), (h.c, 0), (p.u, 0), (constant, 0)]
    values += [(state + 0.0, 0) for state in states]
    depths = [depth for _, depth in values]
    maps: list[Any] = []
    for kind, name, first, second in draw:
        found = [values[n % len(values)] for n in (first, second)]
        of, deep = [value for value, _ in found], max(depth for _, depth in found)
        if deep >= DEPTH:
            continue
        if kind == "one":
            made = ONE[name](of[0])
        elif kind == "two":
            made = TWO[name](*of)
        elif len(maps) < 2:
            made = c.linear(f"n{len(maps)}", c.tanh(of[0])) + x.b
            maps.append(0.1 * made)
        else:
            continue
        values.append((made, deep + 1))
        depths.append(deep + 1)
    # The last ones, which have most before them; and a little of every map and parameter, each of
    # which has to reach a state.
    little = sum(maps, 0.1 * (x.a + h.a + x.b + h.c + p.u))
    return tuple(c.tanh(value + little) for value, _ in values[-count:])


OPERATIONS = st.one_of(
    st.tuples(st.just("one"), st.sampled_from(sorted(ONE)), st.integers(0, 99), st.just(0)),
    st.tuples(st.just("two"), st.sampled_from(sorted(TWO)), st.integers(0, 99), st.integers(0, 99)),
    st.tuples(st.just("map"), st.just(""), st.integers(0, 99), st.just(0)),
)


@st.composite
def random_cells(draw: st.DrawFn) -> c.Cell:
    """A cell of one to three states."""
    operations = draw(st.lists(OPERATIONS, min_size=1, max_size=14))
    count = draw(st.integers(1, 3))

    def one(x: Any, h: Any, *, p: Any, alpha: float = 0.4) -> Any:
        return _values(operations, 1, x, (h,), p, alpha)[0]

    def two(x: Any, h: Any, s: Any, *, p: Any, alpha: float = 0.4) -> Any:
        return _values(operations, 2, x, (h, s), p, alpha)

    def three(x: Any, h: Any, s: Any, t: Any, *, p: Any, alpha: float = 0.4) -> Any:
        return _values(operations, 3, x, (h, s, t), p, alpha)

    functions: tuple[Any, ...] = (one, two, three)
    cell: c.Cell = ur.cell(p={"u": 0.7})(functions[count - 1])
    return cell
