"""A few rows and the last steps of them, with the states that led there: what is quick to study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arguments import Array
from .._tape import Tape

# Steps at a time on the way to a window, so that memory does not grow with T.
CHUNK = 4096


def recurrent_weight(net: Any, layer: int, reverse: bool = False) -> str:
    """The name of ``weight_hh``; of ``weight_ih`` where a cell has no map of h."""
    suffix = f"_l{layer}" + ("_reverse" if reverse else "")
    name = f"weight_hh{suffix}"
    return name if name in net._shapes else f"weight_ih{suffix}"


@dataclass(frozen=True)
class Sequences:
    """Rows of data as they came, the time axis first."""

    net: Any
    x: Array
    lengths: Array
    resets: Array
    # h, for an LSTM and c: (cells, B, ...) each.
    state: tuple[Array, ...]

    @classmethod
    def of(
        cls, net: Any, x: Array, lengths: Any = None, resets: Any = None, state: Any = None
    ) -> Sequences:
        """From what `record` takes: with `batch_first` or without a batch."""
        unbatched = x.ndim == 2
        x = inside(net, x)
        steps, batch = x.shape[:2]
        if lengths is None:
            lengths = np.full(batch, steps)
        if resets is None:
            resets = np.zeros((steps, batch), np.bool_)
        else:
            resets = inside(net, resets, features=False)
        if state is None:
            sizes = net._sizes
            parts = tuple(np.zeros((sizes.cells, batch, n), net.dtype) for n in sizes.states)
        else:
            parts = cells(state)
            parts = tuple(a[:, None] for a in parts) if unbatched else parts
        return cls(net, x, np.asarray(lengths), resets, parts)

    def rows(self, chosen: Array) -> Sequences:
        """Only those, in that order."""
        return Sequences(
            self.net,
            self.x[:, chosen],
            self.lengths[chosen],
            self.resets[:, chosen],
            tuple(a[:, chosen] for a in self.state),
        )

    def longest(self, count: int) -> Array:
        """So many rows: the longest, and among equals spread evenly."""
        top = int(self.lengths.max(initial=0))
        full = np.flatnonzero(self.lengths == top)
        if len(full) >= count:
            spread = np.linspace(0, len(full) - 1, count).round().astype(int)
            return np.asarray(full[spread])
        order = np.argsort(-self.lengths, kind="stable")[:count]
        # A row of half the length would leave the far half of every picture empty.
        return np.sort(order[2 * self.lengths[order] > top])

    def stretches(self) -> tuple[Array, Array]:
        """First step and end of each row's longest episode."""
        starts, stops = np.zeros(len(self.lengths), int), self.lengths.astype(int)
        for row, length in enumerate(stops.tolist()):
            cuts = np.flatnonzero(self.resets[:length, row])
            edges = np.unique(np.concatenate([[0], cuts, [length]]))
            if len(edges) > 1:
                longest = int(np.argmax(np.diff(edges)))
                starts[row], stops[row] = edges[longest], edges[longest + 1]
        return starts, stops

    def window(self, starts: Array, stops: Array) -> Window:
        """Steps starts[b] to stops[b] of every row, as they would be in the whole."""
        steps = int((stops - starts).max(initial=0))
        x = np.zeros((steps, *self.x.shape[1:]), self.x.dtype)
        resets = np.zeros((steps, len(starts)), np.bool_)
        for row, (start, stop) in enumerate(zip(starts, stops, strict=True)):
            x[: stop - start, row] = self.x[start:stop, row]
            resets[: stop - start, row] = self.resets[start:stop, row]
        state = self._states(starts, stops)
        return Window(self.net, x, state, stops - starts, resets, starts, stops)

    def _states(self, starts: Array, stops: Array) -> Any:
        """What enters the windows, from before for one direction, from behind for the other."""
        net = self.net
        state = self.state if len(self.state) > 1 else self.state[0]
        if not starts.any() and (stops == self.lengths).all():
            return state
        if net.bidirectional:
            return self._recorded_states(starts, stops)
        for offset in range(0, int(starts.max(initial=0)), CHUNK):
            part = slice(offset, offset + CHUNK)
            x = self.x[part]
            # A row that has reached its window hands its state on.
            lengths = np.clip(starts - offset, 0, len(x))
            _, state = net(
                outside(net, x),
                state,
                lengths=lengths,
                resets=outside(net, self.resets[part]),
            )
        return state

    def _recorded_states(self, starts: Array, stops: Array) -> Any:
        """From every step of both directions, for neither can be run without the other."""
        net = self.net
        whole = Window(
            net, self.x, self._states(np.zeros_like(starts), self.lengths), self.lengths,
            self.resets, np.zeros_like(starts), self.lengths,
        )  # fmt: skip
        _, tape = whole.record()
        every = [cells(tape.hidden)]
        if len(net._sizes.states) > 1:
            every.append(cells(tape.cell))
        rows = np.arange(len(starts))
        behind = np.minimum(stops, len(self.resets) - 1)
        cut = (stops < self.lengths) & self.resets[behind, rows]
        found = []
        for arrays, initial in zip(every, self.state, strict=True):
            entering = np.empty_like(initial)
            for index, a in enumerate(arrays):
                if index % 2:
                    at, first = behind, stops >= self.lengths
                else:
                    at, first = np.maximum(starts - 1, 0), starts == 0
                values = np.where(first[:, None], initial[index], a[at, rows])
                if index % 2:
                    values[cut] = 0
                entering[index] = values
            found.append(entering)
        return found[0] if len(found) == 1 else tuple(found)


@dataclass(frozen=True)
class Window:
    """Steps of some rows, (W, B, ...), each beginning at index 0."""

    net: Any
    x: Array
    state: Any
    lengths: Array
    resets: Array
    starts: Array
    stops: Array

    @property
    def steps(self) -> int:
        return len(self.x)

    def record(self) -> tuple[Array, Tape[Any]]:
        """y (W, B, D*H) and the tape; without dropout, whose draws belong to the training."""
        net = self.net
        y, _, tape = net.record(
            outside(net, self.x), self.state, lengths=self.lengths,
            resets=outside(net, self.resets), train=False,
        )  # fmt: skip
        return inside(net, y), tape


def cells(value: Any) -> tuple[Array, ...]:
    """A quantity of a tape, for each layer and direction."""
    return value if isinstance(value, tuple) else (value,)


def inside(net: Any, a: Array, *, features: bool = True) -> Array:
    """(T, B, ...), from what a user of the network has."""
    if a.ndim == 1 + features:
        return a[:, None]
    return np.swapaxes(a, 0, 1) if net.batch_first else a


def outside(net: Any, a: Array) -> Array:
    """(T, B, ...) as the network takes it."""
    return np.ascontiguousarray(np.swapaxes(a, 0, 1) if net.batch_first else a)
