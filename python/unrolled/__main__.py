"""The command `unrolled`, also `python -m unrolled`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from . import _machine, _native


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; the return value is the exit code."""
    try:
        code = _run(argv)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read, as `head`, has enough. What is left is not written at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _run(argv: Sequence[str] | None) -> int:
    parser = argparse.ArgumentParser(
        prog="unrolled", description="Recurrent networks: what is installed, whether it is right."
    )
    parser.add_argument("--version", action="version", version=_native.__version__)
    commands = parser.add_subparsers(dest="command", metavar="command")
    commands.add_parser("info", help="version, instruction sets, threads")
    # The others say themselves what they take, once they are wanted.
    commands.add_parser("check", help="kernels against the NumPy reference", add_help=False)
    commands.add_parser("bench", help="speed beside other libraries'", add_help=False)
    commands.add_parser("demo", help="what it is good for", add_help=False)
    commands.add_parser("flow", help="how gradients flow through a network", add_help=False)
    commands.add_parser("cells", help="the gallery's cells beside each other", add_help=False)
    commands.add_parser("inspect", help="what a model's file holds", add_help=False)
    commands.add_parser("convert", help="a model into another program's format", add_help=False)
    given, rest = parser.parse_known_args(argv)
    if given.command is None:
        if rest:
            parser.error(f"expected a command before {' '.join(rest)}")
        parser.print_help(sys.stderr)
        return 2
    if given.command == "info":
        if rest:
            parser.error(f"info: expected no arguments, got {' '.join(rest)}")
        _machine.show_config()
        return 0
    try:
        module = importlib.import_module(f"{__package__}._{given.command}")
    except ModuleNotFoundError as error:
        print(f"unrolled {given.command}: not available: {error}", file=sys.stderr)
        return 2
    return int(module.main(rest) or 0)


if __name__ == "__main__":
    sys.exit(main())
