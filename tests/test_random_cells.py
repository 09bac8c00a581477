"""Random formulas: the kernels against the plain reference, at every level, and what may not
change a bit of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import unrolled as ur
from hypothesis import HealthCheck, example, given, note, settings
from hypothesis import strategies as st
from random_cells import ALL, clear_rows, everything, functions, made, problem
from support import same
from tolerances import TOLERANCES
from unrolled.cells._description import ARITY, SURROGATES

# Kinks nearer than this are decided by rounding.
NEAR = {"float32": 1e-4, "float64": 1e-9}
SIZES = st.sampled_from([1, 3, 17, 33])
deterministic = settings(
    max_examples=60, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip


def given_problems(test: Any) -> Any:
    drawn = given(
        text=functions(), seed=st.integers(0, 9), steps=st.integers(1, 4), batch=SIZES, units=SIZES
    )
    return example(text=ALL, seed=1, steps=3, batch=17, units=33)(drawn(test))


def test_every_function_takes_part() -> None:
    nodes = made(ALL).formula()["nodes"]
    assert {op for op, *_ in nodes} >= {*ARITY, "normalise", "spike"}
    assert {node[2] for node in nodes if node[0] == "spike"} == set(SURROGATES)


def kernel(plain: Any, dtype: str) -> Any:
    """A net of ours with the reference's weights."""
    net = ur.Recurrent(plain._cell.cell, plain.input_size, plain.hidden_size, dtype=dtype)
    net.load_state_dict({name: a.astype(dtype) for name, a in plain.state_dict().items()})
    return net


def as_type(dtype: str, x: Any, state: tuple[Any, ...], d: dict[str, Any]) -> tuple[Any, ...]:
    return (
        x.astype(dtype),
        tuple(s.astype(dtype) for s in state),
        {name: a.astype(dtype) for name, a in d.items()},
    )


def errors(found: dict[str, Any], expected: dict[str, Any], clear: Any) -> dict[str, float]:
    """The largest errors of outputs and of gradients."""
    worst = {"output": 0.0, "gradient": 0.0}
    for name, right in expected.items():
        got, kind = found[name], "gradient"
        if name == "y" or name.startswith("state"):
            got, right, kind = got[:, clear], right[:, clear], "output"
        largest = max(np.abs(right).max(initial=0.0), TOLERANCES["cancelled"])
        error = np.abs(got.astype(np.float64) - right).max(initial=0.0) / largest
        worst[kind] = max(worst[kind], float(error) if error == error else np.inf)
    return worst


def made_of_rounding(
    plain: Any, given: tuple[Any, ...], exact: tuple[Any, ...], expected: dict[str, Any], clear: Any
) -> dict[str, float]:
    """What the formula itself makes of rounding: errors of plain NumPy in the type of what is
    given, and what parameters that are one rounding away change."""
    found = []
    dtype, parameters = given[0].dtype, plain.state_dict()
    for of, arguments, factor in ((dtype, given, 1.0), ("float64", exact, 1 + np.finfo(dtype).eps)):
        sizes = plain.input_size, plain.hidden_size
        net = ur.reference.Recurrent(plain._cell.cell, *sizes, dtype=of)
        net.load_state_dict({name: (a * factor).astype(of) for name, a in parameters.items()})
        found.append(errors(everything(net, *arguments), expected, clear))
    return {kind: max(one[kind] for one in found) for kind in found[0]}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@deterministic
@given_problems
def test_the_kernels_are_the_reference(
    dtype: str, text: str, seed: int, steps: int, batch: int, units: int
) -> None:
    note(text)
    plain, x, state, d = problem(made(text), steps, batch, units, seed)
    clear = clear_rows(plain, x, state, NEAR[dtype])
    d = {name: a * clear[:, None] for name, a in d.items()}
    expected = everything(plain, x, state, d)
    assert all(np.isfinite(a).all() for a in expected.values())
    given = as_type(dtype, x, state, d)
    allowed = made_of_rounding(plain, given, (x, state, d), expected, clear)
    net = kernel(plain, dtype)
    for isa in ur.available_isas():
        ur.set_max_isa(isa)
        for kind, error in errors(everything(net, *given), expected, clear).items():
            bound = max(TOLERANCES[f"reference.{kind}.{dtype}"], 8 * allowed[kind])
            assert error <= bound, (isa, kind, error, bound)


@deterministic
@given_problems
def test_neither_batch_nor_threads_change_a_bit(
    text: str, seed: int, steps: int, batch: int, units: int
) -> None:
    note(text)
    plain, *given = problem(made(text), steps, batch, units, seed)
    x, state, d = as_type("float32", *given)
    net = kernel(plain, "float32")
    rows = np.random.default_rng(seed).permutation(batch)[: 1 + batch // 2]
    for isa in ur.available_isas():
        ur.set_max_isa(isa)
        ur.set_num_threads(2)
        whole = everything(net, x, state, d)
        ur.set_num_threads(1)
        for name, a in everything(net, x, state, d).items():
            assert same(a, whole[name]), (isa, name)
        part = everything(
            net,
            np.ascontiguousarray(x[:, rows]),
            tuple(np.ascontiguousarray(s[:, rows]) for s in state),
            {name: np.ascontiguousarray(a[:, rows]) for name, a in d.items()},
        )
        for name in part.keys() - net.state_dict().keys():
            assert same(part[name], np.ascontiguousarray(whole[name][:, rows])), (isa, name)
        stream = net.stream(batch)
        stream.state = state if len(state) > 1 else state[0]
        found = np.stack([stream.step(row) for row in x])
        assert same(found, whole["y"]), isa


def test_spikes_of_one_value_have_derivatives_of_their_own() -> None:
    text = """
def f(x, h):
    v = x.a + h.a
    return 0.5 * h + spike(v, slope=5) + 0.5 * spike(v, "atan", slope=2) - spike(v, "sigmoid")
""".lstrip()
    plain, *given = problem(made(text), 3, 4, 5, 0)
    found = errors(everything(kernel(plain, "float64"), *given), everything(plain, *given), ...)
    assert found["output"] <= TOLERANCES["reference.output.float64"]
    assert found["gradient"] <= TOLERANCES["reference.gradient.float64"]


def test_a_derivative_of_its_own_is_not_held_against_differences(capsys: Any) -> None:
    assert ur.cells.check(ur.cells.lif)
    assert "no central differences" in capsys.readouterr().out
