"""Recurrent weights stored smaller, and what they stand for then."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from ._arguments import Array

Weights = Literal["float16", "int8"]
# Of binary16: the least normal number, the largest.
LEAST, MOST = 2.0**-14, 65504.0


@dataclass(frozen=True)
class Compression:
    """What `compress` did to a net, as ``net.compression`` says it.

    Attributes
    ----------
    weights : {"float16", "int8"}
        How recurrent weights are stored.
    bytes_before, bytes : int
        What ``weight_ih`` and ``weight_hh`` of all layers take as floats, and as they are stored,
        with the scales of "int8".
    error, largest_error : float or None
        Of the outputs for the `x` that was given: the root mean square of how far they are from
        those of the original net, and the largest magnitude of that, both divided by the root mean
        square of the original's outputs. None without an `x`.
    """

    weights: Weights
    bytes_before: int
    bytes: int
    error: float | None = None
    largest_error: float | None = None


def compression(
    state: Mapping[str, Array], weights: Weights, outputs: tuple[Array, Array] | None
) -> Compression:
    """Of a net of these parameters; `outputs` are those of the original and of the compressed."""
    matrices = [a for name, a in state.items() if is_stored_smaller(name)]
    before = sum(a.nbytes for a in matrices)
    if weights == "float16":
        after = sum(2 * a.size for a in matrices)
    else:
        after = sum(a.size + len(a) * a.itemsize for a in matrices)
    if outputs is None:
        return Compression(weights, before, after)
    y = outputs[0].astype(float)
    if not y.size:
        raise ValueError(f"x: expected at least one step and one row, got outputs {y.shape}")
    difference = np.abs(outputs[1] - y)
    norm = math.sqrt(np.square(y).mean())
    # Outputs that are all zero leave nothing to compare with but themselves.
    error, largest = (
        float(d / norm) if norm else math.inf if d else 0.0
        for d in (math.sqrt(np.square(difference).mean()), difference.max())
    )
    return Compression(weights, before, after, error, largest)


def check(weights: str) -> None:
    """Raise `ValueError` for anything but a way of storing weights."""
    if weights not in (ways := get_args(Weights)):
        raise ValueError(f"weights: expected {' or '.join(map(repr, ways))}, got {weights!r}")


def stored(rows: Array, weights: Weights) -> tuple[Array, Array | None]:
    """Rows of weights as they are stored, and the scale of each.

    "float16": NumPy's, but that what is not a normal number becomes 0 or the least that is. "int8":
    integers from -127 to 127, to be multiplied by their row's largest magnitude / 127. Rows that
    were rounded so once come back as they were.
    """
    if weights == "float16":
        a = rows.astype(np.float32).clip(-MOST, MOST)
        small = np.where(np.abs(a) > LEAST / 2, LEAST, 0.0)
        return np.where(np.abs(a) < LEAST, np.copysign(small, a), a).astype(np.float16), None
    scale = np.abs(rows).max(axis=-1) / rows.dtype.type(127)
    # Of what was rounded already the quotient may be the scale's neighbour.
    exact = _are(rows, scale)
    for way in (np.inf, 0):
        other = np.nextafter(scale, rows.dtype.type(way))
        scale = np.where(~exact & _are(rows, other), other, scale)
    return _numbers(rows, scale), scale


def _numbers(rows: Array, scale: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        steps = np.rint(rows / scale[..., None])
    numbers: Array = np.nan_to_num(steps).clip(-127, 127).astype(np.int8)
    return numbers


def _are(rows: Array, scale: Array) -> Array:
    """Which rows are whole numbers of these scales."""
    exact: Array = (_numbers(rows, scale) * scale[..., None] == rows).all(axis=-1)
    return exact


def is_stored_smaller(name: str) -> bool:
    """Whether the parameter of this name is: matrices of x and of h, of which there are most."""
    return name.rpartition(".")[2].startswith(("weight_ih", "weight_hh"))
