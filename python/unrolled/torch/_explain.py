"""Which path a call would take."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from . import _path
from ._cells import Cell
from ._memory import Unfit
from ._sequences import Recurrent
from ._weights import packed


def explain(module: torch.nn.Module, x: Any, hx: Any = None) -> str:
    """Who would compute ``module(x, hx)`` if it were called now, and why.

    Parameters
    ----------
    module : torch.nn.Module
        A recurrent layer or cell.
    x, hx
        What it would be called with.

    Returns
    -------
    str
        "unrolled: …" or "PyTorch: …".

    Raises
    ------
    TypeError
        If `module` is not a `torch.nn.Module`.

    Example
    -------
    >>> import torch
    >>> import unrolled.torch
    >>> net = unrolled.torch.GRU(3, 8)
    >>> unrolled.torch.explain(net.bfloat16(), torch.zeros(5, 2, 3, dtype=torch.bfloat16))
    'PyTorch: x is torch.bfloat16; the kernels know float32 and float64'
    """
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    if not isinstance(module, (Recurrent, Cell)):
        name = type(module).__qualname__
        return f"PyTorch: {name} is not one of ours; see unrolled.torch.accelerate"
    if module._quicker_by_torch(x):
        return f"PyTorch: {module._quicker}"
    try:
        reason = module._reason(x, hx)
        if reason is None:
            dtype = (x[0] if isinstance(x, PackedSequence) else x).dtype
            net = packed({}, 0, module._kind(), module._weights(), dtype)
    except Unfit as unfit:
        reason = str(unfit)
    if reason is not None:
        return f"PyTorch: {reason}"
    parts = [f"{net.network.isa} kernels"]
    if _path.traced(x):
        parts.append("as an operator, for what is looking on")
    elif torch.is_grad_enabled() and any(p.requires_grad for p in module.parameters()):
        parts.append("with a tape for the way back")
    else:
        parts.append("keeping nothing")
    if isinstance(module, Recurrent) and module.training and module.dropout:
        parts.append("layer by layer, PyTorch's dropout between")
    return f"unrolled: {', '.join(parts)}"
