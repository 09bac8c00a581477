"""From what a user passes to what `_native` takes: checked, and copied only where it must be.

The checks of types, dtypes and numbers are the reference's own: both versions refuse the same
things with the same words.
"""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import numpy as np

from .reference._checks import (
    Array,
    array,
    choice,
    flag,
    float_dtype,
    integer,
    integers,
    kind,
    lengths,
    real,
    shaped,
)
from .reference._network import Layout

__all__ = [
    "Array",
    "Layout",
    "Run",
    "Sizes",
    "array",
    "choice",
    "contiguous",
    "flag",
    "float_dtype",
    "integer",
    "integers",
    "kind",
    "lengths",
    "probability",
    "real",
    "run",
    "seed",
    "shaped",
    "size",
    "state",
    "steps",
    "truths",
]


def size(name: str, value: Any, *, at_least: int) -> int:
    """An integer that can be the size of something."""
    number = integer(name, value, at_least=at_least)
    if number > sys.maxsize:
        raise ValueError(f"{name}: expected an integer <= {sys.maxsize}, got {number}")
    return number


def seed(name: str, value: Any) -> int:
    """A seed, 64 bits; a new one from the system's randomness for None."""
    if value is None:
        return int.from_bytes(np.random.default_rng().bytes(8), "little")
    number = integer(name, value, at_least=0)
    if number >= 2**64:
        raise ValueError(f"{name}: expected an integer < 2**64, got {number}")
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


def steps(a: Array) -> Array:
    """`a` (T, B, ...), or a copy where its memory is in no order of the first two axes."""
    flags = a.flags
    if flags.aligned and (flags.c_contiguous or a.swapaxes(0, 1).flags.c_contiguous):
        return a
    return contiguous(a)


def truths(a: Array) -> Array:
    """A bool array as bytes, in order."""
    return contiguous(a.view(np.uint8))


class Sizes(NamedTuple):
    """What the arrays of a network have to fit."""

    input_size: int
    # Columns of h, and of c if there is one.
    states: tuple[int, ...]
    # Layers times directions.
    cells: int
    dtype: np.dtype[Any]
    batch_first: bool


class Run(NamedTuple):
    """The arguments of a run, as `_native` takes them."""

    layout: Layout
    x: Array
    h: Array | None
    c: Array | None
    lengths: Array | None
    resets: Array | None

    @property
    def shape(self) -> tuple[int, int]:
        """T and B."""
        return self.x.shape[0], self.x.shape[1]


def run(sizes: Sizes, x: Any, initial: Any, row_lengths: Any, resets: Any) -> Run:
    """Check what a network is called with."""
    x = array("x", x, sizes.dtype)
    batch_first, input_size = sizes.batch_first, sizes.input_size
    if x.ndim not in (2, 3) or x.shape[-1] != input_size:
        axes = Layout(batch_first, False).axes
        raise ValueError(
            f"x: expected shape ({axes}, {input_size}) or (T, {input_size}), got {x.shape}"
        )
    layout = Layout(batch_first, unbatched=x.ndim == 2)
    x = steps(layout.inside(x))
    length, batch = x.shape[0], x.shape[1]
    h, c = state(sizes, "state", initial, batch, layout)
    if row_lengths is not None:
        if layout.unbatched:
            raise ValueError("lengths: expected None for an x without a batch, got lengths")
        row_lengths = lengths(row_lengths, length, batch)
    if resets is not None:
        resets = array("resets", resets, np.bool_)
        shaped("resets", resets, f"({layout.axes})", layout.shape(length, batch))
        resets = truths(layout.inside(resets))
    return Run(layout, x, h, c, row_lengths, resets)


def state(
    sizes: Sizes, name: str, value: Any, batch: int, layout: Layout
) -> tuple[Array | None, Array | None]:
    """h and c, each (layers * directions, B, columns); None where there is none."""
    if value is None:
        return None, None
    columns = sizes.states
    if len(columns) == 1:
        parts = {name: value}
    elif isinstance(value, (tuple, list)) and len(value) == len(columns):
        parts = {f"{name}[{n}]": part for n, part in enumerate(value)}
    else:
        what = kind(value)
        if isinstance(value, (tuple, list)):
            what = f"{what} of {len(value)}"
        raise TypeError(f"{name}: expected a tuple (h, c) of two arrays, got {what}")
    arrays = []
    for width, (part, given) in zip(columns, parts.items(), strict=True):
        a = array(part, given, sizes.dtype)
        if layout.unbatched:
            shaped(part, a, "(layers*directions, H)", (sizes.cells, width))
            a = a[:, None]
        shaped(part, a, "(layers*directions, B, H)", (sizes.cells, batch, width))
        arrays.append(contiguous(a))
    return arrays[0], arrays[1] if len(arrays) > 1 else None
