"""One time step of the RNN, the GRU and the LSTM, forward and backward.

Every cell has the same two methods, written as mirrors: `step_backward` undoes `step` line by
line, last line first. For an array ``a`` of the forward pass, ``d_a`` is the derivative of the
loss with respect to it and has its shape.

Rows are batch entries, so the column-vector product ``W x`` of the literature reads ``x @ W.T``.
If ``y = x @ W.T`` and ``d_y`` is known, then ``d_x = d_y @ W`` and ``d_W = d_y.T @ x``: the second
product sums over the batch.

A cell keeps no parameters. They come in a dict with PyTorch's names less the layer: ``weight_ih``,
``weight_hh``, ``bias_ih``, ``bias_hh``, ``weight_hr``. The gates' rows are stacked in the order of
`Cell.gates`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeAlias

import numpy as np

from ._checks import Array

Parameters: TypeAlias = dict[str, Array]
State: TypeAlias = tuple[Array, ...]


def sigmoid(a: Array) -> Array:
    """The logistic function 1 / (1 + exp(-a)), with no overflow and an accurate left tail."""
    e = np.exp(-np.abs(a))
    return np.asarray(np.where(a >= 0, np.ones_like(e), e) / (1 + e))


def relu(a: Array) -> Array:
    """max(a, 0); a NaN stays a NaN."""
    return np.asarray(np.maximum(a, np.zeros_like(a)))


# The derivatives are written in terms of the activation's value s rather than of its argument,
# because the value is what the forward pass has kept.


def d_tanh(s: Array) -> Array:
    return 1 - s * s


def d_sigmoid(s: Array) -> Array:
    return np.asarray(s * (1 - s))


def d_relu(s: Array) -> Array:
    """0 at the kink, as in PyTorch."""
    return np.asarray(s > 0, dtype=s.dtype)


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "tanh": (np.tanh, d_tanh),
    "relu": (relu, d_relu),
    "sigmoid": (sigmoid, d_sigmoid),
}


def affine(p: Parameters, side: str, a: Array) -> Array:
    """``a @ W.T + b`` with the weight and bias of one side: "ih" (input) or "hh" (hidden)."""
    out = a @ p[f"weight_{side}"].T
    return out + p[f"bias_{side}"] if f"bias_{side}" in p else out


def affine_backward(d_p: Parameters, p: Parameters, side: str, a: Array, d_out: Array) -> Array:
    """Add to `d_p` what `affine` owes its parameters; return ``d_a``."""
    if f"bias_{side}" in p:
        d_p[f"bias_{side}"] += d_out.sum(axis=0)
    d_p[f"weight_{side}"] += d_out.T @ a
    return np.asarray(d_out @ p[f"weight_{side}"])


class Step(Protocol):
    """What one forward step leaves behind for the way back."""

    @property
    def after(self) -> State: ...

    @property
    def gates(self) -> tuple[Array, ...]: ...


class Cell(Protocol):
    """What `_sequence` and `_network` need to know of a cell."""

    @property
    def hidden_size(self) -> int: ...

    @property
    def gates(self) -> tuple[str, ...]:
        """Their names, in the order of the parameters' rows."""

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Columns of each array of the state; the first array is the output h."""

    def parameter_shapes(self, input_size: int, bias: bool) -> dict[str, tuple[int, ...]]: ...

    def step(self, p: Parameters, x: Array, state: State) -> Step: ...

    def step_backward(
        self, p: Parameters, step: Any, d_after: State, d_p: Parameters
    ) -> tuple[Array, State]:
        """Add to `d_p`; return ``d_x`` and the derivative for the state that entered the step."""


def stacked_shapes(
    gates: int, hidden_size: int, output_size: int, input_size: int, bias: bool
) -> dict[str, tuple[int, ...]]:
    """Shapes of the parameters that all cells have, in PyTorch's order."""
    rows = gates * hidden_size
    shapes: dict[str, tuple[int, ...]] = {
        "weight_ih": (rows, input_size),
        "weight_hh": (rows, output_size),
    }
    if bias:
        shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
    return shapes


@dataclass(frozen=True)
class RNNStep:
    x: Array
    h: Array
    h_new: Array

    @property
    def after(self) -> State:
        return (self.h_new,)

    @property
    def gates(self) -> tuple[Array, ...]:
        return (self.h_new,)


