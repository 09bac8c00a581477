"""Gradients of one or several modules, as the training functions take them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from . import _arguments as arguments
from . import _native
from ._arguments import Array
from ._gradients import ModuleGradients

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def mappings(grads: Any) -> list[tuple[str, Mapping[str, Any] | ModuleGradients]]:
    """`grads` as a list of mappings or our gradients, each with what to call it in a message."""
    if isinstance(grads, (list, tuple)):
        return [(f"grads[{n}]", _mapping(f"grads[{n}]", g)) for n, g in enumerate(grads)]
    return [("grads", _mapping("grads", grads))]


def _mapping(name: str, gradients: Any) -> Mapping[str, Any] | ModuleGradients:
    if isinstance(gradients, ModuleGradients):
        return gradients
    found = getattr(gradients, "parameters", gradients)
    if not isinstance(found, Mapping):
        raise TypeError(
            f"{name}: expected gradients with .parameters or a mapping of names to arrays, "
            f"got {arguments.kind(gradients)}"
        )
    return found


def _parts(name: str, gradients: Mapping[str, Any] | ModuleGradients) -> Iterator[tuple[str, Any]]:
    """Every array, and what to call it in a message."""
    if isinstance(gradients, ModuleGradients):
        whole = gradients.whole()
        if whole is not None:
            yield f"{name}.parameters", whole
            return
        gradients = gradients.parameters
    for key, value in gradients.items():
        yield f"{name}[{key!r}]", value


def clip_grad_norm(grads: Any, max_norm: float) -> float:
    """Scale gradients, in place, so that their norm together is `max_norm` at most.

    (Pascanu, Mikolov & Bengio 2013.)

    Parameters
    ----------
    grads : gradients, or a mapping of names to arrays, or a sequence of those
        What ``tape.backward`` and ``dense.backward`` return.
    max_norm : float
        0 or more; infinity only measures.

    Returns
    -------
    norm : float
        The 2-norm of all gradients as one vector, before they were scaled. If it is infinite or
        NaN the gradients become 0 or NaN, as in PyTorch; look at it to skip such a step.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> grads = {"w": np.array([3.0, 4.0])}
    >>> ur.clip_grad_norm(grads, 1.0)
    5.0
    >>> grads["w"].round(3)
    array([0.6, 0.8])
    """
    endless = isinstance(max_norm, (float, np.floating))
    limit = float(max_norm) if endless else arguments.real("max_norm", max_norm)
    by_type: dict[np.dtype[Any], list[Array]] = {dtype: [] for dtype in FLOATS}
    scaled: list[Array] = []
    for name, gradients in mappings(grads):
        for part, value in _parts(name, gradients):
            if isinstance(value, np.ndarray):
                # The same memory, of which a mask or a unit says more.
                value = arguments.array(part, value, None)
            if not isinstance(value, np.ndarray) or value.dtype not in FLOATS:
                got = f"dtype {value.dtype}" if isinstance(value, np.ndarray) else None
                raise TypeError(
                    f"{part}: expected a float32 or float64 array, "
                    f"got {got or arguments.kind(value)}"
                )
            if not value.flags.writeable:
                raise ValueError(f"{part}: expected a writeable array, got a read-only one")
            scaled.append(value)
            by_type[value.dtype].append(arguments.contiguous(value))
    norm = math.hypot(*(_native.global_norm(arrays) for arrays in by_type.values()))
    factor = _native.clip_coefficient(norm, limit)
    if factor != 1.0:
        _native.scale(scaled, factor)
    return norm
