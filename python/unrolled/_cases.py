"""Every kind of cell with a problem for it: what `check` and `bench` run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import _modules, reference
from ._arguments import Array


@dataclass(frozen=True)
class Variant:
    """A kind of cell: the class's name and the arguments that make the difference."""

    cell: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        said = (str(v) if isinstance(v, str) else f"{k}={v}" for k, v in self.arguments.items())
        return " ".join([self.cell, *said])


VARIANTS = (
    Variant("RNN", {"nonlinearity": "tanh"}),
    Variant("RNN", {"nonlinearity": "relu"}),
    Variant("RNN", {"nonlinearity": "sigmoid"}),
    Variant("LSTM"),
    Variant("LSTM", {"forget_gate": False}),
    Variant("LSTM", {"proj_size": 5}),
    Variant("GRU"),
    Variant("GRU", {"reset_after": False}),
)


@dataclass
class Problem:
    """A network of ours, the same of the reference's, and what to run them on."""

    net: Any
    plain: Any
    x: Array
    state: Any
    dy: Array
    dstate: Any
    lengths: Array | None
    resets: Array | None

    def run(self, net: Any) -> tuple[Array, Any, Any]:
        """y, the final state and all gradients, in the dtype of `net`."""
        dtype = net.dtype
        y, state, tape = net.record(
            cast(self.x, dtype), cast(self.state, dtype), lengths=self.lengths, resets=self.resets
        )
        return y, state, tape.backward(cast(self.dy, dtype), cast(self.dstate, dtype))


def cast(value: Any, dtype: np.dtype[Any]) -> Any:
    """An array, or each of a tuple, in another dtype."""
    if isinstance(value, tuple):
        return tuple(cast(part, dtype) for part in value)
    return value.astype(dtype, copy=False)


def problem(
    variant: Variant,
    dtype: str,
    *,
    steps: int,
    batch: int,
    input_size: int,
    hidden_size: int,
    ragged: bool = False,
    plain_dtype: str = "float64",
    **more: Any,
) -> Problem:
    """A random problem, its numbers exact in float32; `ragged`: with lengths and resets."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Array:
        return rng.normal(size=shape).astype(np.float32).astype(dtype)

    arguments = variant.arguments | more
    net = getattr(_modules, variant.cell)(input_size, hidden_size, dtype=dtype, seed=1, **arguments)
    plain = getattr(reference, variant.cell)(
        input_size, hidden_size, dtype=plain_dtype, seed=1, **arguments
    )
    parameters = {name: a.astype(np.float32).astype(dtype) for name, a in net.state_dict().items()}
    net.load_state_dict(parameters)
    plain.load_state_dict({name: a.astype(plain_dtype) for name, a in parameters.items()})

    def state() -> Any:
        sizes = net._sizes
        parts = tuple(normal(sizes.cells, batch, columns) for columns in sizes.states)
        return parts if len(parts) > 1 else parts[0]

    return Problem(
        net,
        plain,
        x=normal(steps, batch, input_size),
        state=state(),
        dy=normal(steps, batch, net.num_directions * net._sizes.states[0]),
        dstate=state(),
        lengths=rng.integers(0, steps + 1, size=batch) if ragged else None,
        resets=rng.random(size=(steps, batch)) < 0.1 if ragged else None,
    )


def medians(runs: Sequence[Callable[[], object]], repeats: int) -> list[float]:
    """Median seconds of each, taken in turns so that whatever else the machine does hits all."""
    times: list[list[float]] = [[] for _ in runs]
    for run in runs:
        run()
    for _ in range(repeats):
        for run, taken in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]
