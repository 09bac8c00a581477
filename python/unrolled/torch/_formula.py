"""Runs of formulas with tensors: by the kernels, and step by step in PyTorch's functions.

x is (T, B, I). The states of all layers and directions are one tensor, (states, L*D, B, H).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from ..cells._layer import layer
from . import _dynamo, _run
from ._eager import _beyond_us, recorded
from ._kind import FormulaKind
from ._memory import array, optional, tensor
from ._run import Recorded
from ._through import derivatives_of
from ._weights import Net, follow_threads


def _given(x: Any, states: Any, lengths: Any, resets: Any) -> tuple[Any, Any, Any, Any]:
    if states is not None:
        parts = tuple(map(array, states.unbind(0)))
        states = parts if len(parts) > 1 else parts[0]
    return array(x), states, optional(lengths), optional(resets)


def _stacked(parts: Any) -> Any:
    return tensor(np.stack(parts if isinstance(parts, tuple) else (parts,)))


def forward(net: Net, x: Any, states: Any, lengths: Any, resets: Any) -> tuple[Any, Any]:
    """y and the final states, and nothing kept."""
    follow_threads()
    given = _given(x, states, lengths, resets)
    with _run._row(net):
        y, found = net.network.forward(*given)
    return tensor(y), _stacked(found)


def record(net: Net, x: Any, states: Any, lengths: Any, resets: Any) -> tuple[Any, Any, Any]:
    """y, the final states and the reserve."""
    follow_threads()
    given = _given(x, states, lengths, resets)
    with _run._row(net):
        y, found, tape = net.network.record(*given, None, None)
    return tensor(y), _stacked(found), _run._reserve(net, tape)


def go_back(run: Recorded, shape: Any, dy: Any, d_states: Any) -> tuple[Any, Any, Any]:
    """Gradients by all weights in a row, x and the states; `shape` is that of x."""
    follow_threads()
    net = run.net
    if dy is None:
        sides = net.kind.directions * net.sizes.hidden
        dy = np.zeros((*shape[:2], sides), net.dtype)
    else:
        dy = array(dy)
    if d_states is not None:
        parts = tuple(map(array, d_states.unbind(0)))
        d_states = parts if len(parts) > 1 else parts[0]
    with _run._row(net, "_backward"):
        flat, d_x, d_found = net.network.backward(run.tape, dy, d_states, None)
    return flat, tensor(d_x), _stacked(d_found)


class Formula(torch.autograd.Function):
    """A run of a network with a tape, in eager mode."""

    @staticmethod
    def forward(
        ctx: Any, net: Net, lengths: Any, resets: Any, x: Any, states: Any, *weights: Any
    ) -> Any:
        y, found, reserve = record(net, x, states, lengths, resets)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(reserve, lengths, resets, x, states, *weights)
        ctx.net = net
        return y, found

    @staticmethod
    def backward(ctx: Any, dy: Any, d_states: Any) -> Any:
        net, needs = ctx.net, ctx.needs_input_grad[3:]
        reserve, lengths, resets, x, states, *weights = ctx.saved_tensors
        if dy is None and d_states is None:
            found = [None] * len(needs)
        elif _beyond_us(dy, d_states):
            own = (x, states)
            found = derivatives(net.kind, own, weights, lengths, resets, (dy, d_states), needs)
        else:
            run = recorded(reserve, lambda: record(net, x, states, lengths, resets)[-1])
            flat, *own_d = go_back(run, x.shape, dy, d_states)
            found = [d if need else None for d, need in zip(own_d, needs, strict=False)]
            found += _run.split(net, flat, needs[2:])
        return None, None, None, *found


def derivatives(
    kind: FormulaKind,
    inputs: tuple[Any, Any],
    weights: Sequence[Any],
    lengths: Any,
    resets: Any,
    grads: tuple[Any, Any],
    needed: Sequence[bool],
) -> list[Any]:
    """Gradients by x, the states and the weights that can themselves be differentiated."""

    def run(x: Any, states: Any, *weights: Any) -> Any:
        return replay(kind, x, states, weights, lengths, resets)

    return derivatives_of(run, (*inputs, *weights), grads, needed)


@_dynamo.in_graph
def replay(
    kind: FormulaKind,
    x: Any,
    states: Any,
    weights: Sequence[Any],
    lengths: Any,
    resets: Any,
    dropout: float = 0.0,
) -> tuple[Any, Any]:
    """y and the final states by the formula on tensors: differentiable as often as one likes."""
    steps, batch, _ = x.shape
    units = kind.sizes(weights).hidden
    names, finals = kind.names, []
    if lengths is not None:
        time = torch.arange(steps, device=x.device)[:, None]
        within = time < lengths.to(x.device)
        resets = None if resets is None else resets & within
    for n in range(kind.layers):
        ys = []
        for side in range(kind.directions):
            cell = n * kind.directions + side
            own = weights[cell * len(names) : (cell + 1) * len(names)]
            project, step = layer(kind.cell, dict(zip(names, own, strict=True)))
            if states is None:
                now = tuple(x.new_zeros(batch, units) for _ in range(kind.states))
            else:
                now = states[:, cell].unbind(0)
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
            finals.append(torch.stack(now))
        x = torch.cat(ys, -1)
        if dropout and n + 1 < kind.layers:
            x = functional.dropout(x, dropout)
    return x, torch.stack(finals, 1)
