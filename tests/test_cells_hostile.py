"""Functions that no one means well with: an answer, soon, and the user's own errors as they are."""

from __future__ import annotations

import functools
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from unrolled import cells as c
from unrolled.cells import maximum, normalise, sigmoid, sin, spike, tanh, where

SECONDS = 5.0  # Those that one processor needs, on a machine that does other things too.
HUGE = 10**400


def runs(cell: Any, **constants: Any) -> Any:
    """Forward and back, soon."""
    begin = time.process_time()
    net = ur.Recurrent(cell, 2, 3, seed=0, **constants)
    y, _, tape = net.record(np.ones((3, 2, 2), np.float32))
    tape.backward(np.ones_like(y))
    assert time.process_time() - begin < SECONDS
    return net


def test_a_long_product_is_no_recursion() -> None:
    @ur.cell
    def product(x: Any, h: Any) -> Any:
        factors = [sin(x.a + float(n)) for n in range(1000)]
        return functools.reduce(lambda a, b: b * a, factors, h + x.b)

    runs(product)


def test_conditions_of_conditions_are_told_apart_soon() -> None:
    """A condition squared again and again: 2 ** 1000 operands if they were followed."""

    @ur.cell
    def squared(x: Any, h: Any) -> Any:
        condition = x.a > 0
        for _ in range(1000):
            condition = condition * condition
        return where(condition, x.b, h)

    runs(squared)
    with pytest.raises(TypeError, match="add: expected numbers, got a comparison's result"):

        @ur.cell
        def added(x: Any, h: Any) -> Any:
            return ((x.a > 0) * (h > 0)) * (h > 1) + x.b


NOT_FINITE: dict[str, Any] = {
    "times": lambda x, h: x.a * HUGE,
    "minus": lambda x, h: -HUGE - x.a,
    "fraction": lambda x, h: x.a + Fraction(HUGE, 3),
    "function": lambda x, h: maximum(x.a, HUGE),
    "state": lambda x, h: HUGE,
    "eps": lambda x, h: normalise(x.a, eps=HUGE),
    "slope": lambda x, h: spike(x.a, slope=HUGE),
}


@pytest.mark.parametrize("of", NOT_FINITE)
def test_integers_beyond_all_floats_are_not_finite(of: str) -> None:
    with pytest.raises(ValueError, match=r"hostile.py, line \d+.*finite number, got -?i"):
        ur.cell(NOT_FINITE[of])


def test_first_values_beyond_all_floats() -> None:
    def f(x: Any, h: Any, *, p: Any) -> Any:
        return x.a * p.b

    with pytest.raises(ValueError, match="p: 'b': expected a finite number, got inf"):
        ur.cell(p={"b": HUGE})(f)
    with pytest.raises(ValueError, match="x: 'a': expected a finite number, got -inf"):
        ur.cell(x={"a": -HUGE})(f)
    with pytest.raises(ValueError, match="alpha: expected a finite number, got inf"):
        ur.cell(lambda x, h, *, alpha=HUGE: alpha * x.a)


def test_spans_of_time_are_no_numbers() -> None:
    with pytest.raises(TypeError, match="expected a symbol or a number, got timedelta64"):
        ur.cell(lambda x, h: x.a * np.timedelta64(3, "s"))


def test_functions_of_any_real_number() -> None:
    """What NumPy has no function of is a number all the same."""
    assert tanh(HUGE) == 1.0 and sigmoid(Fraction(0)) == 0.5
    assert normalise(Fraction(1, 3)) == 0.0 and spike(Fraction(1, 3)) == 1.0
    values = normalise(np.array([1.0, 3.0]), eps=Fraction(1, 2))
    assert values.dtype == np.float64 and np.array_equal(values, [-1, 1] / np.sqrt(1.5))
    with pytest.raises(ValueError, match="spike: expected one of"):
        spike(0.5, np.array(["atan", "sigmoid"]))  # type: ignore[arg-type]


