"""Recurrent weights stored smaller, and what they stand for then."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from ._arguments import Array

Weights = Literal["float16", "int8"]
# Of binary16: the least normal number, the largest.
LEAST, MOST = 2.0**-14, 65504.0


def check(weights: str) -> None:
    """Raise `ValueError` for anything but a way of storing weights."""
    if weights not in (ways := get_args(Weights)):
        raise ValueError(f"weights: expected {' or '.join(map(repr, ways))}, got {weights!r}")


def stored(rows: Array, weights: Weights) -> tuple[Array, Array | None]:
    """Rows of weights as they are stored, and the scale of each.

    "float16": NumPy's, but that what is not a normal number becomes 0 or the least that is. "int8":
    integers from -127 to 127, to be multiplied by their row's largest magnitude / 127.
    """
    if weights == "float16":
        a = rows.astype(np.float32).clip(-MOST, MOST)
        small = np.where(np.abs(a) > LEAST / 2, LEAST, 0.0)
        return np.where(np.abs(a) < LEAST, np.copysign(small, a), a).astype(np.float16), None
    scale = np.abs(rows).max(axis=-1) / rows.dtype.type(127)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        steps = np.rint(rows / scale[..., None])
    return np.nan_to_num(steps).clip(-127, 127).astype(np.int8), scale


def rounded(rows: Array, weights: Weights) -> Array:
    """The weights that the stored ones stand for."""
    numbers, scale = stored(rows, weights)
    made = numbers.astype(rows.dtype)
    return made if scale is None else made * scale[..., None]


def is_stored_smaller(name: str) -> bool:
    """Whether the parameter of this name is: matrices of x and of h, of which there are most."""
    return name.rpartition(".")[2].startswith(("weight_ih", "weight_hh"))
