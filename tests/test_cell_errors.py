"""What a mistake in a cell's function says: the line, what was expected, what came."""

from __future__ import annotations

import functools
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur

DOCS = Path(__file__).resolve().parent.parent / "docs"


def run(text: str, file: str = "my_cells.py", **more: Any) -> dict[str, Any]:
    """What a program defines that begins with the functions of cells imported."""
    functions = {n: getattr(ur.cells, n) for n in ur.cells.__all__}
    names = {**functions, "ur": ur, "np": np, "math": __import__("math"), **more}
    exec(compile(text, file, "exec"), names)
    return names


def said(text: str, **more: Any) -> str:
    """What the program's error says."""
    with pytest.raises((TypeError, ValueError)) as error:
        run(text, **more)
    return str(error.value)


# In the body of ``f(x, h, c, *, p, alpha=0.1)``, whose last line is line 4: ``return h, c``.
BODIES = {
    # Functions that are not ours.
    "h = np.tanh(x.a)": "expected a function of unrolled.cells, got NumPy's tanh",
    "h = np.where(x.a > 0, h, c)": "got NumPy's where",
    "h = np.stack([x.a, h])": "got NumPy's stack",
    "h = np.asarray(x.a)": "got an array made of a symbol",
    "h = np.array([x.a, h])": "got an array made of a symbol",
    "h = math.tanh(x.a)": "expected functions of unrolled.cells, got a number made of a symbol",
    "h = round(x.a)": "got a number made of a symbol",
    "h = float(x.a)": "got a number made of a symbol",
    "h = int(h)": "got a number made of a symbol",
    "h = complex(h)": "got a number made of a symbol",
    "h = np.tanh(x)": "got x itself; write x.name",
    "h = np.float64(2) * p": "got p itself; write p.name",
    "h = math.exp(x)": "got x itself",
    # A value that is not there yet.
    "h = x.a if x.a > 0 else h": "a Python if, while, and, or, not, max",
    "while h > 0: pass": "a Python if, while, and, or, not, max",
    "h = x.a and h": "expected where(condition, a, b), minimum or maximum",
    "h = x.a or h": "a Python if, while, and, or, not",
    "h = not h": "a Python if, while, and, or, not",
    "h = bool(h)": "a Python if",
    "h = max(x.a, h)": "a Python if",
    "h = 0 < x.a < 1": "max or chain of comparisons",
    "h = x.a in (1, 2)": "a Python if",
    "assert alpha > 0": "a Python if",
    "h = x.a == 1 and h": "a Python if",
    "h = x == 1": "got x itself",
    "h = bool(x)": "got x itself",
    # No axes, no entries, no matrices.
    "h = len(h)": "a symbol's length or entry; a symbol stands for every unit alike",
    "h = [v for v in x.a]": "a symbol's length or entry",
    "a, b = h.ab": "a symbol's length or entry",
    "h = x.a[0]": "a symbol's length or entry",
    "x.a[0] = 1": "a symbol's length or entry",
    "h = 1 in x.a": "a symbol's length or entry",
    "h = x['a']": "got x itself",
    "h = len(p)": "got p itself",
    "h = [v for v in x]": "got x itself",
    "h = x.a @ h": "for products with a matrix, x.name, h.name or linear",
    "h = np.ones((3, 3)) @ h": "got NumPy's matmul",
    "h = x.a // 2": "got another operator",
    "h = 2 % x.a": "got another operator",
    "h = (x.a > 0) & (h > 0)": "a product of comparisons for &",
    "h = ~(x.a > 0)": "nested where for | and ~",
    "h = divmod(2, x.a)": "got another operator",
    "h = x.a.shape": "got its attribute .shape",
    "h = c.sum()": "got its attribute .sum",
    "h = h.sum()": "a symbol called as a function",
    "h = x(h)": "got x itself",
    "h = x.a * np.ones(3)": "of shape (3,); numbers that differ from unit to unit, of shape "
    "(units,), are parameters: p.name",
    "h = np.ones(3) + x.a": "of shape (3,)",
    "h = tanh(np.ones((2, 3))) + x.a": "of shape (2, 3)",
    "h = minimum(h, [1, 2])": "expected a symbol or a number, got list",
    "h = x.a * 'b'": "expected a symbol or a number, got str",
    "h = x.a + None": "expected a symbol or a number, got NoneType",
    "h = x.a + True": "expected a symbol or a number, got bool",
    "h = x.a * (1 + 2j)": "expected a symbol or a number, got complex",
    # Names and assignments.
    "x.a = h": "expected no assignment, got x.a = ...",
    "h.a = c": "expected no assignment to a symbol's attribute, got .a = ...",
    "p.a = 1": "expected no assignment, got p.a = ...",
    "h = c.a": "got its attribute .a; maps are x.a and h.a",
    "h = x + h": "got x itself",
    "h = -p": "got p itself",
    "h = linear('n', h) + h.n": "got h.n beside another map of that name",
    "h = h.n + linear('n', x.a)": "got linear('n', ...) beside another map of that name",
    "h = linear('n', h) + linear('n', c)": "beside another map of that name",
    "h = linear('a b', h)": "linear: expected a name, which does not begin with _, got 'a b'",
    "h = linear('_n', h)": "got '_n'",
    "h = linear(1, h)": "got 1",
    "h = linear('n', 0.5)": "linear: expected a symbol, or a cell that runs, got float",
    "h = linear('n', x)": "linear: expected a symbol, or a cell that runs, got Namespace",
    "h = linear('n', h > 0)": "linear: expected numbers, got a comparison's result",
    # Values.
    "h = x.a + (h > 0)": "add: expected numbers, got a comparison's result; "
    "use where(comparison, 1.0, 0.0)",
    "h = tanh(h > 0)": "tanh: expected numbers, got a comparison's result",
    "h = normalise(h > 0)": "normalise: expected numbers, got a comparison's result",
    "h = spike(h > 0)": "spike: expected numbers, got a comparison's result",
    "h = x.a * math.inf": "expected a finite number, got inf",
    "h = x.a + math.nan": "expected a finite number, got nan",
    "h = normalise()": "normalise: expected at least one value, got none",
    "h = normalise(h, eps=0)": "normalise: expected eps > 0, got 0",
    "h = normalise(h, eps=h)": "expected a number",
    "h = normalise(x)": "got x",
    "h = spike(x)": "got x",
    "h = spike(h, 'relu')": "spike: expected one of",
    "h = spike(h, slope=-1)": "spike: expected slope > 0, got -1",
    "h = where(x, h, c)": "got x; write x.name",
    "h = clip(h, 0, p)": "got p; write p.name",
    "for _ in range(5000): h = tanh(h)": "expected at most 4096 operations, got more",
}


