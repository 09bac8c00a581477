"""Keras' weights in HDF5, read with h5py and with suspicion.

A layer's variables are the datasets ``vars/0``, ``vars/1`` … below its group, a recurrent layer's
below ``cell``. Nothing is followed out of the file, and no dataset may claim more than there is.
Of a damaged file h5py raises nearly every kind of error there is; whatever comes is a ValueError,
but for the end of memory.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from .._arguments import Array
from .._extras import missing
from ..reference._foreign import by_a_handler
from . import _limits
from ._keys import printable

MAGIC = b"\x89HDF\r\n\x1a\n"
# Kernel, recurrent kernel, bias.
MOST_VARIABLES = 3
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def h5py(what: str) -> Any:
    """The package, or an ImportError that says where to get it."""
    try:
        import h5py as found
    except ImportError as error:
        raise missing(error, what, "h5py", "keras") from None
    return found


@contextmanager
def _damaged(where: str) -> Iterator[None]:
    """Whatever h5py raises within, as a ValueError; but not what a signal's handler raises."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if by_a_handler(error):
            raise
        raise ValueError(f"path: {where}: {printable(error)}") from None


class Weights:
    """An open file of weights.

    Parameters
    ----------
    source : path, or the file's bytes
    where : str
        What to call it in messages.
    """

    def __init__(self, source: Path | bytes, where: str) -> None:
        self._h5py = h5py(f"reading {where}")
        self._where = where
        self._size = len(source) if isinstance(source, bytes) else source.stat().st_size
        # Bytes of numbers that the file can bring: no dataset counts under two names.
        self._left = self._size
        self._read: set[str] = set()
        with _damaged(f"{where}: a damaged HDF5 file"):
            opened = io.BytesIO(source) if isinstance(source, bytes) else source
            self._file = self._h5py.File(opened, "r")

    def __enter__(self) -> Weights:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def groups(self) -> list[str]:
        """The names of the layers that have a group, without the empty ones."""
        with _damaged(f"{self._where}: a damaged HDF5 file"):
            layers = self._get(self._file, "layers")
            names = list(layers) if isinstance(layers, self._h5py.Group) else []
            return [name for name in names if self._any(layers, name)]

    def _any(self, layers: Any, name: str) -> bool:
        """Whether some dataset lies below: in the places where Keras has them."""
        for below in ("vars", "cell/vars", "layer/vars", "forward_layer/cell/vars"):
            place = self._get(layers, f"{name}/{below}")
            if isinstance(place, self._h5py.Group) and len(place):
                return True
        return False

    def arrays(self, place: str, *, finite: bool) -> list[Array]:
        """The variables of ``layers/<place>/vars``, in order; none if there is no such group."""
        with _damaged(f"{self._where}: {place}"):
            group = self._get(self._file, f"layers/{place}/vars")
            if not isinstance(group, self._h5py.Group):
                return []
            if len(group) > MOST_VARIABLES:
                raise ValueError(f"expected at most {MOST_VARIABLES} variables, got {len(group)}")
            found = [self._array(f"{place}/vars/{n}", group, str(n)) for n in range(len(group))]
        if finite:
            _limits.finite({f"{place}/vars/{n}": a for n, a in enumerate(found)})
        return found

    def unread(self) -> list[str]:
        """The layers' datasets that were not read, but for the states of random generators."""
        found: list[str] = []

        def visit(name: str, what: Any) -> None:
            known = name in self._read or "seed_generator" in name.split("/")
            if isinstance(what, self._h5py.Dataset) and not known:
                found.append(name)

        with _damaged(f"{self._where}: a damaged HDF5 file"):
            self._get(self._file, "layers").visititems(visit)
        return found

    def _get(self, group: Any, path: str) -> Any:
        """What lies there, by hard links alone: others may lead out of the file, or round about."""
        for name in path.split("/"):
            if not isinstance(group, self._h5py.Group):
                return None
            link = group.get(name, getlink=True)
            if link is None:
                return None
            if not isinstance(link, self._h5py.HardLink):
                raise ValueError(f"{path}: expected no links, got {type(link).__name__}")
            group = group[name]
        return group

    def _array(self, place: str, group: Any, name: str) -> Array:
        data = self._get(group, name)
        # Whatever byte order the file has.
        dtype = data.dtype.newbyteorder("=") if isinstance(data, self._h5py.Dataset) else None
        # Of a dataset without a shape there is no size.
        if dtype is None or dtype not in FLOATS or data.shape is None:
            raise ValueError(f"{place}: expected float32 or float64 numbers, got {data!r:.80}")
        made = data.id.get_create_plist()
        # A filter may make much of little: a compression, or a number of bits for all.
        if data.is_virtual or data.external or made.get_nfilters():
            raise ValueError(f"{place}: expected plain numbers in the file, got another storage")
        claimed = data.size * dtype.itemsize
        piece = math.prod(data.chunks or ()) * dtype.itemsize
        # What was never written is filled when it is read.
        there = min(data.id.get_storage_size(), self._left)
        if data.ndim not in (1, 2) or claimed > there or piece > self._size:
            raise ValueError(
                f"{place}: expected no more numbers than the file has, got a dataset "
                f"of {data.shape}"
            )
        self._left -= claimed
        self._read.add(place)
        return np.asarray(data[()]).astype(dtype, copy=False)
