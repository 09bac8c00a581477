"""`unrolled check`: every kernel on this machine against the NumPy reference."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _native
from ._arguments import Array
from ._cases import VARIANTS, Problem, Variant, medians, problem
from ._machine import ISAS, available_isas
from ._progress import progress
from ._tolerances import TOLERANCES, relative_error

# The largest errors permitted, as `relative_error` measures them.
PERMITTED = {dtype: TOLERANCES[f"check.{dtype}"] for dtype in ("float32", "float64")}

KINDS = ("forward", "weights", "biases", "input", "state")
# Sizes that no vector divides, everything at once.
EXACTNESS: dict[str, Any] = {
    "steps": 17,
    "batch": 5,
    "input_size": 7,
    "hidden_size": 19,
    "num_layers": 2,
    "bidirectional": True,
    "ragged": True,
}
SPEED: dict[str, Any] = {"steps": 50, "batch": 16, "input_size": 16, "hidden_size": 32}


@dataclass(frozen=True)
class Result:
    """A row of the table; `errors` is None where the machine lacks the instruction set."""

    variant: Variant
    dtype: str
    isa: str
    errors: dict[str, float] | None = None
    speed: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether no error is above the tolerance; a NaN is."""
        errors = () if self.errors is None else self.errors.values()
        return all(error <= PERMITTED[self.dtype] for error in errors)

    def __str__(self) -> str:
        head = f"{self.variant!s:<24}{self.dtype:<9}{self.isa:<9}"
        if self.errors is None:
            return f"{head}not run: this machine does not have it"
        errors = "".join(f"{self.errors[kind]:>9.1e}" for kind in KINDS)
        return f"{head}{errors}{self.speed:>7.1f}x  {'ok' if self.ok else 'TOO LARGE'}"


def pairs(
    y: Array, state: Any, g: Any, plain: tuple[Array, Any, Any]
) -> Iterator[tuple[str, Array, Array]]:
    """Every array beside the reference's, with the kind it belongs to."""
    plain_y, plain_state, plain_g = plain
    yield "forward", y, plain_y
    yield "input", g.input, plain_g.input
    for name, a in g.parameters.items():
        yield "weights" if name.startswith("weight") else "biases", a, plain_g.parameters[name]
    for kind, ours, theirs in (
        ("forward", state, plain_state),
        ("state", g.state, plain_g.state),
    ):
        both = (ours, theirs) if isinstance(ours, tuple) else ((ours,), (theirs,))
        for a, b in zip(*both, strict=True):
            yield kind, a, b


def errors(case: Problem) -> dict[str, float]:
    """The largest error of each kind."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for kind, actual, expected in pairs(*case.run(case.net), case.run(case.plain)):
        found[kind].append(relative_error(actual, expected))
    # np.max, for max() may lose a NaN.
    return {kind: float(np.max(values)) for kind, values in found.items()}


def check(variant: Variant, dtype: str, isa: str) -> Result:
    """One kernel."""
    if isa not in available_isas():
        return Result(variant, dtype, isa)
    case = problem(variant, dtype, **EXACTNESS)
    fast = problem(variant, dtype, plain_dtype=dtype, **SPEED)
    for each in (case, fast):
        each.net._native.set_isa(isa)
    ours, theirs = medians([lambda: fast.run(fast.net), lambda: fast.run(fast.plain)], repeats=3)
    return Result(variant, dtype, isa, errors(case), theirs / ours)


def main(argv: Sequence[str]) -> int:
    """Print the table; 1 if an error is too large."""
    parser = argparse.ArgumentParser(
        prog="unrolled check",
        description="Outputs and gradients of every kernel against the NumPy reference: the "
        "largest error relative to the largest value, and how many times as fast.",
    )
    parser.parse_args(argv)
    rows = [(v, dtype, isa) for v in VARIANTS for dtype in PERMITTED for isa in ISAS]
    results = [check(*row) for row in progress(rows, "check")]
    kinds = "".join(f"{kind:>9}" for kind in KINDS)
    print(f"unrolled {_native.__version__}: errors against the NumPy reference in float64")
    print(f"{'cell':<24}{'dtype':<9}{'level':<9}{kinds}{'speed':>8}")
    for result in results:
        print(result)
    wrong = sum(not result.ok for result in results)
    left_out = sum(result.errors is None for result in results)
    tolerances = ", ".join(f"{value:g} in {dtype}" for dtype, value in PERMITTED.items())
    print(
        f"{len(results) - left_out - wrong} right, {wrong} wrong, {left_out} not run "
        f"(permitted: {tolerances}; speed: forward and backward, the reference's time over ours)"
    )
    return 1 if wrong else 0
