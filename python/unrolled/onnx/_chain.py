"""Telling whether a graph is a chain of layers, and which.

The graph is walked once with symbols for values. The symbol of a sequence on its way (`Signal`) is
the layers it has passed and what its axes stand for, so that transposes, squeezes and reshapes
cancel out however an exporter wrote them. Whatever does not fit raises `UnlikeLayersError`, which
says why: the model is then run as the graph it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from .._arguments import Array
from ._budget import AXES
from ._model import Model, Node, Value
from ._recurrent import Recurrence
from ._sizes import Probes, computed, reshaped, resolved, shape_of
from ._symbols import (
    FEATURES,
    ActivationStage,
    Axis,
    DenseStage,
    Final,
    Lengths,
    Path,
    RecurrentStage,
    Rows,
    Signal,
    Sizes,
    Stage,
    StateInput,
    Symbol,
    UnlikeLayersError,
    Zeros,
)

RESHAPING = (
    "Concat", "Expand", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
    "Unsqueeze",
)  # fmt: skip
ACTIVATIONS = {
    "Elu": "elu",
    "HardSigmoid": "hard_sigmoid",
    "LeakyRelu": "leaky_relu",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Softsign": "softsign",
    "Tanh": "tanh",
}


@dataclass
class Chain:
    """What was found: the layers in order, and which input is what."""

    stages: tuple[Stage, ...]
    batch_first: bool


def find(model: Model) -> Chain:
    """The chain that `model` is, or UnlikeLayersError."""
    return Walk(model).chain()


class Walk:
    """One walk over a model's nodes."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.budget = model._budget
        self.symbols: dict[str, Symbol] = {**model._constants, **model.inputs}
        self.used: set[str] = set()
        self.probes = Probes()
        # Those of the sequence's first axes, once there is one.
        self.lead: tuple[int, ...] | None = None
        self.lengths: set[str | None] = set()
        if model.defaults:
            raise UnlikeLayersError("inputs with defaults")

    def chain(self) -> Chain:
        for node in self.model._nodes:
            if node.recurrence is not None:
                found = self.recurrent(node, node.recurrence)
            else:
                found = self.other(node)
            for name, symbol in zip(node.outputs, found, strict=False):
                self.symbols[name] = symbol
        longest: Signal | None = None
        outputs = [self.symbol(name) for name in self.model.outputs]
        for output in outputs:
            if isinstance(output, Signal):
                longest = longest or output
                if output is not longest:
                    raise UnlikeLayersError("several sequences as outputs")
        path = longest.path if longest else deepest(outputs)
        stages = path.stages() if path else ()
        if longest:
            self.check_order(longest)
        self.check_outputs(outputs, stages)
        if unused := self.model.inputs.keys() - self.used:
            raise UnlikeLayersError(f"inputs {sorted(unused)} that no layer reads")
        if len(self.lengths) > 1:
            raise UnlikeLayersError("recurrent nodes of different sequence_lens")
        orders = {s.batch_first for s in stages if isinstance(s, RecurrentStage)}
        return Chain(stages, orders == {True})

    def check_order(self, signal: Signal) -> None:
        """The output's axes are the input's, or those of a node's Y."""
        rest = [axis for axis in signal.axes if axis != ("D",)]
        lead = [("0",), ("1",)][: len(rest) - 1]
        last_is_node = isinstance(signal.last, RecurrentStage)
        if signal.directions > 1 and len(rest) < len(signal.axes) and not last_is_node:
            raise UnlikeLayersError("directions that stay apart")
        if rest[:-1] != lead or rest[-1] not in FEATURES or not signal.path:
            raise UnlikeLayersError("an output whose axes are not ordered as the input's")

    def check_outputs(self, outputs: list[Symbol | None], stages: tuple[Stage, ...]) -> None:
        known = {id(stage) for stage in stages}
        for symbol in outputs:
            if isinstance(symbol, Final):
                if not all(id(path.stage) in known for path, _ in symbol.parts):
                    raise UnlikeLayersError("states of a layer beside the chain")
            elif not isinstance(symbol, Signal):
                raise UnlikeLayersError("outputs that are no sequence and no state")

    # Nodes.

    def symbol(self, name: str) -> Symbol | None:
        """What a name stands for, None for an omitted input."""
        if name and name not in self.symbols:
            raise UnlikeLayersError(f"{name!r:.80}, an output that layers do not have")
        return self.symbols[name] if name else None

    def signal(self, name: str) -> Signal:
        """The sequence of that name; an input of the graph becomes one when it is first read so."""
        symbol = self.symbol(name)
        if isinstance(symbol, Value):
            if symbol.shape is None or len(symbol.shape) not in (2, 3):
                raise UnlikeLayersError(
                    f"input {name!r:.80} of a rank that is not told, or not 2 or 3"
                )
            if self.lead is not None:
                raise UnlikeLayersError("several sequences as inputs")
            sizes = self.probes.shape(symbol)
            if sizes is None:
                raise UnlikeLayersError("more sizes that are not told than can be told apart")
            axes = (("0",), ("1",))[: len(symbol.shape) - 1]
            signal = Signal(None, (*axes, ("F",)), sizes[-1])
            self.lead = sizes[:-1]
            self.symbols[name] = signal
            self.used.add(name)
            return signal
        if not isinstance(symbol, Signal):
            raise UnlikeLayersError(f"{name!r:.80}, which is no sequence, where one is expected")
        return symbol

    def recurrent(self, node: Node, recurrence: Recurrence) -> list[Symbol]:
        names = [*node.inputs, *[""] * (8 - len(node.inputs))]
        w, r, b, p = (self.constant(node, n) if names[n] else None for n in (1, 2, 3, 7))
        if recurrence.reverse == (True,):
            raise UnlikeLayersError(f"{node.label}: direction reverse, which no layer has")
        if not recurrence.alike:
            raise UnlikeLayersError(
                f"{node.label}: activations that differ between directions, which no layer has"
            )
        signal = self.signal(names[0])
        if len(signal.axes) != 3:
            raise UnlikeLayersError(f"{node.label}: an input of {len(signal.axes)} axes")
        signal.rows()
        first, second, _ = signal.axes
        time, batch = (second, first) if recurrence.batch_first else (first, second)
        if {time, batch} != {("0",), ("1",)} or signal.time not in (None, time[0]):
            raise UnlikeLayersError(f"{node.label}: time where the batch is elsewhere")
        self.lengths.add(self.length_input(names[4]))
        w, r, b = recurrence.weights((w, r, b))
        initial = tuple(
            self.initial(node, name, r, recurrence.batch_first)
            for name in names[5 : 5 + len(recurrence.kind.states)]
        )
        p = recurrence.seeing(p, self.budget)
        stage = RecurrentStage(node.name, recurrence, w, r, b, p, initial, time == ("1",))
        axes: tuple[Axis, ...] = (time, ("D",), batch, ("H",))
        if recurrence.batch_first:
            axes = (batch, time, ("D",), ("H",))
        found = signal.after(stage, axes=axes, time=time[0])
        assert found.path is not None
        return [found, *(Final(((found.path, n),)) for n in range(len(recurrence.kind.states)))]

    def length_input(self, name: str) -> str | None:
        symbol = self.symbol(name)
        if symbol is None:
            return None
        if isinstance(symbol, Value):
            self.used.add(name)
            self.symbols[name] = symbol = Lengths(name)
        if not isinstance(symbol, Lengths):
            raise UnlikeLayersError("sequence_lens that are computed or constant")
        return symbol.name

    def initial(
        self, node: Node, name: str, r: Array, batch_first: bool
    ) -> StateInput | Rows | None:
        symbol = self.symbol(name)
        directions = r.shape[0]
        if isinstance(symbol, (Zeros, np.ndarray)) and symbol.shape is not None:
            # Without the batch: what is given may be as wide as any.
            apart = symbol.shape[1:] if batch_first else symbol.shape[::2]
            if len(symbol.shape) != 3 or apart != (directions, r.shape[2]):
                raise UnlikeLayersError(f"{node.label}: initial states of shape {symbol.shape}")
        if isinstance(symbol, Value):
            if batch_first or symbol.shape is None or len(symbol.shape) != 3:
                raise UnlikeLayersError(f"{node.label}: an initial state of another layout")
            if symbol.shape[0] not in (None, directions):
                raise UnlikeLayersError(f"{node.label}: an initial state of another size")
            self.used.add(name)
            return StateInput(name, 0, directions)
        if isinstance(symbol, np.ndarray):
            if not self.any(node, symbol):
                return None
            if symbol.ndim == 3 and symbol.shape[0 if batch_first else 1] == 1:
                symbol = Rows(symbol)
        fits = isinstance(symbol, Rows) and symbol.value.shape == (directions, 1, r.shape[2])
        if isinstance(symbol, Rows) and fits and not batch_first:
            return symbol
        if isinstance(symbol, StateInput) and not batch_first:
            return symbol
        if symbol is None or isinstance(symbol, Zeros):
            return None
        raise UnlikeLayersError(f"{node.label}: initial states that are computed")

    def other(self, node: Node) -> list[Symbol]:
        symbols = [self.symbol(name) for name in node.inputs]
        if node.op == "Shape":
            return [self.shape(node, symbols[0])]
        if node.op in ("Identity", "Dropout"):
            if len(symbols) > 2 or len([name for name in node.outputs if name]) > 1:
                raise UnlikeLayersError(f"{node.label}, as it is used here")
            found = symbols[0]
            return [self.signal(node.inputs[0]) if isinstance(found, Value) else _there(found)]
        if all(isinstance(s, (Sizes, np.ndarray, Zeros, Rows)) or s is None for s in symbols):
            return self.of_sizes(node, symbols)
        if all(isinstance(s, Final) for s in symbols) and node.op == "Concat":
            parts = tuple(part for s in symbols if isinstance(s, Final) for part in s.parts)
            self.budget.spend(node.label, len(parts) << 8)
            stages = [path.stage for path, _ in parts]
            first = any(isinstance(s, RecurrentStage) and s.recurrence.batch_first for s in stages)
            if node.attributes["axis"] != 0 or first:
                raise UnlikeLayersError(f"{node.label}: states joined along another axis")
            if len({(id(path), n) for path, n in parts}) < len(parts):
                raise UnlikeLayersError(f"{node.label}: a state joined with itself")
            return [Final(parts)]
        if node.op in ("Slice", "Split") and isinstance(symbols[0], Value):
            return self.state_slices(node, symbols)
        handler = HANDLERS.get(node.op)
        if node.op in ACTIVATIONS:
            handler = Walk.activation
        if handler is None:
            raise UnlikeLayersError(f"{node.label}, which is no layer")
        return [handler(self, node)]

    def of_sizes(self, node: Node, symbols: list[Symbol | None]) -> list[Symbol]:
        """Zeros stay zeros whatever shape they are given; the rest is arithmetic of sizes."""
        data = symbols[0]
        outputs = max(len(node.outputs), 1)
        if node.op == "ConstantOfShape":
            value = node.attributes.get("value")
            if value is not None and self.any(node, value):
                return [Sizes()]
            return [Zeros(tuple(self.integers(node, "input", 0) or ()) or None)]
        if node.op == "Concat":
            zero = all(
                isinstance(s, Zeros) or (isinstance(s, np.ndarray) and not self.any(node, s))
                for s in symbols
            )
            if zero and any(isinstance(s, Zeros) for s in symbols):
                return [Zeros()]
        elif node.op in RESHAPING and isinstance(data, Zeros):
            return self.zeros(node, data, symbols[1:])
        if node.op == "Expand" and isinstance(data, np.ndarray):
            if not self.any(node, data):
                return self.zeros(node, Zeros(data.shape), symbols[1:])
            if data.ndim == 3 and data.shape[1] == 1:
                return [Rows(data)]
        if node.op == "Slice" and isinstance(data, Rows):
            whole = node([_there(data).value, *map(_array, symbols[1:])], self.budget)[0]
            if whole.ndim == 3 and whole.shape[1:] == data.value.shape[1:]:
                return [Rows(whole)]
        if any(isinstance(s, (Zeros, Rows)) for s in symbols):
            raise UnlikeLayersError(f"{node.label} of a state")
        values = [s.value if isinstance(s, Sizes) else _array(s) for s in symbols]
        known = all(not name or a is not None for name, a in zip(node.inputs, values, strict=True))
        found = computed(node, values) if known else None
        return [Sizes()] * outputs if found is None else [Sizes(a) for a in found]

    def zeros(self, node: Node, data: Zeros, others: list[Symbol | None]) -> list[Symbol]:
        """Zeros in another shape, which is told if it can be told without making any."""
        values = [s.value if isinstance(s, Sizes) else _array(s) for s in others]
        unknown: list[Symbol] = [Zeros()] * max(len(node.outputs), 1)
        if data.shape is None or any(a is None for a in values):
            return unknown
        if node.op == "Expand":
            sizes = tuple(self.integers(node, "shape") or ())
            try:
                return [Zeros(np.broadcast_shapes(data.shape, sizes))]
            except ValueError:
                return unknown
        found = computed(node, [np.broadcast_to(np.float32(0), data.shape), *values], views=True)
        return unknown if found is None else [Zeros(a.shape) for a in found]

    def shape(self, node: Node, symbol: Symbol | None) -> Sizes:
        """The sizes of a sequence, and of the input, which is not made one by that: exporters ask
        for its batch."""
        sizes = None
        if isinstance(symbol, Value):
            sizes = self.probes.shape(symbol)
        elif isinstance(symbol, Signal):
            sizes = shape_of(symbol, _there(self.lead))
        if sizes is None:
            return Sizes()
        start, end = node.attributes.get("start", 0), node.attributes.get("end")
        return Sizes(np.array(sizes[start:end], np.int64))

    def any(self, node: Node, a: Array) -> bool:
        """Whether a constant is other than zeros."""
        return self.budget.any(node.label, a)

    def state_slices(self, node: Node, symbols: list[Symbol | None]) -> list[Symbol]:
        """Which rows of an input each output is, by slicing the numbers of the rows."""
        value = symbols[0]
        assert isinstance(value, Value)
        if value.shape is None or len(value.shape) != 3 or value.shape[0] is None:
            raise UnlikeLayersError(f"{node.label}: a state of a shape that is not told")
        if value.shape[0] > 4096:
            raise UnlikeLayersError(f"{node.label}: a state of {value.shape[0]} rows")
        numbers = np.arange(value.shape[0])[:, None, None]
        parts = node([numbers, *map(_array, symbols[1:])], self.budget)
        found: list[Symbol] = []
        for part in parts:
            rows = part.reshape(-1)
            if part.shape != (len(rows), 1, 1) or not len(rows) or (np.diff(rows) != 1).any():
                raise UnlikeLayersError(f"{node.label}: a state cut another way")
            found.append(StateInput(value.name, int(rows[0]), int(rows[-1]) + 1))
        self.used.add(value.name)
        return found

    # Nodes a sequence passes.

    def transpose(self, node: Node) -> Signal:
        signal = self.signal(node.inputs[0])
        perm = node.attributes.get("perm") or list(reversed(range(len(signal.axes))))
        if sorted(perm) != list(range(len(signal.axes))):
            raise UnlikeLayersError(f"{node.label}: an order of other axes")
        return replace(signal, axes=tuple(signal.axes[n] for n in perm))

    def squeeze(self, node: Node) -> Signal:
        signal = self.signal(node.inputs[0])
        axes = self.integers(node, "axes")
        if axes is None or len(axes) != 1 or not -len(signal.axes) <= axes[0] < len(signal.axes):
            raise UnlikeLayersError(f"{node.label}: axes that are not told")
        axis = axes[0] % len(signal.axes)
        if signal.axes[axis] != ("D",) or signal.directions != 1:
            raise UnlikeLayersError(f"{node.label}: another axis than that of directions")
        return replace(signal, axes=signal.axes[:axis] + signal.axes[axis + 1 :])

    def reshape(self, node: Node) -> Signal:
        """Only what joins directions and features at the end, or drops the one direction."""
        signal = self.signal(node.inputs[0])
        sizes, lead = self.integers(node, "shape"), _there(self.lead)
        if sizes is None:
            raise UnlikeLayersError(f"{node.label}: sizes that are not told")
        target = resolved(sizes, shape_of(signal, lead), bool(node.attributes.get("allowzero", 0)))
        found = None if target is None else reshaped(signal, target, lead)
        if found is None:
            raise UnlikeLayersError(
                f"{node.label}: a shape that may mix steps or rows, not (T, B, features)"
            )
        return found

    def matmul(self, node: Node) -> Signal:
        weight = self.constant(node, 1)
        if weight.ndim != 2:
            raise UnlikeLayersError(f"{node.label}: a product with {weight.ndim} axes")
        return self.dense(node, weight.T, None)

    def gemm(self, node: Node) -> Signal:
        a = node.attributes
        weight = self.constant(node, 1)
        bias = self.constant(node, 2) if len(node.inputs) > 2 and node.inputs[2] else None
        if a["transA"] or a["alpha"] != 1 or (bias is not None and a["beta"] != 1):
            raise UnlikeLayersError(f"{node.label}: transA, alpha or beta")
        if len(self.signal(node.inputs[0]).axes) != 2 or weight.ndim != 2:
            raise UnlikeLayersError(f"{node.label}: other than two axes")
        weight = weight if a["transB"] else weight.T
        return self.dense(node, weight, None if bias is None else self.row(node, bias, len(weight)))

    def dense(self, node: Node, weight: Array, bias: Array | None) -> Signal:
        signal = self.signal(node.inputs[0]).rows()
        if weight.dtype.kind != "f":
            raise UnlikeLayersError(f"{node.label}: weights of {weight.dtype}")
        axes = (*signal.axes[:-1], ("F",))
        return signal.after(DenseStage(weight, bias), axes=axes, features=len(weight))

    def add(self, node: Node) -> Signal:
        names = sorted(node.inputs, key=lambda n: isinstance(self.symbol(n), np.ndarray))
        signal, bias = self.signal(names[0]), self.symbol(names[1])
        path, last = signal.path, signal.last
        if (
            not isinstance(bias, np.ndarray)
            or not isinstance(last, DenseStage)
            or (last.bias is not None)
        ):
            raise UnlikeLayersError(
                f"{node.label}: another sum than that of a product and its bias"
            )
        stage = DenseStage(last.weight, self.row(node, bias, len(last.weight)))
        return replace(signal, path=Path.after(_there(path).before, stage))

    def multiply(self, node: Node) -> Signal:
        """x * sigmoid(x)."""
        signals = [self.signal(name) for name in node.inputs]
        x, s = sorted(signals, key=lambda each: each.path.depth if each.path else 0)
        gate = s.last
        if (
            s.path is None
            or s.path.before is not x.path
            or s.axes != x.axes
            or not (isinstance(gate, ActivationStage) and gate.function == "sigmoid")
        ):
            raise UnlikeLayersError(f"{node.label}, which is no layer")
        return x.after(ActivationStage("silu", {}))

    def activation(self, node: Node) -> Signal:
        signal = self.signal(node.inputs[0])
        return signal.after(ActivationStage(ACTIVATIONS[node.op], node.attributes))

    def softmax(self, node: Node) -> Signal:
        signal = self.signal(node.inputs[0]).rows()
        if node.attributes["axis"] not in (-1, len(signal.axes) - 1):
            raise UnlikeLayersError(f"{node.label}: another axis than the last")
        return signal.after(ActivationStage("softmax", {}))

    # Inputs of nodes.

    def constant(self, node: Node, index: int) -> Array:
        symbol = self.symbol(node.inputs[index])
        if not isinstance(symbol, np.ndarray):
            raise UnlikeLayersError(f"{node.label}: weights that are no constants")
        return symbol

    def row(self, node: Node, bias: Array, size: int) -> Array:
        if bias.size != size or (bias.ndim and bias.shape[-1] != size):
            raise UnlikeLayersError(f"{node.label}: a bias of another shape than ({size},)")
        return bias.reshape(size)

    def integers(self, node: Node, name: str, index: int = 1) -> list[int] | None:
        if name in node.attributes:
            return list(node.attributes[name])
        symbol = self.symbol(node.inputs[index]) if len(node.inputs) > index else None
        if isinstance(symbol, Sizes):
            symbol = symbol.value
        if not isinstance(symbol, np.ndarray) or symbol.dtype.kind != "i" or symbol.size > AXES:
            return None
        return [int(n) for n in symbol.reshape(-1)]


def deepest(outputs: list[Symbol | None]) -> Path:
    """The layers up to the last of which a state is given, where the graph gives states alone."""
    paths = [path for f in outputs if isinstance(f, Final) for path, _ in f.parts]
    if not paths:
        raise UnlikeLayersError("outputs that are no sequence and no state")
    return max(paths, key=lambda path: path.depth)


HANDLERS: dict[str, Callable[[Walk, Node], Symbol]] = {
    "Add": Walk.add,
    "Gemm": Walk.gemm,
    "MatMul": Walk.matmul,
    "Mul": Walk.multiply,
    "Reshape": Walk.reshape,
    "Softmax": Walk.softmax,
    "Squeeze": Walk.squeeze,
    "Transpose": Walk.transpose,
}


def _there(symbol: Any) -> Any:
    assert symbol is not None
    return symbol


def _array(symbol: Symbol | None) -> Array | None:
    if symbol is not None and not isinstance(symbol, np.ndarray):
        raise UnlikeLayersError("a state cut where it is not told")
    return symbol
