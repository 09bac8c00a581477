"""All works at all levels, part by part."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

import unrolled as ur

from ... import _machine, _native
from ..contenders import OURS
from ..contenders.base import Runner, no_collector
from ..contenders.unrolled_ import Unrolled
from ..measure import Effort, enough, peak, summary
from ..session import effort, progress
from ..task import task
from ..works import FORWARD, Work
from . import chosen, levels, products, yardstick


@contextmanager
def at_level(isa: str) -> Iterator[None]:
    """Networks made meanwhile, and the peak, are of that level."""
    before = _machine.isa()
    _machine.set_max_isa(isa)
    try:
        yield
    finally:
        _machine.set_max_isa(before)


def session(
    options: Mapping[str, Any], *, keep: Callable[[dict[str, Any]], None] = lambda part: None
) -> dict[str, Any]:
    """What goes into a record; `keep` gets it whenever it has grown."""
    works = chosen(options)
    ours = Unrolled(1)
    part: dict[str, Any] = {
        "versions": {OURS: ours.version()},
        "missing": {},
        "entries": [],
        "packing": [],
        "yardstick": [],
    }
    points = [(work, isa, mode) for work in works for mode in work.modes for isa in levels()]
    for work, isa, mode in progress(points, "parts"):
        with at_level(isa):
            part["entries"].append(entry(work, mode, isa, ours, effort(options)))
            if mode == FORWARD:
                part["packing"].append(packing(work, isa))
        keep(part)
    # Ours are through: whatever these libraries leave running is in the way of none.
    there, part["missing"] = yardstick.load(options["contenders"])
    part["versions"] |= {each.name: each.library.version() for each in there}
    if there:
        pairs = [(work, product) for work in works for product in yardstick.sizes(work)]
        for work, product in progress(pairs, "yardstick"):
            part["yardstick"].append(yardstick.entry(work, product, there, effort(options)))
            keep(part)
    return part


def entry(work: Work, mode: str, isa: str, ours: Unrolled, effort: Effort) -> dict[str, Any]:
    """The whole and its parts in turns, and the peak beside them."""
    runner = ours.prepare(task(work), mode)
    calls = enough(runner.sample)
    # Both begin with a call that is not counted.
    rounds = effort.rounds(2 * runner.sample(calls) * (1 + 1 / calls))
    peaks, wholes, parts = [], [], []
    for _ in range(rounds):
        peaks.append(peak(1, work.dtype))
        wholes.append(runner.sample(calls) / calls)
        parts.append(laps(runner, calls))
    names = list(parts[0])
    medians = np.median([list(each.values()) for each in parts], axis=0)
    return {
        "work": work.name,
        "mode": mode,
        "isa": isa,
        "peak": max(peaks),
        "whole": summary(wholes),
        "parts": dict(zip(names, medians.tolist(), strict=True)),
        "products": products(work, mode),
    }


def laps(runner: Runner, calls: int) -> dict[str, float]:
    """Seconds of each part of a call, of so many calls."""
    run, turns = runner.run, range(calls)

    def work() -> None:
        for _ in turns:
            run()

    with no_collector(), runner.surroundings():
        run()
        return {name: seconds / calls for name, seconds in _native.measure_parts(work)}


def packing(work: Work, isa: str, repeats: int = 9) -> dict[str, Any]:
    """What a change of the weights costs beside their copying."""
    net = task(work).network(ur)
    state = net.state_dict()
    runner = Runner(lambda: net.load_state_dict(state), dict)
    calls = enough(runner.sample)
    seconds = [laps(runner, calls)["packing"] for _ in range(repeats)]
    return {"work": work.name, "isa": isa, "seconds": float(np.median(seconds))}
