"""`unrolled::recurrent` in ONNX's operators, for ``torch.onnx.export(…, dynamo=True)``.

The exporter asks PyTorch's table of decompositions for what it has no translation of. So nothing
has to be passed to it, and a program that `torch.export` made long before can be handed to it too.
A layer becomes one LSTM, GRU or RNN node; one of a formula, the operators of its steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch._decomp import register_decomposition

from . import _path
from ._formula import replay
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
    units = weight.shape[0] // GATES[kind.cell]
    # Slices, which the exporter folds into constants; it does not fold what `chunk` becomes.
    return torch.cat([weight[i * units : (i + 1) * units] for i in order])


def _node(
    kind: Kind, x: Any, states: Any, parts: Sequence[Any], lengths: Any, direction: str
) -> tuple[Any, Any]:
    """One ONNX operator on x (T, B, I): y (T, B, D * H), the states (D, B, H).

    `states` are all that the cell has, each perhaps None. `parts` has w_ih, w_hh and, with a bias,
    b_ih and b_hh of each direction.
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
    shapes = [(count, batch, hidden)] * kind.traits.states
    y, *found = torch.onnx.ops.symbolic_multi_out(
        operator,
        [x, w, r, bias, lengths, *(states or [None] * len(shapes))],
        attributes,
        dtypes=[x.dtype] * (1 + len(shapes)),
        shapes=[(steps, count, batch, hidden), *shapes],
    )
    return y.transpose(1, 2).flatten(2), found


def _one(kind: Kind) -> Any:
    """One layer and direction. ONNX has no projected LSTM: h is the projection P of what a plain
    one has as its state, whose recurrent weights are then w_hh P. The first step's w_hh h0 is no
    product with P and comes in beside x.
    """

    def one(x: Any, states: Any, weights: Any, lengths: Any, reverse: bool) -> Any:
        direction = "reverse" if reverse else "forward"
        if not kind.projected:
            return _node(kind, x, states, [weights], lengths, direction)
        w, r, *biases, projection = weights
        if states is not None:
            h, c = states
            first = _first(x, lengths, reverse)
            x = torch.cat([x, torch.where(first, h, torch.zeros_like(h))], 2)
            w = torch.cat([w, r], 1)
            states = None, c
        parts = [(w, r @ projection, *biases)]
        y, (h, c) = _node(kind, x, states, parts, lengths, direction)
        return y @ projection.t(), [h @ projection.t(), c]

    return one


def _first(x: Any, lengths: Any, reverse: bool) -> Any:
    """(T, B or 1, 1): whether a step is the first one of the direction."""
    time = torch.arange(x.shape[0])[:, None, None]
    if not reverse:
        return time == 0
    return time == (x.shape[0] if lengths is None else lengths[:, None]) - 1


def _recurrent_onnx(
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
    if not _path.in_onnx_export():
        return NotImplemented
    kind = Kind(cell, layers, bidirectional, bias, projected)
    states = states or None
    if kind.traits.formula is not None:
        # ONNX knows the functions of formulas, but no formula: step by step.
        y, found = replay(kind, x, states, weights, lengths, resets)
    else:
        if projected or resets is not None:
            layer = by_direction(_one(kind), lengths, resets)
        else:
            direction = "bidirectional" if bidirectional else "forward"

            def layer(x: Any, states: Any, parts: Any) -> Any:
                return _node(kind, x, states, parts, lengths, direction)

        y, found = through_layers(kind, x, states, weights, layer)
    return y, list(found), torch.zeros(1, dtype=torch.uint8)


_operator = recurrent._opoverload
register_decomposition(_operator)(_recurrent_onnx)
# Otherwise fake tensors with symbolic sizes would take the decomposition for the operator's shapes.
register_decomposition(_operator, type="meta")(_recurrent_fake)
