"""The same as custom operators, for what traces: `torch.compile`, `torch.export`, dispatch modes.

`unrolled::recurrent` and `unrolled::recurrent_backward` work on (T, B, I) and know nothing of
modules. `cell` may be a formula's description. No states are zeros. `record` says whether to keep a
tape; the way back finds it if there is one.
"""

# Without postponed annotations: PyTorch makes the operators' schemas of them.

import sys
from typing import Any

import torch
from torch import Tensor

from . import _run
from ._eager import recorded
from ._kind import Kind
from ._memory import tensor
from ._through import derivatives
from ._weights import packed_loose


def _recurrent(
    x: Tensor,
    states: list[Tensor],
    weights: list[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    cell: str,
    layers: int,
    bidirectional: bool,
    bias: bool,
    projected: bool,
    record: bool,
) -> tuple[Tensor, list[Tensor], Tensor]:
    net = packed_loose(Kind(cell, layers, bidirectional, bias, projected), weights, x.dtype)
    given = x, states or None, lengths, resets
    if record:
        y, found, reserve = _run.record(net, *given)
    else:
        y, found = _run.forward(net, *given)
        reserve = torch.zeros(1, dtype=torch.uint8)
    return y, list(found), reserve


def _states(kind: Kind, x: Any, weights: Any) -> list[Any]:
    """As large as the states, or their gradients."""
    cells, batch = kind.layers * kind.directions, x.shape[1]
    return [x.new_empty(cells, batch, size) for size in kind.columns(kind.sizes(weights))]


def _recurrent_fake(
    x: Any,
    states: Any,
    weights: Any,
    lengths: Any,
    resets: Any,
    cell: str,
    layers: int,
    bidirectional: bool,
    bias: bool,
    projected: bool,
    record: bool,
) -> Any:
    _called_by_inductor()
    kind = Kind(cell, layers, bidirectional, bias, projected)
    steps, batch, _ = x.shape
    return (
        x.new_empty(steps, batch, kind.directions * kind.sizes(weights).state),
        _states(kind, x, weights),
        x.new_empty(1, dtype=torch.uint8),
    )


def _called_by_inductor() -> None:
    """TorchInductor calls operators it cannot lower. But in continuous integration (the variable
    CI) it refuses one that has a decomposition, as this one has for ONNX, unless it is listed.
    """
    lowering = sys.modules.get("torch._inductor.lowering")
    if lowering is not None:
        lowering.FALLBACK_ALLOW_LIST.add("unrolled::recurrent")


def _recurrent_backward(
    dy: Tensor | None,
    d_states: list[Tensor | None],
    reserve: Tensor,
    x: Tensor,
    states: list[Tensor],
    weights: list[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    cell: str,
    layers: int,
    bidirectional: bool,
    bias: bool,
    projected: bool,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """By all weights in a row, x and the states."""

    def again() -> Any:
        kind = Kind(cell, layers, bidirectional, bias, projected)
        net = packed_loose(kind, weights, x.dtype)
        return _run.record(net, x, states or None, lengths, resets)[-1]

    run = recorded(reserve, again)
    flat, d_x, found = _run.go_back(run, (x.shape[0], x.shape[1]), dy, d_states)
    return tensor(flat), tensor(d_x), [tensor(d) for d in found]


def _recurrent_backward_fake(
    dy: Any,
    d_states: Any,
    reserve: Any,
    x: Any,
    states: Any,
    weights: Any,
    lengths: Any,
    resets: Any,
    cell: str,
    layers: int,
    bidirectional: bool,
    bias: bool,
    projected: bool,
) -> Any:
    return (
        x.new_empty(sum(weight.numel() for weight in weights)),
        x.new_empty(x.shape),
        _states(Kind(cell, layers, bidirectional, bias, projected), x, weights),
    )


def _setup_context(ctx: Any, inputs: Any, output: Any) -> None:
    x, states, weights, lengths, resets, *kind, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[2], x, lengths, resets, *states, *weights)
    ctx.kind, ctx.states = Kind(*kind), len(states)


def _backward(ctx: Any, dy: Any, d_states: Any, _: Any) -> Any:
    kind, at = ctx.kind, ctx.states
    reserve, x, lengths, resets, *given = ctx.saved_tensors
    states, weights = given[:at], given[at:]
    if torch.is_grad_enabled():
        needs = [t.requires_grad for t in (x, *given)]
        grads = dy, *d_states
        found = derivatives(kind, x, states or None, weights, lengths, resets, grads, needs)
    else:
        flat, d_x, own = recurrent_backward(
            dy, d_states, reserve, x, states, weights, lengths, resets, *kind
        )
        parts = torch.split_with_sizes_copy(flat, [weight.numel() for weight in weights])
        found = [d_x, *own[:at]]
        found += [part.view(w.shape) for part, w in zip(parts, weights, strict=True)]
    return found[0], found[1 : 1 + at], found[1 + at :], *(None,) * 8


recurrent = torch.library.custom_op("unrolled::recurrent", _recurrent, mutates_args=())
recurrent.register_fake(_recurrent_fake)
recurrent.register_autograd(_backward, setup_context=_setup_context)
recurrent_backward = torch.library.custom_op(
    "unrolled::recurrent_backward", _recurrent_backward, mutates_args=()
)
recurrent_backward.register_fake(_recurrent_backward_fake)