@pytest.mark.parametrize("body", BODIES)
def test_a_line(body: str) -> None:
    text = f"@ur.cell\ndef f(x, h, c, *, p, alpha=0.1):\n    {body}\n    return h + x.e, c\n"
    message = said(text)
    assert message.startswith("my_cells.py, line 3, in f: "), message
    assert BODIES[body] in message


def test_a_line_of_another_function() -> None:
    """It is the nearest line of the user's own."""
    text = "def gate(a):\n    return a[0]\n\n@ur.cell\ndef f(x, h):\n    return gate(x.i) + h\n"
    assert said(text).startswith("my_cells.py, line 2, in gate: ")
    long = "@ur.cell\ndef f(x, h):\n    return tanh(\n        x.a\n        + h @ h\n    )\n"
    assert said(long).startswith("my_cells.py, line 5, in f: ")


# Of whole functions: the line is that of the function.
FUNCTIONS = {
    "def f(x, h): return x.a, h": "expected 1 new states to be returned, h, got 2",
    "def f(x, h, c): return x.a": "expected 2 new states to be returned, h, c, got 1",
    "def f(x, h, c): return [x.a, c]": "expected 2 new states to be returned, h, c, got list",
    "def f(x, h): return [x.a]": "expected 1 new states to be returned, h, got list",
    "def f(x, h): return {'h': x.a}": "got dict",
    "def f(x, h): x.a": "expected 1 new states to be returned, h, got NoneType",
    "def f(x, h): return x.a > h": "expected numbers as new states, got a comparison's result",
    "def f(x, h): return x": "a new state: ",
    "def f(x, h): return x.a, h.b, h": "got 3",
    "def f(x, h, *, p): return tanh(h.h)": "expected a map of x, got none; write x.name",
    "def f(x, h): return 1.0": "expected a map of x, got none",
    "def f(x, h): return h": "expected a map of x, got none",
    "def f(x): return x.a": "expected the arguments x and h, got ['x']",
    "def f(): return 1": "expected the arguments x and h, got []",
    "def f(x, h, p): return x.a, p": "expected x, h and other states, got p; p stands behind *",
    "def f(self, x, h): return x.a, h": "got self; a cell is no method",
    "def f(x, h, *, alpha): return alpha * x.a": "expected a default for the constant alpha",
    "def f(x, h, *, alpha='b'): return x.a": "alpha: expected a number, got str",
    "def f(x, h, *, alpha=None): return x.a": "alpha: expected a number, got NoneType",
    "def f(x, h, *, alpha=True): return x.a": "alpha: expected a number, got bool",
    "def f(x, h, *, alpha=1e999): return x.a": "alpha: expected a finite number, got inf",
    "def f(x, h, *, p=1.0): return x.a": "expected p without a default, got p=1.0",
    "def f(x, h=0): return x.a": "expected states without defaults, got h=0",
    "def f(x, *h): return x.a": "expected named arguments, got *h",
    "def f(x, h, **more): return x.a": "expected named arguments, got **more",
    "def f(x, h): yield x.a": "expected an ordinary function, got a generator or async one",
    "async def f(x, h): return x.a": "expected an ordinary function, got a generator or async one",
    "def f(x, h): return (lambda g: g(g))(lambda g: g(g))": "expected no recursion",
    "def f(x, h, *, dropout=0.1): return x.a": "constants: expected another name than the "
    "arguments of Recurrent, got 'dropout'",
    f"def f(x, h, *, {'a' * 65}=1.0): return x.a": "constants: expected an identifier of at most "
    "64 letters",
    f"def f(x, h): return x.{'a' * 65}": "maps: expected an identifier of at most 64 letters",
    "def f(x, h, a, b, c, d, e, g, i, j): return x.a, a, a, a, a, a, a, a, a":
    "expected at most 8 states, got 9",
    "def f(x, h): return sum(getattr(x, f'm{n}') * h for n in range(17))":
    "expected at most 16 maps, got 17",
    "def f(x, h, *, p): return x.a + sum(getattr(p, f'm{n}') for n in range(17))":
    "expected at most 16 parameters, got 17",
    "def f(x, h): return x.a + sum(linear(f'm{n}', n * h) for n in range(2, 7))":
    "expected at most 4 maps of values, got 5",
}  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function(function: str) -> None:
    came = said(f"\n@ur.cell\n{function}\n")
    assert came.startswith("my_cells.py, line 2"), came
    assert FUNCTIONS[function] in came, came


