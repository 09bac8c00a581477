"""One page on how gradients flow through a network on given data."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ... import _arguments as arguments
from ..._modules import RecurrentNet
from ..._write import replace
from .. import _plots as plots
from .._sample import Sequences, inside
from .figures import pictures
from .measure import study
from .page import describe, document

__all__ = ["report"]


def report(
    net: Any,
    x: Any,
    dy: Any,
    path: str | os.PathLike[str],
    *,
    lengths: Any = None,
    resets: Any = None,
    title: str | None = None,
    progress: Callable[[list[Any]], Iterator[Any]] = iter,
) -> None:
    """Write one HTML page: figures, numbers, and sentences that say what they mean.

    For each layer and direction: the gradient of ``weight_hh`` by lag, the Lyapunov exponents, the
    norm and the singular values of the transition with their bounds, the gates, an LSTM's path
    along the cell. The page needs nothing else, reads in the light and in the dark, and prints.
    Of much data a part is looked at, so that it takes seconds; the page says which.

    Parameters
    ----------
    net : LSTM, GRU or RNN
    x : array, as for a call
    dy : array, as y, or None
        Derivative of the loss with respect to y. None is a loss at the ends alone: the outputs'
        sum at each row's last step, of the reverse direction at the first.
    path : path
        Replaced in one move; on an error it is as it was.
    lengths, resets
        As for a call.
    title : str, optional
    progress : callable, optional
        Given a list, iterates over it (`tqdm`, for one).

    Raises
    ------
    ImportError
        If matplotlib is missing.
    TypeError, ValueError
        If an argument does not fit.
    OSError
        If the file cannot be written.

    Example
    -------
    >>> import tempfile, pathlib
    >>> import numpy as np
    >>> import unrolled as ur
    >>> net = ur.GRU(3, 8, seed=0)
    >>> x = np.random.default_rng(0).normal(size=(20, 4, 3)).astype(np.float32)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = pathlib.Path(directory) / "flow.html"
    ...     ur.flow.report(net, x, None, path)
    ...     path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    True
    """
    if not isinstance(net, RecurrentNet):
        raise TypeError(f"net: expected an LSTM, GRU, RNN or Recurrent, got {arguments.kind(net)}")
    if title is not None and not isinstance(title, str):
        raise TypeError(f"title: expected a str, got {arguments.kind(title)}")
    # Before the work, not after it.
    plots.matplotlib("matplotlib.figure")
    x = arguments.array("x", x, net.dtype)
    if lengths is not None:
        lengths = np.asarray(lengths)
    if resets is not None:
        resets = arguments.array("resets", resets, np.bool_)
    # Checks all of the arguments, in the words of a call.
    y, _ = net(x, lengths=lengths, resets=resets)
    if dy is not None:
        dy = arguments.shaped("dy", arguments.array("dy", dy, net.dtype), "as y", y.shape)
        dy = inside(net, dy)
    sequences = Sequences.of(net, x, lengths, resets)
    if not sequences.lengths.any():
        raise ValueError(f"x: expected at least one step of one row, got shape {x.shape}")
    found = study(net, sequences, dy, progress)
    drawn = [list(pictures(layer, f"f{place}")) for place, layer in enumerate(found.layers)]
    title = title or f"How gradients flow: {type(net).__name__}"
    about = describe(net, sequences.x.shape, found)
    replace(path, document(title, about, found, net, drawn).encode())
