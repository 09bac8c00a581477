"""x, h and p while a cell runs on arrays: named arrays, and for h its value in arithmetic."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any


class Maps:
    """Arrays by name; in arithmetic it is `value`, if there is one."""

    __array_ufunc__ = None

    def __init__(self, maps: Mapping[str, Any], value: Any = None) -> None:
        self._maps = maps
        self._value = value

    @property
    def value(self) -> Any:
        if self._value is None:
            raise TypeError(f"expected one of {', '.join(self._maps)}, got all of them")
        return self._value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._maps:
            raise AttributeError(name)
        return self._maps[name]


def _forward(function: Any, swapped: bool) -> Any:
    def method(self: Maps, other: Any) -> Any:
        other = other.value if isinstance(other, Maps) else other
        return function(other, self.value) if swapped else function(self.value, other)

    return method


for _name in ["add", "sub", "mul", "truediv", "pow"]:
    setattr(Maps, f"__{_name}__", _forward(getattr(operator, _name), False))
    setattr(Maps, f"__r{_name}__", _forward(getattr(operator, _name), True))
for _name in ["lt", "le", "gt", "ge", "eq", "ne"]:
    setattr(Maps, f"__{_name}__", _forward(getattr(operator, _name), False))
for _name, _value in {
    "neg": lambda self: -self.value,
    "abs": lambda self: abs(self.value),
    "hash": object.__hash__,
}.items():
    setattr(Maps, f"__{_name}__", _value)