CONSTANTS: list[tuple[Any, type[Exception], str]] = [
    (float("nan"), ValueError, "expected a finite number, got nan"),
    (HUGE, ValueError, "expected a finite number, got inf"),
    ("0.5", TypeError, "expected a real number, got str"),
    (None, TypeError, "expected a real number, got None"),
    (True, TypeError, "expected a real number, got bool"),
    (np.ones(3), TypeError, "expected a real number, got ndarray"),
]


@pytest.mark.parametrize(("value", "error", "message"), CONSTANTS)
def test_constants_that_are_changed(value: Any, error: type[Exception], message: str) -> None:
    """Whoever changes a constant hears the same."""
    cell = ur.cells.leaky_rnn
    for change in (
        cell.formula,
        cell.with_constants,
        functools.partial(ur.Recurrent, cell, 2, 3),
        functools.partial(ur.reference.Recurrent, cell, 2, 3),
    ):
        with pytest.raises(error, match=f"^alpha: {message}"):
            change(alpha=value)
    assert cell.formula(alpha=np.float32(0.5)) == cell.formula(alpha=0.5)
    assert runs(cell, alpha=np.int64(1)).cell == cell.with_constants(alpha=1.0)


class WithoutText(Exception):  # noqa: N818 - a user's.
    def __str__(self) -> str:
        raise RuntimeError("no text")


class WithoutNotes(Exception):  # noqa: N818
    def add_note(self, _: str, /) -> None:
        raise RuntimeError("no notes")


@pytest.mark.parametrize("kind", [WithoutText, WithoutNotes])
def test_errors_of_the_function_come_as_they_are(kind: type[Exception]) -> None:
    raised = kind("mine")

    def f(x: Any, h: Any) -> Any:
        raise raised

    with pytest.raises(kind) as error:
        ur.cell(f)
    assert error.value is raised


@pytest.mark.parametrize("wrapped", [3, len, dict, functools.partial(print)])
def test_what_is_wrapped_around_no_function(wrapped: Any) -> None:
    def f(x: Any, h: Any) -> Any:
        return x.a + h

    f.__wrapped__ = wrapped  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r"test_cells_hostile.py, line \d+: expected "):
        ur.cell(f)
    f.__wrapped__ = f  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="expected a function's arguments, got none: wrapper loop"):
        ur.cell(f)


def test_an_asynchronous_wrapper() -> None:
    def f(x: Any, h: Any) -> Any:
        return x.a + h

    @functools.wraps(f)
    async def later(*of: Any) -> Any:
        return f(*of)

    with pytest.raises(TypeError, match="expected an ordinary function, got a generator or async"):
        ur.cell(later)


def test_what_is_no_value_is_told_with_the_functions_line_alone() -> None:
    with pytest.raises(TypeError, match=r"^test_cells_hostile.py, line \d+: a new state: "):
        ur.cell(lambda x, h: {"h": x.a})


def arrays(*names: str) -> dict[str, Any]:
    return {name: np.ones((2, 3)) for name in names}


STEP: dict[str, Any] = {
    "x": arrays("r", "z", "n"), "h": arrays("r", "z"), "states": (np.ones((2, 3)),), "p": {},
    "linear": lambda _, value: value,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"x": arrays("r")}, ValueError, "x: expected arrays named [rzn, ]+, got r"),
        ({"x": {}}, ValueError, "x: expected arrays named [rzn, ]+, got none"),
        ({"h": np.ones(3)}, TypeError, "h: expected arrays named [rz, ]+, got ndarray"),
        ({"p": None}, TypeError, "p: expected arrays named , got NoneType"),
        ({"states": np.ones((1, 2, 3))}, TypeError, "states: expected an array for each of h, got"),
        ({"states": ()}, TypeError, "states: expected an array for each of h, got tuple"),
        ({"states": (1,)}, TypeError, "states: expected an array for each of h, got tuple"),
        ({"linear": None}, TypeError, "linear: expected a function of a name and a value, got N"),
    ],
)
def test_a_step_of_what_does_not_fit(changed: Any, error: type[Exception], message: str) -> None:
    cell = ur.cells.gru_original
    for step in (cell.step, cell.values):
        step(*STEP.values())
        with pytest.raises(error, match=f"^gru_original: {message}"):
            step(*(STEP | changed).values())


