"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path


def replace(path: str | os.PathLike[str], data: bytes) -> None:
    """Write beside, then replace in one move: whatever fails, no half of a file is left."""
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
