"""x, h and p while a cell runs on arrays: named arrays, and for h its value in arithmetic."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any


class Maps:
    """x, h or p of a cell that is called with arrays: what the formula names, as attributes.

    Parameters
    ----------
    maps : mapping of names to arrays (..., units)
        Those of x, of h, or the parameters; of NumPy, PyTorch or JAX.
    value : array (..., units), optional
        Of h: what `h` itself is in arithmetic.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> x, h = ur.cells.Maps({"h": np.ones(2)}), ur.cells.Maps({"h": np.ones(2)}, np.zeros(2))
    >>> ur.cells.leaky_rnn(x, h).round(3)
    array([0.096, 0.096])
    """

    __array_ufunc__ = None

    def __init__(self, maps: Mapping[str, Any], value: Any = None) -> None:
        self._maps = maps
        self._value = value

    # No property of a name that a map may have.
    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._maps:
            raise AttributeError(f"expected one of {', '.join(self._maps) or 'none'}, got {name}")
        return self._maps[name]


def plain(value: Any) -> Any:
    """An array or a number as it is; of h, its value."""
    if not isinstance(value, Maps):
        return value
    if value._value is None:
        raise TypeError(f"expected one of {', '.join(value._maps)}, got all of them")
    return value._value


def _forward(function: Any, swapped: bool = False) -> Any:
    def method(*operands: Any) -> Any:
        return function(*map(plain, reversed(operands) if swapped else operands))

    return method


for _name in ["add", "sub", "mul", "truediv", "pow"]:
    setattr(Maps, f"__{_name}__", _forward(getattr(operator, _name)))
    setattr(Maps, f"__r{_name}__", _forward(getattr(operator, _name), swapped=True))
for _name in ["lt", "le", "gt", "ge", "eq", "ne", "neg", "pos", "abs"]:
    setattr(Maps, f"__{_name}__", _forward(getattr(operator, _name)))
setattr(Maps, "__hash__", object.__hash__)  # noqa: B010 - __eq__ has taken it away.
