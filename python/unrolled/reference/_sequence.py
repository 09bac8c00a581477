"""A cell run over a batch of sequences in one direction, and back-propagation through time.

All loops here count *steps in processing order*: step 0 is the first one a row makes. In the
reverse direction step 0 of a row reads the row's own last time. Once rows are laid out that way
(`Schedule`), lengths, resets and directions no longer need code of their own: the loops know only
which rows are `live` at a step, and before which steps the state is `cut` to zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ._cells import Cell, Parameters, State, Step
from ._checks import Array


def where(rows: Array, yes: Array, no: Array) -> Array:
    """`yes` in the marked rows, `no` in the others. Unlike a product with 0, it stops a NaN."""
    mask = rows.reshape(rows.shape + (1,) * (yes.ndim - rows.ndim))
    return np.asarray(np.where(mask, yes, no))


def only(rows: Array, a: Array) -> Array:
    """`a` in the marked rows, zero in the others."""
    return where(rows, a, np.zeros_like(a))


@dataclass(frozen=True)
class Schedule:
    """What each row does at each step.

    Attributes
    ----------
    time : int array (T, B)
        The time that step s of row b reads. A permutation of each row, and its own inverse.
    live : bool array (T, B)
        Whether the row has not yet ended. A row that is not live keeps its state and shows zero.
    cut : bool array (T, B)
        Whether the state entering the step is zeros instead of what the step before left.
    """

    time: Array
    live: Array
    cut: Array

    @classmethod
    def make(cls, lengths: Array, resets: Array, *, reverse: bool) -> Schedule:
        """Lay out rows of `lengths` (B,), with `resets` (T, B) in order of time."""
        steps, batch = resets.shape
        step = np.arange(steps)[:, None]
        live = step < lengths
        if not reverse:
            # A copy, for the tape must not change when the caller's array does.
            return cls(np.broadcast_to(step, (steps, batch)), live, resets.copy())
        time = np.where(live, lengths - 1 - step, step)
        # A reset at t cuts between times t - 1 and t. Walking backwards, t is the step before, so
        # the mark found there applies one step later; nothing comes before step 0.
        cut = np.zeros_like(resets)
        cut[1:] = np.take_along_axis(resets, time, axis=0)[:-1]
        return cls(time, live, cut)

    def reorder(self, a: Array) -> Array:
        """From order of time to order of steps, or back: `a` is (T, B, ...)."""
        return np.asarray(a[self.time, np.arange(self.time.shape[1])])


@dataclass(frozen=True)
class Run:
    """One direction of one layer, recorded."""

    cell: Cell
    parameters: Parameters
    schedule: Schedule
    initial: State
    steps: list[Step]
    final: State

    def over_time(self, part: Callable[[Step], Array], *shape: int) -> Array:
        """One array of every step, (T, B, `*shape`), in order of time, zero past a row's end."""
        out = np.zeros(self.schedule.live.shape + shape, dtype=self.initial[0].dtype)
        for s, step in enumerate(self.steps):
            out[s] = only(self.schedule.live[s], part(step))
        return self.schedule.reorder(out)

    @property
    def y(self) -> Array:
        return self.over_time(lambda step: step.after[0], self.cell.state_sizes[0])


def forward(
    cell: Cell, parameters: Parameters, x: Array, initial: State, schedule: Schedule
) -> Run:
    """Run `cell` over x (T, B, I) from the `initial` state."""
    # Past its end a row's x may hold anything, NaN included; it must reach no product.
    x = only(schedule.live, schedule.reorder(x))
    state = tuple(a.copy() for a in initial)
    steps: list[Step] = []
    for s in range(len(x)):
        entering = tuple(only(~schedule.cut[s], a) for a in state)
        step = cell.step(parameters, x[s], entering)
        state = tuple(
            where(schedule.live[s], new, old) for new, old in zip(step.after, state, strict=True)
        )
        steps.append(step)
    return Run(cell, parameters, schedule, initial, steps, final=state)


@dataclass(frozen=True)
class RunGradients:
    """Derivatives for one `Run`: its parameters, x (T, B, I) in order of time, initial state."""

    parameters: Parameters
    x: Array
    initial: State


def backward(run: Run, d_y: Array, d_final: State, truncate: int | None) -> RunGradients:
    """Back-propagation through time.

    Parameters
    ----------
    run : Run
    d_y : array (T, B, H)
        Derivative of the loss with respect to the output; not read past a row's end.
    d_final : tuple of arrays (B, ...)
        Derivative with respect to the final state: a part of the loss at the row's last step.
    truncate : int or None
        None for the gradient. K keeps the terms that use a parameter, an input or the initial
        state at step k for the loss at step t with ``t - k <= K``, and those only.
    """
    schedule = run.schedule
    d_y = only(schedule.live, schedule.reorder(d_y))
    d_p = {name: np.zeros_like(a) for name, a in run.parameters.items()}
    steps, batch, dtype = len(run.steps), d_y.shape[1], d_y.dtype
    d_x = np.zeros((steps, batch, run.parameters["weight_ih"].shape[1]), dtype=dtype)
    if truncate is None:
        d_initial = _backward_full(run, d_y, d_final, d_p, d_x)
    else:
        d_initial = _backward_truncated(run, d_y, d_final, d_p, d_x, truncate)
    return RunGradients(d_p, schedule.reorder(d_x), d_initial)


def _backward_full(run: Run, d_y: Array, d_final: State, d_p: Parameters, d_x: Array) -> State:
    """One walk from the last step to the first: ``delta_t = dL_t/dh_t + J_{t+1}^T delta_{t+1}``."""
    d_state = d_final
    for s in reversed(range(len(run.steps))):
        d_state = (d_state[0] + d_y[s], *d_state[1:])
        d_state = _back_through_step(run, s, d_state, d_p, d_x)
    return d_state


def _backward_truncated(
    run: Run, d_y: Array, d_final: State, d_p: Parameters, d_x: Array, lags: int
) -> State:
    """One walk of `lags` + 1 steps for the loss at each step: the double sum, term by term."""
    lengths = run.schedule.live.sum(axis=0)
    # A row of no steps hands its initial state on unchanged, whatever the truncation.
    d_initial = tuple(only(lengths == 0, d) for d in d_final)
    for t in range(len(run.steps)):
        d_state = tuple(only(lengths == t + 1, d) for d in d_final)
        d_state = (d_state[0] + d_y[t], *d_state[1:])
        for k in reversed(range(max(t - lags, 0), t + 1)):
            d_state = _back_through_step(run, k, d_state, d_p, d_x)
        if t - lags <= 0:
            d_initial = tuple(d + more for d, more in zip(d_initial, d_state, strict=True))
    return d_initial


def _back_through_step(run: Run, s: int, d_state: State, d_p: Parameters, d_x: Array) -> State:
    """The mirror of the body of `forward`: the derivative of the state, one step earlier."""
    live, cut = run.schedule.live[s], run.schedule.cut[s]
    d_after = tuple(only(live, d) for d in d_state)
    d_x_step, d_entering = run.cell.step_backward(run.parameters, run.steps[s], d_after, d_p)
    d_x[s] += d_x_step
    d_entering = tuple(only(~cut, d) for d in d_entering)
    return tuple(where(live, d, past) for d, past in zip(d_entering, d_state, strict=True))
