"""From what a user passes to sequences, and from those to batches."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array

from .. import _arguments as arguments
from .._arguments import Array


def unpad(X: Any, lengths: Any) -> list[Array]:
    """A padded array as a list of sequences, which cross-validation can split without `lengths`.

    Parameters
    ----------
    X : array (N, T, I) or (N, T)
    lengths : integers (N,)
        From 0 to T.

    Returns
    -------
    list of arrays (T_i, I) or (T_i,)

    Example
    -------
    >>> import numpy as np
    >>> from unrolled.sklearn import unpad
    >>> unpad(np.arange(6).reshape(2, 3), [3, 1])
    [array([0, 1, 2]), array([3])]
    """
    X = np.asarray(X)
    if X.ndim < 2:
        raise ValueError(f"X: expected an array (N, T, I) or (N, T), got shape {X.shape}")
    found = arguments.integers("lengths", np.asarray(lengths))
    arguments.shaped("lengths", found, "(N,)", X.shape[:1])
    outside = (found < 0) | (found > X.shape[1])
    if outside.any():
        wrong = int(np.argmax(outside))
        raise ValueError(
            f"lengths: expected 0 to T = {X.shape[1]}, got {found[wrong]} for sequence {wrong}"
        )
    return [x[:length] for x, length in zip(X, found, strict=True)]


def sequences(
    X: Any, lengths: Any = None, *, channels: int | None = None, estimator: Any = None
) -> list[Array]:
    """X as a list of arrays (T_i, I) of float64, finite, all with the same I."""
    if isinstance(X, (list, tuple)) or (isinstance(X, np.ndarray) and X.dtype == object):
        found = _listed(X, lengths, estimator)
    else:
        if lengths is not None:
            # What lies past an end may be anything.
            return sequences(unpad(X, lengths), channels=channels, estimator=estimator)
        array = check_array(
            X,
            dtype=np.float64,
            allow_nd=True,
            input_name="X",
            estimator=estimator,
        )
        if array.ndim > 3:
            raise ValueError(f"X: expected (N, T, I) or (N, T), got shape {array.shape}")
        found = list(array[..., None] if array.ndim == 2 else array)
        if array.shape[-1] == 0:
            raise ValueError(f"X: expected one channel or more, got shape {array.shape}")
    expected = found[0].shape[1] if channels is None else channels
    for n, x in enumerate(found):
        if x.shape[1] != expected:
            raise ValueError(
                f"X[{n}]: expected {expected} channels"
                f"{' as in fit' if channels is not None else ' as X[0]'}, got {x.shape[1]}"
            )
    return found


def _listed(X: Any, lengths: Any, estimator: Any) -> list[Array]:
    if lengths is not None:
        raise ValueError("lengths: expected None for a list of sequences, which have their own")
    if not len(X):
        raise ValueError("X: expected 1 sequence or more, got Found array with 0 sample(s)")
    if isinstance(X, np.ndarray) and X.ndim > 1:
        # Numbers in an array of objects, as a data frame gives.
        return sequences(check_array(X, dtype=np.float64, allow_nd=True, estimator=estimator))
    return [_sequence(f"X[{n}]", x) for n, x in enumerate(X)]


def _sequence(name: str, value: Any) -> Array:
    """One sequence as (T, I)."""
    if issparse(value):
        raise TypeError(f"{name}: expected a dense array, got a sparse one; use .toarray()")
    try:
        x = np.asarray(value)
        if x.dtype.kind == "c":
            raise ValueError("Complex data not supported")
        x = x.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: expected numbers (T, I) or (T,), got {error}") from None
    if x.ndim == 1:
        x = x[:, None]
    if x.ndim != 2:
        raise ValueError(f"{name}: expected shape (T, I) or (T,), got {x.shape}")
    if x.shape[1] == 0:
        raise ValueError(
            f"{name}: expected shape (T, I), got 0 feature(s) (shape={x.shape}) while a minimum of "
            "1 is required."
        )
    wrong = ~np.isfinite(x)
    if wrong.any():
        step, channel = np.argwhere(wrong)[0].tolist()
        raise ValueError(
            f"{name}: expected finite numbers, got {x[step, channel]} at step {step}, channel "
            f"{channel} (Input X contains NaN or infinity)"
        )
    return x


def padded(chosen: list[Array]) -> tuple[Array, Array]:
    """(T, B, I) of float32, zero past each end, and the lengths."""
    lengths = np.array([len(x) for x in chosen])
    batch = np.zeros((int(lengths.max()), len(chosen), chosen[0].shape[1]), np.float32)
    for row, x in enumerate(chosen):
        batch[: len(x), row] = x
    return batch, lengths


class Standard:
    """Mean and deviation of each column; of what never varies the deviation is 1."""

    def __init__(self, rows: Array) -> None:
        self.mean = rows.mean(axis=0) if len(rows) else np.zeros(rows.shape[1:])
        deviation = rows.std(axis=0) if len(rows) else self.mean
        # Not == 0: the deviation of equal numbers need not round to it.
        rounding = 10 * np.finfo(np.float64).eps * np.abs(self.mean)
        self.deviation = np.where(deviation <= rounding, 1.0, deviation)

    def __call__(self, rows: Array) -> Array:
        """As numbers of mean 0 and deviation 1."""
        standard: Array = (rows - self.mean) / self.deviation
        return standard

    def back(self, rows: Array) -> Array:
        """The way back."""
        found: Array = rows * self.deviation + self.mean
        return found
