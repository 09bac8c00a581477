"""Memory and time of long sequences: plain tapes, checkpointed ones, PyTorch. Linux.

    python benches/memory.py [--steps 10000] [--long 100000]

Every row has a process of its own. "Peak" is the most resident memory from `record` to the end of
`backward`, beyond what there was before (the interpreter, the libraries, x and dy); "beyond" leaves
out what is handed to the caller as well: y and the derivative by x. "Tape" is what is held between
the two, for PyTorch the tensors saved for the way back; y is counted once in either.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import unrolled as ur
from unrolled._progress import progress

# Cell, layers, directions, T (0: --steps), B, I, H.
CASES = [
    ("LSTM", 1, 1, 0, 8, 16, 64),
    ("GRU", 1, 1, 0, 8, 16, 64),
    ("RNN", 1, 1, 0, 8, 16, 64),
    ("LSTM", 2, 1, 0, 8, 16, 64),
    ("LSTM", 1, 2, 0, 8, 16, 64),
    ("LSTM", 2, 2, 0, 8, 16, 64),
    ("LSTM", 1, 1, 0, 32, 32, 128),
]
WAYS = ("plain", "auto", "PyTorch")
MB = 1e6


def status(field: str) -> float:
    """Bytes: VmRSS is what is resident now, VmHWM the most there was."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(field):
            return float(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status: expected a line {field}")


def peak_of(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` returns, and by how much resident memory grew at most."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = status("VmRSS")
    result = work()
    return result, status("VmHWM") - before


def ours(case: Sequence[Any], way: str) -> dict[str, float]:
    cell, layers, directions, steps, batch, inputs, units = case
    net = getattr(ur, cell)(inputs, units, num_layers=layers, bidirectional=directions == 2, seed=0)
    checkpoint = "auto" if way == "auto" else None
    x, dy = arrays(steps, batch, inputs, directions * units)

    def work(x: Any = x, dy: Any = dy) -> tuple[int, int]:
        y, _, tape = net.record(x, checkpoint=checkpoint)
        g = tape.backward(dy)
        return tape.nbytes + y.nbytes, y.nbytes + g.input.nbytes

    work(x[:20], dy[:20])
    (tape, handed), peak = peak_of(work)
    return {"tape": tape, "handed": handed, "peak": peak, "seconds": best(work)}


def theirs(case: Sequence[Any]) -> dict[str, float]:
    import torch

    cell, layers, directions, steps, batch, inputs, units = case
    torch.manual_seed(0)
    torch.set_num_threads(ur.get_num_threads())
    net = getattr(torch.nn, cell)(inputs, units, num_layers=layers, bidirectional=directions == 2)
    x, dy = (torch.from_numpy(a) for a in arrays(steps, batch, inputs, directions * units))
    x.requires_grad_()
    own = {p.untyped_storage().data_ptr() for p in net.parameters()}

    def work(x: Any = x, dy: Any = dy) -> int:
        x.grad = None
        net.zero_grad()
        y, _ = net(x)
        y.backward(dy)
        return y.nbytes + x.nbytes

    def saved() -> int:
        storages: dict[int, Any] = {}

        def keep(tensor: Any) -> Any:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                storages[storage.data_ptr()] = storage
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            y, _ = net(x)
        storages[y.untyped_storage().data_ptr()] = y.untyped_storage()
        return sum(storage.nbytes() for storage in storages.values())

    work(x[:20].detach().requires_grad_(), dy[:20])
    handed, peak = peak_of(work)
    seconds = best(work)
    return {"tape": saved(), "handed": handed, "peak": peak, "seconds": seconds}


def arrays(steps: int, batch: int, inputs: int, outputs: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, inputs), dtype=np.float32)
    return x, rng.standard_normal((steps, batch, outputs), dtype=np.float32)


def best(work: Callable[[], Any], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def long_run(steps: int) -> dict[str, float]:
    """Three steps of an optimiser on one sequence, checkpointed; then the sequence streamed."""
    net = ur.LSTM(16, 64, num_layers=2, seed=0)
    optimiser = ur.optim.Adam(net)
    x, target = arrays(steps, 1, 16, 64)

    def train() -> list[float]:
        losses = []
        for _ in range(3):
            y, _, tape = net.record(x, checkpoint="auto")
            loss, dy = ur.losses.mse(y, target)
            optimiser.step(tape.backward(dy))
            losses.append(loss)
        return losses

    def stream() -> None:
        s = net.stream()
        for x_t in x:
            s.step(x_t)

    start = time.perf_counter()
    losses, peak = peak_of(train)
    trained = time.perf_counter()
    _, streamed_peak = peak_of(stream)
    return {
        "first": float(losses[0]),
        "last": float(losses[-1]),
        "peak": peak,
        "train": trained - start,
        "stream_peak": streamed_peak,
        "stream": time.perf_counter() - trained,
        "y": target.nbytes,
    }


def child(*told: Any) -> dict[str, float] | None:
    """What a fresh process measures; None where PyTorch is missing."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(told)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    return json.loads(done.stdout) if done.returncode == 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--long", type=int, default=100_000)
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        way, case = options.child
        if way == "long":
            result = long_run(case)
        else:
            result = theirs(case) if way == "PyTorch" else ours(case, way)
        print(json.dumps(result))
        return
    head = ["T,B,I,H", "", "tape", "B/(t,b,h)", "peak", "beyond", "less", "time", "ratio"]
    table = [head]
    ways = [way for way in WAYS if way != "PyTorch" or importlib.util.find_spec("torch")]
    pairs = [(case, way) for case in CASES for way in ways]
    plain: dict[str, float] = {}
    for (cell, layers, directions, steps, *sizes), way in progress(pairs, "memory"):
        case = [cell, layers, directions, steps or options.steps, *sizes]
        words = [cell, f"{layers} layers" * (layers > 1), "bidirectional" * (directions > 1)]
        name = " ".join(filter(None, [*words, ",".join(map(str, case[3:]))]))
        got = child(way, case)
        if got is None:
            table.append([name, way, *["–"] * (len(head) - 2)])
            continue
        if way == "plain":
            plain = got
        values = case[3] * case[4] * case[6] * layers * directions
        beyond = got["peak"] - got["handed"]
        less = (plain["peak"] - plain["handed"]) / max(beyond, 1)
        table.append(
            [
                name,
                way,
                f"{got['tape'] / MB:.1f} MB",
                f"{got['tape'] / values:.1f}",
                f"{got['peak'] / MB:.1f} MB",
                f"{beyond / MB:.1f} MB",
                f"{less:.1f}",
                f"{got['seconds']:.2f} s",
                f"{got['seconds'] / plain['seconds']:.2f}",
            ]
        )
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    for row in table:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join([row[0].ljust(widths[0]), row[1].ljust(widths[1]), *cells[2:]]))
    got = child("long", options.long)
    if got is None:
        sys.exit("the long run failed")
    print(
        f"\nLSTM 2 layers {options.long},1,16,64: three steps of Adam, checkpointed, in "
        f"{got['train']:.1f} s and {got['peak'] / MB:.0f} MB (y: {got['y'] / MB:.0f} MB), loss "
        f"{got['first']:.4f} to {got['last']:.4f}; streamed in {got['stream']:.1f} s and "
        f"{got['stream_peak'] / MB:.1f} MB"
    )


if __name__ == "__main__":
    main()
