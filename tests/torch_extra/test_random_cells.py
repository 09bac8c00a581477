"""Random formulas: the reference's values and gradients against PyTorch's autograd, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import unrolled as ur
from hypothesis import example, given, note, settings
from hypothesis import strategies as st
from random_cells import ALL, clear_rows, everything, functions, made, problem
from tolerances import TOLERANCES
from torch_support import torch
from unrolled.cells._layer import layer

# Kinks nearer than this are decided by rounding.
NEAR = 1e-9


def autograd(cell: Any, net: Any, x: Any, state: Any, d: Any) -> dict[str, Any]:
    """Outputs and gradients of the cell on tensors, walked over time here."""
    weights = {n: torch.tensor(a, requires_grad=True) for n, a in net.state_dict().items()}
    project, step = layer(cell, {n.removesuffix("_l0"): w for n, w in weights.items()})
    begin = [torch.tensor(s, requires_grad=True) for s in state]
    given_x, now, ys = torch.tensor(x, requires_grad=True), tuple(s[0] for s in begin), []
    for projected in project(given_x):
        now = step(projected, now)
        ys.append(now[0])
    found = {"y": torch.stack(ys), **{f"state {n}": s[None] for n, s in enumerate(now)}}
    leaves = {"d_x": given_x, **{f"d_state {n}": s for n, s in enumerate(begin)}, **weights}
    loss = sum((found[name] * torch.tensor(a)).sum() for name, a in d.items())
    # So that all of them have a gradient, even where the formula leaves one out.
    (loss + 0 * sum(leaf.sum() for leaf in leaves.values())).backward()
    gradients = {n: leaf.grad for n, leaf in leaves.items()}
    return {n: a.detach().numpy() for n, a in (found | gradients).items()}


@pytest.mark.parametrize("described", [False, True], ids=["function", "description"])
@settings(max_examples=120, deadline=None, derandomize=True, database=None)
@given(text=functions(), seed=st.integers(0, 9), units=st.sampled_from([1, 3, 4]))
@example(text=ALL, seed=1, units=4)
def test_the_reference_is_autograd(described: bool, text: str, seed: int, units: int) -> None:
    note(text)
    cell = made(text)
    net, x, state, d = problem(cell, 3, 4, units, seed)
    clear = clear_rows(net, x, state, NEAR)
    d = {name: a * clear[:, None] for name, a in d.items()}
    expected = everything(net, x, state, d)
    runner = ur.cells.from_description(cell.text) if described else cell
    found = autograd(runner, net, x, state, d)
    assert found.keys() == expected.keys()
    for name, right in expected.items():
        got = found[name]
        if name == "y" or name.startswith("state"):
            got, right = got[:, clear], right[:, clear]
        assert np.isfinite(right).all(), name
        largest = max(np.abs(right).max(initial=0.0), TOLERANCES["cancelled"])
        error = np.abs(got - right).max(initial=0.0) / largest
        assert error <= TOLERANCES["reference.gradient.float64"], (name, error)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("described", [False, True], ids=["function", "description"])
def test_what_is_chosen_among_numbers_is_of_the_states_type(
    described: bool, dtype: torch.dtype
) -> None:
    text = (
        "def f(x, h):\n"
        "    a = where(x.a < h, 1.0, 0.1)\n"
        "    b = spike(where(h > 0, 0.3, -0.3)) + linear('d', where(x.a > 0, 1.0, 0.0))\n"
        "    return tanh(a + b) + 0.1 * h\n"
    )
    cell = made(text)
    runner = ur.cells.from_description(cell.text) if described else cell
    net, x, state, d = problem(cell, 2, 3, 4, 0)
    weights = {
        n.removesuffix("_l0"): torch.tensor(a, dtype=dtype) for n, a in net.state_dict().items()
    }
    project, step = layer(runner, weights)
    begin = torch.tensor(state[0][0], dtype=dtype)
    (found,) = step(project(torch.tensor(x[0], dtype=dtype)), (begin,))
    assert found.dtype is dtype
    right = everything(
        net, x[:1], state, {"y": d["y"][:1]} | {n: a for n, a in d.items() if n != "y"}
    )["y"][0]
    error = np.abs(found.numpy() - right).max()
    name = str(dtype).removeprefix("torch.")
    assert error <= TOLERANCES[f"reference.output.{name}"]
