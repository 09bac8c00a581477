"""The plain version of how gradients flow: Jacobians, their products, the gradient lag by lag.

They take the tapes of `unrolled.LSTM`, `GRU` and `RNN` and compute in float64 from what those hold,
by the formulas as they stand in docs/gradient_flow.md: products of Jacobians are multiplied out,
and the gradient is the double sum. Read `_flow_cells` for the Jacobians themselves.

s is the state of one layer and direction: h, for an LSTM h and c stacked. S is its size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _checks as checks
from ._cells import ACTIVATIONS
from ._checks import Array
from ._flow_cells import jacobian, parameter_term, sums
from ._flow_walk import Walk, tape_of, walk_of

if TYPE_CHECKING:
    from .._tape import Tape

__all__ = [
    "LagGradients",
    "gradient_by_lag",
    "jvp",
    "layer_jacobian",
    "lyapunov_exponents",
    "step_jacobians",
    "transition",
    "vjp",
]


def layer_jacobian(W: Any, x: Any, activation: str = "tanh", bias: Any = None) -> Array:  # noqa: N803
    """The Jacobian of one layer y = σ(W x + b): diag(σ'(W x + b)) W.

    Parameters
    ----------
    W : array (n, d), float32 or float64
    x : array (d,), of the same dtype
    activation : {"tanh", "sigmoid", "relu", "identity"}
        σ. The derivative of relu at 0 is 0, as in PyTorch.
    bias : array (n,), optional

    Returns
    -------
    array (n, d)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Example
    -------
    >>> import numpy as np
    >>> from unrolled.reference import flow
    >>> flow.layer_jacobian(np.array([[2.0, 0.0, 1.0]]), np.zeros(3))
    array([[2., 0., 1.]])
    """
    w = checks.array("W", W, None)
    if w.dtype not in (np.float32, np.float64):
        raise TypeError(f"W: expected a float32 or float64 array, got dtype {w.dtype}")
    if w.ndim != 2:
        raise ValueError(f"W: expected shape (n, d), got {w.shape}")
    x = checks.shaped("x", checks.array("x", x, w.dtype), "(d,)", w.shape[1:])
    checks.choice("activation", activation, (*ACTIVATIONS, "identity"))
    offset: Any = 0
    if bias is not None:
        offset = checks.shaped("bias", checks.array("bias", bias, w.dtype), "(n,)", w.shape[:1])
    # What is not finite comes out as NaN, without a warning.
    with np.errstate(over="ignore", invalid="ignore"):
        total = w @ x + offset
    if activation == "identity":
        return w.copy()
    value, derivative = ACTIVATIONS[activation]
    return np.asarray(derivative(value(total))[:, None] * w)


def step_jacobians(tape: Tape[Any], layer: int = 0, reverse: bool = False) -> Array:
    """The Jacobian of every step of one layer's recurrence, what it reads held fixed.

    Parameters
    ----------
    tape : Tape
        Without checkpoints, of a network whose parameters have not changed since.
    layer : int
    reverse : bool
        Whether the layer's reverse direction is meant.

    Returns
    -------
    array (T, B, S, S), of the network's dtype; (T, S, S) without a batch
        [t, b] is J_t = ∂s_t/∂s_{t-1}, in the reverse direction ∂s_t/∂s_{t+1}; the first that a row
        makes is by the initial state. Zero past a row's end and where a reset cuts.

    Raises
    ------
    TypeError, ValueError
        If the tape does not hold every step or is no longer valid, or there is no such layer.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> _, _, tape = ur.LSTM(3, 4, seed=0).record(np.ones((5, 2, 3), dtype=np.float32))
    >>> ur.reference.flow.step_jacobians(tape).shape
    (5, 2, 8, 8)
    """
    walk = walk_of(tape, layer, reverse)
    return walk.outside(_jacobians(walk)).astype(walk.dtype)


def _jacobians(walk: Walk) -> Array:
    """(T, B, S, S) in order of time, float64."""
    j = jacobian(walk.cell, walk.moment)
    return np.where(walk.connected[..., None, None], j, 0.0)


def transition(tape: Tape[Any], t: int, k: int, layer: int = 0, reverse: bool = False) -> Array:
    """∂s_t/∂s_k, the product J_t J_{t-1} … J_{k+1}, later times on the left.

    Parameters
    ----------
    t, k : int
        Times from 0, k <= t; in the reverse direction k >= t.
    others
        As for `step_jacobians`.

    Returns
    -------
    array (B, S, S), float64; (S, S) without a batch
        The identity for k = t. Zero where a reset lies between, or the row has ended.
    """
    walk = walk_of(tape, layer, reverse)
    between = walk.between(t, k)
    product = np.broadcast_to(np.eye(walk.size), (walk.batch, walk.size, walk.size))
    j = _jacobians(walk)
    for step in between:
        product = product @ j[step]
    return walk.outside_row(np.where(walk.both_live(t, k)[:, None, None], product, 0.0))


def vjp(tape: Tape[Any], t: int, k: int, v: Any, layer: int = 0, reverse: bool = False) -> Array:
    """vᵀ ∂s_t/∂s_k: a derivative by s_t carried back to s_k, one step at a time.

    Parameters
    ----------
    v : array (B, S) or (m, B, S), of the network's dtype; without a batch (S,) or (m, S)
    others
        As for `transition`.

    Returns
    -------
    array, as v
    """
    walk = walk_of(tape, layer, reverse)
    between, vectors = walk.between(t, k), walk.vectors("v", v)
    j = _jacobians(walk)
    for step in between:
        vectors = np.einsum("mbi,bij->mbj", vectors, j[step])
    return walk.like(v, np.where(walk.both_live(t, k)[:, None], vectors, 0.0))


def jvp(tape: Tape[Any], t: int, k: int, u: Any, layer: int = 0, reverse: bool = False) -> Array:
    """∂s_t/∂s_k u: a change of s_k carried on to s_t, one step at a time.

    Parameters
    ----------
    u : array (B, S) or (m, B, S), of the network's dtype; without a batch (S,) or (m, S)
    others
        As for `transition`.

    Returns
    -------
    array, as u
    """
    walk = walk_of(tape, layer, reverse)
    between, vectors = walk.between(t, k), walk.vectors("u", u)
    j = _jacobians(walk)
    for step in reversed(between):
        vectors = np.einsum("bij,mbj->mbi", j[step], vectors)
    return walk.like(u, np.where(walk.both_live(t, k)[:, None], vectors, 0.0))


@dataclass(frozen=True, eq=False)
class LagGradients:
    """The gradient of one parameter, term by term of the double sum.

    Attributes
    ----------
    parameter : str
        Its name.
    norms : array (T, T), float64
        [t, k]: the Frobenius norm of the term whose loss is at t and which uses the parameter at k.
    by_lag : array (T,), float64
        The norm of the sum of all terms with |t - k| = lag.
    terms : None, array (T, T, *shape of the parameter), or list of arrays
        The terms that were asked for.
    """

    parameter: str
    norms: Array
    by_lag: Array
    terms: Array | list[Array] | None = None


def gradient_by_lag(
    tape: Tape[Any], dy: Any, parameter: str = "weight_hh_l0", terms: Any = None
) -> LagGradients:
    """The gradient of a parameter, by when the loss is taken and when the parameter is used.

    ∂L/∂W = Σ_t Σ_k (∂L_t/∂s_t) (∂s_t/∂s_k) (∂⁺s_k/∂W), ∂⁺ with s_{k-1} held fixed. All terms add
    up to the gradient that `Tape.backward` gives. For the parameter of a lower layer a term holds
    every path through the layers above.

    Parameters
    ----------
    tape : Tape
        As for `step_jacobians`.
    dy : array, as y
        Derivative of the loss with respect to y, whose part at t is ∂L_t/∂y_t.
    parameter : str
        A name of `state_dict`.
    terms : None, "all" or sequence of pairs (t, k)
        Which terms to return themselves; "all" takes T² times the parameter's memory.

    Returns
    -------
    LagGradients
    """
    whole = tape_of(tape)
    if whole.dropout and len(whole.walks) > 1:
        raise ValueError(
            "tape: expected one recorded without dropout, whose masks it does not show"
        )
    checks.choice("parameter", parameter, tuple(tape._net._shapes))
    name, _, place = parameter.partition("_l")
    layer, _, direction = place.partition("_")
    target = whole.index(int(layer), direction == "reverse")
    d_y = whole.check_dy(dy)
    steps, shape = d_y.shape[0], tape._net._shapes[parameter]
    wanted = _wanted(terms, steps)

    jacobians = [_jacobians(walk) for walk in whole.walks]
    norms = np.zeros((steps, steps))
    sums_by_lag = np.zeros((steps, *shape))
    found = {}
    for t in range(steps):
        d_out = np.zeros_like(d_y)
        d_out[t] = d_y[t]
        d_states = _state_derivatives(whole.walks, jacobians, target, d_out, whole.directions)
        walk = whole.walks[target]
        for k in range(steps):
            d = tuple(np.split(d_states[k], walk.columns[:-1], axis=-1))
            term = parameter_term(walk.cell, walk.moment.at(k), d, name)
            norms[t, k] = np.linalg.norm(term)
            sums_by_lag[abs(t - k)] += term
            if wanted is None or (t, k) in wanted:
                found[t, k] = term.astype(walk.dtype)
    by_lag = np.array([np.linalg.norm(term) for term in sums_by_lag])
    if wanted is None:
        every = np.zeros((steps, steps, *shape), dtype=tape._net.dtype)
        for pair, term in found.items():
            every[pair] = term
        return LagGradients(parameter, norms, by_lag, every)
    listed = None if terms is None else [found[pair] for pair in wanted]
    return LagGradients(parameter, norms, by_lag, listed)


def _wanted(terms: Any, steps: int) -> list[tuple[int, int]] | None:
    """Pairs of times; None for all."""
    if terms is None:
        return []
    expected = 'terms: expected None, "all" or pairs (t, k)'
    if isinstance(terms, str):
        if terms != "all":
            raise ValueError(f"{expected}, got {checks.shown(terms)}")
        return None
    if not isinstance(terms, Sequence) or not all(
        isinstance(pair, Sequence) and len(pair) == 2 for pair in terms
    ):
        raise TypeError(f"{expected}, got {checks.kind(terms)}")
    pairs = []
    for pair in terms:
        t, k = (checks.integer("terms", time, at_least=0) for time in pair)
        if max(t, k) >= steps:
            raise ValueError(f"terms: expected times below T = {steps}, got {(t, k)}")
        pairs.append((t, k))
    return pairs


def _state_derivatives(
    walks: list[Walk], jacobians: list[Array], target: int, d_out: Array, directions: int
) -> Array:
    """∂L/∂s of the layer `target` at every time, (T, B, S), from ∂L/∂y (T, B, D*H) of the top one.

    From layer to layer downwards, and in each the sum written out: s_k is heard by the outputs at
    every later m, Σ_m (∂L/∂h_m) (∂s_m/∂s_k).
    """
    top = len(walks) // directions - 1
    for layer in range(top, -1, -1):
        parts = np.split(d_out, directions, axis=-1)
        d_x: Array | None = None
        for direction in range(directions):
            index = layer * directions + direction
            if layer == target // directions and index != target:
                continue
            walk = walks[index]
            d_states = _double_sum(walk, jacobians[index], parts[direction])
            if index == target:
                return d_states
            d = tuple(np.split(d_states, walk.columns[:-1], axis=-1))
            more = sums(walk.cell, walk.moment, d) @ walk.moment.p["weight_ih"]
            d_x = more if d_x is None else d_x + more
        assert d_x is not None
        d_out = d_x
    raise AssertionError("the target is one of the layers")


def _double_sum(walk: Walk, jacobians: Array, d_h: Array) -> Array:
    """Σ_m (∂L/∂h_m) (∂s_m/∂s_k) for every k; (T, B, S) in order of time."""
    j = walk.schedule.reorder(jacobians)
    d_h = walk.schedule.reorder(np.where(walk.live[..., None], d_h, 0.0))
    d_states = np.zeros((*d_h.shape[:2], walk.size))
    for m in range(len(d_h)):
        if not d_h[m].any():
            continue
        v = np.zeros((walk.batch, walk.size))
        v[:, : d_h.shape[-1]] = d_h[m]
        for k in range(m, -1, -1):
            d_states[k] += v
            v = np.einsum("bi,bij->bj", v, j[k])
    return walk.schedule.reorder(d_states)


def lyapunov_exponents(
    net: Any,
    x: Any,
    n: int | None = None,
    *,
    discard: int = 0,
    state: Any = None,
    layer: int = 0,
    reverse: bool = False,
    history: bool = False,
) -> Any:
    """The Lyapunov exponents of a layer's recurrence, driven by x: growth of ∂s_t/∂s_k per step.

    Tangent vectors are carried along the trajectory and made orthonormal again after each step:
    J_t Q = Q' R, and an exponent is the mean of log|R_ii| (Benettin et al. 1980; for recurrent
    networks Vogt et al. 2022, Engelken et al. 2023). The largest is below 0 where far gradients
    vanish, above 0 where they explode.

    Parameters
    ----------
    net : LSTM, GRU or RNN
    x : array, as for a call
    n : int, optional
        How many, from the largest on; None for all S.
    discard : int
        Steps at the start that turn the vectors but do not count.
    state : as for a call, optional
    layer : int
    reverse : bool
        Whether the layer's reverse direction is meant.
    history : bool
        Whether to return the running estimates too.

    Returns
    -------
    exponents : array (B, n), float64; (n,) without a batch
        Descending, natural logarithm, per step. -inf for a direction that is lost entirely.
    running : array (T - discard, B, n), with `history` only
        The estimates after each step that counts.
    """
    from .._modules import RecurrentNet

    checks.instance("net", net, RecurrentNet, "an LSTM, GRU or RNN")
    _, _, tape = net.record(x, state, train=False)
    walk = walk_of(tape, layer, reverse)
    n = walk.size if n is None else checks.integer("n", n, at_least=1)
    if n > walk.size:
        raise ValueError(f"n: expected at most S = {walk.size}, got {n}")
    steps = len(walk.live)
    if checks.integer("discard", discard, at_least=0) >= steps:
        raise ValueError(f"discard: expected less than T = {steps}, got {discard}")
    checks.flag("history", history)
    # Any start will do that no invariant subspace holds; a fixed one: the same numbers each time.
    start = np.random.default_rng(0).normal(size=(walk.size, n))
    q = np.broadcast_to(np.linalg.qr(start)[0], (walk.batch, walk.size, n))
    total = np.zeros((walk.batch, n))
    running = np.zeros((steps - discard, walk.batch, n))
    for step in range(steps):
        moment = walk.moment.at(steps - 1 - step if reverse else step)
        q, r = np.linalg.qr(jacobian(walk.cell, moment) @ q)
        if step >= discard:
            with np.errstate(divide="ignore"):
                total = total + np.log(np.abs(np.diagonal(r, axis1=-2, axis2=-1)))
            running[step - discard] = total / (step - discard + 1)
    order = np.argsort(-running[-1], axis=-1, kind="stable")
    running = np.take_along_axis(running, order[None], axis=-1)
    exponents = walk.outside_row(running[-1])
    return (exponents, walk.outside(running)) if history else exponents
