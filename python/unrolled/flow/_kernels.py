"""Jacobians, their products, the gradient by lag, Lyapunov exponents: by the kernels that train.

Arguments are checked here; what is computed is the compiled part's. The plain versions, with the
formulas, are in `unrolled.reference.flow`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import _arguments as arguments
from .. import _native
from .._arguments import Array
from .._module import Network
from .._tape import Tape
from ..reference._flow import LagGradients
from ..reference._flow import _wanted as wanted

__all__ = [
    "LagGradients",
    "gradient_by_lag",
    "jvp",
    "lyapunov_exponents",
    "step_jacobians",
    "transition",
    "vjp",
]

# Numbers of a tape that a long sequence is recorded on piece by piece: some tens of megabytes.
WINDOW = 1 << 22


def step_jacobians(tape: Tape[Any], layer: int = 0, reverse: bool = False) -> Array:
    """The Jacobian of every step of one layer's recurrence, what it reads held fixed.

    S unit vectors are taken back through every step, by the kernel that trains: for an LSTM of H
    units about as much work as 2 H backward passes.

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
        [t, b] is J_t = ∂s_t/∂s_{t-1}, in the reverse direction ∂s_t/∂s_{t+1}. The state s is h,
        for an LSTM h and c stacked, for a `Recurrent` all its states in their order. The first
        Jacobian of a row is by the initial state. Zero past a row's end and where a reset cuts.

    Raises
    ------
    TypeError, ValueError
        If the tape does not hold every step or is no longer valid, or there is no such layer.
    MemoryError
        If there is no room for T B S² numbers.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> _, _, tape = ur.LSTM(3, 4, seed=0).record(np.ones((5, 2, 3), dtype=np.float32))
    >>> ur.flow.step_jacobians(tape).shape
    (5, 2, 8, 8)
    """
    net = _net(tape)
    found = _native.step_jacobians(net._native, tape._native, _cell(net, layer, reverse))
    return found[:, 0] if tape._native.unbatched else found


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
        The identity for k = t. Zero where a reset lies between, or the row has ended. Carried in
        the network's float type, times powers of two, so that far products do not vanish.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> _, _, tape = ur.GRU(3, 4, seed=0).record(np.ones((50, 3), dtype=np.float32))
    >>> [round(float(np.linalg.norm(ur.flow.transition(tape, 49, k), 2)), 2) for k in (40, 20, 0)]
    [0.48, 0.08, 0.01]
    """
    net = _net(tape)
    cell = _cell(net, layer, reverse)
    found = _native.transition(net._native, tape._native, cell, *_times(tape, t, k, reverse))
    return found[0] if tape._native.unbatched else found


def vjp(tape: Tape[Any], t: int, k: int, v: Any, layer: int = 0, reverse: bool = False) -> Array:
    """vᵀ ∂s_t/∂s_k: a derivative by s_t carried back to s_k; no Jacobian is formed.

    Parameters
    ----------
    v : array (B, S) or (m, B, S), of the network's dtype; without a batch (S,) or (m, S)
    others
        As for `transition`.

    Returns
    -------
    array, as v

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> _, _, tape = ur.GRU(3, 4, seed=0).record(np.ones((50, 3), dtype=np.float32))
    >>> ur.flow.vjp(tape, 49, 40, np.ones(4, dtype=np.float32)).shape
    (4,)
    """
    return _carry(_native.pull_back, "v", tape, t, k, v, layer, reverse)


def jvp(tape: Tape[Any], t: int, k: int, u: Any, layer: int = 0, reverse: bool = False) -> Array:
    """∂s_t/∂s_k u: a change of s_k carried on to s_t, Jacobian by Jacobian.

    Parameters
    ----------
    u : array (B, S) or (m, B, S), of the network's dtype; without a batch (S,) or (m, S)
    others
        As for `transition`.

    Returns
    -------
    array, as u
    """
    return _carry(_native.push_forward, "u", tape, t, k, u, layer, reverse)


