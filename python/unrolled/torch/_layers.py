"""What our modules over sequences share, whatever their cell: from a call to the kernels."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import _VF, nn
from torch._compile import _disable_dynamo
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from . import _ops, _path, _run
from ._eager import Sequence
from ._kind import Kind
from ._weights import Packed, packed

PACKED = "_unrolled_packed"


class Call(NamedTuple):
    """A call's arguments as the kernels take them: (T, B, I), in the order of a packed x's rows."""

    x: Any
    # A tuple, or None for zeros.
    states: Any
    lengths: Any
    resets: Any


class Layers(nn.Module):
    """A module of layers with PyTorch's names of options."""

    batch_first: bool
    dropout: float
    hidden_size: int

    def _kind(self) -> Kind:
        raise NotImplementedError

    def _weights(self) -> list[Any]:
        raise NotImplementedError

    def _replicate_for_data_parallel(self) -> Any:
        replica = super()._replicate_for_data_parallel()
        replica.__dict__.pop(PACKED, None)
        return replica

    def _several(self, hx: Any) -> Any:
        """The states of a call as a tuple."""
        raise NotImplementedError

    def _arguments(self, input: Any, hx: Any, resets: Any) -> Call:
        states = None if hx is None else self._several(hx)
        if isinstance(input, PackedSequence):
            return _unpacked(input, states, resets)
        if input.dim() == 2:
            if states is not None:
                states = tuple([s.unsqueeze(1) for s in states])
            if resets is not None:
                resets = _checked(resets, input.shape[:1], "(T,)").unsqueeze(1)
            return Call(input.unsqueeze(1), states, None, resets)
        axes = "(B, T)" if self.batch_first else "(T, B)"
        if resets is not None:
            resets = _checked(resets, input.shape[:2], axes)
        if self.batch_first:
            input = input.transpose(0, 1)
            resets = None if resets is None else resets.transpose(0, 1)
        return Call(input, states, None, resets)

    def _result(self, input: Any, y: Any, states: Any, lengths: Any) -> Any:
        """What `forward` returns, out of y (T, B, …)."""
        if isinstance(input, PackedSequence):
            _, sizes, order, back = input
            y = PackedSequence(_pack(y, lengths, sizes), sizes, order, back)
            if back is not None:
                states = [s.index_select(1, back) for s in states]
        elif input.dim() == 2:
            y, states = y.squeeze(1), [s.squeeze(1) for s in states]
        elif self.batch_first:
            y = y.transpose(0, 1)
        return y, tuple(states) if len(states) > 1 else states[0]

    def _ours(self, input: Any, hx: Any, resets: Any) -> Any:
        weights = self._weights()
        call = self._arguments(input, hx, resets)
        kind = self._kind()
        if not (self.training and self.dropout and kind.layers > 1):
            y, states = self._stack(0, kind, call, weights)
            return self._result(input, y, states, call.lengths)
        # Dropout draws PyTorch's numbers between layers, so that a seed means what it means there.
        own, cells = kind.layer(), kind.directions
        per_layer = len(weights) // kind.layers
        finals = []
        for layer in range(kind.layers):
            at = slice(layer * cells, (layer + 1) * cells)
            given = None if call.states is None else tuple([s[at] for s in call.states])
            some = weights[layer * per_layer : (layer + 1) * per_layer]
            y, final = self._stack(1 + layer, own, call._replace(states=given), some)
            finals.append(final)
            if layer + 1 < kind.layers:
                call = call._replace(x=self._dropped(input, y, call.lengths))
        states = [torch.cat(parts) for parts in zip(*finals, strict=True)]
        return self._result(input, y, states, call.lengths)

    def _dropped(self, input: Any, y: Any, lengths: Any) -> Any:
        """Dropout draws for each number in memory, so for packed ones where they are packed."""
        if not isinstance(input, PackedSequence):
            return functional.dropout(y, self.dropout)
        data = functional.dropout(_pack(y, lengths, input.batch_sizes), self.dropout)
        return _VF._pad_packed_sequence(data, input.batch_sizes, False, 0.0, y.shape[0])[0]

    def _stack(self, slot: int, kind: Kind, call: Call, weights: list[Any]) -> tuple[Any, Any]:
        """Layers with nothing between them: y and the states."""
        x, states, lengths, resets = call
        inputs = (x,) if states is None else (x, *states)
        grad = _path.differentiated(inputs, weights)
        if _path.traced(x):
            _path.fit(x, weights)
            given = (x, list(inputs[1:]), weights, lengths, resets)
            y, found, _ = _ops.recurrent(*given, *kind, grad)
            return y, found
        cache: dict[int, Packed] = self.__dict__.setdefault(PACKED, {})
        net = packed(cache, slot, kind, weights, self.hidden_size, x.dtype)
        if not grad:
            return _run.forward(net, x, states, lengths, resets)
        y, *found = Sequence.apply(net, lengths, resets, *inputs, *weights)
        return y, found


@_disable_dynamo
def untraced(module: nn.Module, *arguments: Any) -> Any:
    return module.forward(*arguments)


def _checked(resets: Any, shape: Any, axes: str) -> Any:
    if not isinstance(resets, torch.Tensor):
        raise TypeError(f"resets: expected a bool tensor, got {type(resets).__name__}")
    if resets.dtype is not torch.bool:
        raise TypeError(f"resets: expected a bool tensor, got one of {resets.dtype}")
    if resets.shape != shape:
        expected, got = tuple(shape), tuple(resets.shape)
        raise ValueError(f"resets: expected shape {axes} = {expected}, got {got}")
    return resets


def _unpacked(input: Any, states: Any, resets: Any) -> Call:
    """A packed sequence padded, its rows as they are sorted."""
    data, sizes, order, _ = input
    x, lengths = _VF._pad_packed_sequence(data, sizes, False, 0.0, len(sizes))
    if resets is not None:
        if not isinstance(resets, PackedSequence) or not torch.equal(resets.batch_sizes, sizes):
            raise TypeError("resets: expected a PackedSequence of bools, packed as the input is")
        marks = _checked(resets.data, data.shape[:1], "(sum of lengths,)")
        marks = _VF._pad_packed_sequence(marks[:, None], sizes, False, 0.0, len(sizes))
        resets = marks[0].squeeze(2)
    if order is not None and states is not None:
        states = tuple([s.index_select(1, order) for s in states])
    return Call(x, states, lengths, resets)


def _pack(y: Any, lengths: Any, sizes: Any) -> Any:
    return _VF._pack_padded_sequence(y, lengths, False)[0]
