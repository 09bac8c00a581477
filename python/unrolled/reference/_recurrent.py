"""`Recurrent`: a network of a cell that is a formula. Forward calls the cell's own function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _checks as checks
from ._cells import Parameters, State
from ._checks import Array
from ._formula import Evaluation
from ._network import Network


@dataclass(frozen=True)
class FormulaStep:
    x: Array
    before: State
    after: State
    gates: tuple[Array, ...] = ()


class FormulaCell:
    """A described cell, as `_sequence` and `_network` know cells.

    Rows of ``weight_ih`` are the maps of x, rows of ``weight_hh`` those of h or of a value, in
    the order of the formula's maps; ``weight_p`` holds the parameters one after the other.
    """

    gates: tuple[str, ...] = ()

    def __init__(self, cell: Any, hidden_size: int, constants: dict[str, float]) -> None:
        self.cell, self.hidden_size = cell.with_constants(**constants), hidden_size
        self.formula = self.cell.formula()
        maps = self.formula["maps"]
        self.of_x = [k for k, m in enumerate(maps) if m["x"]]
        self.of_h = [k for k, m in enumerate(maps) if m["h"] is not None]
        self.names = [m["name"] for m in maps]
        self.p = [entry["name"] for entry in self.formula["parameters"]]

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return (self.hidden_size,) * len(self.formula["states"])

    def parameter_shapes(self, input_size: int, bias: bool) -> dict[str, tuple[int, ...]]:
        size = self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (len(self.of_x) * size, input_size)}
        if self.of_h:
            shapes["weight_hh"] = (len(self.of_h) * size, size)
        if bias:
            shapes["bias_ih"] = (len(self.of_x) * size,)
            if self.of_h:
                shapes["bias_hh"] = (len(self.of_h) * size,)
        if self.p:
            shapes["weight_p"] = (len(self.p) * size,)
        return shapes

    def _block(self, p: Parameters, side: str, slot: int) -> tuple[Array, Any]:
        """Views of one map's weight and bias; 0.0 where there is none."""
        first = (self.of_x if side == "ih" else self.of_h).index(slot) * self.hidden_size
        rows = slice(first, first + self.hidden_size)
        bias = p[f"bias_{side}"][rows] if f"bias_{side}" in p else 0.0
        return p[f"weight_{side}"][rows], bias

    def _map(self, p: Parameters, side: str, slot: int, a: Array) -> Array:
        weight, bias = self._block(p, side, slot)
        return np.asarray(a @ weight.T + bias)

    def _arrays(self, p: Parameters, x: Array, state: State) -> tuple[Any, ...]:
        """What a cell takes: maps by name, states, parameters, and maps of computed values."""
        named = {self.names[k]: k for k in self.of_h}
        from_x = {self.names[k]: self._map(p, "ih", k, x) for k in self.of_x}
        from_h = {
            self.names[k]: self._map(p, "hh", k, state[0])
            for k in self.of_h
            if self.formula["maps"][k]["h"] == "state"
        }
        rows = p["weight_p"].reshape(len(self.p), -1) if self.p else ()

        def linear(name: str, value: Any) -> Array:
            return self._map(p, "hh", named[name], np.broadcast_to(value, state[0].shape))

        return from_x, from_h, state, dict(zip(self.p, rows, strict=True)), linear

    def step(self, p: Parameters, x: Array, state: State) -> FormulaStep:
        with np.errstate(all="ignore"):
            found = self.cell.step(*self._arrays(p, x, state))
        after = tuple(np.broadcast_to(a, state[0].shape).astype(state[0].dtype) for a in found)
        return FormulaStep(x, state, after)

    def evaluate(self, p: Parameters, x: Array, state: State) -> Evaluation:
        """The same step by the formula."""
        with np.errstate(all="ignore"):
            values = self.cell.values(*self._arrays(p, x, state))
        like = state[0]
        return Evaluation(self.formula, [np.asarray(v, like.dtype) for v in values], like.shape)

    def step_backward(
        self, p: Parameters, step: FormulaStep, d_after: State, d_p: Parameters
    ) -> tuple[Array, State]:
        def owed(side: str, slot: int, a: Array, d_out: Array) -> Array:
            weight, _ = self._block(p, side, slot)
            d_weight, d_bias = self._block(d_p, side, slot)
            d_weight += d_out.T @ a
            if f"bias_{side}" in d_p:
                d_bias += d_out.sum(axis=0)
            return np.asarray(d_out @ weight)

        evaluation = self.evaluate(p, step.x, step.before)
        d_slots, d_states, d_units = evaluation.backward(
            d_after, lambda slot, value, d_slot: owed("hh", slot, value, d_slot)
        )
        if self.p:
            d_p["weight_p"] += np.concatenate(d_units)
        for k in self.of_h:
            if self.formula["maps"][k]["h"] == "state":
                d_states[0] = d_states[0] + owed("hh", k, step.before[0], d_slots[k])
        d_x = np.zeros_like(step.x)
        for k in self.of_x:
            d_x = d_x + owed("ih", k, step.x, d_slots[k])
        return d_x, tuple(d_states)


class Recurrent(Network):
    """A network of a cell of `unrolled.cell`, any number of layers, one or two directions.

    Parameters
    ----------
    cell : unrolled.cells.Cell
    input_size, hidden_size : int
        I and H.
    others
        As for `LSTM`.
    **constants : float
        Other values of the cell's constants.

    Notes
    -----
    Parameters are ``weight_ih_l0`` (one block of H rows for each map of x), ``weight_hh_l0`` (of h
    and of computed values; absent where there are none), ``bias_ih_l0``, ``bias_hh_l0``, and
    ``weight_p_l0`` (P*H,), which begins at the cell's first values.
    """

    def __init__(
        self,
        cell: Any,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = "float64",
        seed: int | None = None,
        **constants: float,
    ) -> None:
        if not (hasattr(cell, "formula") and hasattr(cell, "step")):
            raise TypeError(f"cell: expected a cell of unrolled.cell, got {checks.kind(cell)}")
        input_size = checks.integer("input_size", input_size, at_least=1)
        hidden_size = checks.integer("hidden_size", hidden_size, at_least=1)
        given = FormulaCell(cell, hidden_size, constants)
        super().__init__(
            given,
            input_size,
            num_layers,
            bias=bias,
            batch_first=batch_first,
            dropout=dropout,
            bidirectional=bidirectional,
            dtype=dtype,
            seed=seed,
        )
        biases = given.formula["bias"]
        if biases and not self.bias:
            raise ValueError(f"bias: expected True, for the cell begins with {biases}, got False")
        given.cell.first_values(hidden_size, self._parameters)
