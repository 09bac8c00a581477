"""Cells are functions run once: the formula they leave, and errors that name the line."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from unrolled.cells import from_description, linear, sigmoid, tanh


@ur.cell(p={"f": 1.0})
def peephole(x: Any, h: Any, c: Any, *, p: Any) -> Any:
    i = sigmoid(x.i + h.i + p.i * c)
    f = sigmoid(x.f + h.f + p.f * c)
    c = f * c + i * tanh(x.g + h.g)
    o = sigmoid(x.o + h.o + p.o * c)
    return o * tanh(c), c


@ur.cell
def gru_original(x: Any, h: Any) -> Any:
    r, z = sigmoid(x.r + h.r), sigmoid(x.z + h.z)
    n = tanh(x.n + linear("n", r * h))
    return (1 - z) * n + z * h


def test_sums_share_a_slot() -> None:
    assert [m["name"] for m in peephole.maps] == ["i", "f", "g", "o"]
    assert all(m["x"] and m["h"] == "state" for m in peephole.maps)
    assert peephole.parameters == {"i": 0.0, "f": 1.0, "o": 0.0}


def test_a_map_of_a_value_comes_after_it() -> None:
    entry = gru_original.maps[2]
    assert gru_original.formula()["nodes"][entry["h"]][0] == "mul"


def test_what_is_used_twice_or_multiplied_keeps_its_slot() -> None:
    gru = ur.cell(lambda x, h: tanh(x.n + sigmoid(x.r + h.r) * h.n) + h)
    assert [(m["name"], m["x"], m["h"]) for m in gru.maps] == [
        ("n", True, None), ("r", True, "state"), ("n", False, "state"),
    ]  # fmt: skip


@pytest.mark.parametrize("cell", [peephole, gru_original], ids=lambda c: c.name)
def test_copies_and_pickles_are_equal(cell: Any) -> None:
    for other in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        assert other == cell and hash(other) == hash(cell)
    assert from_description(cell.formula()) == cell


@pytest.mark.parametrize("cell", [peephole, from_description(peephole.text)], ids=["", "data"])
def test_first_values_of_a_cell_that_is_there(cell: Any) -> None:
    other = cell.with_first_values(p={"o": np.float32(2)}, x={"g": -1})
    assert other.parameters == {"i": 0.0, "f": 1.0, "o": 2.0}
    assert cell.parameters["o"] == 0.0 and other != cell
    begun = ur.Recurrent(other, 2, 3, seed=0).state_dict()
    assert np.array_equal(begun["weight_p_l0"], np.repeat([0, 1, 2], 3))
    assert np.array_equal(begun["bias_ih_l0"][6:9], [-1, -1, -1])
    assert other.with_first_values(x={"i": 1.0}).formula()["bias"] == {"i": 1.0, "g": -1.0}
    with pytest.raises(ValueError, match=r"x: expected names among \['i', .*\], got 'q'"):
        cell.with_first_values(x={"q": 1.0})
    with pytest.raises(ValueError, match=r"p: expected names among \['i', 'f', 'o'\], got 'g'"):
        cell.with_first_values(p={"g": 1.0})
    with pytest.raises(TypeError, match="p: 'i': expected"):
        cell.with_first_values(p={"i": "much"})
    with pytest.raises(TypeError, match="x: expected a dict of numbers by names, got"):
        cell.with_first_values(x=1.0)
    with pytest.raises(TypeError, match="with_first_values sets p and x"):
        ur.cell(x={"f": 1.0})(cell)


def test_maps_say_what_they_have() -> None:
    x, h = ur.cells.Maps({"a": np.ones(2)}), ur.cells.Maps({"h": np.ones(2)}, np.zeros(2))
    with pytest.raises(AttributeError, match="expected one of a, got h"):
        ur.cells.rnn(x, h)


ERRORS: dict[str, tuple[Any, str]] = {
    "NumPy": (lambda x, h: np.tanh(x.i), "NumPy's tanh"),
    "math": (lambda x, h: math.exp(x.i), "a number made of a symbol"),
    "if": (lambda x, h: x.i if x.i > 0 else h, "a Python if"),
    "states": (lambda x, h: (x.i, h), "expected 1 new states"),
    "None": (lambda x, h: None, "got None"),
    "x": (lambda x, h: x * 2, "got x itself"),
    "array": (lambda x, h: x.i * np.ones(3), "got ndarray of shape"),
    "list": (lambda x, h: x.i * [1], "got list"),
    "default": (lambda x, h, *, a="b": x.i, "got str"),
    "positional": (lambda x, h, c=1: x.i, "without defaults"),
    "starred": (lambda x, *h: x.i, "named arguments"),
    "comparison": (lambda x, h: x.i + (x.i > 0), "a comparison's result"),
    "another state's map": (lambda x, h, c: (x.i, c.i), "got its attribute .i"),
    "infinite": (lambda x, h: x.i * math.inf, "a finite number"),
    "no x": (lambda x, h: tanh(h.h), "expected a map of x"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_line(name: str) -> None:
    function, message = ERRORS[name]
    with pytest.raises((TypeError, ValueError), match=message) as error:
        ur.cell(function)
    assert f"test_cells.py, line {function.__code__.co_firstlineno}" in str(error.value)


@pytest.mark.parametrize(
    "spoil",
    [
        {"version": 2}, {"nodes": [["tanh", 0]]}, {"outputs": []}, {"name": "a b"},
        {"nodes": [["state", 0]] * 5000}, {"bias": {"q": 1.0}}, {"maps": []}, {"states": 3},
    ],
    ids=str,
)  # fmt: skip
def test_descriptions_that_are_none(spoil: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cell's description: .*expected"):
        from_description(peephole.formula() | spoil)


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    ur.cells.explain(gru_original)
    said = capsys.readouterr().out
    assert "slot 2 = x.n + linear('n', %5)" in said
    assert "operations a unit: 3 mul, 2 sigmoid, 1 tanh, 1 sub, 1 add" in said
