"""LSTM, GRU and RNN over sequences."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from . import _dynamo, _fx, _path
from ._graph import through_graph
from ._kind import GATES, Kind
from ._layers import PACKED, Layers, untraced
from ._memory import Unfit
from ._through import composed, through_torch

# Steps from which we are quicker where the weights are more than a few numbers.
_LEAST_STEPS = {"GRU": 4, "RNN_TANH": 8, "RNN_RELU": 8}
_FEW = 65_536


class RecurrentLayer(Layers, nn.RNNBase):
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
            return untraced(self, input, hx, resets)
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
        self.__dict__.pop(PACKED, None)
        super().flatten_parameters()

    def __getstate__(self) -> Any:
        state = super().__getstate__()
        state.pop(PACKED, None)
        return state

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

    def _several(self, hx: Any) -> Any:
        if self.mode != "LSTM":
            return (hx,)
        h0, c0 = hx
        return h0, c0

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
        given = (call.x, call.states, self._weights(), call.lengths, call.resets)
        y, states = through(self._kind(), *given, dropout)
        return self._result(input, y, states, call.lengths)


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
