"""The command ``unrolled convert``: a model from one program's file into another's."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from ._activation import FUNCTIONS, Activation
from ._files import export, load
from ._formats._registry import FORMATS


def hints(parser: argparse.ArgumentParser) -> None:
    """Options for what a file may leave open."""
    group = parser.add_argument_group("what a file may leave open")
    group.add_argument(
        "--kind",
        help="which layer it is: LSTM, GRU, RNN, Dense; of several, head=Dense,rnn=LSTM",
    )
    group.add_argument("--nonlinearity", choices=("tanh", "relu", "sigmoid"), help="of an RNN")
    group.add_argument(
        "--keras-defaults",
        action="store_true",
        help="the layers of a .weights.h5 have Keras' default activations and go forwards",
    )
    group.add_argument(
        "--layers",
        help="names of the file's modules in order, with activations between them: "
        f"lstm,tanh,head ({', '.join(FUNCTIONS)}; a module of such a name comes first)",
    )


def given(options: argparse.Namespace) -> dict[str, Any]:
    """The hints among the options."""
    found: dict[str, Any] = {}
    if options.nonlinearity is not None:
        found["nonlinearity"] = options.nonlinearity
    if options.kind is not None:
        pairs = [word.rpartition("=") for word in options.kind.split(",")]
        named = any(sign for _, sign, _ in pairs)
        found["kind"] = {name: kind for name, _, kind in pairs} if named else options.kind
    if options.keras_defaults:
        found["keras_defaults"] = True
    if options.layers is not None:
        words = options.layers.split(",")
        found["layers"] = [Activation(w) if w in FUNCTIONS else w for w in words]
    return found


def main(argv: Sequence[str]) -> int:
    """Run the command; the return value is the exit code."""
    writable = [form for form in FORMATS if form.save is not None]
    endings = ", ".join(f"{s} ({form.name})" for form in writable for s in form.suffixes)
    parser = argparse.ArgumentParser(
        prog="unrolled convert",
        description="Read a model, whose format is recognised by what is in the file, and write it "
        f"in another: by the new file's ending, {endings}, or as --to says.",
    )
    parser.add_argument("input", metavar="IN")
    parser.add_argument("output", metavar="OUT")
    parser.add_argument("--to", choices=[form.name for form in writable], help="the new format")
    parser.add_argument("--force", action="store_true", help="overwrite OUT if it is there")
    hints(parser)
    options = parser.parse_args(argv)
    try:
        if os.path.isfile(options.output) and not options.force:
            raise ValueError(
                f"OUT: expected the name of a new file, got {options.output!r}, which is there; "
                "pass --force to overwrite it"
            )
        net = load(options.input, **given(options))
        export(net, options.output, options.to)
    except (ValueError, TypeError, ImportError, OSError, MemoryError) as error:
        print(f"unrolled convert: {error}", file=sys.stderr)
        return 1
    print(f"{options.output}: {net.num_parameters} parameters")
    return 0
