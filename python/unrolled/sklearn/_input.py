"""From what a user passes to sequences, and from those to batches."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array
from sklearn.utils.validation import _check_feature_names, _check_sample_weight

from .. import _arguments as arguments
from .._arguments import Array

# Of an array of NumPy's.
MOST_AXES = 64


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
    unmasked("X", X)
    unmasked("lengths", lengths)
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


def unmasked(name: str, value: Any, deepest: int = MOST_AXES) -> None:
    """Refuse a masked array, also in lists: its mask would be forgotten."""
    if deepest < 0:
        raise ValueError(
            f"{name.partition('[')[0]}: expected lists in lists at most {MOST_AXES} deep, got more"
        )
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(
            f"{name}: expected an array without a mask, got a masked array; give it values with "
            ".filled(), or leave out what is masked"
        )
    if _is_list(value):
        for n, part in enumerate(value):
            if isinstance(part, (list, tuple, np.ndarray)):
                unmasked(f"{name}[{n}]", part, deepest - 1)


def check_names(estimator: Any, X: Any, *, reset: bool, name: str = "X") -> None:
    """Set or check `feature_names_in_`, by the columns of data frames; of each one in a list.

    Raises
    ------
    ValueError
        As scikit-learn has it, for columns other than those in `fit`, or in another order.
    """
    frames = [(n, x) for n, x in enumerate(X) if hasattr(x, "columns")] if _is_list(X) else []
    if not frames:
        first = X[0] if _is_list(X) and len(X) else X
        _check_feature_names(estimator, first, reset=reset)
    for n, frame in frames:
        try:
            _check_feature_names(estimator, frame, reset=reset and n == frames[0][0])
        except ValueError as error:
            raise ValueError(f"{name}[{n}]: {error}") from None


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple)) or (
        isinstance(value, np.ndarray) and value.dtype == object
    )


def sequences(
    X: Any,
    lengths: Any = None,
    *,
    channels: int | None = None,
    estimator: Any = None,
    name: str = "X",
) -> list[Array]:
    """X as a list of arrays (T_i, I) of float64, finite, all with the same I."""
    unmasked(name, X)
    if _is_list(X):
        found = _listed(name, X, lengths, estimator)
    else:
        if lengths is not None:
            # What lies past an end may be anything.
            return sequences(unpad(X, lengths), channels=channels, estimator=estimator)
        try:
            array = as_float64(name, X, allow_nd=True, estimator=estimator)
        except ValueError as error:
            if "NaN" not in str(error):
                raise
            # What most NaN in one array of many sequences is.
            raise ValueError(
                f"{error}\nIf NaN pads sequences that end early, pass lengths=, or "
                f"unpad({name}, lengths)"
            ) from None
        if array.ndim > 3:
            raise ValueError(f"{name}: expected (N, T, I) or (N, T), got shape {array.shape}")
        found = list(array[..., None] if array.ndim == 2 else array)
        if array.shape[-1] == 0:
            raise ValueError(f"{name}: expected one channel or more, got shape {array.shape}")
    expected = found[0].shape[1] if channels is None else channels
    for n, x in enumerate(found):
        if x.shape[1] != expected:
            raise ValueError(
                f"{name}[{n}]: expected {expected} channels"
                f"{' as in fit' if channels is not None else f' as {name}[0]'}, got {x.shape[1]}"
            )
    return found


def as_float64(name: str, value: Any, **options: Any) -> Array:
    """By scikit-learn's `check_array`: finite numbers."""
    unmasked(name, value)
    try:
        found: Array = check_array(value, dtype=np.float64, input_name=name, **options)
    except OverflowError as error:
        raise ValueError(f"{name}: expected numbers that fit into float64, got {error}") from None
    return found


def _listed(name: str, X: Any, lengths: Any, estimator: Any) -> list[Array]:
    if lengths is not None:
        raise ValueError("lengths: expected None for a list of sequences, which have their own")
    if not len(X):
        raise ValueError(f"{name}: expected 1 sequence or more, got Found array with 0 sample(s)")
    if isinstance(X, np.ndarray) and X.ndim > 1:
        # Numbers in an array of objects, as a data frame gives.
        numbers = as_float64(name, X, allow_nd=True, estimator=estimator)
        return sequences(numbers, name=name)
    return [_sequence(f"{name}[{n}]", x) for n, x in enumerate(X)]


