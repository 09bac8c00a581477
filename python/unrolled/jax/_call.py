"""What of a call is known when it is traced: the network, and which operands there are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

import unrolled as ur

from .._modules import RecurrentNet
from ..cells import Cell

CLASSES: dict[str, type[RecurrentNet[Any]]] = {
    kind.__name__: kind for kind in (ur.LSTM, ur.GRU, ur.RNN, ur.Recurrent)
}


@dataclass(frozen=True)
class Call:
    """The static side of a primitive, hashable, and as text the attribute of the call from XLA.

    The operands are x, the state (h, or h and c), lengths and resets if given, the parameters in
    the order of `state_dict`; for a derivative more after them.

    `members` networks run at once, which is what `vmap` makes of parameters that differ: an operand
    that is `mapped` has them as its first axis, the others are shared. 0 means that there is no
    such axis, and then results have none.
    """

    kind: str
    # The constructor's arguments, sorted by name.
    config: tuple[tuple[str, Any], ...]
    lengths: bool
    resets: bool
    members: int
    mapped: tuple[bool, ...]
    # Which operands a derivative is asked for.
    wanted: tuple[bool, ...]

    @property
    def states(self) -> int:
        """How many arrays the state is."""
        return len(self.columns)

    @property
    def columns(self) -> tuple[int, ...]:
        """Of each of them."""
        return template(self.kind, self.config)._sizes.states

    @property
    def first_parameter(self) -> int:
        """Where in the operands the parameters begin."""
        return 1 + self.states + self.lengths + self.resets

    @property
    def primals(self) -> int:
        """How many operands the network has; a derivative's call has more after them."""
        return self.first_parameter + len(template(self.kind, self.config)._shapes)

    def differentiable(self, n: int) -> bool:
        """Whether operand n is one of floats."""
        return n <= self.states or n >= self.first_parameter

    def batch_axis(self, n: int) -> int:
        """The axis of the batch in operand n, which is none of the parameters."""
        return 0 if self.lengths and n == 1 + self.states else 1

    def wanted_operands(self) -> list[int]:
        """Which operands a derivative is asked for, by number."""
        return [n for n, wanted in enumerate(self.wanted) if wanted]

    def parts(self, operands: Sequence[Any]) -> tuple[Any, tuple[Any, ...], Any, Any, list[Any]]:
        """x, state, lengths, resets, parameters of the operands."""
        rest = iter(operands[: self.primals])
        x = next(rest)
        state = tuple(next(rest) for _ in range(self.states))
        lengths = next(rest) if self.lengths else None
        resets = next(rest) if self.resets else None
        return x, state, lengths, resets, list(rest)

    def text(self) -> str:
        """All of it, for `parse`."""
        return json.dumps(asdict(self))


@lru_cache(maxsize=256)
def parse(text: bytes) -> Call:
    """What `Call.text` wrote."""
    fields = json.loads(text)
    for name in ("mapped", "wanted"):
        fields[name] = tuple(fields[name])
    fields["config"] = tuple((key, value) for key, value in fields["config"])
    return Call(**fields)


@lru_cache(maxsize=256)
def parsed(text: str) -> Cell:
    """The cell of a description."""
    return Cell(text)


@lru_cache(maxsize=256)
def template(kind: str, config: tuple[tuple[str, Any], ...]) -> RecurrentNet[Any]:
    """A network for its names and shapes; nobody changes it."""
    return CLASSES[kind](**dict(config), seed=0)


def infer(kind: str, parameters: dict[str, Any], **options: Any) -> tuple[tuple[str, Any], ...]:
    """The constructor's arguments that parameters of these names and shapes belong to.

    `options` are those that do not show in them; of a formula, `cell`, its description.
    """
    maps = parsed(options["cell"]).maps if kind == "Recurrent" else None
    first = ["weight_ih_l0", "weight_hh_l0"]
    if maps is not None and all(entry["h"] is None for entry in maps):
        del first[1:]
    if any(name not in parameters for name in first):
        raise ValueError(f"params: expected the keys {first} and more, got {list(parameters)}")
    shapes = {name: np.shape(p) for name, p in parameters.items()}
    dtypes = {name: str(p.dtype) for name, p in parameters.items()}
    for name in first:
        if len(shapes[name]) != 2:
            raise ValueError(f"params[{name!r}]: expected two axes, got shape {shapes[name]}")
    w_ih, w_hh = shapes[first[0]], shapes[first[-1]]
    proj_size, hidden_size = 0, w_hh[1]
    if maps is not None:
        hidden_size = max(1, w_ih[0] // max(1, sum(entry["x"] for entry in maps)))
    if "weight_hr_l0" in parameters:
        if kind != "LSTM" or len(shapes["weight_hr_l0"]) != 2:
            raise ValueError(
                "params['weight_hr_l0']: expected a projection (P, H) of an LSTM, got shape "
                f"{shapes['weight_hr_l0']} of {kind}"
            )
        proj_size, hidden_size = shapes["weight_hr_l0"]
    config = {
        "input_size": w_ih[1],
        "hidden_size": hidden_size,
        "num_layers": sum(f"weight_ih_l{n}" in parameters for n in range(len(parameters))),
        "bias": "bias_ih_l0" in parameters,
        "bidirectional": "weight_ih_l0_reverse" in parameters,
        "dtype": dtypes["weight_ih_l0"],
        **options,
    }
    if kind == "LSTM":
        config |= {"proj_size": proj_size, "forget_gate": w_hh[0] != 3 * hidden_size}
    if config["dtype"] not in ("float32", "float64"):
        raise TypeError(f"params: expected float32 or float64 arrays, got {config['dtype']}")
    found = tuple(sorted(config.items()))
    expected = template(kind, found)._shapes
    if shapes.keys() != expected.keys():
        raise ValueError(
            f"params: expected the keys {list(expected)}, got missing keys "
            f"{[k for k in expected if k not in shapes]}, unexpected keys "
            f"{[k for k in shapes if k not in expected]}"
        )
    for name, shape in expected.items():
        if shapes[name] != shape:
            raise ValueError(f"params[{name!r}]: expected shape {shape}, got {shapes[name]}")
        if dtypes[name] != config["dtype"]:
            raise TypeError(f"params[{name!r}]: expected {config['dtype']}, got {dtypes[name]}")
    return found
