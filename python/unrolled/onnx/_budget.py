"""What reading a model may take, however much a small file asks for.

A few bytes can name a value of any size, make it anew in each of thousands of nodes, or multiply it
with itself. So everything that reading makes or computes is charged here, before it is done.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .._arguments import Array

# For a file of n bytes, with the files it names: BYTES + BYTES_EACH * n bytes of memory, and
# WORK + WORK_EACH * n nanoseconds, about, of one core.
BYTES, BYTES_EACH = 1 << 26, 16
WORK, WORK_EACH = 1 << 32, 64
# A node or a tensor by itself, in nanoseconds; measured are some 30 µs for a node.
EACH = 1 << 15
# What a network takes for each byte of its parameters: they are put in order, kept, and packed.
COPIES, COPYING = 6, 16
# Values of its size that are there in passing while one is computed.
PASSING = 4
# Bytes that one value of a call may have whose size the file decides rather than the data.
LARGEST = 1 << 32
# The most that NumPy knows.
AXES = 64


class Budget:
    """Bytes that may still be held, and nanoseconds that may still be spent."""

    def __init__(self, nbytes: float, work: float) -> None:
        self.nbytes = nbytes
        self.work = work
        # By their identity; the arrays are kept, so that no other gets the same.
        self._held: dict[int, Array] = {}
        self._told: dict[tuple[str, int], tuple[Array, bool]] = {}

    def grow(self, size: int) -> None:
        """One more file, of so many bytes."""
        self.nbytes += BYTES_EACH * size
        self.work += WORK_EACH * size

    def spend(self, where: str, work: float) -> None:
        """So many nanoseconds."""
        where = f"{where}: " if where else ""
        self.work -= work
        if self.work < 0:
            raise ValueError(f"{where}expected a model that is read in less time, for its size")

    def take(self, where: str, nbytes: int) -> None:
        """So many bytes."""
        if nbytes > self.nbytes:
            raise ValueError(
                f"{where}: expected a model that takes less memory, for its size: {nbytes} bytes "
                f"here, where {int(self.nbytes)} are left"
            )
        self.nbytes -= nbytes

    def room(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], each: float = 8
    ) -> tuple[int, ...]:
        """`shape`, if a value of it may be made at so many nanoseconds a number."""
        if len(shape) > AXES:
            raise ValueError(f"shape: expected at most {AXES} axes, got {len(shape)}")
        count, most = math.prod(shape), int(self.nbytes) // PASSING
        if any(size < 0 for size in shape) or count * dtype.itemsize > most:
            raise ValueError(f"shape: expected a value of at most {most} bytes, got shape {shape}")
        self.spend("", count * each)
        return shape

    def hold(self, where: str, a: Array) -> None:
        """An array that stays; a view of one that is held already costs nothing."""
        owner = a
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        if id(owner) not in self._held:
            self.take(where, owner.nbytes)
            self._held[id(owner)] = owner
        a.flags.writeable = False

    def network(self, where: str, parameters: Iterable[Array | None]) -> None:
        """A network with these parameters."""
        nbytes = sum(a.nbytes for a in parameters if a is not None)
        self.spend(where, COPYING * nbytes)
        self.take(where, COPIES * nbytes)

    # Of arrays that do not change, told once however many nodes ask.

    def finite(self, where: str, a: Array) -> bool:
        """Whether there is no NaN and no infinity in an array."""
        return self._tell(where, "finite", a)

    def any(self, where: str, a: Array) -> bool:
        """Whether there is a number other than 0 in an array."""
        return self._tell(where, "any", a)

    def _tell(self, where: str, what: str, a: Array) -> bool:
        key = what, id(a)
        if key not in self._told:
            self.spend(where, 2 * a.size)
            self._told[key] = a, bool(np.isfinite(a).all() if what == "finite" else a.any())
        return self._told[key][1]


# What a call computes is bounded by the user's data and, for one value, by this.
CALLS = Budget(PASSING * LARGEST, math.inf)
