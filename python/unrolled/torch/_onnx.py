"""`unrolled::recurrent` in ONNX's operators, for ``torch.onnx.export(…, dynamo=True)``.

The exporter asks PyTorch's table of decompositions for what it has no translation of. So nothing
has to be passed to it, and a program that `torch.export` made long before can be handed to it too.
A layer becomes one LSTM, GRU or RNN node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._decomp import register_decomposition

from . import _path
from ._graph import by_direction, through_layers
from ._kind import GATES, Kind
from ._ops import _recurrent_fake, recurrent

# ONNX's gates by their place among PyTorch's: i f g o become i o f g, and r z n become z r n.
_ORDER = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
_OPERATORS = {
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {"linear_before_reset": 1}),
    "rnn_tanh": ("RNN", {}),
    "rnn_relu": ("RNN", {}),
}
_ACTIVATION = {"rnn_tanh": "Tanh", "rnn_relu": "Relu"}


def _reordered(kind: Kind, weight: Any) -> Any:
    order = _ORDER.get(kind.cell)
    if order is None:
        return weight
    gates = weight.chunk(GATES[kind.cell])
    return torch.cat([gates[i] for i in order])


def _node(
    kind: Kind, x: Any, h: Any, c: Any, parts: Sequence[Any], lengths: Any, direction: str
) -> tuple[Any, Any, Any]:
    """One ONNX operator on x (T, B, I): y (T, B, D * H), h and c (D, B, H).

    `parts` has w_ih, w_hh and, with a bias, b_ih and b_hh of each direction.
    """
    w, r, *biases = (
        torch.stack([_reordered(kind, weight) for weight in weights])
        for weights in zip(*parts, strict=True)
    )
    bias = torch.cat(biases, 1) if biases else None
    steps, batch, _ = x.shape
    count, _, hidden = r.shape
    operator, more = _OPERATORS[kind.cell]
    attributes: dict[str, Any] = {"hidden_size": hidden, "direction": direction, **more}
    if kind.cell in _ACTIVATION:
        attributes["activations"] = [_ACTIVATION[kind.cell]] * count
    if lengths is not None:
        lengths = lengths.to(torch.int32)
    states = [(count, batch, hidden)] * (1 + kind.has_c)
    y, *state = torch.onnx.ops.symbolic_multi_out(
        operator,
        [x, w, r, bias, lengths, h, c],
        attributes,
        dtypes=[x.dtype] * (1 + len(states)),
        shapes=[(steps, count, batch, hidden), *states],
    )
    return y.transpose(1, 2).flatten(2), state[0], state[1] if kind.has_c else None


def _one(kind: Kind) -> Any:
    """One layer and direction. ONNX has no projected LSTM: h is the projection P of what a plain
    one has as its state, whose recurrent weights are then w_hh P. The first step's w_hh h0 is no
    product with P and comes in beside x.
    """

    def one(x: Any, h: Any, c: Any, weights: Any, lengths: Any, reverse: bool) -> Any:
        direction = "reverse" if reverse else "forward"
        if not kind.projected:
            return _node(kind, x, h, c, [weights], lengths, direction)
        w, r, *biases, projection = weights
        if h is not None:
            first = _first(x, lengths, reverse)
            x = torch.cat([x, torch.where(first, h, torch.zeros_like(h))], 2)
            w = torch.cat([w, r], 1)
        parts = [(w, r @ projection, *biases)]
        y, h, c = _node(kind, x, None, c, parts, lengths, direction)
        return y @ projection.t(), h @ projection.t(), c

    return one


def _first(x: Any, lengths: Any, reverse: bool) -> Any:
    """(T, B or 1, 1): whether a step is the first one of the direction."""
    time = torch.arange(x.shape[0])[:, None, None]
    if not reverse:
        return time == 0
    return time == (x.shape[0] if lengths is None else lengths[:, None]) - 1


def _recurrent_onnx(
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
    if not _path.in_onnx_export():
        return NotImplemented
    kind = Kind(cell, layers, bidirectional, bias, projected)
    if projected or resets is not None:
        layer = by_direction(_one(kind), lengths, resets)
    else:
        direction = "bidirectional" if bidirectional else "forward"

        def layer(x: Any, h: Any, c: Any, parts: Any) -> Any:
            return _node(kind, x, h, c, parts, lengths, direction)

    y, h, c = through_layers(kind, x, h0, c0, weights, layer)
    reserve = torch.zeros(1, dtype=torch.uint8)
    return y, h, x.new_empty(0) if c is None else c, reserve


_operator = recurrent._opoverload
register_decomposition(_operator)(_recurrent_onnx)
# Otherwise fake tensors with symbolic sizes would take the decomposition for the operator's shapes.
register_decomposition(_operator, type="meta")(_recurrent_fake)
