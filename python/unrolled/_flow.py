"""`unrolled flow`: a page on how gradients flow through a saved network on given data."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ._arguments import Array
from ._files import load
from ._modules import RecurrentNet
from ._progress import progress


def main(argv: Sequence[str]) -> int:
    """Write the page: 0; 1 if what was given does not do, 2 if it was asked for wrongly."""
    options = _parser().parse_args(argv)
    try:
        print(_write(options))
    except (ImportError, OSError, TypeError, ValueError, MemoryError) as error:
        print(f"unrolled flow: {error}", file=sys.stderr)
        # A missing extra is as a missing command.
        return 2 if isinstance(error, ImportError) else 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unrolled flow",
        description="One HTML page on how gradients flow through a network: by lag, through the "
        "gates, what vanishes, what explodes, and what could help.",
    )
    parser.add_argument(
        "model", type=Path, metavar="MODEL.safetensors", help="written by unrolled.save"
    )
    parser.add_argument(
        "data", type=Path, metavar="DATA.npy", help="x as for a call: (T, B, I) or (T, I)"
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="REPORT.html", help="the page"
    )
    parser.add_argument(
        "--dy",
        type=Path,
        metavar="DY.npy",
        help="derivative of the loss by the outputs, as they (1 at each row's end)",
    )
    parser.add_argument("--title", help="of the page")
    return parser


def _write(options: argparse.Namespace) -> str:
    from . import flow

    if not options.output.parent.is_dir():
        raise ValueError(
            f"--output: expected a file in a directory that exists, got {str(options.output)!r}"
        )
    net = load(options.model)
    if not isinstance(net, RecurrentNet):
        raise ValueError(
            f"MODEL: expected an LSTM, GRU, RNN or Recurrent, got a {type(net).__name__} in "
            f"{str(options.model)!r}"
        )
    x = _array("DATA", options.data, net.dtype)
    dy = None if options.dy is None else _array("--dy", options.dy, net.dtype)
    title = options.title or f"How gradients flow: {options.model.stem} on {options.data.stem}"

    def shown(places: list[Any]) -> Iterator[Any]:
        return progress(places, "measuring")

    flow.report(net, x, dy, options.output, title=title, progress=shown)
    return f"written: {options.output}"


def _array(name: str, path: Path, dtype: np.dtype[Any]) -> Array:
    """An array of numbers from a file, in the network's dtype: a file says no more than numbers."""
    expected = f"{name}: expected a NumPy file (.npy) of real numbers"
    if not path.is_file():
        raise FileNotFoundError(f"{name}: no such file: {str(path)!r}")
    try:
        found = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{expected}, got {str(path)!r}: {error}") from None
    if not isinstance(found, np.ndarray):
        found.close()
        raise ValueError(f"{expected}, got an archive of several: {str(path)!r}")
    if found.dtype.kind not in "fiu":
        raise ValueError(f"{expected}, got dtype {found.dtype} in {str(path)!r}")
    return found.astype(dtype, copy=False)
