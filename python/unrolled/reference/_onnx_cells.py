"""ONNX's LSTM, GRU and RNN with all their attributes: the plain loop.

The kernels compute what the cells of `_cells` compute. ONNX's nodes may ask for more: peepholes,
clipping, a forget gate coupled to the input gate, other activations. All of it is here, in ONNX's
own terms (its names, its order of gates), for one direction at a time. `unrolled.onnx` makes
formulas of such nodes, which the kernels run; this judges them.

The standard leaves two things to be read, and here they are read as ONNX Runtime does:
``clip`` bounds the sums that enter the gates' activations, not the cell state that enters h; with
``input_forget`` the forget gate is ``1 - i``, and its own rows and peephole are not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np

from ._checks import Array
from ._onnx_functions import Activation
from ._sequence import Schedule, only, where

State: TypeAlias = tuple[Array, ...]


@dataclass(frozen=True)
class Weights:
    """The parameters of one direction: ``w`` (G*H, I), ``r`` (G*H, H), ``wb`` and ``rb`` (G*H,),
    and the LSTM's ``p`` (3*H,)."""

    w: Array
    r: Array
    wb: Array
    rb: Array
    p: Array | None = None


class Cell(Protocol):
    def step(self, weights: Weights, x: Array, state: State) -> State:
        """The state after one step; its first array is the output."""


def clipped(a: Array, threshold: float | None) -> Array:
    """Within +-threshold; a NaN stays a NaN."""
    return a if threshold is None else np.asarray(np.clip(a, -threshold, threshold))


@dataclass(frozen=True)
class RNNCell:
    """``Ht = f(Xt Wi^T + Ht-1 Ri^T + Wbi + Rbi)``."""

    f: Activation
    clip: float | None = None

    def step(self, weights: Weights, x: Array, state: State) -> State:
        (h,) = state
        total = x @ weights.w.T + h @ weights.r.T + (weights.wb + weights.rb)
        return (self.f(clipped(total, self.clip)),)


@dataclass(frozen=True)
class GRUCell:
    """Rows in the order z, r, h.

    ::

        zt = f(Xt Wz^T + Ht-1 Rz^T + Wbz + Rbz)                 rt likewise
        ht = g(Xt Wh^T + (rt * Ht-1) Rh^T + Rbh + Wbh)          linear_before_reset = 0
        ht = g(Xt Wh^T + rt * (Ht-1 Rh^T + Rbh) + Wbh)          linear_before_reset != 0
        Ht = (1 - zt) * ht + zt * Ht-1
    """

    f: Activation
    g: Activation
    clip: float | None = None
    linear_before_reset: bool = False

    def step(self, weights: Weights, x: Array, state: State) -> State:
        (h,) = state
        x_z, x_r, x_h = np.split(x @ weights.w.T + weights.wb, 3, axis=-1)
        r_z, r_r, r_h = np.split(weights.r, 3)
        b_z, b_r, b_h = np.split(weights.rb, 3)
        z = self.f(clipped(x_z + h @ r_z.T + b_z, self.clip))
        r = self.f(clipped(x_r + h @ r_r.T + b_r, self.clip))
        late = self.linear_before_reset
        recalled = r * (h @ r_h.T + b_h) if late else (r * h) @ r_h.T + b_h
        candidate = self.g(clipped(x_h + recalled, self.clip))
        return ((1 - z) * candidate + z * h,)


@dataclass(frozen=True)
class LSTMCell:
    """Rows in the order i, o, f, c; peepholes in the order i, o, f.

    ::

        it = f(Xt Wi^T + Ht-1 Ri^T + Pi * Ct-1 + Wbi + Rbi)     ft likewise
        ct = g(Xt Wc^T + Ht-1 Rc^T + Wbc + Rbc)
        Ct = ft * Ct-1 + it * ct
        ot = f(Xt Wo^T + Ht-1 Ro^T + Po * Ct + Wbo + Rbo)
        Ht = ot * h(Ct)
    """

    f: Activation
    g: Activation
    h: Activation
    clip: float | None = None
    input_forget: bool = False

    def step(self, weights: Weights, x: Array, state: State) -> State:
        h, c = state
        total = x @ weights.w.T + h @ weights.r.T + (weights.wb + weights.rb)
        sum_i, sum_o, sum_f, sum_c = np.split(total, 4, axis=-1)
        peep_i = peep_o = peep_f = np.zeros((), dtype=x.dtype)
        if weights.p is not None:
            peep_i, peep_o, peep_f = np.split(weights.p, 3)
        i = self.f(clipped(sum_i + peep_i * c, self.clip))
        f = 1 - i if self.input_forget else self.f(clipped(sum_f + peep_f * c, self.clip))
        candidate = self.g(clipped(sum_c, self.clip))
        c_new = f * c + i * candidate
        o = self.f(clipped(sum_o + peep_o * c_new, self.clip))
        return o * self.h(c_new), c_new


def run(
    cell: Cell, weights: Weights, x: Array, initial: State, lengths: Array, *, reverse: bool
) -> tuple[Array, State]:
    """One direction over x (T, B, I): the outputs (T, B, H), zero past a row's end, and the state
    at the row's own end (in reverse, its own start)."""
    steps, batch = x.shape[:2]
    schedule = Schedule.make(lengths, np.zeros((steps, batch), dtype=bool), reverse=reverse)
    x = only(schedule.live, schedule.reorder(x))
    state = initial
    y = np.zeros((steps, *initial[0].shape), dtype=x.dtype)
    for s in range(steps):
        live = schedule.live[s]
        after = cell.step(weights, x[s], state)
        state = tuple(where(live, new, old) for new, old in zip(after, state, strict=True))
        y[s] = only(live, state[0])
    return schedule.reorder(y), state
