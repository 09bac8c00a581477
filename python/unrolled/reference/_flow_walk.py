"""What a tape holds, and what it was recorded from, laid out for `_flow`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import _checks as checks
from ._cells import Cell, GRUCell, LSTMCell, RNNCell, State
from ._checks import Array
from ._flow_cells import Moment
from ._network import Layout
from ._sequence import Schedule, only

# What arrays that nobody has touched may be apart: far more than a float32 network rounds.
MODIFIED = 1e-3


@dataclass(frozen=True)
class Walk:
    """One direction of one layer. Arrays are (T, B, ...) in order of time, float64.

    Attributes
    ----------
    moment : Moment
        Every step; past a row's end numbers without meaning.
    schedule : Schedule
        Which order a row's steps are made in.
    connected : bool array (T, B)
        Whether the state after the step depends on the state before it.
    """

    cell: Cell
    moment: Moment
    schedule: Schedule
    live: Array
    connected: Array
    reverse: bool
    unbatched: bool
    dtype: np.dtype[Any]

    @property
    def batch(self) -> int:
        return int(self.live.shape[1])

    @property
    def columns(self) -> tuple[int, ...]:
        """Where in s the arrays of the state end."""
        return tuple(np.cumsum(self.cell.state_sizes).tolist())

    @property
    def size(self) -> int:
        """S."""
        return sum(self.cell.state_sizes)

    def between(self, t: Any, k: Any) -> list[int]:
        """The times whose Jacobians lead from s_k to s_t, the last first."""
        steps = len(self.live)
        t, k = (checks.integer(name, at, at_least=0) for name, at in (("t", t), ("k", k)))
        if t >= steps:
            raise ValueError(f"t: expected less than T = {steps}, got {t}")
        if self.reverse:
            if not t <= k < steps:
                raise ValueError(f"k: expected t = {t} <= k < T = {steps} in reverse, got {k}")
            return list(range(t, k))
        if k > t:
            raise ValueError(f"k: expected 0 <= k <= t = {t}, got {k}")
        return list(range(t, k, -1))

    def both_live(self, t: int, k: int) -> Array:
        """Which rows have a state at both times."""
        return np.asarray(self.live[t] & self.live[k])

    def vectors(self, name: str, value: Any) -> Array:
        """(m, B, S), from what the user gave."""
        found = checks.array(name, value, self.dtype)
        axes, shape = ("S", (self.size,)) if self.unbatched else ("B, S", (self.batch, self.size))
        if found.ndim not in (len(shape), len(shape) + 1) or found.shape[-len(shape) :] != shape:
            raise ValueError(
                f"{name}: expected shape ({axes}) or (m, {axes}) with ({axes}) = {shape}, "
                f"got {found.shape}"
            )
        return found.reshape(-1, self.batch, self.size).astype(np.float64)

    def like(self, value: Any, vectors: Array) -> Array:
        return vectors.reshape(checks.array("v", value, None).shape).astype(self.dtype)

    def outside(self, a: Array) -> Array:
        """(T, B, ...) as the user sees it."""
        return a[:, 0] if self.unbatched else a

    def outside_row(self, a: Array) -> Array:
        """(B, ...) as the user sees it."""
        return a[0] if self.unbatched else a


@dataclass(frozen=True)
class Whole:
    """All layers and directions, ordered as in the state."""

    walks: list[Walk]
    layers: int
    directions: int
    layout: Layout
    dropout: bool
    outputs: int

    def index(self, layer: Any, reverse: Any) -> int:
        """Of a layer and direction, in `walks`."""
        layer = checks.integer("layer", layer, at_least=0)
        if layer >= self.layers:
            raise ValueError(f"layer: expected less than num_layers = {self.layers}, got {layer}")
        if checks.flag("reverse", reverse) and self.directions == 1:
            raise ValueError("reverse: expected False for a network of one direction, got True")
        return int(layer * self.directions + reverse)

    def check_dy(self, dy: Any) -> Array:
        """(T, B, D*H), float64, zero past the rows' ends."""
        walk = self.walks[0]
        steps, batch = walk.live.shape
        found = checks.array("dy", dy, walk.dtype)
        shape = self.layout.shape(steps, batch, self.outputs)
        checks.shaped("dy", found, f"({self.layout.axes}, directions*H)", shape)
        return only(walk.live, self.layout.inside(found).astype(np.float64))


def walk_of(tape: Any, layer: Any, reverse: Any) -> Walk:
    """One layer and direction of a tape."""
    whole = tape_of(tape)
    return whole.walks[whole.index(layer, reverse)]


