"""Powers of one matrix: what its eigenvalues say of them, and what they do not."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .. import _arguments as arguments
from .._arguments import Array

EPSILON = float(np.finfo(np.float64).eps)
# Eigenvectors as dependent as this count as no basis. Rounding by eps splits the eigenvalue of a
# Jordan block of size m by eps^(1/m) and leaves a condition of about eps^(1/m - 1), 6e7 for m = 2,
# and less by the root of how far M's own making had magnified the rounding: room for a factor 1e3.
DEFECTIVE = 1e6
# Directions in the upper half of the plane in which the numerical range is touched.
DIRECTIONS = 181


def square(name: str, value: Any) -> Array:
    """A finite real matrix of as many rows as columns, float64."""
    found = arguments.array(name, value, None)
    if found.dtype not in (np.float32, np.float64):
        raise TypeError(f"{name}: expected a float32 or float64 array, got dtype {found.dtype}")
    if found.ndim != 2 or found.shape[0] != found.shape[1] or not found.size:
        raise ValueError(f"{name}: expected shape (H, H) with H >= 1, got {found.shape}")
    if not np.isfinite(found).all():
        raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return found.astype(np.float64)


@dataclass(frozen=True, eq=False)
class PowerCurve:
    """A matrix M and the lengths of its powers; made by `matrix_power_curve`. All in float64.

    Attributes
    ----------
    matrix : array (H, H)
        M.
    norms : array (n + 1,)
        ‖M^0‖₂ … ‖Mⁿ‖₂. Infinity beyond what float64 can say.
    eigenvalues : complex array (H,)
        λ_i, of largest modulus first.
    eigenvectors : complex array (H, H)
        Column i for λ_i, of length 1.
    spectral_radius : float
        ρ = max |λ_i|.
    condition : float
        σ_max / σ_min of the eigenvectors: 1 for a normal matrix, infinite for a defective one.
    normal : bool
        Whether M Mᵀ = Mᵀ M up to rounding. Then ‖M‖₂ = ρ, and so ‖Mⁿ‖₂ = ρⁿ for all n. A matrix
        that is not normal may have ‖M‖₂ = ρ as well.
    diagonalisable : bool
        Whether `condition` is below 1e6. Rounding cannot tell a defective matrix from its
        neighbours: False says that M is, or is within about ‖M‖₂ / `condition` of, a matrix without
        a basis of eigenvectors, and then Mⁿ may grow like a power of n times ρⁿ.
    """

    matrix: Array
    norms: Array
    eigenvalues: Array
    eigenvectors: Array
    spectral_radius: float
    condition: float
    normal: bool
    diagonalisable: bool

    def power(self, k: int) -> Array:
        """M^k, (H, H), by multiplication."""
        return np.asarray(
            np.linalg.matrix_power(self.matrix, arguments.integer("k", k, at_least=0))
        )

    @cached_property
    def numerical_range(self) -> Array:
        """Points z = vᴴ M v, |v| = 1, on the edge of the numerical range, anticlockwise; complex.

        In each of 360 directions the farthest point: v is the top eigenvector of the Hermitian part
        of e^{-iθ} M (Johnson 1978). The range is convex, holds all eigenvalues, and for a normal
        matrix is their convex hull.
        """
        upper = []
        for angle in np.linspace(0.0, math.pi, DIRECTIONS):
            _, vectors = np.linalg.eigh(self._part(angle))
            v = vectors[:, -1]
            upper.append(v.conj() @ self.matrix @ v)
        # M is real: what is below the real axis mirrors what is above.
        above = np.array(upper)
        return np.concatenate([above, above[-2:0:-1].conj()])

    @cached_property
    def numerical_radius(self) -> float:
        """max |z| over the numerical range: ρ <= radius <= ‖M‖₂ <= 2 radius.

        And ‖Mⁿ‖₂ <= 2 radiusⁿ (Berger's inequality): a radius of at most 1 forbids growth beyond 2.
        """
        angles = np.linspace(0.0, math.pi, DIRECTIONS)
        reach = [self._reach(angle) for angle in angles]
        best = int(np.argmax(reach))
        # Between the neighbours of the best direction, by golden section down to rounding.
        low, high = angles[max(best - 1, 0)], angles[min(best + 1, DIRECTIONS - 1)]
        golden = (math.sqrt(5.0) - 1) / 2
        found = reach[best]
        for _ in range(40):
            left, right = high - golden * (high - low), low + golden * (high - low)
            at_left, at_right = self._reach(left), self._reach(right)
            found = max(found, at_left, at_right)
            low, high = (low, right) if at_left > at_right else (left, high)
        return found

    def _part(self, angle: float) -> Array:
        """The Hermitian part of e^{-iθ} M."""
        turned = complex(math.cos(angle), -math.sin(angle)) * self.matrix
        return np.asarray((turned + turned.conj().T) / 2)

    def _reach(self, angle: float) -> float:
        """How far the numerical range reaches in a direction."""
        return float(np.linalg.eigvalsh(self._part(angle))[-1])

    def __repr__(self) -> str:
        return (
            f"<PowerCurve of {len(self.norms) - 1} powers: spectral radius "
            f"{self.spectral_radius:.4g}, ‖M‖₂ = {np.linalg.norm(self.matrix, 2):.4g}, "
            f"largest ‖Mⁿ‖₂ = {self.norms.max():.4g} at n = {self.norms.argmax()}, "
            f"{'' if self.normal else 'not '}normal, "
            f"{'' if self.diagonalisable else 'not '}diagonalisable>"
        )


def matrix_power_curve(W: Any, n: int) -> PowerCurve:  # noqa: N803
    """‖Mⁿ‖₂ against n, and what the eigenvalues and the numerical range say of it.

    With a basis of eigenvectors Mⁿ = Q Λⁿ Q⁻¹, which fades or grows like ρⁿ in the end. In the end
    only: where ‖M‖₂ > ρ, which takes a matrix that is not normal, it may first grow for long. And
    [[1, 1], [0, 1]], with no eigenvalue but 1 and no such basis, grows linearly: "eigenvalues 1
    leave M unchanged" holds for diagonalisable matrices only.

    Parameters
    ----------
    W : array (H, H), float32 or float64
        M.
    n : int
        The highest power.

    Returns
    -------
    PowerCurve

    Raises
    ------
    TypeError, ValueError
        If W is not a square matrix of finite numbers, or n is negative.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> curve = ur.flow.matrix_power_curve(np.array([[0.9, 5.0], [0.0, 0.8]]), 100)
    >>> curve.spectral_radius, bool(curve.norms.max() > 10), bool(curve.norms[100] < 0.01)
    (0.9, True, True)
    """
    m = square("W", W)
    n = arguments.integer("n", n, at_least=0)
    # Before the work: so many numbers may be more than there is room for.
    lengths = np.ones(arguments.size("n", n, at_least=0) + 1)
    # M^k as a matrix of moderate numbers times 2^exponent: neither huge nor tiny ones lose digits.
    scale = math.frexp(float(np.abs(m).max()))[1]
    scaled = np.ldexp(m, -scale)
    product, exponent = np.eye(len(m)), 0
    for k in range(1, n + 1):
        product = scaled @ product
        shift = math.frexp(float(np.abs(product).max()))[1]
        product, exponent = np.ldexp(product, -shift), exponent + scale + shift
        with np.errstate(over="ignore"):
            lengths[k] = np.ldexp(np.linalg.norm(product, 2), exponent)

    values, vectors = np.linalg.eig(m)
    order = np.argsort(-np.abs(values), kind="stable")
    values, vectors = values[order].astype(complex), vectors[:, order].astype(complex)
    condition = float(np.linalg.cond(vectors))
    commutator = np.linalg.norm(scaled @ scaled.T - scaled.T @ scaled)
    return PowerCurve(
        matrix=m,
        norms=lengths,
        eigenvalues=values,
        eigenvectors=vectors,
        spectral_radius=float(np.abs(values[0])),
        condition=condition,
        # Each product carries at most H roundings of ‖M‖²; twice for the difference of two.
        normal=bool(commutator <= 2 * len(m) * EPSILON * np.linalg.norm(scaled) ** 2),
        diagonalisable=condition < DEFECTIVE,
    )
