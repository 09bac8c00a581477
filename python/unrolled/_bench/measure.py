"""One work in one mode: results compared, then timed in turns."""

from __future__ import annotations

import gc
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np

from .. import _native
from .._arguments import Array
from .contenders import OURS, Contender, Runner, UnsupportedError
from .task import task
from .works import Work

# The largest difference over the largest number expected, in units of the dtype's precision.
# Sums over some thousand terms in another order differ by tens of units; a gate in the wrong
# place or a bias left out, by millions.
TOLERANCE = 2000
# Seconds a sample lasts at least, beside which the clock's own cost and grain are nothing.
SAMPLE = 2e-3
# Seconds for building, compiling and a first run.
PREPARATION = 120
# Rounds, where a number is not asked for: as many as the seconds allow, within these.
FEWEST, MOST = 5, 31
# Seconds between samples with more than one thread: pools of some libraries spin for a while when
# their work is done, and would do it on the next one's CPUs. Some go on for longer than this: see
# the spread before believing a figure of more than one thread.
SETTLE = 5e-3
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
    runners: dict[str, Runner] = {}
    runners[OURS] = contenders[OURS].prepare(numbers, mode)
    expected = {name: a.copy() for name, a in runners[OURS].results().items()}
    for name, contender in contenders.items():
        if name == OURS:
            continue
        try:
            with limited(PREPARATION):
                runner = contender.prepare(numbers, mode)
                complaint = difference(runner.results(), expected)
        except UnsupportedError as error:
            outcomes[name] = {"status": "unsupported", "reason": str(error)}
        except Exception as error:
            outcomes[name] = {"status": "failed", "reason": said(error)}
        else:
            if complaint is None:
                runners[name] = runner
            else:
                outcomes[name] = {"status": "wrong", "reason": complaint}
    del expected
    timings, peak = samples(runners, effort, threads, work.dtype)
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
        limit = TOLERANCE * float(np.finfo(right.dtype).eps)
        # Not `error > limit`: that would let NaN pass.
        if not error <= limit:
            return f"{name}: differs by {error:.1e} of its largest, {limit:.1e} are allowed"
    return None


def said(error: Exception) -> str:
    """The first line of an error, without the paths of this machine."""
    lines = str(error).strip().splitlines() or [""]
    text = re.sub(r"(?:[A-Za-z]:)?(?:[/\\][^\s/\\:'\"]+){2,}", "<path>", lines[0])
    return f"{type(error).__name__}: {text[:200]}"


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Stop with an exception after so many seconds, where there are signals to do that."""
    if not hasattr(signal, "SIGALRM"):
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"not ready after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def samples(
    runners: Mapping[str, Runner], effort: Effort, threads: int, dtype: str
) -> tuple[dict[str, dict[str, Any]], float]:
    """Seconds a call of each, and the highest peak in GFLOP/s; all take their turn in each round.

    The highest: what stood in the way of the others is no limit of the machine.
    """
    inner = {name: _inner(runner) for name, runner in runners.items()}
    once = sum(_sample(runner, inner[name]) for name, runner in runners.items())
    rounds = effort.rounds(once * 1.1)
    names = list(runners)
    taken: dict[str, list[float]] = {name: [] for name in names}
    peaks = []
    gc.collect()
    for turn in range(rounds):
        peaks.append(peak(threads, dtype))
        start = turn % len(names)
        for name in names[start:] + names[:start]:
            if threads > 1:
                time.sleep(SETTLE)
            taken[name].append(_sample(runners[name], inner[name]) / inner[name])
    timings = {
        name: {"status": "timed", **_summary(each), "inner": inner[name]}
        for name, each in taken.items()
    }
    return timings, max(peaks)


def _summary(seconds: list[float]) -> dict[str, Any]:
    q1, median, q3 = (float(q) for q in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return {"median": median, "q1": q1, "q3": q3, "repeats": len(seconds)}


def _inner(runner: Runner) -> int:
    """How many calls make a sample: doubled until they last long enough."""
    inner = 1
    while True:
        seconds = _sample(runner, inner)
        if seconds >= SAMPLE:
            return inner
        inner = max(2 * inner, min(64 * inner, int(1.2 * inner * SAMPLE / max(seconds, 1e-7))))


def _sample(runner: Runner, inner: int) -> float:
    """Seconds of so many calls. The collector of garbage waits, as in `timeit`."""
    run, turns = runner.run, range(inner)
    collecting = gc.isenabled()
    with runner.surroundings():
        if inner > 1:
            # Small works are asked for in a row: caches and pools are theirs, not the last one's.
            run()
        gc.disable()
        try:
            start = time.perf_counter()
            for _ in turns:
                run()
            return time.perf_counter() - start
        finally:
            if collecting:
                gc.enable()


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
