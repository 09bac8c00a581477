"""`examples/cortex-m` on boards that an emulator plays: its outputs, and what it takes."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import thumb

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = "unrolled-cortex-m"
# What a step may not reach: panics, and floating point by software.
FORBIDDEN = re.compile(r"panic|slice_index|(unwrap|expect)_failed|__aeabi_(d|f2d|[iul]+2d)")

# What the program says is equal.
EQUAL = {
    "outputs": "those of Python",
    "adapted": "those of Python",
    "small": "those of the weights that the smaller ones stand for",
}


@dataclass(frozen=True)
class Board:
    """A machine of the emulator, and what the program may take there.

    In instructions: `step`, the step of LSTM(1, 16) and its read-out; `wide`, that of LSTM(1, 32)
    alone; `small_step`, that of LSTM(1, 16) with weights as int8; `forward` and `backward`, a
    window of 24 steps; `adam`, a parameter. In bytes: the `stack` of a step, its machine `code`.
    """

    machine: str
    target: str
    memory: str
    bounds: dict[str, int]
    # Whether multiply-adds round once: the feature `nightly-fma`, whose bits are those of AVX2.
    fused: bool = False


# A twelfth above what was measured on the M4.
BOUNDS = {
    "step": 6770,
    "wide": 18450,
    "small_step": 11200,
    "forward": 169400,
    "backward": 202000,
    "adam": 79,
    "stack": 295,
    "code": 3560,
}
FUSED = {**BOUNDS, "backward": 236900}
V7EM, V8M = "thumbv7em-none-eabihf", "thumbv8m.main-none-eabihf"
BOARDS = {
    "Cortex-M4": Board("mps2-an386", V7EM, "m4", BOUNDS),
    "Cortex-M4, fused": Board("mps2-an386", V7EM, "m4", FUSED, fused=True),
    "Cortex-M7": Board("mps2-an500", V7EM, "m4", BOUNDS),
    "Cortex-M33": Board("mps2-an505", V8M, "m33", BOUNDS),
    "Cortex-M55": Board("mps3-an547", V8M, "m55", BOUNDS),
}


def says(emulator: list[str], board: Board, program: Path) -> dict[str, str]:
    """What the program prints, a word and its value a line."""
    # One instruction lasts 64 ns, whatever it is.
    semihosting = ["-semihosting-config", "enable=on,target=native", "-icount", "shift=6"]
    quiet = ["-nographic", "-monitor", "none", "-serial", "none"]
    command = [*emulator, "-machine", board.machine, *quiet, *semihosting, "-kernel", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = [line.split(" ", 1) for line in done.stdout.splitlines() if " " in line]
    said = {line[0]: line[1] for line in lines}
    if done.returncode and set(said.values()).isdisjoint({"differ"}):
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return said


def complaints(name: str, said: dict[str, str], program: Path) -> Iterator[str]:
    """What is not as it should be; the figures are printed."""
    functions = thumb.functions(program)
    steps = [function for symbol, function in functions.items() if "OneStep" in symbol]
    # Not that of smaller weights.
    figures = {"code": max((step.size for step in steps if "Int8" not in step.name), default=0)}
    figures |= {key: int(value) for key, value in said.items() if value.isdigit()}
    print(f"{name}: {', '.join(f'{key} {value}' for key, value in figures.items())}")
    for key, those in EQUAL.items():
        if said.get(key) != "equal":
            yield f"{name}: {key}: expected {those}, bit for bit, got {said.get(key)}"
    for key, most in BOARDS[name].bounds.items():
        got = figures.get(key, 0)
        if not 0 < got <= most:
            yield f"{name}: {key}: expected at most {most}, got {got}"
    for symbol in thumb.reached(functions, [step.name for step in steps]):
        if FORBIDDEN.search(symbol):
            yield f"{name}: a step reaches {symbol}"
