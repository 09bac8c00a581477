"""The same recurrences by PyTorch's own functions: differentiable as often and as one likes.

A reset cuts a row into episodes, between which nothing passes. So a batch with resets is a batch
of its episodes, of several lengths, which PyTorch's functions take as a packed sequence: the
forward direction of a row's first episode and the reverse direction of its last begin with the
given state, all others with zeros.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import Any

import torch
from torch import _VF

from ._formula import replay
from ._kind import Kind

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "lstm": _VF.lstm,
    "gru": _VF.gru,
    "rnn_tanh": _VF.rnn_tanh,
    "rnn_relu": _VF.rnn_relu,
}


# Entered again by a signal handler within it, and made anew in a child process, where a thread that
# held it during the fork does not exist.
_lock = RLock()
_within = 0
_before: bool | None = None


def _in_child() -> None:
    global _lock, _within
    _lock, _within = RLock(), 0
    _leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)


def _leave() -> None:
    global _before
    if _within == 0 and _before is not None:
        before, _before = _before, None
        torch._C._set_mkldnn_enabled(before)


@contextmanager
def composed() -> Iterator[None]:
    """Within it PyTorch computes an LSTM from differentiable parts, not by oneDNN's kernel, which
    knows no forward mode. A setting of the process, so the last to leave restores it.

    (`torch.backends.mkldnn.flags` does the same and warns of TF32 on machines without it.)
    """
    global _within, _before
    with _lock:
        # Counted first: a signal handler that comes between these lines does not restore.
        _within += 1
        if _before is None:
            _before = torch._C._get_mkldnn_enabled()
        torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        with _lock:
            _within = max(_within - 1, 0)
            _leave()


class Episodes:
    """The episodes of a batch: what runs from a reset, or a row's begin, to the next or its end."""

    def __init__(self, steps: int, batch: int, lengths: Any, resets: Any, device: Any) -> None:
        if lengths is None:
            lengths = torch.full((batch,), steps, device=device)
        lengths = lengths.to(device)
        time = torch.arange(steps, device=device)
        begins = torch.zeros(batch, steps, dtype=torch.bool, device=device)
        if resets is not None:
            begins |= resets.t() & (time < lengths[:, None])
        # At step 0 a row begins in any case; whether with its state is another matter.
        keeps_state = ~begins[:, 0]
        begins[:, 0] = True
        row, start = begins.nonzero(as_tuple=True)
        first = start == 0
        # In order of rows, then time: an episode is its row's last if the next one is a first.
        last = torch.cat([first[1:], first.new_ones(1)])
        end = torch.where(last, lengths[row], start.roll(-1))
        order = torch.argsort(start - end, stable=True)
        place = torch.argsort(order)

        self.row = row[order]
        self.takes_state = (first & keeps_state[row])[order], last[order]
        self.final = place[last], place[first]
        # (step within the episode, episode): in this order lies a packed sequence.
        length = (end - start)[order]
        within = torch.arange(int(length[0]), device=device)[:, None]
        runs = within < length
        self.sizes = runs.sum(1).cpu()
        self.index = ((start[order] + within) * batch + self.row)[runs]

    def begin(self, kind: Kind, state: Any) -> Any:
        """States of the rows -> states of the episodes."""
        per_direction = torch.stack([*self.takes_state[: kind.directions]])
        mask = per_direction.repeat(kind.layers, 1)[..., None]
        return torch.where(mask, state.index_select(1, self.row), state.new_zeros(()))

    def end(self, kind: Kind, state: Any) -> Any:
        """Final states of the episodes -> of the rows."""
        by_direction = state.unflatten(0, (kind.layers, kind.directions))
        found = [by_direction[:, d].index_select(1, self.final[d]) for d in range(kind.directions)]
        return torch.stack(found, 1).flatten(0, 1)


def through_torch(
    kind: Kind,
    x: Any,
    states: Any,
    weights: Sequence[Any],
    lengths: Any,
    resets: Any,
    dropout: float = 0.0,
) -> tuple[Any, Any]:
    """y and the states of x (T, B, I), by PyTorch."""
    if kind.traits.formula is not None:
        return replay(kind, x, states, weights, lengths, resets)
    steps, batch, _ = x.shape
    if states is None:
        cells, columns = kind.layers * kind.directions, kind.columns(kind.sizes(weights))
        states = [x.new_zeros(cells, batch, size) for size in columns]
    rest = (list(weights), kind.bias, kind.layers, dropout, dropout > 0, kind.bidirectional)
    function = FUNCTIONS[kind.cell]
    if lengths is None and resets is None:
        y, *states = function(x, as_theirs(states), *rest, False)
        return y, states
    episodes = Episodes(steps, batch, lengths, resets, x.device)
    states = tuple(episodes.begin(kind, s) for s in states)
    data = x.reshape(steps * batch, -1).index_select(0, episodes.index)
    data, *states = function(data, episodes.sizes, as_theirs(states), *rest)
    y = data.new_zeros(steps * batch, data.shape[1]).index_copy(0, episodes.index, data)
    return y.view(steps, batch, -1), [episodes.end(kind, s) for s in states]


def as_theirs(states: Any) -> Any:
    """States as PyTorch's functions take them: alone if it is one."""
    return states if len(states) > 1 else states[0]


def derivatives(
    kind: Kind,
    x: Any,
    states: Any,
    weights: Sequence[Any],
    lengths: Any,
    resets: Any,
    grads: Sequence[Any],
    needed: Sequence[bool],
) -> list[Any]:
    """Gradients by x, the states if some are given, and the weights, to be differentiated again.

    `grads` are by y and each state. The run is repeated by PyTorch's functions. Each argument goes
    in as a view of its own, so that what one argument owes another outside this run is not counted
    here.
    """
    create = torch.is_grad_enabled()
    with torch.enable_grad(), composed():
        own = [t.view_as(t) for t in (x, *(states or ()), *weights)]
        at = len(own) - len(weights)
        y, found = through_torch(kind, own[0], own[1:at] or None, own[at:], lengths, resets)
        pairs = zip((y, *found), grads, strict=True)
        # A state of a formula may depend on nothing that is asked for.
        given = [(o, g) for o, g in pairs if g is not None and o.requires_grad]
        wanted = [t for t, need in zip(own, needed, strict=True) if need]
        parts: Sequence[Any] = [None] * len(wanted)
        if given and wanted:
            outputs, with_respect = zip(*given, strict=True)
            parts = torch.autograd.grad(
                outputs, wanted, with_respect, create_graph=create, allow_unused=True
            )
    results = iter(parts)
    return [next(results) if need else None for need in needed]
