"""A cell: its formula as plain data, and the function it was written as, if there is one."""

from __future__ import annotations

import copy
import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from .. import _arguments as arguments
from .._native import Formula
from ..reference._checks import real
from . import _functions as functions
from ._description import validated
from ._evaluate import evaluated
from ._lower import lowered
from ._maps import Maps, plain
from ._symbols import HiddenSymbol, Namespace

# The largest numbers, of PyTorch's types too.
LARGEST = {"float16": 65504.0, "bfloat16": 3.38e38, "float32": 3.4028234e38}


class Cell:
    """What `unrolled.cell` makes of a function, and `from_description` of data.

    Called with arrays, in `Maps`, it is the function itself. Cells are equal if their formulas are.

    Attributes
    ----------
    name : str
    states : tuple of str
    parameters, constants : dict
        First values and values, by the names that the function has.
    maps : list of dict
        The slots: what feeds each of them.
    text : str
        The formula as JSON, which `from_description` takes.

    Example
    -------
    >>> import unrolled as ur
    >>> ur.cells.co_rnn
    <cell co_rnn(x, h, v)>
    >>> ur.cells.co_rnn.with_constants(epsilon=1.0).constants
    {'dt': 0.042, 'gamma': 2.7, 'epsilon': 1.0}
    """

    def __init__(self, data: Any, function: Callable[..., Any] | None = None) -> None:
        self._data = validated(data)
        self._text = json.dumps(self._data, sort_keys=True)
        # For the kernels, whose limits are thereby held to here.
        self._compiled = Formula(*lowered(self._data))
        if function is not None and not callable(function):
            raise TypeError(f"function: expected a function, got {type(function).__name__}")
        self._function = function
        maps = self._data["maps"]
        # What a step is given by name.
        self._named = {
            "x": [entry["name"] for entry in maps if entry["x"]],
            "h": [entry["name"] for entry in maps if entry["h"] == "state"],
            "p": [entry["name"] for entry in self._data["parameters"]],
            "linear": [entry["name"] for entry in maps if type(entry["h"]) is int],
        }
        self.__name__ = self.name = str(self._data["name"])
        self.__doc__ = None if function is None else function.__doc__
        if function is not None:
            self.__wrapped__, self.__module__ = function, function.__module__

    @property
    def text(self) -> str:
        """The description as JSON."""
        return self._text

    @property
    def states(self) -> tuple[str, ...]:
        return tuple(self._data["states"])

    @property
    def maps(self) -> list[dict[str, Any]]:
        return copy.deepcopy(self._data["maps"])

    @property
    def parameters(self) -> dict[str, float]:
        """First values by name."""
        return {entry["name"]: entry["init"] for entry in self._data["parameters"]}

    @property
    def constants(self) -> dict[str, float]:
        """Values by name."""
        return {entry["name"]: entry["value"] for entry in self._data["constants"]}

    def formula(self, /, **constants: float) -> dict[str, Any]:
        """The description as plain data, with other values of constants where given."""
        unknown = [name for name in constants if name not in self.constants]
        if unknown:
            raise ValueError(
                f"constants: expected names among {list(self.constants)}, those of the cell "
                f"{self.name}, got {unknown}"
            )
        data = copy.deepcopy(self._data)
        for entry in data["constants"]:
            if entry["name"] in constants:
                entry["value"] = real(entry["name"], constants[entry["name"]])
        return validated(data)

    def with_constants(self, /, **constants: float) -> Cell:
        """The same cell with other values of its constants."""
        data, function = self.formula(**constants), self._function
        if function is None:
            return Cell(data)
        constants = {
            entry["name"]: entry["value"]
            for entry in data["constants"]
            if entry["name"] in constants
        }
        return Cell(data, functools.wraps(function)(functools.partial(function, **constants)))

    def with_first_values(
        self, /, *, p: Mapping[str, float] | None = None, x: Mapping[str, float] | None = None
    ) -> Cell:
        """The same cell with other first values, given as to `unrolled.cell`.

        Parameters
        ----------
        p : dict, optional
            First values of parameters, ``p.name``. The others keep theirs.
        x : dict, optional
            First values of the biases of ``x.name``.

        Example
        -------
        >>> import unrolled as ur
        >>> cell = ur.cells.lstm.with_first_values(x={"f": 3.0})
        >>> float(ur.Recurrent(cell, 3, 1).state_dict()["bias_ih_l0"][1])
        3.0
        """
        data = self.formula()
        begun = _numbers("p", p, list(self.parameters))
        for entry in data["parameters"]:
            entry["init"] = begun.get(entry["name"], entry["init"])
        data["bias"] |= _numbers("x", x, [entry["name"] for entry in data["maps"] if entry["x"]])
        return Cell(data, self._function)

    def __call__(self, x: Any, /, *states: Any, **keywords: Any) -> Any:
        """New states of arrays: x, h and p are `Maps`, which have arrays as attributes."""
        given = {"x": x, "h": states[0] if states else None}
        given |= {"p": keywords.get("p")} if self.parameters else {}
        for name, value in given.items():
            if not isinstance(value, (Maps, Namespace, HiddenSymbol)):
                raise TypeError(
                    f"{self.name}: {name}: expected unrolled.cells.Maps, arrays by the names of "
                    f"maps, got {type(value).__name__}"
                )
        states = *states[:1], *map(functions.operand, states[1:])
        if self._function is not None:
            return self._function(x, *states, **keywords)
        if len(states) != len(self.states):
            raise TypeError(
                f"{self.name}: expected the states {self.states}, got {len(states)} of them"
            )
        constants = {name: value for name, value in keywords.items() if name != "p"}
        own = all(type(v) is float and v == self.constants.get(n) for n, v in constants.items())
        data = self._data if own else self.formula(**constants)
        values = evaluated(data, x, states, keywords.get("p"))
        found = tuple(values[i] for i in self._data["outputs"])
        return found if len(found) > 1 else found[0]

    def step(
        self,
        x: Mapping[str, Any],
        h: Mapping[str, Any],
        states: tuple[Any, ...],
        p: Mapping[str, Any],
        linear: Callable[[str, Any], Any],
        /,
        **constants: float,
    ) -> tuple[Any, ...]:
        """One step on arrays for whoever runs the cell: maps by name, states, parameters.

        `linear(name, value)` is a map of a computed value. The function itself is called.
        """
        self._check(x, h, states, p, linear)
        keywords: dict[str, Any] = {**self.constants, **constants}
        if p:
            keywords["p"] = Maps(p)

        # A function that does something else each time, as no formula can.
        def known(name: str, value: Any) -> Any:
            if name not in self._named["linear"]:
                raise ValueError(
                    f"{self.name}: linear: expected one of {', '.join(self._named['linear'])} as "
                    f"when the cell was made, got {name}"
                )
            return linear(name, value)

        with functions.running(known, plain(states[0])):
            found = self(Maps(x), Maps(h, states[0]), *states[1:], **keywords)
        found = found if isinstance(found, tuple) else (found,)
        if len(found) != len(self.states):
            raise ValueError(
                f"{self.name}: expected {len(self.states)} new states as when the cell was made, "
                f"got {len(found)}"
            )
        return tuple(map(functions.operand, found))

    def values(
        self,
        x: Mapping[str, Any],
        h: Mapping[str, Any],
        states: tuple[Any, ...],
        p: Mapping[str, Any],
        linear: Callable[[str, Any], Any],
    ) -> list[Any]:
        """The values of all nodes of the formula: the same step, without the function."""
        self._check(x, h, states, p, linear)
        with functions.running(linear, plain(states[0])):
            return evaluated(self._data, Maps(x), (Maps(h, states[0]), *states[1:]), Maps(p))

    def _check(self, x: Any, h: Any, states: Any, p: Any, linear: Any) -> None:
        """Refuse what no step can run on."""
        for what, given in (("x", x), ("h", h), ("p", p)):
            names = self._named[what]
            expected = f"{self.name}: {what}: expected arrays named {', '.join(names)}"
            if not isinstance(given, Mapping):
                raise TypeError(f"{expected}, got {type(given).__name__}")
            if not all(name in given for name in names):
                raise ValueError(f"{expected}, got {', '.join(map(str, given)) or 'none'}")
        if (
            not isinstance(states, (tuple, list))
            or len(states) != len(self.states)
            or not all(hasattr(state, "shape") for state in states)
        ):
            raise TypeError(
                f"{self.name}: states: expected an array for each of {', '.join(self.states)}, "
                f"got {type(states).__name__}"
            )
        if not callable(linear):
            raise TypeError(
                f"{self.name}: linear: expected a function of a name and a value, "
                f"got {type(linear).__name__}"
            )

    def first_values(self, units: int, parameters: Mapping[str, Any]) -> None:
        """Write what the cell gives first values for into arrays or tensors, by their names."""
        of_x = [entry["name"] for entry in self._data["maps"] if entry["x"]]
        for name, a in parameters.items():
            if name.startswith("weight_p"):
                blocks = dict(enumerate(self.parameters.values()))
            elif name.startswith("bias_ih"):
                blocks = {of_x.index(of): first for of, first in self._data["bias"].items()}
            else:
                continue
            largest = LARGEST.get(str(a.dtype).removeprefix("torch."), math.inf)
            for block, first in blocks.items():
                if abs(first) > largest:
                    raise ValueError(
                        f"{self.name}: expected first values that {a.dtype} holds, got {first}"
                    )
                a[block * units : (block + 1) * units] = first

    def __eq__(self, other: object) -> bool:
        return self._text == other._text if isinstance(other, Cell) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> tuple[Any, ...]:
        return from_description, (self.text,)

    def __repr__(self) -> str:
        return f"<cell {self.name}({', '.join(('x', *self.states))})>"


def _numbers(what: str, given: Mapping[str, float] | None, known: list[str]) -> dict[str, float]:
    """What a user gives by names, as numbers."""
    if not isinstance(given, Mapping):
        if given is None:
            return {}
        raise TypeError(f"{what}: expected a dict of numbers by names, got {arguments.kind(given)}")
    for name in given:
        if name not in known:
            raise ValueError(f"{what}: expected names among {known}, got {name!r}")
    return {name: arguments.real(f"{what}: {name!r}", value) for name, value in given.items()}


def from_description(data: Any) -> Cell:
    """A cell of its description: JSON text, or the plain data of `Cell.formula`.

    The data may come from anywhere: it is checked, bounded in size, and never run as code.

    Raises
    ------
    TypeError, ValueError
        Where the data are no description.
    """
    return Cell(data)
