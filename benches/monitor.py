"""What `unrolled.flow.Monitor` costs at its defaults, as a share of training's time.

Run in an environment with `unrolled` installed: python benches/monitor.py [--threads 1]
Steps of training and samples of the monitor are timed in turns, so that both meet the machine in
the same state; the share is a sample's time over that of the calls from one sample to the next.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import unrolled as ur

# T, B, I, H.
SIZES = ((100, 32, 32, 64), (50, 32, 16, 128), (200, 64, 32, 64), (20, 8, 4, 16))
CELLS = {"LSTM": ur.LSTM, "GRU": ur.GRU, "RNN": ur.RNN}
GOAL = 0.05


def share(cell: str, size: tuple[int, int, int, int], repeats: int) -> tuple[float, float, float]:
    """Seconds of a step of training and of a sample, medians; and the share."""
    steps, batch, width, hidden = size
    net = CELLS[cell](width, hidden, seed=0)
    rng = np.random.default_rng(0)
    opt, monitor = ur.optim.Adam(net), ur.flow.Monitor(net)
    looking = ur.flow.Monitor(net, every=1)
    x = rng.normal(size=(steps, batch, width)).astype(np.float32)
    target = rng.normal(size=(steps, batch, hidden)).astype(np.float32)
    trained, sampled = [], []
    for _ in range(repeats):
        start = time.perf_counter()
        y, _, tape = net.record(x)
        loss, dy = ur.losses.mse(y, target)
        gradients = tape.backward(dy)
        between = time.perf_counter()
        looking(tape, dy, loss)
        after = time.perf_counter()
        opt.step(gradients)
        trained.append(between - start + time.perf_counter() - after)
        sampled.append(after - between)
    step, sample = statistics.median(trained), statistics.median(sampled)
    return step, sample, sample / (monitor.every * step)


def main() -> int:
    """A line for each cell and size; 1 if an LSTM of the first size costs more than the goal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=31)
    options = parser.parse_args()
    ur.set_num_threads(options.threads)
    print(f"{'cell':<6}{'T, B, I, H':<20}{'step':>10}{'sample':>10}{'share':>8}")
    shares = {}
    for size in SIZES:
        for cell in CELLS:
            step, sample, part = share(cell, size, options.repeats)
            shares[cell, size] = part
            sizes = ", ".join(map(str, size))
            print(f"{cell:<6}{sizes:<20}{1e3 * step:>7.2f} ms{1e3 * sample:>7.2f} ms{part:>8.1%}")
    return int(shares["LSTM", SIZES[0]] > GOAL)


if __name__ == "__main__":
    raise SystemExit(main())
