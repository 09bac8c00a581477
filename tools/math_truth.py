"""Writes core/tests/data/math_f64.bin: true values that judge the f64 functions.

    python tools/math_truth.py [--points N] [--out FILE]      # needs mpmath

Little-endian records of 20 bytes, `--points` of them for exp, as many for tanh, as many
for the logistic function: x (f64), the f64 nearest to the true value y (f64), and what
remains of the true value, (true - y) / ulp(y) (f32).
"""

from __future__ import annotations

import argparse
import math
import random
import struct
from collections.abc import Callable
from pathlib import Path

import mpmath as mp

# The logistic function of -746 has 1077 bits before its first one; a quotient needs no more.
mp.mp.prec = 160

Function = Callable[[mp.mpf], mp.mpf]


def logistic(x: mp.mpf) -> mp.mpf:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + mp.exp(-x))


def spread(random_: random.Random, low: float, high: float) -> float:
    """A number of random sign: half of the time uniform, half of the time in any binade."""
    if random_.random() < 0.5:
        return random_.uniform(low, high)
    size = math.ldexp(random_.uniform(1, 2), random_.randint(-60, 9))
    return max(low, min(high, random_.choice((-1, 1)) * size))


def nearest(y: mp.mpf) -> float:
    """The nearest f64, ties to even, denormals included (mpmath's own float() truncates)."""
    if y == 0:
        return 0.0
    unit = max(int(mp.frexp(y)[1]) - 53, -1074)
    return math.ldexp(int(mp.nint(mp.ldexp(y, -unit))), unit)


def record(f: Function, x: float) -> bytes:
    """One line of the table."""
    true = f(mp.mpf(x))
    y = nearest(true)
    rest = (true - mp.mpf(y)) / mp.mpf(math.ulp(y))
    return struct.pack("<ddf", x, y, float(rest))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=Path("core/tests/data/math_f64.bin"))
    options = parser.parse_args()
    random_ = random.Random(1)
    cases: list[tuple[Function, float, float]] = [
        (mp.exp, -745.0, 709.7),
        (mp.tanh, -20.0, 20.0),
        (logistic, -745.0, 45.0),
    ]
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("wb") as out:
        for f, low, high in cases:
            for k in range(options.points):
                # Most use is made of the middle.
                narrow = 20.0 if k % 2 else 800.0
                x = spread(random_, max(low, -narrow), min(high, narrow))
                out.write(record(f, x))


if __name__ == "__main__":
    main()
