"""What values and layers are called while a graph is walked (`_chain`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, TypeAlias

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
    p: Array | None
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


@dataclass(frozen=True, eq=False, repr=False)
class Path:
    """A layer and those before it. Signals share what they have passed: a list of its own for each
    would take the square of their number."""

    stage: Stage
    before: Path | None
    depth: int
    # Of the last recurrent layer.
    recurrent: RecurrentStage | None

    @classmethod
    def after(cls, before: Path | None, stage: Stage) -> Path:
        """`stage` behind what was before."""
        last = before.recurrent if before else None
        recurrent = stage if isinstance(stage, RecurrentStage) else last
        return cls(stage, before, before.depth + 1 if before else 1, recurrent)

    def stages(self) -> tuple[Stage, ...]:
        """All of them, in order."""
        found: list[Stage] = []
        path: Path | None = self
        while path is not None:
            found.append(path.stage)
            path = path.before
        return tuple(reversed(found))


@dataclass(frozen=True)
class Signal:
    """A sequence, after some layers."""

    path: Path | None
    axes: tuple[Axis, ...]
    # The sizes of the axes, as far as they are told: probes, see `_sizes`.
    features: int
    # The input's axis that is time, once a recurrent layer has told.
    time: str | None = None

    @property
    def last(self) -> Stage | None:
        """The layer it comes from."""
        return self.path.stage if self.path else None

    @property
    def recurrent(self) -> RecurrentStage | None:
        """The last recurrent layer."""
        return self.path.recurrent if self.path else None

    @property
    def directions(self) -> int:
        """Of the last recurrent layer."""
        return len(self.recurrent.recurrence.reverse) if self.recurrent else 1

    def after(self, stage: Stage, **changes: Any) -> Signal:
        """Behind one more layer."""
        return replace(self, path=Path.after(self.path, stage), **changes)

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
    """Final states, in order: the recurrent layer (last on its path), and 0 for h or 1 for c."""

    parts: tuple[tuple[Path, int], ...]


@dataclass(frozen=True)
class Zeros:
    """Zeros, of the shape they would have were the sizes the probes (`_sizes`), if it is known."""

    shape: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Sizes:
    """Made of sizes alone; the numbers, were the sizes the probes (`_sizes`), if they are known."""

    value: Array | None = None


@dataclass(frozen=True)
class Lengths:
    name: str


Symbol: TypeAlias = Array | Signal | StateInput | Rows | Final | Zeros | Sizes | Lengths | Value
