"""One LSTM, GRU or RNN node: its attributes, its inputs, and the networks that compute it.

A node that is one of our cells under another name becomes that. One with peepholes, ``clip``,
``input_forget`` or other activations becomes a formula (`cells._standard`), which the kernels run
all the same. The plain loop of `reference._onnx_cells` judges both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .._arguments import Array
from .._modules import RecurrentNet
from ..cells._activations import Function
from ..cells._standard import Standard
from ._budget import Budget
from ._functions import read_functions

# Nanoseconds: of a step by itself; of a gate's number, beside its products; of a formula, to trace
# and compile it (measured are 2 to 5 ms). And its bytes, of which 18 KB are measured.
STEP, GATE, COMPILING, COMPILED = 1000, 32, 5 << 20, 1 << 15


@dataclass(frozen=True)
class Kind:
    """What tells the three operators apart."""

    gates: int
    defaults: tuple[str, ...]
    states: tuple[str, ...]
    # Where the rows of our gates, in our order, stand among ONNX's.
    order: tuple[int, ...]


KINDS = {
    # ONNX i, o, f, c; ours i, f, g, o.
    "LSTM": Kind(4, ("Sigmoid", "Tanh", "Tanh"), ("h", "c"), (0, 2, 3, 1)),
    # ONNX z, r, h; ours r, z, n.
    "GRU": Kind(3, ("Sigmoid", "Tanh"), ("h",), (1, 0, 2)),
    "RNN": Kind(1, ("Tanh",), ("h",), (0,)),
}
# What of peepholes, i, o, f in ONNX's order, i, f, o in ours, stands where; of a gate f that is
# 1 - i there is nothing.
PEEPHOLES, COUPLED, COUPLED_PEEPHOLES = (0, 2, 1), (0, 3, 1), (0, 1)
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def reordered(a: Array, order: Sequence[int], gates: int | None = None) -> Array:
    """Blocks of rows of `a` (G*H, ...) in another order, or those of them that are in it."""
    blocks = a.reshape(gates or len(order), -1, *a.shape[1:])
    return np.concatenate([blocks[index] for index in order])


def placed(a: Array, order: Sequence[int], gates: int) -> Array:
    """The way back of `reordered`: blocks of rows of `a` where they were, the others zero."""
    blocks = a.reshape(len(order), -1, *a.shape[1:])
    found = np.zeros((gates, *blocks.shape[1:]), a.dtype)
    found[list(order)] = blocks
    return found.reshape(-1, *a.shape[1:])


@dataclass(frozen=True)
class Inputs:
    """The inputs of a node, checked, time first: x (T, B, I), each state (D, B, H)."""

    x: Array
    w: Array
    r: Array
    b: Array | None
    p: Array | None
    lengths: Array | None
    states: tuple[Array, ...]


@dataclass
class Recurrence:
    """The attributes of a node, checked and understood."""

    name: str
    op: str
    reverse: tuple[bool, ...]
    hidden_size: int | None
    batch_first: bool
    activations: tuple[tuple[Function, ...], ...]
    clip: float | None
    input_forget: bool
    linear_before_reset: bool
    # Made by `prepare` where the weights are constants.
    prepared: list[RecurrentNet[Any]] = field(default_factory=list, repr=False)

    @classmethod
    def read(cls, name: str, op: str, attributes: dict[str, Any]) -> Recurrence:
        """From the attributes of a node, defaults included."""
        direction = attributes.get("direction", "forward")
        if direction not in DIRECTIONS:
            raise ValueError(
                f"{name}: direction: expected one of {[*DIRECTIONS]}, got {direction!r:.80}"
            )
        reverse = DIRECTIONS[direction]
        clip = attributes.get("clip")
        if clip is not None and not clip > 0:
            raise ValueError(f"{name}: clip: expected a threshold > 0, got {clip}")
        hidden_size = attributes.get("hidden_size")
        if hidden_size is not None and hidden_size < 1:
            raise ValueError(f"{name}: hidden_size: expected at least 1, got {hidden_size}")
        for flag in ("layout", "input_forget", "linear_before_reset"):
            if attributes.get(flag, 0) not in (0, 1):
                raise ValueError(f"{name}: {flag}: expected 0 or 1, got {attributes[flag]}")
        return cls(
            name,
            op,
            reverse,
            hidden_size,
            bool(attributes.get("layout", 0)),
            read_functions(name, KINDS[op].defaults, attributes, len(reverse)),
            None if clip == math.inf else clip,
            bool(attributes.get("input_forget", 0)),
            bool(attributes.get("linear_before_reset", 0)),
        )

    @property
    def kind(self) -> Kind:
        return KINDS[self.op]

    @property
    def computed(self) -> tuple[Any, ...]:
        """What layers of one network have in common."""
        each = (self.clip, self.input_forget, self.linear_before_reset)
        return self.op, self.reverse, self.activations, each

    @property
    def alike(self) -> bool:
        """Whether one cell computes both directions."""
        return len({*self.activations}) == 1

    def halves(self) -> list[Recurrence]:
        """Itself, or its directions where they need cells of their own."""
        if self.alike:
            return [self]
        return [
            replace(self, reverse=(reverse,), activations=(functions,))
            for reverse, functions in zip(self.reverse, self.activations, strict=True)
        ]

    def cell(self, peepholes: bool) -> Standard:
        """What the kernels are asked for; of one direction or of both, if they are `alike`."""
        return Standard(
            self.op,
            self.activations[0],
            clip=self.clip,
            coupled=self.input_forget,
            peepholes=peepholes,
            reset_after=self.linear_before_reset,
        )

    def weights(self, values: Sequence[Array | None]) -> tuple[Array, Array, Array | None]:
        """W, R, B, checked against one another and against the attributes."""
        w, r, b = (*values, None, None, None)[:3]
        if w is None or r is None:
            raise ValueError(f"{self.name}: expected the inputs X, W and R, got an empty name")
        rows, directions = self.kind.gates, len(self.reverse)
        hidden = self.hidden_size
        if hidden is None:
            # Without the attribute, R says it.
            hidden = r.shape[-1] if r.ndim == 3 else 0
        if w.ndim != 3 or w.shape[:2] != (directions, rows * hidden) or not w.size:
            what = f"({directions}, {rows}*hidden_size, input_size) with hidden_size = {hidden}"
            raise ValueError(f"{self.name}: W: expected shape {what}, got {w.shape}")
        self._shaped("R", r, (directions, rows * hidden, hidden))
        if b is not None:
            self._shaped("B", b, (directions, 2 * rows * hidden))
        return w, r, b

    def networks(
        self, w: Array, r: Array, b: Array | None, p: Array | None
    ) -> list[RecurrentNet[Any]]:
        """With these parameters, one of each of the `halves`."""
        found = []
        halves = self.halves()
        for n, half in enumerate(halves):
            own = slice(None) if len(halves) == 1 else slice(n, n + 1)
            own_b, own_p = (None if a is None else a[own] for a in (b, p))
            net = half.cell(p is not None).network(
                w.shape[2],
                r.shape[2],
                bias=b is not None,
                # One direction, backwards, is made forward.
                bidirectional=len(half.reverse) == 2,
                dtype=w.dtype,
            )
            net.load_state_dict(half.parameters(w[own], r[own], own_b, own_p))
            found.append(net)
        return found

    def parameters(
        self, w: Array, r: Array, b: Array | None, p: Array | None, layer: int = 0
    ) -> dict[str, Array]:
        """Under our names, in our order of gates."""
        found: dict[str, Array] = {}
        gates = self.kind.gates
        order = COUPLED if self.input_forget else self.kind.order
        for direction in range(len(self.reverse)):
            suffix = f"l{layer}{'_reverse' if direction else ''}"
            found[f"weight_ih_{suffix}"] = reordered(w[direction], order, gates)
            found[f"weight_hh_{suffix}"] = reordered(r[direction], order, gates)
            if b is not None:
                wb, rb = np.split(b[direction], 2)
                found[f"bias_ih_{suffix}"] = reordered(wb, order, gates)
                found[f"bias_hh_{suffix}"] = reordered(rb, order, gates)
            if p is not None:
                peepholes = COUPLED_PEEPHOLES if self.input_forget else PEEPHOLES
                found[f"weight_p_{suffix}"] = reordered(p[direction], peepholes, 3)
        return found

    def compiling(self, peepholes: bool, budget: Budget) -> None:
        """Take from the budget what there is to compile, of a network of any number of layers."""
        if self.cell(peepholes).formula is not None:
            count = len(self.halves())
            budget.spend(self.name, count * COMPILING)
            budget.take(self.name, count * COMPILED)

    def check_state(self, index: int, a: Array, hidden: int) -> None:
        """Refuse an initial state, a constant, that fits no batch."""
        label = f"initial_{self.kind.states[index]}"
        axis = 0 if self.batch_first else 1
        shape: list[int] = [len(self.reverse), hidden]
        shape.insert(axis, a.shape[axis] if a.ndim == 3 else 1)
        self._shaped(label, a, tuple(shape))

    def check(self, values: Sequence[Array | None], peepholes: Array | None) -> None:
        """Refuse W, R, B and P, constants, that do not go together."""
        w, r, b = self.weights(values)
        for label, a in (("W", w), ("R", r), ("B", b), ("P", peepholes)):
            self._typed(label, a, w.dtype)
        if peepholes is not None:
            self._shaped("P", peepholes, (len(self.reverse), 3 * r.shape[2]))

    def prepare(
        self, values: Sequence[Array | None], peepholes: Array | None, budget: Budget
    ) -> None:
        """Make the networks once, of what `check` has passed."""
        w, r, b = self.weights(values)
        p = self.seeing(peepholes, budget)
        budget.network(self.name, (w, r, b, p))
        self.compiling(p is not None, budget)
        self.prepared = self.networks(w, r, b, p)

    def seeing(self, peepholes: Array | None, budget: Budget) -> Array | None:
        """Peepholes; those of zeros are none, and exporters write them."""
        there = peepholes is not None and budget.any(self.name, peepholes)
        return peepholes if there else None

    def __call__(self, values: Sequence[Array | None], budget: Budget) -> list[Array]:
        """Y, Y_h and, of an LSTM, Y_c."""
        inputs = self._checked(values)
        steps, batch = inputs.x.shape[:2]
        directions, rows, hidden = inputs.r.shape
        # Steps take time even where there is no row.
        budget.spend("", steps * STEP)
        each = rows / hidden * ((inputs.w.shape[2] + hidden) / 2 + GATE)
        budget.room((steps, batch, directions * hidden), inputs.x.dtype, each)
        nets = self.prepared
        if not nets:
            p = self.seeing(inputs.p, budget)
            self.compiling(p is not None, budget)
            nets = self.networks(inputs.w, inputs.r, inputs.b, p)
        y, states = self._run(nets, inputs)
        if inputs.lengths is not None:
            # A row of no steps has no last output: zeros, as ONNX Runtime gives.
            none = (inputs.lengths == 0)[:, None]
            states = tuple(np.where(none, np.zeros_like(a), a) for a in states)
        # y is (T, D, B, H) by now.
        if self.batch_first:
            y = y.transpose(2, 0, 1, 3)
            states = tuple(a.swapaxes(0, 1) for a in states)
        return [np.ascontiguousarray(a) for a in (y, *states)]

    def _run(
        self, nets: list[RecurrentNet[Any]], inputs: Inputs
    ) -> tuple[Array, tuple[Array, ...]]:
        """Every half by its network: y (T, D, B, H), and each state (D, B, H)."""
        steps, batch = inputs.x.shape[:2]
        ys, finals = [], []
        for n, (half, net) in enumerate(zip(self.halves(), nets, strict=True)):
            own = slice(None) if len(nets) == 1 else slice(n, n + 1)
            backwards = half.reverse == (True,)
            x = turned(inputs.x, inputs.lengths) if backwards else inputs.x
            state = tuple(a[own] for a in inputs.states)
            y, final = net(x, state if len(state) == 2 else state[0], lengths=inputs.lengths)
            if backwards:
                y = turned(y, inputs.lengths)
            shape = (steps, batch, len(half.reverse), net.hidden_size)
            ys.append(y.reshape(shape).swapaxes(1, 2))
            finals.append(final if isinstance(final, tuple) else (final,))
        if len(nets) == 1:
            return ys[0], finals[0]
        states = tuple(np.concatenate(parts) for parts in zip(*finals, strict=True))
        return np.concatenate(ys, axis=1), states

    def _checked(self, values: Sequence[Array | None]) -> Inputs:
        count = 8 if self.op == "LSTM" else 6
        if len(values) > count:
            raise ValueError(f"{self.name}: expected at most {count} inputs, got {len(values)}")
        padded: list[Array | None] = [*values, None, None, None, None, None]
        x, w, r, b, lengths, h, c, p = padded[:8]
        w, r, b = self.weights((w, r, b))
        hidden, directions = r.shape[2], len(self.reverse)
        if x is None or x.ndim != 3 or x.shape[2] != w.shape[2]:
            axes = "batch_size, seq_length" if self.batch_first else "seq_length, batch_size"
            got = None if x is None else x.shape
            raise ValueError(f"{self.name}: X: expected shape ({axes}, {w.shape[2]}), got {got}")
        for label, a in (("X", x), ("W", w), ("R", r), ("B", b), ("initial_h", h)):
            self._typed(label, a, x.dtype)
        x = x.swapaxes(0, 1) if self.batch_first else x
        steps, batch = x.shape[:2]
        states = []
        for state, value in zip(self.kind.states, (h, c), strict=False):
            label = f"initial_{state}"
            if value is None:
                value = np.zeros((directions, batch, hidden), dtype=x.dtype)
            elif self.batch_first:
                self._shaped(label, value, (batch, directions, hidden))
                value = value.swapaxes(0, 1)
            self._typed(label, value, x.dtype)
            states.append(self._shaped(label, value, (directions, batch, hidden)))
        if p is not None:
            self._typed("P", p, x.dtype)
            self._shaped("P", p, (directions, 3 * hidden))
        if lengths is not None:
            if lengths.dtype != np.int32:
                raise ValueError(f"{self.name}: sequence_lens: expected int32, got {lengths.dtype}")
            self._shaped("sequence_lens", lengths, (batch,))
            if lengths.size and not (lengths.min() >= 0 and lengths.max() <= steps):
                raise ValueError(
                    f"{self.name}: sequence_lens: expected values from 0 to {steps}, got values "
                    f"from {lengths.min()} to {lengths.max()}"
                )
        return Inputs(x, w, r, b, p, lengths, tuple(states))

    def _typed(self, label: str, a: Array | None, dtype: np.dtype[Any]) -> None:
        if dtype not in (np.float32, np.float64) or (a is not None and a.dtype != dtype):
            got = dtype if a is None else a.dtype
            raise ValueError(f"{self.name}: {label}: expected float32 or float64, as X, got {got}")

    def _shaped(self, label: str, a: Array, shape: tuple[int, ...]) -> Array:
        if a.shape != shape:
            raise ValueError(f"{self.name}: {label}: expected shape {shape}, got {a.shape}")
        return a


def turned(a: Array, lengths: Array | None) -> Array:
    """Each row of a (T, B, ...) backwards up to its own length."""
    if lengths is None:
        return a[::-1]
    step = np.arange(len(a))[:, None]
    time = np.where(step < lengths, lengths - 1 - step, step)
    return np.asarray(a[time, np.arange(a.shape[1])])
