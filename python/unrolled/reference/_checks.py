"""Arguments that do not fit are refused: the message says which, what was expected, what came.

A wrong kind of thing (type, dtype) is a ``TypeError``; a wrong size or value is a ``ValueError``.
Nothing is cast silently, because a quiet float32 in a float64 check would hide the very error that
this package exists to find.
"""

from __future__ import annotations

import math
import operator
import reprlib
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from . import _foreign

Array: TypeAlias = npt.NDArray[Any]

FLOAT_DTYPES = ("float32", "float64")
_INT64 = np.dtype(np.int64)


def integer(name: str, value: Any, *, at_least: int) -> int:
    """An integer no smaller than `at_least`; a bool is not an integer here."""
    number = value if type(value) is int else _index(name, value)
    if number < at_least:
        raise ValueError(f"{name}: expected an integer >= {at_least}, got {shown(number)}")
    return number


def _index(name: str, value: Any) -> int:
    # A masked number counts as a number to Python.
    if isinstance(value, (bool, np.bool_, np.ma.MaskedArray)):
        raise TypeError(f"{name}: expected an integer, got {kind(value)}")
    try:
        return operator.index(value)
    # Whatever a value's own `__index__` may raise.
    except Exception as error:
        if _foreign.by_a_handler(error):
            raise
        raise TypeError(f"{name}: expected an integer, got {kind(value)}") from error


def instance(name: str, value: Any, kinds: type | tuple[type, ...], expected: str) -> None:
    """One of the kinds, which `expected` names."""
    if not isinstance(value, kinds):
        raise TypeError(f"{name}: expected {expected}, got {kind(value)}")


def flag(name: str, value: Any) -> bool:
    """True or False, and not merely something truthy."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {kind(value)}")
    return bool(value)


def real(name: str, value: Any) -> float:
    """A finite real number."""
    number_types = (int, float, np.integer, np.floating)
    # To NumPy a span of time is an integer, whose unit would be lost.
    if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, number_types):
        raise TypeError(f"{name}: expected a real number, got {kind(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name}: expected a finite number, got {number}")
    return number


def choice(name: str, value: Any, options: tuple[str, ...]) -> str:
    """One of the strings in `options`."""
    expected = f"expected one of {', '.join(map(repr, options))}"
    if not isinstance(value, str):
        raise TypeError(f"{name}: {expected}, got {kind(value)}")
    if value not in options:
        raise ValueError(f"{name}: {expected}, got {value!r}")
    return value


def float_dtype(value: Any) -> np.dtype[Any]:
    """The dtype of a network: float32 or float64, by name or as NumPy writes it."""
    expected = f"dtype: expected one of {', '.join(map(repr, FLOAT_DTYPES))}"
    dtype: np.dtype[Any]
    try:
        # np.dtype(None) is float64, and None here is far more likely a mistake than a wish.
        if value is None:
            raise TypeError
        dtype = np.dtype(value)
    # Lists of fields, however deep, and whatever an object's own code raises.
    except Exception as error:
        if _foreign.by_a_handler(error):
            raise
        raise TypeError(f"{expected}, got {shown(value)}") from None
    if dtype not in map(np.dtype, FLOAT_DTYPES):
        raise TypeError(f"{expected}, got {dtype}")
    return dtype


def array(name: str, value: Any, dtype: npt.DTypeLike | None) -> Array:
    """`value` as an ndarray of exactly `dtype` (None: any), without a copy where none is needed.

    Takes NumPy arrays of any stride, DLPack objects and buffers. Lists are refused: they have no
    dtype, so taking them would be a silent cast. So is what means more than its memory says, such
    as a masked array (`_foreign`).
    """
    try:
        found = value if type(value) is np.ndarray else _foreign.taken_over(value)
    except _foreign.UnreadableError as error:
        raise TypeError(f"{name}: expected {_expected(dtype)}, got {error}") from None
    if dtype is not None and found.dtype != dtype:
        cure = _cure(name, found.dtype, np.dtype(dtype)) if isinstance(value, np.ndarray) else ""
        raise TypeError(f"{name}: expected {_expected(dtype)}, got dtype {found.dtype}{cure}")
    return found


def _cure(name: str, got: np.dtype[Any], expected: np.dtype[Any]) -> str:
    """What to do about numbers of another type, if that can be said."""
    if got.kind not in "fiu" or expected.kind != "f":
        return ""
    network = f" or dtype={got.name!r}" if got in map(np.dtype, FLOAT_DTYPES) else ""
    return f"; use {name}.astype(np.{expected.name}){network}"


def _expected(dtype: npt.DTypeLike | None) -> str:
    return "an array" if dtype is None else f"a {np.dtype(dtype)} array"


def integers(name: str, value: Any) -> Array:
    """An array of any integer dtype, as int64 in order: no value changes."""
    found = array(name, value, None)
    if found.dtype == _INT64 and found.flags.c_contiguous and found.flags.aligned:
        return found
    # By the kind: to NumPy spans of time are integers as well.
    if found.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got dtype {found.dtype}")
    if found.dtype == np.uint64 and found.size and found.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: expected integers below 2**63, got {found.max()}")
    return np.require(found, dtype=np.int64, requirements=["C", "A"])


def shaped(name: str, value: Array, axes: str, shape: tuple[int, ...]) -> Array:
    """`value`, once its shape is known to be `shape`; `axes` says what the axes mean."""
    if value.shape != shape:
        raise ValueError(f"{name}: expected shape {axes} = {shape}, got {value.shape}")
    return value


def lengths(value: Any, steps: int, batch: int) -> Array:
    """Integers (B,) in [0, T], from an integer array or a sequence of integers."""
    if isinstance(value, (list, tuple)):
        for row, n in enumerate(value):
            if integer("lengths", n, at_least=0) > steps:
                raise ValueError(f"lengths: expected 0 to T = {steps}, got {shown(n)} in row {row}")
        value = np.array(value, dtype=np.int64)
    found = shaped("lengths", integers("lengths", value), "(B,)", (batch,))
    wrong = np.flatnonzero((found < 0) | (found > steps))
    if wrong.size:
        row = wrong[0]
        raise ValueError(f"lengths: expected 0 to T = {steps}, got {found[row]} in row {row}")
    return found


def shown(value: Any) -> str:
    """A value in a message: of what is long or deep only the beginning."""
    try:
        return reprlib.repr(value)
    # Python writes no integer of more than 4300 digits.
    except ValueError:
        return f"a long {kind(value)}"


def kind(value: Any) -> str:
    """How a value of the wrong kind is named in a message."""
    return "None" if value is None else type(value).__name__