def tape_of(tape: Any) -> Whole:
    """All of a tape.

    Raises
    ------
    TypeError
        If it is not a tape, or one of a formula, whose steps nothing here knows.
    ValueError
        If it has checkpoints, the network's parameters have changed since, or what it was recorded
        from has.
    """
    from .._tape import Tape as FastTape

    if not isinstance(tape, FastTape):
        raise TypeError(f"tape: expected a Tape made by `record`, got {checks.kind(tape)}")
    net, given = tape._net, tape._given
    if not net._has_gates:
        raise TypeError(f"tape: expected one of an LSTM, GRU or RNN, got one of {net!r}")
    steps, batch = tape._native.shape
    layout = Layout(net.batch_first, tape._native.unbatched)
    hidden = _every(tape.hidden, layout)
    gates = _every(tape.gates, layout)
    outputs = net.num_directions * net._sizes.states[0]
    # Only the way back knows whether the parameters are still those.
    tape.backward(np.zeros(layout.shape(steps, batch, outputs), dtype=net.dtype), truncate=0)

    afters: list[State] = [(h,) for h in hidden]
    if len(net._sizes.states) > 1:
        afters = list(zip(hidden, _every(tape.cell, layout), strict=True))
    initial = _initial(given.state, net, batch, layout)
    x = layout.inside(checks.array("x", given.x, net.dtype)).astype(np.float64)
    lengths = given.lengths
    lengths = np.full(batch, steps) if lengths is None else checks.lengths(lengths, steps, batch)
    resets = np.zeros((steps, batch), dtype=bool)
    if given.resets is not None:
        resets = layout.inside(checks.array("resets", given.resets, np.bool_))

    cell = _cell(net)
    parameters = {name: a.astype(np.float64) for name, a in net.state_dict().items()}
    walks: list[Walk] = []
    signal = x
    for layer in range(net.num_layers):
        for reverse in (False, True)[: net.num_directions]:
            index = len(walks)
            tail = f"_l{layer}" + ("_reverse" if reverse else "")
            schedule = Schedule.make(lengths, resets, reverse=reverse)
            moment = Moment(
                {
                    name.removesuffix(tail): a
                    for name, a in parameters.items()
                    if name.endswith(tail)
                },
                signal,
                _before(afters[index], tuple(a[index] for a in initial), schedule),
                afters[index],
                dict(zip(cell.gates, np.moveaxis(gates[index], -2, 0), strict=True)),
            )
            live, cut = schedule.reorder(schedule.live), schedule.reorder(schedule.cut)
            if layer == 0:
                _check_unmodified(cell, moment, live)
            walks.append(
                Walk(
                    cell,
                    moment,
                    schedule,
                    live,
                    live & ~cut,
                    reverse,
                    layout.unbatched,
                    net.dtype,
                )
            )
        # With dropout between, the layer above has read something else: it is not used then.
        signal = np.concatenate([w.moment.after[0] for w in walks[-net.num_directions :]], axis=-1)
    return Whole(walks, net.num_layers, net.num_directions, layout, given.dropout, outputs)


def _every(value: Any, layout: Layout) -> list[Array]:
    """A quantity of the tape: (T, B, ...) of each layer and direction."""
    arrays = value if isinstance(value, tuple) else (value,)
    return [(a[:, None] if layout.unbatched else a).astype(np.float64) for a in arrays]


def _initial(state: Any, net: Any, batch: int, layout: Layout) -> State:
    sizes = net._sizes
    if state is None:
        return tuple(np.zeros((sizes.cells, batch, n)) for n in sizes.states)
    parts = state if len(sizes.states) > 1 else (state,)
    arrays = [checks.array("state", a, net.dtype) for a in parts]
    return tuple((a[:, None] if layout.unbatched else a).astype(np.float64) for a in arrays)


def _before(after: State, initial: State, schedule: Schedule) -> State:
    """What entered each step: what the step made before it left, the initial state, or zeros."""
    parts = []
    for a, first in zip(after, initial, strict=True):
        left = schedule.reorder(a)
        entering = np.concatenate([first[None], left[:-1]])[: len(left)]
        parts.append(schedule.reorder(only(~schedule.cut & schedule.live, entering)))
    return tuple(parts)


def _cell(net: Any) -> Cell:
    from .._modules import GRU, LSTM

    if isinstance(net, LSTM):
        return LSTMCell(net.hidden_size, net.proj_size, net.forget_gate)
    if isinstance(net, GRU):
        return GRUCell(net.hidden_size, net.reset_after)
    return RNNCell(net.hidden_size, net.nonlinearity)


def _check_unmodified(cell: Cell, m: Moment, live: Array) -> None:
    """Whether x and the state still lead to the gates that the tape holds."""
    x = only(live, m.x)
    flat = [a.reshape(-1, a.shape[-1]) for a in (x, *m.before)]
    step = cell.step(m.p, flat[0], tuple(flat[1:]))
    for (name, held), now in zip(m.gates.items(), step.gates, strict=True):
        now = now.reshape(held.shape)
        same = np.isclose(held, now, rtol=MODIFIED, atol=MODIFIED, equal_nan=True)
        if not same[live].all():
            raise ValueError(
                "tape: expected x, state, lengths and resets as they were when it was recorded, "
                f"got others: they lead to another {name}"
            )
