"""Arrays of other libraries, taken over with all of their meaning or not at all.

NumPy's subclasses, DLPack and Python's buffers hand over memory, a dtype and strides. What else a
value means is not part of that: which entries are masked, what the unit is, that PyTorch still has
to change the sign, that a tensor only stands for numbers held elsewhere.
"""

from __future__ import annotations

import signal
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]


class UnreadableError(Exception):
    """Why a value is no array that can be read; the message goes on from "got"."""


def by_a_handler(error: BaseException) -> bool:
    """Whether a signal's handler raised it, and not the code that happened to run."""
    found: list[Any] = [signal.getsignal(number) for number in signal.valid_signals()]
    handlers = [handler for handler in found if callable(handler)]
    # A function's code, or that with which an object of a class is called.
    codes = {getattr(f, "__code__", None) for h in handlers for f in (h, type(h).__call__)}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def plain(value: Array) -> Array:
    """An array of a subclass as an ndarray, if nothing is lost with that."""
    if isinstance(value, np.ma.MaskedArray):
        raise UnreadableError(
            "a masked array, whose mask would be lost; use .filled(...), and lengths= or mask= to "
            "say what does not count"
        )
    # As astropy calls it, and as unyt and quantities do.
    if hasattr(value, "unit") or hasattr(value, "units"):
        name = type(value).__name__
        raise UnreadableError(f"{name}, whose unit would be lost; pass its plain numbers")
    return np.asarray(value)


def taken_over(value: Any) -> Array:
    """`value` as an ndarray on the same memory, where it can be had; raises UnreadableError."""
    name = "None" if value is None else type(value).__name__
    if isinstance(value, np.ndarray):
        return plain(value)
    # Of the type, as special methods go: a wrapper that hands on every attribute of what it wraps
    # (pint's quantities) does not hand on what it adds.
    dlpack = hasattr(type(value), "__dlpack__")
    try:
        return tensor(value) if dlpack else np.asarray(memoryview(value))
    except MemoryError:
        raise
    # Whatever else another library may raise in there.
    except Exception as error:
        if by_a_handler(error):
            raise
        raise UnreadableError(f"{name}, unreadable: {error}" if dlpack else name) from None


def tensor(value: Any) -> Array:
    """A DLPack object's numbers."""
    # PyTorch's `.conj().imag` is its memory with a sign to come, of which DLPack says nothing.
    if hasattr(type(value), "resolve_neg"):
        value = value.resolve_neg()
    found: Array = np.from_dlpack(value)
    if found.flags.owndata and found.size:
        # There was no memory, and NumPy made some: of wrappers, fakes, zeros that are only said.
        raise BufferError("it holds no numbers itself; make it an ordinary tensor first")
    return found
