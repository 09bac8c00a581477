"""Cells of formulas as Rust types: what they are called, their source, their parameters."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._arguments import Array
from ._native import Formula
from .cells._cell import Cell
from .cells._lower import lowered
from .cells._recurrent import Recurrent

# Letters of a type's name, before what tells it from others.
LONGEST = 40


class Types:
    """The types of a file's cells: a cell of several layers is written once.

    A name ends in ``Cell``, as nothing else does that the file has in scope; cells of one name that
    are not the same have numbers behind it.
    """

    def __init__(self) -> None:
        self._names: dict[Cell, str] = {}
        self.sources: list[str] = []

    def name(self, n: int, layer: Recurrent) -> str:
        """That of layer `n`'s cell, whose source is there from now on.

        Raises
        ------
        ValueError
            For what cells of fixed size cannot be, with what to do.
        """
        cell = layer.cell
        if cell not in self._names:
            name = _unused(f"{camel(cell.name)}Cell", set(self._names.values()))
            try:
                source = Formula(*lowered(layer._formula)).source(name, cell.name)
            except ValueError as error:
                message = str(error).removeprefix("formula: ")
                raise ValueError(f"layers[{n}]: {cell.name}: {message}") from None
            self._names[cell] = name
            self.sources.append(source)
        return self._names[cell]


def camel(name: str) -> str:
    """A Python name as the first part of a Rust type's: ``leaky_rnn`` is LeakyRnn; in ASCII."""
    text = "".join(c if c.isascii() else f"u{ord(c):x}" for c in name)
    parts = (part for part in text.split("_") if part)
    found = "".join(part[0].upper() + part[1:] for part in parts)
    return (found if found[:1].isalpha() else f"N{found}")[:LONGEST]


def _unused(name: str, used: set[str]) -> str:
    found, n = name, 2
    while found in used:
        found, n = f"{name}{n}", n + 1
    return found


def parameters(layer: Recurrent) -> Iterator[dict[str, Array]]:
    """By layer of a stack: the fields of `unrolled::fixed::Parameters`, each by blocks of units."""
    state, hidden, data = layer.state_dict(), layer.hidden_size, layer._formula
    maps_of_x = sum(entry["x"] for entry in data["maps"])
    maps_of_h = sum(entry["h"] is not None for entry in data["maps"])
    for at in range(layer.num_layers):
        columns = layer.input_size if at == 0 else hidden
        shapes = {
            "w_ih": ("weight_ih", (maps_of_x, hidden, columns)),
            "w_hh": ("weight_hh", (maps_of_h, hidden, hidden)),
            "b_ih": ("bias_ih", (maps_of_x, hidden)),
            "b_hh": ("bias_hh", (maps_of_h, hidden)),
            "w_p": ("weight_p", (len(data["parameters"]), hidden)),
        }
        zero = np.zeros((), dtype=layer.dtype)
        found = {}
        for field, (name, shape) in shapes.items():
            a = state.get(f"{name}_l{at}")
            found[field] = np.broadcast_to(zero, shape) if a is None else a.reshape(shape)
        yield found
