"""The one table of permitted errors, `tolerances.toml`, and the measure they refer to."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np

from ._arguments import Array

TOLERANCES: dict[str, float] = tomllib.loads(
    Path(__file__).with_name("tolerances.toml").read_text(encoding="utf-8")
)


def relative_error(actual: Array, expected: Array) -> float:
    """max |actual - expected| / max |expected|; infinite where zeros were expected and did not
    come, NaN where a NaN came."""
    if expected.size == 0:
        return 0.0
    difference = float(np.max(np.abs(np.asarray(actual, np.float64) - expected)))
    if difference == 0.0:
        return 0.0
    largest = float(np.max(np.abs(expected)))
    return difference / largest if largest > 0.0 else difference * float("inf")
