"""Our classes for PyTorch's in a model that is there already, and back.

A layer stays the object it is and changes its class: every reference to it, its Parameters, hooks,
mode and device go on as they were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from . import _classes
from ._explain import standing, why_left
from ._layers import PACKED


@dataclass
class Summary:
    """What `accelerate` or `restore` has done.

    Attributes
    ----------
    replaced : dict of str to str
        Layers by the name they have in the model ("" for the model itself), what they are, and
        which of their calls PyTorch goes on to compute.
    left : dict of str to str
        Recurrent layers that were left alone, and why.
    already : dict of str to str
        Layers with which there was nothing to do, and what they are.
    """

    replaced: dict[str, str] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    already: dict[str, str] = field(default_factory=dict)
    _done: str = "accelerated"

    def __str__(self) -> str:
        count = len(self.replaced)
        lines = [f"{self._done} {count} recurrent layer{'' if count == 1 else 's'}"]
        for name, what in self.replaced.items():
            lines.append(f"  {name or '(the model)'}: {what}")
        for name, what in self.already.items():
            lines.append(f"  {name or '(the model)'}: {what}, ours already")
        for name, why in self.left.items():
            lines.append(f"  {name or '(the model)'}: left alone, {why}")
        return "\n".join(lines)

    __repr__ = __str__


def accelerate(model: nn.Module) -> Summary:
    """Have every recurrent layer and cell in `model` computed by our kernels, where they can.

    In place. The layers stay the same objects with the same Parameters: optimisers, hooks and
    other references to them go on working. A subclass of a layer is accelerated if its `forward` is
    PyTorch's or calls ``super().forward``.

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
    summary = Summary()
    for name, module in _modules(model):
        if isinstance(module, _classes.OUR_CLASSES):
            summary.already[name] = standing(module)
        elif isinstance(module, _classes.THEIR_CLASSES):
            _exchange(summary, name, module, _classes.to_ours)
        elif (why := why_left(module)) is not None:
            summary.left[name] = why
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
    summary = Summary(_done="restored")
    for name, module in _modules(model):
        if isinstance(module, _classes.OUR_CLASSES):
            _exchange(summary, name, module, _classes.to_theirs)
    return summary


def _modules(model: Any) -> list[tuple[str, nn.Module]]:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model: expected a torch.nn.Module, got {type(model).__name__}")
    return list(model.named_modules())


def _exchange(summary: Summary, name: str, module: Any, to: Callable[[Any], type]) -> None:
    try:
        module.__class__ = to(module)
    except (_classes.Left, TypeError) as why:  # a TypeError where __slots__ differ
        summary.left[name] = str(why)
        return
    module.__dict__.pop(PACKED, None)
    summary.replaced[name] = standing(module)
