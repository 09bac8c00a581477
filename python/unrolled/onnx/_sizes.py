"""Sizes that a graph computes from those of its input.

An exporter that does not know the sizes writes how they follow from the input's: it takes the shape
apart, multiplies, joins. Nodes of that kind are computed with a probe, a prime of its own, for each
size that is open, and what a shape means is then told by the primes in it.
"""

from __future__ import annotations

import math
from dataclasses import replace

from .._arguments import Array
from ._budget import Budget
from ._model import Node, Value
from ._symbols import Signal

PRIMES = (10007, 10009, 10037, 10039, 10061, 10067, 10069, 10079, 10091, 10093, 10099, 10103)
# As many numbers as there are in a shape, and not what one could be told to make with it.
FEW = 64


class Probes:
    """The sizes of the inputs: as the graph says them, and a prime for each that is open."""

    def __init__(self) -> None:
        self._left = list(PRIMES)
        self._shapes: dict[str, tuple[int, ...] | None] = {}

    def shape(self, value: Value) -> tuple[int, ...] | None:
        """Of an input; None if its rank is open, or there are no primes left."""
        if value.name not in self._shapes:
            self._shapes[value.name] = self._shape(value)
        return self._shapes[value.name]

    def _shape(self, value: Value) -> tuple[int, ...] | None:
        if value.shape is None or value.shape.count(None) > len(self._left):
            return None
        return tuple(self._left.pop(0) if size is None else size for size in value.shape)


def shape_of(signal: Signal, lead: tuple[int, ...]) -> tuple[int, ...]:
    """A sequence's sizes, where `lead` are those of the input's first axes."""
    stage = signal.recurrent
    hidden = stage.r.shape[2] if stage else 1
    known = {"D": signal.directions, "H": hidden, "F": signal.features}
    known |= {str(n): size for n, size in enumerate(lead)}
    return tuple(math.prod(known[part] for part in axis) for axis in signal.axes)


def computed(node: Node, inputs: list[Array | None]) -> list[Array] | None:
    """What a node makes of a few numbers, if that is a few numbers as well."""
    if any(a is not None and a.size > FEW for a in inputs):
        return None
    try:
        found = node(inputs, Budget(1 << 14, 1 << 20))
    except ValueError:
        return None
    return found if all(a.size <= FEW for a in found) else None


def resolved(sizes: list[int], shape: tuple[int, ...], zeros: bool) -> tuple[int, ...] | None:
    """The shape that a Reshape to `sizes` gives; zeros are sizes too, or stand for those before."""
    if not zeros:
        if any(size == 0 and n >= len(shape) for n, size in enumerate(sizes)):
            return None
        sizes = [shape[n] if size == 0 else size for n, size in enumerate(sizes)]
    if sizes.count(-1) == 1:
        rest = math.prod(size for size in sizes if size != -1)
        if rest <= 0 or math.prod(shape) % rest:
            return None
        sizes = [math.prod(shape) // rest if size == -1 else size for size in sizes]
    return tuple(sizes)


def reshaped(signal: Signal, target: tuple[int, ...], lead: tuple[int, ...]) -> Signal | None:
    """The sequence in another shape, where that keeps steps, rows and features apart."""
    axes = [signal.axes]
    if signal.directions == 1:
        axes.append(tuple(axis for axis in signal.axes if axis != ("D",)))
    if signal.axes[-2:] == (("D",), ("H",)):
        axes.append((*signal.axes[:-2], ("D", "H")))
    for each in axes:
        found = replace(signal, axes=each)
        if shape_of(found, lead) == target:
            return found
    return None
