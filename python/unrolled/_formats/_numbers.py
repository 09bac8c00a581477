"""Numbers and sizes out of JSON, which may hold anything."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arguments import Array
from ._keys import got
from ._limits import finite


def array(name: str, value: Any, ndim: int, dtype: str = "float32") -> Array:
    """Nested lists of numbers as an array of so many axes."""
    expected = f"path: {name}: expected numbers in lists {ndim} deep"
    level, shape = [value], []
    for depth in range(ndim):
        if not all(isinstance(row, list) for row in level):
            kind = type(value).__name__ if depth == 0 else f"{depth}"
            raise ValueError(f"{expected}, got {kind}")
        lengths = {len(row) for row in level}
        if len(lengths) > 1:
            raise ValueError(f"{expected}, got rows of differing lengths")
        shape.append(lengths.pop())
        level = list(itertools.chain.from_iterable(level))
        if not level:
            raise ValueError(f"{expected}, got none")
    # Every one of them: among texts NumPy would make texts of all, each as long as the longest.
    if not set(map(type, level)) <= {int, float}:
        raise ValueError(f"{expected}, got other things")
    try:
        found = np.array(level, dtype=np.float64).reshape(shape)
    except OverflowError:
        raise ValueError(f"{expected}, got one that is too large") from None
    with np.errstate(over="ignore"):
        cast = found.astype(dtype)
    finite({name: cast})
    return cast


def dtype_name(hints: Mapping[str, Any]) -> str:
    """What the user wants numbers of JSON as, which has no types: float32 unless they say so."""
    dtype: str = hints.get("dtype", "float32")
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype: expected 'float32' or 'float64', got {dtype!r:.80}")
    return dtype


def size(name: str, value: Any, *, at_least: int = 1) -> int:
    """A number of units, layers …"""
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ValueError(f"path: {name}: expected an integer >= {at_least}, got {got(value)}")
    return value


def text(name: str, value: Any) -> str:
    """A name."""
    if not isinstance(value, str):
        raise ValueError(f"path: {name}: expected a string, got {got(value)}")
    return value


def last_size(name: str, shape: Any) -> int:
    """The last axis of a shape, whose others may be null."""
    if not isinstance(shape, list) or not shape:
        raise ValueError(f"path: {name}: expected a shape, got {got(shape)}")
    return size(name, shape[-1])
