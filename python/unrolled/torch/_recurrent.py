"""A layer of any cell that is a formula."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence

from .._arguments import kind as kind_of
from ..cells import Cell
from ..cells._recurrent import Recurrent as Template
from . import _fx, _path
from ._formula import replay
from ._kind import Kind
from ._layers import PACKED, Call, Layers, untraced
from ._memory import Unfit


class Recurrent(Layers):
    """Layers of a cell of your own, or of the gallery in `unrolled.cells`, for PyTorch.

    Computed by our kernels on the CPU. Where they cannot (other devices and dtypes, second
    derivatives, forward mode, `torch.func`) PyTorch's functions compute the formula, step by step.

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
        if "seed" in constants:
            raise TypeError("seed: expected torch.manual_seed before the layer is made, got seed=")
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
        packed_input = isinstance(input, PackedSequence)
        if packed_input and torch.compiler.is_dynamo_compiling():
            # Its sizes are numbers in a tensor, on which a graph cannot depend.
            return untraced(self, input, hx, resets)
        if _path.watcher is not None:
            _path.watcher(self, input, hx, resets)
        x = input[0] if packed_input else input
        if not isinstance(x, torch.Tensor):
            node = _fx.node(self, input, hx, resets)
            if node is not None:
                return node
        self._check(x, packed_input)
        if hx is not None:
            self._check_states(input, hx)
        return self._ours(input, hx, resets)

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

    def _check_states(self, input: Any, hx: Any) -> None:
        names = self.cell.states
        if len(names) > 1 and not (isinstance(hx, (tuple, list)) and len(hx) == len(names)):
            raise TypeError(f"hx: expected a tuple ({', '.join(names)}), got {kind_of(hx)}")
        shape: tuple[Any, ...] = (self.num_layers * (1 + self.bidirectional), self.hidden_size)
        axes = "(L*D, H)"
        if isinstance(input, PackedSequence) or input.dim() == 3:
            if isinstance(input, PackedSequence):
                batch = int(input.batch_sizes[0])
            else:
                batch = input.shape[0 if self.batch_first else 1]
            shape, axes = (shape[0], batch, shape[1]), "(L*D, B, H)"
        weight = self._weights()[0]
        for name, state in zip(names, self._several(hx), strict=True):
            if not isinstance(state, torch.Tensor):
                raise TypeError(f"hx: {name}: expected a tensor, got {kind_of(state)}")
            if state.shape != shape:
                raise ValueError(
                    f"hx: {name}: expected shape {axes} = {shape}, got {tuple(state.shape)}"
                )
            # Under autocast a layer before may have given it another precision.
            floating = state.is_floating_point() and torch.is_autocast_enabled(state.device.type)
            if state.dtype is not weight.dtype and not floating:
                raise TypeError(
                    f"hx: {name}: expected {weight.dtype} as the parameters, got {state.dtype}"
                )

    def _several(self, hx: Any) -> Any:
        return tuple(hx) if len(self.cell.states) > 1 else (hx,)

    def _kind(self) -> Kind:
        return Kind(self._formula, self.num_layers, self.bidirectional, self.bias, False)

    def _weights(self) -> list[Any]:
        return [getattr(self, name) for name in self._names]

    def _reason(self, input: Any, hx: Any) -> str | None:
        """Why PyTorch has to compute; None if the kernels can, as far as the weights let them."""
        x = input[0] if isinstance(input, PackedSequence) else input
        if not isinstance(x, torch.Tensor):
            return f"x is a {type(x).__name__}"
        found = _path.surroundings() or _path.tensor("x", x)
        if found is None and 0 in x.shape:
            found = "x is empty"
        for state in hx if isinstance(hx, (tuple, list)) else (hx,):
            if found is None and state is not None:
                found = _path.tensor("a state", state)
        return found

    def _quicker_by_torch(self, x: Any) -> bool:
        return False

    def _stack(self, slot: int, kind: Kind, call: Call, weights: list[Any]) -> tuple[Any, Any]:
        if self._reason(call.x, call.states) is None:
            try:
                return super()._stack(slot, kind, call, weights)
            except Unfit:
                pass
        return replay(kind, call.x, call.states, weights, call.lengths, call.resets)

    def __prepare_scriptable__(self) -> Any:  # noqa: PLW3201 - PyTorch's name
        """What `torch.jit.script` asks for before it reads the source."""
        raise TypeError(
            "unrolled.torch.Recurrent: torch.jit.script cannot compile a formula; use torch.export"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != PACKED}

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        # The copy for the kernels may be of no more use.
        self.__dict__.pop(PACKED, None)
        return super()._apply(fn, recurse)

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
        said += [f"{name}={value:g}" for name, value in self.cell.constants.items()]
        return ", ".join(said)


_fx.leaves(Recurrent)
