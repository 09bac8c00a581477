"""Cells as functions of tensors, under PyTorch's autograd: the judge of the reference's reverse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import unrolled as ur
from tolerances import assert_close
from torch_support import torch

GALLERY = [cell for cell in vars(ur.cells).values() if isinstance(cell, ur.cells.Cell)]


@pytest.mark.parametrize("described", [False, True], ids=["function", "description"])
@pytest.mark.parametrize("cell", GALLERY, ids=lambda c: c.name)
def test_gradients_are_autograd(cell: Any, described: bool) -> None:
    rng = np.random.default_rng(2)
    net = ur.reference.Recurrent(cell, 2, 3, seed=5)
    x = rng.normal(size=(4, 2, 2))
    state = tuple(0.2 + rng.random(size=(1, 2, 3)) for _ in cell.states)
    y, _, tape = net.record(x, state if len(state) > 1 else state[0])
    dy = rng.normal(size=y.shape)
    expected = tape.backward(dy)

    leaves = {n: torch.tensor(a, requires_grad=True) for n, a in net.state_dict().items()}
    given = torch.tensor(x, requires_grad=True)
    runner = ur.cells.from_description(cell.formula()) if described else cell
    of_x = [m["name"] for m in cell.maps if m["x"]]
    of_h = [m["name"] for m in cell.maps if m["h"] is not None]

    def maps(side: str, names: list[str], a: Any) -> dict[str, Any]:
        out = torch.nn.functional.linear(a, leaves[f"weight_{side}_l0"], leaves[f"bias_{side}_l0"])
        return dict(zip(names, out.split(3, -1), strict=True))

    rows = leaves["weight_p_l0"].split(3) if cell.parameters else ()
    units = dict(zip(cell.parameters, rows, strict=True))
    now, outputs = tuple(torch.tensor(a[0]) for a in state), []
    for t in range(4):
        from_h = maps("hh", of_h, now[0]) if of_h else {}
        now = runner.step(
            maps("ih", of_x, given[t]), from_h, now, units if cell.parameters else {},
            lambda name, value: maps("hh", of_h, value)[name],
        )  # fmt: skip
        outputs.append(now[0])
    found = torch.stack(outputs)
    assert_close(found.detach().numpy(), y, "reference.output.float64", "y")
    (found * torch.tensor(dy)).sum().backward()
    assert_close(given.grad.numpy(), expected.input, "reference.gradient.float64", "x")
    for name, leaf in leaves.items():
        assert_close(
            leaf.grad.numpy(), expected.parameters[name], "reference.gradient.float64", name
        )