def test_what_reaches_no_state() -> None:
    text = "@ur.cell\ndef f(x, h, *, p):\n    a = x.b * p.c\n    return x.a\n"
    assert said(text) == (
        "my_cells.py, line 3, in f: expected every map and parameter to reach a new state, got p "
        "'c', which reaches none"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("p={'b': 1}", "p: expected names among ['a'], got 'b'"),
        ("x={'h': 1}", "x: expected names among ['a'], got 'h'"),
        ("p=[1]", "p: expected a dict of numbers by names, got list"),
        ("x=1.0", "x: expected a dict of numbers by names, got float"),
        ("p={'a': '1'}", "p: 'a': expected a number, got str"),
        ("p={'a': True}", "p: 'a': expected a number, got bool"),
        ("x={'a': math.nan}", "x: 'a': expected a finite number, got nan"),
        ("p={1: 1}", "p: expected names among ['a'], got 1"),
    ],
)
def test_first_values(arguments: str, message: str) -> None:
    text = f"@ur.cell({arguments})\ndef f(x, h, *, p):\n    return x.a + h.h + p.a\n"
    assert said(text) == f"my_cells.py, line 1: {message}"


class Callable:
    def __call__(self, x: Any, h: Any) -> Any:
        return x.a

    def method(self, x: Any, h: Any) -> Any:
        return x.a


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (Callable(), "Callable"),
        (Callable, "type"),
        (Callable().method, "method"),
        (functools.partial(lambda x, h: x.a), "partial"),
        (staticmethod(lambda x, h: x.a), "staticmethod"),
        (np.tanh, "ufunc"),
        (len, "builtin_function_or_method"),
        (ur.cells.rnn, "Cell; a cell's with_first_values sets p and x"),
        ("x.a + h.a", "str"),
        (3, "int"),
    ],
)
def test_what_is_no_function(what: Any, kind: str) -> None:
    with pytest.raises(TypeError, match=f"^cell: expected a function, got {kind}$"):
        ur.cell(what)


def test_attributes_that_begin_with_an_underscore() -> None:
    for name in ("x._a", "h._a", "p._a"):
        with pytest.raises(AttributeError) as error:
            run(f"@ur.cell\ndef f(x, h, *, p):\n    return {name} + x.b + p.c\n")
        assert str(error.value) == (
            f"my_cells.py, line 3, in f: expected a name that does not begin with _, got {name}"
        )


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(NameError, match="'p' is not defined"):
        run("@ur.cell\ndef f(x, h):\n    return x.a * p.a\n")


@pytest.mark.parametrize("kind", ["KeyError('k')", "ValueError('mine')", "TypeError('mine')"])
def test_the_functions_own_errors_are_its_own(kind: str) -> None:
    text = f"error = {kind}\n@ur.cell\ndef f(x, h):\n    h = tanh(x.a)\n    raise error\n"
    names = {"ur": ur, "tanh": ur.cells.tanh}
    with pytest.raises(Exception) as caught:  # noqa: B017, PT011 - whichever it is
        exec(compile(text, "my_cells.py", "exec"), names)
    assert caught.value is names["error"]
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.lineno, last.name) == ("my_cells.py", 5, "f")
    assert caught.value.__cause__ is None


