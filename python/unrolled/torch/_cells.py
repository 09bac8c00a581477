"""LSTMCell, GRUCell and RNNCell: one step a call."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from . import _fx, _path, _run
from ._kind import GATES, Kind
from ._memory import Unfit
from ._weights import Packed, packed

_PACKED = "_unrolled_packed"


class Cell(nn.RNNCellBase):
    """What our cells add to PyTorch's.

    Around one step it is mostly the call's own book-keeping that takes the time, and with few rows
    comparing the weights; and PyTorch's matrix products are good. At no size are ours quicker by
    enough to count on (`benches/torch_cells.py`), so PyTorch computes unless `_least` is set.
    """

    _names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    _quicker = "it is as quick or quicker in one step"
    # Rows, and numbers in the weights, from which we are the quicker; None for never.
    _least: tuple[int, int] | None = None
    __prepare_scriptable__ = _path.not_scriptable

    def forward(self, input: Any, hx: Any = None) -> Any:
        """As PyTorch's: x (B, I) or (I,), states (B, H) or (H,)."""
        if _path.watcher is not None:
            _path.watcher(self, input, hx)
        if not isinstance(input, torch.Tensor):
            node = _fx.node(self, input, hx)
            return super().forward(input, hx) if node is None else node
        if self._quicker_by_torch(input):
            return super().forward(input, hx)
        try:
            if self._reason(input, hx) is None:
                return self._ours(input, hx)
        except Unfit:
            pass
        return super().forward(input, hx)

    def __getstate__(self) -> Any:
        return {name: value for name, value in self.__dict__.items() if name != _PACKED}

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        # The copy for the kernels may be of no more use.
        self.__dict__.pop(_PACKED, None)
        return super()._apply(fn, recurse)

    def _kind(self) -> Kind:
        return Kind(self._cell(), 1, False, self.bias, False)

    def _cell(self) -> str:
        raise NotImplementedError

    def _quicker_by_torch(self, input: Any) -> bool:
        # Asked before anything else: where PyTorch computes, the call should cost what it cost.
        if self._least is None:
            return True
        rows, weights = self._least
        # A compiled graph should not depend on the number of rows.
        if self._numbers() < weights or _path.traced(input):
            return True
        return (input.shape[0] if input.dim() == 2 else 1) < rows

    def _standing(self) -> str:
        """Who computes, for a summary."""
        if self._least is None or self._numbers() < self._least[1]:
            return "by PyTorch, which is quicker"
        return f"in inference of {self._least[0]} or more rows only"

    def _numbers(self) -> int:
        """In the weights but for the biases."""
        units: int = self.hidden_size
        gates: int = GATES.get(self._cell(), 1)
        return gates * units * (int(self.input_size) + units)

    def _weights(self) -> list[Any]:
        names = self._names if self.bias else self._names[:2]
        own = self._parameters
        try:
            return [own[name] for name in names]
        except KeyError:
            return [getattr(self, name) for name in names]

    def _reason(self, input: Any, hx: Any) -> str | None:
        if self._cell() not in GATES:  # an RNNCell's attribute may have been set
            return f"the nonlinearity is {self.nonlinearity}"
        found = _path.surroundings() or _path.tensor("x", input)
        if found is not None:
            return found
        shape = input.shape
        if len(shape) not in (1, 2):
            return f"x has {len(shape)} dimensions"
        if shape[-1] != self.input_size:
            return f"x has {shape[-1]} features, not {self.input_size}"
        if 0 in shape:
            return "x is empty"
        if self.hidden_size == 0:
            return "there are no units"
        given = () if hx is None else (hx,)
        if self._cell() == "lstm" and hx is not None:
            given = hx
            if not isinstance(hx, (tuple, list)) or len(hx) != 2:
                return "the states are not a pair"
        expected = (*shape[:-1], self.hidden_size)
        found = _path.states(input, given, (expected,) * len(given))
        if found is None and _path.differentiated((input, *given), self._weights()):
            return "it is quicker in one step that will be differentiated"
        return found

    def _ours(self, input: Any, hx: Any) -> Any:
        kind = self._kind()
        states = hx if hx is None or kind.cell == "lstm" else (hx,)
        cache: dict[int, Packed] = self.__dict__.setdefault(_PACKED, {})
        net = packed(cache, 0, kind, self._weights(), self.hidden_size, input.dtype)
        found = _run.step(net, input, states)
        return found if len(found) > 1 else found[0]


class LSTMCell(Cell, nn.LSTMCell):
    """`torch.nn.LSTMCell`, which PyTorch computes as quickly as our kernels would."""

    __module__ = "unrolled.torch"

    def _cell(self) -> str:
        return "lstm"


class GRUCell(Cell, nn.GRUCell):
    """`torch.nn.GRUCell`, which PyTorch computes as quickly as our kernels would."""

    __module__ = "unrolled.torch"

    def _cell(self) -> str:
        return "gru"


class RNNCell(Cell, nn.RNNCell):
    """`torch.nn.RNNCell`, which PyTorch computes as quickly as our kernels would."""

    __module__ = "unrolled.torch"

    def _cell(self) -> str:
        return f"rnn_{self.nonlinearity}"


_fx.leaves(Cell)
