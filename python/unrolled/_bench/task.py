"""A work with its numbers: the weights and arrays that every contender gets."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

import unrolled as ur

from .._arguments import Array
from .works import Work

# How many steps of a stream are compared.
STREAM_STEPS = 8
SHORTEST = 10


@dataclass(frozen=True)
class Task:
    """Weights in PyTorch's layout; x and dy (T, B, …), C-contiguous; lengths, resets or None.

    For a stream x is (STREAM_STEPS, 1, I): the steps at which outputs are compared.
    """

    work: Work
    weights: dict[str, Array]
    x: Array
    dy: Array
    lengths: Array | None
    resets: Array | None

    @property
    def row_steps(self) -> int:
        """How many (t, b) there are."""
        lengths = [self.work.steps] * self.work.batch if self.lengths is None else self.lengths
        return int(np.sum(lengths))

    def options(self) -> dict[str, Any]:
        """The arguments of our networks beyond the sizes."""
        work = self.work
        options: dict[str, Any] = {"num_layers": work.layers, "bidirectional": work.bidirectional}
        if work.projection:
            options["proj_size"] = work.projection
        return options

    def network(self, module: ModuleType) -> Any:
        """The network, of a module that has the classes; without weights here, with its own."""
        work = self.work
        sizes = {"dtype": work.dtype, "seed": 1, **self.options()}
        if work.is_formula:
            net = module.Recurrent(work.formula, work.inputs, work.units, **sizes)
        else:
            net = getattr(module, work.cell)(work.inputs, work.units, **sizes)
        if self.weights:
            net.load_state_dict(self.weights)
        return net


def task(work: Work) -> Task:
    """The same numbers for the same work, whenever and whoever asks."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape).astype(work.dtype)

    blank = Task(work, {}, np.empty(0), np.empty(0), None, None)
    net = blank.network(ur)
    steps = STREAM_STEPS if work.stream else work.steps
    lengths = resets = None
    if work.ragged:
        # Evenly from the shortest to the longest, in no order.
        lengths = rng.permutation(np.linspace(SHORTEST, steps, work.batch).astype(np.int64))
    if work.resets:
        resets = rng.random(size=(steps, work.batch)) < work.resets
    return Task(
        work,
        net.state_dict(),
        normal(steps, work.batch, work.inputs),
        normal(steps, work.batch, work.directions * work.outputs),
        lengths,
        resets,
    )
