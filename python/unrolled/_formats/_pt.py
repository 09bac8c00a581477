"""PyTorch's ``.pt`` and ``.pth``: state dicts, read without PyTorch.

An archive as `torch.save` writes it: ``data.pkl`` says what the tensors are, ``data/<key>`` are
their numbers, ``byteorder`` is how these lie. Everything is read once, and what was checked is
what is loaded.
"""

from __future__ import annotations

import io
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .._arguments import Array
from .._extras import missing
from .._write import replace
from . import _limits, _state_dict
from ._format import Content, Format
from ._keys import shown
from ._pickle import STORAGES, Storage, Tensor, unpickled
from ._zip import Archive

LONGEST_PICKLE = 16 << 20
# Storages may be shared, by tied weights; so many times at most.
MOST_SHARED = 16
MOST_AXES = 8
# Keys under which a checkpoint keeps the state dict among other things.
NESTED = ("state_dict", "model_state_dict", "model")
PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
# Entries that say nothing of the numbers.
HARMLESS = ("version", ".format_version", ".storage_alignment", ".data/serialization_id")
ORDERS = {b"little": "<", b"big": ">"}


def sniff(content: Content) -> bool:
    """Whether it is an archive with a pickle, or a bare pickle."""
    return any(name.endswith("/data.pkl") for name in content.zip_names) or content.head.startswith(
        PICKLE
    )


def load(content: Content, hints: Mapping[str, Any]) -> Any:
    """A model inferred from the names and shapes in a state dict."""
    where = f"{str(content.path)!r}"
    if not content.zip_names:
        raise ValueError(
            f"path: expected an archive as PyTorch writes since 1.6, got a bare pickle, {where}: "
            "nothing in it was run; save the state_dict again"
        )
    with Archive(content.path, 1) as archive:
        reader = _Reader(archive, where)
        arrays = reader.arrays(_state(unpickled(reader.pickle(), where)), content.size)
    if not hints.get("allow_nonfinite"):
        _limits.finite(arrays)
    return _state_dict.model(arrays, hints)


def save(net: Any, path: Path) -> None:
    """The state dict, which `torch.load` gives back."""
    try:
        import torch
    except ImportError as error:
        raise missing(error, f"writing {str(path)!r}", "PyTorch", "torch") from None
    buffer = io.BytesIO()
    torch.save({key: torch.from_numpy(a) for key, a in net.state_dict().items()}, buffer)
    replace(path, buffer.getbuffer())


def _state(found: Any) -> dict[str, Tensor]:
    """The tensors by name, out of what the pickle holds."""
    if isinstance(found, dict):
        found = next((found[k] for k in NESTED if isinstance(found.get(k), dict)), found)
    if not isinstance(found, dict):
        raise ValueError(f"path: expected a state dict, got {type(found).__name__}")
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            expected = "a tensor under a name" if isinstance(tensor, Tensor) else "a tensor"
            raise ValueError(
                f"path: {name!r:.80}: expected {expected}, got {type(tensor).__name__}; save the "
                f"state dict alone, or in a dict under one of {', '.join(NESTED)}"
            )
        kind = tensor.storage.kind
        if STORAGES[kind] is None:
            halved = kind in ("HalfStorage", "BFloat16Storage")
            cure = "; save model.float().state_dict()" if halved else ", as another layer's"
            raise ValueError(
                f"path: {shown(name)}: expected float32 or float64, got numbers of {kind}{cure}"
            )
    return found


class _Reader:
    """The entries of an archive."""

    def __init__(self, archive: Archive, where: str) -> None:
        self._archive, self._where = archive, where
        pickles = [name for name in archive.names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"path: expected one data.pkl, got {len(pickles)} in {where}")
        self._root = pickles[0].removesuffix("data.pkl")
        known = {self._root + name for name in ("data.pkl", "byteorder", *HARMLESS)}
        for name in archive.names:
            if name not in known and not name.startswith(f"{self._root}data/"):
                raise ValueError(
                    f"path: expected an archive of a state dict, got also {shown(name)} in {where}"
                )
        self._order = self._byte_order()
        self._storages: dict[Storage, Array] = {}

    def pickle(self) -> bytes:
        """What says what the tensors are."""
        return self._archive.read(f"{self._root}data.pkl", LONGEST_PICKLE)

    def arrays(self, tensors: Mapping[str, Tensor], size: int) -> dict[str, Array]:
        """The numbers, of which there are not many more than the file of that `size` brings."""
        total = 0
        for name, tensor in tensors.items():
            numbers = math.prod(tensor.shape)
            total += numbers * np.dtype(STORAGES[tensor.storage.kind]).itemsize
            last = sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
            if not numbers or len(tensor.shape) > MOST_AXES:
                raise ValueError(f"path: {shown(name)}: expected parameters, got {tensor.shape}")
            # Strides of 0 make much of little.
            if total > MOST_SHARED * size:
                raise ValueError(
                    f"path: {shown(name)}: expected no more numbers than the file brings"
                )
            if tensor.offset + last >= tensor.storage.numbers:
                raise ValueError(f"path: {shown(name)}: expected a tensor within its storage")
        return {name: self._array(tensor) for name, tensor in tensors.items()}

    def _array(self, tensor: Tensor) -> Array:
        flat = self._numbers(tensor.storage)[tensor.offset :]
        strides = [
            step * flat.itemsize if n > 1 else 0
            for n, step in zip(tensor.shape, tensor.strides, strict=True)
        ]
        view = np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)
        # In the machine's byte order, and in C's.
        return np.array(view, dtype=flat.dtype.newbyteorder("="), order="C")

    def _numbers(self, storage: Storage) -> Array:
        if storage not in self._storages:
            data = self._archive.read(f"{self._root}data/{storage.key}")
            dtype = np.dtype(f"{self._order}{STORAGES[storage.kind]}")
            if len(data) != storage.numbers * dtype.itemsize:
                raise ValueError(
                    f"path: data/{shown(storage.key)}: expected {storage.numbers} numbers, got "
                    f"{len(data)} bytes in {self._where}"
                )
            self._storages[storage] = np.frombuffer(data, dtype)
        return self._storages[storage]

    def _byte_order(self) -> str:
        name = f"{self._root}byteorder"
        if name not in self._archive.names:
            # Files from before there was such an entry are the writer's machine's.
            return {"little": "<", "big": ">"}[sys.byteorder]
        found = self._archive.read(name, 16)
        if found not in ORDERS:
            raise ValueError(
                f"path: byteorder: expected little or big, got {found!r} in {self._where}"
            )
        return ORDERS[found]


FORMAT = Format(
    name="torch",
    title="PyTorch state dict",
    suffixes=(".pt", ".pth"),
    sniff=sniff,
    load=load,
    save=save,
    hints=_state_dict.HINTS,
)
