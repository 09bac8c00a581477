"""LSTMCell, GRUCell and RNNCell: one step a call."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from . import _fx, _ops, _path, _run
from ._eager import Step
from ._kind import GATES, Kind
from ._through import composed
from ._weights import Packed, Unfit, packed

_PACKED = "_unrolled_packed"
# Rows up to which the gradients of any weights are summed in their place, in one piece.
_FEW_ROWS = 16


class Cell(nn.RNNCellBase):
    """What our cells add to PyTorch's."""

    _names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    # Numbers in the weights up to which a step of any number of rows that will be differentiated is
    # quicker by us, as measured (benches/torch_dropin.py); 0 for none at all. Around a small step
    # it is mostly PyTorch's own book-keeping that takes the time.
    _most_recorded = 0

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As PyTorch's: x (B, I) or (I,), states (B, H) or (H,)."""
        if _path.watcher is not None:
            _path.watcher(self, input, hx)
        if self._quicker_by_torch(input):
            return super().forward(input, hx)
        try:
            reason = self._reason(input, hx)
            if reason is None:
                return self._ours(input, hx)
        except Unfit as unfit:
            reason = str(unfit)
        node = _fx.node(self, input, hx)
        if node is not None:
            return node
        if reason in _path.TRANSFORMS:
            with composed():
                return super().forward(input, hx)
        return super().forward(input, hx)

    def __getstate__(self) -> Any:
        return {name: value for name, value in self.__dict__.items() if name != _PACKED}

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        # The copies for the kernels hold on to the weights' memory.
        self.__dict__.pop(_PACKED, None)
        return super()._apply(fn, recurse)

    def _kind(self) -> Kind:
        return Kind(self._cell(), 1, False, self.bias, False)

    def _cell(self) -> str:
        raise NotImplementedError

    def _quicker_by_torch(self, input: Any) -> bool:
        # Asked before anything else: where PyTorch computes, the call should cost what it cost.
        if not torch.is_grad_enabled() or isinstance(input, _fx.Proxy):
            return False
        most = self._most_recorded
        if most:
            units = self.hidden_size
            if GATES.get(self._cell(), 1) * units * (self.input_size + units) <= most:
                return False
            # A compiled graph should not depend on the number of rows.
            if not torch.compiler.is_compiling():
                shape: Any = getattr(input, "shape", ())
                if len(shape) == 1 or (len(shape) == 2 and shape[0] <= _FEW_ROWS):
                    return False
        for parameter in self._parameters.values():
            if parameter is not None and parameter.requires_grad:
                return True
        return getattr(input, "requires_grad", False)

    def _weights(self) -> list[Any]:
        names = self._names if self.bias else self._names[:2]
        own = self._parameters
        try:
            return [own[name] for name in names]
        except KeyError:
            return [getattr(self, name) for name in names]

    def _reason(self, input: Any, hx: Any) -> str | None:
        if not isinstance(input, torch.Tensor):
            return f"x is a {type(input).__name__}"
        if self._cell() not in GATES:  # an RNNCell's attribute may have been set
            return f"the nonlinearity is {self.nonlinearity}"
        found = _path.surroundings()
        if found is None:
            if not _path.traced(input):
                found = _path.tensor("x", input)
            elif _path.in_onnx_export():
                # A node for each step would have a copy of the weights, in ONNX's order, of its own.
                found = "torch.onnx.export takes a cell apart"
            else:
                found = _path.numbers("x", input)
        if found is not None:
            return found
        shape = input.shape
        if len(shape) not in (1, 2):
            return f"x has {len(shape)} dimensions"
        if shape[-1] != self.input_size:
            return f"x has {shape[-1]} features, not {self.input_size}"
        if 0 in shape:
            return "x is empty"
        if hx is None:
            return None
        given = hx
        if self._cell() != "lstm":
            given = (hx,)
        elif not isinstance(hx, (tuple, list)) or len(hx) != 2:
            return "the states are not a pair"
        expected = (*shape[:-1], self.hidden_size)
        return _path.states(input, given, (expected,) * len(given))

    def _ours(self, input: Any, hx: Any) -> Any:
        kind, weights = self._kind(), self._weights()
        h0, c0 = (hx if kind.has_c else (hx, None)) if hx is not None else (None, None)
        x = input
        alone = x.dim() == 1
        if alone:
            x, h0, c0 = (None if t is None else t.unsqueeze(0) for t in (x, h0, c0))
        h, c = self._step(kind, x, h0, c0, weights)
        if alone:
            h, c = h.squeeze(0), None if c is None else c.squeeze(0)
        return h if c is None else (h, c)

    def _step(self, kind: Kind, x: Any, h0: Any, c0: Any, weights: list[Any]) -> tuple[Any, Any]:
        grad = torch.is_grad_enabled() and any(
            t is not None and t.requires_grad for t in (x, h0, c0, *weights)
        )
        if _path.traced(x):
            _path.one_dtype(x, weights)
            own = (None if t is None else t.unsqueeze(0) for t in (x, h0, c0))
            _, h, c, _ = _ops.recurrent(*own, weights, None, None, *kind, grad)
            return h.squeeze(0), c.squeeze(0) if kind.has_c else None
        cache: dict[int, Packed] = self.__dict__.setdefault(_PACKED, {})
        net = packed(cache, 0, kind, weights, x.dtype, x.shape[0])
        if not grad:
            return _run.step(net, x, h0, c0)
        found = Step.apply(net, x, h0, c0, *weights)
        return found if kind.has_c else (found, None)


class LSTMCell(Cell, nn.LSTMCell):
    """`torch.nn.LSTMCell` with our kernels on the CPU. As `LSTM`, one step a call."""

    __module__ = "unrolled.torch"
    _most_recorded = 16_384

    def _cell(self) -> str:
        return "lstm"


class GRUCell(Cell, nn.GRUCell):
    """`torch.nn.GRUCell` with our kernels on the CPU. As `LSTM`, one step a call."""

    __module__ = "unrolled.torch"
    _most_recorded = 49_152

    def _cell(self) -> str:
        return "gru"


class RNNCell(Cell, nn.RNNCell):
    """`torch.nn.RNNCell` with our kernels on the CPU. As `LSTM`, one step a call."""

    __module__ = "unrolled.torch"

    def _cell(self) -> str:
        return f"rnn_{self.nonlinearity}"


_fx.leaves(Cell)
