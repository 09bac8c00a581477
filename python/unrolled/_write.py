"""Files appear whole or not at all: everything the package writes goes through `replace`."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Bytes, or arrays and other buffers in order.
Data = bytes | memoryview
# Of the target's name, so that with what is put round it no file system finds it too long.
KEPT = 40


def replace(path: str | os.PathLike[str], data: Data | Iterable[Data]) -> None:
    """Write a file in one move.

    A new file beside the target, named ``.<target>.<random>.tmp``, is filled, brought to the disk
    and put in the target's place: whoever reads finds the old file or the new one, whichever
    threads and processes write at once, and a failure leaves the old one. The target keeps its
    mode, and a link's target is replaced, not the link. A device or a pipe is written to.

    Parameters
    ----------
    path : path
    data : bytes or memoryview, or an iterable of them

    Raises
    ------
    OSError
        FileNotFoundError for a directory that is missing, PermissionError for one in which no
        file can be made, …
    """
    chunks = [data] if isinstance(data, (bytes, memoryview)) else data
    # Where links lead; what is made beside the target follows none.
    target = Path(os.path.realpath(path))
    old = _old(path)
    if old is not None and not stat.S_ISREG(old):
        with open(path, "wb") as file:
            file.writelines(chunks)
        return
    mode = 0o666 if old is None else stat.S_IMODE(old)
    beside, file = _beside(target, mode)
    try:
        with file:
            if old is not None:
                os.chmod(beside, mode)
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
    _sync(target.parent)


def _old(path: str | os.PathLike[str]) -> int | None:
    """The mode of what is there, through links; None if nothing is."""
    try:
        return os.stat(path).st_mode
    except FileNotFoundError:
        return None


def _beside(target: Path, mode: int) -> tuple[Path, Any]:
    """A new file in the target's directory that was never anybody else's, opened to be written."""
    directory = target.parent
    if not directory.is_dir():
        raise FileNotFoundError(f"path: no such directory: {str(directory)!r}")
    beside = directory / f".{target.name[:KEPT]}.{secrets.token_hex(8)}.tmp"
    try:
        # "x" is O_EXCL: it neither opens what is there nor follows a link of that name.
        return beside, open(beside, "xb", opener=lambda name, flags: os.open(name, flags, mode))
    except PermissionError as error:
        raise PermissionError(
            f"path: expected a directory in which files can be made, got {str(directory)!r}: "
            f"{error.strerror}"
        ) from None


def _sync(directory: Path) -> None:
    """Bring a directory's entries to the disk, where a system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    # The file is in place; what cannot be opened or has no such call promises no more.
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
