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

from .._native import Network, Tape
from ._kind import Kind
from ._weights import array, follow_threads


class Recorded(NamedTuple):
    """A tape, and the network that can read it."""

    network: Network
    tape: Tape


def _state(h0: Any, c0: Any) -> Any:
    if h0 is None:
        return None
    return array(h0) if c0 is None else (array(h0), array(c0))


def _lengths(lengths: Any) -> Any:
    return None if lengths is None else array(lengths)


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


def step(network: Network, x: Any, h0: Any, c0: Any) -> tuple[Any, Any]:
    """h and c (None unless an LSTM) after one step, and nothing kept."""
    follow_threads()
    x, state = _one_step(x, h0, c0)
    return _states(network.forward(x, state, None, None)[1])


def record_step(network: Network, x: Any, h0: Any, c0: Any) -> tuple[Any, Any, Any]:
    """h, c and the reserve."""
    follow_threads()
    x, state = _one_step(x, h0, c0)
    _, state, tape = network.record(x, state, None, None, None, None)
    return *_states(state), _reserve(network, tape)


def _reserve(network: Network, tape: Tape) -> Any:
    reserve = torch.zeros(1, dtype=torch.uint8)
    reserve.untyped_storage()._unrolled = Recorded(network, tape)
    return reserve


def forward(
    network: Network, x: Any, h0: Any, c0: Any, lengths: Any, resets: Any
) -> tuple[Any, Any, Any]:
    """y, h and c (None unless an LSTM), and nothing kept."""
    follow_threads()
    return _tensors(*network.forward(array(x), _state(h0, c0), _lengths(lengths), _lengths(resets)))


def record(
    network: Network, x: Any, h0: Any, c0: Any, lengths: Any, resets: Any
) -> tuple[Any, Any, Any, Any]:
    """y, h, c and the reserve."""
    follow_threads()
    y, state, tape = network.record(
        array(x), _state(h0, c0), _lengths(lengths), _lengths(resets), None, None
    )
    return *_tensors(y, state), _reserve(network, tape)


def recorded(reserve: Any) -> Recorded | None:
    """What hangs on a reserve, or on something that shares its memory."""
    return getattr(reserve.untyped_storage(), "_unrolled", None)


def derivative(gradient: Any, shape: Any, dtype: Any) -> Any:
    """A gradient as an array; autograd says None for zeros."""
    if gradient is None:
        return np.zeros(shape, dtype)
    return array(gradient)


def backward(
    kind: Kind,
    run: Recorded,
    x: Any,
    state_size: int,
    hidden_size: int,
    grads: tuple[Any, Any, Any],
) -> tuple[Any, Any, Any, Any]:
    """Gradients by all weights in a row, x, h0 and c0 (None unless an LSTM)."""
    follow_threads()
    steps, batch, _ = x.shape
    cells = kind.layers * kind.directions
    dtype = "float32" if x.dtype is torch.float32 else "float64"
    dy, dh, dc = grads
    d_y = derivative(dy, (steps, batch, kind.directions * state_size), dtype)
    d_state: Any = None
    if dh is not None or dc is not None:
        d_state = derivative(dh, (cells, batch, state_size), dtype)
        if kind.has_c:
            d_state = (d_state, derivative(dc, (cells, batch, hidden_size), dtype))
    flat, d_x, d_state = run.network.backward(run.tape, d_y, d_state, None)
    return torch.from_numpy(flat), *_tensors(d_x, d_state)


def split(flat: Any, weights: Any) -> list[Any]:
    """Gradients by each of the weights, which share the memory of `flat`."""
    parts = flat.split([weight.numel() for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]