def gradient_by_lag(
    tape: Tape[Any], dy: Any, parameter: str = "weight_hh_l0", terms: Any = None
) -> LagGradients:
    """The gradient of a parameter, by when the loss is taken and when the parameter is used.

    ∂L/∂W = Σ_t Σ_k (∂L_t/∂s_t) (∂s_t/∂s_k) (∂⁺s_k/∂W), ∂⁺ with s_{k-1} held fixed. All terms add
    up to the gradient that `Tape.backward` gives. For the parameter of a lower layer a term holds
    every path through the layers above (and through the masks of dropout); if these have two
    directions, the use of the parameter may come after the loss, k > t.

    All losses go back through time together, one lag after another, as the rows of one large
    batch. The cost is about that of T/2 backward passes (of 2 T for the lower layers of a network
    of two directions), the memory about twice the tape's (there, T times the parameter's too).
    A norm far below the range of the network's float type is a number still, not zero.

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

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> net = ur.LSTM(3, 4, dtype="float64", seed=0)
    >>> y, _, tape = net.record(np.ones((50, 3)))
    >>> dy = np.zeros_like(y)
    >>> dy[-1] = 1.0
    >>> f = ur.flow.gradient_by_lag(tape, dy, terms="all")
    >>> whole = tape.backward(dy).parameters["weight_hh_l0"]
    >>> bool(np.allclose(f.terms.sum(axis=(0, 1)), whole, rtol=1e-12))
    True
    """
    net = _net(tape)
    shapes = net._shapes
    arguments.choice("parameter", parameter, tuple(shapes))
    pairs = wanted(terms, tape._native.shape[0])
    norms, by_lag, flat = _native.gradient_by_lag(
        net._native, tape._native, dy, list(shapes).index(parameter), pairs is None, pairs or []
    )
    found: Array | list[Array] | None = None
    if pairs is None:
        found = flat.reshape(*norms.shape, *shapes[parameter])
    elif terms is not None:
        found = list(flat.reshape(len(pairs), *shapes[parameter]))
    return LagGradients(parameter, norms, by_lag, found)


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
    J_t Q = Q' R, and an exponent is the mean of log R_ii (Benettin et al. 1980; for recurrent
    networks Vogt et al. 2022, Engelken et al. 2023). The largest is below 0 where far gradients
    vanish, above 0 where they explode.

    x may be long: a network of one direction runs over it in pieces, and memory does not grow with
    T but for what is returned.

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
        The estimates after each step that counts, in the direction's own time.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> net = ur.RNN(2, 8, dtype="float64", seed=0)
    >>> bool(ur.flow.lyapunov_exponents(net, np.zeros((500, 2)), 1, discard=100)[0] < 0)
    True
    """
    cell = _cell(_network(net), layer, reverse)
    size = sum(net._sizes.states)
    x = arguments.array("x", x, net.dtype)
    axis = 1 if net.batch_first and x.ndim == 3 else 0
    steps = x.shape[axis] if x.ndim in (2, 3) else 0
    n = size if n is None else arguments.integer("n", n, at_least=1)
    if n > size:
        raise ValueError(f"n: expected at most S = {size}, got {n}")
    if x.ndim in (2, 3) and arguments.integer("discard", discard, at_least=0) >= steps:
        raise ValueError(f"discard: expected less than T = {steps}, got {discard}")
    arguments.flag("history", history)

    batch = x.shape[1 - axis] if x.ndim == 3 else 1
    # Any start will do that no invariant subspace holds; a fixed one: the same numbers each time.
    start = np.linalg.qr(np.random.default_rng(0).normal(size=(size, n)))[0]
    q = np.ascontiguousarray(np.broadcast_to(start.T, (batch, n, size)))
    total, counted, pieces = np.zeros((batch, n)), 0, []
    for window in _windows(net, steps, batch):
        piece = x[:, window] if axis else x[window]
        _, state, tape = net.record(piece, state, train=False)
        logs, q = _native.lyapunov(net._native, tape._native, cell, q)
        logs = logs[::-1] if reverse else logs
        logs = logs[max(0, discard - window.start) :]
        if history and len(logs):
            after = np.arange(counted + 1, counted + len(logs) + 1)[:, None, None]
            pieces.append((total + np.cumsum(logs, axis=0)) / after)
        total = total + logs.sum(axis=0)
        counted += len(logs)
    exponents = total / max(counted, 1)
    order = np.argsort(-exponents, axis=-1, kind="stable")
    exponents = np.take_along_axis(exponents, order, axis=-1)
    if x.ndim == 2:
        exponents = exponents[0]
    if not history:
        return exponents
    running = np.take_along_axis(np.concatenate(pieces), order[None], axis=-1)
    return exponents, running[:, 0] if x.ndim == 2 else running


def _network(net: Any) -> Any:
    if not isinstance(net, Network):
        raise TypeError(f"net: expected an LSTM, GRU, RNN or Recurrent, got {arguments.kind(net)}")
    return net


def _net(tape: Any) -> Network[Any]:
    if not isinstance(tape, Tape):
        raise TypeError(f"tape: expected a Tape made by `record`, got {arguments.kind(tape)}")
    return tape._net


def _cell(net: Network[Any], layer: Any, reverse: Any) -> int:
    """Which layer and direction, counted as in the state."""
    layer = arguments.integer("layer", layer, at_least=0)
    if layer >= net.num_layers:
        raise ValueError(f"layer: expected less than num_layers = {net.num_layers}, got {layer}")
    if arguments.flag("reverse", reverse) and not net.bidirectional:
        raise ValueError("reverse: expected False for a network of one direction, got True")
    return int(layer * net.num_directions + reverse)


def _times(tape: Tape[Any], t: Any, k: Any, reverse: bool) -> tuple[int, int]:
    steps = tape._native.shape[0]
    t, k = (arguments.integer(name, at, at_least=0) for name, at in (("t", t), ("k", k)))
    if t >= steps:
        raise ValueError(f"t: expected less than T = {steps}, got {t}")
    if reverse and not t <= k < steps:
        raise ValueError(f"k: expected t = {t} <= k < T = {steps} in reverse, got {k}")
    if not reverse and k > t:
        raise ValueError(f"k: expected 0 <= k <= t = {t}, got {k}")
    return t, k


def _carry(
    carry: Any, name: str, tape: Tape[Any], t: Any, k: Any, v: Any, layer: Any, reverse: Any
) -> Array:
    net = _net(tape)
    cell = _cell(net, layer, reverse)
    times = _times(tape, t, k, reverse)
    given = arguments.array(name, v, net.dtype)
    batch, size = tape._native.shape[1], sum(net._sizes.states)
    axes, shape = ("S", (size,)) if tape._native.unbatched else ("B, S", (batch, size))
    if given.ndim - len(shape) not in (0, 1) or given.shape[-len(shape) :] != shape:
        raise ValueError(
            f"{name}: expected shape ({axes}) or (m, {axes}) with ({axes}) = {shape}, "
            f"got {given.shape}"
        )
    found: Array = carry(net._native, tape._native, cell, *times, arguments.contiguous(given))
    return found.reshape(given.shape)


def _windows(net: Any, steps: int, batch: int) -> list[slice]:
    """Pieces of a sequence; all of it for two directions, of which the second begins at the end."""
    # Gates, and the states around them.
    each = batch * net._sizes.cells * net.hidden_size * (4 + 2)
    every = steps if net.bidirectional else max(WINDOW // max(each, 1), 16)
    return [slice(at, min(at + every, steps)) for at in range(0, steps, max(every, 1))] or [
        slice(0, 0)
    ]
