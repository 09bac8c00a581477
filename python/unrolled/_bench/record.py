"""The record of a run: what it says of the machine, and how its parts come together.

A record is JSON::

    format      1
    date        of the run, UTC
    machine     cpu, cores (those this process may use), system
    isa         the level of ours
    versions    Python's, NumPy's, and by contender; what is not installed is in `missing`
    missing     by contender, the error of its import
    options     as given
    failures    by number of threads: processes that ended before they were through
    works       a list of entries: work, mode, threads, flops, peak (GFLOP/s), goal (or null),
                against (whose time the goal is a ratio to, "" for the best peer's),
                contenders: by name, status ("timed", "wrong", "unsupported" or "failed") with
                either median, q1, q3 (seconds a call), repeats (samples), inner (calls a sample),
                or the reason
    sweeps      a list of the same, with sweep, title and value besides
"""

from __future__ import annotations

import datetime
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .works import WORKS

FORMAT = 1


def cpu() -> str:
    """The model, where the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.processor() or platform.machine()


def cpus() -> list[int]:
    """Those this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def goal(work: str, mode: str) -> dict[str, Any]:
    """That of the table of works, and whose time it is a ratio to."""
    found = next((w for w in WORKS if w.name == work), None)
    value = found.goals.get(mode) if found else None
    return {"goal": value, "against": found.against if found and value is not None else ""}


def circumstances() -> dict[str, Any]:
    """When and where."""
    return {
        "format": FORMAT,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": {
            "cpu": cpu(),
            "cores": len(cpus()),
            "system": f"{platform.system()} {platform.machine()}",
        },
    }


def plain_versions() -> dict[str, str]:
    """Of what is always there."""
    return {"Python": platform.python_version(), "NumPy": np.__version__}


def assemble(
    options: Mapping[str, Any], parts: Mapping[int, dict[str, Any]], failures: Mapping[int, str]
) -> dict[str, Any]:
    """The record of the parts that processes made, by their numbers of threads."""
    versions = plain_versions()
    missing: dict[str, str] = {}
    for part in parts.values():
        versions |= part["versions"]
        missing |= part["missing"]
    entries = [entry for part in parts.values() for entry in part["works"]]
    return {
        **circumstances(),
        "isa": next((part["isa"] for part in parts.values()), None),
        "versions": versions,
        "missing": missing,
        "options": dict(options),
        "failures": {str(threads): why for threads, why in failures.items()},
        "works": [{**e, **goal(e["work"], e["mode"])} for e in entries],
        "sweeps": [entry for part in parts.values() for entry in part["sweeps"]],
    }
