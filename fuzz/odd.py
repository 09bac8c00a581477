"""What somebody may pass where something else was meant, for `fuzz/api.py`."""

from __future__ import annotations

import array
import datetime
import decimal
import fractions
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np


class RaisedError(Exception):
    """Of an argument's own code: it may come out again as it is."""


class Raises:
    """Whatever is asked of it, it raises."""

    def __init__(self, error: type[BaseException] = RaisedError) -> None:
        object.__setattr__(self, "_error", error)

    def __getattr__(self, name: str) -> Any:
        raise object.__getattribute__(self, "_error")(name)

    def _refuse(self, *_: Any) -> Any:
        raise object.__getattribute__(self, "_error")("asked")

    __index__ = __float__ = __int__ = __len__ = __iter__ = __getitem__ = __array__ = _refuse
    __dlpack__ = __dlpack_device__ = __fspath__ = __call__ = _refuse


class Odd(np.ndarray):
    """An array whose attributes raise."""

    @property
    def shape(self) -> Any:
        raise RaisedError("shape")

    @property
    def dtype(self) -> Any:
        raise RaisedError("dtype")

    def __array_finalize__(self, other: Any) -> None:
        pass


class Kept(np.ndarray):
    """An array of a class that stays with what is computed from it."""


class DLPack:
    """An array that is reached by DLPack alone."""

    def __init__(self, a: Any) -> None:
        self.a = a

    def __dlpack__(self, **more: Any) -> Any:
        return self.a.__dlpack__(**more)

    def __dlpack_device__(self) -> Any:
        return self.a.__dlpack_device__()


