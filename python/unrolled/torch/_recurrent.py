"""A layer of any cell that is a formula."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import _VF, nn
from torch.nn import functional
from torch.nn.utils.rnn import PackedSequence

from .._arguments import kind as kind_of
from ..cells import Cell
from ..cells._recurrent import Recurrent as Template
from . import _formula, _formula_ops, _path
from ._kind import FormulaKind
from ._memory import Unfit
from ._sequences import _PACKED, _checked, _pack
from ._weights import Packed, packed


class Recurrent(nn.Module):
    """Layers of a cell of your own, or of the gallery in `unrolled.cells`, for PyTorch.

    Computed by our kernels on the CPU. Where they cannot (other devices and dtypes, second
    derivatives, forward mode, `torch.func`) the cell's own function runs on tensors, step by step.

    Parameters
    ----------
    cell : unrolled.cells.Cell
        What `unrolled.cell` makes of a function; or its description, as `Cell.formula` gives it.
    input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        As for `torch.nn.LSTM`.
    device, dtype : optional
        Of the parameters, as for `torch.nn.LSTM`.
    **constants : float
        Values of the cell's constants, instead of their defaults.

    Notes
    -----
    The parameters have the names and shapes of `unrolled.Recurrent`'s, so that a ``state_dict``
    goes either way. They begin uniform in +-1/sqrt(H), but where the cell gives first values.

    Example
    -------
    >>> import torch
    >>> import unrolled as ur
    >>> import unrolled.torch
    >>> net = unrolled.torch.Recurrent(ur.cells.peephole_lstm, 3, 8)
    >>> y, (h, c) = net(torch.randn(20, 4, 3))
    >>> y.sum().backward()
    >>> y.shape, net.weight_p_l0.grad.shape
    (torch.Size([20, 4, 8]), torch.Size([24]))
    """

    __module__ = "unrolled.torch"
    # As `explain` asks it.
    _quicker = ""

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        **constants: float,
    ) -> None:
        super().__init__()
        # It checks the arguments, and knows names and shapes.
        template = Template(
            cell,
            input_size,
            hidden_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            seed=0,
            **constants,
        )
        self.cell = template.cell
        self.input_size, self.hidden_size = template.input_size, template.hidden_size
        self.num_layers, self.bias = template.num_layers, template.bias
        self.batch_first, self.dropout = template.batch_first, template.dropout
        self.bidirectional = template.bidirectional
        self._formula = template.cell.text
        self._names = tuple(template._shapes)
        for name, shape in template._shapes.items():
            empty = torch.empty(shape, device=device, dtype=dtype)
            self.register_parameter(name, nn.Parameter(empty))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the parameters anew; then set what the cell gives first values for."""
        bound = 1 / math.sqrt(self.hidden_size)
        with torch.no_grad():
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -bound, bound)
            named = dict(zip(self._names, self._weights(), strict=True))
            self.cell.first_values(self.hidden_size, named)

    def forward(self, input: Any, hx: Any = None, resets: Any = None) -> Any:
        """Run the layers.

        Parameters
        ----------
        input : tensor (T, B, I), (B, T, I) if `batch_first`, or (T, I); or PackedSequence
        hx : tensor (L*D, B, H), for a cell of several states a tuple of them, optional
            Without a batch no B axis. None means zeros.
        resets : bool tensor, (T, B) ordered as `input`; or PackedSequence of bools, optional
            Where True, the state is zero just before that step, and no gradient crosses. In the
            reverse direction the cut lies between the same two steps.

        Returns
        -------
        output : tensor (T, B, D*H), ordered as `input`; or PackedSequence
        hx : as the argument
        """
        if _path.watcher is not None:
            _path.watcher(self, input, hx, resets)
        packed_input = isinstance(input, PackedSequence)
        x = input[0] if packed_input else input
        self._check(x, packed_input)
        x, lengths, resets = self._arguments(input, resets)
        states = self._states(hx, x.shape[1], batched=packed_input or input.dim() == 3)
        if packed_input and states is not None and input.sorted_indices is not None:
            states = states.index_select(2, input.sorted_indices)
        y, states = self._layers(x, states, lengths, resets, input if packed_input else None)
        if packed_input:
            _, sizes, order, back = input
            y = PackedSequence(_pack(y, lengths, sizes), sizes, order, back)
            states = states if back is None else states.index_select(2, back)
        elif input.dim() == 2:
            y, states = y.squeeze(1), states.squeeze(2)
        elif self.batch_first:
            y = y.transpose(0, 1)
        parts = states.unbind(0)
        return y, parts if len(parts) > 1 else parts[0]

    def _check(self, x: Any, packed_input: bool) -> None:
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"input: expected a tensor or PackedSequence, got {kind_of(x)}")
        axes = (
            "(sum of lengths, I)"
            if packed_input
            else f"{'(B, T, I)' if self.batch_first else '(T, B, I)'} or (T, I)"
        )
        dims = (2,) if packed_input else (2, 3)
        if x.dim() not in dims or x.shape[-1] != self.input_size:
            raise ValueError(
                f"input: expected shape {axes} with I = {self.input_size}, got {tuple(x.shape)}"
            )
        weight = self._weights()[0]
        if x.dtype is not weight.dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(f"input: expected {weight.dtype} as the parameters, got {x.dtype}")
        if x.shape[0 if x.dim() == 2 or not self.batch_first else 1] == 0:
            raise ValueError(f"input: expected at least one step, got shape {tuple(x.shape)}")

    def _arguments(self, input: Any, resets: Any) -> tuple[Any, Any, Any]:
        """x (T, B, I), lengths, resets (T, B), in the order of a packed x's rows."""
        if isinstance(input, PackedSequence):
            data, sizes, _, _ = input
            x, lengths = _VF._pad_packed_sequence(data, sizes, False, 0.0, len(sizes))
            if resets is not None:
                if not isinstance(resets, PackedSequence) or not torch.equal(
                    resets.batch_sizes, sizes
                ):
                    raise TypeError(
                        "resets: expected a PackedSequence of bools, packed as the input is"
                    )
                marks = _checked(resets.data, data.shape[:1], "(sum of lengths,)")[:, None]
                marks = _VF._pad_packed_sequence(marks, sizes, False, 0.0, len(sizes))
                resets = marks[0].squeeze(2)
            return x, lengths, resets
        if input.dim() == 2:
            if resets is not None:
                resets = _checked(resets, input.shape[:1], "(T,)").unsqueeze(1)
            return input.unsqueeze(1), None, resets
        if resets is not None:
            axes = "(B, T)" if self.batch_first else "(T, B)"
            resets = _checked(resets, input.shape[:2], axes)
        if self.batch_first:
            input = input.transpose(0, 1)
            resets = None if resets is None else resets.transpose(0, 1)
        return input, None, resets

    def _states(self, hx: Any, batch: int, *, batched: bool) -> Any:
        """All of them in one tensor, (states, L*D, B, H)."""
        if hx is None:
            return None
        names = self.cell.states
        if len(names) == 1:
            hx = (hx,)
        elif not isinstance(hx, (tuple, list)) or len(hx) != len(names):
            raise TypeError(f"hx: expected a tuple ({', '.join(names)}), got {kind_of(hx)}")
        cells = self.num_layers * (1 + self.bidirectional)
        shape = (cells, batch, self.hidden_size) if batched else (cells, self.hidden_size)
        axes = "(L*D, B, H)" if batched else "(L*D, H)"
        weight = self._weights()[0]
        for name, state in zip(names, hx, strict=True):
            if not isinstance(state, torch.Tensor):
                raise TypeError(f"hx: {name}: expected a tensor, got {kind_of(state)}")
            if state.shape != shape:
                raise ValueError(
                    f"hx: {name}: expected shape {axes} = {shape}, got {tuple(state.shape)}"
                )
            if state.dtype is not weight.dtype:
                raise TypeError(
                    f"hx: {name}: expected {weight.dtype} as the parameters, got {state.dtype}"
                )
        states = torch.stack(tuple(hx))
        return states if batched else states.unsqueeze(2)

    def _kind(self) -> FormulaKind:
        return FormulaKind(self._formula, self.num_layers, self.bidirectional, self.bias)

    def _weights(self) -> list[Any]:
        return [getattr(self, name) for name in self._names]

    def _reason(self, input: Any, hx: Any) -> str | None:
        """Why the function runs on tensors; None if the kernels can, as far as weights let them."""
        x = input[0] if isinstance(input, PackedSequence) else input
        if not isinstance(x, torch.Tensor):
            return f"x is a {type(x).__name__}"
        return _path.surroundings() or _path.tensor("x", x)

    def _quicker_by_torch(self, x: Any) -> bool:
        return False

    def _layers(
        self, x: Any, states: Any, lengths: Any, resets: Any, packed_input: Any
    ) -> tuple[Any, Any]:
        kind, weights = self._kind(), self._weights()
        ours = self._reason(x, None) is None and 0 not in x.shape
        if not (self.training and self.dropout and kind.layers > 1):
            return self._stack(0, ours, kind, x, states, lengths, resets, weights)
        own, cells, finals = kind.layer(), kind.directions, []
        for n in range(kind.layers):
            sides = slice(n * cells, (n + 1) * cells)
            given = None if states is None else states[:, sides]
            count = cells * len(kind.names)
            some = weights[n * count : (n + 1) * count]
            x, final = self._stack(1 + n, ours, own, x, given, lengths, resets, some)
            finals.append(final)
            if n + 1 < kind.layers:
                x = self._dropped(x, lengths, packed_input)
        return x, torch.cat(finals, 1)

    def _dropped(self, y: Any, lengths: Any, packed_input: Any) -> Any:
        """Dropout draws for each number in memory, so for packed ones where they are packed."""
        if packed_input is None:
            return functional.dropout(y, self.dropout)
        data = functional.dropout(_pack(y, lengths, packed_input.batch_sizes), self.dropout)
        sizes = packed_input.batch_sizes
        return _VF._pad_packed_sequence(data, sizes, False, 0.0, y.shape[0])[0]

    def _stack(
        self,
        slot: int,
        ours: bool,
        kind: FormulaKind,
        x: Any,
        states: Any,
        lengths: Any,
        resets: Any,
        weights: list[Any],
    ) -> tuple[Any, Any]:
        """Layers with nothing between them."""
        if ours:
            try:
                return self._by_kernels(slot, kind, x, states, lengths, resets, weights)
            except Unfit:
                pass
        return _formula.replay(kind, x, states, weights, lengths, resets)

    def _by_kernels(
        self,
        slot: int,
        kind: FormulaKind,
        x: Any,
        states: Any,
        lengths: Any,
        resets: Any,
        weights: list[Any],
    ) -> tuple[Any, Any]:
        grad = _path.differentiated((x, states), weights)
        if _path.traced(x):
            _path.fit(x, weights)
            given = (x, states, weights, lengths, resets)
            y, final, _ = _formula_ops.formula(*given, *kind, grad)
            return y, final
        cache: dict[int, Packed] = self.__dict__.setdefault(_PACKED, {})
        net = packed(cache, slot, kind, weights, self.hidden_size, x.dtype)
        if not grad:
            return _formula.forward(net, x, states, lengths, resets)
        found: tuple[Any, Any] = _formula.Formula.apply(net, lengths, resets, x, states, *weights)
        return found

    def __prepare_scriptable__(self) -> Any:  # noqa: PLW3201 - PyTorch's name
        """What `torch.jit.script` asks for before it reads the source."""
        raise TypeError(
            "unrolled.torch.Recurrent: torch.jit.script cannot compile a formula; use torch.export"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != _PACKED}

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        # The copy for the kernels may be of no more use.
        self.__dict__.pop(_PACKED, None)
        return super()._apply(fn, recurse)

    def _replicate_for_data_parallel(self) -> Any:
        replica = super()._replicate_for_data_parallel()
        replica.__dict__.pop(_PACKED, None)
        return replica

    def extra_repr(self) -> str:
        """As the constructor's arguments."""
        said = [self.cell.name, str(self.input_size), str(self.hidden_size)]
        defaults: Mapping[str, Any] = {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }
        said += [f"{k}={getattr(self, k)}" for k, v in defaults.items() if getattr(self, k) != v]
        return ", ".join(said)
