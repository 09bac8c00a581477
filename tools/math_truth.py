"""Writes math_f64.bin and math_pow_f64.bin: true values that judge the f64 functions.

    python tools/math_truth.py [--points N] [--out DIRECTORY]      # needs mpmath

Little-endian records of 20 bytes, `--points` of them for each of exp, tanh, the logistic
function, log, sin, cos and softplus: x (f64), the f64 nearest to the true value y (f64), and
what remains of the true value, (true - y) / ulp(y) (f32). For a to the power b records of 28
bytes: a, b, and as before.
"""

from __future__ import annotations

import argparse
import math
import random
import struct
from collections.abc import Callable
from pathlib import Path

import mpmath as mp

# The logistic function of -746 has 1077 bits before its first one; a quotient needs no more, a
# logarithm of 1 + exp(-746) does.
mp.mp.prec = 160

Function = Callable[[mp.mpf], mp.mpf]


def logistic(x: mp.mpf) -> mp.mpf:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + mp.exp(-x))


def softplus(x: mp.mpf) -> mp.mpf:
    """log(1 + exp(x))."""
    with mp.workprec(1300):
        return mp.log1p(mp.exp(x))


def any_binade(random_: random.Random, low: int, high: int) -> float:
    """A positive number of any size between 2^low and 2^high."""
    return math.ldexp(random_.uniform(1, 2), random_.randint(low, high - 1))


def log_argument(random_: random.Random, k: int) -> float:
    """Any positive number, denormal ones too; near 1; about where one exponent meets the next."""
    if k % 3 == 0:
        return any_binade(random_, -1074, 1024)
    if k % 3 == 1:
        return 1 + random_.choice((-1, 1)) * any_binade(random_, -53, -1)
    return random_.uniform(0.3, 3)


def angle(random_: random.Random, k: int) -> float:
    """Any number; a usual one; one next to a multiple of pi/2, where next to nothing is left."""
    sign = random_.choice((-1, 1))
    if k % 3 == 0:
        return sign * any_binade(random_, -40, 1024)
    if k % 3 == 1:
        return random_.uniform(-20, 20)
    turns = int(any_binade(random_, 0, 31 if k % 2 else 11))
    x = nearest(turns * mp.pi / 2)
    return sign * (x + (k % 5) * math.ulp(x))


def power(random_: random.Random, k: int) -> tuple[float, float]:
    """A base and an exponent: |b log a| is below 100, and below 740 every third time."""
    reach = 740 if k % 3 == 0 else 100
    base = log_argument(random_, k % 5)
    size = min(abs(math.log(base)) or 1.0, 800.0)
    exponent = random_.uniform(-reach, min(reach, 700)) / math.copysign(size, math.log(base))
    return base, max(min(exponent, 1e300), -1e300)


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


def record(f: Callable[..., mp.mpf], *x: float) -> bytes:
    """One line of the table."""
    true = f(*map(mp.mpf, x))
    y = nearest(true)
    rest = (true - mp.mpf(y)) / mp.mpf(math.ulp(y))
    return struct.pack(f"<{len(x) + 1}df", *x, y, float(rest))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=Path("core/tests/data"))
    options = parser.parse_args()
    random_ = random.Random(1)
    cases: list[tuple[Function, float, float]] = [
        (mp.exp, -745.0, 709.7),
        (mp.tanh, -20.0, 20.0),
        (logistic, -745.0, 45.0),
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    with (options.out / "math_f64.bin").open("wb") as out:
        for f, low, high in cases:
            for k in range(options.points):
                # Most use is made of the middle.
                narrow = 20.0 if k % 2 else 800.0
                x = spread(random_, max(low, -narrow), min(high, narrow))
                out.write(record(f, x))
        for f, argument in ((mp.log, log_argument), (mp.sin, angle), (mp.cos, angle)):
            for k in range(options.points):
                out.write(record(f, argument(random_, k)))
        for k in range(options.points):
            narrow = 20.0 if k % 2 else 800.0
            out.write(record(softplus, spread(random_, -min(narrow, 745.0), narrow)))
    with (options.out / "math_pow_f64.bin").open("wb") as out:
        for k in range(options.points):
            out.write(record(mp.power, *power(random_, k)))


if __name__ == "__main__":
    main()
