"""What to say where a package is missing."""

from __future__ import annotations


def install(extra: str) -> str:
    """How to get what an extra brings: the package is on no index, its source is installed."""
    return f"pip install '.[{extra}]' in the source of unrolled"
