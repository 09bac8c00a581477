"""Calls of the kernels with tensors: (T, B, I), states (layers * directions, B, H).

The tape of a recorded run hangs on the memory of a tensor, the reserve: whoever keeps or drops
that, keeps or drops the tape. So autograd frees it when it frees what it has saved, checkpointing
does not save it, and a compiled graph can hand it from its forward to its backward half. A reserve
that has been copied on the way has no tape, and the run is then repeated from what was saved.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch

from .._native import Tape
from ._memory import Unfit, array, optional, tensor
from ._weights import Net, follow_threads

_profiling = torch.autograd._profiler_enabled
_UNWATCHED: Any = nullcontext()


class Recorded(NamedTuple):
    """A tape, and the network that can read it."""

    net: Net
    tape: Tape


def _row(net: Net, way: str = "") -> Any:
    """Names what is done within it for a profiler: "unrolled::lstm"."""
    if not _profiling():
        return _UNWATCHED
    return torch.profiler.record_function(f"unrolled::{net.kind.traits.label}{way}")


def _fit(net: Net, x: Any, states: Any) -> None:
    """A module's weights may have been exchanged for some of other sizes."""
    fits = x.shape[-1] == net.sizes.input
    if states is not None:
        for state, size in zip(states, net.columns, strict=True):
            fits = fits and state.shape[-1] == size
    if not fits:
        raise Unfit("the weights have unusual shapes")


def _given(states: Any) -> Any:
    """As `_native` takes and returns states: alone if it is one."""
    if states is None:
        return None
    return array(states[0]) if len(states) == 1 else tuple(map(array, states))


def _tensors(found: Any) -> tuple[Any, ...]:
    return tuple(map(tensor, found)) if isinstance(found, tuple) else (tensor(found),)


def step(net: Net, x: Any, states: Any) -> tuple[Any, ...]:
    """The states after one step of x (B, I) or (I,), and nothing kept."""
    _fit(net, x, states)
    follow_threads()
    # As a sequence of one step, or as its layer's state; and one row alone as a batch.
    at: Any = (None, None) if x.dim() == 1 else None
    given = _given(states)
    if given is not None:
        given = tuple(s[at] for s in given) if isinstance(given, tuple) else given[at]
    with _row(net):
        _, found = net.network.forward(array(x)[at], given, None, None)
    at = (0, 0) if x.dim() == 1 else 0
    return _tensors(tuple(s[at] for s in found) if isinstance(found, tuple) else found[at])


def _reserve(net: Net, tape: Tape) -> Any:
    reserve = torch.zeros(1, dtype=torch.uint8)
    reserve.untyped_storage()._unrolled = Recorded(net, tape)
    return reserve


def forward(net: Net, x: Any, states: Any, lengths: Any, resets: Any) -> tuple[Any, Any]:
    """y and the states, and nothing kept."""
    _fit(net, x, states)
    follow_threads()
    given = array(x), _given(states), optional(lengths), optional(resets)
    with _row(net):
        y, found = net.network.forward(*given)
    return tensor(y), _tensors(found)


def record(net: Net, x: Any, states: Any, lengths: Any, resets: Any) -> tuple[Any, Any, Any]:
    """y, the states and the reserve."""
    _fit(net, x, states)
    follow_threads()
    given = array(x), _given(states), optional(lengths), optional(resets)
    with _row(net):
        y, found, tape = net.network.record(*given, None, None)
    return tensor(y), _tensors(found), _reserve(net, tape)


def recorded(reserve: Any) -> Recorded | None:
    """What hangs on a reserve, or on something that shares its memory."""
    return getattr(reserve.untyped_storage(), "_unrolled", None)


def go_back(run: Recorded, shape: tuple[int, int], dy: Any, d_states: Any) -> tuple[Any, Any, Any]:
    """Gradients by all weights in a row, x and a tuple by the states, all of them arrays.

    `shape` is (T, B); `dy` and each of `d_states` are tensors, or None for zeros.
    """
    follow_threads()
    net = run.net
    kind, dtype = net.kind, net.dtype
    steps, batch = shape
    cells = kind.layers * kind.directions
    if dy is None:
        dy = np.zeros((steps, batch, kind.directions * net.sizes.state), dtype)
    else:
        dy = array(dy)
    given: Any = None
    for d in d_states:
        if d is not None:
            pairs = zip(d_states, net.columns, strict=True)
            given = tuple(
                [np.zeros((cells, batch, n), dtype) if d is None else array(d) for d, n in pairs]
            )
            given = given if len(given) > 1 else given[0]
            break
    with _row(net, "_backward"):
        flat, d_x, found = net.network.backward(run.tape, dy, given, None)
    return flat, d_x, found if isinstance(found, tuple) else (found,)


def backward(
    run: Recorded, shape: tuple[int, int], dy: Any, d_states: Any, needs: Any
) -> list[Any]:
    """As `go_back`, tensors by x, the states if some were given, and each weight; None where
    `needs` says so.
    """
    flat, d_x, found = go_back(run, shape, dy, d_states)
    inputs = len(needs) - len(run.net.counts)
    own = zip((d_x, *found), needs[:inputs], strict=False)
    return [tensor(g) if need else None for g, need in own] + split(run.net, flat, needs[inputs:])


def split(net: Net, flat: Any, needs: Any) -> list[Any]:
    """Gradients by each weight, each in memory of its own; None where `needs` says so."""
    if not any(needs):
        return [None] * len(net.counts)
    parts = torch.split_with_sizes_copy(torch.from_numpy(flat), net.counts)
    return [
        (part if len(shape) == 1 else part.view(shape)) if need else None
        for part, shape, need in zip(parts, net.shapes, needs, strict=True)
    ]
