"""LSTM, GRU and RNN over sequences."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import _VF, nn
from torch._compile import _disable_dynamo
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from . import _dynamo, _fx, _ops, _path, _run
from ._eager import Sequence
from ._graph import through_graph
from ._kind import GATES, Kind
from ._memory import Unfit
from ._through import composed, through_torch
from ._weights import Packed, packed

_PACKED = "_unrolled_packed"
# Steps from which we are quicker where the weights are more than a few numbers.
_LEAST_STEPS = {"GRU": 4, "RNN_TANH": 8, "RNN_RELU": 8}
_FEW = 65_536


class Call(NamedTuple):
    """A call's arguments as the kernels take them: (T, B, I), in the order of a packed x's rows."""

    x: Any
    h0: Any
    c0: Any
    lengths: Any
    resets: Any


class RecurrentLayer(nn.RNNBase):
    """What our LSTM, GRU and RNN add to PyTorch's."""

    _quicker = "it is quicker in so few steps of so many weights"

    def forward(self, input: Any, hx: Any = None, resets: Any = None) -> Any:
        """As PyTorch's, with `resets`.

        Parameters
        ----------
        input : tensor (T, B, I), (B, T, I) if `batch_first`, or (T, I); or PackedSequence
        hx : tensor (L*D, B, H), for an LSTM a tuple (h, c); without a batch no B axis, optional
        resets : bool tensor, (T, B) ordered as `input`; or PackedSequence of bools, optional
            Where True, an episode begins: the state is zero just before that step, and no gradient
            crosses. In the reverse direction the cut lies between the same two steps.

        Returns
        -------
        output, hx
            As PyTorch's.
        """
        if isinstance(input, PackedSequence) and torch.compiler.is_dynamo_compiling():
            # Its sizes are numbers in a tensor, on which a graph cannot depend.
            return _untraced(self, input, hx, resets)
        if _path.watcher is not None:
            _path.watcher(self, input, hx, resets)
        if resets is None and self._quicker_by_torch(input):
            return super().forward(input, hx)
        reason = self._reason(input, hx)
        if reason is None:
            try:
                return self._ours(input, hx, resets)
            except Unfit as unfit:
                reason = str(unfit)
        return self._theirs(input, hx, resets, reason)

    __prepare_scriptable__ = _path.not_scriptable

    def flatten_parameters(self) -> None:
        """As PyTorch's; and the kernels' copies of the weights are let go."""
        self.__dict__.pop(_PACKED, None)
        super().flatten_parameters()

    def __getstate__(self) -> Any:
        state = super().__getstate__()
        state.pop(_PACKED, None)
        return state

    def _replicate_for_data_parallel(self) -> Any:
        replica = super()._replicate_for_data_parallel()
        replica.__dict__.pop(_PACKED, None)
        return replica

    def _kind(self) -> Kind:
        layers, both = self.num_layers, self.bidirectional
        return Kind(self.mode.lower(), layers, both, self.bias, self.proj_size > 0)

    def _weights(self) -> list[Any]:
        own = self._parameters
        try:
            return [own[name] for name in self._flat_weights_names]
        except KeyError:  # pruned, parametrised: attributes, that is
            return [getattr(self, name) for name in self._flat_weights_names]

    def _shapes(self, batch: int) -> tuple[tuple[int, ...], ...]:
        """Of h0, and of c0 if there is one."""
        cells = self.num_layers * (2 if self.bidirectional else 1)
        h = (cells, batch, self.proj_size or self.hidden_size)
        return (h, (cells, batch, self.hidden_size)) if self.mode == "LSTM" else (h,)

    def _reason(self, input: Any, hx: Any) -> str | None:
        """Why PyTorch has to compute; None if the kernels can, as far as the weights let them."""
        packed_input = isinstance(input, PackedSequence)
        x = input[0] if packed_input else input
        if not isinstance(x, torch.Tensor):
            return f"x is a {type(x).__name__}"
        found = _path.surroundings()
        if found is None:
            found = _path.tensor("x", x)
        if found is not None:
            return found
        shape = x.shape
        if packed_input:
            if len(shape) != 2 or input.batch_sizes.dim() != 1:
                return "the packed sequence is not one of vectors"
            batch = int(input.batch_sizes[0])
        elif len(shape) == 3:
            batch = shape[0 if self.batch_first else 1]
        elif len(shape) == 2:
            batch = 1
        else:
            return f"x has {len(shape)} dimensions"
        if shape[-1] != self.input_size:
            return f"x has {shape[-1]} features, not {self.input_size}"
        if 0 in shape:
            return "x is empty"
        if hx is None:
            return None
        given = hx
        if self.mode != "LSTM":
            given = (hx,)
        elif not isinstance(hx, (tuple, list)) or len(hx) != 2:
            return "the states are not a pair"
        shapes = self._shapes(batch)
        if len(x.shape) == 2 and not packed_input:
            shapes = tuple((s[0], s[2]) for s in shapes)
        return _path.states(x, given, shapes)

    def _quicker_by_torch(self, input: Any) -> bool:
        """Whether so few steps of so many weights make reading the weights all there is to do.

        PyTorch reads them once a step; we once to compare them and once to compute. (Its LSTM does
        more than that.) As measured by `benches/torch_dropin.py`.
        """
        least = _LEAST_STEPS.get(self.mode)
        if least is None or not isinstance(input, torch.Tensor) or input.dim() < 2:
            return False
        units, both = self.hidden_size, 2 if self.bidirectional else 1
        columns = self.input_size + units + (self.num_layers - 1) * (both + 1) * units
        if GATES[self.mode.lower()] * units * both * columns <= _FEW:
            return False
        if _path.traced(input) or _path.recorded():
            return False
        steps: int = input.shape[1 if self.batch_first and input.dim() == 3 else 0]
        return steps < least

    def _arguments(self, input: Any, hx: Any, resets: Any) -> Call:
        h0, c0 = (hx if self.mode == "LSTM" else (hx, None)) if hx is not None else (None, None)
        if isinstance(input, PackedSequence):
            return _unpacked(input, h0, c0, resets)
        if input.dim() == 2:
            h0, c0 = (None if s is None else s.unsqueeze(1) for s in (h0, c0))
            if resets is not None:
                resets = _checked(resets, input.shape[:1], "(T,)").unsqueeze(1)
            return Call(input.unsqueeze(1), h0, c0, None, resets)
        axes = "(B, T)" if self.batch_first else "(T, B)"
        if resets is not None:
            resets = _checked(resets, input.shape[:2], axes)
        if self.batch_first:
            input = input.transpose(0, 1)
            resets = None if resets is None else resets.transpose(0, 1)
        return Call(input, h0, c0, None, resets)

    def _result(self, input: Any, y: Any, h: Any, c: Any, lengths: Any) -> Any:
        """What `forward` returns, out of y (T, B, …)."""
        if isinstance(input, PackedSequence):
            _, sizes, order, back = input
            y = PackedSequence(_pack(y, lengths, sizes), sizes, order, back)
            if back is not None:
                h, c = (None if s is None else s.index_select(1, back) for s in (h, c))
        elif input.dim() == 2:
            y = y.squeeze(1)
            h, c = (None if s is None else s.squeeze(1) for s in (h, c))
        elif self.batch_first:
            y = y.transpose(0, 1)
        return y, (h if c is None else (h, c))

    def _ours(self, input: Any, hx: Any, resets: Any) -> Any:
        weights = self._weights()
        call = self._arguments(input, hx, resets)
        kind = self._kind()
        if not (self.training and self.dropout and kind.layers > 1):
            y, h, c = self._stack(0, kind, call, weights)
            return self._result(input, y, h, c, call.lengths)
        # Dropout draws PyTorch's numbers between layers, so that a seed means what it means there.
        own, cells = kind.layer(), kind.directions
        per_layer = cells * kind.per_direction
        finals = []
        for layer in range(kind.layers):
            at = slice(layer * cells, (layer + 1) * cells)
            h0, c0 = (None if s is None else s[at] for s in (call.h0, call.c0))
            some = weights[layer * per_layer : (layer + 1) * per_layer]
            y, *final = self._stack(1 + layer, own, call._replace(h0=h0, c0=c0), some)
            finals.append(final)
            if layer + 1 < kind.layers:
                call = call._replace(x=self._dropped(input, y, call.lengths))
        h, c = (
            None if parts[0] is None else torch.cat(parts) for parts in zip(*finals, strict=True)
        )
        return self._result(input, y, h, c, call.lengths)

    def _dropped(self, input: Any, y: Any, lengths: Any) -> Any:
        """Dropout draws for each number in memory, so for packed ones where they are packed."""
        if not isinstance(input, PackedSequence):
            return functional.dropout(y, self.dropout)
        data = functional.dropout(_pack(y, lengths, input.batch_sizes), self.dropout)
        return _VF._pad_packed_sequence(data, input.batch_sizes, False, 0.0, y.shape[0])[0]

    def _stack(self, slot: int, kind: Kind, call: Call, weights: list[Any]) -> tuple[Any, Any, Any]:
        """Layers with nothing between them."""
        x, h0, c0, lengths, resets = call
        grad = _path.differentiated((x, h0, c0), weights)
        if _path.traced(x):
            _path.fit(x, weights)
            y, h, c, _ = _ops.recurrent(x, h0, c0, weights, lengths, resets, *kind, grad)
            return y, h, c if kind.has_c else None
        cache: dict[int, Packed] = self.__dict__.setdefault(_PACKED, {})
        net = packed(cache, slot, kind, weights, self.hidden_size, x.dtype)
        if not grad:
            return _run.forward(net, x, h0, c0, lengths, resets)
        y, h, *c = Sequence.apply(net, lengths, resets, x, h0, c0, *weights)
        return y, h, c[0] if c else None

    def _theirs(self, input: Any, hx: Any, resets: Any, reason: str) -> Any:
        node = _fx.node(self, input, hx, resets)
        if node is not None:
            return node
        if reason in _path.TRANSFORMS:
            with composed():
                return self._by_torch(input, hx, resets)
        return self._by_torch(input, hx, resets)

    def _by_torch(self, input: Any, hx: Any, resets: Any) -> Any:
        if resets is None:
            return super().forward(input, hx)
        x = input[0] if isinstance(input, PackedSequence) else input
        shape = x.shape
        if 0 in shape or len(shape) not in (2, 3) or shape[-1] != self.input_size:
            # For PyTorch to say what is wrong, or that nothing is.
            return super().forward(input, hx)
        call = self._arguments(input, hx, resets)
        dropout = self.dropout if self.training else 0.0
        through = through_graph if _path.recorded() else through_torch
        y, h, c = through(
            self._kind(), call.x, call.h0, call.c0, self._weights(), *call[3:], dropout
        )
        return self._result(input, y, h, c, call.lengths)


