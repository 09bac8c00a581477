"""Read the golden numbers: each case with everything a test has to give and to expect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

State = np.ndarray | tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Expected:
    """PyTorch's float64 numbers. Names follow `net.record` and `tape.backward`."""

    y: np.ndarray
    state: State
    parameters: dict[str, np.ndarray]
    input: np.ndarray
    initial_state: State


@dataclass(frozen=True)
class Case:
    """One run of one network. The inputs are exact in float32, so both types share them."""

    name: str
    cell: str
    kwargs: dict[str, Any]
    state_dict: dict[str, np.ndarray]
    x: np.ndarray  # NaN past each row's end
    lengths: np.ndarray | None
    state: State | None
    dy: np.ndarray
    dstate: State | None
    expected: Expected
    config: dict[str, Any]

    def cast(self, dtype: str) -> Case:
        """The same case with its inputs in `dtype`; what is expected stays float64."""

        def cast_state(state: State | None) -> State | None:
            if isinstance(state, tuple):
                return state[0].astype(dtype), state[1].astype(dtype)
            return None if state is None else state.astype(dtype)

        return replace(
            self,
            kwargs=self.kwargs | {"dtype": dtype},
            state_dict={key: value.astype(dtype) for key, value in self.state_dict.items()},
            x=self.x.astype(dtype),
            state=cast_state(self.state),
            dy=self.dy.astype(dtype),
            dstate=cast_state(self.dstate),
        )


def _unflatten(layout: list[list[Any]], values: np.ndarray) -> dict[str, np.ndarray]:
    arrays, start = {}, 0
    for key, shape in layout:
        stop = start + int(np.prod(shape))
        arrays[key] = values[start:stop].reshape(shape)
        start = stop
    assert start == values.size, "the layout and the values disagree"
    return arrays


def _state(arrays: dict[str, np.ndarray], h: str, c: str) -> State | None:
    if h not in arrays:
        return None
    return (arrays[h], arrays[c]) if c in arrays else arrays[h]


def _given(state: State | None) -> State:
    assert state is not None, "a case without its final state"
    return state


def _with_prefix(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def load_cases() -> Iterator[Case]:
    """Every case of every file beside this one, in a fixed order."""
    for path in sorted(Path(__file__).parent.glob("*.npz")):
        with np.load(path) as file:
            for key in file.files:
                name, _, part = key.partition("/")
                if part != "config":
                    continue
                config = json.loads(file[key].tobytes())
                inputs = _unflatten(config["inputs"], file[f"{name}/inputs"])
                results = _unflatten(config["expected"], file[f"{name}/expected"])
                lengths = config["lengths"]
                yield Case(
                    name=name,
                    cell=config["cell"],
                    kwargs=config["kwargs"],
                    state_dict=_with_prefix(inputs, "parameter."),
                    x=inputs["x"],
                    lengths=None if lengths is None else np.array(lengths, np.int64),
                    state=_state(inputs, "h0", "c0"),
                    dy=inputs["dy"],
                    dstate=_state(inputs, "dhn", "dcn"),
                    expected=Expected(
                        y=results["y"],
                        state=_given(_state(results, "hn", "cn")),
                        parameters=_with_prefix(results, "grad.parameter."),
                        input=results["grad.x"],
                        initial_state=_given(_state(results, "grad.h0", "grad.c0")),
                    ),
                    config=config,
                )
