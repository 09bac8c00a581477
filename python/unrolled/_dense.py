"""The dense read-out layer."""

from __future__ import annotations

import math
from typing import Any

from . import _arguments as arguments
from ._arguments import Array
from ._gradients import ModuleGradients
from ._module import Module
from ._native import Dense as NativeDense


class DenseGradients(ModuleGradients):
    """The derivatives of a loss.

    Attributes
    ----------
    parameters : dict of str to array
        With the keys and shapes of `state_dict`.
    input : array
        With the shape of x.
    """

    __slots__ = ()


class Dense(Module):
    """``y = x W^T + b`` on the last axis, as `torch.nn.Linear`.

    Parameters
    ----------
    in_features, out_features : int
        I and O: ``weight`` is (O, I), ``bias`` is (O,).
    bias : bool
    dtype : {"float32", "float64"}
    seed : int, optional
        For the parameters, uniform in +-1/sqrt(I).

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> dense = ur.Dense(8, 2, seed=0)
    >>> x = np.ones((5, 4, 8), dtype=np.float32)
    >>> y = dense(x)
    >>> g = dense.backward(x, np.ones_like(y))
    >>> y.shape, g.input.shape, g.parameters["weight"].shape
    ((5, 4, 2), (5, 4, 8), (2, 8))
    """

    _native: NativeDense

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        dtype: Any = "float32",
        seed: int | None = None,
    ) -> None:
        self.in_features = arguments.size("in_features", in_features, at_least=1)
        self.out_features = arguments.size("out_features", out_features, at_least=1)
        self.bias = arguments.flag("bias", bias)
        self.dtype = arguments.float_dtype(dtype)
        self.seed = arguments.seed("seed", seed)
        self._adopt(self._make())
        self._native.initialise(1 / math.sqrt(self.in_features), self.seed)

    def _make(self) -> NativeDense:
        return NativeDense(self.in_features, self.out_features, self.bias, self.dtype.name)

    def config(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON knows them."""
        return {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": self.bias,
            "dtype": self.dtype.name,
            "seed": self.seed,
        }

    def __repr__(self) -> str:
        dtype = "" if self.dtype == "float32" else f", dtype={self.dtype.name!r}"
        return f"Dense({self.in_features}, {self.out_features}, bias={self.bias}{dtype})"

    def __call__(self, x: Any) -> Array:
        """y (..., O) for x (..., I).

        Raises
        ------
        TypeError
            For a wrong dtype or kind of object; nothing is cast.
        ValueError
            For a wrong shape.
        """
        return self._forward(self._native, x)

    def backward(self, x: Any, dy: Any) -> DenseGradients:
        """The derivatives of a loss with the derivative `dy` (..., O) at `x` (..., I)."""
        return self._backward(self._native, x, dy)

    # By the native part or a snapshot of it.

    def _forward(self, native: NativeDense, x: Any) -> Array:
        x = self._rows("x", x, self.in_features)
        y = native.forward(arguments.contiguous(x))
        return y.reshape(*x.shape[:-1], self.out_features)

    def _backward(self, native: NativeDense, x: Any, dy: Any) -> DenseGradients:
        x = self._rows("x", x, self.in_features)
        dy = arguments.array("dy", dy, self.dtype)
        arguments.shaped("dy", dy, "(..., O)", (*x.shape[:-1], self.out_features))
        flat, d_x = native.backward(arguments.contiguous(x), arguments.contiguous(dy))
        return DenseGradients(flat, self._shapes, d_x.reshape(x.shape))

    def _rows(self, name: str, value: Any, features: int) -> Array:
        a = arguments.array(name, value, self.dtype)
        if a.ndim == 0 or a.shape[-1] != features:
            raise ValueError(f"{name}: expected shape (..., {features}), got {a.shape}")
        return a
