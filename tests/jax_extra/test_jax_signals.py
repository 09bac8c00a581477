"""Ctrl-C, and other exceptions of signal handlers, while XLA calls the kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from unrolled._native import attempt

pytest.importorskip("jax", reason="jax is not installed (pip install 'unrolled[jax]')")

CASES = [
    "eager",
    "eager gradient",
    "jit",
    "gradient",
    "gradient of vmap",
    "members",
    "one after another",
    "until finite",
]
RAISES = {"interrupt": "KeyboardInterrupt()", "ring": "RungError()", "listen": "None"}


@pytest.mark.skipif(os.name != "posix", reason="signals as Unix has them")
@pytest.mark.parametrize(
    ("case", "handler"),
    [
        *((case, "interrupt") for case in CASES),
        *((case, other) for case in ("jit", "eager gradient") for other in ("ring", "listen")),
    ],
)
def test_what_a_handler_raises(case: str, handler: str) -> None:
    """It comes out of the call as it is, and not as an error of the program; the handler runs once.

    Where it raises nothing, results are right.
    """
    worker = Path(__file__).parent / "signal_worker.py"
    package = str(Path(__import__("unrolled").__file__).parents[1])
    done = subprocess.run(
        [sys.executable, str(worker), case, handler],
        env=os.environ | {"PYTHONPATH": package},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{RAISES[handler]} [2]\n"


def test_exceptions_that_come_at_any_time() -> None:
    """Also at the first step of what is called, and of what is called about that."""
    told = []

    def about(argument: str, error: BaseException) -> tuple[int, object]:
        told.append((argument, str(error)))
        if len(told) < 3:
            raise KeyboardInterrupt(str(len(told)))
        return 7, lambda: told.append("last")

    assert attempt(int, about, "x") == 7
    assert [t[0] for t in told] == ["x", "x", "x", "l"] and told[-1] == "last"
    assert [t[1] for t in told[1:3]] == ["1", "2"]
    assert attempt(int, about, "5") == 5 and len(told) == 4
