"""A run of a formula step by step in PyTorch's functions: differentiable as often as one likes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..cells._layer import layer
from . import _dynamo
from ._kind import Kind


@_dynamo.in_graph
def replay(
    kind: Kind,
    x: Any,
    states: Any,
    weights: Sequence[Any],
    lengths: Any,
    resets: Any,
) -> tuple[Any, Any]:
    """y and the states of x (T, B, I): as `_through.through_torch`, which calls it."""
    steps, batch, _ = x.shape
    units = kind.sizes(weights).hidden
    formula, names, finals = kind.traits.formula, kind.names, []
    assert formula is not None
    # States are carried in the weights' precision, whatever autocast made of x.
    dtype = weights[0].dtype
    if lengths is not None:
        time = torch.arange(steps, device=x.device)[:, None]
        within = time < lengths.to(x.device)
        resets = None if resets is None else resets & within
    for n in range(kind.layers):
        ys = []
        for side in range(kind.directions):
            cell = n * kind.directions + side
            own = weights[cell * len(names) : (cell + 1) * len(names)]
            project, step = layer(formula, dict(zip(names, own, strict=True)))
            if states is None:
                now = tuple(x.new_zeros(batch, units, dtype=dtype) for _ in formula.states)
            else:
                now = tuple(s[cell].to(dtype) for s in states)
            projected, outputs = project(x).unbind(0), []
            for t in reversed(range(steps)) if side else range(steps):
                # The reverse direction is cut between the same two steps.
                cut = t + side
                if resets is not None and cut < steps:
                    now = tuple(torch.where(resets[cut][:, None], 0.0, s) for s in now)
                new = step(projected[t], now)
                y = new[0]
                if lengths is not None:
                    runs = within[t][:, None]
                    y = torch.where(runs, y, 0.0)
                    new = tuple(torch.where(runs, a, b) for a, b in zip(new, now, strict=True))
                outputs.append(y)
                now = new
            ys.append(torch.stack(outputs[::-1] if side else outputs))
            finals.append(now)
        x = torch.cat(ys, -1)
    return x, tuple(map(torch.stack, zip(*finals, strict=True)))
