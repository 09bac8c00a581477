"""Threads, instruction sets, and what is in use."""

from __future__ import annotations

import os
import platform
import warnings
from typing import Any

import numpy as np

from . import _arguments as arguments
from . import _native

ISAS = tuple(_native.ISAS)
MOST_THREADS = _native.MOST_THREADS


def set_num_threads(n: int) -> None:
    """Set how many threads may work on a batch. Results do not depend on it, to the last bit.

    At first it is the environment variable ``UNROLLED_NUM_THREADS``, or as many as the calling
    thread has processors to use at the time of each call.

    Threads run where the calling thread may run (``taskset``, `os.sched_setaffinity`, a
    container's processors), and never more of them than it has processors there, whatever is
    set: on one processor no thread is woken. Where among those they run is left to the system.

    Parameters
    ----------
    n : int
        1 to 1024, the calling thread included.
    """
    n = arguments.integer("n", n, at_least=1)
    if n > MOST_THREADS:
        raise ValueError(f"n: expected an integer <= {MOST_THREADS}, got {arguments.shown(n)}")
    _native.set_num_threads(n)


def get_num_threads() -> int:
    """How many threads may work on a batch, the calling one included."""
    return _native.get_num_threads()


def available_isas() -> tuple[str, ...]:
    """The instruction sets that this machine can run, lowest first."""
    return tuple(_native.available_isas())


def isa() -> str:
    """The instruction set that a network made now will use; those made before keep theirs."""
    return _native.isa()


def set_max_isa(name: str) -> None:
    """Use no higher instruction set than this from now on, as ``UNROLLED_MAX_ISA`` does.

    Networks made before keep theirs (see their attribute `isa`).

    Parameters
    ----------
    name : {"portable", "neon", "avx2", "avx512"}
        May be one this machine does not have; then the highest below it is used.
    """
    _native.set_max_isa(arguments.choice("name", name, ISAS))


def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Say which version this is, what it runs on, and how.

    Parameters
    ----------
    mode : {"stdout", "dicts"}
        Print it, or return it as a dict, as `numpy.show_config` does.
    """
    arguments.choice("mode", mode, ("stdout", "dicts"))
    config = {
        "version": _native.__version__,
        "isa": isa(),
        "isas available": list(available_isas()),
        "threads": get_num_threads(),
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    environment = ("UNROLLED_MAX_ISA", "UNROLLED_NUM_THREADS")
    config |= {name: os.environ[name] for name in environment if name in os.environ}
    if mode == "dicts":
        return config
    for key, value in config.items():
        print(f"{key + ':':<22}{', '.join(value) if isinstance(value, list) else value}")
    return None


def check_environment() -> None:
    """Warn of environment variables that have no effect because they cannot be understood."""
    name = os.environ.get("UNROLLED_MAX_ISA", ISAS[0])
    if name not in ISAS:
        expected = ", ".join(map(repr, ISAS))
        _ignored("UNROLLED_MAX_ISA", f"one of {expected}", name)
    threads = os.environ.get("UNROLLED_NUM_THREADS", "1")
    # No more digits than `int` takes.
    digits = threads.lstrip("0")[:9] if threads.isascii() and threads.isdigit() else ""
    if not (digits and int(digits) <= MOST_THREADS):
        _ignored("UNROLLED_NUM_THREADS", f"an integer from 1 to {MOST_THREADS}", threads)


def _ignored(name: str, expected: str, got: str) -> None:
    warnings.warn(f"{name}: expected {expected}, got {got!r}", RuntimeWarning, stacklevel=4)
