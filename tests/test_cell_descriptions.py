"""Descriptions of cells that are damaged or hostile: an error that says so, soon, and no more."""

from __future__ import annotations

import copy
import inspect
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from hypothesis import given, settings
from hypothesis import strategies as st
from unrolled._native import Formula
from unrolled.cells._description import MOST, TAKEN

SECONDS = 5.0  # Those that one processor needs, on a machine that does other things too.
CELLS = [cell for cell in vars(ur.cells).values() if isinstance(cell, ur.cells.Cell)]
X = {"name": "a", "x": True, "h": "state"}
BASE: dict[str, Any] = {
    "version": 1, "name": "t", "states": ["h"], "maps": [X], "parameters": [], "constants": [],
    "nodes": [["slot", 0]], "outputs": [0], "bias": {},
}  # fmt: skip


def refused(of: Callable[[], Any]) -> str:
    """The message of an error, which must be a clean one and come soon."""
    begin = time.process_time()
    with pytest.raises((TypeError, ValueError)) as error:
        of()
    assert time.process_time() - begin < SECONDS
    message = str(error.value)
    # One line, for a terminal, and no more of what came than is needed.
    assert message.isprintable() and len(message) < 600, message
    return message


def answered(data: Any) -> bool:
    """Whether data are a cell that runs; else the error is a clean one. Nothing takes long."""
    begin = time.process_time()
    try:
        net = ur.Recurrent(data, 2, 3, seed=0)
    except (TypeError, ValueError) as error:
        assert str(error).isprintable() and len(str(error)) < 600, str(error)
        net = None
    else:
        y, _, tape = net.record(np.ones((2, 1, 2), np.float32))
        tape.backward(np.ones_like(y))
    assert time.process_time() - begin < SECONDS
    return net is not None


DEEP: Any = ()
for _ in range(100_000):
    DEEP = (DEEP,)
# In the place of something else; what JSON knows first.
PLAIN: list[Any] = [
    None, True, False, -1, 0, 1, 2, 2**63, 2**64, 10**400, 1.5, float("nan"), float("inf"), -0.0,
    1e308, 5e-324, "", "a", "a b", "a\nb", "\x1b[31m", "\x00", "\ud800", "ﬁ", "class", "_graph",
    "__class__", "a" * 2**20, "state", "slot", [], [()], {}, {"a": 1}, [None] * 5000,
]  # fmt: skip
ODD: list[Any] = [
    *PLAIN, 10**5000, DEEP, {"name": DEEP}, ("slot", 0), b"a", object(), np.float64(2.0),
    np.ones(3), Exception, 1 + 2j, range(3),
]  # fmt: skip