class Index:
    """Something that counts as an integer."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __index__(self) -> Any:
        return self.value


class Text(str):
    """A string of another class."""


class Whole(int):
    """An integer of another class."""


class Strange(Mapping[Any, Any]):
    """A mapping that has other keys than values."""

    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)

    def __iter__(self) -> Iterator[Any]:
        return iter(["weight_hh_l0", 3, None])

    def __len__(self) -> int:
        return 10**6


class Long(list[Any]):
    """A list that says it is longer than it is."""

    def __len__(self) -> int:
        return 7


def itself() -> list[Any]:
    """A list in which it is itself."""
    found: list[Any] = []
    found.append(found)
    return found


def deep() -> list[Any]:
    """Lists in lists, more than Python goes down."""
    found: list[Any] = []
    for _ in range(5000):
        found = [found]
    return found


def frozen(a: Any) -> Any:
    a.flags.writeable = False
    return a


SCALARS: list[Callable[[], Any]] = [
    lambda v=v: v
    for v in (
        None, True, False, 0, 1, 2, 3, -1, -(2**31), 2**31, 2**32 + 4, 2**53 + 1, 2**63 - 1, 2**63,
        2**64, 10**30, -(10**30), 10**400, 0.0, -0.0, 0.5, 1.0, 1e-320, 1e39, 1e308, -1e308,
        float("nan"), float("inf"), -float("inf"), 1j, decimal.Decimal("NaN"),
        fractions.Fraction(1, 3), datetime.timedelta(1), Ellipsis, NotImplemented, slice(None),
        np.float16(1), np.float32(0.5), np.float64("nan"), np.int8(-1), np.uint64(2**64 - 1),
        np.bool_(True), np.complex64(1), np.str_("tanh"), np.datetime64("NaT"), np.longdouble(2),
        Whole(1), Index(1), Index(2**70), Index("a"), Index(None), int, type, print, len,
    )
]  # fmt: skip
TEXTS: list[Callable[[], Any]] = [
    lambda v=v: v
    for v in (
        "", "tanh", "LSTM", "lstm", "relu", "sigmoid", "softmax", "auto", "all", "i", "f", "h",
        "weight_hh_l0", "weight_hh_l0_reverse", "float32", "float64", ">f4", "f2", "O", "stdout",
        "dicts", "portable", "avx2", "uniform", "orthogonal", "nowhere/at/all", ".", "/",
        "/dev/full",
        "\x00", "\ud800", "a" * 300, "\x1b[2J", "m.onnx", "m.json", "m.nam", "m.rs", "m.keras",
        "m.safetensors", b"", b"x", b"\xff", Text("tanh"), pathlib.Path("."), pathlib.Path("m.pt"),
        pathlib.Path("nowhere/x"),
    )
]  # fmt: skip
COLLECTIONS: list[Callable[[], Any]] = [
    list, tuple, dict, set, frozenset, itself, deep, object, Raises, Strange, Long,
    lambda: Raises(AttributeError), lambda: Raises(ValueError), lambda: Raises(OverflowError),
    lambda: Raises(RuntimeError), lambda: [[]], lambda: [[[]]], lambda: [None],
    lambda: (None, None),
    lambda: [1, 2], lambda: (1, 0), lambda: [0.5, 0.5], lambda: [[1, 2], [3]], lambda: [2**64],
    lambda: [-1], lambda: [True], lambda: ["a"], lambda: {"a": 1}, lambda: {None: None},
    lambda: {"step": 2**64, "lr": 0.1, "state": []}, lambda: iter([]), lambda: range(3),
    lambda: range(10**12), lambda: (i for i in range(2)), lambda: bytearray(8),
    lambda: memoryview(b"abcd"), lambda: memoryview(b""), lambda: array.array("d", [1.0]),
    lambda: array.array("f"), lambda: [(0, 0)], lambda: [(1, 0), (2**70, 0)], lambda: [(0, 0, 0)],
]  # fmt: skip
ARRAYS: list[Callable[[], Any]] = [
    lambda: np.zeros(()),
    lambda: np.zeros((), np.float32),
    lambda: np.array(3),
    lambda: np.zeros(0),
    lambda: np.zeros((0, 0)),
    lambda: np.zeros((0, 2, 3)),
    lambda: np.zeros((2, 0, 3), np.float32),
    lambda: np.zeros((2, 2, 0)),
    lambda: np.ones(1),
    lambda: np.ones(2, np.float32),
    lambda: np.ones((3, 3)),
    lambda: np.eye(2, dtype=np.float32),
    lambda: np.ones((4, 2, 3)),
    lambda: np.ones((4, 2, 3), np.float32),
    lambda: np.ones((1, 2, 3, 4, 5)),
    lambda: np.ones((1,) * 40),
    lambda: np.full((3, 3), np.nan),
    lambda: np.full((2, 2), np.inf),
    lambda: np.full((2, 2), 1e300),
    lambda: np.full(2, 1e-320),
    lambda: np.ones((4, 3), np.float16),
    lambda: np.ones((3, 3), ">f8"),
    lambda: np.ones((4, 2, 3), ">f4"),
    lambda: np.arange(3),
    lambda: np.array([2**63], np.uint64),
    lambda: np.array([-1, 9]),
    lambda: np.array([1, 1], np.int8),
    lambda: np.ones((3, 3), np.complex128),
    lambda: np.array([True, False]),
    lambda: np.array(["a", "b"]),
    lambda: np.array([b"a"]),
    lambda: np.array([None, 1], object),
    lambda: np.array([[]], object),
    lambda: np.array([itself()]),
    lambda: np.zeros(2, [("a", "f4"), ("b", "i4")]),
    lambda: np.zeros(2, "M8[s]"),
    lambda: np.zeros(2, "V3"),
    lambda: np.ones((6, 6))[::2, ::-2],
    lambda: np.ones((3, 3)).T[1:],
    lambda: frozen(np.ones(3)),
    lambda: np.broadcast_to(np.float32(1), (3, 3)),
    lambda: np.broadcast_to(np.float64(1), (1 << 40, 1)),
    lambda: np.ma.masked_array([1.0, 2.0], [True, False]),
    lambda: np.asmatrix(np.ones((2, 2))),
    lambda: np.ones((3, 3)).view(Kept),
    lambda: np.ones((3, 3)).view(Odd),
    lambda: DLPack(np.ones((3, 3))),
    lambda: DLPack(np.ones(2, np.float16)),
    lambda: DLPack(5),
    lambda: DLPack(np.ones(2, object)),
    lambda: np.frombuffer(bytearray(25), np.float64, 3, 1),
    lambda: np.longdouble([1, 2]),
]
EVERY = [*SCALARS, *TEXTS, *COLLECTIONS, *ARRAYS]

# An array that was right, so that it no longer is, or only just.
CHANGES: list[Callable[[Any], Any]] = [
    lambda a: a.astype(np.float64 if a.dtype == np.float32 else np.float32),
    lambda a: a.astype(np.int64),
    lambda a: a.astype(object),
    lambda a: a.astype(a.dtype.newbyteorder()),
    lambda a: a[:0],
    lambda a: a[:1],
    lambda a: a[..., :0],
    lambda a: a[None],
    lambda a: a[..., None],
    lambda a: a[0],
    lambda a: a.T,
    lambda a: a[::-1],
    lambda a: a[::-1].copy()[::-1],
    lambda a: a.ravel(),
    lambda a: np.concatenate([a, a]),
    lambda a: a * 0,
    lambda a: a.astype(float) * np.nan,
    lambda a: (a * 0 + 1) / np.asarray(0, a.dtype),
    lambda a: (a * 0 + 1) * np.asarray(1e30, a.dtype),
    lambda a: a.view(Kept),
    lambda a: a.view(Odd),
    lambda a: frozen(a.copy()),
    DLPack,
    memoryview,
    lambda a: a.tolist(),
    lambda a: np.ma.masked_array(a),
    lambda a: a.astype(bool),
    lambda a: -a,
    lambda a: np.broadcast_to(a.ravel()[:1], a.shape),
    lambda a: a.astype(np.float16),
    lambda a: a + 2**40,
]
