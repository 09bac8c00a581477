"""Autograd's part in eager mode: a `torch.autograd.Function` each for sequences and for one step.

A custom operator (`_ops`) does the same with four times the overhead: some 100 µs a call, as much
as a short sequence takes. It is there for what traces.
"""

from __future__ import annotations

from typing import Any

import torch

from . import _run
from ._kind import Kind
from ._run import Recorded
from ._through import derivatives
from ._weights import PLAIN

functorch_level = torch._C._functorch.peek_interpreter_stack
# What `autograd.grad(is_grads_batched=True)` makes, which is no transform of torch.func.
_is_batched = torch._C._functorch.is_legacy_batchedtensor


def _beyond_us(*grads: Any) -> bool:
    """Whether a way back is itself to be differentiated, or batched by vmap."""
    if torch.is_grad_enabled() or functorch_level() is not None:
        return True
    return any(g is not None and (type(g) not in PLAIN or _is_batched(g)) for g in grads)


class Sequence(torch.autograd.Function):
    """A run of a network with a tape."""

    @staticmethod
    def forward(
        ctx: Any,
        kind: Kind,
        network: Any,
        lengths: Any,
        resets: Any,
        x: Any,
        h0: Any,
        c0: Any,
        *weights: Any,
    ) -> Any:
        y, h, c, reserve = _run.record(network, x, h0, c0, lengths, resets)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(reserve, lengths, resets, x, h0, c0, *weights)
        ctx.run = kind, network
        return (y, h, c) if kind.has_c else (y, h)

    @staticmethod
    def backward(ctx: Any, dy: Any, dh: Any, dc: Any = None) -> Any:
        kind, network = ctx.run
        needs = ctx.needs_input_grad[4:]
        reserve, lengths, resets, x, h0, c0, *weights = ctx.saved_tensors
        grads = dy, dh, dc
        unasked = (None,) * 4
        if _beyond_us(*grads):
            own = (x, h0, c0)
            return *unasked, *derivatives(kind, own, weights, lengths, resets, grads, needs)
        run = _run.recorded(reserve)
        if run is None:
            *_, reserve = _run.record(network, x, h0, c0, lengths, resets)
            run = _run.recorded(reserve)
            assert run is not None
        return *unasked, *_gradients(kind, run, x, weights, grads, needs)


def _gradients(
    kind: Kind, run: Recorded, x: Any, weights: Any, grads: Any, needs: Any
) -> list[Any]:
    """By x, h0, c0 and each weight; None where it is not needed."""
    sizes = kind.sizes(weights)
    flat, d_x, d_h, d_c = _run.backward(kind, run, x, sizes.state, sizes.hidden, grads)
    found = [d_x, d_h, d_c, *_run.split(flat, weights)]
    return [gradient if need else None for gradient, need in zip(found, needs, strict=True)]


class Step(torch.autograd.Function):
    """One step of one cell: x (B, I), states (B, H)."""

    @staticmethod
    def forward(ctx: Any, kind: Kind, network: Any, x: Any, h0: Any, c0: Any, *weights: Any) -> Any:
        h, c, reserve = _run.record_step(network, x, h0, c0)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(reserve, x, h0, c0, *weights)
        ctx.run = kind, network
        return (h, c) if kind.has_c else h

    @staticmethod
    def backward(ctx: Any, dh: Any, dc: Any = None) -> Any:
        kind, network = ctx.run
        needs = ctx.needs_input_grad[2:]
        reserve, *own = ctx.saved_tensors
        x, h0, c0 = (None if t is None else t.unsqueeze(0) for t in own[:3])
        weights = own[3:]
        dy = None if dh is None else dh.unsqueeze(0)
        # The one output is also the final state: its derivative is given once.
        grads = dy, None, None if dc is None else dc.unsqueeze(0)
        if _beyond_us(dh, dc):
            found = derivatives(kind, (x, h0, c0), weights, None, None, grads, needs)
        else:
            run = _run.recorded(reserve)
            if run is None:
                *_, reserve = _run.record(network, x, h0, c0, None, None)
                run = _run.recorded(reserve)
                assert run is not None
            found = _gradients(kind, run, x, weights, grads, needs)
        found[:3] = [None if g is None else g.squeeze(0) for g in found[:3]]
        return None, None, *found
