"""What a contender is."""

from __future__ import annotations

import gc
import re
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ..._arguments import Array
from ..task import Task

# Seconds for building, compiling and a first run.
PREPARATION = 120
# Seconds of a run beside which waking threads and filling caches is nothing.
LONG = 0.1


class UnsupportedError(Exception):
    """A contender cannot do a work; the message says why, to stand in the table."""


class FailedError(Exception):
    """A contender should have done a work and did not; the message is to stand in the table."""


@dataclass(frozen=True)
class Runner:
    """A contender ready to go.

    `run` is what is timed, entered as often as a sample takes within one `surroundings()`.
    `results` does the same once and gives the arrays to compare, by the names "y", "x" (the
    gradient by it) and those of the parameters, in the shapes of ours.
    """

    run: Callable[[], object]
    results: Callable[[], dict[str, Array]]
    surroundings: Callable[[], AbstractContextManager[Any]] = nullcontext

    def sample(self, calls: int) -> float:
        """Seconds of so many calls."""
        run, turns = self.run, range(calls)
        with no_collector(), self.surroundings():
            start = time.perf_counter()
            run()
            first = time.perf_counter() - start
            # Caches and pools must become this one's again; a long run would not notice.
            if calls == 1 and first > LONG:
                return first
            start = time.perf_counter()
            for _ in turns:
                run()
            return time.perf_counter() - start


@dataclass(frozen=True)
class Prepared:
    """The results of a first run, and what takes further samples: calls to seconds of them all."""

    results: dict[str, Array]
    sample: Callable[[int], float]


class Contender(ABC):
    """One library, loaded: `__init__` imports it, and an ImportError means it is not there."""

    name: str
    # Whether the ratio is taken to it.
    peer = True

    @abstractmethod
    def __init__(self, threads: int) -> None: ...

    @abstractmethod
    def version(self) -> str:
        """Of the library."""

    @abstractmethod
    def prepare(self, task: Task, mode: str) -> Runner:
        """All that is done once: the network built, compiled, warm; or UnsupportedError."""

    def close(self) -> None:  # noqa: B027
        """Let go of what Python would not."""

    def ready(self, task: Task, mode: str) -> Prepared:
        """`prepare` and a first run, within `PREPARATION` seconds; or Unsupported-, FailedError."""
        try:
            with limited(PREPARATION):
                runner = self.prepare(task, mode)
                return Prepared(runner.results(), runner.sample)
        except UnsupportedError:
            raise
        except Exception as error:
            raise FailedError(said(error)) from error


def said(error: Exception) -> str:
    """The first line of an error, without the paths of this machine."""
    lines = str(error).strip().splitlines() or [""]
    text = re.sub(r"(?:[A-Za-z]:)?(?:[/\\][^\s/\\:'\"]+){2,}", "<path>", lines[0])
    return f"{type(error).__name__}: {text[:200]}"


@contextmanager
def no_collector() -> Iterator[None]:
    """The collector of garbage waits, as in `timeit`."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


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
