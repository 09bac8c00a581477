"""Losses: each gives its value and its gradient.

The value is the mean over what the mask keeps. What it drops never enters: it may be NaN, and its
gradient is exactly 0. Where nothing is kept the value is 0 and so is the gradient. A value that is
NaN comes with a warning that says from where.

>>> import numpy as np
>>> from unrolled import losses
>>> value, gradient = losses.mse(np.array([1.0, 2.0]), np.array([0.0, 2.0]))
>>> value, gradient
(0.5, array([1., 0.]))
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from . import _arguments as arguments
from . import _native
from ._arguments import Array

__all__ = ["binary_cross_entropy_with_logits", "cross_entropy", "mse"]


def mse(prediction: Any, target: Any, *, mask: Any = None) -> tuple[float, Array]:
    """Mean squared error, the mean of (p - t)^2.

    Parameters
    ----------
    prediction : array of any shape, float32 or float64
    target : array, as `prediction`
    mask : bool array, optional
        With the shape of `target`, or of its first axes: one truth for all of the rest.

    Returns
    -------
    value : float
    gradient : array, as `prediction`

    Raises
    ------
    TypeError
        For a wrong dtype or kind of object; nothing is cast.
    ValueError
        For a wrong shape.
    """
    p, t = _pair("prediction", prediction, target)
    value, gradient = _native.mse(p, t, _mask(mask, t.shape))
    _hint("mse", value, "prediction", p, t)
    return value, gradient.reshape(p.shape)


def binary_cross_entropy_with_logits(
    logits: Any, target: Any, *, mask: Any = None
) -> tuple[float, Array]:
    """The mean of -y ln s - (1 - y) ln(1 - s), s = sigmoid(logit). Finite for finite logits.

    Parameters
    ----------
    logits : array of any shape, float32 or float64
    target : array, as `logits`
        y in [0, 1].
    mask : bool array, optional
        As for `mse`.

    Returns
    -------
    value : float
    gradient : array, as `logits`
    """
    z, t = _pair("logits", logits, target)
    value, gradient = _native.binary_cross_entropy_with_logits(z, t, _mask(mask, t.shape))
    _hint("binary_cross_entropy_with_logits", value, "logits", z, t)
    return value, gradient.reshape(z.shape)


def cross_entropy(logits: Any, target: Any, *, mask: Any = None) -> tuple[float, Array]:
    """The mean of -ln softmax(logits)[target].

    Parameters
    ----------
    logits : array (..., C), float32 or float64
        A logit of minus infinity rules its class out.
    target : integer array (...)
        Classes, 0 to C - 1. Where the mask drops them they are not looked at.
    mask : bool array, optional
        With the shape of `target`, or of its first axes.

    Returns
    -------
    value : float
    gradient : array, as `logits`
    """
    z = _floats("logits", logits)
    if z.ndim == 0 or z.shape[-1] == 0:
        raise ValueError(f"logits: expected shape (..., C) with C >= 1, got {z.shape}")
    # A copy: what has been seen to be a class must stay one, whatever other threads do.
    t = arguments.integers("target", target).copy()
    arguments.shaped("target", t, "of the logits' leading axes", z.shape[:-1])
    kept = _mask(mask, t.shape)
    classes = z.shape[-1]
    try:
        value, gradient = _native.cross_entropy(z, classes, t, kept)
    except ValueError:
        wrong = (t < 0) | (t >= classes)
        if kept is not None:
            given = arguments.array("mask", mask, np.bool_)
            wrong &= given.reshape(given.shape + (1,) * (t.ndim - given.ndim))
        if not wrong.any():
            raise
        where = np.argwhere(wrong)[0]
        raise ValueError(
            f"target: expected classes 0 to {classes - 1}, got {t[tuple(where)]} "
            f"at {tuple(where.tolist())}"
        ) from None
    _hint("cross_entropy", value, "logits", z, t)
    return value, gradient.reshape(z.shape)


def _hint(loss: str, value: float, name: str, p: Array, t: Array) -> None:
    """A warning for a loss that is NaN, which says where from and what helps."""
    if not math.isnan(value):
        return
    where = [each for each, a in ((name, p), ("target", t)) if np.isnan(a).any()]
    warnings.warn(
        f"{loss}: the loss is NaN, from {' and '.join(where) or f'infinities in {name}'}; if NaN "
        "pads rows that end early, give the network lengths= and the loss mask=",
        stacklevel=3,
    )


def _floats(name: str, value: Any) -> Array:
    """A float32 or float64 array, in order."""
    a = arguments.array(name, value, None)
    if a.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: expected a float32 or float64 array, got dtype {a.dtype}")
    return arguments.contiguous(a)


def _pair(name: str, prediction: Any, target: Any) -> tuple[Array, Array]:
    p = _floats(name, prediction)
    t = arguments.array("target", target, p.dtype)
    return p, arguments.contiguous(arguments.shaped("target", t, f"of {name}", p.shape))


def _mask(mask: Any, shape: tuple[int, ...]) -> Array | None:
    if mask is None:
        return None
    mask = arguments.array("mask", mask, np.bool_)
    if mask.shape != shape[: mask.ndim]:
        raise ValueError(
            f"mask: expected the shape of the target or of its first axes, {shape}, "
            f"got {mask.shape}"
        )
    return arguments.truths(mask)
