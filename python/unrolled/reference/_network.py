"""Layers and directions around `_sequence`: arguments in, parameters by name, the tape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from . import _checks as checks
from ._cells import Cell, Parameters, State, Step
from ._checks import Array
from ._sequence import Run, Schedule, backward, forward

# As the user sees a state: h alone, or (h, c).
PublicState: TypeAlias = Array | tuple[Array, ...]


@dataclass(frozen=True)
class Layout:
    """The user's order of axes. Inside, everything is (T, B, ...)."""

    batch_first: bool
    unbatched: bool

    def inside(self, a: Array) -> Array:
        if self.unbatched:
            return a[:, None]
        return a.swapaxes(0, 1) if self.batch_first else a

    def outside(self, a: Array) -> Array:
        if self.unbatched:
            a = a[:, 0]
        elif self.batch_first:
            a = a.swapaxes(0, 1)
        return np.ascontiguousarray(a)

    def shape(self, steps: int, batch: int, *rest: int) -> tuple[int, ...]:
        if self.unbatched:
            return (steps, *rest)
        return (batch, steps, *rest) if self.batch_first else (steps, batch, *rest)

    @property
    def axes(self) -> str:
        return "T" if self.unbatched else "B, T" if self.batch_first else "T, B"


@dataclass(frozen=True)
class Gradients:
    """The derivatives of a loss.

    Attributes
    ----------
    parameters : dict of str to array
        With the keys and shapes of `state_dict`.
    input : array
        With the shape of x.
    state : array, or tuple of two arrays for an LSTM
        For the initial state, with its shape.
    """

    parameters: dict[str, Array]
    input: Array
    state: PublicState


