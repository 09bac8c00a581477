"""Activations as layers of a `Sequential`."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import _arguments as arguments
from . import _native
from ._arguments import Array

# What a function takes besides x, and PyTorch's values for it.
FUNCTIONS: dict[str, dict[str, float]] = {
    "tanh": {},
    "relu": {},
    "sigmoid": {},
    "softmax": {},
    "elu": {"alpha": 1.0},
    "leaky_relu": {"alpha": 0.01},
    "hard_sigmoid": {"alpha": 1 / 6, "beta": 0.5},
    "softsign": {},
    "silu": {},
}
FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


class Activation:
    """A function of every value; for softmax, of the last axis.

    ::

        tanh, sigmoid, relu(x) = max(0, x)        softmax(x)_i = e^x_i / sum_j e^x_j
        elu(x) = x, and alpha (e^x - 1) below 0   leaky_relu(x) = x, and alpha x below 0
        hard_sigmoid(x) = alpha x + beta in [0, 1]
        softsign(x) = x / (1 + |x|)               silu(x) = x sigmoid(x)

    Parameters
    ----------
    function : str
        One of these names.
    alpha, beta : float, optional
        Where the function has them. The defaults are PyTorch's: 1 for elu, 0.01 for leaky_relu,
        1/6 and 1/2 for hard_sigmoid.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> relu = ur.Activation("relu")
    >>> relu(np.array([-1.0, 2.0]))
    array([0., 2.])
    >>> ur.Activation("elu", alpha=0.5)
    Activation('elu', alpha=0.5)
    """

    def __init__(
        self, function: str, *, alpha: float | None = None, beta: float | None = None
    ) -> None:
        self.function = arguments.choice("function", function, tuple(FUNCTIONS))
        defaults = FUNCTIONS[function]
        self._values: dict[str, float] = {}
        for name, value in (("alpha", alpha), ("beta", beta)):
            if name in defaults:
                given = defaults[name] if value is None else value
                self._values[name] = arguments.real(name, given)
            elif value is not None:
                raise ValueError(
                    f"{name}: expected None for {function!r}, got {arguments.shown(value)}"
                )

    @property
    def alpha(self) -> float | None:
        """The function's alpha, None where it has none."""
        return self._values.get("alpha")

    @property
    def beta(self) -> float | None:
        """The function's beta, None where it has none."""
        return self._values.get("beta")

    @property
    def _function(self) -> tuple[str, float, float]:
        return self.function, self._values.get("alpha", 0.0), self._values.get("beta", 0.0)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON knows them."""
        return {"function": self.function, **self._values}

    def __call__(self, x: Any) -> Array:
        """The function of x (..., N), float32 or float64: an array of its shape.

        Raises
        ------
        TypeError
            For another dtype or kind of object; nothing is cast.
        """
        x = _floats("x", x)
        row = x.shape[-1] if x.ndim else 1
        flat = arguments.contiguous(x).reshape(-1)
        return _native.activate(x.dtype.name, self._function, row, flat).reshape(x.shape)

    def backward(self, x: Any, dy: Any, *, y: Any = None) -> Array:
        """The derivative of a loss by x, where `dy` is that by the function's value.

        Parameters
        ----------
        x : array (..., N)
        dy : array, as x
        y : array, as x, optional
            What the call returned; None computes it again.
        """
        x = _floats("x", x)
        y = self(x) if y is None else y
        found = []
        for name, value in (("y", y), ("dy", dy)):
            a = arguments.shaped(name, arguments.array(name, value, x.dtype), "of x", x.shape)
            found.append(arguments.contiguous(a).reshape(-1))
        flat = arguments.contiguous(x).reshape(-1)
        row = x.shape[-1] if x.ndim else 1
        d_x = _native.activate_backward(x.dtype.name, self._function, row, flat, *found)
        return d_x.reshape(x.shape)

    def __repr__(self) -> str:
        said = "".join(f", {name}={value}" for name, value in self._values.items())
        return f"Activation({self.function!r}{said})"


def _floats(name: str, value: Any) -> Array:
    a = arguments.array(name, value, None)
    if a.dtype not in FLOATS:
        raise TypeError(f"{name}: expected a float32 or float64 array, got dtype {a.dtype}")
    return a
