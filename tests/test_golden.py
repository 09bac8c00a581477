"""Outputs, final states and every gradient against numbers that PyTorch made in float64."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from golden.cases import Case, State, load_cases
from tolerances import assert_close

CASES = {case.name: case for case in load_cases()}


def parts(state: State) -> dict[str, np.ndarray]:
    """The arrays of a state by name; an LSTM has two."""
    return dict(zip("hc", state, strict=True)) if isinstance(state, tuple) else {"h": state}


def compare_state(actual: State, expected: State, entry: str, name: str) -> None:
    assert parts(actual).keys() == parts(expected).keys()
    for part, value in parts(expected).items():
        assert_close(parts(actual)[part], value, entry, f"{name}.{part}")


def test_the_set_is_complete() -> None:
    """A lost file would otherwise only make the run shorter."""
    count = {cell: sum(c.cell == cell for c in CASES.values()) for cell in ("LSTM", "GRU", "RNN")}
    assert count == {"LSTM": 24, "GRU": 16, "RNN": 32}


@pytest.mark.parametrize("implementation", ["unrolled", "unrolled.reference"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_golden(name: str, dtype: str, implementation: str) -> None:
    case: Case = CASES[name].cast(dtype)
    expected = case.expected
    output, gradient = f"reference.output.{dtype}", f"reference.gradient.{dtype}"

    net = getattr(importlib.import_module(implementation), case.cell)(**case.kwargs)
    net.load_state_dict(case.state_dict)
    assert list(net.state_dict()) == list(case.state_dict)

    y, state = net(case.x, case.state, lengths=case.lengths)
    assert_close(y, expected.y, output, "y of the call")
    compare_state(state, expected.state, output, "state of the call")

    y, state, tape = net.record(case.x, case.state, lengths=case.lengths)
    assert y.dtype == dtype
    assert_close(y, expected.y, output, "y")
    compare_state(state, expected.state, output, "state")

    g = tape.backward(case.dy, case.dstate)
    assert g.parameters.keys() == expected.parameters.keys()
    for key, value in expected.parameters.items():
        assert g.parameters[key].dtype == dtype
        assert_close(g.parameters[key], value, gradient, key)
    assert_close(g.input, expected.input, gradient, "input")
    compare_state(g.state, expected.initial_state, gradient, "initial state")
