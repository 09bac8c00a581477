"""A recurrence for graphs that hold for other inputs than the one they were made of.

What `_through` does with resets depends on which steps they stand at; a graph cannot. Here the
steps are taken one by one, so their number is the graph's, and the resets are as free as x.

A `One` is one layer in one direction: ``one(x, h, c, weights, lengths, reverse)`` with x (T, B, I),
states (1, B, H) or None, and y, h, c back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from ._kind import Kind
from ._through import FUNCTIONS

One = Callable[[Any, Any, Any, Sequence[Any], Any, bool], tuple[Any, Any, Any]]


def through_layers(
    kind: Kind, x: Any, h0: Any, c0: Any, weights: Sequence[Any], layer: Any, dropout: float = 0.0
) -> tuple[Any, Any, Any]:
    """y, h and c of a stack of ``layer(x, h, c, parts)``, whose parts are each direction's weights."""
    each, cells = kind.per_direction, kind.directions
    parts = [weights[i : i + each] for i in range(0, len(weights), each)]
    finals = []
    for at in range(0, len(parts), cells):
        own = [None if s is None else s[at : at + cells] for s in (h0, c0)]
        x, *final = layer(x, *own, parts[at : at + cells])
        finals.append(final)
        if dropout and at + cells < len(parts):
            x = functional.dropout(x, dropout)
    h, c = (None if s[0] is None else torch.cat(s) for s in zip(*finals, strict=True))
    return x, h, c


def by_direction(one: One, lengths: Any, resets: Any) -> Any:
    """A layer for `through_layers`, each direction by `one`, in single steps if there are resets."""

    def layer(x: Any, h0: Any, c0: Any, parts: Sequence[Any]) -> tuple[Any, Any, Any]:
        found = []
        for d, weights in enumerate(parts):
            h, c = (None if s is None else s[d : d + 1] for s in (h0, c0))
            given = (x, h, c, weights, lengths, d == 1)
            found.append(one(*given) if resets is None else _by_steps(one, resets, *given))
        ys, hs, cs = zip(*found, strict=True)
        return torch.cat(ys, 2), torch.cat(hs), None if cs[0] is None else torch.cat(cs)

    return layer


def _by_steps(
    one: One, resets: Any, x: Any, h: Any, c: Any, weights: Sequence[Any], lengths: Any, back: bool
) -> tuple[Any, Any, Any]:
    steps = x.shape[0]
    if not isinstance(steps, int):
        raise ValueError("resets: expected a fixed number of steps in a graph, got a dynamic one")
    # The reverse direction is cut between the same two steps, so after the step of the reset.
    keeps = (~resets)[:, :, None].to(x.dtype)
    ys = []
    for t in reversed(range(steps)) if back else range(steps):
        cut = t + 1 if back else t
        before = h, c
        if h is not None and cut < steps:
            h, c = (None if s is None else s * keeps[cut] for s in (h, c))
        y, h, c = one(x[t : t + 1], h, c, weights, None, False)
        if lengths is not None:
            runs = (t < lengths)[:, None]
            y = torch.where(runs, y, torch.zeros_like(y))
            h, c = (
                None if new is None else torch.where(runs, new, 0 if old is None else old)
                for new, old in zip((h, c), before, strict=True)
            )
        ys.append(y)
    return torch.cat(ys[::-1] if back else ys), h, c


def through_graph(
    kind: Kind,
    x: Any,
    h0: Any,
    c0: Any,
    weights: Sequence[Any],
    lengths: Any,
    resets: Any,
    dropout: float = 0.0,
) -> tuple[Any, Any, Any]:
    """As `through_torch`, for what is being recorded."""

    def one(x: Any, h: Any, c: Any, weights: Any, lengths: Any, reverse: bool) -> Any:
        sizes = kind.sizes(weights)
        if h is None:
            h = x.new_zeros(1, x.shape[1], sizes.state)
            c = x.new_zeros(1, x.shape[1], sizes.hidden) if kind.has_c else None
        rest = (list(weights), kind.bias, 1, 0.0, False, False, False)
        y, *state = FUNCTIONS[kind.cell](x, (h, c) if kind.has_c else h, *rest)
        return y, state[0], state[1] if kind.has_c else None

    # Only resets bring a call here, so `one` gets single steps.
    layer = by_direction(one, lengths, resets)
    return through_layers(kind, x, h0, c0, weights, layer, dropout)