class Network:
    """What LSTM, GRU and RNN share. Use those; see `LSTM` for the meaning of arguments."""

    def __init__(
        self,
        cell: Cell,
        input_size: int,
        num_layers: Any,
        *,
        bias: Any,
        batch_first: Any,
        dropout: Any,
        bidirectional: Any,
        dtype: Any,
        seed: Any,
    ) -> None:
        self._cell = cell
        self.input_size = input_size
        self.hidden_size = cell.hidden_size
        self.num_layers = checks.integer("num_layers", num_layers, at_least=1)
        self.bias = checks.flag("bias", bias)
        self.batch_first = checks.flag("batch_first", batch_first)
        self.dropout = checks.real("dropout", dropout)
        if self.dropout != 0.0:
            # Its masks come from the fast version's own generator; there is nothing to judge.
            raise ValueError(f"dropout: the reference knows 0.0 only, got {self.dropout}")
        self.bidirectional = checks.flag("bidirectional", bidirectional)
        self.dtype = checks.float_dtype(dtype)
        self._suffixes = ("", "_reverse") if self.bidirectional else ("",)
        if seed is not None:
            seed = checks.integer("seed", seed, at_least=0)
        self._parameters = self._draw(np.random.default_rng(seed))

    @property
    def num_directions(self) -> int:
        return len(self._suffixes)

    @property
    def num_parameters(self) -> int:
        """How many numbers `state_dict` holds."""
        return sum(a.size for a in self._parameters.values())

    def _names(self, layer: int, suffix: str) -> dict[str, str]:
        """From a cell's own parameter names to PyTorch's, which also say layer and direction."""
        shapes = self._cell.parameter_shapes(self._layer_inputs(layer), self.bias)
        return {short: f"{short}_l{layer}{suffix}" for short in shapes}

    def _layer_inputs(self, layer: int) -> int:
        below = self.num_directions * self._cell.state_sizes[0]
        return below if layer else self.input_size

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {
            f"{short}_l{layer}{suffix}": shape
            for layer in range(self.num_layers)
            for suffix in self._suffixes
            for short, shape in self._cell.parameter_shapes(
                self._layer_inputs(layer), self.bias
            ).items()
        }

    def _draw(self, rng: np.random.Generator) -> Parameters:
        """Uniform in +-1/sqrt(H), PyTorch's rule. Drawn in float64: a seed means the same net."""
        bound = 1 / np.sqrt(self.hidden_size)
        return {
            name: rng.uniform(-bound, bound, size=shape).astype(self.dtype)
            for name, shape in self._shapes().items()
        }

    def state_dict(self) -> dict[str, Array]:
        """Copies of the parameters under PyTorch's names, in PyTorch's order."""
        return {name: a.copy() for name, a in self._parameters.items()}

    def load_state_dict(self, mapping: Mapping[str, Any]) -> None:
        """Replace every parameter. All or nothing: on an error the network is unchanged.

        Raises
        ------
        ValueError
            If keys are missing or unexpected (the message lists them), or a shape does not fit.
        TypeError
            If an array does not have the network's dtype.
        """
        if not isinstance(mapping, Mapping):
            raise TypeError(f"mapping: expected a mapping, got {checks.kind(mapping)}")
        shapes = self._shapes()
        missing = [name for name in shapes if name not in mapping]
        unexpected = [name for name in mapping if name not in shapes]
        if missing or unexpected:
            raise ValueError(
                f"mapping: expected the keys of state_dict(), got missing keys {missing}, "
                f"unexpected keys {unexpected}"
            )
        loaded = {}
        for name, shape in shapes.items():
            a = checks.array(f"mapping[{name!r}]", mapping[name], self.dtype)
            loaded[name] = checks.shaped(f"mapping[{name!r}]", a, "of the parameter", shape).copy()
        self._parameters = loaded

    def __call__(
        self, x: Any, state: Any = None, *, lengths: Any = None, resets: Any = None
    ) -> tuple[Array, Any]:
        """Run the network.

        Parameters
        ----------
        x : array (T, B, I), or (B, T, I) if `batch_first`, or (T, I) without a batch
        state : array (L*D, B, H), for an LSTM a tuple (h, c); without a batch no B axis
            None means zeros.
        lengths : integers (B,), optional
            Row b ends after ``lengths[b]`` steps, 0 allowed. Past its end x is not read, outputs
            are zero; the final state is that at the row's own end.
        resets : bool array (T, B), ordered as x, optional
            The state becomes zeros just before step t. In the reverse direction the cut lies
            between the same two steps, t - 1 and t.

        Returns
        -------
        y : array (T, B, D*H), ordered as x
            Forward and reverse direction of the last layer side by side.
        state : as the argument
            Copies; (h, c) for an LSTM, whose h has `proj_size` columns if that is not 0.
        """
        y, final, _ = self.record(x, state, lengths=lengths, resets=resets, train=False)
        return y, final

    def record(
        self,
        x: Any,
        state: Any = None,
        *,
        lengths: Any = None,
        resets: Any = None,
        train: Any = True,
        checkpoint: Any = None,
    ) -> tuple[Array, Any, Tape]:
        """Run the network and keep what the way back needs. Arguments as for a call.

        `train` and `checkpoint` are accepted for the sake of the same interface and change nothing:
        there is no dropout here, and every step is kept.

        Returns
        -------
        y, state
            As from a call.
        tape : Tape
        """
        checks.flag("train", train)
        if checkpoint is not None and checkpoint != "auto":
            checks.integer("checkpoint", checkpoint, at_least=1)
        x, layout = self._check_x(x)
        steps, batch = x.shape[:2]
        initial = self._check_state("state", state, batch, layout)
        schedules = self._check_schedules(lengths, resets, steps, batch, layout)
        runs: list[Run] = []
        signal = x
        for layer in range(self.num_layers):
            outputs = []
            for suffix, schedule in zip(self._suffixes, schedules, strict=True):
                names = self._names(layer, suffix)
                parameters = {short: self._parameters[name] for short, name in names.items()}
                entering = tuple(a[len(runs)] for a in initial)
                run = forward(self._cell, parameters, signal, entering, schedule)
                runs.append(run)
                outputs.append(run.y)
            signal = np.concatenate(outputs, axis=-1)
        final = self._stack_states([run.final for run in runs], layout)
        return layout.outside(signal), final, Tape(self, runs, layout, x.shape)

    def _check_x(self, x: Any) -> tuple[Array, Layout]:
        x = checks.array("x", x, self.dtype)
        layout = Layout(self.batch_first, unbatched=x.ndim == 2)
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            raise ValueError(
                f"x: expected shape ({Layout(self.batch_first, False).axes}, {self.input_size}) "
                f"or (T, {self.input_size}), got {x.shape}"
            )
        return layout.inside(x), layout

    def _check_state(self, name: str, state: Any, batch: int, layout: Layout) -> State:
        """The arrays of a state, each (L*D, B, size); zeros for None."""
        rows = self.num_layers * self.num_directions
        sizes = self._cell.state_sizes
        if state is None:
            return tuple(np.zeros((rows, batch, size), dtype=self.dtype) for size in sizes)
        if len(sizes) == 1:
            parts = {name: state}
        elif isinstance(state, (tuple, list)) and len(state) == len(sizes):
            parts = {f"{name}[{n}]": a for n, a in enumerate(state)}
        else:
            what = checks.kind(state)
            if isinstance(state, (tuple, list)):
                what = f"{what} of {len(state)}"
            raise TypeError(f"{name}: expected a tuple (h, c) of two arrays, got {what}")
        arrays = []
        for size, (part, value) in zip(sizes, parts.items(), strict=True):
            a = checks.array(part, value, self.dtype)
            if layout.unbatched:
                checks.shaped(part, a, "(layers*directions, H)", (rows, size))
                a = a[:, None]
            checks.shaped(part, a, "(layers*directions, B, H)", (rows, batch, size))
            arrays.append(a)
        return tuple(arrays)

    def _check_schedules(
        self, lengths: Any, resets: Any, steps: int, batch: int, layout: Layout
    ) -> list[Schedule]:
        """One schedule for each direction."""
        if lengths is None:
            lengths = np.full(batch, steps)
        elif layout.unbatched:
            raise ValueError("lengths must be None when x has no batch axis")
        else:
            lengths = checks.lengths(lengths, steps, batch)
        if resets is None:
            resets = np.zeros((steps, batch), dtype=bool)
        else:
            resets = checks.array("resets", resets, np.bool_)
            checks.shaped("resets", resets, f"({layout.axes})", layout.shape(steps, batch))
            resets = layout.inside(resets)
        return [
            Schedule.make(lengths, resets, reverse=reverse)
            for reverse in (False, True)[: self.num_directions]
        ]

    def _stack_states(self, states: list[State], layout: Layout) -> PublicState:
        """One state per layer and direction -> arrays (L*D, B, H) as the user sees them."""
        arrays = tuple(np.stack(parts) for parts in zip(*states, strict=True))
        if layout.unbatched:
            arrays = tuple(np.ascontiguousarray(a[:, 0]) for a in arrays)
        return arrays if len(arrays) > 1 else arrays[0]


