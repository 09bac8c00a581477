"""The same as custom operators, for what traces: `torch.compile`, `torch.export`, dispatch modes.

`unrolled::recurrent` and `unrolled::recurrent_backward` work on (T, B, I) and know nothing of
modules. `record` says whether to keep a tape; the way back finds it if there is one.
"""

# Without postponed annotations: PyTorch makes the operators' schemas of them.

from typing import Any

import torch
from torch import Tensor

from . import _run
from ._eager import recorded
from ._kind import Kind
from ._memory import optional, tensor
from ._through import derivatives
from ._weights import packed_loose


def _recurrent(
    x: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    weights: list[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    cell: str,
    layers: int,
    bidirectional: bool,
    bias: bool,
    projected: bool,
    record: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    kind = Kind(cell, layers, bidirectional, bias, projected)
    net = packed_loose(kind, weights, x.dtype)
    if record:
        y, h, c, reserve = _run.record(net, x, h0, c0, lengths, resets)
    else:
        y, h, c = _run.forward(net, x, h0, c0, lengths, resets)
        reserve = torch.zeros(1, dtype=torch.uint8)
    return y, h, x.new_empty(0) if c is None else c, reserve


def _recurrent_fake(
    x: Any,
    h0: Any,
    c0: Any,
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
    kind = Kind(cell, layers, bidirectional, bias, projected)
    sizes = kind.sizes(weights)
    steps, batch, _ = x.shape
    cells = layers * kind.directions
    return (
        x.new_empty(steps, batch, kind.directions * sizes.state),
        x.new_empty(cells, batch, sizes.state),
        x.new_empty(cells, batch, sizes.hidden) if kind.has_c else x.new_empty(0),
        x.new_empty(1, dtype=torch.uint8),
    )


def _recurrent_backward(
    dy: Tensor | None,
    dh: Tensor | None,
    dc: Tensor | None,
    reserve: Tensor,
    x: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    weights: list[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    cell: str,
    layers: int,
    bidirectional: bool,
    bias: bool,
    projected: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """By all weights in a row, x, h0 and c0."""
    kind = Kind(cell, layers, bidirectional, bias, projected)

    def again() -> Any:
        net = packed_loose(kind, weights, x.dtype)
        return _run.record(net, x, h0, c0, lengths, resets)[-1]

    grads = optional(dy), optional(dh), optional(dc) if kind.has_c else None
    flat, d_x, d_state = _run.go_back(recorded(reserve, again), x.shape[:2], grads)
    d_h, d_c = d_state if kind.has_c else (d_state, None)
    return tensor(flat), tensor(d_x), tensor(d_h), x.new_empty(0) if d_c is None else tensor(d_c)


def _recurrent_backward_fake(
    dy: Any,
    dh: Any,
    dc: Any,
    reserve: Any,
    x: Any,
    h0: Any,
    c0: Any,
    weights: Any,
    lengths: Any,
    resets: Any,
    cell: str,
    layers: int,
    bidirectional: bool,
    bias: bool,
    projected: bool,
) -> Any:
    kind = Kind(cell, layers, bidirectional, bias, projected)
    sizes = kind.sizes(weights)
    cells, batch = layers * kind.directions, x.shape[1]
    return (
        x.new_empty(sum(weight.numel() for weight in weights)),
        x.new_empty(x.shape),
        x.new_empty(cells, batch, sizes.state),
        x.new_empty(cells, batch, sizes.hidden) if kind.has_c else x.new_empty(0),
    )


def _setup_context(ctx: Any, inputs: Any, output: Any) -> None:
    x, h0, c0, weights, lengths, resets, *kind, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[3], x, h0, c0, lengths, resets, *weights)
    ctx.kind = Kind(*kind)


def _backward(ctx: Any, dy: Any, dh: Any, dc: Any, _: Any) -> Any:
    kind = ctx.kind
    reserve, x, h0, c0, lengths, resets, *weights = ctx.saved_tensors
    grads = dy, dh, dc if kind.has_c else None
    if torch.is_grad_enabled():
        needs = [t is not None and t.requires_grad for t in (x, h0, c0, *weights)]
        found = derivatives(kind, (x, h0, c0), weights, lengths, resets, grads, needs)
    else:
        flat, *own = recurrent_backward(*grads, reserve, x, h0, c0, weights, lengths, resets, *kind)
        present = (x, h0, c0)
        found = [g if t is not None else None for g, t in zip(own, present, strict=True)]
        parts = torch.split_with_sizes_copy(flat, [weight.numel() for weight in weights])
        found += [part.view(w.shape) for part, w in zip(parts, weights, strict=True)]
    return *found[:3], found[3:], *(None,) * 8


recurrent = torch.library.custom_op("unrolled::recurrent", _recurrent, mutates_args=())
recurrent.register_fake(_recurrent_fake)
recurrent.register_autograd(_backward, setup_context=_setup_context)
recurrent_backward = torch.library.custom_op(
    "unrolled::recurrent_backward", _recurrent_backward, mutates_args=()
)
recurrent_backward.register_fake(_recurrent_backward_fake)
