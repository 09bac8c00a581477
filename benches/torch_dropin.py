"""PyTorch's recurrent layers beside ours in their place, in turn: forward, and forward + backward.

    python benches/torch_dropin.py [--threads 1] [--rounds 15]

Every round times both once, ours first in every second round; the figures are medians over rounds,
and the ratio the median of the rounds' ratios. On one thread it is the processor's time. For cells
see torch_cells.py.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import unrolled
import unrolled.torch as ut
from unrolled._progress import progress

# Layer, T, B, I, H, more.
CASES: list[tuple[str, int, int, int, int, dict[str, Any]]] = [
    ("LSTM", 1, 1, 1, 16, {}),
    ("LSTM", 100, 32, 16, 32, {}),
    ("LSTM", 100, 64, 64, 128, {}),
    ("LSTM", 50, 32, 64, 128, {"num_layers": 2, "bidirectional": True}),
    ("LSTM", 50, 32, 64, 128, {"num_layers": 2, "dropout": 0.1}),
    ("LSTM", 1, 1, 512, 512, {}),
    ("GRU", 1, 1, 64, 128, {}),
    ("GRU", 4, 1, 512, 512, {}),
    ("GRU", 100, 64, 64, 128, {}),
    ("RNN", 8, 1, 1024, 1024, {}),
    ("RNN", 100, 64, 64, 128, {}),
]
# Seconds a sample should last: calls are repeated up to that.
SAMPLE = 0.02


def forward(module: Any, x: Any) -> Callable[[], Any]:
    def run() -> None:
        with torch.no_grad():
            module(x)

    return run


def both_ways(module: Any, x: Any) -> Callable[[], Any]:
    x = x.clone().requires_grad_()
    parameters = [x, *module.parameters()]
    dy: list[Any] = []

    def run() -> None:
        y, _ = module(x)
        if not dy:
            dy.append(torch.randn_like(y))
        torch.autograd.grad(y, parameters, dy[0])

    return run


def per_call(run: Callable[[], Any], calls: int) -> float:
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    for _ in range(calls):
        run()
    return (clock() - start) / calls


def compare(case: Any, way: Callable[..., Any], rounds: int) -> tuple[float, float, float]:
    """Seconds a call of PyTorch's and of ours, and how often ours fits into theirs."""
    name, steps, batch, inputs, units, more = case
    theirs = getattr(torch.nn, name)(inputs, units, **more)
    ours = copy.deepcopy(theirs)
    ut.accelerate(ours)
    x = torch.randn(steps, batch, inputs)
    runs = [way(theirs, x), way(ours, x)]
    calls = []
    for run in runs:
        per_call(run, 3)
        calls.append(max(1, round(SAMPLE / per_call(run, 3))))
    times: list[list[float]] = [[], []]
    for i in range(rounds):
        for side in (0, 1) if i % 2 else (1, 0):
            times[side].append(per_call(runs[side], calls[side]))
    ratios = [a / b for a, b in zip(*times, strict=True)]
    return *map(statistics.median, times), statistics.median(ratios)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)

    lines = []
    for case in progress(CASES, "measuring"):
        name, steps, batch, inputs, units, more = case
        shape = f"{steps},{batch},{inputs},{units}"
        extra = " ".join(f"{key}={value}" for key, value in more.items())
        for what, way in (("forward", forward), ("both", both_ways)):
            theirs, ours, ratio = compare(case, way, options.rounds)
            lines.append(
                f"{name:9} {shape:15} {what:8} {theirs * 1e6:10.1f} {ours * 1e6:10.1f}"
                f" {ratio:6.2f}  {extra}"
            )
    print(f"torch {torch.__version__}, unrolled {unrolled.__version__} ({unrolled.isa()}),")
    print(f"{options.threads} thread(s), float32, microseconds a call, medians")
    print(f"{'layer':9} {'T,B,I,H':15} {'':8} {'PyTorch':>10} {'unrolled':>10} {'ratio':>6}")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