def test_a_call_of_what_does_not_fit() -> None:
    x, h = ur.cells.Maps(arrays("i", "f", "g")), ur.cells.Maps(arrays(*"ifgo"), np.ones((2, 3)))
    with pytest.raises(AttributeError, match="expected one of i, f, g, got o"):
        ur.cells.lstm(x, h, np.ones((2, 3)))
    x = ur.cells.Maps(arrays(*"ifgo"))
    with pytest.raises(TypeError, match="expected a symbol or a number, got str"):
        ur.cells.lstm(x, h, "c")
    for described in (ur.cells.lstm, ur.cells.from_description(ur.cells.lstm.text)):
        with np.errstate(all="ignore"):
            assert np.isinf(described(x, h, HUGE)[1]).all()
    with pytest.raises(TypeError, match="function: expected a function, got str"):
        ur.cells.Cell(ur.cells.lstm.text, "tanh")  # type: ignore[arg-type]


def test_functions_of_arrays_that_are_no_numbers() -> None:
    for function in (tanh, normalise, lambda a: maximum(a, 0.5), lambda a: where(a, 1.0, 0.0)):
        for dtype in (object, "M8[s]", "m8[s]", "U1"):
            with pytest.raises(TypeError, match="expected numbers, got an array of "):
                function(np.zeros((1, 0), dtype))
    assert normalise(np.float16(1.0)) == 0.0
    with np.errstate(all="ignore"):
        assert maximum(np.ones(2, np.float32), HUGE).dtype == np.float32
    for compares in (spike, lambda a: ur.cells.clip(a, 0, 1), lambda a: ur.cells.clip(0.5, a, 1)):
        with pytest.raises(TypeError, match="expected a symbol or a number, got Decimal"):
            compares(Decimal("NaN"))


@pytest.mark.parametrize(
    ("later", "error", "message"),
    [
        (lambda x, h: c.linear("n", h), ValueError, "linear: expected one of m as when the cell"),
        (lambda x, h: (x.a, x.a), ValueError, "expected 1 new states as when the cell was made"),
        (lambda x, h: None, TypeError, "expected a symbol or a number, got NoneType"),
        (lambda x, h: "text", TypeError, "expected a symbol or a number, got str"),
        (lambda x, h: x.b, AttributeError, "expected one of a, got b"),
    ],
)
def test_a_function_that_changes(later: Any, error: type[Exception], message: str) -> None:
    """The kernels keep to the formula; whoever calls the function itself says what is wrong."""
    now: list[Any] = [lambda x, h: tanh(x.a + c.linear("m", 0.5 * h))]
    cell = ur.cell(lambda x, h: now[0](x, h))
    now[0] = later
    runs(cell)
    with pytest.raises(error, match=message):
        ur.cells.check(cell)


DEEP: Any = []
for _ in range(5000):
    DEEP = [DEEP]
# Beyond what Python writes in digits.
LONG = 10**5000
SHOWN: list[tuple[Any, str]] = [
    (lambda: ur.Recurrent(ur.cells.rnn, LONG, 3), "input_size: expected .*, got a long int"),
    (lambda: ur.Recurrent(ur.cells.rnn, 2, -LONG), "hidden_size: expected .*, got a long int"),
    (lambda: ur.Recurrent(ur.cells.rnn, 2, 3, seed=LONG), "seed: expected .*, got a long int"),
    (lambda: ur.cell(p={LONG: 1.0})(lambda x, h: x.a), "p: expected names .*, got a long int"),
    (lambda: c.linear(LONG, 0.5), "linear: expected a name, .*, got a long int"),
    (lambda: c.linear(DEEP, 0.5), r"linear: expected a name, .*, got \[\["),
    (lambda: spike(0.5, LONG), "spike: expected one of .*, got a long int"),
    (lambda: spike(0.5, DEEP), r"spike: expected one of .*, got \[\["),
]


@pytest.mark.parametrize(("of", "message"), SHOWN)
def test_what_has_no_text_is_shown_in_part(of: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        of()
