"""Autograd's part in eager mode: a `torch.autograd.Function`.

A custom operator (`_ops`) does the same with four times the overhead: some 100 µs a call, as much
as a short sequence takes. It is there for what traces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from . import _run
from ._run import Recorded
from ._through import derivatives
from ._weights import PLAIN, Net

functorch_level = torch._C._functorch.peek_interpreter_stack
# What `autograd.grad(is_grads_batched=True)` makes, which is no transform of torch.func.
_is_batched = torch._C._functorch.is_legacy_batchedtensor


def _beyond_us(*grads: Any) -> bool:
    """Whether a way back is to be differentiated, batched by vmap, or begins with odd tensors."""
    if torch.is_grad_enabled() or functorch_level() is not None:
        return True
    return any(
        g is not None and (type(g) not in PLAIN or _is_batched(g) or g.layout is not torch.strided)
        for g in grads
    )


def recorded(reserve: Any, again: Callable[[], Any]) -> Recorded:
    """What hangs on a reserve; if it has been lost, that of another run."""
    run = _run.recorded(reserve)
    if run is None:
        run = _run.recorded(again())
        assert run is not None
    return run


class Sequence(torch.autograd.Function):
    """A run of a network with a tape; `given` are the states, if there are any, and the weights."""

    @staticmethod
    def forward(ctx: Any, net: Net, lengths: Any, resets: Any, x: Any, *given: Any) -> Any:
        states = given[: len(given) - len(net.counts)] or None
        y, found, reserve = _run.record(net, x, states, lengths, resets)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(reserve, lengths, resets, x, *given)
        ctx.net = net
        return y, *found

    @staticmethod
    def backward(ctx: Any, dy: Any, *d_states: Any) -> Any:
        net = ctx.net
        needs = ctx.needs_input_grad[3:]
        reserve, lengths, resets, x, *given = ctx.saved_tensors
        at = len(given) - len(net.counts)
        states, weights = given[:at] or None, given[at:]
        grads = dy, *d_states
        if dy is None and all(d is None for d in d_states):
            found = [None] * len(needs)
        elif _beyond_us(*grads):
            found = derivatives(net.kind, x, states, weights, lengths, resets, grads, needs)
        else:
            run = recorded(reserve, lambda: _run.record(net, x, states, lengths, resets)[-1])
            found = _run.backward(run, x.shape[:2], dy, d_states, needs)
        return None, None, None, *found
