"""Random formulas: the reference's derived reverse against PyTorch's autograd of the function."""

from __future__ import annotations

from typing import Any

import numpy as np
import unrolled as ur
from hypothesis import HealthCheck, given, settings
from random_cells import random_cells
from tolerances import assert_close
from torch_support import torch
from unrolled.cells._layer import layer

STEPS, BATCH, INPUTS, UNITS = 3, 2, 2, 4


# The same graphs each time: what is found is not found by chance.
@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(cell=random_cells())
def test_gradients_are_autograds(cell: Any) -> None:
    rng = np.random.default_rng(0)
    net = ur.reference.Recurrent(cell, INPUTS, UNITS, seed=1)
    x = rng.normal(size=(STEPS, BATCH, INPUTS))
    states = tuple(rng.normal(size=(1, BATCH, UNITS)) for _ in cell.states)
    single = states if len(states) > 1 else states[0]
    y, final, tape = net.record(x, single)
    dy = rng.normal(size=y.shape)
    final = final if isinstance(final, tuple) else (final,)
    d_final = tuple(rng.normal(size=s.shape) for s in final)
    g = tape.backward(dy, d_final if len(d_final) > 1 else d_final[0])

    leaves = {name: torch.tensor(a, requires_grad=True) for name, a in net.state_dict().items()}
    given_x = torch.tensor(x, requires_grad=True)
    begun = [torch.tensor(s, requires_grad=True) for s in states]
    project, step = layer(cell, {n.removesuffix("_l0"): leaf for n, leaf in leaves.items()})
    now, outputs = tuple(s[0] for s in begun), []
    for part in project(given_x).unbind(0):
        now = step(part, now)
        outputs.append(now[0])
    loss = (torch.stack(outputs) * torch.tensor(dy)).sum()
    for state, d in zip(now, d_final, strict=True):
        loss = loss + (state * torch.tensor(d[0])).sum()
    loss.backward()

    assert_close(y, torch.stack(outputs).detach().numpy(), "reference.output.float64", "y")
    got = {"x": g.input, **g.parameters}
    d_states = g.state if isinstance(g.state, tuple) else (g.state,)
    got |= {f"state {n}": d for n, d in enumerate(d_states)}
    expected = {"x": given_x, **leaves, **{f"state {n}": s for n, s in enumerate(begun)}}
    for name, leaf in expected.items():
        right = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy()
        assert_close(got[name], right, "reference.gradient.float64", name)
