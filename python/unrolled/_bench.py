"""`unrolled bench`: speed beside the NumPy reference and, where installed, PyTorch."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable, Sequence
from typing import Any

from ._cases import Problem, Variant, cast, medians, problem
from ._machine import get_num_threads, isa, set_num_threads
from ._progress import progress

CELLS = ("LSTM", "GRU", "RNN")
# T, B, I, H.
SIZES = ((100, 1, 1, 32), (100, 32, 16, 32), (100, 64, 64, 64), (50, 64, 128, 256))


def torch_run(case: Problem, cell: str) -> Callable[[], object] | None:
    """The same work in PyTorch; None if it is not there."""
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        return None
    torch.set_num_threads(get_num_threads())
    net = getattr(torch.nn, cell)(case.net.input_size, case.net.hidden_size)
    net.load_state_dict({k: torch.from_numpy(a) for k, a in case.net.state_dict().items()})
    x = torch.from_numpy(case.x).requires_grad_()
    dy = torch.from_numpy(case.dy)

    def run() -> None:
        y, _ = net(x)
        y.backward(dy)
        net.zero_grad()
        x.grad = None

    return run


def row(cell: str, size: tuple[int, int, int, int], repeats: int) -> str:
    """Median times of forward and backward with every gradient."""
    steps, batch, input_size, hidden_size = size
    case = problem(
        Variant(cell),
        "float32",
        steps=steps,
        batch=batch,
        input_size=input_size,
        hidden_size=hidden_size,
        plain_dtype="float32",
    )

    def run(net: Any) -> Callable[[], object]:
        def both() -> None:
            y, _, tape = net.record(case.x)
            tape.backward(cast(case.dy, y.dtype))

        return both

    runs = [run(case.net), run(case.plain)]
    peer = torch_run(case, cell)
    if peer is not None:
        runs.append(peer)
    ours, plain, *rest = medians(runs, repeats)
    line = f"{cell:<6}{size!s:<22}{ours * 1e3:>10.2f}{plain * 1e3:>10.2f}{plain / ours:>7.1f}x"
    if rest:
        line += f"{rest[0] * 1e3:>10.2f}{rest[0] / ours:>7.2f}x"
    return line


def main(argv: Sequence[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        prog="unrolled bench",
        description="Forward and backward with every gradient, float32, in this process: median "
        "milliseconds, and the other's time over ours.",
    )
    parser.add_argument("--cells", nargs="+", choices=CELLS, default=CELLS)
    parser.add_argument("--repeats", type=int, default=5, help="of each measurement (5)")
    parser.add_argument("--threads", type=int, help="of unrolled and PyTorch (all)")
    given = parser.parse_args(argv)
    if given.repeats < 1:
        parser.error(f"--repeats: expected 1 or more, got {given.repeats}")
    if given.threads is not None:
        set_num_threads(given.threads)
    rows = [(cell, size) for cell in given.cells for size in SIZES]
    lines = [row(*each, given.repeats) for each in progress(rows, "bench")]
    print(f"{isa()}, {get_num_threads()} threads (NumPy's are its own)")
    print(f"{'cell':<6}{'(T, B, I, H)':<22}{'unrolled':>10}{'NumPy':>10}{'':>8}{'PyTorch':>10}")
    print("\n".join(lines))
    return 0
