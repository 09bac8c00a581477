"""What a cell is made of, in print."""

from __future__ import annotations

from collections import Counter

from ._cell import Cell

_GIVEN = ("slot", "state", "parameter", "constant", "number")


def explain(cell: Cell) -> None:
    """Print what a cell is made of, and the programs it is compiled to.

    That is its slots, states and parameters, its formula, its operations a unit; then, forward and
    back, the instructions over blocks of units, and how many values of a unit the one keeps for the
    other. (What a whole tape holds, `Tape.nbytes` tells, and `unrolled.flow.reach` of each unit.)

    Example
    -------
    >>> import unrolled as ur
    >>> ur.cells.explain(ur.cells.rnn)  # doctest: +ELLIPSIS
    rnn: states h
      slot 0 = x.h + h.h
      %0 = slot 0
      %1 = tanh %0
      new states: %1
      operations a unit: 1 tanh
    forward, stage 0: ...
    """
    if not isinstance(cell, Cell):
        raise TypeError(f"cell: expected a cell of unrolled.cell, got {type(cell).__name__}")
    formula = cell.formula()
    print(f"{cell.name}: states {', '.join(cell.states)}")
    for k, entry in enumerate(formula["maps"]):
        name, h = entry["name"], entry["h"]
        parts = [f"x.{name}"] if entry["x"] else []
        parts += [] if h is None else [f"h.{name}" if h == "state" else f"linear({name!r}, %{h})"]
        print(f"  slot {k} = {' + '.join(parts)}")
    for what, known in (("p", cell.parameters), ("constant", cell.constants)):
        for name, value in known.items():
            print(f"  {what} {name} = {value:g}")
    for at, (op, *rest) in enumerate(formula["nodes"]):
        operands = ", ".join(str(v) if op in _GIVEN else _shown(v) for v in rest)
        if op == "normalise":
            operands = f"{_shown(rest[0])}, eps {rest[1]:g}, argument {rest[2]}"
        print(f"  %{at} = {op} {operands}")
    print(f"  new states: {', '.join(f'%{i}' for i in formula['outputs'])}")
    counted = Counter(op for op, *_ in formula["nodes"] if op not in _GIVEN)
    print(f"  operations a unit: {', '.join(f'{n} {op}' for op, n in counted.most_common())}")
    print(cell._compiled.explain())


def _shown(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(f"%{i}" for i in value) + "]"
    return f"%{value}" if isinstance(value, int) else str(value)
