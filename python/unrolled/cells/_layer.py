"""One layer of a cell on arrays of any library, for whoever walks over time by itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ._cell import Cell
from ._functions import whole


def layer(
    cell: Cell, weights: Mapping[str, Any]
) -> tuple[Callable[[Any], Any], Callable[[Any, tuple[Any, ...]], tuple[Any, ...]]]:
    """Two functions of a cell and the weights of one layer in one direction.

    Parameters
    ----------
    cell : Cell
    weights : dict of arrays
        ``weight_ih`` and so on, without a suffix.

    Returns
    -------
    project : function
        x (..., I) to its maps side by side (..., maps * H).
    step : function
        ``step(projected, states)``: the maps of x at one step (B, maps * H) and the states, each
        (B, H), to the new states.
    """
    maps = cell.maps
    of_x = [entry["name"] for entry in maps if entry["x"]]
    of_h = {entry["name"]: entry["h"] for entry in maps if entry["h"] is not None}

    def block(name: str, at: int, units: int) -> Any:
        return weights[name][at * units : (at + 1) * units]

    def project(x: Any) -> Any:
        found = x @ weights["weight_ih"].T
        return found + weights["bias_ih"] if "bias_ih" in weights else found

    def step(projected: Any, states: tuple[Any, ...]) -> tuple[Any, ...]:
        units = states[0].shape[-1]
        places = {name: at for at, name in enumerate(of_h)}

        def linear(name: str, value: Any) -> Any:
            at = places[name]
            found = whole(value, states[0]) @ block("weight_hh", at, units).T
            return found + block("bias_hh", at, units) if "bias_hh" in weights else found

        x = {name: projected[..., k * units : (k + 1) * units] for k, name in enumerate(of_x)}
        h = {name: linear(name, states[0]) for name, of in of_h.items() if of == "state"}
        p = {name: block("weight_p", at, units) for at, name in enumerate(cell.parameters)}
        found = cell.step(x, h, states, p, linear)
        return tuple(whole(value, state) for value, state in zip(found, states, strict=True))

    return project, step
