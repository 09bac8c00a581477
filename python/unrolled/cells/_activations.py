"""The activations that ONNX and Keras name, as formulas: one table for both.

A formula of a symbol is compiled, of an array it is computed, as everything in `_functions`. Where
ONNX and Keras have a function under one name with other constants, the constants tell them apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ._functions import (
    abs,
    clip,
    exp,
    log_sigmoid,
    minimum,
    relu,
    sigmoid,
    silu,
    softplus,
    sqrt,
    tanh,
    where,
)


def elu(a: Any, alpha: float) -> Any:
    """`a`, and alpha (e^a - 1) below 0 (Clevert et al. 2016)."""
    # The exponential is taken of what is negative only: it could overflow elsewhere.
    return where(a >= 0, a, alpha * (exp(minimum(a, 0.0)) - 1))


def hard_sigmoid(a: Any, alpha: float, beta: float) -> Any:
    """alpha a + beta, at least 0 and at most 1."""
    return clip(alpha * a + beta, 0.0, 1.0)


def soft_shrink(a: Any, threshold: float) -> Any:
    """`a`, nearer to 0 by the threshold."""
    return where(a > threshold, a - threshold, where(a < -threshold, a + threshold, 0.0))


def sparse_plus(a: Any) -> Any:
    """0 up to -1, `a` from 1 on, a parabola between (Martins & Astudillo 2016)."""
    return where(a <= -1, 0.0, where(a >= 1, a, 0.25 * (a + 1) * (a + 1)))


# Of an argument and, behind it, the constants.
FORMULAS: dict[str, Callable[..., Any]] = {
    "affine": lambda a, alpha, beta: alpha * a + beta,
    "elu": elu,
    "exponential": exp,
    "hard_shrink": lambda a, threshold: where(abs(a) > threshold, a, 0.0),
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": lambda a, alpha, beta: a * hard_sigmoid(a, alpha, beta),
    "hard_tanh": lambda a: clip(a, -1.0, 1.0),
    "leaky_relu": lambda a, alpha: where(a >= 0, a, alpha * a),
    "linear": lambda a: a,
    "log_sigmoid": log_sigmoid,
    "mish": lambda a: a * tanh(softplus(a)),
    "relu": relu,
    "relu6": lambda a: clip(a, 0.0, 6.0),
    "scaled_tanh": lambda a, alpha, beta: alpha * tanh(beta * a),
    # Klambauer et al. 2017.
    "selu": lambda a, scale, alpha: scale * elu(a, alpha),
    "sigmoid": sigmoid,
    "silu": silu,
    "soft_shrink": soft_shrink,
    "softplus": softplus,
    "softsign": lambda a: a / (1 + abs(a)),
    "sparse_plus": sparse_plus,
    "squareplus": lambda a, b: 0.5 * (a + sqrt(a * a + b)),
    "tanh": tanh,
    "tanh_shrink": lambda a: a - tanh(a),
    # Where it reaches alpha, as an activation of ONNX's recurrent nodes.
    "thresholded_relu": lambda a, alpha: where(a >= alpha, a, 0.0),
}


@dataclass(frozen=True)
class Function:
    """One of `FORMULAS` with its constants."""

    name: str
    constants: tuple[float, ...] = ()

    def __call__(self, a: Any) -> Any:
        return FORMULAS[self.name](a, *self.constants)


# ONNX's names; the constants are a node's attributes.
ONNX = {
    "Affine": "affine",
    "Elu": "elu",
    "HardSigmoid": "hard_sigmoid",
    "LeakyRelu": "leaky_relu",
    "Relu": "relu",
    "ScaledTanh": "scaled_tanh",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Tanh": "tanh",
    "ThresholdedRelu": "thresholded_relu",
}
# Keras 3's names, with the constants that it has where a layer says no more than the name.
KERAS = {
    **{
        name: Function(name)
        for name in (
            "exponential",
            "hard_tanh",
            "linear",
            "log_sigmoid",
            "mish",
            "relu",
            "relu6",
            "sigmoid",
            "silu",
            "softplus",
            "softsign",
            "sparse_plus",
            "tanh",
            "tanh_shrink",
        )
    },
    "celu": Function("elu", (1.0,)),
    "elu": Function("elu", (1.0,)),
    "hard_shrink": Function("hard_shrink", (0.5,)),
    "hard_sigmoid": Function("hard_sigmoid", (1 / 6, 0.5)),
    "hard_silu": Function("hard_silu", (1 / 6, 0.5)),
    "hard_swish": Function("hard_silu", (1 / 6, 0.5)),
    "leaky_relu": Function("leaky_relu", (0.2,)),
    "selu": Function("selu", (1.0507009873554805, 1.6732632423543772)),
    "soft_shrink": Function("soft_shrink", (0.5,)),
    "sparse_sigmoid": Function("hard_sigmoid", (0.5, 0.5)),
    "squareplus": Function("squareplus", (4.0,)),
    "swish": Function("silu"),
}
# Why others of Keras' are not among them.
NOT_KERAS = {
    "gelu": "it takes erf, which formulas do not have",
    "threshold": "its two numbers are not told by its name",
    **dict.fromkeys(
        ("glu", "log_softmax", "softmax", "sparsemax"),
        "it is a function of all units together, not of each",
    ),
}


def keras_function(argument: str, name: Any) -> Function:
    """A function by Keras' name; `argument` is who asks, for the message.

    Raises
    ------
    ValueError
        If there is no formula for it: a function of one's own, or one of `NOT_KERAS`.
    """
    if isinstance(name, str) and name in KERAS:
        return KERAS[name]
    shown = f"{name!r:.80}" if isinstance(name, str) else f"a {type(name).__name__}"
    why = NOT_KERAS.get(name) if isinstance(name, str) else None
    raise ValueError(
        f"{argument}: expected one of {', '.join(sorted(KERAS))}, got {shown}"
        + (f": {why}" if why else "")
    )
