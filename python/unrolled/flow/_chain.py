"""Backwards from one time: the Jacobians that lead there, one more for every lag."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .. import _arguments as arguments
from .._arguments import Array
from .._tape import Tape
from ..reference._sequence import Schedule
from ._kernels import step_jacobians


class Chain:
    """The lags 0 … L back from s_t, in one direction of one layer.

    Lags are counted in the order in which the direction makes its steps, row by row: in reverse
    s_t comes from s_{t+1}.
    """

    def __init__(self, tape: Any, t: Any, max_lag: Any, layer: Any, reverse: Any) -> None:
        # Refuses tapes, layers and directions that are none, in the words of all others.
        jacobians = step_jacobians(tape, layer, reverse)
        self.unbatched: bool = tape._native.unbatched
        self.index: int = layer * tape._net.num_directions + reverse
        steps, batch = tape._native.shape
        if not steps:
            raise ValueError("tape: expected at least one step, got T = 0")
        self.schedule = _schedule(tape, reverse)
        lengths = self.schedule.live.sum(axis=0)
        if t is None:
            longest, self._step = steps - 1, lengths - 1
        else:
            t = arguments.integer("t", t, at_least=0)
            if t >= steps:
                raise ValueError(f"t: expected None or less than T = {steps}, got {t}")
            longest = steps - 1 - t if reverse else t
            # -1, no step at all, where the row has ended before t.
            self._step = np.where(t < lengths, lengths - 1 - t if reverse else t, -1)
        self.lags = longest
        if max_lag is not None:
            self.lags = arguments.integer("max_lag", max_lag, at_least=0)
            if self.lags >= steps:
                raise ValueError(f"max_lag: expected less than T = {steps}, got {self.lags}")
        self.jacobians = self.inside(jacobians)

    def inside(self, a: Array) -> Array:
        """(T, B, ...), from what a tape shows."""
        return a[:, None] if self.unbatched else a

    def outside(self, a: Array, axis: int = 1) -> Array:
        """Without the axis B where the user has none."""
        return np.take(a, 0, axis=axis) if self.unbatched else a

    def reaches(self) -> Array:
        """Whether there is a state so many lags back: (L + 1, B)."""
        return np.asarray(self._step >= np.arange(self.lags + 1)[:, None])

    def along(self, a: Array) -> Array:
        """What `a` (T, B, ...) holds at the step that each lag adds: (L, B, ...), float64.

        Lag 1 adds the step at t itself. Zero where there is no state that far back.
        """
        rows = np.arange(len(self._step))
        step = self._step - np.arange(self.lags)[:, None]
        found = a[self.schedule.time[step, rows], rows].astype(np.float64)
        there = self.reaches()[1:]
        return np.where(there.reshape(there.shape + (1,) * (a.ndim - 2)), found, 0.0)

    def connected(self) -> Array:
        """Whether the step that each lag adds hands on its state, and no reset cuts: (L, B)."""
        cut = self.schedule.reorder(self.schedule.cut)
        return self.along(~cut) > 0

    def products(self) -> Iterator[Array]:
        """∂s_t/∂s_{t-lag} for lag = 0, 1, …: (B, S, S), each by one product from that before."""
        size = self.jacobians.shape[-1]
        product = np.where(self.reaches()[0][:, None, None], np.eye(size), 0.0)
        yield product
        for factor in self.along(self.jacobians):
            # Beyond what float64 can say: infinite, or NaN.
            with np.errstate(over="ignore", invalid="ignore"):
                product = product @ factor
            yield product


def _schedule(tape: Tape[Any], reverse: bool) -> Schedule:
    steps, batch = tape._native.shape
    given = tape._given
    lengths = np.full(batch, steps)
    if given.lengths is not None:
        lengths = arguments.lengths(given.lengths, steps, batch)
    resets = np.zeros((steps, batch), dtype=bool)
    if given.resets is not None:
        resets = arguments.array("resets", given.resets, np.bool_)
        if tape._native.unbatched:
            resets = resets[:, None]
        elif tape._net.batch_first:
            resets = resets.T
    return Schedule.make(lengths, resets, reverse=reverse)


def singular_values(matrices: Array) -> Array:
    """Of each of many matrices, descending; NaN of one that is not finite."""
    finite: Array = np.asarray(np.isfinite(matrices).all(axis=(-2, -1)))
    found = np.linalg.svd(np.where(finite[..., None, None], matrices, 0.0), compute_uv=False)
    return np.where(finite[..., None], found, np.nan)


def norms(matrices: Array) -> Array:
    """‖·‖₂ of each of many matrices."""
    return singular_values(matrices)[..., 0]
