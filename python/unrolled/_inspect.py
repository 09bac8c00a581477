"""The command ``unrolled inspect``: what is in a model's file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ._activation import Activation
from ._convert import given, hints
from ._files import load
from ._formats import of_content
from ._layers import features
from ._residual import Residual
from ._sequential import Sequential


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of cells as lines, columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append("  ".join(cells).rstrip())
    return lines


def layers(net: Any) -> list[list[str]]:
    """A row for each layer: what it is, input, output, parameters."""
    rows = [["", "layer", "in", "out", "parameters"]]
    parts = net.layers if isinstance(net, Sequential) else (net,)
    width = ""
    for n, layer in enumerate(parts):
        if isinstance(layer, (Activation, Residual)):
            rows.append([str(n), repr(layer), width, width, "0"])
            continue
        takes, gives = features(layer)
        width = str(gives)
        rows.append([str(n), repr(layer), str(takes), width, str(layer.num_parameters)])
    return rows


def main(argv: Sequence[str]) -> int:
    """Run the command; the return value is the exit code."""
    parser = argparse.ArgumentParser(
        prog="unrolled inspect", description="Say what a model's file holds."
    )
    parser.add_argument("file", metavar="FILE")
    hints(parser)
    options = parser.parse_args(argv)
    try:
        form, content = of_content(Path(options.file))
        # What a file holds is worth knowing when some of its numbers are broken, too.
        net = load(options.file, **given(options), allow_nonfinite=True)
    except (ValueError, TypeError, ImportError, OSError, MemoryError) as error:
        print(f"unrolled inspect: {error}", file=sys.stderr)
        return 1
    if callable(getattr(net, "about", None)):
        # A graph that is no chain of layers.
        print(
            "\n".join(table([["format", form.title], ["bytes", str(content.size)], *net.about()]))
        )
        return 0
    rows = layers(net)
    about = [
        ["format", form.title],
        ["bytes", str(content.size)],
        ["dtype", net.dtype.name],
        ["input", next((row[2] for row in rows[1:] if row[2]), "any")],
        ["output", rows[-1][3] or "any"],
        ["parameters", str(net.num_parameters)],
    ]
    if getattr(net, "initial_state", None) is not None:
        about.append(["starts from", "a state of its own"])
    print("\n".join([*table(about), "", *table(rows)]))
    return 0
