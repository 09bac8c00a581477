"""The tensors of a file: as many numbers as are there, or an error."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto

from .._arguments import Array
from ._budget import AXES, BYTES, BYTES_EACH, EACH, WORK, WORK_EACH, Budget
from ._fields import known

# What values may be made of. Weights of half precision are refused rather than widened.
DTYPES: dict[int, np.dtype[Any]] = {
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.DOUBLE: np.dtype(np.float64),
    TensorProto.INT32: np.dtype(np.int32),
    TensorProto.INT64: np.dtype(np.int64),
    TensorProto.BOOL: np.dtype(np.bool_),
}
# The fields that can hold numbers, and which it is for what is not raw.
TYPED = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT32: "int32_data",
    TensorProto.INT64: "int64_data",
    TensorProto.BOOL: "int32_data",
}
DATA = {*TYPED.values(), "raw_data", "string_data", "uint64_data", "external_data"}


def text(*values: Any) -> None:
    """Refuse names that are no text: protobuf hands what is not UTF-8 over as bytes."""
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"names: expected UTF-8, got {value!r:.80}")


def type_name(data_type: int) -> str:
    """What the standard calls it."""
    if data_type in TensorProto.DataType.values():
        return str(TensorProto.DataType.Name(data_type))
    return f"type {data_type}"


class Tensors:
    """Reads tensors, within the budget of a file of `size` bytes.

    `base` is the folder in which external data lie, if there is one.
    """

    def __init__(self, base: Path | None, size: int) -> None:
        self.budget = Budget(BYTES + BYTES_EACH * size, WORK + WORK_EACH * size)
        self._base = None if base is None else base.resolve()
        self._files: set[tuple[int, int]] = set()

    def read(self, tensor: TensorProto, owner: str = "") -> Array:
        """The numbers of a tensor, read-only; `owner` is whose it is, if it has no name."""
        text(tensor.name)
        where = owner or f"tensor {tensor.name!r:.80}"
        self.budget.spend(where, EACH)
        fields = known(tensor, where)
        dtype = DTYPES.get(tensor.data_type)
        if dtype is None:
            raise ValueError(
                f"{where}: expected one of {sorted(d.name for d in DTYPES.values())}, got "
                f"{type_name(tensor.data_type)}"
            )
        # Before the sizes are multiplied: of many huge ones the product alone takes long.
        if len(tensor.dims) > AXES:
            raise ValueError(f"{where}: expected at most {AXES} axes, got {len(tensor.dims)}")
        shape = tuple(tensor.dims)
        if any(size < 0 for size in shape):
            raise ValueError(f"{where}: expected sizes >= 0, got {shape}")
        if "segment" in fields:
            raise ValueError(f"{where}: expected a whole tensor, got a segment")
        outside = tensor.data_location == TensorProto.EXTERNAL
        count = math.prod(shape)
        if outside:
            data: Any = self._external(tensor, where, count * dtype.itemsize)
        else:
            data = fields.get("raw_data")
        usual = "external_data" if outside else "raw_data" if data else TYPED[tensor.data_type]
        # Raw data of no bytes are as good as none.
        others = {name for name in fields.keys() & DATA - {usual} if len(fields[name])}
        if others:
            raise ValueError(f"{where}: expected data in {usual} alone, got also {sorted(others)}")
        if data is None or (not outside and not data):
            a = self._typed(fields.get(usual, ()), dtype, where)
        elif len(data) % dtype.itemsize:
            raise ValueError(f"{where}: raw_data: {len(data)} bytes are no whole numbers")
        else:
            a = np.frombuffer(data, dtype.newbyteorder("<")).astype(dtype, copy=False)
        if a.size != count:
            raise ValueError(f"{where}: expected {count} numbers for shape {shape}, got {a.size}")
        try:
            a = a.reshape(shape)
        except ValueError as error:
            # No numbers, and sizes beyond all bounds.
            raise ValueError(f"{where}: cannot be read: {error}") from None
        self.budget.hold(where, a)
        return a

    def _typed(self, values: Any, dtype: np.dtype[Any], where: str) -> Array:
        self.budget.room((len(values),), dtype, each=32)
        return np.fromiter(values, dtype, count=len(values))

    def _external(self, tensor: TensorProto, where: str, size: int) -> bytes:
        """The bytes of a tensor in a file of its own, inside the model's folder."""
        where = f"{where}: external data"
        said = {}
        for entry in tensor.external_data:
            known(entry, where)
            text(entry.key, entry.value)
            if entry.key in said:
                raise ValueError(f"{where}: expected {entry.key!r:.80} once, got it again")
            said[entry.key] = entry.value
        # The checksum is of the whole file; it guards against accidents, which sizes do as well.
        if unknown := said.keys() - {"location", "offset", "length", "checksum"}:
            raise ValueError(f"{where}: expected location, offset, length, got {sorted(unknown)}")
        location = said.get("location", "")
        if self._base is None:
            raise ValueError(f"{where}: expected a model read from a file, which has a folder")
        # Resolved, so that neither ".." nor a symbolic link leads elsewhere.
        try:
            path = (self._base / location).resolve()
            inside = path.is_relative_to(self._base) and not Path(location).is_absolute()
            inside = inside and path.is_file()
        except (OSError, ValueError, RuntimeError):
            inside = False
        if not inside:
            raise ValueError(
                f"{where}: expected a file in the model's folder, got {location!r:.80}"
            )
        try:
            offset, length = int(said.get("offset", "0")), int(said.get("length", str(size)))
        except ValueError:
            raise ValueError(
                f"{where}: expected numbers for offset and length, got {said!s:.200}"
            ) from None
        return self._piece(path, offset, length, size, f"{where}: expected {size} bytes within "
                           f"{location!r:.80}")  # fmt: skip

    def _piece(self, path: Path, offset: int, length: int, size: int, expected: str) -> bytes:
        try:
            # No link that has just taken the file's place, and no pipe that keeps one waiting.
            flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
            handle = os.open(path, flags | getattr(os, "O_BINARY", 0))
        except OSError as error:
            raise ValueError(f"{expected}, which cannot be opened: {error.strerror}") from None
        with os.fdopen(handle, "rb") as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode):
                raise ValueError(f"{expected}, which is no file")
            if (about.st_dev, about.st_ino) not in self._files:
                self._files.add((about.st_dev, about.st_ino))
                self.budget.grow(about.st_size)
            if length != size or offset < 0 or offset + length > about.st_size:
                raise ValueError(f"{expected}, got offset {offset} and length {length}")
            if length > self.budget.nbytes:
                self.budget.take(expected, length)
            file.seek(offset)
            data = file.read(length)
        if len(data) != length:
            raise ValueError(f"{expected}, got {len(data)}")
        return data
