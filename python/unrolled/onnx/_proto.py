"""From a file to what the rest of this package reads: bounded, and nothing believed unchecked.

A file may be cut short, or made to do harm. Memory spent here is bounded by the size of the file
(and of the files it names beside it); sizes that a file claims are compared with the bytes that are
there before anything of that size is made.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypeAlias

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, defs, helper

from .._arguments import Array, kind
from ._fields import known, shown
from ._tensor import Tensors, text

Source: TypeAlias = "str | os.PathLike[str] | bytes | ModelProto"

OLDEST_OPSET = 7
# Nobody's model uses so many domains of operators.
MOST_DOMAINS = 64
# The field of an attribute that holds a value of its type.
VALUES = {
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.TENSOR: "t",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
}


def read(source: Source) -> tuple[ModelProto, Tensors]:
    """The model, and what reads its tensors."""
    if isinstance(source, ModelProto):
        return whole(source, "a ModelProto"), Tensors(None, source.ByteSize())
    if isinstance(source, bytes):
        return decoded(source, "bytes"), Tensors(None, len(source))
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"source: expected a path, bytes or an onnx.ModelProto, got {kind(source)}")
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"path: no such file: {str(path)!r}")
    data = path.read_bytes()
    return decoded(data, repr(str(path))), Tensors(path.parent, len(data))


def decoded(data: bytes, name: str) -> ModelProto:
    """A ModelProto from its bytes."""
    model = ModelProto()
    try:
        # Protobuf itself refuses what is nested more than a hundred deep.
        model.ParseFromString(data)
    except (DecodeError, RuntimeError, RecursionError) as error:
        raise ValueError(f"source: expected an ONNX model, got {name}: {error}") from None
    return whole(model, name)


def whole(model: ModelProto, name: str) -> ModelProto:
    """`model`, if something is in it: an empty file, and many a short one, is a valid message."""
    if not model.HasField("graph") or not model.opset_import:
        raise ValueError(f"source: expected an ONNX model, got {name}, which has no graph or opset")
    known(model, "model")
    known(model.graph, "graph")
    if model.ir_version > onnx.IR_VERSION:
        raise ValueError(
            f"ir_version: expected at most {onnx.IR_VERSION} (the newest that this onnx package "
            f"knows), got {model.ir_version}"
        )
    return model


def opset(model: ModelProto) -> int:
    """The version of the standard's operators that the model uses."""
    if model.functions:
        raise ValueError(
            f"functions: expected none (onnx.inliner.inline_local_functions expands them), got "
            f"{[function.name for function in model.functions][:8]!r:.200}"
        )
    if len(model.opset_import) > MOST_DOMAINS:
        raise ValueError(
            f"opset_import: expected at most {MOST_DOMAINS}, got {len(model.opset_import)}"
        )
    for each in model.opset_import:
        known(each, "opset_import")
    text(*(each.domain for each in model.opset_import))
    # "ai.onnx" is another name of the default domain.
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    # Of a version to come nobody can say what it means.
    newest = defs.onnx_opset_version()
    if len(versions) != 1 or not OLDEST_OPSET <= versions[0] <= newest:
        raise ValueError(
            f"opset_import: expected one version of the standard's operators, {OLDEST_OPSET} to "
            f"{newest} (the newest that this onnx package knows), got {versions[:8]}"
        )
    return int(versions[0])


def label(node: NodeProto) -> str:
    """How messages call a node."""
    op = shown(node.op_type)
    return f"node {node.name!r:.80} ({op})" if node.name else f"node {op}"


def attributes(node: NodeProto, schema: Any, tensors: Tensors) -> dict[str, Any]:
    """The values of a node's attributes, defaults of its version included; unknown ones refused."""
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        text(attribute.name, attribute.ref_attr_name)
        expected = schema.attributes.get(attribute.name)
        where = f"{label(node)}: attribute {attribute.name!r:.80}"
        if expected is None:
            raise ValueError(
                f"{where}: expected one of {sorted(schema.attributes)} (version "
                f"{schema.since_version} of the operator), got this one"
            )
        fields = known(attribute, where)
        if attribute.name in values or attribute.ref_attr_name:
            raise ValueError(f"{where}: expected a value of its own, once")
        if int(attribute.type) != int(expected.type.value):
            name = AttributeProto.AttributeType.Name(attribute.type)
            raise ValueError(f"{where}: expected type {expected.type.name}, got {name}")
        field = VALUES.get(attribute.type)
        if others := fields.keys() - {"name", "type", "doc_string", field}:
            raise ValueError(f"{where}: expected a value in {field}, got one in {sorted(others)}")
        if attribute.type == AttributeProto.TENSOR:
            values[attribute.name] = tensors.read(attribute.t, where)
        else:
            values[attribute.name] = plain(attribute, where)
    for name, expected in schema.attributes.items():
        if name in values:
            continue
        if expected.required:
            raise ValueError(f"{label(node)}: attribute {name!r:.80}: expected a value, got none")
        if expected.default_value.name:
            values[name] = plain(expected.default_value, f"{label(node)}: attribute {name!r:.80}")
    return values


def plain(attribute: AttributeProto, where: str) -> Any:
    """A number, a text, or a list of them."""
    try:
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            return value.decode()
        if attribute.type == AttributeProto.STRINGS:
            return [text.decode() for text in value]
    except ValueError as error:
        raise ValueError(f"{where}: cannot be read: {error}") from None
    return list(value) if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS) else value


def constants(graph: GraphProto, tensors: Tensors) -> dict[str, Array]:
    """The graph's initializers."""
    if graph.sparse_initializer:
        raise ValueError("sparse_initializer: expected none, got some: sparse tensors are not read")
    found: dict[str, Array] = {}
    for tensor in graph.initializer:
        text(tensor.name)
        if not tensor.name or tensor.name in found:
            raise ValueError(
                f"initializer: expected names of their own, got {tensor.name!r:.80} again"
            )
        found[tensor.name] = tensors.read(tensor)
    return found
