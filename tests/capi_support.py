"""The C library as a user has it: built, installed, and programs compiled against it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = Path(__file__).resolve().parent / "capi"
DATA = Path(__file__).resolve().parent / "data" / "formats"


def needs(*programs: str) -> None:
    """Skips a test where one of them is missing."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


def run(*command: Any, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """A program that must succeed; what it says stands in the failure where it does not."""
    done = subprocess.run([*map(str, command)], capture_output=True, check=False, **options)
    said = done.stderr.decode(errors="replace") + done.stdout[:2000].decode(errors="replace")
    assert done.returncode == 0, f"{command}: {done.returncode}\n{said}"
    return done


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="unrolled-capi-")


@functools.cache
def _installed() -> Path:
    prefix = Path(_folder().name) / "prefix with a space"
    run(ROOT / "capi" / "install.sh", prefix)
    return prefix


def prefix() -> Path:
    """Where the library is installed."""
    needs("cargo", "gcc", "g++", "pkg-config")
    return _installed()


def pkg_config(*arguments: str) -> list[str]:
    """What pkg-config says of the installed library, argument by argument."""
    import shlex

    said = run("pkg-config", *arguments, env=environment()).stdout.decode()
    return shlex.split(said)


def environment(**more: str) -> dict[str, str]:
    """For programs that find the library by itself: pkg-config's, and the loader's."""
    lib = prefix() / "lib"
    paths = {"PKG_CONFIG_PATH": f"{lib}/pkgconfig", "LD_LIBRARY_PATH": str(lib)}
    return os.environ | paths | {"DYLD_LIBRARY_PATH": str(lib)} | more


def play(program: Path, *arguments: Any, x: np.ndarray, **options: Any) -> np.ndarray:
    """What a program gives that reads floats and writes floats."""
    given = np.ascontiguousarray(x, dtype=np.float32).tobytes()
    options.setdefault("env", environment())
    return np.frombuffer(run(program, *arguments, input=given, **options).stdout, np.float32)