def places(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where anything stands in the data."""
    found = [path]
    if isinstance(data, (dict, list)) and len(path) < 6:
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            found += places(value, (*path, key))
    return found


def mutated(rng: random.Random, data: Any, odd: list[Any] = ODD) -> Any:
    """The data with something else in some place."""
    *above, last = rng.choice(places(data)[1:])
    inner = data
    for key in above:
        inner = inner[key]
    kind, other = rng.randrange(5), copy.copy(rng.choice(odd))
    if kind == 0 and isinstance(inner, list):
        inner.insert(last, other)
    elif kind == 1:
        del inner[last]
    elif kind == 2 and isinstance(inner, list):
        inner.extend(inner[:])
    elif kind == 3 and type(inner[last]) is int:
        inner[last] += rng.choice([-2, -1, 1, 2, 1000])
    else:
        inner[last] = other
    return data


@settings(max_examples=1500, deadline=None, derandomize=True, database=None)
@given(st.randoms(use_true_random=False))
def test_mutations_have_an_answer(rng: random.Random) -> None:
    data = rng.choice(CELLS).formula()
    for _ in range(rng.choice([1, 1, 1, 3])):
        data = mutated(rng, data)
    answered(data)


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(st.randoms(use_true_random=False))
def test_damaged_text_has_an_answer(rng: random.Random) -> None:
    text = list(rng.choice(CELLS).text)
    for _ in range(rng.choice([1, 2, 20])):
        at = rng.randrange(len(text))
        text[at] = rng.choice([*'"{]-9,é\0', "NaN", "1e999", "\\ud800", "null", '"a":1,', ""])
    answered("".join(text))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "expected the keys"),
        ([], "expected the keys"),
        (b"\xff", "expected JSON"),
        ("[" * 100_000, "expected JSON"),
        ("9" * 5000, "expected JSON"),
        (" " * 2**21, "expected at most 1048576 bytes, got 2097152"),
        (json.dumps(BASE)[:-1] + ', "version": 1}', "expected JSON, got a key twice"),
        (BASE | {"version": 2}, "expected version 1, got 2"),
        (BASE | {"version": True}, "expected version 1, got bool"),
        (BASE | {"more": 1}, "expected the keys"),
        (BASE | {"name": "a\nb"}, r"name: expected an identifier .* got 'a\\nb'"),
        (BASE | {"name": "\ud800"}, r"name: expected an identifier .* got '\\ud800'"),
        (BASE | {"name": "a" * 2**20}, r"letters, got 'a{40}'\.\.\."),
        (BASE | {"name": 10**5000}, "got int"),
        (BASE | {"name": DEEP}, "got tuple"),
        (BASE | {"states": ["h"] * 9}, "expected at most 8 states, got 9"),
        (BASE | {"states": ["h", "h"], "outputs": [0, 0]}, "states: expected distinct names"),
        (BASE | {"states": [], "outputs": []}, "expected one or more states"),
        (BASE | {"outputs": [0, 0]}, "as many outputs, got 1 and 2"),
        (BASE | {"outputs": [1]}, "outputs: expected an index below 1, got 1"),
        (BASE | {"outputs": [-1]}, "got -1"),
        (BASE | {"outputs": [False]}, "got bool"),
        (BASE | {"outputs": [0.0]}, "got 0.0"),
        (BASE | {"outputs": [10**5000]}, "got int"),
        (BASE | {"nodes": [["slot", 0], ["tanh", 1]]}, "tanh: expected an index below 1, got 1"),
        (BASE | {"nodes": [["slot", 0], ["tanh", 2]]}, "tanh: expected an index below 1, got 2"),
        (BASE | {"nodes": [["slot", 0], ["tanh", 0, 0]]}, "got 'tanh' of 2"),
        (BASE | {"nodes": [["slot", 0], ["os.system", 0]]}, "got 'os.system' of 1"),
        (BASE | {"nodes": [["slot", 0], []]}, "a node: expected an operation's name, got None"),
        (BASE | {"nodes": [["slot", 0], ["number", "1"]]}, "number: expected a number, got '1'"),
        (BASE | {"nodes": [["slot", 0], ["number", 2**53 + 1]]}, "below 2[*][*]53"),
        (BASE | {"nodes": [["slot", 0], ["number", 1e999]]}, "expected a finite number"),
        (BASE | {"nodes": [["slot", 0], ["spike", 0, "relu", 1.0]]}, "got 'relu'"),
        (BASE | {"nodes": [["slot", 0], ["spike", 0, "atan", 0]]}, "a number above 0, got 0"),
        (BASE | {"nodes": [["slot", 0], ["normalise", [0], -1, 0]]}, "above 0, got -1"),
        (BASE | {"nodes": [["slot", 0], ["normalise", [], 1, 0]]}, "an index below 0"),
        (BASE | {"nodes": [["slot", 0], ["normalise", [0] * 257, 1, 0]]}, "at most 256 values"),
        (BASE | {"nodes": [["slot", 0]] * 2}, "expected one node for each of 1, got 2"),
        (BASE | {"maps": [X | {"name": "_maps"}]}, "does not begin with _, got '_maps'"),
        (BASE | {"maps": [X | {"x": 1}]}, "got 1 as x and 'state' as h"),
        (BASE | {"maps": [X | {"x": False}]}, "expected a map of x, got none"),
        (BASE | {"maps": [X | {"h": 0}]}, "maps: expected an index below 0, got 0"),
        (BASE | {"maps": [X | {"h": "h"}]}, "got 'h'"),
        (BASE | {"bias": {"b": 1.0}}, r"bias: expected names among \['a'\], got 'b'"),
        (BASE | {"bias": {"a": None}}, "bias: expected a number, got None"),
        (BASE | {"constants": [{"name": "seed", "value": 1}]}, "another name than the arguments"),
        (BASE | {"parameters": [{"name": "a", "init": True}]}, "expected a number, got bool"),
    ],
    ids=lambda v: "" if not isinstance(v, str) else v[:40],
)
def test_what_is_wrong_is_said(data: Any, message: str) -> None:
    came = refused(lambda: ur.cells.from_description(data))
    assert came.startswith("cell's description: ")
    assert re.search(message, came)
    if isinstance(data, (str, dict)):
        assert refused(lambda: ur.Recurrent(data, 2, 3)) == came


def chain(op: str, operands: int) -> Any:
    """As many nodes as there may be, each made of those right before it."""
    nodes: list[Any] = [["slot", 0], ["state", 0], ["less", 0, 1]]
    nodes += [[op, *range(n - operands, n)] for n in range(3, 4096)]
    return BASE | {"nodes": nodes, "outputs": [4095]}


def doubled(op: str) -> Any:
    """Values of values of themselves: 2⁴⁰⁹⁵ terms if they were written out."""
    nodes = [["slot", 0], *([op, n, n] for n in range(4095))]
    return BASE | {"nodes": nodes, "outputs": [4095]}


@pytest.mark.parametrize("op", ["exp", "abs", "silu", "stop_gradient", "spike", "normalise"])
def test_long_chains(op: str) -> None:
    data = chain("neg", 1)
    for node in data["nodes"][3:]:
        more = {"spike": ["atan", 2.0], "normalise": [1e-5, 0]}.get(op, [])
        node[:] = [op, [node[1]] if op == "normalise" else node[1], *more]
    answered(data)


@pytest.mark.parametrize("op", ["add", "mul", "pow", "maximum", "less"])
def test_what_would_grow_without_end(op: str) -> None:
    answered(chain(op, 2))
    answered(doubled(op))


def test_where_of_where() -> None:
    answered(chain("where", 3))


def test_limits_are_those_of_the_kernels() -> None:
    """As many as Python lets through Rust takes; of one more it says the same number."""

    def formula(**changed: Any) -> Formula:
        own = {
            "states": ["h"], "maps": [("a", "a", None)], "parameters": [], "constants": [],
            "nodes": [("slot", [0], 0.0, "")], "outputs": [0],
        } | changed  # fmt: skip
        return Formula(*own.values())

    def several(what: str, count: int) -> Formula:
        if what == "states":
            return formula(states=[f"s{n}" for n in range(count)], outputs=[0] * count)
        if what == "nodes":
            return formula(nodes=[("slot", [0], 0.0, "")] + [("tanh", [0], 0.0, "")] * (count - 1))
        if what == "maps":
            return formula(maps=[(f"a{n}", None, None) for n in range(count)])
        if what in ("parameters", "constants"):
            return formula(**{what: [(f"a{n}", 0.0) for n in range(count)]})
        values = count if what == "maps of values" else 2
        others = 1 if what == "maps of values" else count - 2 * values
        maps = [(f"a{n}", None, None) for n in range(others)]
        return formula(maps=maps + [(None, f"b{n}", 0) for n in range(values)])

    for what, most in MOST.items():
        several(what, most)
        message = refused(lambda what=what, most=most: several(what, most + 1))
        assert str(most) in message.split(), message


def test_arguments_of_recurrent_are_no_constants() -> None:
    arguments = set(inspect.signature(ur.Recurrent.__init__).parameters) - {"constants"}
    assert arguments <= set(TAKEN)


def test_a_file_with_another_formula(tmp_path: Path) -> None:
    """What a file says of its cell is checked as any description."""
    path = tmp_path / "net.safetensors"
    ur.save(ur.Recurrent(ur.cells.gru_original, 2, 3, seed=0), path)
    whole = path.read_bytes()
    length = int.from_bytes(whole[:8], "little")
    header, tensors = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    about, rng = json.loads(header["__metadata__"]["unrolled"]), random.Random(0)
    for _ in range(150):
        changed = json.loads(json.dumps(about))
        mutated(rng, changed["config"]["cell"], PLAIN)
        header["__metadata__"]["unrolled"] = json.dumps(changed)
        new = json.dumps(header).encode()
        path.write_bytes(len(new).to_bytes(8, "little") + new + tensors)
        begin = time.process_time()
        try:
            ur.load(path)
        except ValueError as error:
            assert str(error).isprintable(), str(error)
        assert time.process_time() - begin < SECONDS


def test_a_file_is_compiled_once_and_only_if_it_holds_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To compile a formula of thousands of operations takes a second."""
    path, compiled = tmp_path / "net.safetensors", []
    net = ur.Recurrent(ur.cells.gru_original, 2, 3, seed=0)
    ur.save(ur.Sequential(net, initial_state=True), path)
    monkeypatch.setattr(ur.cells._cell, "Formula", lambda *of: compiled.append(of) or Formula(*of))
    ur.load(path)
    assert len(compiled) == 1
    path.write_bytes(path.read_bytes().replace(b"0.bias_hh_l0", b"0.bias_hh_l1"))
    assert "it holds 0.bias_hh_l0; got none" in refused(lambda: ur.load(path))
    assert len(compiled) == 1
