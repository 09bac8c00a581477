"""Autograd's part in eager mode: a `torch.autograd.Function` each for sequences and for one step.

A custom operator (`_ops`) does the same with four times the overhead: some 100 µs a call, as much
as a short sequence takes. It is there for what traces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from . import _run
from ._run import Recorded, optional
from ._through import derivatives
from ._weights import PLAIN, Net, array

functorch_level = torch._C._functorch.peek_interpreter_stack
# What `autograd.grad(is_grads_batched=True)` makes, which is no transform of torch.func.
_is_batched = torch._C._functorch.is_legacy_batchedtensor


def _beyond_us(*grads: Any) -> bool:
    """Whether a way back is itself to be differentiated, or batched by vmap."""
    if torch.is_grad_enabled() or functorch_level() is not None:
        return True
    return any(g is not None and (type(g) not in PLAIN or _is_batched(g)) for g in grads)


def recorded(reserve: Any, again: Callable[[], Any]) -> Recorded:
    """What hangs on a reserve; if it has been lost, that of another run."""
    run = _run.recorded(reserve)
    if run is None:
        run = _run.recorded(again())
        assert run is not None
    return run


class Sequence(torch.autograd.Function):
    """A run of a network with a tape."""

    @staticmethod
    def forward(
        ctx: Any, net: Net, lengths: Any, resets: Any, x: Any, h0: Any, c0: Any, *weights: Any
    ) -> Any:
        y, h, c, reserve = _run.record(net, x, h0, c0, lengths, resets)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(reserve, lengths, resets, x, h0, c0, *weights)
        ctx.net = net
        return (y, h, c) if net.kind.has_c else (y, h)

    @staticmethod
    def backward(ctx: Any, dy: Any, dh: Any, dc: Any = None) -> Any:
        net = ctx.net
        needs = ctx.needs_input_grad[3:]
        reserve, lengths, resets, x, h0, c0, *weights = ctx.saved_tensors
        grads = dy, dh, dc
        if dy is None and dh is None and dc is None:
            found = [None] * len(needs)
        elif _beyond_us(*grads):
            own = (x, h0, c0)
            found = derivatives(net.kind, own, weights, lengths, resets, grads, needs)
        else:
            run = recorded(reserve, lambda: _run.record(net, x, h0, c0, lengths, resets)[-1])
            arrays = optional(dy), optional(dh), optional(dc)
            found = _run.backward(run, x.shape[:2], arrays, needs)
        return None, None, None, *found


class Step(torch.autograd.Function):
    """One step of one cell: x (B, I), states (B, H)."""

    @staticmethod
    def forward(ctx: Any, net: Net, x: Any, h0: Any, c0: Any, *weights: Any) -> Any:
        h, c, reserve = _run.record_step(net, x, h0, c0)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(reserve, x, h0, c0, *weights)
        ctx.net = net
        return (h, c) if net.kind.has_c else h

    @staticmethod
    def backward(ctx: Any, dh: Any, dc: Any = None) -> Any:
        net = ctx.net
        needs = ctx.needs_input_grad[1:]
        reserve, x, h0, c0, *weights = ctx.saved_tensors
        if dh is None and dc is None:
            return None, *(None for _ in needs)
        # The one output is also the final state: its derivative is given once, as that of y.
        if _beyond_us(dh, dc):
            x, h0, c0 = (None if t is None else t.unsqueeze(0) for t in (x, h0, c0))
            dy, dc = (None if g is None else g.unsqueeze(0) for g in (dh, dc))
            found = derivatives(net.kind, (x, h0, c0), weights, None, None, (dy, None, dc), needs)
        else:
            run = recorded(reserve, lambda: _run.record_step(net, x, h0, c0)[-1])
            dy, dc = (None if g is None else array(g)[None] for g in (dh, dc))
            found = _run.backward(run, (1, x.shape[0]), (dy, None, dc), needs)
        found[:3] = [None if g is None else g.squeeze(0) for g in found[:3]]
        return None, *found
