"""Widths that cost more than a wider net: what the sweeps over H must not show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .contenders import OURS

# A vector of AVX-512 in float32, to which rows are padded.
WHOLE = 16
ALLOWED = 1.1


def slower(seconds: Mapping[int, float]) -> dict[int, float]:
    """Of every H that takes longer than the next multiple of 16 and a tenth: the ratio."""
    ratios = {h: s / seconds[next_whole(h)] for h, s in seconds.items() if next_whole(h) in seconds}
    return {h: ratio for h, ratio in ratios.items() if ratio > ALLOWED}


def next_whole(h: int) -> int:
    """The next multiple of 16, or h if it is one."""
    return -(-h // WHOLE) * WHOLE


def lines(record: Mapping[str, Any]) -> list[str]:
    """A line for every sweep over all widths."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    for entry in record["sweeps"]:
        if entry["sweep"] in ("cliffs", "training cliffs", "stream"):
            key = (entry["title"], entry["mode"])
            # Of noise, the first quartile has less than the median.
            found.setdefault(key, {})[entry["value"]] = entry["contenders"][OURS]["q1"]
    said = []
    for (title, mode), seconds in found.items():
        offenders = ", ".join(f"{h} ({ratio:.2f})" for h, ratio in slower(seconds).items())
        said.append(
            f"{title} ({mode}): of {len(seconds)} widths H, more than {ALLOWED - 1:.0%} slower "
            f"than the next multiple of {WHOLE}: {offenders or 'none'}"
        )
    return said
