"""From networks of ours to ONNX."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import EncodeError
from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto, checker, helper, numpy_helper

from .. import _arguments as arguments
from .._activation import Activation
from .._arguments import Array
from .._dense import Dense
from .._layers import features
from .._modules import GRU, LSTM, RNN, RecurrentNet
from .._native import __version__
from .._residual import Residual
from .._sequential import Sequential
from .._write import replace
from ..cells._recurrent import Recurrent
from ._node import FUNCTIONS, Node, held

# Older runtimes know these; `LSTM` and the rest mean the same in all versions from 14 on.
OPSET, IR_VERSION = 17, 8
# Protobuf's limit, in bytes.
LARGEST = 1 << 31
NEWEST = 22


def save(model: Any, path: str | os.PathLike[str], **options: Any) -> None:
    """Write a network to an ONNX file.

    The file is replaced in one move: a crash leaves either the old one or the new.

    Parameters
    ----------
    model : LSTM, GRU, RNN, Recurrent, Dense or Sequential
    path : path
    options
        As for `to_onnx`.
    """
    proto = to_onnx(model, **options)
    try:
        data = proto.SerializeToString()
    # Protobuf says the same of its limit and of the machine's.
    except (ValueError, EncodeError):
        size = proto.ByteSize()
        if size < LARGEST:
            raise MemoryError(f"model: no room for the {size} bytes of its file") from None
        raise ValueError(
            f"model: expected one that fits a file of ONNX, below {LARGEST} bytes, got {size}"
        ) from None
    replace(Path(path), data)


def to_onnx(
    model: Any, *, state: bool = False, lengths: bool = False, opset: int = OPSET
) -> ModelProto:
    """A network as an ONNX model.

    Its input is ``x``, ordered as the network's, ``T`` and ``B`` of any size; its outputs are
    ``y``, and the final states ``h_n`` and, of an LSTM, ``c_n``, (L*D, B, H). In a `Sequential`
    states are named after their layer's place, ``0.h_n``. A `Dense`, or a `Sequential` without
    recurrent layers, reads ``x`` (N, I).

    Dropout does not act, as in a call of the network.

    Parameters
    ----------
    model : LSTM, GRU, RNN, Recurrent, Dense or Sequential
        Without what ONNX has no nodes for: `proj_size`, ``forget_gate=False`` (a sigmoid is
        never exactly 1), and a `Recurrent` whose formula no node computes. A node computes those
        with other activations of ONNX's, peepholes, ``clip`` or ``input_forget``.
    state : bool
        Whether the initial states are inputs, ``h_0`` and ``c_0``, (L*D, B, H). Without, they are
        zeros, or a Sequential's own.
    lengths : bool
        Whether there is an input ``lengths``, int32 (B,).
    opset : int
        The version of the standard's operators, 14 to 22.

    Returns
    -------
    onnx.ModelProto
        Checked by ``onnx.checker``.

    Raises
    ------
    TypeError
        If `model` is something else.
    ValueError
        If it has what ONNX cannot say.

    Example
    -------
    >>> import unrolled as ur
    >>> import unrolled.onnx
    >>> proto = ur.onnx.to_onnx(ur.GRU(3, 8, bidirectional=True, seed=0))
    >>> [node.op_type for node in proto.graph.node]
    ['GRU', 'Transpose', 'Reshape']
    """
    state, lengths = arguments.flag("state", state), arguments.flag("lengths", lengths)
    opset = arguments.integer("opset", opset, at_least=14)
    if opset > NEWEST:
        raise ValueError(f"opset: expected 14 to {NEWEST}, got {opset}")
    layers: Sequence[Any]
    if isinstance(model, Sequential):
        layers = model.layers
    elif isinstance(model, (LSTM, GRU, RNN, Recurrent, Dense)):
        layers = (model,)
    else:
        raise TypeError(
            "model: expected an LSTM, GRU, RNN, Recurrent, Dense or Sequential, got "
            f"{arguments.kind(model)}"
        )
    recurrent = [layer for layer in layers if isinstance(layer, RecurrentNet)]
    for option, given in (("state", state), ("lengths", lengths)):
        if given and not recurrent:
            raise ValueError(f"{option}: expected False for a model without recurrent layers")
    graph = Graph(model, list(layers), state, lengths)
    graph.add_all()
    proto = helper.make_model(
        helper.make_graph(
            graph.nodes, "unrolled", graph.inputs, graph.outputs, list(graph.constants.values())
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=IR_VERSION,
        producer_name="unrolled",
        producer_version=__version__,
    )
    checker.check_model(proto, full_check=True)
    return proto


@dataclass
class Graph:
    """A graph being written."""

    model: Any
    layers: list[Any]
    state: bool
    lengths: bool
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, TensorProto] = field(default_factory=dict)
    inputs: list[ValueInfoProto] = field(default_factory=list)
    outputs: list[ValueInfoProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dtype: np.dtype[Any] = self.model.dtype
        self.recurrent = any(isinstance(layer, RecurrentNet) for layer in self.layers)
        self.batch_first = self.recurrent and bool(self.model.batch_first)

    def add_all(self) -> None:
        """Every layer, from x to y; the inputs and outputs of the graph."""
        lead = ["N"] if not self.recurrent else ["B", "T"] if self.batch_first else ["T", "B"]
        sized = [layer for layer in self.layers if isinstance(layer, (RecurrentNet, Dense))]
        # Without such layers any number of features.
        sizes: list[Any] = ["I", "I"]
        if sized:
            sizes = [features(sized[0])[0], features(sized[-1])[1]]
        self.inputs.append(self.info("x", [*lead, sizes[0]]))
        if self.lengths:
            self.inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]))
        value, ends = "x", []
        # Time comes first between recurrent layers. Nothing else cares.
        turned = False
        # What each layer reads, whether time comes first there, and how many features.
        read: list[tuple[str, bool, Any]] = []
        width: Any = sizes[0]
        for n, layer in enumerate(self.layers):
            if isinstance(layer, RecurrentNet) and self.batch_first and not turned:
                value = self.node("Transpose", [value], perm=[1, 0, 2])
                turned = True
            read.append((value, turned, width))
            if isinstance(layer, RecurrentNet):
                width = features(layer)[1]
                value, states = self.add_recurrent(n, layer, value)
                ends += states
            elif isinstance(layer, Dense):
                width = layer.out_features
                value = self.add_dense(n, layer, value)
            elif isinstance(layer, Residual):
                earlier, was_turned, more = read[layer.since]
                if turned and not was_turned:
                    earlier = self.node("Transpose", [earlier], perm=[1, 0, 2])
                if more != width:
                    cut = [self.integers(0), self.integers(width), self.integers(-1)]
                    earlier = self.node("Slice", [earlier, *cut])
                value = self.node("Add", [value, earlier])
            else:
                value = self.add_activation(n, layer, value)
        if turned:
            value = self.node("Transpose", [value], perm=[1, 0, 2])
        self.rename(value, "y")
        self.outputs.insert(0, self.info("y", [*lead, sizes[1]]))

    # Values.

    def info(self, name: str, shape: list[Any]) -> ValueInfoProto:
        return helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(self.dtype), shape
        )

    def constant(self, name: str, a: Array) -> str:
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(a), name)
        return name

    def integers(self, *values: int) -> str:
        """A constant list, one for all that need the same."""
        return self.constant("sizes." + "_".join(map(str, values)), np.array(values, np.int64))

    def node(
        self, op: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any
    ) -> str:
        """Add a node; the name of its first output."""
        outputs = outputs or [f"value.{len(self.nodes)}"]
        name = attributes.pop("name", f"node.{len(self.nodes)}")
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attributes))
        return outputs[0]

    def rename(self, value: str, name: str) -> None:
        """Let what is called `value` be called `name`."""
        for node in self.nodes:
            for names in (node.input, node.output):
                for n, each in enumerate(names):
                    if each == value:
                        names[n] = name

    # Layers.

    def add_recurrent(self, n: int, net: RecurrentNet[Any], value: str) -> tuple[str, list[str]]:
        in_sequence = isinstance(self.model, Sequential)
        node = Node.of(net, f"model.layers[{n}]" if in_sequence else "model")
        kind, place = node.kind, f"{n}." if in_sequence else ""
        cells, hidden = net._sizes.cells, net.hidden_size
        starts = [self.start(n, net, place, index) for index in range(len(kind.states))]
        ends: list[list[str]] = [[] for _ in kind.states]
        for layer in range(net.num_layers):
            name = f"layers.{n}.l{layer}"
            rows = (layer * net.num_directions, (layer + 1) * net.num_directions)
            w, r, b, p = node.weights(layer)
            inputs = [value, self.constant(f"{name}.W", w), self.constant(f"{name}.R", r)]
            inputs.append("" if b is None else self.constant(f"{name}.B", b))
            inputs.append("lengths" if self.lengths else "")
            for start in starts:
                inputs.append(self.cut(start, rows, net.num_layers) if start else "")
            inputs.append("" if p is None else self.constant(f"{name}.P", p))
            while not inputs[-1]:
                inputs.pop()
            outputs = [f"{name}.Y", *(f"{name}.Y_{s}" for s in kind.states)]
            value = self.node(
                node.op, inputs, outputs, name=name, hidden_size=hidden, **node.attributes
            )
            for own, output in zip(ends, outputs[1:], strict=True):
                own.append(output)
            if net.bidirectional:
                # (T, D, B, H) to (T, B, D*H).
                value = self.node("Transpose", [value], perm=[0, 2, 1, 3])
                value = self.node("Reshape", [value, self.integers(0, 0, 2 * hidden)])
            else:
                value = self.node("Squeeze", [value, self.integers(1)])
        names = []
        for own, state in zip(ends, kind.states, strict=True):
            name = f"{place}{state}_n"
            if len(own) == 1:
                self.rename(own[0], name)
            else:
                self.node("Concat", own, [name], axis=0)
            self.outputs.append(self.info(name, [cells, "B", hidden]))
            names.append(name)
        return value, names

    def start(self, n: int, net: RecurrentNet[Any], place: str, index: int) -> str:
        """The initial state of all layers of a network, "" for zeros."""
        name = f"{place}{'hc'[index]}_0"
        cells, hidden = net._sizes.cells, net.hidden_size
        if self.state:
            self.inputs.append(self.info(name, [cells, "B", hidden]))
            return name
        own = self.model.state_dict().get(name) if isinstance(self.model, Sequential) else None
        if own is None or not place:
            return ""
        # One row for every row of the batch, of which x tells the number.
        if "batch" not in {output for node in self.nodes for output in node.output}:
            axis = 0 if self.batch_first else 1
            self.node("Shape", ["x"], ["shape"])
            self.node("Slice", ["shape", self.integers(axis), self.integers(axis + 1)], ["batch"])
        ends = [self.integers(cells), "batch", self.integers(hidden)]
        sizes = self.node("Concat", ends, axis=0)
        return self.node("Expand", [self.constant(name, own[:, None]), sizes])

    def cut(self, start: str, rows: tuple[int, int], layers: int) -> str:
        """A layer's rows of a state."""
        if layers == 1:
            return start
        ends = [self.integers(rows[0]), self.integers(rows[1]), self.integers(0)]
        return self.node("Slice", [start, *ends])

    def add_dense(self, n: int, layer: Dense, value: str) -> str:
        found = layer.state_dict()
        name = f"layers.{n}"
        value = self.node("MatMul", [value, self.constant(f"{name}.weight", found["weight"].T)])
        if "bias" in found:
            value = self.node("Add", [value, self.constant(f"{name}.bias", found["bias"])])
        return value

    def add_activation(self, n: int, layer: Activation, value: str) -> str:
        if layer.function == "silu":
            return self.node("Mul", [value, self.node("Sigmoid", [value])])
        constants = {k: v for k, v in layer.config().items() if k != "function"}
        for name, constant in constants.items():
            held(f"model.layers[{n}]", name, constant, self.dtype)
        if layer.function == "softmax":
            constants["axis"] = -1
        return self.node(FUNCTIONS[layer.function], [value], **constants)