@dataclass(frozen=True)
class RNNCell:
    """The simple recurrent cell (Elman 1990).

    ``h' = s(W_ih x + b_ih + W_hh h + b_hh)``, s one of tanh, relu, sigmoid.
    The Jacobian of one step is ``J = diag(s'(.)) W_hh``.
    """

    hidden_size: int
    nonlinearity: str = "tanh"
    gates: ClassVar[tuple[str, ...]] = ("h",)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (self.hidden_size,)

    def parameter_shapes(self, input_size: int, bias: bool) -> dict[str, tuple[int, ...]]:
        return stacked_shapes(1, self.hidden_size, self.hidden_size, input_size, bias)

    def step(self, p: Parameters, x: Array, state: State) -> RNNStep:
        (h,) = state
        activation, _ = ACTIVATIONS[self.nonlinearity]
        h_new = activation(affine(p, "ih", x) + affine(p, "hh", h))
        return RNNStep(x, h, h_new)

    def step_backward(
        self, p: Parameters, step: RNNStep, d_after: State, d_p: Parameters
    ) -> tuple[Array, State]:
        (d_h_new,) = d_after
        _, derivative = ACTIVATIONS[self.nonlinearity]
        d_sum = d_h_new * derivative(step.h_new)
        d_h = affine_backward(d_p, p, "hh", step.h, d_sum)
        d_x = affine_backward(d_p, p, "ih", step.x, d_sum)
        return d_x, (d_h,)


@dataclass(frozen=True)
class GRUStep:
    x: Array
    h: Array
    r: Array
    z: Array
    n: Array
    recalled: Array
    h_new: Array

    @property
    def after(self) -> State:
        return (self.h_new,)

    @property
    def gates(self) -> tuple[Array, ...]:
        return (self.r, self.z, self.n)


@dataclass(frozen=True)
class GRUCell:
    """The gated recurrent unit (Cho et al. 2014), in both of its forms.

    ::

        r  = sigmoid(W_ir x + b_ir + W_hr h + b_hr)
        z  = sigmoid(W_iz x + b_iz + W_hz h + b_hz)
        n  = tanh(W_in x + b_in + r * (W_hn h + b_hn))     reset_after=True, PyTorch's
        n  = tanh(W_in x + b_in + W_hn (r * h) + b_hn)     reset_after=False, the original
        h' = (1 - z) * n + z * h

    `GRUStep.recalled` is what the candidate hears of the past before the last multiplication:
    ``W_hn h + b_hn`` in the first form, ``r * h`` in the second.
    """

    hidden_size: int
    reset_after: bool = True
    gates: ClassVar[tuple[str, ...]] = ("r", "z", "n")

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (self.hidden_size,)

    def parameter_shapes(self, input_size: int, bias: bool) -> dict[str, tuple[int, ...]]:
        return stacked_shapes(3, self.hidden_size, self.hidden_size, input_size, bias)

    def step(self, p: Parameters, x: Array, state: State) -> GRUStep:
        (h,) = state
        x_r, x_z, x_n = np.split(affine(p, "ih", x), 3, axis=-1)
        if self.reset_after:
            h_r, h_z, recalled = np.split(affine(p, "hh", h), 3, axis=-1)
            r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
            n = np.tanh(x_n + r * recalled)
        else:
            p_gates, p_candidate = self._split_hidden_rows(p)
            h_r, h_z = np.split(affine(p_gates, "hh", h), 2, axis=-1)
            r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
            recalled = r * h
            n = np.tanh(x_n + affine(p_candidate, "hh", recalled))
        h_new = (1 - z) * n + z * h
        return GRUStep(x, h, r, z, n, recalled, h_new)

    def step_backward(
        self, p: Parameters, step: GRUStep, d_after: State, d_p: Parameters
    ) -> tuple[Array, State]:
        (d_h_new,) = d_after
        h, r, z, n, recalled = step.h, step.r, step.z, step.n, step.recalled
        d_n = d_h_new * (1 - z)
        d_z = d_h_new * (h - n)
        d_h = d_h_new * z
        d_n_sum = d_n * d_tanh(n)
        d_z_sum = d_z * d_sigmoid(z)
        if self.reset_after:
            d_recalled = d_n_sum * r
            d_r_sum = d_n_sum * recalled * d_sigmoid(r)
            d_from_h = np.concatenate([d_r_sum, d_z_sum, d_recalled], axis=-1)
            d_h = d_h + affine_backward(d_p, p, "hh", h, d_from_h)
        else:
            p_gates, p_candidate = self._split_hidden_rows(p)
            d_p_gates, d_p_candidate = self._split_hidden_rows(d_p)
            d_recalled = affine_backward(d_p_candidate, p_candidate, "hh", recalled, d_n_sum)
            d_h = d_h + d_recalled * r
            d_r_sum = d_recalled * h * d_sigmoid(r)
            d_from_h = np.concatenate([d_r_sum, d_z_sum], axis=-1)
            d_h = d_h + affine_backward(d_p_gates, p_gates, "hh", h, d_from_h)
        d_from_x = np.concatenate([d_r_sum, d_z_sum, d_n_sum], axis=-1)
        d_x = affine_backward(d_p, p, "ih", step.x, d_from_x)
        return d_x, (d_h,)

    def _split_hidden_rows(self, p: Parameters) -> tuple[Parameters, Parameters]:
        """The hidden side's rows of (r, z) and of n. Views: adding to them adds to `p`."""
        hidden = {name: a for name, a in p.items() if name.endswith("_hh")}
        rows = 2 * self.hidden_size
        return (
            {name: a[:rows] for name, a in hidden.items()},
            {name: a[rows:] for name, a in hidden.items()},
        )


