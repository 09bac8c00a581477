"""Threads run where the caller may run, and nowhere does the package say where that is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="threads are pinned as Linux does it"
)
two_processors = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="two processors are needed to do without one",
)

PROGRAM = """
import os
from pathlib import Path
mine = sorted(os.sched_getaffinity(0))

def tasks():
    "What the package's own threads may use, and how often each has given up its processor."
    told = {}
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().startswith("unrolled"):
            switched = (task / "status").read_text().split("voluntary_ctxt_switches:")[1]
            mask = sorted(os.sched_getaffinity(int(task.name)))
            told[int(task.name)] = mask, int(switched.split()[0])
    return told

def masks():
    return [mask for mask, _ in tasks().values()]

def work():
    before = sorted(os.sched_getaffinity(0))
    for _ in range(3):
        y, _, tape = net.record(x)
        tape.backward(y)
    assert sorted(os.sched_getaffinity(0)) == before, "the caller's own"
"""
NET = """
import numpy as np, unrolled as ur
net, x = ur.LSTM(16, 64, seed=0), np.ones((40, 64, 16), np.float32)
"""


def run(code: str, **environment: str) -> None:
    own = {k: v for k, v in os.environ.items() if k != "UNROLLED_NUM_THREADS"} | environment
    subprocess.run([sys.executable, "-c", PROGRAM + code], check=True, timeout=60, env=own)


@pytest.mark.parametrize("asked", [None, 2, 8])
def test_one_processor_wakes_no_thread(asked: int | None) -> None:
    """As under taskset, in a cpuset, in a container with one."""
    ask = f"ur.set_num_threads({asked})" if asked else "assert ur.get_num_threads() == 1"
    run(f"os.sched_setaffinity(0, mine[:1])\n{NET}\n{ask}\nwork()\nassert not tasks()")
    if asked:
        variable = {"UNROLLED_NUM_THREADS": str(asked)}
        run(f"os.sched_setaffinity(0, mine[:1])\n{NET}\nwork()\nassert not tasks()", **variable)


@two_processors
def test_threads_may_use_what_the_caller_may() -> None:
    run(
        NET
        + """
work()
assert ur.get_num_threads() == len(mine)
assert masks() == [mine] * (len(mine) - 1)
ur.set_num_threads(1000)
work()
assert masks() == [mine] * (len(mine) - 1), "more than there are processors"
"""
    )


@two_processors
def test_the_caller_is_pinned_after_it_has_worked() -> None:
    run(
        NET
        + """
work()
for some in (mine[:1], mine[-1:]):
    os.sched_setaffinity(0, some)
    before = tasks()
    work()
    assert tasks() == before, "woken"
    assert ur.get_num_threads() == 1
if len(mine) > 2:
    os.sched_setaffinity(0, mine[1:])
    work()
    assert masks() == [mine[1:]] * (len(mine) - 2)
os.sched_setaffinity(0, mine)
work()
assert masks() == [mine] * (len(mine) - 1)
"""
    )


@two_processors
def test_where_its_threads_are_put_they_stay() -> None:
    run(
        NET
        + """
work()
for task in tasks():
    os.sched_setaffinity(task, mine[-1:])
work()
assert masks() == [mine[-1:]] * (len(mine) - 1)
"""
    )