@_disable_dynamo
def _untraced(module: nn.Module, *arguments: Any) -> Any:
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


def _unpacked(input: Any, h0: Any, c0: Any, resets: Any) -> Call:
    """A packed sequence padded, its rows as they are sorted."""
    data, sizes, order, _ = input
    x, lengths = _VF._pad_packed_sequence(data, sizes, False, 0.0, len(sizes))
    if resets is not None:
        if not isinstance(resets, PackedSequence) or not torch.equal(resets.batch_sizes, sizes):
            raise TypeError("resets: expected a PackedSequence of bools, packed as the input is")
        marks = _checked(resets.data, data.shape[:1], "(sum of lengths,)")
        marks = _VF._pad_packed_sequence(marks[:, None], sizes, False, 0.0, len(sizes))
        resets = marks[0].squeeze(2)
    if order is not None:
        h0, c0 = (None if s is None else s.index_select(1, order) for s in (h0, c0))
    return Call(x, h0, c0, lengths, resets)


def _pack(y: Any, lengths: Any, sizes: Any) -> Any:
    return _VF._pack_padded_sequence(y, lengths, False)[0]


class LSTM(RecurrentLayer, nn.LSTM):
    """`torch.nn.LSTM` with our kernels on the CPU, and `resets`.

    Constructor, parameters, state_dict and results are as there. What the kernels cannot do
    PyTorch does; `unrolled.torch.explain` tells. Formula and papers: `unrolled.LSTM`.

    Example
    -------
    >>> import torch
    >>> import unrolled.torch
    >>> net = unrolled.torch.LSTM(3, 8, batch_first=True)
    >>> x = torch.randn(4, 20, 3)
    >>> begins = torch.zeros(4, 20, dtype=torch.bool)
    >>> begins[2, 7] = True
    >>> y, (h, c) = net(x, resets=begins)
    >>> y.shape, h.shape
    (torch.Size([4, 20, 8]), torch.Size([1, 4, 8]))
    """

    __module__ = "unrolled.torch"


class GRU(RecurrentLayer, nn.GRU):
    """`torch.nn.GRU` with our kernels on the CPU, and `resets`. As `LSTM`."""

    __module__ = "unrolled.torch"


class RNN(RecurrentLayer, nn.RNN):
    """`torch.nn.RNN` with our kernels on the CPU, and `resets`. As `LSTM`."""

    __module__ = "unrolled.torch"


_dynamo.let_in(LSTM, GRU, RNN)
_fx.leaves(RecurrentLayer)
