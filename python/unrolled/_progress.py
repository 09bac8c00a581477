"""A bar on the terminal while something takes long."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def progress(items: Sequence[T], what: str, *, width: int = 30) -> Iterator[T]:
    """The items, one by one, and on stderr how many are done if someone is looking."""
    shown = sys.stderr.isatty()

    def show(done: int) -> None:
        filled = width * done // max(len(items), 1)
        bar = "#" * filled + "." * (width - filled)
        print(f"\r{what} [{bar}] {done}/{len(items)}", end="", file=sys.stderr, flush=True)

    try:
        for done, item in enumerate(items):
            if shown:
                show(done)
            yield item
    finally:
        # Gone when done, or when whoever asked has had enough: what follows is the result.
        if shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
