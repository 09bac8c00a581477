"""The public interface with odd arguments: a short part of `fuzz/api.py`, the same each time."""

from __future__ import annotations

import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from hypothesis import given, settings
from hypothesis import strategies as st

FUZZ = Path(__file__).resolve().parent.parent / "fuzz"


def loaded() -> Any:
    sys.path.insert(0, str(FUZZ))
    try:
        spec = importlib.util.spec_from_file_location("fuzz_api", FUZZ / "api.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules["fuzz_api"] = module
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FUZZ))
    return module


api = loaded()
# What takes a second each.
SLOW = ("unrolled.flow.report", "unrolled.flow.Monitor.plot")
QUICK = [each for each in api.CALLEES if each.name not in SLOW]


def test_all_of_the_interface_takes_part() -> None:
    names = {each.name for each in api.CALLEES}
    assert {"unrolled.LSTM", "unrolled.Tape.backward", "unrolled.flow.classify"} <= names
    assert {"unrolled.optim.Adam.load_state_dict", "unrolled.losses.mse"} <= names
    assert {"unrolled.cell", "unrolled.cells.from_description", "unrolled.flow.reach"} <= names
    assert len(names) > 200


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(st.randoms(use_true_random=False))
def test_odd_arguments_have_an_answer(tmp_path_factory: Any, rng: random.Random) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.getbasetemp())
        api.check(rng, QUICK)


@pytest.mark.parametrize(
    "name", ["cell", "Recurrent", "cells.from_description", "cells.Cell.step", "cells.lstm",
             "flow.reach", "flow.plot_reach", "reference.Recurrent"],
)  # fmt: skip
def test_cells_are_called_with_what_fits(name: str) -> None:
    """A result now and then, and not the same answer each time."""
    callees = [each for each in api.CALLEES if each.name == f"unrolled.{name}"]
    faults = api.Faults()
    for seed in range(40):
        api.check(random.Random(seed), callees, faults)
    right, answers = faults.counts[callees[0].name]
    assert right and answers and not faults.found, faults


def test_a_fault_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(x: Any) -> Any:
        return x.nothing[0]

    callee = api.Callee("unrolled.broken", broken)
    with pytest.raises(AttributeError):
        for seed in range(9):
            api.check(random.Random(seed), [callee])


def lstm_tape() -> Any:
    return ur.LSTM(2, 3, seed=0).record(np.ones((4, 2), np.float32))[2]


def formula_tape() -> Any:
    return ur.Recurrent(ur.cells.rnn, 2, 3, seed=0).record(np.ones((4, 2), np.float32))[2]


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: ur.flow.gate_saturation(0), TypeError, "tape: expected a Tape"),
        (lambda: ur.flow.gate_saturation(lstm_tape(), reverse=2), TypeError, "reverse: expected"),
        (lambda: ur.flow.classify(ur.RNN(1, 1), np.zeros((), np.float32)), ValueError,
         r"x: expected shape \(T, B, I\) or \(T, I\)"),
        (lambda: ur.flow.classify(ur.RNN(1, 1), np.full((5, 1), np.nan, np.float32)), ValueError,
         "NaN"),
        (lambda: ur.Stream("net"), TypeError, "net: expected an LSTM"),
        (lambda: ur.SequentialStream(3), TypeError, "model: expected a Sequential"),
        (lambda: ur.flow.plot_bounds(5), TypeError, "bounds: expected a Bounds, got int"),
        (lambda: ur.flow.plot_triangle([]), TypeError, "gradients: expected a LagGradients"),
        (lambda: ur.flow.plot_power_curve({"a": 1}), TypeError, "curve: expected a PowerCurve"),
        (lambda: ur.flow.plot_lyapunov(["a"]), TypeError, "exponents: expected real numbers"),
        (lambda: ur.flow.plot_lyapunov(np.zeros((2, 0))), ValueError, "exponents: expected shape"),
        (lambda: ur.optim.SGD(ur.RNN(1, 1), lr=10**400), ValueError, "lr: expected a finite"),
        (lambda: ur.flow.matrix_power_curve(np.eye(2), 2**64), ValueError, "n: expected"),
        (lambda: ur.reference.flow.lyapunov_exponents(3, 3), TypeError, "net: expected"),
        (lambda: ur.flow.Monitor(ur.RNN(1, 1))(None, None, 10**400), ValueError, "loss: expected"),
        (lambda: ur.reference.flow.vjp(formula_tape(), 0, 1, np.ones((1, 3))), TypeError,
         "tape: expected one of an LSTM, GRU or RNN, got one of Recurrent"),
    ],
)  # fmt: skip
def test_what_was_found(call: Any, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        call()


def test_a_count_of_steps_beyond_all_counting() -> None:
    optimiser = ur.optim.Adam(ur.RNN(1, 1, seed=0))
    state = optimiser.state_dict()
    with pytest.raises(ValueError, match=r"mapping\['step'\]: expected less than 2\*\*53"):
        optimiser.load_state_dict({**state, "step": 2**64})
    with pytest.raises(TypeError, match=r"mapping\['state'\].*: expected a mapping, got int"):
        optimiser.load_state_dict({**state, "state": [{"exp_avg": 1, "exp_avg_sq": 1}]})
    assert optimiser.state_dict()["step"] == 0


def test_what_an_index_raises_is_said_as_ours() -> None:
    class Index:
        def __index__(self) -> int:
            raise AttributeError("no")

    with pytest.raises(TypeError, match="hidden_size: expected an integer, got Index"):
        ur.RNN(1, Index())


def test_deep_arguments_are_shown_in_part() -> None:
    deep: list[Any] = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(TypeError, match=r"betas: expected a tuple of two floats, got \[\["):
        ur.optim.Adam(ur.RNN(1, 1), betas=deep)
