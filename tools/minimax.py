"""Derives the constants of core/src/math: run it, and compare what it prints.

    python tools/minimax.py          # needs mpmath

For the accurate functions: the split of ln 2, and the polynomial P of

    tanh(rho) ~ rho + rho z P(z),   z = rho^2,   |rho| <= ln(2)/4 and a little,

with the least greatest *relative* error (Remez's exchange; the weight is the error
of tanh, not that of P). In the same way

    log((1 + s) / (1 - s)) ~ 2 s + s z P(z),   z = s^2,   for quotients from sqrt(1/2) to sqrt(2)
    sin(r) ~ r + r z P(z),   cos(r) ~ 1 - z/2 + z^2 P(z),   z = r^2,   |r| <= pi/4 and a little

and pi/2 in parts. For the fast ones: the quotient x P(x^2) / Q(x^2) ~ tanh x.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import pairwise

import mpmath as mp

mp.mp.prec = 200

# Rounding x log2(e) to an integer can fall on the wrong side of a half by the rounding
# error of the product: the polynomial holds 0.1 % further than exact arithmetic asks.
SLACK = mp.mpf("1.001")
EDGE = mp.log(2) / 4 * SLACK
TURN = mp.pi / 4 * SLACK
# s of the quotient sqrt(2): its bounds are exact but for their own rounding.
ROOT = (mp.sqrt(2) - 1) / (mp.sqrt(2) + 1) * (1 + mp.mpf(2) ** -20)

Function = Callable[[mp.mpf], mp.mpf]


def rounded(x: mp.mpf, bits: int) -> mp.mpf:
    """x to `bits` significant bits, nearest."""
    mantissa, exponent = mp.frexp(x)
    return mp.ldexp(mp.nint(mp.ldexp(mantissa, bits)), int(exponent) - bits)


def chebyshev_nodes(low: mp.mpf, high: mp.mpf, count: int) -> list[mp.mpf]:
    """The extrema of a Chebyshev polynomial, mapped to [low, high]."""
    middle, half = (low + high) / 2, (high - low) / 2
    return [middle - half * mp.cos(mp.pi * k / (count - 1)) for k in range(count)]


def extrema(error: Function, low: mp.mpf, high: mp.mpf, samples: int = 4000) -> list[mp.mpf]:
    """Where |error| is locally greatest, one point per stretch of one sign."""
    grid = chebyshev_nodes(low, high, samples)
    found: list[mp.mpf] = []
    best, best_value = grid[0], error(grid[0])
    for point in grid[1:]:
        value = error(point)
        if mp.sign(value) != mp.sign(best_value):
            found.append(best)
            best, best_value = point, value
        elif abs(value) > abs(best_value):
            best, best_value = point, value
    found.append(best)
    return found


def horner(coefficients: list[mp.mpf], z: mp.mpf) -> mp.mpf:
    """c0 + c1 z + c2 z^2 + ..."""
    total = mp.mpf(0)
    for c in reversed(coefficients):
        total = total * z + c
    return total


def remez(f: Function, weight: Function, terms: int, high: mp.mpf) -> list[mp.mpf]:
    """The polynomial of `terms` coefficients with least max |weight (p - f)| on (0, high]."""
    low = high / 10**6
    nodes = chebyshev_nodes(low, high, terms + 1)
    coefficients: list[mp.mpf] = []
    for _ in range(20):
        matrix = mp.matrix(terms + 1, terms + 1)
        right = mp.matrix(terms + 1, 1)
        for i, z in enumerate(nodes):
            for k in range(terms):
                matrix[i, k] = z**k
            matrix[i, terms] = (-1) ** i / weight(z)
            right[i] = f(z)
        solution = mp.lu_solve(matrix, right)
        coefficients = [solution[k] for k in range(terms)]

        def error(z: mp.mpf, fit: list[mp.mpf] = coefficients) -> mp.mpf:
            return weight(z) * (horner(fit, z) - f(z))

        nodes = extrema(error, low, high)
        assert len(nodes) == terms + 1, "the error does not alternate: change the degree"
        sizes = [abs(error(z)) for z in nodes]
        if max(sizes) < min(sizes) * mp.mpf("1.0001"):
            break
    return coefficients


def tanh_tail(z: mp.mpf) -> mp.mpf:
    """(tanh(rho) / rho - 1) / z."""
    rho = mp.sqrt(z)
    return (mp.tanh(rho) / rho - 1) / z


def tanh_weight(z: mp.mpf) -> mp.mpf:
    """What an error of the tail does to tanh(rho), relative to it."""
    rho = mp.sqrt(z)
    return rho * z / mp.tanh(rho)


def log_tail(z: mp.mpf) -> mp.mpf:
    """(log((1 + s) / (1 - s)) / s - 2) / z."""
    s = mp.sqrt(z)
    return (2 * mp.atanh(s) / s - 2) / z


def log_weight(z: mp.mpf) -> mp.mpf:
    """What an error of the tail does to the logarithm, relative to it."""
    s = mp.sqrt(z)
    return s * z / (2 * mp.atanh(s))


def sin_tail(z: mp.mpf) -> mp.mpf:
    """(sin(r) / r - 1) / z."""
    r = mp.sqrt(z)
    return (mp.sin(r) / r - 1) / z


def sin_weight(z: mp.mpf) -> mp.mpf:
    """What an error of the tail does to sin(r), relative to it."""
    r = mp.sqrt(z)
    return r * z / mp.sin(r)


def cos_tail(z: mp.mpf) -> mp.mpf:
    """(cos(r) - 1 + z/2) / z^2."""
    return (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z**2


def cos_weight(z: mp.mpf) -> mp.mpf:
    """What an error of the tail does to cos(r), relative to it."""
    return z**2 / mp.cos(mp.sqrt(z))


def literal(x: mp.mpf, bits: int) -> str:
    """The shortest decimal that rounds to x in the type of that precision."""
    if bits == 53:
        return repr(float(x))
    wanted = struct.pack("<f", float(x))
    for digits in range(1, 18):
        text = f"{float(x):.{digits}e}"
        if struct.pack("<f", float(text)) == wanted:
            return repr(float(text))
    raise AssertionError


def report_accurate(name: str, bits: int, exponent_bits: int, terms: int) -> None:
    """Everything one float type needs for exp, tanh and sigmoid."""
    print(f"{name}: {bits} bits")
    # n hi must be exact without a fused multiply-add: n takes up to `exponent_bits` bits.
    hi = rounded(mp.log(2), bits - exponent_bits)
    lo = rounded(mp.log(2) - hi, bits)
    print(f"  ln2 short {literal(hi, bits)}  rest {literal(lo, bits)}")
    hi = rounded(mp.log(2), bits)
    lo = rounded(mp.log(2) - hi, bits)
    print(f"  ln2 long {literal(hi, bits)}  rest {literal(lo, bits)}")
    report_polynomial("tanh", bits, tanh_tail, tanh_weight, terms, EDGE**2)


def report_polynomial(
    name: str, bits: int, tail: Function, weight: Function, terms: int, high: mp.mpf
) -> None:
    """The coefficients of one tail, rounded, and what they do to the function."""
    exact = remez(tail, weight, terms, high)
    coefficients = [rounded(c, bits) for c in exact]
    worst = max(
        abs(weight(z) * (horner(coefficients, z) - tail(z)))
        for z in chebyshev_nodes(high / 10**6, high, 2000)
    )
    print(f"  {name}: relative error 2^{mp.nstr(mp.log(worst, 2), 4)}")
    for c in coefficients:
        print(f"    {literal(c, bits)}")
    print(f"    left of the first: {literal(rounded(exact[0] - coefficients[0], bits), bits)}")


def report_parts(name: str, bits: int, whole: mp.mpf, lengths: list[int]) -> None:
    """A constant as a sum of parts, each of as many bits as its length."""
    parts = []
    for length in lengths:
        parts.append(rounded(whole, length))
        whole -= parts[-1]
    print(f"  {name}: {', '.join(literal(part, bits) for part in parts)}")


def report_others(name: str, bits: int, short: list[int], terms: tuple[int, int, int]) -> None:
    """What log, sin and cos need of one float type."""
    print(f"{name}: log, sin, cos")
    report_polynomial("log", bits, log_tail, log_weight, terms[0], ROOT**2)
    report_polynomial("sin", bits, sin_tail, sin_weight, terms[1], TURN**2)
    report_polynomial("cos", bits, cos_tail, cos_weight, terms[2], TURN**2)
    # n times a short part is exact without a fused multiply-add, for the n up to the limit.
    report_parts("pi/2 short", bits, mp.pi / 2, short)
    report_parts("pi/2 long", bits, mp.pi / 2, [bits] * 3)


def quotient_through(zeros: list[mp.mpf], p: int, q: int, high: mp.mpf) -> tuple[list, list]:
    """P and Q, of degree p and q in t = (x / high)^2, Q(0) = 1: x P / Q is tanh x at the zeros."""
    count = p + q + 1
    matrix = mp.matrix(count, count)
    right = mp.matrix(count, 1)
    for i, x in enumerate(zeros):
        t = (x / high) ** 2
        for k in range(p + 1):
            matrix[i, k] = x / mp.tanh(x) * t**k
        for k in range(1, q + 1):
            matrix[i, p + k] = -(t**k)
        right[i] = 1
    solution = mp.lu_solve(matrix, right)
    return list(solution[: p + 1]), [mp.mpf(1), *solution[p + 1 :]]


def quotient(degree: int, high: mp.mpf) -> tuple[mp.mpf, list[mp.mpf], list[mp.mpf]]:
    """x P(x^2) / Q(x^2) ~ tanh x on [-high, high]: relative error, P, Q.

    Remez's exchange loses its way with quotients. This instead moves the points where the
    error is zero: a gap between two of them shrinks where the error in it is above the
    mean, and grows where it is below, until all are about equal.
    """
    count = 2 * degree + 1
    zeros = [high * mp.sin(mp.pi / 2 * (k + mp.mpf(1) / 2) / count) for k in range(count)]
    best: tuple[mp.mpf, list[mp.mpf], list[mp.mpf]] | None = None

    def value(coefficients: list[mp.mpf], x: mp.mpf) -> mp.mpf:
        return horner(coefficients, (x / high) ** 2)

    for _ in range(200):
        p, q = quotient_through(zeros, degree, degree, high)
        ends = [high / 10**6, *zeros, high]
        sizes = []
        for low, top in pairwise(ends):
            points = [low + (top - low) * k / 24 for k in range(25)]
            ratios = [x / mp.tanh(x) * value(p, x) / value(q, x) for x in points]
            sizes.append(max(abs(ratio - 1) for ratio in ratios))
        if best is None or max(sizes) < best[0]:
            # Back from t to z = x^2.
            best = (
                max(sizes),
                [c / high ** (2 * k) for k, c in enumerate(p)],
                [c / high ** (2 * k) for k, c in enumerate(q)],
            )
        if max(sizes) < min(sizes) * mp.mpf("1.03"):
            break
        mean = mp.exp(mp.fsum(mp.log(size) for size in sizes) / len(sizes))
        gaps = [
            (top - low) * max(min(mp.cbrt(mean / size), mp.mpf("1.15")), mp.mpf("0.87"))
            for (low, top), size in zip(pairwise(ends), sizes, strict=True)
        ]
        total = mp.fsum(gaps)
        zeros = [high * mp.fsum(gaps[: k + 1]) / total for k in range(count)]
    assert best is not None
    return best


def report_fast(name: str, bits: int, degree: int, high: float) -> None:
    """The quotient of the fast functions."""
    error, p, q = quotient(degree, mp.mpf(high))
    print(f"{name}: fast tanh, |x| <= {high}, relative error 2^{mp.nstr(mp.log(error, 2), 4)}")
    for label, coefficients in (("P", p), ("Q", q)):
        print(f"  {label}", ", ".join(literal(rounded(c, bits), bits) for c in coefficients))


if __name__ == "__main__":
    report_accurate("f32", 24, 8, 3)
    report_accurate("f64", 53, 11, 6)
    report_others("f32", 24, [15, 15, 15, 24], (4, 3, 3))
    report_others("f64", 53, [42, 42, 53], (7, 6, 6))
    report_fast("f32", 24, 4, 7.9)