def test_pytorchs_functions() -> None:
    torch = pytest.importorskip("torch")
    message = said("@ur.cell\ndef f(x, h):\n    return torch.tanh(x.a)\n", torch=torch)
    assert message.startswith("my_cells.py, line 3, in f: ")
    assert "got PyTorch's tanh" in message
    message = said("@ur.cell\ndef f(x, h):\n    return torch.tanh(x)\n", torch=torch)
    assert message.startswith("my_cells.py, line 3, in f: ")
    assert "got x or p itself" in message


@pytest.mark.parametrize("of", ["x.a", "h", "x"])
def test_others_errors_have_the_line_in_a_note(of: str) -> None:
    jnp = pytest.importorskip("jax.numpy")
    with pytest.raises(TypeError) as error:
        run(f"@ur.cell\ndef f(x, h):\n    return jnp.tanh({of})\n", jnp=jnp)
    told = "".join(traceback.format_exception(error.value))
    assert "my_cells.py, line 3" in told.splitlines()[-1]
    assert "functions of unrolled.cells" in told


def test_a_symbol_of_another_cell() -> None:
    text = "kept = []\n@ur.cell\ndef f(x, h):\n    kept.append(h)\n    return kept[0] + x.a\n"
    known = run(text)
    with pytest.raises(TypeError, match=r"line 5, in f: .* got one of another cell"):
        ur.cell(known["f"].__wrapped__)


@pytest.mark.parametrize("text", ["x.value", "h.value", "p.value * h", "x.n + linear('n', h)"])
def test_names_that_are_allowed(text: str) -> None:
    """What arrays have beside maps hides none of them: the formula is what the function gives."""
    cell = run(f"@ur.cell\ndef f(x, h, *, p):\n    return x.a + 0.5 * {text} + p.b\n")["f"]
    assert ur.cells.check(cell)


@pytest.mark.parametrize(
    "text",
    [
        "@ur.cell\ndef f(x, h): return tanh(x.a)",
        "@ur.cell\ndef f(x, h, c): return x.a, 1.0",
        "@ur.cell\ndef f(x, h, c): return x.a, x.a",
        "@ur.cell\ndef f(x, h, c, *, alpha=0.5): return x.a + h.a, alpha",
        "@ur.cell\ndef f(x, h, c, *, p): return x.a + c, p.u",
        "@ur.cell\ndef f(x, h, c): return x.a + h, h",
        "f = ur.cell(lambda x, h: tanh(x.a + h.a))",
        "@ur.cell\ndef f(input, output): return tanh(input.ä + output.μ)",
        "@ur.cell\ndef f(x, h, *, alpha=0.5): return where(alpha > 0, x.a, h.a)",
        "@ur.cell\ndef f(x, h, *, alpha=0.5): return x.a * spike(alpha) + where(True, h, 1.0)",
        "@ur.cell\ndef f(x, h, *, alpha=0.5): return x.a + sum(normalise(alpha, 0.25)) + +h",
        "def gate(x, h): return sigmoid(x.z + h.z)\n"
        "@ur.cell\ndef f(x, h):\n    z = gate(x, h)\n    return z * h + (1 - z) * tanh(x.n)",
        "@ur.cell\ndef f(x, h, c, *, p):\n"
        "    h, c = ur.cells.peephole_lstm(x, h, c, p=p)\n    return 0.5 * h, tanh(c)",
        "described = ur.cells.from_description(ur.cells.lem.text)\n"
        "@ur.cell\ndef f(x, h, c):\n    h, c = described(x, h, c)\n    return 0.5 * h, c",
        "import functools\ndef doubled(g):\n    @functools.wraps(g)\n    def twice(*a, **k):\n"
        "        return 0.5 * g(*a, **k)\n    return twice\n"
        "@ur.cell\n@doubled\ndef f(x, h, *, alpha=0.5): return alpha * tanh(x.a + h.a)",
    ],
)
def test_what_is_no_mistake(text: str) -> None:
    """Cells that one may wonder about are what they say."""
    assert ur.cells.check(run(text, file="<stdin>")["f"])


def test_the_documents_example_is_what_is_printed() -> None:
    text = (DOCS / "cells.md").read_text(encoding="utf-8")
    block = text.split("## What a mistake looks like")[1].split("```text\n")[1].split("\n```")[0]
    program, message = block.split("\n\n")
    with pytest.raises(TypeError) as error:
        run(program)
    (printed,) = traceback.format_exception_only(error.value)
    assert printed == message.replace("\n", " ") + "\n"
