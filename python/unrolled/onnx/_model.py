"""A graph, runnable: inputs by name to outputs by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, ValueInfoProto, defs

from .._arguments import Array, flag, kind
from ._budget import AXES, EACH, Budget, CallBudget
from ._fields import known, shown
from ._operators import OPERATORS, Call
from ._proto import Source, attributes, constants, label, opset, read
from ._recurrent import KINDS, Recurrence
from ._tensor import DTYPES, Tensors, text, type_name

# Whose constants are a network's parameters.
WEIGHTED = {*KINDS, "Add", "Gemm", "MatMul"}


@dataclass(frozen=True)
class Value:
    """What a graph says of one of its inputs or outputs: None where a size is not fixed."""

    name: str
    dtype: np.dtype[Any] | None
    shape: tuple[int | None, ...] | None

    @classmethod
    def read(cls, info: ValueInfoProto) -> Value:
        text(info.name)
        where = repr(info.name)
        known(info, where)
        known(info.type, where)
        kind_of_value = info.type.WhichOneof("value")
        if kind_of_value not in (None, "tensor_type"):
            raise ValueError(f"{info.name!r:.80}: expected a tensor, got {kind_of_value}")
        tensor = info.type.tensor_type
        if len(tensor.shape.dim) > AXES:
            raise ValueError(f"{where}: expected at most {AXES} axes, got {len(tensor.shape.dim)}")
        for part in (tensor, tensor.shape, *tensor.shape.dim):
            known(part, where)
        if tensor.elem_type and tensor.elem_type not in DTYPES:
            names = sorted(dtype.name for dtype in DTYPES.values())
            raise ValueError(
                f"{info.name!r:.80}: expected one of {names}, got {type_name(tensor.elem_type)}"
            )
        shape = None
        if tensor.HasField("shape"):
            shape = tuple(
                dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim
            )
        return cls(info.name, DTYPES.get(tensor.elem_type), shape)

    def __str__(self) -> str:
        sizes = "any shape"
        if self.shape is not None:
            sizes = f"({', '.join('any' if n is None else str(n) for n in self.shape)})"
        return f"{shown(self.name)} {sizes} {self.dtype or 'any dtype'}"

    def check(self, a: Array) -> Array:
        """`a`, if it is what the graph expects."""
        fits = self.shape is None or (
            a.ndim == len(self.shape)
            and all(want in (None, got) for want, got in zip(self.shape, a.shape, strict=True))
        )
        if self.dtype is not None and a.dtype != self.dtype:
            raise TypeError(f"{shown(self.name)}: expected {self.dtype}, got {a.dtype}")
        if not fits:
            raise ValueError(f"{shown(self.name)}: expected shape {self.shape}, got {a.shape}")
        return a


@dataclass
class Node:
    """A node, its attributes read."""

    label: str
    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    version: int
    # For each input, the name of its type; inputs with one name must have one dtype.
    types: list[str]
    recurrence: Recurrence | None
    name: str

    @classmethod
    def read(cls, node: NodeProto, version: int, tensors: Tensors) -> Node:
        """Refuses, by name, a node that cannot be computed."""
        text(node.name, node.op_type, node.domain, *node.input, *node.output)
        where = label(node)
        known(node, where)
        if node.domain not in ("", "ai.onnx"):
            raise ValueError(f"{where}: expected the standard's domain, got {node.domain!r:.80}")
        if node.op_type not in OPERATORS and node.op_type not in KINDS:
            raise ValueError(
                f"{where}: expected one of {', '.join(sorted({*OPERATORS, *KINDS}))}, got "
                f"{shown(node.op_type)}"
            )
        try:
            schema = defs.get_schema(node.op_type, version, "")
        except defs.SchemaError:
            raise ValueError(f"{where}: opset {version} has no such operator") from None
        if not schema.min_input <= len(node.input) <= schema.max_input:
            raise ValueError(
                f"{where}: expected {schema.min_input} to {schema.max_input} inputs, got "
                f"{len(node.input)}"
            )
        if not schema.min_output <= len(node.output) <= schema.max_output:
            raise ValueError(
                f"{where}: expected {schema.min_output} to {schema.max_output} outputs, got "
                f"{len(node.output)}"
            )
        values = attributes(node, schema, tensors)
        recurrence = None
        if node.op_type in KINDS:
            # Of these the schema's default lists are for two directions.
            given = {attribute.name for attribute in node.attribute}
            own = {k: v for k, v in values.items() if k in given or k != "activations"}
            recurrence = Recurrence.read(where, node.op_type, own)
        formal = list(schema.inputs)
        types = [formal[min(n, len(formal) - 1)].type_str for n in range(len(node.input))]
        return cls(
            where, node.op_type, list(node.input), list(node.output), values, version, types,
            recurrence, node.name,
        )  # fmt: skip

    def __call__(self, inputs: list[Array | None], budget: Budget) -> list[Array]:
        """Its outputs."""
        dtypes: dict[str, np.dtype[Any]] = {}
        for type_, a in zip(self.types, inputs, strict=True):
            if a is not None and dtypes.setdefault(type_, a.dtype) != a.dtype:
                got = [str(b.dtype) for b in inputs if b is not None]
                raise ValueError(f"{self.label}: expected inputs of one dtype, got {got}")
        call = Call(self.attributes, inputs, len(self.outputs), self.version, budget)
        try:
            # What overflows is infinite, as the standard has it: nothing to warn of.
            with np.errstate(all="ignore"):
                if self.recurrence is not None:
                    return self.recurrence(inputs, budget)
                return OPERATORS[self.op](call)
        except (ValueError, TypeError, IndexError, OverflowError) as error:
            said = str(error).removeprefix(f"{self.label}: ")
            raise ValueError(f"{self.label}: {said}") from None


class Model:
    """An ONNX model of recurrent nodes and what stands around them, made runnable.

    Recurrent nodes are computed by the kernels; what stands around them in NumPy.

    Parameters
    ----------
    source : path, bytes or onnx.ModelProto
    allow_nonfinite : bool
        Whether NaN and infinity are taken as weights.

    Attributes
    ----------
    inputs, outputs : dict of str to Value
        What the graph says of them: dtype, and shape with None where a size is not fixed. An input
        in `defaults` may be omitted.
    unlike_layers : str or None
        Why `load` gave this rather than layers.

    Raises
    ------
    FileNotFoundError
    TypeError
        If `source` is something else.
    ValueError
        If it is not a model, or one with a node, attribute, type or version that is not supported;
        the message names it.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> import unrolled.onnx
    >>> proto = ur.onnx.to_onnx(ur.GRU(3, 4, seed=0))
    >>> model = ur.onnx.Model(proto)
    >>> found = model(x=np.ones((5, 2, 3), dtype=np.float32))
    >>> found["y"].shape, found["h_n"].shape
    ((5, 2, 4), (1, 2, 4))
    """

    def __init__(self, source: Source, *, allow_nonfinite: bool = False) -> None:
        self._read(source, flag("allow_nonfinite", allow_nonfinite))
        self.prepare()

    @classmethod
    def unprepared(cls, source: Source, *, allow_nonfinite: bool) -> Model:
        """A model whose networks are still to be made, if it is not turned into layers."""
        model = cls.__new__(cls)
        model._read(source, flag("allow_nonfinite", allow_nonfinite))
        return model

    def _read(self, source: Source, allow_nonfinite: bool) -> None:
        proto, tensors = read(source)
        self.opset = opset(proto)
        graph = proto.graph
        self._budget = tensors.budget
        self._budget.spend("graph", EACH * (len(graph.input) + len(graph.output)))
        held = constants(graph, tensors)
        self.inputs: dict[str, Value] = {}
        self.defaults: dict[str, Array] = {}
        for info in graph.input:
            if info.name in held:
                # Up to version 3 of the format every constant had to be listed as an input.
                if proto.ir_version < 4:
                    continue
                self.defaults[info.name] = held.pop(info.name)
            if info.name in self.inputs or not info.name:
                raise ValueError(f"input {info.name!r:.80}: expected names of their own")
            self.inputs[info.name] = Value.read(info)
        self.outputs = {info.name: Value.read(info) for info in graph.output}
        if not self.outputs:
            raise ValueError("graph: expected outputs, got none")
        self.unlike_layers: str | None = None
        self._allow_nonfinite = allow_nonfinite
        self._constants = held
        self._nodes = self._arranged(graph, tensors)

    def _arranged(self, graph: GraphProto, tensors: Tensors) -> list[Node]:
        """The nodes in order, those of constants computed, those that are recurrent checked."""
        defined = {*self._constants, *self.inputs}
        nodes = []
        for proto in graph.node:
            self._budget.spend("graph", EACH)
            node = Node.read(proto, self.opset, tensors)
            for name in node.inputs:
                if name and name not in defined:
                    raise ValueError(
                        f"{node.label}: input {name!r:.80}: expected an input of the graph, a "
                        "constant or the output of a node before it, got none of that name"
                    )
            for name in filter(None, node.outputs):
                if name in defined:
                    raise ValueError(
                        f"{node.label}: output {name!r:.80}: expected a name of its own"
                    )
                defined.add(name)
            self._check_weights(node)
            if node.recurrence is None and all(n in self._constants for n in node.inputs if n):
                self._fold(node)
                continue
            if node.recurrence is not None and (weights := self._weights(node)) is not None:
                node.recurrence.check(*weights)
                self._check_states(node, node.recurrence, weights[0][1])
            nodes.append(node)
        for name in self.outputs:
            if name not in defined:
                raise ValueError(
                    f"output {name!r:.80}: expected the name of a value, got none such"
                )
        return nodes

    def _check_weights(self, node: Node) -> None:
        if node.op not in WEIGHTED or self._allow_nonfinite:
            return
        for name in node.inputs:
            a = self._constants.get(name)
            if a is not None and a.dtype.kind == "f" and not self._budget.finite(node.label, a):
                raise ValueError(
                    f"{node.label}: {name!r:.80}: expected finite numbers, got NaN or infinity "
                    "(allow_nonfinite=True takes them)"
                )

    def _fold(self, node: Node) -> None:
        """Compute what is made of constants, such as sizes and zeros that exporters write."""
        found = node([self._constants.get(name) for name in node.inputs], self._budget)
        for name, a in zip(node.outputs, found, strict=False):
            self._budget.hold(node.label, a)
            self._constants[name] = a

    def _weights(self, node: Node) -> tuple[list[Array | None], Array | None] | None:
        """W, R and B, and P of a recurrent node, if they are constants."""
        names = [*node.inputs, *[""] * (8 - len(node.inputs))]
        # An omitted bias is as constant as one that is there.
        wanted = [*names[1:4], names[7]]
        if not all(not name or name in self._constants for name in wanted):
            return None
        *weights, peepholes = (self._constants.get(name) for name in wanted)
        return weights, peepholes

    def _check_states(self, node: Node, recurrence: Recurrence, r: Array | None) -> None:
        for index in range(len(recurrence.kind.states)):
            a = (
                self._constants.get(node.inputs[5 + index])
                if len(node.inputs) > 5 + index
                else None
            )
            if a is not None and r is not None:
                recurrence.check_state(index, a, r.shape[2])

    def prepare(self) -> None:
        """Make the networks of nodes whose parameters are constants."""
        for node in self._nodes:
            if node.recurrence is not None and (weights := self._weights(node)) is not None:
                node.recurrence.prepare(*weights, self._budget)

    def __call__(
        self, inputs: Mapping[str, Any] | None = None, /, **named: Any
    ) -> dict[str, Array]:
        """Compute the outputs.

        Parameters
        ----------
        inputs : mapping of str to array, optional
            Under the names of `inputs`; or as keyword arguments, or some of each.

        Returns
        -------
        dict of str to array
            Under the names of `outputs`.

        Raises
        ------
        TypeError, ValueError
            If an input is missing, unexpected, or not as the graph says; or a node cannot compute
            what it gets (the message names it).
        """
        if inputs is not None and not isinstance(inputs, Mapping):
            raise TypeError(f"inputs: expected a mapping, got {kind(inputs)}")
        given = {**(inputs or {}), **named}
        missing = [n for n in self.inputs if n not in given and n not in self.defaults]
        unexpected = [n for n in given if n not in self.inputs]
        if missing or unexpected:
            raise ValueError(
                f"inputs: expected {[*self.inputs]}, got missing {missing}, unexpected {unexpected}"
            )
        values = {**self._constants, **self.defaults}
        for name, a in given.items():
            values[name] = self.inputs[name].check(np.asarray(a))
        numbers = sum(values[name].size for name in self.inputs)
        budget = CallBudget(numbers, sum(a.size for a in self._constants.values()))
        for node in self._nodes:
            found = node([values[name] if name else None for name in node.inputs], budget)
            for name, a in zip(node.outputs, found, strict=False):
                if name:
                    values[name] = a
        # Copies where an input or a constant is an output: results are the caller's to change.
        own = {id(a) for a in (*given.values(), *self._constants.values())}
        return {
            name: a.copy() if id(a) in own or not a.flags.owndata else a
            for name, a in ((name, values[name]) for name in self.outputs)
        }

    def about(self) -> list[list[str]]:
        """What ``unrolled inspect`` says of it."""
        rows = [["opset", str(self.opset)]]
        for title, values in (("input", self.inputs), ("output", self.outputs)):
            rows += [[title, str(value)] for value in values.values()]
        rows.append(["nodes", ", ".join(node.op for node in self._nodes)])
        rows.append(["numbers", str(sum(a.size for a in self._constants.values()))])
        if self.unlike_layers:
            rows.append(["no layers for", self.unlike_layers])
        return rows

    def __repr__(self) -> str:
        ops = [node.op for node in self._nodes[:12]]
        ops += ["..."] if len(self._nodes) > len(ops) else []
        inputs, outputs = (", ".join(map(shown, v)) for v in (self.inputs, self.outputs))
        return f"<Model of {', '.join(ops)}: {inputs} to {outputs}>"


def run_node(proto: NodeProto, inputs: Sequence[Array | None], version: int) -> dict[str, Array]:
    """One node by itself."""
    node = Node.read(proto, version, Tensors(None, proto.ByteSize()))
    if len(inputs) != len([name for name in node.inputs if name]):
        raise ValueError(f"{node.label}: expected {node.inputs}, got {len(inputs)} inputs")
    rest = iter(inputs)
    budget = CallBudget(sum(a.size for a in inputs if a is not None), 0)
    found = node([next(rest) if name else None for name in node.inputs], budget)
    return {n: a for n, a in zip(node.outputs, found, strict=False) if n}