@dataclass(frozen=True)
class LSTMStep:
    x: Array
    h: Array
    c: Array
    i: Array
    f: Array | None
    g: Array
    o: Array
    c_new: Array
    tanh_c: Array
    shown: Array
    h_new: Array

    @property
    def after(self) -> State:
        return (self.h_new, self.c_new)

    @property
    def gates(self) -> tuple[Array, ...]:
        return tuple(gate for gate in (self.i, self.f, self.g, self.o) if gate is not None)


@dataclass(frozen=True)
class LSTMCell:
    """Long short-term memory (Hochreiter & Schmidhuber 1997; forget gate: Gers et al. 2000).

    ::

        i, f, o = sigmoid(W x + b + V h + d), g = tanh(the same), each with its own rows
        c' = f * c + i * g
        h' = o * tanh(c')            or W_hr (o * tanh(c')) when proj_size > 0

    With ``forget_gate=False`` f is exactly 1, as in 1997, and has no rows: the path along c alone
    then carries gradients undiminished. `LSTMStep.shown` is ``o * tanh(c')``, before projection.
    """

    hidden_size: int
    proj_size: int = 0
    forget_gate: bool = True

    @property
    def gates(self) -> tuple[str, ...]:
        return ("i", "f", "g", "o") if self.forget_gate else ("i", "g", "o")

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (self.proj_size or self.hidden_size, self.hidden_size)

    def parameter_shapes(self, input_size: int, bias: bool) -> dict[str, tuple[int, ...]]:
        output_size = self.state_sizes[0]
        gates = len(self.gates)
        shapes = stacked_shapes(gates, self.hidden_size, output_size, input_size, bias)
        if self.proj_size:
            shapes["weight_hr"] = (self.proj_size, self.hidden_size)
        return shapes

    def step(self, p: Parameters, x: Array, state: State) -> LSTMStep:
        h, c = state
        stacked = affine(p, "ih", x) + affine(p, "hh", h)
        sums = dict(zip(self.gates, np.split(stacked, len(self.gates), axis=-1), strict=True))
        i, g, o = sigmoid(sums["i"]), np.tanh(sums["g"]), sigmoid(sums["o"])
        f = sigmoid(sums["f"]) if self.forget_gate else None
        kept = c if f is None else f * c
        c_new = kept + i * g
        tanh_c = np.tanh(c_new)
        shown = o * tanh_c
        h_new = shown @ p["weight_hr"].T if self.proj_size else shown
        return LSTMStep(x, h, c, i, f, g, o, c_new, tanh_c, shown, h_new)

    def step_backward(
        self, p: Parameters, step: LSTMStep, d_after: State, d_p: Parameters
    ) -> tuple[Array, State]:
        d_h_new, d_c_new = d_after
        i, f, g, o = step.i, step.f, step.g, step.o
        d_shown = d_h_new
        if self.proj_size:
            d_p["weight_hr"] += d_h_new.T @ step.shown
            d_shown = d_h_new @ p["weight_hr"]
        d_o = d_shown * step.tanh_c
        # c' is used twice, by h' and by the next step: the two derivatives add.
        d_c_new = d_c_new + d_shown * o * d_tanh(step.tanh_c)
        d_i = d_c_new * g
        d_g = d_c_new * i
        d_c = d_c_new if f is None else d_c_new * f
        d_sums = {"i": d_i * d_sigmoid(i), "g": d_g * d_tanh(g), "o": d_o * d_sigmoid(o)}
        if f is not None:
            d_f = d_c_new * step.c
            d_sums["f"] = d_f * d_sigmoid(f)
        d_stacked = np.concatenate([d_sums[gate] for gate in self.gates], axis=-1)
        d_h = affine_backward(d_p, p, "hh", step.h, d_stacked)
        d_x = affine_backward(d_p, p, "ih", step.x, d_stacked)
        return d_x, (d_h, d_c)
