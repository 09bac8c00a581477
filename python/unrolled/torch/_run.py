"""Calls of the kernels with tensors: (T, B, I), states (layers * directions, B, H).

The tape of a recorded run hangs on the memory of a tensor, the reserve: whoever keeps or drops
that, keeps or drops the tape. So autograd frees it when it frees what it has saved, checkpointing
does not save it, and a compiled graph can hand it from its forward to its backward half. A reserve
that has been copied on the way has no tape, and the run is then repeated from what was saved.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from .._native import Tape
from ._weights import Net, array, follow_threads


class Recorded(NamedTuple):
    """A tape, and the network that can read it."""

    net: Net
    tape: Tape


def _state(h0: Any, c0: Any) -> Any:
    if h0 is None:
        return None
    return array(h0) if c0 is None else (array(h0), array(c0))


def optional(tensor: Any) -> Any:
    """As `array`; None stays None."""
    return None if tensor is None else array(tensor)


def _tensors(y: Any, state: Any) -> tuple[Any, Any, Any]:
    if isinstance(state, tuple):
        return torch.from_numpy(y), torch.from_numpy(state[0]), torch.from_numpy(state[1])
    return torch.from_numpy(y), torch.from_numpy(state), None


def _one_step(x: Any, h0: Any, c0: Any) -> tuple[Any, Any]:
    """x (B, I) and states (B, H) with an axis of time, or of layers, before them."""
    if h0 is None:
        return array(x)[None], None
    return array(x)[None], array(h0)[None] if c0 is None else (array(h0)[None], array(c0)[None])


def _states(state: Any) -> tuple[Any, Any]:
    if isinstance(state, tuple):
        return torch.from_numpy(state[0][0]), torch.from_numpy(state[1][0])
    return torch.from_numpy(state[0]), None


def step(net: Net, x: Any, h0: Any, c0: Any) -> tuple[Any, Any]:
    """h and c (None unless an LSTM) after one step, and nothing kept."""
    follow_threads()
    x, state = _one_step(x, h0, c0)
    return _states(net.network.forward(x, state, None, None)[1])


def record_step(net: Net, x: Any, h0: Any, c0: Any) -> tuple[Any, Any, Any]:
    """h, c and the reserve."""
    follow_threads()
    x, state = _one_step(x, h0, c0)
    _, state, tape = net.network.record(x, state, None, None, None, None)
    return *_states(state), _reserve(net, tape)


def _reserve(net: Net, tape: Tape) -> Any:
    reserve = torch.zeros(1, dtype=torch.uint8)
    reserve.untyped_storage()._unrolled = Recorded(net, tape)
    return reserve


def forward(net: Net, x: Any, h0: Any, c0: Any, lengths: Any, resets: Any) -> tuple[Any, Any, Any]:
    """y, h and c (None unless an LSTM), and nothing kept."""
    follow_threads()
    return _tensors(
        *net.network.forward(array(x), _state(h0, c0), optional(lengths), optional(resets))
    )


def record(
    net: Net, x: Any, h0: Any, c0: Any, lengths: Any, resets: Any
) -> tuple[Any, Any, Any, Any]:
    """y, h, c and the reserve."""
    follow_threads()
    y, state, tape = net.network.record(
        array(x), _state(h0, c0), optional(lengths), optional(resets), None, None
    )
    return *_tensors(y, state), _reserve(net, tape)


def recorded(reserve: Any) -> Recorded | None:
    """What hangs on a reserve, or on something that shares its memory."""
    return getattr(reserve.untyped_storage(), "_unrolled", None)


def go_back(run: Recorded, shape: tuple[int, int], grads: tuple[Any, Any, Any]) -> Any:
    """Gradients by all weights in a row, x and the state, all of them arrays.

    `shape` is (T, B); `grads` are arrays by y, h and c, None for zeros.
    """
    follow_threads()
    _, kind, sizes, dtype, _, _ = run.net
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
    return run.net.network.backward(run.tape, dy, d_state, None)


def backward(
    run: Recorded, shape: tuple[int, int], grads: tuple[Any, Any, Any], needs: Any
) -> list[Any]:
    """As `go_back`, tensors by x, h0, c0 and each weight; None where `needs` says so."""
    flat, d_x, d_state = go_back(run, shape, grads)
    d_h, d_c = d_state if isinstance(d_state, tuple) else (d_state, None)
    found = [
        torch.from_numpy(g) if need and g is not None else None
        for g, need in zip((d_x, d_h, d_c), needs, strict=False)
    ]
    if not any(needs[3:]):
        return found + [None] * len(run.net.counts)
    return found + [
        part if need else None
        for part, need in zip(split(run.net, torch.from_numpy(flat)), needs[3:], strict=True)
    ]


def split(net: Net, flat: Any) -> list[Any]:
    """Gradients by each weight, which share the memory of `flat`."""
    # Not `flat.split`, which takes its time in Python.
    return [
        part if len(shape) == 1 else part.view(shape)
        for part, shape in zip(torch.split_with_sizes(flat, net.counts), net.shapes, strict=True)
    ]
