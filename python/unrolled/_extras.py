"""What to say where a package of an extra is missing."""

from __future__ import annotations


def install(extra: str) -> str:
    """How to have an extra: as the package itself, which is on no index, from its source."""
    return f"pip install '.[{extra}]' in unrolled's source directory"


def missing(error: ImportError, what: str, needs: str, extra: str) -> ImportError:
    """The same error for a reader: `what` takes the package `needs`, which `extra` brings."""
    said = f"{what}: expected {needs}, got {error}; {install(extra)}"
    return type(error)(said, name=error.name, path=error.path)
