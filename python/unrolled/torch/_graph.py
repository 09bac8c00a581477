"""A recurrence for graphs that hold for other inputs than the one they were made of.

What `_through` does with resets depends on which steps they stand at; a graph cannot. Here the
steps are taken one by one, so their number is the graph's, and the resets are as free as x.

A `One` is one layer in one direction: ``one(x, states, weights, lengths, reverse)`` with x
(T, B, I), states (1, B, H) or None, and y and the states back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn import functional

from ._kind import Kind
from ._through import FUNCTIONS, as_theirs

One = Callable[[Any, Any, Sequence[Any], Any, bool], tuple[Any, Any]]


def through_layers(
    kind: Kind, x: Any, states: Any, weights: Sequence[Any], layer: Any, dropout: float = 0.0
) -> tuple[Any, Any]:
    """y and states of a stack of ``layer(x, states, parts)``; parts: each direction's weights."""
    each, cells = kind.per_direction, kind.directions
    parts = [weights[i : i + each] for i in range(0, len(weights), each)]
    finals = []
    for at in range(0, len(parts), cells):
        own = None if states is None else [s[at : at + cells] for s in states]
        x, final = layer(x, own, parts[at : at + cells])
        finals.append(final)
        if dropout and at + cells < len(parts):
            x = functional.dropout(x, dropout)
    return x, [torch.cat(s) for s in zip(*finals, strict=True)]


def by_direction(one: One, lengths: Any, resets: Any) -> Any:
    """A layer for `through_layers`: each direction by `one`, step by step if there are resets."""

    def layer(x: Any, states: Any, parts: Sequence[Any]) -> tuple[Any, Any]:
        ys, finals = [], []
        for d, weights in enumerate(parts):
            own = None if states is None else [s[d : d + 1] for s in states]
            given = (x, own, weights, lengths, d == 1)
            y, final = one(*given) if resets is None else _by_steps(one, resets, *given)
            ys.append(y)
            finals.append(final)
        return torch.cat(ys, 2), [torch.cat(s) for s in zip(*finals, strict=True)]

    return layer


def _by_steps(
    one: One, resets: Any, x: Any, states: Any, weights: Sequence[Any], lengths: Any, back: bool
) -> tuple[Any, Any]:
    if isinstance(x.shape[0], torch.SymInt):
        raise ValueError("resets: expected a fixed number of steps in a graph, got a dynamic one")
    # Unbound, another number of steps is an error where the graph runs; in slices it would not be.
    xs = x.unbind(0)
    steps = len(xs)
    if lengths is not None:
        runs = torch.arange(steps)[:, None] < lengths
        resets, runs = resets & runs, runs[:, :, None]
    marks = resets[:, :, None].unbind(0)
    ys = []
    for t in reversed(range(steps)) if back else range(steps):
        # The reverse direction is cut between the same two steps, so after the step of the reset.
        cut = t + 1 if back else t
        if states is not None and cut < steps:
            states = [torch.where(marks[cut], 0, s) for s in states]
        before = states
        y, states = one(xs[t][None], states, weights, None, False)
        if lengths is not None:
            y = torch.where(runs[t], y, 0)
            old = [0] * len(states) if before is None else before
            states = [torch.where(runs[t], *s) for s in zip(states, old, strict=True)]
        ys.append(y)
    return torch.cat(ys[::-1] if back else ys), states


def through_graph(
    kind: Kind,
    x: Any,
    states: Any,
    weights: Sequence[Any],
    lengths: Any,
    resets: Any,
    dropout: float = 0.0,
) -> tuple[Any, Any]:
    """As `through_torch`, for what is being recorded."""
    columns = kind.columns(kind.sizes(weights[: kind.per_direction]))

    def one(x: Any, states: Any, weights: Any, lengths: Any, reverse: bool) -> Any:
        if states is None:
            states = [x.new_zeros(1, x.shape[1], size) for size in columns]
        rest = (list(weights), kind.bias, 1, 0.0, False, False, False)
        y, *states = FUNCTIONS[kind.cell](x, as_theirs(states), *rest)
        return y, states

    # Only resets bring a call here, so `one` gets single steps.
    layer = by_direction(one, lengths, resets)
    return through_layers(kind, x, states, weights, layer, dropout)
