"""The activations of a recurrent node, out of its attributes."""

from __future__ import annotations

import math
from typing import Any

from ..cells._activations import ONNX, Function
from ..reference._onnx_functions import FORMULAS

NAMES = {name.lower(): name for name in FORMULAS}


def read_functions(
    name: str, usual: tuple[str, ...], attributes: dict[str, Any], directions: int
) -> tuple[tuple[Function, ...], ...]:
    """The functions of each direction.

    ``activation_alpha`` and ``activation_beta`` are consumed in the order of the functions, by
    those that take such a constant. Names count whatever their case, as exporters differ there.
    """
    given = attributes.get("activations")
    # The RNN's default in the standard is a list for two directions, whatever the direction.
    if given is None or (usual == ("Tanh",) and directions == 1 and given == ["Tanh", "Tanh"]):
        given = usual * directions
    if len(given) != len(usual) * directions:
        raise ValueError(
            f"{name}: activations: expected {len(usual) * directions} names, got {list(given)}"
        )
    left = {key: list(attributes.get(f"activation_{key}") or []) for key in ("alpha", "beta")}
    functions = [_function(name, text, left) for text in given]
    for key, values in left.items():
        if values:
            raise ValueError(
                f"{name}: activation_{key}: expected no more values than {list(given)} take, "
                f"got {values} in excess"
            )
    return tuple(tuple(functions[n : n + len(usual)]) for n in range(0, len(functions), len(usual)))


def _function(name: str, text: str, left: dict[str, list[float]]) -> Function:
    known = NAMES.get(text.lower())
    if known is None:
        raise ValueError(f"{name}: activations: expected names of {[*FORMULAS]}, got {text!r:.80}")
    constants = []
    for key, default in FORMULAS[known].constants.items():
        value = left[key].pop(0) if left[key] else default
        if value is None:
            raise ValueError(
                f"{name}: activation_{key}: expected a value for {known}, for which the standard "
                "has no default, got none"
            )
        if not math.isfinite(value):
            raise ValueError(f"{name}: activation_{key}: expected finite numbers, got {value}")
        constants.append(value)
    return Function(ONNX[known], tuple(constants))
