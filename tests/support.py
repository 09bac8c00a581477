"""Networks of every kind, random arrays, and small tools that several test files need."""

from __future__ import annotations

from typing import Any

import numpy as np
import unrolled as ur
from unrolled._cases import VARIANTS, Variant, cast, problem

__all__ = ["VARIANTS", "Variant", "arrays", "cast", "make", "normal", "problem", "same"]


def make(variant: Variant, input_size: int = 3, hidden_size: int = 6, **more: Any) -> Any:
    """A network of ours."""
    arguments = {"seed": 7, **variant.arguments, **more}
    return getattr(ur, variant.cell)(input_size, hidden_size, **arguments)


def normal(*shape: int, dtype: Any = "float32", seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def arrays(value: Any) -> tuple[np.ndarray, ...]:
    """A state, a tape's quantity … as a tuple, whichever cell it is of."""
    return value if isinstance(value, tuple) else (value,)


def same(actual: Any, expected: Any) -> bool:
    """Whether arrays, or tuples of them, are equal to the last bit, zeros' signs included."""
    pairs = zip(arrays(actual), arrays(expected), strict=True)
    return all(a.shape == e.shape and a.tobytes() == e.tobytes() for a, e in pairs)
