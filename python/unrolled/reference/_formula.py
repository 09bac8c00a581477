"""The reverse of a cell given by a formula, node by node.

Values are (B, H), or broadcast to it: numbers, and parameters (H,). Conventions at kinks are
PyTorch's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ._cells import d_sigmoid, d_tanh, sigmoid
from ._checks import Array


def _d_silu(a: Any, s: Any) -> Any:
    g = sigmoid(a)
    return g * (1 + a * (1 - g))


# The derivative from the argument a and the value s.
UNARY: dict[str, Callable[[Any, Any], Any]] = {
    "neg": lambda a, s: -1.0,
    "abs": lambda a, s: np.sign(a),
    "exp": lambda a, s: s,
    "log": lambda a, s: 1 / a,
    "sqrt": lambda a, s: 0.5 / s,
    "sin": lambda a, s: np.cos(a),
    "cos": lambda a, s: -np.sin(a),
    "tanh": lambda a, s: d_tanh(s),
    "sigmoid": lambda a, s: d_sigmoid(s),
    "log_sigmoid": lambda a, s: sigmoid(-a),
    "relu": lambda a, s: (a > 0) * 1.0,
    "softplus": lambda a, s: sigmoid(a),
    "silu": _d_silu,
    "stop_gradient": lambda a, s: 0.0,
}


def _d_pow(a: Any, b: Any) -> tuple[Any, Any]:
    base = np.where(b == 0, 0.0, b * np.power(a, b - 1))
    exponent = np.where((a == 0) & (b >= 0), 0.0, np.power(a, b) * np.log(a))
    return base, exponent


def _halved(wins: Any, ties: Any) -> Any:
    return np.where(ties, 0.5, np.where(wins, 0.0, 1.0))


# Both derivatives from the arguments.
BINARY: dict[str, Callable[[Any, Any], tuple[Any, Any]]] = {
    "add": lambda a, b: (1.0, 1.0),
    "sub": lambda a, b: (1.0, -1.0),
    "mul": lambda a, b: (b, a),
    "div": lambda a, b: (1 / b, -a / b / b),
    "pow": _d_pow,
    "minimum": lambda a, b: (_halved(a > b, a == b), _halved(b > a, a == b)),
    "maximum": lambda a, b: (_halved(a < b, a == b), _halved(b < a, a == b)),
}
# Steps, whose derivative is 0.
COMPARE = ("less", "less_equal", "greater", "greater_equal", "equal", "not_equal")
# Of (v, slope): what stands for the derivative of a spike.
SURROGATES: dict[str, Callable[[Any, float], Any]] = {
    "fast_sigmoid": lambda v, slope: 1 / (1 + slope * np.abs(v)) ** 2,
    "atan": lambda v, slope: slope / 2 / (1 + (np.pi / 2 * slope * v) ** 2),
    "sigmoid": lambda v, slope: slope * sigmoid(slope * v) * sigmoid(-slope * v),
}


def _moments(values: list[Any], eps: float) -> tuple[list[Any], Any]:
    """Centred values and the deviation, over the last axis of all of them."""
    mean = sum(v.mean(-1, keepdims=True) for v in values) / len(values)
    centred = [v - mean for v in values]
    variance = sum((v * v).mean(-1, keepdims=True) for v in centred) / len(values)
    return centred, np.sqrt(variance + eps)


class Evaluation:
    """The reverse of one step of a formula, from the values of its nodes."""

    def __init__(
        self, formula: Mapping[str, Any], values: list[Any], shape: tuple[int, ...]
    ) -> None:
        self.formula, self.values, self.shape = formula, values, shape

    def backward(
        self, d_after: tuple[Array, ...], linear: Callable[[int, Array, Array], Array]
    ) -> tuple[list[Array], list[Array], list[Array]]:
        """Derivatives of slots, states and parameters (summed over the batch).

        `linear(k, value, d_slot)` takes what slot k owes its weights and returns ``d_value``.
        """
        f = self.formula
        d: list[Any] = [0.0] * len(self.values)
        zeros = np.zeros_like(d_after[0])
        d_slots = [zeros] * len(f["maps"])
        d_states = [zeros] * len(f["states"])
        d_p = [zeros.sum(0)] * len(f["parameters"])
        for i, grad in zip(f["outputs"], d_after, strict=True):
            d[i] = d[i] + grad
        for at in reversed(range(len(self.values))):
            op, *rest = f["nodes"][at]
            if isinstance(d[at], float):
                continue
            if op == "slot":
                d_slots[rest[0]] = d[at] + zeros
                h = f["maps"][rest[0]]["h"]
                if isinstance(h, int):
                    value = np.broadcast_to(self.values[h], self.shape)
                    d[h] = d[h] + linear(rest[0], value, d_slots[rest[0]])
            elif op == "state":
                d_states[rest[0]] = d_states[rest[0]] + d[at]
            elif op == "parameter":
                d_p[rest[0]] = d_p[rest[0]] + (d[at] + zeros).sum(0)
            elif op not in COMPARE and op not in ("constant", "number"):
                with np.errstate(all="ignore"):
                    self._back(op, rest, at, d)
        return d_slots, d_states, d_p

    def _back(self, op: str, rest: list[Any], at: int, d: list[Any]) -> None:
        v, grad = self.values, d[at]
        if op in UNARY:
            if op != "stop_gradient":
                d[rest[0]] = d[rest[0]] + grad * UNARY[op](v[rest[0]], v[at])
        elif op in BINARY:
            slopes = BINARY[op](v[rest[0]], v[rest[1]])
            for i, slope in zip(rest, slopes, strict=True):
                d[i] = d[i] + grad * slope
        elif op == "where":
            chosen = v[rest[0]] != 0
            d[rest[1]] = d[rest[1]] + np.where(chosen, grad, 0)
            d[rest[2]] = d[rest[2]] + np.where(chosen, 0, grad)
        elif op == "spike":
            d[rest[0]] = d[rest[0]] + grad * SURROGATES[rest[1]](v[rest[0]], rest[2])
        else:
            indices, eps, which = rest
            whole = [np.broadcast_to(v[i], self.shape) for i in indices]
            centred, deviation = _moments(whole, eps)
            grad = np.broadcast_to(grad, self.shape)
            mean = grad.mean(-1, keepdims=True) / len(indices)
            along = (grad * centred[which]).mean(-1, keepdims=True) / len(indices)
            for k, i in enumerate(indices):
                own = grad if k == which else 0.0
                d[i] = d[i] + (own - mean - centred[k] * along / deviation**2) / deviation
