"""Our classes for PyTorch's in a model that is there already, and back.

A layer stays the object it is and changes its class: every reference to it, its Parameters, hooks,
mode and device go on as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import nn

from . import _cells, _sequences

PAIRS: tuple[tuple[Any, Any], ...] = (
    (nn.LSTM, _sequences.LSTM),
    (nn.GRU, _sequences.GRU),
    (nn.RNN, _sequences.RNN),
    (nn.LSTMCell, _cells.LSTMCell),
    (nn.GRUCell, _cells.GRUCell),
    (nn.RNNCell, _cells.RNNCell),
)


@dataclass
class Summary:
    """What `accelerate` or `restore` has done.

    Attributes
    ----------
    replaced : dict of str to str
        Layers by the name they have in the model ("" for the model itself), and what they are.
    left : dict of str to str
        Recurrent layers that were left alone, and why.
    """

    replaced: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    _done: str = "accelerated"

    def __str__(self) -> str:
        count = len(self.replaced)
        lines = [f"{self._done} {count} recurrent layer{'' if count == 1 else 's'}"]
        lines += [f"  {name or '(the model)'}: {what}" for name, what in self.replaced.items()]
        lines += [
            f"  {name or '(the model)'}: left alone, {why}" for name, why in self.left.items()
        ]
        return "\n".join(lines)

    __repr__ = __str__


def accelerate(model: nn.Module) -> Summary:
    """Have every recurrent layer and cell in `model` computed by our kernels, where they can.

    In place. The layers stay the same objects with the same Parameters: optimisers, hooks and
    other references to them go on working.

    Parameters
    ----------
    model : torch.nn.Module
        Itself a recurrent layer, or with some inside.

    Returns
    -------
    Summary
        To be printed, or looked at.

    Raises
    ------
    TypeError
        If `model` is not a `torch.nn.Module`.

    Example
    -------
    >>> import torch
    >>> import unrolled.torch
    >>> model = torch.nn.Sequential(torch.nn.GRU(3, 8), torch.nn.Flatten())
    >>> unrolled.torch.accelerate(model)
    accelerated 1 recurrent layer
      0: GRU(3, 8)
    >>> type(model[0])
    <class 'unrolled.torch.GRU'>
    """
    to = dict(PAIRS)
    summary = _exchange(model, to)
    known = tuple(to)
    ours = tuple(to.values())
    for name, module in model.named_modules():
        kind = type(module)
        if isinstance(module, known) and kind not in ours:
            summary.left[name] = f"{kind.__qualname__} is a class of its own"
    return summary


def restore(model: nn.Module) -> Summary:
    """Undo `accelerate`: PyTorch's classes for ours, in place.

    Example
    -------
    >>> import torch
    >>> import unrolled.torch
    >>> cell = unrolled.torch.GRUCell(3, 8)
    >>> unrolled.torch.restore(cell)
    restored 1 recurrent layer
      (the model): GRUCell(3, 8)
    >>> type(cell)
    <class 'torch.nn.modules.rnn.GRUCell'>
    """
    summary = _exchange(model, {ours: theirs for theirs, ours in PAIRS})
    summary._done = "restored"
    return summary


def _exchange(model: Any, to: dict[Any, Any]) -> Summary:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    summary = Summary()
    for name, module in model.named_modules():
        other = to.get(type(module))
        if other is not None:
            module.__class__ = other
            module.__dict__.pop(_sequences._PACKED, None)
            summary.replaced[name] = repr(module)
    return summary
