"""Contenders in processes of their own, all but one of which stand still.

Threads of some libraries go on spinning for a while when their work is done, on CPUs that the next
contender needs; in one process ONNX Runtime's made times on two threads differ by a half from
sample to sample. So each contender has a process, and a process is stopped (SIGSTOP) but when it is
its turn.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import warnings
from multiprocessing.connection import Connection
from typing import Any

from .contenders import Contender, FailedError, Prepared, Runner, UnsupportedError
from .contenders.base import PREPARATION
from .task import Task

PR_SET_PDEATHSIG = 1
# Beyond what a contender itself allows for getting ready, and for any one sample.
PATIENCE = PREPARATION + 30


def serve(pipe: Connection, which: type[Contender], threads: int) -> None:
    """The process's program: answers (kind, value) to what `Apart` asks."""
    if sys.platform == "linux":
        # A process that stands still would outlive one that was killed.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # Of libraries' own dealings with each other; what matters here is whether results are right.
    warnings.simplefilter("ignore")
    try:
        contender = which(threads)
    except ImportError as error:
        pipe.send(("missing", error))
        return
    # What the library made while it was loaded stays; looking through it at every work for
    # garbage would take longer than many a measurement.
    gc.collect()
    gc.freeze()
    pipe.send(("version", contender.version()))
    prepared: Prepared | None = None
    while True:
        try:
            question, argument = pipe.recv()
        except EOFError:
            return
        if question == "sample" and prepared is not None:
            pipe.send(("seconds", prepared.sample(argument)))
            continue
        prepared = None
        gc.collect()
        try:
            prepared = contender.ready(*argument)
        except UnsupportedError as error:
            pipe.send(("unsupported", str(error)))
        except FailedError as error:
            pipe.send(("failed", str(error)))
        else:
            pipe.send(("results", prepared.results))


class Apart(Contender):
    """A contender by way of its process, which is started anew should it end."""

    def __init__(self, which: type[Contender], threads: int) -> None:
        self.name, self.peer = which.name, which.peer
        self._which, self._threads = which, threads
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        arguments = (theirs, self._which, self._threads)
        self._process = context.Process(target=serve, args=arguments)
        self._process.start()
        theirs.close()
        kind, value = self._answer()
        if kind == "missing":
            self.close()
            raise value
        self._version = str(value)

    def version(self) -> str:
        return self._version

    def prepare(self, task: Task, mode: str) -> Runner:
        raise NotImplementedError("prepared in its own process: see `ready`")

    def ready(self, task: Task, mode: str) -> Prepared:
        if not self._process.is_alive():
            self._start()
        kind, value = self._ask("ready", (task, mode))
        if kind == "results":
            return Prepared(value, self._sample)
        raise (UnsupportedError if kind == "unsupported" else FailedError)(value)

    def _sample(self, calls: int) -> float:
        return float(self._ask("sample", calls)[1])

    def _ask(self, question: str, argument: Any) -> tuple[str, Any]:
        self._signal("SIGCONT")
        return self._answer((question, argument))

    def _answer(self, question: tuple[str, Any] | None = None) -> tuple[str, Any]:
        """What it says; nothing for a long time, or its end, is a failure."""
        try:
            if question is not None:
                self._pipe.send(question)
            if not self._pipe.poll(PATIENCE):
                self.close()
                raise FailedError(f"TimeoutError: no answer after {PATIENCE} s")
            kind, value = self._pipe.recv()
        except (EOFError, OSError):
            self.close()
            raise FailedError(f"its process ended, code {self._process.exitcode}") from None
        self._signal("SIGSTOP")
        return kind, value

    def _signal(self, name: str) -> None:
        number, pid = getattr(signal, name, None), self._process.pid
        if number is not None and pid is not None and self._process.is_alive():
            os.kill(pid, number)

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.kill()
        self._process.join()
