"""One work in one mode: results compared, then timed in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _native
from .._arguments import Array
from .._tolerances import TOLERANCES
from .contenders import OURS, Contender, FailedError, UnsupportedError
from .task import task
from .works import Work

# Calls to seconds of them all.
Sample = Callable[[int], float]

# Seconds a sample lasts at least, beside which the clock's own cost and grain are nothing.
SAMPLE = 2e-3
# Rounds, where a number is not asked for: as many as the seconds allow, within these.
FEWEST, MOST = 5, 31
# Of the chains of `multiply_adds`; some milliseconds.
PEAK_ROUNDS = 500_000


@dataclass(frozen=True)
class Effort:
    """How long to measure: so many rounds, or as many as fit into so many seconds."""

    repeats: int | None = None
    seconds: float = 2.0
    fewest: int = FEWEST

    def rounds(self, one_round: float) -> int:
        """How many."""
        if self.repeats is not None:
            return self.repeats
        return max(self.fewest, min(MOST, int(self.seconds / max(one_round, 1e-9))))


def measure(
    work: Work, mode: str, contenders: Mapping[str, Contender], effort: Effort, threads: int
) -> dict[str, Any]:
    """An entry of the record; `contenders` has ours among them, which the others must equal."""
    numbers = task(work)
    outcomes: dict[str, dict[str, Any]] = {}
    ours = contenders[OURS].ready(numbers, mode)
    there = {OURS: ours.sample}
    for name, contender in contenders.items():
        if name == OURS:
            continue
        try:
            prepared = contender.ready(numbers, mode)
        except UnsupportedError as error:
            outcomes[name] = {"status": "unsupported", "reason": str(error)}
            continue
        except FailedError as error:
            outcomes[name] = {"status": "failed", "reason": str(error)}
            continue
        complaint = difference(prepared.results, ours.results)
        if complaint is None:
            there[name] = prepared.sample
        else:
            outcomes[name] = {"status": "wrong", "reason": complaint}
    timings, peak = samples(there, effort, threads, work.dtype)
    outcomes |= timings
    return {
        "work": work.name,
        "mode": mode,
        "threads": threads,
        "flops": work.flops(mode, numbers.row_steps),
        "peak": peak,
        "contenders": {name: outcomes[name] for name in contenders},
    }


def difference(results: Mapping[str, Array], expected: Mapping[str, Array]) -> str | None:
    """What is not as expected, or None."""
    if results.keys() != expected.keys():
        missing = ", ".join(sorted(expected.keys() ^ results.keys()))
        return f"results differ in which there are: {missing}"
    for name, right in expected.items():
        got = results[name]
        if got.shape != right.shape or got.dtype != right.dtype:
            return f"{name}: expected {right.dtype} {right.shape}, got {got.dtype} {got.shape}"
        if not right.size:
            continue
        error = float(np.max(np.abs(got - right))) / max(float(np.max(np.abs(right))), 1e-30)
        limit = TOLERANCES["bench"] * float(np.finfo(right.dtype).eps)
        # Not `error > limit`: that would let NaN pass.
        if not error <= limit:
            return f"{name}: differs by {error:.1e} of its largest, {limit:.1e} are allowed"
    return None


def samples(
    contenders: Mapping[str, Sample], effort: Effort, threads: int, dtype: str
) -> tuple[dict[str, dict[str, Any]], float]:
    """Seconds a call of each, and the highest peak in GFLOP/s; all take their turn in each round.

    The highest: what stood in the way of the others is no limit of the machine.
    """
    outcomes: dict[str, dict[str, Any]] = {}
    calls: dict[str, int] = {}
    once = 0.0
    for name, sample in contenders.items():
        with _failing(name, outcomes):
            calls[name] = enough(sample)
            once += sample(calls[name])
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    peaks = []
    for turn in range(effort.rounds(once * 1.1)):
        peaks.append(peak(threads, dtype))
        names = [name for name in contenders if name not in outcomes]
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            with _failing(name, outcomes):
                taken[name].append(contenders[name](calls[name]) / calls[name])
    timings = {
        name: {"status": "timed", **summary(each), "inner": calls[name]}
        for name, each in taken.items()
        if name not in outcomes
    }
    return outcomes | timings, max(peaks)


@contextmanager
def _failing(name: str, outcomes: dict[str, dict[str, Any]]) -> Iterator[None]:
    """A peer that fails on the way is out of the race; without ours there is none."""
    try:
        yield
    except FailedError as error:
        if name == OURS:
            raise
        outcomes[name] = {"status": "failed", "reason": str(error)}


def summary(seconds: list[float]) -> dict[str, Any]:
    """What an entry says of its samples."""
    q1, median, q3 = (float(q) for q in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return {"median": median, "q1": q1, "q3": q3, "repeats": len(seconds)}


def enough(sample: Sample) -> int:
    """How many calls make a sample: doubled until they last long enough."""
    calls = 1
    while True:
        seconds = sample(calls)
        if seconds >= SAMPLE:
            return calls
        calls = max(2 * calls, min(64 * calls, int(1.2 * calls * SAMPLE / max(seconds, 1e-7))))


def peak(threads: int, dtype: str) -> float:
    """GFLOP/s of that many threads that do nothing but independent multiply-adds."""

    def one(_: int) -> int:
        return _native.multiply_adds(dtype, PEAK_ROUNDS)

    return _rate(one, threads) / 1e9


def _rate(work: Callable[[int], int], threads: int) -> float:
    if threads == 1:
        start = time.perf_counter()
        done = work(0)
        return done / (time.perf_counter() - start)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: time.sleep(1e-4), range(threads)))  # started before the clock
        start = time.perf_counter()
        done = sum(pool.map(work, range(threads)))
        return done / (time.perf_counter() - start)
