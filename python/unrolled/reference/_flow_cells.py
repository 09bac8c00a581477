"""How one step of each cell hands derivatives on: its Jacobian, and what it owes its parameters.

Closed forms, from the values that a tape holds. Nothing here calls the cells of `_cells`: that the
two agree is a test, and neither can hide the other's mistakes.

``diag(v) W`` is written `rows(v, W)`: it scales the rows of W. Axes in front of the last are free
(times, rows of a batch), and a Jacobian has two axes at the end, the state after and before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ._cells import ACTIVATIONS, Cell, GRUCell, LSTMCell, Parameters, RNNCell, State
from ._checks import Array


def rows(v: Array, w: Array) -> Array:
    """diag(v) W."""
    return np.asarray(v[..., :, None] * w)


def diag(v: Array) -> Array:
    """diag(v)."""
    return rows(v, np.eye(v.shape[-1]))


@dataclass(frozen=True)
class Moment:
    """The values at one step, or at many.

    Attributes
    ----------
    p : dict of str to array
        The parameters, float64.
    x : array (..., I)
        What the layer reads.
    before, after : tuple of arrays (..., H)
        The state that enters the step and the one that leaves it: (h,) or (h, c).
    gates : dict of str to array (..., H)
        By name.
    """

    p: Parameters
    x: Array
    before: State
    after: State
    gates: dict[str, Array]

    def weights(self, cell: Cell) -> dict[str, Array]:
        """The block of ``weight_hh`` of each gate."""
        blocks = np.split(self.p["weight_hh"], len(cell.gates))
        return dict(zip(cell.gates, blocks, strict=True))

    def at(self, t: int) -> Moment:
        """At one time, of many on the first axis."""
        return Moment(
            self.p,
            self.x[t],
            tuple(a[t] for a in self.before),
            tuple(a[t] for a in self.after),
            {name: a[t] for name, a in self.gates.items()},
        )


def jacobian(cell: Cell, m: Moment) -> Array:
    """∂(state after)/∂(state before): (..., S, S); S is H, for an LSTM (h, c) stacked."""
    if isinstance(cell, RNNCell):
        return _rnn(cell, m)
    if isinstance(cell, GRUCell):
        return _gru(cell, m)
    assert isinstance(cell, LSTMCell)
    return _lstm(cell, m)


def _rnn(cell: RNNCell, m: Moment) -> Array:
    """J = diag(σ'(W h + …)) W."""
    (h_new,) = m.after
    return rows(_slope(cell, h_new), m.p["weight_hh"])


def _slope(cell: RNNCell, h_new: Array) -> Array:
    """σ' at the step's sum, from the value σ had there."""
    _, derivative = ACTIVATIONS[cell.nonlinearity]
    return derivative(h_new)


def _recalled(m: Moment) -> Array:
    """W_hn h + b_hn of PyTorch's GRU."""
    (h,) = m.before
    size = h.shape[-1]
    recalled = h @ m.p["weight_hh"][-size:].T
    return np.asarray(recalled + m.p["bias_hh"][-size:] if "bias_hh" in m.p else recalled)


def _gru(cell: GRUCell, m: Moment) -> Array:
    """h' = (1 - z) n + z h: h enters directly, through z, and through n, there with r and alone."""
    (h,) = m.before
    r, z, n = (m.gates[name] for name in "rzn")
    w = m.weights(cell)
    if cell.reset_after:
        # ∂(r * (W_hn h + b_hn))/∂h
        heard = rows(r, w["n"]) + rows(_recalled(m) * r * (1 - r), w["r"])
    else:
        # ∂(W_hn (r * h))/∂h
        heard = w["n"] @ (diag(r) + rows(h * r * (1 - r), w["r"]))
    through_n = rows((1 - z) * (1 - n * n), heard)
    through_z = rows((h - n) * z * (1 - z), w["z"])
    return diag(z) + through_z + through_n


def _lstm(cell: LSTMCell, m: Moment) -> Array:
    """c' = f c + i g and h' = o tanh(c'), (projected): four blocks."""
    _, c = m.before
    _, c_new = m.after
    i, g, o = (m.gates[name] for name in "igo")
    w = m.weights(cell)
    tanh_c = np.tanh(c_new)
    # How h' hears of c'.
    shows = o * (1 - tanh_c * tanh_c)

    c_by_h = rows(g * i * (1 - i), w["i"]) + rows(i * (1 - g * g), w["g"])
    kept = np.ones_like(c)
    if cell.forget_gate:
        f = m.gates["f"]
        c_by_h = c_by_h + rows(c * f * (1 - f), w["f"])
        kept = f
    h_by_h = rows(tanh_c * o * (1 - o), w["o"]) + rows(shows, c_by_h)
    h_by_c = diag(shows * kept)
    if cell.proj_size:
        h_by_h, h_by_c = m.p["weight_hr"] @ h_by_h, m.p["weight_hr"] @ h_by_c
    return np.concatenate(
        [
            np.concatenate([h_by_h, h_by_c], axis=-1),
            np.concatenate([c_by_h, diag(kept)], axis=-1),
        ],
        axis=-2,
    )


def sums(cell: Cell, m: Moment, d: State) -> Array:
    """The derivative by every gate's sum (before its activation), stacked as its parameters' rows.

    `d` is the derivative by the state after the step. The state before is held fixed: ∂⁺.
    """
    if isinstance(cell, RNNCell):
        (d_h,) = d
        (h_new,) = m.after
        return np.asarray(d_h * _slope(cell, h_new))
    if isinstance(cell, GRUCell):
        (d_h,) = d
        (h,) = m.before
        r, z, n = (m.gates[name] for name in "rzn")
        e_n = d_h * (1 - z) * (1 - n * n)
        e_z = d_h * (h - n) * z * (1 - z)
        heard = _recalled(m) * e_n if cell.reset_after else h * (e_n @ m.weights(cell)["n"])
        return np.concatenate([heard * r * (1 - r), e_z, e_n], axis=-1)
    assert isinstance(cell, LSTMCell)
    d_h, d_c = d
    _, c = m.before
    _, c_new = m.after
    i, g, o = (m.gates[name] for name in "igo")
    tanh_c = np.tanh(c_new)
    d_shown = d_h @ m.p["weight_hr"] if cell.proj_size else d_h
    d_c = d_c + d_shown * o * (1 - tanh_c * tanh_c)
    e = {
        "i": d_c * g * i * (1 - i),
        "g": d_c * i * (1 - g * g),
        "o": d_shown * tanh_c * o * (1 - o),
    }
    if cell.forget_gate:
        f = m.gates["f"]
        e["f"] = d_c * c * f * (1 - f)
    return np.concatenate([e[name] for name in cell.gates], axis=-1)


def parameter_term(cell: Cell, m: Moment, d: State, parameter: str) -> Array:
    """dᵀ ∂⁺(state after)/∂(parameter), summed over the rows (B, ...) of a batch."""
    h = m.before[0]
    outer: Callable[[Array, Array], Array] = lambda e, a: np.asarray(e.T @ a)  # noqa: E731
    if parameter == "weight_hr":
        assert isinstance(cell, LSTMCell)
        return outer(d[0], m.gates["o"] * np.tanh(m.after[1]))
    e = sums(cell, m, d)
    if parameter == "weight_ih":
        return outer(e, m.x)
    if parameter == "bias_ih":
        return np.asarray(e.sum(axis=0))
    if isinstance(cell, GRUCell):
        size = h.shape[-1]
        e_rz, e_n = e[:, : 2 * size], e[:, 2 * size :]
        r = m.gates["r"]
        # Where r multiplies: the candidate's product with h, or h before it.
        e_n, heard = (r * e_n, h) if cell.reset_after else (e_n, r * h)
        if parameter == "weight_hh":
            return np.concatenate([outer(e_rz, h), outer(e_n, heard)])
        return np.concatenate([e_rz.sum(axis=0), e_n.sum(axis=0)])
    return outer(e, h) if parameter == "weight_hh" else np.asarray(e.sum(axis=0))
