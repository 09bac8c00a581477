"""A decoder's steps: PyTorch's cells beside our kernels, the state carried, a Linear between steps.

    python benches/torch_cells.py [--threads 1] [--rounds 9]

Processor time a step; sides in turn, the least of all rounds. From this comes what `unrolled.torch`
leaves to PyTorch (`Cell._least`); "computed by" says whom a cell would choose.
"""

from __future__ import annotations

import argparse
import copy
import time
from typing import Any
from unittest.mock import patch

import torch
import unrolled
import unrolled.torch as ut
from unrolled._progress import progress

STEPS = 10
# Seconds a side runs in a round.
SAMPLE = 0.02
# B, I, H.
SIZES = [(1, 16, 16), (8, 64, 64), (64, 64, 64), (1, 64, 256), (64, 64, 256)]
SIZES += [(32, 256, 512), (128, 256, 512), (128, 512, 1024)]


def decode(cell: Any, out: Any, x: Any, state: Any) -> None:
    with torch.no_grad():
        for _ in range(STEPS):
            state = cell(x, state)
            x = out(state[0] if isinstance(state, tuple) else state)


def per_step(cell: Any, given: Any, calls: int) -> float:
    start = time.process_time()
    for _ in range(calls):
        decode(cell, *given)
    return (time.process_time() - start) / (calls * STEPS)


def compare(name: str, size: tuple[int, int, int], rounds: int) -> tuple[float, float, str]:
    """Seconds a step of PyTorch's and of our kernels, and whom the cell would choose."""
    batch, inputs, units = size
    theirs = getattr(torch.nn, name)(inputs, units)
    ours = copy.deepcopy(theirs)
    ut.accelerate(ours)
    state = torch.randn(batch, units)
    given = (
        torch.nn.Linear(units, inputs),
        torch.randn(batch, inputs),
        (state, state) if name == "LSTMCell" else state,
    )
    with torch.no_grad():
        chosen = ut.explain(ours, *given[1:]).split(":")[0]
    least = [float("inf")] * 2
    calls = max(1, round(SAMPLE / STEPS / per_step(theirs, given, 3)))
    with patch.object(type(ours), "_least", (1, 0)):
        for _ in range(rounds):
            for side, cell in enumerate((theirs, ours)):
                least[side] = min(least[side], per_step(cell, given, calls))
    return least[0], least[1], chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    lines = []
    cases = [(name, size) for name in ("LSTMCell", "GRUCell", "RNNCell") for size in SIZES]
    for name, size in progress(cases, "measuring"):
        theirs, ours, chosen = compare(name, size, options.rounds)
        shape = ",".join(map(str, size))
        times = f"{theirs * 1e6:10.1f} {ours * 1e6:10.1f} {theirs / ours:6.2f}"
        lines.append(f"{name:9} {shape:12} {times}  {chosen}")
    print(f"torch {torch.__version__}, unrolled {unrolled.__version__} ({unrolled.isa()}),")
    print(
        f"{options.threads} thread(s), float32, no_grad, microseconds a step, the Linear included"
    )
    print(f"{'cell':9} {'B,I,H':12} {'PyTorch':>10} {'kernels':>10} {'ratio':>6}  computed by")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
