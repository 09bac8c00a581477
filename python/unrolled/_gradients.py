"""Gradients of one module: all the parameters' in one array, and by name once somebody asks."""

from __future__ import annotations

import math
import operator
from typing import Any

from ._arguments import Array


def split(flat: Array, shapes: dict[str, tuple[int, ...]]) -> dict[str, Array]:
    """All parameters' numbers in a row -> arrays by name, which share its memory."""
    arrays, start = {}, 0
    for name, shape in shapes.items():
        stop = start + math.prod(shape)
        arrays[name] = flat[start:stop].reshape(shape)
        start = stop
    return arrays


class ModuleGradients:
    """The derivatives of a loss by what a module was given. Made by its way back."""

    __slots__ = ("_flat", "_input", "_parameters", "_shapes", "_views")

    _parameters: dict[str, Array] | None

    def __init__(self, flat: Array, shapes: dict[str, tuple[int, ...]], input: Array) -> None:
        self._flat = flat
        self._shapes = shapes
        self._input = input
        # Made when asked for: for a small net they cost as much as the way back itself.
        self._parameters = None

    @property
    def parameters(self) -> dict[str, Array]:
        """With the keys and shapes of `state_dict`."""
        if self._parameters is None:
            found = split(self._flat, self._shapes)
            self._views = tuple(found.values())
            self._parameters = found
        return self._parameters

    @property
    def input(self) -> Array:
        """With the shape of x."""
        return self._input

    def whole(self) -> Array | None:
        """All of `parameters` in one array; None if others have been put into the dict."""
        found = self._parameters
        if found is None:
            return self._flat
        # The same results whether or not somebody has looked at the dict.
        if len(found) != len(self._views) or not all(
            map(operator.is_, map(found.get, self._shapes), self._views)
        ):
            return None
        return self._flat

    def __repr__(self) -> str:
        names = ", ".join(self._shapes)
        return f"<{type(self).__name__} by {names}; input {self._input.shape}>"

    # Copied and pickled with the dict as it is: what it holds need not be part of one array then.

    def __getstate__(self) -> dict[str, Any]:
        return {"shapes": self._shapes, "parameters": self.parameters, "input": self._input}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._shapes, self._input = state["shapes"], state["input"]
        self._parameters, self._views = state["parameters"], ()
