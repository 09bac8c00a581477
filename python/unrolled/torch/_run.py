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
    return torch.profiler.record_function(f"unrolled::{net.kind.label}{way}")


def _fit(net: Net, x: Any, h0: Any, c0: Any) -> None:
    """A module's weights may have been exchanged for some of other sizes."""
    sizes = net.sizes.input, net.sizes.state, net.sizes.hidden
    for part, size in zip((x, h0, c0), sizes, strict=True):
        if part is not None and part.shape[-1] != size:
            raise Unfit("the weights have unusual shapes")


def _state(h0: Any, c0: Any) -> Any:
    if h0 is None:
        return None
    return array(h0) if c0 is None else (array(h0), array(c0))


def _tensors(y: Any, state: Any) -> tuple[Any, Any, Any]:
    if isinstance(state, tuple):
        return tensor(y), tensor(state[0]), tensor(state[1])
    return tensor(y), tensor(state), None


def step(net: Net, x: Any, h0: Any, c0: Any) -> tuple[Any, Any]:
    """h and c (None unless an LSTM) after one step of x (B, I) or (I,), and nothing kept."""
    _fit(net, x, h0, c0)
    follow_threads()
    # As a sequence of one step, or as its layer's state; and one row alone as a batch.
    at: Any = (None, None) if x.dim() == 1 else None
    state = None if h0 is None else array(h0)[at]
    if c0 is not None:
        state = state, array(c0)[at]
    with _row(net):
        _, found = net.network.forward(array(x)[at], state, None, None)
    at = (0, 0) if x.dim() == 1 else 0
    if net.kind.has_c:
        return tensor(found[0][at]), tensor(found[1][at])
    return tensor(found[at]), None


def _reserve(net: Net, tape: Tape) -> Any:
    reserve = torch.zeros(1, dtype=torch.uint8)
    reserve.untyped_storage()._unrolled = Recorded(net, tape)
    return reserve


def forward(net: Net, x: Any, h0: Any, c0: Any, lengths: Any, resets: Any) -> tuple[Any, Any, Any]:
    """y, h and c (None unless an LSTM), and nothing kept."""
    _fit(net, x, h0, c0)
    follow_threads()
    given = array(x), _state(h0, c0), optional(lengths), optional(resets)
    with _row(net):
        found = net.network.forward(*given)
    return _tensors(*found)


def record(
    net: Net, x: Any, h0: Any, c0: Any, lengths: Any, resets: Any
) -> tuple[Any, Any, Any, Any]:
    """y, h, c and the reserve."""
    _fit(net, x, h0, c0)
    follow_threads()
    given = array(x), _state(h0, c0), optional(lengths), optional(resets)
    with _row(net):
        y, state, tape = net.network.record(*given, None, None)
    return *_tensors(y, state), _reserve(net, tape)


def recorded(reserve: Any) -> Recorded | None:
    """What hangs on a reserve, or on something that shares its memory."""
    return getattr(reserve.untyped_storage(), "_unrolled", None)


def go_back(run: Recorded, shape: tuple[int, int], grads: tuple[Any, Any, Any]) -> Any:
    """Gradients by all weights in a row, x and the state, all of them arrays.

    `shape` is (T, B); `grads` are arrays by y, h and c, None for zeros.
    """
    follow_threads()
    net = run.net
    kind, sizes, dtype = net.kind, net.sizes, net.dtype
    steps, batch = shape
    dy, dh, dc = grads
    cells = kind.layers * kind.directions
    if dy is None:
        dy = np.zeros((steps, batch, kind.directions * sizes.state), dtype)
    d_state: Any = None
    if dh is not None or dc is not None:
        d_state = np.zeros((cells, batch, sizes.state), dtype) if dh is None else dh
        if kind.has_c:
            if dc is None:
                dc = np.zeros((cells, batch, sizes.hidden), dtype)
            d_state = (d_state, dc)
    with _row(net, "_backward"):
        return net.network.backward(run.tape, dy, d_state, None)


def backward(
    run: Recorded, shape: tuple[int, int], grads: tuple[Any, Any, Any], needs: Any
) -> list[Any]:
    """As `go_back`, tensors by x, h0, c0 and each weight; None where `needs` says so."""
    flat, d_x, d_state = go_back(run, shape, grads)
    d_h, d_c = d_state if run.net.kind.has_c else (d_state, None)
    own = zip((d_x, d_h, d_c), needs, strict=False)
    found = [tensor(g) if need and g is not None else None for g, need in own]
    return found + split(run.net, flat, needs[3:])


def split(net: Net, flat: Any, needs: Any) -> list[Any]:
    """Gradients by each weight, each in memory of its own; None where `needs` says so."""
    if not any(needs):
        return [None] * len(net.counts)
    parts = torch.split_with_sizes_copy(torch.from_numpy(flat), net.counts)
    return [
        (part if len(shape) == 1 else part.view(shape)) if need else None
        for part, shape, need in zip(parts, net.shapes, needs, strict=True)
    ]
