"""Tensors to NumPy's arrays and back, with the tensors left as they were.

`tensor.numpy()` and `torch.from_numpy` share memory, and mark it for good: its storage can never
change its size again, as `torch.stack(…, out=…)`, `resize_` and FSDP want to. So NumPy is told by
address where a tensor's numbers lie, and what NumPy owns is copied into memory of PyTorch's.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import numpy as np
import torch

# What the kernels compute with, as NumPy calls it,
NUMBERS = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
# and what else they are given.
_TYPES: dict[Any, Any] = {
    **NUMBERS,
    torch.int64: np.dtype(np.int64),
    torch.bool: np.dtype(np.bool_),
}

# Memory from an address on. How much of it is meant the array's shape says.
_Memory: Any = ctypes.c_char * sys.maxsize


class Unfit(RuntimeError):  # noqa: N818 - a reason, not an error: PyTorch computes instead
    """Why these tensors are not for our kernels."""


def array(tensor: Any, shape: Any = None) -> Any:
    """A dense tensor's numbers, in that shape if not its own, for as long as the tensor lives.

    They are copied if they do not lie in order (time first or batch first), and if PyTorch has put
    off to negate them, or to write down zeros.

    Raises
    ------
    Unfit
        If the tensor has no memory.
    """
    turned = False
    own = tensor
    if not own.is_contiguous():
        turned = own.dim() == 3 and own.transpose(0, 1).is_contiguous()
        own = own.transpose(0, 1) if turned else own.contiguous()
    if own.is_neg():
        own = own.resolve_neg()
    address = own.data_ptr()
    if not address and own.numel():
        if not own._is_zerotensor():
            raise Unfit("a tensor's memory has been given back")
        own = own.clone()
        address = own.data_ptr()
    memory = _Memory.from_address(address)
    if own is not tensor:
        memory.owner = own
    found = np.ndarray(shape or own.shape, _TYPES[own.dtype], memory)
    return found.swapaxes(0, 1) if turned else found


def optional(tensor: Any) -> Any:
    """As `array`; None stays None."""
    return None if tensor is None else array(tensor)


def tensor(numbers: Any) -> Any:
    """A tensor of these numbers, in memory of its own."""
    return torch.from_numpy(numbers).clone()
