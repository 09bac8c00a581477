"""Numbers and sizes out of JSON, which may hold anything."""

from __future__ import annotations

from typing import Any

import numpy as np

from .._arguments import Array
from ._limits import finite


def array(name: str, value: Any, ndim: int, dtype: str = "float32") -> Array:
    """Nested lists of numbers as an array of so many axes."""
    expected = f"path: {name}: expected numbers in lists {ndim} deep"
    if not isinstance(value, list):
        raise ValueError(f"{expected}, got {type(value).__name__}")
    try:
        found = np.array(value, ndmin=1)
    except (ValueError, OverflowError, TypeError, RecursionError):
        raise ValueError(f"{expected}, got rows of differing lengths") from None
    if found.dtype.kind not in "iuf" or found.ndim != ndim:
        if found.size == 0 and found.ndim == ndim:
            raise ValueError(f"{expected}, got none")
        got = "other things" if found.dtype.kind not in "iuf" else f"{found.ndim}"
        raise ValueError(f"{expected}, got {got}")
    with np.errstate(over="ignore"):
        cast = found.astype(dtype)
    finite({name: cast})
    return cast


def size(name: str, value: Any, *, at_least: int = 1) -> int:
    """A number of units, layers …"""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"path: {name}: expected an integer >= {at_least}, got {value!r:.80}")
    return value


def text(name: str, value: Any) -> str:
    """A name."""
    if not isinstance(value, str):
        raise ValueError(f"path: {name}: expected a string, got {value!r:.80}")
    return value


def last_size(name: str, shape: Any) -> int:
    """The last axis of a shape, whose others may be null."""
    if not isinstance(shape, list) or not shape:
        raise ValueError(f"path: {name}: expected a shape, got {shape!r:.80}")
    return size(name, shape[-1])
