"""What values and layers are called while a graph is walked (`_chain`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .._arguments import Array
from ._model import Value
from ._recurrent import Recurrence


class UnlikeLayersError(Exception):
    """Why a graph is not a chain of layers."""


# What one axis is made of: "0", "1" the input's first axes, "F" features, "D" directions, "H" the
# features of one direction. ("D", "H") is both in one axis.
Axis: TypeAlias = tuple[str, ...]
FEATURES: tuple[Axis, ...] = (("F",), ("H",), ("D", "H"))


@dataclass(frozen=True, eq=False)
class RecurrentStage:
    name: str
    recurrence: Recurrence
    w: Array
    r: Array
    b: Array | None
    # The source of each initial state.
    initial: tuple[StateInput | Rows | None, ...]
    batch_first: bool


@dataclass(frozen=True, eq=False)
class DenseStage:
    weight: Array
    bias: Array | None


@dataclass(frozen=True, eq=False)
class ActivationStage:
    function: str
    constants: dict[str, float]


Stage: TypeAlias = RecurrentStage | DenseStage | ActivationStage


@dataclass(frozen=True)
class Signal:
    """A sequence, after some layers."""

    stages: tuple[Stage, ...]
    axes: tuple[Axis, ...]
    # The input's axis that is time, once a recurrent layer has told.
    time: str | None = None

    @property
    def directions(self) -> int:
        """Of the last recurrent layer."""
        found = [s for s in self.stages if isinstance(s, RecurrentStage)]
        return len(found[-1].recurrence.reverse) if found else 1

    def rows(self) -> Signal:
        """Itself, if its last axis is all the features of a step."""
        apart = ("D",) in self.axes and self.directions > 1
        if apart or not self.axes or self.axes[-1] not in FEATURES:
            raise UnlikeLayersError("features are spread over several axes")
        return self


@dataclass(frozen=True)
class StateInput:
    """Rows `start` to `end` of an input of the graph, from which a state comes."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, eq=False)
class Rows:
    """A constant (D, 1, H), the same for every row of the batch, however many there are."""

    value: Array


@dataclass(frozen=True)
class Final:
    """Final states, in order: the recurrent layer, and 0 for h or 1 for c."""

    parts: tuple[tuple[RecurrentStage, int], ...]


@dataclass(frozen=True)
class Zeros:
    """Zeros of a shape that is not known yet."""


@dataclass(frozen=True)
class Sizes:
    """Made of sizes alone."""


@dataclass(frozen=True)
class Lengths:
    name: str


Symbol: TypeAlias = Array | Signal | StateInput | Rows | Final | Zeros | Sizes | Lengths | Value
