"""The activation functions that ONNX names, in NumPy.

ONNX's recurrent nodes may use any of eleven functions, some with two constants. These are for the
plain loop of `_onnx_cells` and for the nodes that stand around the recurrent ones; in formulas they
are `unrolled.cells._activations`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ._cells import relu, sigmoid
from ._checks import Array


def affine(a: Array, alpha: float, beta: float) -> Array:
    return np.asarray(alpha * a + beta)


def leaky_relu(a: Array, alpha: float) -> Array:
    return np.asarray(np.where(a >= 0, a, alpha * a))


def thresholded_relu(a: Array, alpha: float) -> Array:
    """`a` where it reaches `alpha`, else 0, also for NaN: of a recurrent node. The operator of that
    name (`unrolled.onnx._operators`) wants more than `alpha`."""
    return np.asarray(np.where(a >= alpha, a, np.zeros_like(a)))


def scaled_tanh(a: Array, alpha: float, beta: float) -> Array:
    return np.asarray(alpha * np.tanh(beta * a))


def hard_sigmoid(a: Array, alpha: float, beta: float) -> Array:
    return np.asarray(np.clip(alpha * a + beta, 0, 1))


def elu(a: Array, alpha: float) -> Array:
    # The exponential is taken of what is negative only: it could overflow elsewhere.
    return np.asarray(np.where(a >= 0, a, alpha * np.expm1(np.minimum(a, 0))))


def softsign(a: Array) -> Array:
    return np.asarray(a / (1 + np.abs(a)))


def softplus(a: Array) -> Array:
    """log(1 + exp(a)), with no overflow."""
    return np.asarray(np.logaddexp(np.zeros_like(a), a))


def softmax(a: Array, axis: int) -> Array:
    e = np.exp(a - np.max(a, axis=axis, keepdims=True, initial=-np.inf))
    return np.asarray(e / np.sum(e, axis=axis, keepdims=True))


def log_softmax(a: Array, axis: int) -> Array:
    shifted = a - np.max(a, axis=axis, keepdims=True, initial=-np.inf)
    return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True)))


@dataclass(frozen=True)
class Formula:
    """A function and the constants it takes after its argument.

    A constant's default is that of the ONNX operator of the same name, to the bit: attributes are
    float32. None marks that there is no such operator (Affine, ScaledTanh), and so no default.
    """

    function: Callable[..., Array]
    constants: dict[str, float | None]


FORMULAS: dict[str, Formula] = {
    "Relu": Formula(relu, {}),
    "Tanh": Formula(np.tanh, {}),
    "Sigmoid": Formula(sigmoid, {}),
    "Affine": Formula(affine, {"alpha": None, "beta": None}),
    "LeakyRelu": Formula(leaky_relu, {"alpha": float(np.float32(0.01))}),
    "ThresholdedRelu": Formula(thresholded_relu, {"alpha": 1.0}),
    "ScaledTanh": Formula(scaled_tanh, {"alpha": None, "beta": None}),
    "HardSigmoid": Formula(hard_sigmoid, {"alpha": float(np.float32(0.2)), "beta": 0.5}),
    "Elu": Formula(elu, {"alpha": 1.0}),
    "Softsign": Formula(softsign, {}),
    "Softplus": Formula(softplus, {}),
}


@dataclass(frozen=True)
class Activation:
    """A function with its constants."""

    name: str
    constants: tuple[float, ...] = ()

    def __call__(self, a: Array) -> Array:
        return np.asarray(FORMULAS[self.name].function(a, *self.constants), dtype=a.dtype)
