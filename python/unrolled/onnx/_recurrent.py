"""One LSTM, GRU or RNN node: its attributes, its inputs, and who computes it.

The kernels compute a node that is one of our cells under another name. A node with peepholes,
``clip``, ``input_forget`` or other activations goes to the plain loop of `reference._onnx_cells`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._arguments import Array
from .._modules import GRU, LSTM, RNN, RecurrentNet
from ..reference import _onnx_cells as plain
from ..reference._onnx_functions import FORMULAS, Activation
from ._budget import Budget

# Nanoseconds of a step by itself.
STEP = 1000


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
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
NAMES = {name.lower(): name for name in FORMULAS}
KERNEL_NONLINEARITIES = {"Tanh": "tanh", "Relu": "relu", "Sigmoid": "sigmoid"}


def reordered(a: Array, order: Sequence[int]) -> Array:
    """Blocks of rows of `a` (G*H, ...) in another order."""
    blocks = a.reshape(len(order), -1, *a.shape[1:])
    return np.concatenate([blocks[index] for index in order])


def onnx_order(order: Sequence[int]) -> tuple[int, ...]:
    """The way back of `reordered`."""
    return tuple(order.index(n) for n in range(len(order)))


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
    activations: tuple[tuple[Activation, ...], ...]
    clip: float | None
    input_forget: bool
    linear_before_reset: bool
    # Made by `prepare` where the weights are constants.
    prepared: RecurrentNet[Any] | None = field(default=None, repr=False)

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
            read_activations(name, op, attributes, len(reverse)),
            clip,
            bool(attributes.get("input_forget", 0)),
            bool(attributes.get("linear_before_reset", 0)),
        )

    @property
    def kind(self) -> Kind:
        return KINDS[self.op]

    def unlike_kernels(self, peepholes: Array | None) -> str | None:
        """What the kernels cannot compute of it, or None."""
        if self.clip is not None:
            return "clip"
        if self.input_forget:
            return "input_forget"
        # Peepholes of zeros are none, and exporters write them.
        if peepholes is not None and peepholes.any():
            return "P"
        names = {tuple(function.name for function in each) for each in self.activations}
        usual = (
            {(name,) for name in KERNEL_NONLINEARITIES}
            if self.op == "RNN"
            else {self.kind.defaults}
        )
        return None if len(names) == 1 and names <= usual else "activations"

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

    def network(self, w: Array, r: Array, b: Array | None) -> RecurrentNet[Any]:
        """A network of ours with these parameters. One direction, backwards, is made forward."""
        options: dict[str, Any] = {
            "bias": b is not None,
            "bidirectional": len(self.reverse) == 2,
            "dtype": w.dtype,
            "seed": 0,
        }
        hidden, inputs = r.shape[2], w.shape[2]
        net: RecurrentNet[Any]
        if self.op == "LSTM":
            net = LSTM(inputs, hidden, **options)
        elif self.op == "GRU":
            net = GRU(inputs, hidden, reset_after=self.linear_before_reset, **options)
        else:
            nonlinearity = KERNEL_NONLINEARITIES[self.activations[0][0].name]
            net = RNN(inputs, hidden, nonlinearity=nonlinearity, **options)
        net.load_state_dict(self.parameters(w, r, b))
        return net

    def parameters(self, w: Array, r: Array, b: Array | None, layer: int = 0) -> dict[str, Array]:
        """Under our names, in our order of gates."""
        found: dict[str, Array] = {}
        order = self.kind.order
        for direction in range(len(self.reverse)):
            suffix = f"l{layer}{'_reverse' if direction else ''}"
            found[f"weight_ih_{suffix}"] = reordered(w[direction], order)
            found[f"weight_hh_{suffix}"] = reordered(r[direction], order)
            if b is not None:
                wb, rb = np.split(b[direction], 2)
                found[f"bias_ih_{suffix}"] = reordered(wb, order)
                found[f"bias_hh_{suffix}"] = reordered(rb, order)
        return found

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
        """Make the network once, of what `check` has passed, if there is one."""
        if self.unlike_kernels(peepholes) is not None:
            return
        w, r, b = self.weights(values)
        budget.network(self.name, (w, r, b))
        self.prepared = self.network(w, r, b)

    def __call__(self, values: Sequence[Array | None], budget: Budget) -> list[Array]:
        """Y, Y_h and, of an LSTM, Y_c."""
        inputs = self._checked(values)
        steps, batch = inputs.x.shape[:2]
        directions, rows, hidden = inputs.r.shape
        # Steps take time even where there is no row.
        budget.spend("", steps * STEP)
        each = rows / hidden * (inputs.w.shape[2] + hidden) / 2
        budget.room((steps, batch, directions * hidden), inputs.x.dtype, each)
        if self.unlike_kernels(inputs.p) is None:
            y, states = self._by_kernels(inputs)
        else:
            y, states = self._by_loop(inputs)
        if inputs.lengths is not None:
            # A row of no steps has no last output: zeros, as ONNX Runtime gives.
            none = (inputs.lengths == 0)[:, None]
            states = tuple(np.where(none, np.zeros_like(a), a) for a in states)
        # y is (T, D, B, H) by now.
        if self.batch_first:
            y = y.transpose(2, 0, 1, 3)
            states = tuple(a.swapaxes(0, 1) for a in states)
        return [np.ascontiguousarray(a) for a in (y, *states)]

    def _by_kernels(self, inputs: Inputs) -> tuple[Array, tuple[Array, ...]]:
        net = self.prepared or self.network(inputs.w, inputs.r, inputs.b)
        x, lengths = inputs.x, inputs.lengths
        steps, batch = x.shape[:2]
        backwards = self.reverse == (True,)
        if backwards:
            x = turned(x, lengths)
        state = inputs.states if len(inputs.states) == 2 else inputs.states[0]
        y, state = net(x, state, lengths=lengths)
        if backwards:
            y = turned(y, lengths)
        y = y.reshape(steps, batch, len(self.reverse), net.hidden_size).swapaxes(1, 2)
        return y, state if isinstance(state, tuple) else (state,)

    def _by_loop(self, inputs: Inputs) -> tuple[Array, tuple[Array, ...]]:
        x, lengths = inputs.x, inputs.lengths
        steps, batch = x.shape[:2]
        if lengths is None:
            lengths = np.full(batch, steps)
        ys, finals = [], []
        for direction, reverse in enumerate(self.reverse):
            rows = inputs.w.shape[1]
            b = np.zeros(2 * rows, dtype=x.dtype) if inputs.b is None else inputs.b[direction]
            wb, rb = np.split(b, 2)
            p = None if inputs.p is None else inputs.p[direction]
            weights = plain.Weights(inputs.w[direction], inputs.r[direction], wb, rb, p)
            initial = tuple(a[direction] for a in inputs.states)
            cell = self._cell(self.activations[direction])
            y, final = plain.run(cell, weights, x, initial, lengths, reverse=reverse)
            ys.append(y)
            finals.append(final)
        states = tuple(np.stack(parts) for parts in zip(*finals, strict=True))
        return np.stack(ys, axis=1), states

    def _cell(self, functions: tuple[Activation, ...]) -> plain.Cell:
        if self.op == "LSTM":
            f, g, h = functions
            return plain.LSTMCell(f, g, h, self.clip, self.input_forget)
        if self.op == "GRU":
            f, g = functions
            return plain.GRUCell(f, g, self.clip, self.linear_before_reset)
        return plain.RNNCell(functions[0], self.clip)

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


def read_activations(
    name: str, op: str, attributes: dict[str, Any], directions: int
) -> tuple[tuple[Activation, ...], ...]:
    """The functions of each direction.

    ``activation_alpha`` and ``activation_beta`` are consumed in the order of the functions, by
    those that take such a constant. Names count whatever their case, as exporters differ there.
    """
    usual = KINDS[op].defaults
    given = attributes.get("activations")
    # The RNN's default in the standard is a list for two directions, whatever the direction.
    if given is None or (op == "RNN" and directions == 1 and given == ["Tanh", "Tanh"]):
        given = usual * directions
    if len(given) != len(usual) * directions:
        raise ValueError(
            f"{name}: activations: expected {len(usual) * directions} names, got {list(given)}"
        )
    left = {key: list(attributes.get(f"activation_{key}") or []) for key in ("alpha", "beta")}
    functions = [_activation(name, text, left) for text in given]
    for key, values in left.items():
        if values:
            raise ValueError(
                f"{name}: activation_{key}: expected no more values than {list(given)} take, "
                f"got {values} in excess"
            )
    return tuple(tuple(functions[n : n + len(usual)]) for n in range(0, len(functions), len(usual)))


def _activation(name: str, text: str, left: dict[str, list[float]]) -> Activation:
    known = NAMES.get(text.lower())
    if known is None:
        raise ValueError(f"{name}: activations: expected names of {[*FORMULAS]}, got {text!r:.80}")
    constants = []
    for key, default in FORMULAS[known].constants.items():
        value = left[key].pop(0) if left[key] else default
        if value is None:
            raise ValueError(
                f"{name}: activation_{key}: expected a value for {known}, for which the standard "
                "has no default, got none"
            )
        constants.append(value)
    return Activation(known, tuple(constants))