def _sequence(name: str, value: Any) -> Array:
    """One sequence as (T, I)."""
    if issparse(value):
        raise TypeError(f"{name}: expected a dense array, got a sparse one; use .toarray()")
    try:
        x = np.asarray(value)
        if x.dtype.kind == "c":
            raise ValueError("Complex data not supported")
        x = x.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name}: expected numbers (T, I) or (T,), got {error}") from None
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
        raise ValueError(
            f"{name}: expected finite numbers, {_first(x, wrong)} (Input X contains NaN or "
            "infinity)"
        )
    return x


def for_float32(
    name: str, x: Array, standard: Standard | None, axes: tuple[str, str] = ("step", "channel")
) -> Array:
    """One sequence as the network reads it: standardised, if it is to be."""
    found = x if standard is None else standard(x)
    wrong = ~(np.abs(found) <= np.finfo(np.float32).max)
    if wrong.any():
        raise ValueError(
            f"{name}: expected numbers that fit into float32 (up to 3.4e38)"
            f"{'' if standard is None else ' once standardised'}, {_first(x, wrong, axes)}"
        )
    return found


def _first(x: Array, wrong: Array, axes: tuple[str, str] = ("step", "channel")) -> str:
    row, column = np.argwhere(wrong)[0].tolist()
    return f"got {x[row, column]} at {axes[0]} {row}, {axes[1]} {column}"


def sample_weights(value: Any, X: list[Array]) -> Array | None:
    """Weights (N,) of 0 to 1."""
    if value is None:
        return None
    unmasked("sample_weight", value)
    checked = _check_sample_weight(value, X, dtype=np.float64, ensure_non_negative=True)
    return normalised("sample_weight", checked)


def normalised(name: str, weights: Array) -> Array:
    """As parts of the largest, which may be huge: their sum must not overflow."""
    if not weights.any():
        raise ValueError(f"{name}: expected one above 0 for some sequence, got none")
    if not np.isfinite(weights).all() or weights.min() < 0:
        wrong = weights[~(np.isfinite(weights) & (weights >= 0))][0]
        raise ValueError(f"{name}: expected finite weights, 0 or more, got {wrong}")
    found: Array = weights / weights.max()
    return found


def padded(chosen: list[Array]) -> tuple[Array, Array]:
    """(T, B, I) of float32, zero past each end, and the lengths."""
    lengths = np.array([len(x) for x in chosen])
    batch = np.zeros((int(lengths.max()), len(chosen), chosen[0].shape[1]), np.float32)
    for row, x in enumerate(chosen):
        batch[: len(x), row] = x
    return batch, lengths


class Standard:
    """Mean and deviation of each column, by the rows' weights; of what never varies it is 1."""

    def __init__(self, rows: Array, weights: Array | None = None) -> None:
        # By a power of 2 nothing is rounded, and squares neither overflow nor vanish.
        largest = np.abs(rows).max(axis=0, initial=0.0)
        self._unit = np.ldexp(1.0, np.frexp(largest)[1] - 1)
        if not len(rows):
            rows, weights = np.zeros((1, *rows.shape[1:])), None
        scaled = rows / self._unit
        mean = np.average(scaled, axis=0, weights=weights)
        deviation = np.sqrt(np.average((scaled - mean) ** 2, axis=0, weights=weights))
        self.mean = mean * self._unit
        # Not == 0: the deviation of equal numbers need not round to it.
        constant = deviation <= 10 * np.finfo(np.float64).eps * np.abs(mean)
        self.deviation = np.where(constant, 1.0, deviation * self._unit)

    def __call__(self, rows: Array) -> Array:
        """As numbers of mean 0 and deviation 1."""
        unit = self._unit
        with np.errstate(over="ignore"):
            standard: Array = (rows / unit - self.mean / unit) / (self.deviation / unit)
        return standard

    def back(self, rows: Array) -> Array:
        """The way back."""
        found: Array = rows * self.deviation + self.mean
        return found
