"""`unrolled cells`: the gallery's cells beside each other, as they begin and on this machine."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._cases import medians
from ._modules import LSTM, RecurrentNet
from ._style import STYLE
from ._write import replace
from .cells._recurrent import Recurrent
from .flow._axes import matplotlib
from .flow._reach import Reach, named, plot_reach, reach

# What is timed: steps, rows and rounds. Some milliseconds for each cell.
STEPS, ROWS, ROUNDS = 100, 32, 7


def main(argv: Sequence[str]) -> int:
    """Print the table: 0; 1 if what was given does not do, 2 if it was asked for wrongly."""
    options = _parser().parse_args(argv)
    try:
        print(_table(options))
    except (ImportError, OSError, TypeError, ValueError, MemoryError) as error:
        print(f"unrolled cells: {error}", file=sys.stderr)
        # A missing extra is as a missing command.
        return 2 if isinstance(error, ImportError) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unrolled cells",
        description="The cells of unrolled.cells beside each other: states, numbers in the "
        "parameters, numbers that a tape keeps of each unit and step, the time of forward and "
        "backward over that of unrolled.LSTM, measured here on as many threads as are set, and the "
        "part of the gradient that reaches a lag as a network begins, over that of lag 0.",
    )
    parser.add_argument("names", nargs="*", metavar="CELL", help="such as slstm (all)")
    parser.add_argument("--inputs", type=int, default=32, metavar="I", help="numbers in x (32)")
    parser.add_argument("--units", type=int, default=32, metavar="H", help="(32)")
    parser.add_argument("--lag", type=int, default=100, help="of the gradient (100)")
    parser.add_argument("--seed", type=int, default=0, help="of parameters and inputs (0)")
    parser.add_argument("--no-times", action="store_true", help="what every machine says alike")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="the last column as a picture")
    return parser


def _table(options: argparse.Namespace) -> str:
    known = named(None)
    for name in options.names:
        if name not in known:
            raise ValueError(f"CELL: expected names among {', '.join(known)}, got {name!r}")
    cells = {name: known[name] for name in options.names or known}
    inputs, units, seed = options.inputs, options.units, options.seed
    found = reach(cells, options.lag, input_size=inputs, hidden_size=units, seed=seed)
    lines = str(found).splitlines()
    if not options.no_times:
        times = ["  time", *(f"{each:6.2f}" for each in _times(cells, inputs, units, seed))]
        lines = [f"{line}  {shown}" for line, shown in zip(lines, times, strict=True)]
    head, *rows = lines
    order = np.argsort(-np.nan_to_num(found.by_lag[:, -1], nan=-1.0), kind="stable")
    if options.plot is not None:
        _draw(found, options.plot)
    return "\n".join([head, *(rows[n] for n in order)])


def _draw(found: Reach, path: Path) -> None:
    with matplotlib().rc_context(STYLE):
        figure = matplotlib("matplotlib.figure").Figure(
            figsize=(6, 1 + 0.18 * len(found.names)), layout="constrained"
        )
        plot_reach(found, figure.add_subplot())
        file = io.BytesIO()
        figure.savefig(file, format=path.suffix[1:] or "png")
    replace(path, file.getvalue())


def _times(cells: Mapping[str, Any], inputs: int, units: int, seed: int) -> list[float]:
    """Seconds of forward and backward over those of `LSTM`, all measured in turns, in float32."""
    nets: list[RecurrentNet[Any]] = [LSTM(inputs, units, seed=seed)]
    nets += [Recurrent(cell, inputs, units, seed=seed) for cell in cells.values()]
    x = np.random.default_rng(seed).standard_normal((STEPS, ROWS, inputs), dtype=np.float32)
    dy = np.ones((STEPS, ROWS, units), np.float32)

    def both(net: RecurrentNet[Any]) -> Callable[[], object]:
        return lambda: net.record(x)[2].backward(dy)

    lstm, *others = medians([both(net) for net in nets], ROUNDS)
    return [each / lstm for each in others]
