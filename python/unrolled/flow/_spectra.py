"""What products of Jacobians do to lengths: singular values by lag, and the bounds on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arguments import Array
from .._modules import RNN
from .._tape import Tape
from ..reference._cells import ACTIVATIONS
from ._chain import Chain, norms, singular_values

# The largest |σ'|: of the logistic function s(1 - s) at s = 1/2.
GAMMA = {"tanh": 1.0, "relu": 1.0, "sigmoid": 0.25}


def singular_values_by_lag(
    tape: Tape[Any],
    t: int | None = None,
    max_lag: int | None = None,
    layer: int = 0,
    reverse: bool = False,
) -> Array:
    """The singular values of ∂s_t/∂s_{t-lag}: how much it can lengthen and must shorten.

    Parameters
    ----------
    tape : Tape
        As for `step_jacobians`.
    t : int, optional
        The later time (in reverse the earlier). None means each row's last step.
    max_lag : int, optional
        L. None means as far as the sequence goes.
    layer : int
    reverse : bool
        Whether the layer's reverse direction is meant; there it is ∂s_t/∂s_{t+lag}.

    Returns
    -------
    array (L + 1, B, S), float64; (L + 1, S) without a batch
        Descending. Ones at lag 0. Zeros where a reset lies between or the row has no such time.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or the tape is no longer valid.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> net = ur.RNN(1, 2, bias=False, nonlinearity="relu", dtype="float64")
    >>> net.load_state_dict({"weight_ih_l0": np.ones((2, 1)), "weight_hh_l0": np.diag([0.5, 2.0])})
    >>> _, _, tape = net.record(np.ones((4, 1)))
    >>> ur.flow.singular_values_by_lag(tape)
    array([[1.   , 1.   ],
           [2.   , 0.5  ],
           [4.   , 0.25 ],
           [8.   , 0.125]])
    """
    chain = Chain(tape, t, max_lag, layer, reverse)
    values = [singular_values(product) for product in chain.products()]
    return chain.outside(np.stack(values))


@dataclass(frozen=True, eq=False)
class Bounds:
    """‖∂s_t/∂s_{t-lag}‖₂ by lag, and what is known to be above it; float64.

    ``measured <= jacobians``, and for an RNN ``jacobians <= per_step <= uniform``.

    Attributes
    ----------
    measured : array (L + 1, B)
        ‖∂s_t/∂s_{t-lag}‖₂.
    jacobians : array (L + 1, B)
        Π ‖J_i‖₂ over the steps between.
    per_step : array (L + 1, B), or None but for an RNN
        Π ‖diag(σ'(·))‖₂ ‖W‖₂ over the steps between.
    uniform : array (L + 1,), or None but for an RNN
        (γ ‖W‖₂)^lag.
    gamma : float, or None but for an RNN
        γ = max |σ'|: 1/4 for the logistic function, 1 for tanh and relu.
    """

    measured: Array
    jacobians: Array
    per_step: Array | None
    uniform: Array | None
    gamma: float | None


def bounds(
    tape: Tape[Any],
    t: int | None = None,
    max_lag: int | None = None,
    layer: int = 0,
    reverse: bool = False,
) -> Bounds:
    """How large ∂s_t/∂s_{t-lag} is, and the bounds on it (Pascanu, Mikolov & Bengio 2013).

    ‖∂s_t/∂s_k‖₂ ≤ Π ‖J_i‖₂ for every cell, and for an RNN ≤ Π ‖diag(σ'(·))‖₂ ‖W‖₂ ≤ (γ ‖W‖₂)^{t-k}.
    γ ‖W‖₂ < 1 suffices for far gradients to vanish; γ ‖W‖₂ > 1 is necessary for them to explode but
    does not make them.

    Parameters
    ----------
    others
        As for `singular_values_by_lag`.

    Returns
    -------
    Bounds
        Its arrays without B if there is no batch.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> net = ur.RNN(3, 8, nonlinearity="sigmoid", dtype="float64", seed=0)
    >>> _, _, tape = net.record(np.ones((20, 3)))
    >>> b = ur.flow.bounds(tape)
    >>> b.gamma, bool((b.measured <= b.uniform).all())
    (0.25, True)
    """
    chain = Chain(tape, t, max_lag, layer, reverse)
    # 0 or 1 at lag 0, then the factor that each lag adds.
    first = chain.reaches()[:1].astype(np.float64)
    measured = np.stack([norms(product) for product in chain.products()])
    factors = chain.along(norms(chain.jacobians))
    jacobians = np.cumprod(np.concatenate([first, factors]), axis=0)
    net = tape._net
    if not isinstance(net, RNN):
        return Bounds(chain.outside(measured), chain.outside(jacobians), None, None, None)

    name = f"weight_hh_l{layer}" + ("_reverse" if reverse else "")
    size = np.linalg.norm(net.state_dict()[name].astype(np.float64), 2)
    hidden = tape.hidden[chain.index] if isinstance(tape.hidden, tuple) else tape.hidden
    _, derivative = ACTIVATIONS[net.nonlinearity]
    # ‖diag(v)‖₂ is the largest |v_i|, and no σ' here is negative.
    slopes = derivative(chain.inside(hidden).astype(np.float64)).max(axis=-1)
    factors = np.where(chain.connected(), chain.along(slopes) * size, 0.0)
    per_step = np.cumprod(np.concatenate([first, factors]), axis=0)
    gamma = GAMMA[net.nonlinearity]
    uniform = (gamma * size) ** np.arange(chain.lags + 1)
    return Bounds(
        chain.outside(measured), chain.outside(jacobians), chain.outside(per_step), uniform, gamma
    )
