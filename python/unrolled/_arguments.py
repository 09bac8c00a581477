"""From what a user passes to what `_native` takes: checked, and copied only where it must be.

Arrays of the usual kind `_native` checks itself; with the rest (tensors, buffers, lists, what does
not fit) it calls `array`, `lengths`, `resets`, `checkpoint`, `truncate` and `kind`.

The checks of types, dtypes and numbers are the reference's own: both versions refuse the same
things with the same words.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .reference._checks import (
    Array,
    array,
    choice,
    flag,
    float_dtype,
    instance,
    integer,
    integers,
    kind,
    lengths,
    real,
    shaped,
    shown,
)
from .reference._foreign import by_a_handler

__all__ = [
    "Array",
    "Sizes",
    "array",
    "checkpoint",
    "choice",
    "contiguous",
    "flag",
    "float_dtype",
    "instance",
    "integer",
    "integers",
    "kind",
    "lengths",
    "path",
    "probability",
    "real",
    "resets",
    "seed",
    "shaped",
    "shown",
    "size",
    "truncate",
    "truths",
]


def size(name: str, value: Any, *, at_least: int) -> int:
    """An integer that can be the size of something."""
    number = integer(name, value, at_least=at_least)
    if number > sys.maxsize:
        raise ValueError(f"{name}: expected an integer <= {sys.maxsize}, got {shown(number)}")
    return number


def path(name: str, value: Any) -> Path:
    """Where a file is: a string, or what stands for one."""
    if isinstance(value, (str, Path)):
        return Path(value)
    wrong = f"{name}: expected a path, got {kind(value)}"
    try:
        found = os.fspath(value)
    # Whatever an object's own code raises.
    except Exception as error:
        if by_a_handler(error):
            raise
        raise TypeError(wrong) from error
    if not isinstance(found, str):
        raise TypeError(wrong)
    return Path(found)


def seed(name: str, value: Any) -> int:
    """A seed, 64 bits; a new one from the system's randomness for None."""
    if value is None:
        return int.from_bytes(np.random.default_rng().bytes(8), "little")
    number = integer(name, value, at_least=0)
    if number >= 2**64:
        raise ValueError(f"{name}: expected an integer < 2**64, got {shown(number)}")
    return number


def probability(name: str, value: Any) -> float:
    """A number in [0, 1)."""
    number = real(name, value)
    if not 0 <= number < 1:
        raise ValueError(f"{name}: expected 0 <= {name} < 1, got {number}")
    return number


def contiguous(a: Array) -> Array:
    """`a`, or a copy where its memory is not in order."""
    flags = a.flags
    if flags.c_contiguous and flags.aligned:
        return a
    return np.require(a, requirements=["C", "A"])


def truths(a: Array) -> Array:
    """A bool array as bytes, in order."""
    return contiguous(a.view(np.uint8))


def resets(value: Any, axes: str, shape: tuple[int, ...]) -> Array:
    """Where episodes begin, as bytes in order."""
    found = array("resets", value, np.bool_)
    return truths(shaped("resets", found, f"({axes})", shape))


def checkpoint(value: Any) -> int:
    """Steps from one stored state to the next; 0 for "auto"."""
    if isinstance(value, str):
        if value != "auto":
            raise ValueError(f'checkpoint: expected None, "auto" or an integer, got {value!r}')
        return 0
    return min(integer("checkpoint", value, at_least=1), sys.maxsize)


def truncate(value: Any) -> int:
    """Steps a term of the gradient may be long."""
    return min(integer("truncate", value, at_least=0), sys.maxsize)


class Sizes(NamedTuple):
    """What the states of a network have to fit."""

    # Columns of h, and of c if there is one.
    states: tuple[int, ...]
    # Layers times directions.
    cells: int
