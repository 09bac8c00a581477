"""What the tests of the reference share: the package itself, the cases, tolerances, small tools."""

from __future__ import annotations

import importlib.util
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

PACKAGE = Path(__file__).parents[2] / "python" / "unrolled"
TOLERANCES = tomllib.loads((PACKAGE / "tolerances.toml").read_text(encoding="utf-8"))
# rtol, atol by what is compared. Arrays here have entries of order 1.
TOLERANCE = {
    "reordered": (TOLERANCES["reordered"], TOLERANCES["reordered.small"]),
    "difference": (TOLERANCES["difference"], TOLERANCES["difference.small"]),
    "float32": (TOLERANCES["reference.gradient.float32"],) * 2,
}
EPSILON = TOLERANCES["difference.step"]


def load_reference() -> ModuleType:
    """`unrolled.reference`; by its path if the package has not been built.

    The reference must work alone, so both ways have to lead to the same tests passing.
    """
    try:
        from unrolled import reference
    except ImportError:
        return load_by_path()
    return reference


def load_by_path(name: str = "unrolled_reference") -> ModuleType:
    folder = PACKAGE / "reference"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


reference = load_reference()


@dataclass(frozen=True)
class Variant:
    """A kind of cell with its arguments."""

    kind: str
    arguments: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.kind, *(f"{k}={v}" for k, v in self.arguments.items())])

    def net(self, input_size: int = 2, hidden_size: int = 3, **more: Any) -> Any:
        return getattr(reference, self.kind)(
            input_size, hidden_size, **{"seed": 7, **self.arguments, **more}
        )


VARIANTS = [
    Variant("RNN"),
    Variant("RNN", {"nonlinearity": "relu"}),
    Variant("RNN", {"nonlinearity": "sigmoid"}),
    Variant("GRU"),
    Variant("GRU", {"reset_after": False}),
    Variant("GRU", {"reset_after": False, "bias": False}),
    Variant("LSTM"),
    Variant("LSTM", {"bias": False}),
    Variant("LSTM", {"forget_gate": False}),
    Variant("LSTM", {"proj_size": 2}),
    Variant("LSTM", {"proj_size": 2, "forget_gate": False}),
]


@dataclass
class Problem:
    """A net, what goes into it, and the weights of a linear loss on all that comes out.

    The loss is ``sum(dy * y) + sum(dstate * state)``; entries of x and dy past a row's end are NaN,
    so that reading any of them shows.
    """

    net: Any
    x: np.ndarray
    state: tuple[np.ndarray, ...]
    lengths: Any
    resets: Any
    dy: np.ndarray
    dstate: tuple[np.ndarray, ...]

    def run(self) -> tuple[np.ndarray, tuple[np.ndarray, ...], Any]:
        y, state, tape = self.net.record(
            self.x, public(self.state), lengths=self.lengths, resets=self.resets
        )
        return y, arrays(state), tape

    def loss(self) -> float:
        y, state, _ = self.run()
        over_state = sum(np.sum(d * a) for d, a in zip(self.dstate, state, strict=True))
        return float(np.sum(np.where(np.isnan(self.dy), 0, self.dy) * y) + over_state)

    def gradients(self, truncate: int | None = None) -> Any:
        _, _, tape = self.run()
        return tape.backward(self.dy, public(self.dstate), truncate=truncate)

    @property
    def ends(self) -> np.ndarray:
        if self.lengths is None:
            return np.full(self.x.shape[1], self.x.shape[0])
        return self.lengths


def problem(
    net: Any,
    *,
    steps: int = 4,
    batch: int = 3,
    lengths: bool = False,
    resets: bool = False,
    seed: int = 0,
) -> Problem:
    """A random problem for `net`, with every kind of row when `lengths` or `resets` are asked."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(steps, batch, net.input_size))
    rows = net.num_layers * net.num_directions
    proj_size = getattr(net, "proj_size", 0)
    output_size = proj_size or net.hidden_size
    sizes = (output_size, net.hidden_size) if type(net).__name__ == "LSTM" else (output_size,)
    dy = rng.normal(size=(steps, batch, net.num_directions * output_size))
    ends = None
    if lengths:
        ends = np.array([(steps, 0, steps - 1, 1)[b % 4] for b in range(batch)])
        dead = np.arange(steps)[:, None] >= ends
        x[dead] = np.nan
        dy[dead] = np.nan
    cuts = None
    if resets:
        # Row 0 starts with one and has another; rows at random, also past a row's end.
        cuts = rng.random(size=(steps, batch)) < 0.4
        cuts[[0, steps // 2], 0] = True
    return Problem(
        net,
        x,
        tuple(rng.normal(size=(rows, batch, size)) for size in sizes),
        ends,
        cuts,
        dy,
        tuple(rng.normal(size=(rows, batch, size)) for size in sizes),
    )


def arrays(state: Any) -> tuple[np.ndarray, ...]:
    """A state as a tuple, whichever cell it is of."""
    return state if isinstance(state, tuple) else (state,)


def public(state: tuple[np.ndarray, ...]) -> Any:
    """The inverse of `arrays`."""
    return state if len(state) > 1 else state[0]


def close(actual: Any, expected: Any, tolerance: str = "reordered") -> None:
    rtol, atol = TOLERANCE[tolerance]
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol)


def close_gradients(actual: Any, expected: Any, tolerance: str = "reordered") -> None:
    assert list(actual.parameters) == list(expected.parameters)
    for name in expected.parameters:
        close(actual.parameters[name], expected.parameters[name], tolerance)
    close(actual.input, expected.input, tolerance)
    for a, e in zip(arrays(actual.state), arrays(expected.state), strict=True):
        close(a, e, tolerance)


def central_differences(loss: Any, array: np.ndarray) -> np.ndarray:
    """The derivative of `loss()` with respect to each entry of `array`, moved in place."""
    out = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        if np.isnan(kept):
            continue
        array[index] = kept + EPSILON
        up = loss()
        array[index] = kept - EPSILON
        down = loss()
        array[index] = kept
        out[index] = (up - down) / (2 * EPSILON)
    return out
