"""One word for a recurrence, vanishing, stable or exploding, and the numbers that it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _arguments as arguments
from .._arguments import Array
from .._modules import RNN, RecurrentNet
from ._kernels import lyapunov_exponents
from ._spectra import GAMMA
from ._theory import DEFECTIVE, EPSILON, matrix_power_curve, square
from ._words import beside_one

# Into how many stretches of time a run is cut to see how much its rate of growth varies.
STRETCHES = 10


@dataclass(frozen=True)
class Classification:
    """What becomes of far gradients; `str` of it is a sentence.

    Attributes
    ----------
    kind : {"vanishing", "stable", "exploding"}
    exponent : float
        The growth per step, natural logarithm: the largest Lyapunov exponent, mean of the rows; for
        a matrix log ρ.
    spread : float
        The standard error of `exponent`, from stretches of time and rows; NaN if they are too few
        to tell. 0 for a matrix.
    tolerance : float
        |exponent| up to this is "stable": not told from 0.
    steps : int
        Over how many steps it was measured; 0 for a matrix.
    spectral_radius : float or None
        ρ of the recurrent matrix: for a matrix or an RNN.
    bound : float or None
        γ ‖W‖₂: for a matrix (γ = 1) or an RNN. Below 1 far gradients vanish whatever the input.
    diagonalisable : bool or None
        For a matrix: whether it has a basis of eigenvectors (see `PowerCurve`).
    """

    kind: str
    exponent: float
    spread: float
    tolerance: float
    steps: int
    spectral_radius: float | None = None
    bound: float | None = None
    diagonalisable: bool | None = None

    def __str__(self) -> str:
        if self.steps:
            error = "unknown" if np.isnan(self.spread) else f"{self.spread:.2g}"
            sentence = (
                f"{self.kind}: largest Lyapunov exponent {self.exponent:+.4g} per step "
                f"(standard error {error}, {self.steps} steps)"
            )
        else:
            sentence = f"{self.kind}: spectral radius {beside_one(self.spectral_radius or 0.0)}"
            if self.diagonalisable is False:
                sentence += ", without a well-conditioned basis of eigenvectors"
        if self.kind != "stable" and abs(self.exponent) <= self.tolerance:
            sentence += ", and powers that grow like one of n"
        elif self.kind != "stable" and np.isfinite(self.exponent):
            sentence += f", in the end a factor of e in {1 / abs(self.exponent):.3g} steps"
        if self.bound is not None:
            says = (
                " < 1, which alone makes far gradients vanish in the end"
                if self.bound < 1
                else ", which alone keeps far gradients from growing"
                if self.bound == 1
                else " > 1, which alone decides nothing"
            )
            sentence += f"; γ‖W‖₂ = {beside_one(self.bound)}{says}"
        return sentence + "."


def classify(
    net_or_W: Any,  # noqa: N803
    x: Any = None,
    *,
    steps: int = 1000,
    discard: int | None = None,
    tolerance: float | None = None,
    state: Any = None,
    layer: int = 0,
    reverse: bool = False,
) -> Classification:
    """Whether far gradients vanish, keep their size or explode.

    Of a network, by its largest Lyapunov exponent on x. Of a matrix, by its spectral radius; where
    that is 1 and the matrix defective on the unit circle, its powers grow: "exploding", if slowly.

    Parameters
    ----------
    net_or_W : LSTM, GRU, RNN, or array (H, H)
    x : array, as for a call, optional
        What drives the network. None means zeros; None for a matrix.
    steps : int
        How many zeros, where x is None.
    discard : int, optional
        Steps at the start that do not count. None means a quarter.
    tolerance : float, optional
        Exponents up to this count as stable. None means, for a network, two standard errors, or one
        over the number of steps that count (less than a factor of e in all of them) if that is
        more; for a matrix what rounding does to its eigenvalues.
    state, layer, reverse
        As for `lyapunov_exponents`.

    Returns
    -------
    Classification

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> print(ur.flow.classify(np.array([[0.5, 0.0], [0.0, 0.25]])))
    vanishing: spectral radius 0.5, in the end a factor of e in 1.44 steps; γ‖W‖₂ = 0.5 < 1, which
    alone makes far gradients vanish in the end.
    """
    if tolerance is not None:
        tolerance = arguments.real("tolerance", tolerance)
        if tolerance < 0:
            raise ValueError(f"tolerance: expected None or a number >= 0, got {tolerance}")
    if not isinstance(net_or_W, RecurrentNet):
        if not isinstance(net_or_W, np.ndarray):
            got = arguments.kind(net_or_W)
            raise TypeError(f"net_or_W: expected an LSTM, GRU, RNN or array (H, H), got {got}")
        if x is not None:
            raise ValueError("x: expected None for a matrix, got an input")
        return _of_matrix(net_or_W, tolerance)

    net = net_or_W
    if x is None:
        steps = arguments.integer("steps", steps, at_least=2)
        x = np.zeros((steps, net.input_size), dtype=net.dtype)
    else:
        x = arguments.array("x", x, net.dtype)
        if x.ndim not in (2, 3):
            raise ValueError(f"x: expected shape (T, B, I) or (T, I), got {x.shape}")
        steps = x.shape[1] if net.batch_first and x.ndim == 3 else len(x)
        if not x.size:
            raise ValueError(f"x: expected at least one step of one row, got shape {x.shape}")
    discard = steps // 4 if discard is None else discard
    _, running = lyapunov_exponents(
        net, x, 1, discard=discard, state=state, layer=layer, reverse=reverse, history=True
    )
    exponent, spread = _mean_and_error(running.reshape(len(running), -1))
    if np.isnan(exponent):
        raise ValueError(
            "net_or_W, x: expected states and derivatives that are finite, got NaN on the way; "
            "look for NaN and infinities in x (leave out a tail of them) and in the parameters"
        )
    if tolerance is None:
        tolerance = 1 / len(running) if np.isnan(spread) else max(2 * spread, 1 / len(running))
    kind = "stable" if abs(exponent) <= tolerance else "vanishing" if exponent < 0 else "exploding"
    radius, bound = None, None
    if isinstance(net, RNN):
        name = f"weight_hh_l{layer}" + ("_reverse" if reverse else "")
        w = net.state_dict()[name].astype(np.float64)
        radius = float(np.abs(np.linalg.eigvals(w)).max())
        bound = float(GAMMA[net.nonlinearity] * np.linalg.norm(w, 2))
    return Classification(kind, exponent, spread, tolerance, len(running), radius, bound)


def _mean_and_error(running: Array) -> tuple[float, float]:
    """The exponent, mean of the rows, and its standard error, from running estimates (T, rows)."""
    exponent = float(running[-1].mean())
    if not np.isfinite(exponent):
        return exponent, np.nan
    count = np.arange(1, len(running) + 1)[:, None]
    with np.errstate(invalid="ignore"):
        total = np.concatenate([np.zeros_like(running[:1]), running * count])
    edges = np.unique(np.linspace(0, len(running), STRETCHES + 1).astype(int))
    rates = (np.diff(total[edges], axis=0) / np.diff(edges)[:, None]).ravel()
    if len(rates) < 2:
        return exponent, np.nan
    return exponent, float(rates.std(ddof=1) / np.sqrt(len(rates)))


def _of_matrix(w: Array, tolerance: float | None) -> Classification:
    curve = matrix_power_curve(square("net_or_W", w), 1)
    radius, size = curve.spectral_radius, float(curve.norms[1])
    if tolerance is None:
        # Bauer & Fike: no eigenvalue is off by more than the eigenvectors' condition times the
        # error of the matrix. Capped, for of a defective one that says nothing.
        tolerance = min(1e-3, max(1.0, size) * len(w) * EPSILON * curve.condition)
    with np.errstate(divide="ignore"):
        exponent = float(np.log(radius))
    if abs(exponent) > tolerance:
        kind = "vanishing" if exponent < 0 else "exploding"
    else:
        on_circle = np.abs(curve.eigenvalues) >= radius * (1 - 2 * tolerance)
        condition = np.linalg.cond(curve.eigenvectors[:, on_circle])
        kind = "stable" if condition < DEFECTIVE else "exploding"
    return Classification(
        kind, exponent, 0.0, tolerance, 0, radius, size, diagonalisable=curve.diagonalisable
    )
