"""A description in the few operations that the kernels know."""

from __future__ import annotations

from typing import Any

# What the native formula is made of: states, maps, parameters, constants, nodes, outputs.
Lowered = tuple[list[str], list[Any], list[Any], list[Any], list[Any], list[int]]


class _Nodes:
    """Nodes as they are made: what each does, on which, with which number and word."""

    def __init__(self) -> None:
        self.all: list[tuple[str, list[int], float, str]] = []

    def add(self, op: str, *of: int, number: float = 0.0, word: str = "") -> int:
        self.all.append((op, list(of), number, word))
        return len(self.all) - 1


def lowered(formula: dict[str, Any]) -> Lowered:
    """The arguments of `_native.Formula`. What is greater becomes what is less."""
    nodes = _Nodes()
    places: list[int] = []
    for op, *rest in formula["nodes"]:
        if op == "number":
            place = nodes.add("number", number=rest[0])
        elif op in ("slot", "state", "parameter", "constant"):
            place = nodes.add(op, rest[0])
        elif op in ("greater", "greater_equal"):
            place = nodes.add(op.replace("greater", "less"), places[rest[1]], places[rest[0]])
        elif op == "not_equal":
            same = nodes.add("equal", places[rest[0]], places[rest[1]])
            place = nodes.add("sub", nodes.add("number", number=1.0), same)
        elif op == "spike":
            place = nodes.add("spike", places[rest[0]], number=rest[2], word=rest[1])
        elif op == "normalise":
            of, eps, which = rest
            place = nodes.add("normalise", which, *(places[i] for i in of), number=eps)
        else:
            place = nodes.add(op, *(places[i] for i in rest))
        places.append(place)
    maps = []
    for entry in formula["maps"]:
        h = entry["h"]
        value = None if h is None or h == "state" else places[h]
        maps.append(
            (entry["name"] if entry["x"] else None, None if h is None else entry["name"], value)
        )
    return (
        formula["states"],
        maps,
        [(entry["name"], entry["init"]) for entry in formula["parameters"]],
        [(entry["name"], entry["value"]) for entry in formula["constants"]],
        nodes.all,
        [places[i] for i in formula["outputs"]],
    )
