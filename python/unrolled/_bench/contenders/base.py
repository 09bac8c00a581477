"""What a contender is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from ..._arguments import Array
from ..task import Task


class UnsupportedError(Exception):
    """A contender cannot do a work; the message says why, to stand in the table."""


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
