"""The safetensors format: named arrays behind a header in JSON, with a dict of strings.

The library of that name aborts the process, or hangs, where its memory ends; here that is a
MemoryError. What is written is what the library would write, byte for byte, and what is read keeps
the format's rules: every byte of the file belongs to one array.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._arguments import Array
from ._format import json_object
from ._keys import got, only, shown

# By the format's own rule.
LONGEST_HEADER = 100_000_000
METADATA = "__metadata__"
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
ENTRY = ("dtype", "shape", "data_offsets")
ALIGNED = 8


def written(arrays: Mapping[str, Array], metadata: Mapping[str, str]) -> Iterator[memoryview]:
    """A file's content in parts. The arrays are of one dtype, float32 or float64, and in order."""
    header: dict[str, Any] = {METADATA: metadata} if metadata else {}
    parts, end = [], 0
    for name in sorted(arrays):
        a = arrays[name].astype(arrays[name].dtype.newbyteorder("<"), order="C", copy=False)
        begin, end = end, end + a.nbytes
        header[name] = {
            "dtype": NAMES[a.dtype],
            "shape": list(a.shape),
            "data_offsets": [begin, end],
        }
        parts.append(a.reshape(-1).view(np.uint8).data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % ALIGNED)
    yield memoryview(len(text).to_bytes(8, "little") + text)
    yield from parts


class Tensors:
    """A file, open: its metadata, and the arrays' dtypes and shapes, before any is read.

    Attributes
    ----------
    metadata : dict of str to str
    shapes : dict of str to tuple
    """

    def __init__(self, path: Path) -> None:
        self._where = f"{str(path)!r}"
        self._file = path.open("rb")
        try:
            self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Tensors:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read_header(self) -> None:
        size = self._file.seek(0, io.SEEK_END)
        self._file.seek(0)
        length = int.from_bytes(self._file.read(8), "little")
        if length > min(LONGEST_HEADER, size - 8):
            raise self._wrong(f"its header says it has {length} bytes")
        try:
            header = json_object(self._file.read(length), self._where)
        except ValueError as error:
            raise self._wrong(str(error).removeprefix("path: ")) from None
        self.metadata = self._strings(header.pop(METADATA, {}))
        self.shapes: dict[str, tuple[int, ...]] = {}
        self._places: dict[str, tuple[str, int, int]] = {}
        for name, about in header.items():
            self._entry(name, about)
        end = 0
        for name, (_, begin, finish) in sorted(self._places.items(), key=lambda p: p[1][1:]):
            if begin != end:
                raise self._wrong(f"{shown(name)} does not begin where the array before it ends")
            end = finish
        self._begin = 8 + length
        if self._begin + end != size:
            raise self._wrong(f"it has {size - self._begin} bytes of numbers where {end} are named")

    def _strings(self, found: Any) -> dict[str, str]:
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise self._wrong(f"{METADATA} is no object of strings")
        return found

    def _entry(self, name: str, about: Any) -> None:
        if not isinstance(about, dict) or not about.keys() >= set(ENTRY):
            raise self._wrong(f"{shown(name)} is not told by {', '.join(ENTRY)}")
        only(f"{shown(name)}.", about, ENTRY)
        dtype, shape, offsets = (about[key] for key in ENTRY)
        if not _sizes(shape) or not _sizes(offsets) or len(offsets) != 2:
            raise self._wrong(f"{shown(name)} has no shape or no place")
        begin, end = offsets
        if isinstance(dtype, str) and dtype in DTYPES:
            expected = math.prod(shape) * DTYPES[dtype].itemsize
            if end - begin != expected:
                raise self._wrong(f"{shown(name)} has {end - begin} bytes of {expected}")
        elif begin > end:
            raise self._wrong(f"{shown(name)} ends before it begins")
        self.shapes[name] = tuple(shape)
        self._places[name] = (got(dtype).strip("'"), begin, end)

    def arrays(self) -> dict[str, Array]:
        """Every array, in the machine's byte order.

        Raises
        ------
        ValueError
            If one is neither float32 nor float64, or the file has become shorter.
        """
        for name, (dtype, _, _) in self._places.items():
            if dtype not in DTYPES:
                raise ValueError(
                    f"path: {shown(name)}: expected float32 or float64 numbers, got {dtype}"
                )
        return {name: self._array(name) for name in self._places}

    def _array(self, name: str) -> Array:
        dtype, begin, _ = self._places[name]
        a: Array
        try:
            a = np.empty(self.shapes[name], dtype=DTYPES[dtype])
        # An axis of 0, and others beyond every machine.
        except (ValueError, OverflowError):
            raise self._wrong(f"{shown(name)} has shape {self.shapes[name]}") from None
        self._file.seek(self._begin + begin)
        if a.size and self._file.readinto(a.reshape(-1).view(np.uint8).data) != a.nbytes:
            raise self._wrong(f"{shown(name)} is not all there")
        own: Array = a.astype(a.dtype.newbyteorder("="), copy=False)
        return own

    def _wrong(self, what: str) -> ValueError:
        return ValueError(f"path: expected a safetensors file, got {self._where}: {what}")


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)