class Tape:
    """A recorded run: every time step of it, and the way back.

    It stays valid when the network gets other parameters, and `backward` may be called repeatedly.
    """

    def __init__(
        self, net: Network, runs: list[Run], layout: Layout, x_shape: tuple[int, ...]
    ) -> None:
        self._net = net
        self._runs = runs
        self._layout = layout
        self._x_shape = x_shape

    def backward(self, dy: Any, dstate: Any = None, *, truncate: Any = None) -> Gradients:
        """The derivatives of a loss, by back-propagation through time.

        Parameters
        ----------
        dy : array, as y
            Derivative of the loss with respect to y. Not read past a row's end.
        dstate : as the state, optional
            Derivative with respect to the final state; it counts as part of the loss at the row's
            last step. A row of length 0 hands its state on, and so its derivative too.
        truncate : int, optional
            None is the gradient. With K, each layer and direction keeps exactly the terms with at
            most K steps between the loss and the use of a parameter, an input or the initial state.

        Returns
        -------
        Gradients
        """
        net, layout = self._net, self._layout
        steps, batch = self._x_shape[:2]
        columns = net.num_directions * net._cell.state_sizes[0]
        dy = checks.array("dy", dy, net.dtype)
        axes = f"({layout.axes}, directions*H)"
        checks.shaped("dy", dy, axes, layout.shape(steps, batch, columns))
        d_final = net._check_state("dstate", dstate, batch, layout)
        if truncate is not None:
            truncate = checks.integer("truncate", truncate, at_least=0)
        d_parameters: Parameters = {}
        d_states: dict[int, State] = {}
        d_signal = layout.inside(dy)
        for layer in reversed(range(net.num_layers)):
            d_outputs = np.split(d_signal, net.num_directions, axis=-1)
            d_inputs = []
            for direction, suffix in enumerate(net._suffixes):
                index = layer * net.num_directions + direction
                d_entering = tuple(a[index] for a in d_final)
                d = backward(self._runs[index], d_outputs[direction], d_entering, truncate)
                for short, name in net._names(layer, suffix).items():
                    d_parameters[name] = d.parameters[short]
                d_states[index] = d.initial
                d_inputs.append(d.x)
            # Both directions read the same input.
            d_signal = sum(d_inputs[1:], start=d_inputs[0])
        return Gradients(
            parameters={name: d_parameters[name] for name in net._shapes()},
            input=layout.outside(d_signal),
            state=net._stack_states([d_states[n] for n in range(len(self._runs))], layout),
        )

    @cached_property
    def hidden(self) -> Array | tuple[Array, ...]:
        """The output h at every step: (T, B, H), read-only, zero past a row's end.

        One array for one layer in one direction, otherwise a tuple with one for each, ordered as in
        the state: layer 0 forward, layer 0 reverse, layer 1 forward, ... Always in order of time
        with the time axis first; without a batch there is no B axis.
        """
        return self._every([run.y for run in self._runs])

    @cached_property
    def cell(self) -> Array | tuple[Array, ...]:
        """The LSTM's c at every step: (T, B, H), arranged as `hidden`."""
        if len(self._net._cell.state_sizes) < 2:
            raise AttributeError("tape.cell: expected the tape of an LSTM; other cells have no c")
        size = self._net.hidden_size
        return self._every([run.over_time(lambda step: step.after[1], size) for run in self._runs])

    @cached_property
    def gates(self) -> Array | tuple[Array, ...]:
        """The gates' values at every step: (T, B, G, H), arranged as `hidden`.

        In PyTorch's order: i, f, g, o (without f if `forget_gate=False`); r, z, n; the RNN's h.
        """
        shape = (len(self._net._cell.gates), self._net.hidden_size)

        def stacked(step: Step) -> Array:
            return np.stack(step.gates, axis=1)

        return self._every([run.over_time(stacked, *shape) for run in self._runs])

    def _every(self, arrays: list[Array]) -> Array | tuple[Array, ...]:
        if self._layout.unbatched:
            arrays = [a[:, 0] for a in arrays]
        for a in arrays:
            a.flags.writeable = False
        return arrays[0] if len(arrays) == 1 else tuple(arrays)
