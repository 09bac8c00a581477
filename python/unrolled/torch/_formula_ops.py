"""Formulas as custom operators, for what traces: as `_ops` has LSTM, GRU and RNN."""

# Without postponed annotations: PyTorch makes the operators' schemas of them.

from typing import Any

import torch
from torch import Tensor
from torch._decomp import register_decomposition

from . import _formula, _path
from ._eager import recorded
from ._kind import FormulaKind
from ._memory import tensor
from ._weights import packed_loose


def _formula_run(
    x: Tensor,
    states: Tensor | None,
    weights: list[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    formula: str,
    layers: int,
    bidirectional: bool,
    bias: bool,
    record: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    net = packed_loose(FormulaKind(formula, layers, bidirectional, bias), weights, x.dtype)
    if record:
        return _formula.record(net, x, states, lengths, resets)
    reserve = torch.zeros(1, dtype=torch.uint8)
    return *_formula.forward(net, x, states, lengths, resets), reserve


def _formula_fake(
    x: Any,
    states: Any,
    weights: Any,
    lengths: Any,
    resets: Any,
    formula: str,
    layers: int,
    bidirectional: bool,
    bias: bool,
    record: bool,
) -> Any:
    kind = FormulaKind(formula, layers, bidirectional, bias)
    steps, batch, _ = x.shape
    units, sides = kind.sizes(weights).hidden, kind.directions
    return (
        x.new_empty(steps, batch, sides * units),
        x.new_empty(kind.states, layers * sides, batch, units),
        x.new_empty(1, dtype=torch.uint8),
    )


def _formula_backward(
    dy: Tensor | None,
    d_states: Tensor | None,
    reserve: Tensor,
    x: Tensor,
    states: Tensor | None,
    weights: list[Tensor],
    lengths: Tensor | None,
    resets: Tensor | None,
    formula: str,
    layers: int,
    bidirectional: bool,
    bias: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """By all weights in a row, x and the states."""

    def again() -> Any:
        net = packed_loose(FormulaKind(formula, layers, bidirectional, bias), weights, x.dtype)
        return _formula.record(net, x, states, lengths, resets)[-1]

    flat, d_x, d_found = _formula.go_back(recorded(reserve, again), x.shape, dy, d_states)
    return tensor(flat), d_x, d_found


def _formula_backward_fake(
    dy: Any,
    d_states: Any,
    reserve: Any,
    x: Any,
    states: Any,
    weights: Any,
    lengths: Any,
    resets: Any,
    formula: str,
    layers: int,
    bidirectional: bool,
    bias: bool,
) -> Any:
    kind = FormulaKind(formula, layers, bidirectional, bias)
    cells = layers * kind.directions
    return (
        x.new_empty(sum(weight.numel() for weight in weights)),
        x.new_empty(x.shape),
        x.new_empty(kind.states, cells, x.shape[1], kind.sizes(weights).hidden),
    )


def _setup_context(ctx: Any, inputs: Any, output: Any) -> None:
    x, states, weights, lengths, resets, *kind, _ = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[2], x, states, lengths, resets, *weights)
    ctx.kind = FormulaKind(*kind)


def _backward(ctx: Any, dy: Any, d_states: Any, _: Any) -> Any:
    kind = ctx.kind
    reserve, x, states, lengths, resets, *weights = ctx.saved_tensors
    grads = dy, d_states
    if torch.is_grad_enabled():
        needs = [t is not None and t.requires_grad for t in (x, states, *weights)]
        own = (x, states)
        found = _formula.derivatives(kind, own, weights, lengths, resets, grads, needs)
    else:
        given = (reserve, x, states, weights, lengths, resets, *kind)
        flat, d_x, d_found = formula_backward(*grads, *given)
        parts = torch.split_with_sizes_copy(flat, [weight.numel() for weight in weights])
        found = [d_x, None if states is None else d_found]
        found += [part.view(w.shape) for part, w in zip(parts, weights, strict=True)]
    return *found[:2], found[2:], *(None,) * 7


formula = torch.library.custom_op("unrolled::formula", _formula_run, mutates_args=())
formula.register_fake(_formula_fake)
formula.register_autograd(_backward, setup_context=_setup_context)
formula_backward = torch.library.custom_op(
    "unrolled::formula_backward", _formula_backward, mutates_args=()
)
formula_backward.register_fake(_formula_backward_fake)


def _in_onnx(
    x: Any,
    states: Any,
    weights: Any,
    lengths: Any,
    resets: Any,
    formula: str,
    layers: int,
    bidirectional: bool,
    bias: bool,
    record: bool,
) -> Any:
    """For an ONNX export, which knows the functions of formulas but no formula: step by step."""
    if not _path.in_onnx_export():
        return NotImplemented
    kind = FormulaKind(formula, layers, bidirectional, bias)
    found = _formula.replay(kind, x, states, weights, lengths, resets)
    return *found, torch.zeros(1, dtype=torch.uint8)


register_decomposition(formula._opoverload)(_in_onnx)
# Otherwise fake tensors with symbolic sizes would take the decomposition for the operator's shapes.
register_decomposition(formula._opoverload, type="meta")(_formula_fake)
