"""Comparisons at the one table of permitted errors, `python/unrolled/tolerances.toml`."""

from __future__ import annotations

import numpy as np
from unrolled._tolerances import TOLERANCES, relative_error


def assert_close(actual: np.ndarray, expected: np.ndarray, entry: str, name: str) -> None:
    """Hold `actual` against `expected` at the table's `entry`; `name` is for the message."""
    assert actual.shape == expected.shape, f"{name}: {actual.shape}, expected {expected.shape}"
    error = relative_error(actual, expected)
    # Not `error > limit`: that would let NaN pass.
    assert error <= TOLERANCES[entry], f"{name}: error {error:.3g}, {entry} {TOLERANCES[entry]:g}"
