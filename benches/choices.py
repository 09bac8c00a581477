"""What a caller's choices cost: batch, layout, threads, checkpoints, dtype, level.

    python benches/choices.py [--only REGEX] [--seconds 2]

Run in an environment with `unrolled` installed, best on one CPU by taskset (two for threads). The
ways of a choice are timed in turns, in the same process: medians of a call, forward and training
(forward and all gradients), each for the rows of the whole batch, and the times of the first way
that it takes. Of batches it is the time for a row that is compared.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import unrolled as ur
from unrolled._bench.contenders.base import Runner
from unrolled._bench.measure import Effort, Sample, samples
from unrolled._bench.table import duration, factor


@dataclass(frozen=True)
class Way:
    """One way to make a call."""

    name: str
    cell: str = "LSTM"
    steps: int = 100
    batch: int = 64
    inputs: int = 64
    units: int = 64
    dtype: str = "float32"
    batch_first: bool = False
    # Arrays of the other layout, handed over as views with their axes exchanged.
    view: bool = False
    checkpoint: Any = None
    threads: int = 1
    isa: str = ""


def network(way: Way) -> Any:
    """At its level."""
    before = ur.isa()
    ur.set_max_isa(way.isa or before)
    net = getattr(ur, way.cell)(
        way.inputs, way.units, dtype=way.dtype, batch_first=way.batch_first, seed=0
    )
    ur.set_max_isa(before)
    return net


def numbers(way: Way, columns: int) -> Any:
    """As its caller has them."""
    sizes = (way.steps, way.batch)
    shape = sizes[::-1] if way.batch_first != way.view else sizes
    made = np.random.default_rng(0).normal(size=(*shape, columns)).astype(way.dtype)
    return made.swapaxes(0, 1) if way.view else made


def calls(way: Way) -> dict[str, Callable[[], object]]:
    """Forward, and training."""
    net, x, dy = network(way), numbers(way, way.inputs), numbers(way, way.units)

    def training() -> object:
        _, _, tape = net.record(x, checkpoint=way.checkpoint)
        return tape.backward(dy)

    return {"forward": lambda: net(x), "training": training}


def sample(run: Callable[[], object], threads: int) -> Sample:
    """Takes the threads before the clock starts."""
    runner = Runner(run, dict)

    def timed(count: int) -> float:
        ur.set_num_threads(threads)
        return runner.sample(count)

    return timed


def tape_bytes(way: Way) -> int:
    """What is kept for the way back."""
    return int(network(way).record(numbers(way, way.inputs), checkpoint=way.checkpoint)[2].nbytes)


def choices() -> Iterator[tuple[str, list[Way]]]:
    """The choices, each with its ways; what the first takes is 1."""
    plain = Way("", units=128)
    for cell, units in (("LSTM", 32), ("LSTM", 128), ("GRU", 128)):
        rows = [64, 1, 2, 4, 8, 16, 32, 128, 256]
        ways = [Way(f"{b} rows", cell, batch=b, inputs=min(units, 64), units=units) for b in rows]
        yield f"batch, {cell} 100,B,{ways[0].inputs},{units}", ways
    for cell, batch, units in (
        ("LSTM", 32, 32),
        ("LSTM", 64, 128),
        ("RNN", 64, 128),
        ("GRU", 1, 32),
    ):
        name = f"layout, {cell} 100,{batch},{min(units, 64)},{units}"
        whole = Way("time-major", cell, batch=batch, inputs=min(units, 64), units=units)
        ways = [whole, replace(whole, name="batch_first", batch_first=True)]
        ways.append(replace(whole, name="time-major, of a view", view=True))
        yield name, ways
    for way in (replace(plain, batch=32, inputs=16, units=32), replace(plain, units=64), plain):
        name = f"threads, LSTM 100,{way.batch},{way.inputs},{way.units}"
        yield name, [replace(way, name=f"{n} threads", threads=n) for n in (1, 2)]
    for steps in (100, 1000):
        way = replace(plain, steps=steps, batch=16, units=64)
        name = f"checkpoint, LSTM {steps},16,64,64"
        kept = {"without": None, "auto": "auto", f"every {steps // 4} steps": steps // 4}
        yield name, [replace(way, name=said, checkpoint=value) for said, value in kept.items()]
    for units in (64, 128):
        ways = [Way(dtype, batch=32, units=units, dtype=dtype) for dtype in ("float32", "float64")]
        yield f"dtype, LSTM 100,32,64,{units}", ways
    for way in (replace(plain, batch=1, inputs=32, units=32), replace(plain, batch=1), plain):
        name = f"level, LSTM 100,{way.batch},{way.inputs},{way.units}"
        yield name, [replace(way, name=isa, isa=isa) for isa in ur.available_isas()[::-1]]


def report(name: str, ways: list[Way], seconds: float) -> Iterator[str]:
    """The lines of one choice."""
    found = {}
    for mode in ("forward", "training"):
        timed = {way.name: sample(calls(way)[mode], way.threads) for way in ways}
        # `samples` names ours and others; here all are ours.
        outcomes, _ = samples(timed, Effort(seconds=seconds), 1, ways[0].dtype)
        found[mode] = {way.name: outcomes[way.name]["median"] for way in ways}
    yield name
    for way in ways:
        cells = []
        for mode, medians in found.items():
            first = medians[ways[0].name] / ways[0].batch
            ratio = medians[way.name] / way.batch / first
            cells.append(f"{mode} {duration(medians[way.name]):>8} {factor(ratio):>5}")
        if name.startswith("checkpoint"):
            cells.append(f"tape {tape_bytes(way) / 1e6:.2f} MB")
        yield f"  {way.name:<24}{'    '.join(cells)}"


def main() -> int:
    """A block of lines for each choice."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", metavar="REGEX", help="choices whose names match")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each")
    options = parser.parse_args()
    say = partial(print, flush=True)
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    say(f"level {ur.isa()}, {cpus} CPUs")
    for name, ways in choices():
        if not re.search(options.only, name):
            continue
        if max(way.threads for way in ways) > (cpus or 1):
            say(f"{name}: not measured, for this process may use {cpus} CPUs")
            continue
        for line in report(name, ways, options.seconds):
            say(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
