"""All works at one number of threads."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from .._machine import isa
from .._progress import progress as plain_progress
from .apart import Apart
from .contenders import ALL, OURS, Contender
from .contenders.base import said
from .measure import Effort, measure
from .works import QUICK, WORKS, Work, sweeps

T = TypeVar("T")
# Of a contender, for so many threads.
Start = Callable[[type[Contender], int], Contender]

QUICK_SECONDS, QUICK_FEWEST = 0.1, 3
# A sweep has many points and draws a line through them.
SWEEP_SECONDS, SWEEP_FEWEST = 0.1, 5


def chosen(options: Mapping[str, Any]) -> list[Work]:
    """The works the options ask for."""
    works = QUICK if options["quick"] else WORKS
    return [w for w in works if re.search(options["works"], w.name, re.IGNORECASE)]


def effort(options: Mapping[str, Any]) -> Effort:
    """How long to measure each."""
    if options["quick"]:
        return Effort(options["repeats"], QUICK_SECONDS, QUICK_FEWEST)
    return Effort(options["repeats"])


def progress(items: Sequence[T], label: str) -> Iterable[T]:
    """A bar with the time that is left, where what draws it is installed."""
    try:
        tqdm: Any = importlib.import_module("tqdm").tqdm
    except ImportError:
        return plain_progress(items, label)
    bar: Iterable[T] = tqdm(items, desc=label, leave=False, disable=not sys.stderr.isatty())
    return bar


def load(
    wanted: Mapping[str, type[Contender]], threads: int, start: Start
) -> tuple[dict[str, Contender], dict[str, str]]:
    """Those that are there, and why the others are not."""
    there: dict[str, Contender] = {}
    missing = {}
    for name, contender in wanted.items():
        try:
            there[name] = start(contender, threads)
        except ImportError as error:
            missing[name] = said(error)
    return there, missing


def session(
    options: Mapping[str, Any],
    threads: int,
    *,
    sweeping: bool = False,
    contenders: Mapping[str, type[Contender]] = ALL,
    start: Start = Apart,
    keep: Callable[[dict[str, Any]], None] = lambda part: None,
) -> dict[str, Any]:
    """The part of a record that one process makes; `keep` gets it whenever it has grown."""
    wanted = {n: c for n, c in contenders.items() if n == OURS or n in options["contenders"]}
    there, missing = load(wanted, threads, start)
    part: dict[str, Any] = {
        "isa": isa(),
        "versions": {name: contender.version() for name, contender in there.items()},
        "missing": missing,
        "works": [],
        "sweeps": [],
    }
    try:
        _fill(part, options, there, threads, sweeping, keep)
    finally:
        for contender in there.values():
            contender.close()
    return part


def _fill(
    part: dict[str, Any],
    options: Mapping[str, Any],
    there: Mapping[str, Contender],
    threads: int,
    sweeping: bool,
    keep: Callable[[dict[str, Any]], None],
) -> None:
    """The works and sweeps."""
    label = f"{threads} thread{'s' * (threads > 1)}"
    pairs = [(work, mode) for work in chosen(options) for mode in work.modes]
    for work, mode in progress(pairs, label):
        entry = measure(work, mode, there, effort(options), threads)
        part["works"].append(entry)
        keep(part)
    if not sweeping:
        return
    points = [(sweep, value) for sweep in sweeps() for value in sweep.works]
    brief = Effort(None, SWEEP_SECONDS, SWEEP_FEWEST)
    for sweep, value in progress(points, "sweeps"):
        # NumPy's part is to judge ours where nothing else is run; that was done above.
        names = {OURS, *(sweep.others if value in sweep.shared else ())}
        some = {name: c for name, c in there.items() if name in names}
        entry = measure(sweep.works[value], sweep.mode, some, brief, threads)
        added = {"sweep": sweep.name, "title": sweep.title, "value": value}
        part["sweeps"].append({**added, **entry})
        if value == max(sweep.works):
            keep(part)
