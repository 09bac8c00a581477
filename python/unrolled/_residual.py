"""Sums with what an earlier layer of a `Sequential` read."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _arguments as arguments
from ._arguments import Array


class Residual:
    """Adds what an earlier layer of a `Sequential` read, past the layers between.

    ``y = f + x[..., :N]``, where f (..., N) is what the layer before gives and x (..., M), M >= N,
    what layer number `since` read: He et al. 2016.

    Parameters
    ----------
    since : int
        Which layer, counted from 0. What the first one reads is the model's input.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> lstm, dense = ur.LSTM(1, 16, seed=0), ur.Dense(16, 1, seed=1)
    >>> model = ur.Sequential(lstm, dense, ur.Residual())
    >>> x = np.ones((20, 4, 1), dtype=np.float32)
    >>> np.array_equal(model(x)[0], dense(lstm(x)[0]) + x)
    True
    """

    def __init__(self, since: int = 0) -> None:
        self._since = arguments.integer("since", since, at_least=0)

    @property
    def since(self) -> int:
        """The number of the layer whose input is added."""
        return self._since

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON knows them."""
        return {"since": self._since}

    def __repr__(self) -> str:
        return f"Residual(since={self._since})" if self._since else "Residual()"


def added(f: Array, x: Array) -> Array:
    """f (..., N) + x (..., :N), C-ordered as every layer's output.

    Values that are too large are infinite without a warning, as they are in the kernels.
    """
    if x.shape != f.shape:
        x = x[..., : f.shape[-1]]
    y: Array = np.empty(f.shape, dtype=f.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        np.add(f, x, out=y)
    return y


def d_added(dy: Array, shape: tuple[int, ...]) -> Array:
    """The derivative by x, which has that shape; that by f is `dy`, the one by the sum."""
    if dy.shape == shape:
        return dy
    d_x: Array = np.zeros(shape, dtype=dy.dtype)
    d_x[..., : dy.shape[-1]] = dy
    return d_x
