"""`unrolled bench`: the arguments, the processes, and what is written."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .._extras import install
from .._write import replace
from . import parts as of_parts
from . import table
from .contenders import ALL, OURS
from .parts.text import text as parts_text
from .record import assemble, cpus
from .session import chosen

CPUS = "UNROLLED_BENCH_CPUS"
# By short names, to be typed.
SHORT = {name.lower().replace(" ", "-"): name for name in ALL}


def main(argv: Sequence[str]) -> int:
    """Measure, print the table, write record, tables and plots."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.threads is None:
        options.threads = [1] if options.parts else [1, 2]
    elif options.parts and options.threads != [1]:
        parser.error("--parts: expected --threads 1, for it watches one")
    settings = _settings(parser, options)
    usable = options.cpus or cpus()
    if options.parts:
        return _parts(settings, usable[:1] if options.cpus else usable[-1:], options.output)
    parts: dict[int, dict[str, Any]] = {}
    failures: dict[int, str] = {}
    sweeping = not options.quick if options.sweeps is None else options.sweeps
    for count in options.threads:
        if count > len(usable):
            failures[count] = f"not run, for this process may use {len(usable)} CPUs"
            continue
        # The last ones: the first has most of the system's interrupts.
        own = usable[:count] if options.cpus else usable[-count:]
        part, failure = _child(settings, count, own, sweeping)
        sweeping = False
        if part is not None:
            parts[count] = part
        if failure is not None:
            failures[count] = failure
    record = assemble(settings, parts, failures)
    print(table.text(record), end="")
    files = {"table.txt": table.text(record), "table.md": table.markdown(record)}
    _write(record, {"record.json": _json(record), **files}, ".plots", options.output)
    return 0 if parts and all(count > len(usable) for count in failures) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unrolled bench",
        description="The same works by unrolled, its NumPy reference and whatever of PyTorch, ONNX "
        "Runtime, OpenVINO and JAX is installed (pip install '.[bench]'): compared, then "
        "timed in turns. Takes some minutes.",
    )
    parser.add_argument(
        "--parts",
        action="store_true",
        help="instead, on one thread and at every level: where the time of ours goes, beside what "
        "the machine could do and what the products of PyTorch and ONNX Runtime reach",
    )
    parser.add_argument("--quick", action="store_true", help="few works, few samples, no sweeps")
    parser.add_argument("--works", default="", metavar="REGEX", help="those whose names match")
    parser.add_argument(
        "--contenders",
        nargs="+",
        choices=SHORT,
        metavar="NAME",
        default=list(SHORT),
        help=f"beside unrolled: some of {', '.join(list(SHORT)[1:])} (all)",
    )
    parser.add_argument(
        "--threads",
        nargs="+",
        type=_positive,
        help="each in a process of its own, on so many CPUs (1 2)",
    )
    parser.add_argument(
        "--repeats", type=_positive, help="samples of each (5 to 31, as they take long or not)"
    )
    parser.add_argument(
        "--sweeps",
        action=argparse.BooleanOptionalAction,
        help="also measure against T, B and H, for the plots (unless --quick)",
    )
    parser.add_argument(
        "--cpus",
        type=_numbers,
        default=os.environ.get(CPUS),
        help=f"the CPUs to take, in this order (the last ones; ${CPUS})",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("bench-output"), help="directory (bench-output)"
    )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {value}")
    return value


def _numbers(text: str) -> list[int]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise argparse.ArgumentTypeError(f"expected CPUs such as 3,2, got {text!r}")
    return [int(number) for number in text.split(",")]


def _settings(parser: argparse.ArgumentParser, options: argparse.Namespace) -> dict[str, Any]:
    """What the children and the record are told."""
    settings = {
        "quick": options.quick,
        "works": options.works,
        "contenders": sorted({OURS, *(SHORT[short] for short in options.contenders)}),
        "threads": options.threads,
        "repeats": options.repeats,
        "sweeps": options.sweeps,
        "parts": options.parts,
    }
    try:
        works = of_parts.chosen(settings) if options.parts else chosen(settings)
    except re.error as error:
        parser.error(f"--works: expected a regular expression, got {options.works!r}: {error}")
    if not works:
        parser.error(f"--works: {options.works!r} matches no work")
    forbidden = set(options.cpus or ()) - set(cpus())
    if forbidden:
        parser.error(f"--cpus: expected some of {cpus()}, got {sorted(forbidden)} too")
    return settings


def environment(count: int) -> dict[str, str]:
    """What each library reads when it is loaded, so that none takes more threads than that."""
    own = dict(os.environ)
    names = ("OMP", "MKL", "OPENBLAS", "UNROLLED")
    own |= {f"{name}_NUM_THREADS": str(count) for name in names}
    # JAX's pool: as many as this says, in case it does not look at the CPUs it may use.
    own |= {"NPROC": str(count), "JAX_PLATFORMS": "cpu"}
    if count == 1:
        flags = f"{own.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
        own["XLA_FLAGS"] = flags.strip()
    return own


@contextmanager
def bound_to(own: Sequence[int]) -> Iterator[None]:
    """This thread, and the processes it starts meanwhile, on those CPUs, where that can be said."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, own)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _child(
    settings: Mapping[str, Any], count: int, own: Sequence[int], sweeping: bool
) -> tuple[dict[str, Any] | None, str | None]:
    """What a process measured on so many threads, and what went wrong with it."""
    told = json.dumps({"options": settings, "threads": count, "sweeping": sweeping})
    with tempfile.TemporaryDirectory() as directory:
        result = Path(directory) / "part.json"
        command = [sys.executable, "-m", f"{__package__}.child", told, str(result)]
        with bound_to(own):
            done = subprocess.run(command, env=environment(count), check=False)
        failure = None
        if done.returncode:
            failure = f"the process ended early, with code {done.returncode}"
        part = json.loads(result.read_text(encoding="utf-8")) if result.exists() else None
    return part, failure


def _parts(settings: Mapping[str, Any], own: Sequence[int], directory: Path) -> int:
    """`--parts`: measured in a process of its own, as the works are."""
    part, failure = _child(settings, 1, own, False)
    if part is None:
        print(failure or "nothing was measured", file=sys.stderr)
        return 1
    record = of_parts.assemble(settings, part, failure)
    print(parts_text(record), end="")
    files = {"parts.json": _json(record), "parts.txt": parts_text(record)}
    _write(record, files, ".parts.picture", directory)
    return 0 if failure is None else 1


def _json(record: Mapping[str, Any]) -> str:
    return json.dumps(record, indent=1, ensure_ascii=False) + "\n"


def _write(
    record: Mapping[str, Any], files: Mapping[str, str], pictures: str, directory: Path
) -> None:
    """All files, and what the module of that name draws; a line for each is printed."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        replace(directory / name, content.encode())
        print(f"written: {directory / name}")
    try:
        module = importlib.import_module(pictures, __package__)
    except ImportError as error:
        print(f"plots: skipped ({error}); {install('bench')}")
        return
    for path in module.draw(record, directory):
        print(f"written: {path}")
