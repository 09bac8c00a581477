"""From a file to what the rest of this package reads: bounded, and nothing believed unchecked.

A file may be cut short, or made to do harm. Memory spent here is bounded by the size of the file
(and of the files it names beside it); sizes that a file claims are compared with the bytes that are
there before anything of that size is made.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    defs,
    helper,
    numpy_helper,
)

from .._arguments import Array, kind

Source: TypeAlias = "str | os.PathLike[str] | bytes | ModelProto"

# What values may be made of. Weights of half precision are refused rather than widened.
DTYPES: dict[int, np.dtype[Any]] = {
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.DOUBLE: np.dtype(np.float64),
    TensorProto.INT32: np.dtype(np.int32),
    TensorProto.INT64: np.dtype(np.int64),
    TensorProto.BOOL: np.dtype(np.bool_),
}
OLDEST_OPSET = 7


def read(source: Source) -> tuple[ModelProto, Path | None]:
    """The model, and the folder in which its external data lie, if it has one."""
    if isinstance(source, ModelProto):
        return whole(source, "a ModelProto"), None
    if isinstance(source, bytes):
        return decoded(source, "bytes"), None
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(f"source: expected a path, bytes or an onnx.ModelProto, got {kind(source)}")
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(f"path: no such file: {str(path)!r}")
    return decoded(path.read_bytes(), repr(str(path))), path.parent


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
    return model


def opset(model: ModelProto) -> int:
    """The version of the standard's operators that the model uses."""
    if model.functions:
        names = sorted(function.name for function in model.functions)
        raise ValueError(
            f"functions: expected none (onnx.inliner.inline_local_functions expands them), got "
            f"{names}"
        )
    # "ai.onnx" is another name of the default domain.
    text(*(each.domain for each in model.opset_import))
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    # Of a version to come nobody can say what it means.
    newest = defs.onnx_opset_version()
    if len(versions) != 1 or not OLDEST_OPSET <= versions[0] <= newest:
        raise ValueError(
            f"opset_import: expected one version of the standard's operators, {OLDEST_OPSET} to "
            f"{newest} (the newest that this onnx package knows), got {versions}"
        )
    return int(versions[0])


def text(*values: Any) -> None:
    """Refuse names that are no text: protobuf hands what is not UTF-8 over as bytes."""
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"names: expected UTF-8, got {value!r:.80}")


def label(node: NodeProto) -> str:
    """How messages call a node."""
    return f"node {node.name!r} ({node.op_type})" if node.name else f"node {node.op_type}"


def attributes(node: NodeProto, schema: Any, base: Path | None) -> dict[str, Any]:
    """The values of a node's attributes, defaults of its version included; unknown ones refused."""
    values: dict[str, Any] = {}
    for attribute in node.attribute:
        text(attribute.name, attribute.ref_attr_name)
        expected = schema.attributes.get(attribute.name)
        where = f"{label(node)}: attribute {attribute.name!r}"
        if expected is None:
            raise ValueError(
                f"{where}: expected one of {sorted(schema.attributes)} (version "
                f"{schema.since_version} of the operator), got this one"
            )
        if attribute.name in values or attribute.ref_attr_name:
            raise ValueError(f"{where}: expected a value of its own, once")
        if int(attribute.type) != int(expected.type.value):
            name = AttributeProto.AttributeType.Name(attribute.type)
            raise ValueError(f"{where}: expected type {expected.type.name}, got {name}")
        if attribute.type == AttributeProto.TENSOR:
            values[attribute.name] = array(attribute.t, base)
        else:
            values[attribute.name] = plain(attribute)
    for name, expected in schema.attributes.items():
        if name in values:
            continue
        if expected.required:
            raise ValueError(f"{label(node)}: attribute {name!r}: expected a value, got none")
        if expected.default_value.name:
            values[name] = plain(expected.default_value)
    return values


def plain(attribute: AttributeProto) -> Any:
    """A number, a text, or a list of them."""
    try:
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            return value.decode()
        if attribute.type == AttributeProto.STRINGS:
            return [text.decode() for text in value]
    except ValueError as error:
        raise ValueError(f"attribute {attribute.name!r}: cannot be read: {error}") from None
    return list(value) if attribute.type in (AttributeProto.INTS, AttributeProto.FLOATS) else value


def constants(graph: GraphProto, base: Path | None) -> dict[str, Array]:
    """The graph's initializers."""
    if graph.sparse_initializer:
        raise ValueError("sparse_initializer: expected none, got some: sparse tensors are not read")
    found: dict[str, Array] = {}
    for tensor in graph.initializer:
        text(tensor.name)
        if not tensor.name or tensor.name in found:
            raise ValueError(f"initializer: expected names of their own, got {tensor.name!r} again")
        found[tensor.name] = array(tensor, base)
    return found


def array(tensor: TensorProto, base: Path | None) -> Array:
    """The numbers of a tensor, read-only."""
    text(tensor.name)
    where = f"tensor {tensor.name!r}"
    dtype = DTYPES.get(tensor.data_type)
    if dtype is None:
        raise ValueError(
            f"{where}: expected one of {sorted(d.name for d in DTYPES.values())}, got "
            f"{type_name(tensor.data_type)}"
        )
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise ValueError(f"{where}: expected sizes >= 0, got {shape}")
    if tensor.HasField("segment"):
        raise ValueError(f"{where}: expected a whole tensor, got a segment")
    count = math.prod(shape)
    if tensor.data_location == TensorProto.EXTERNAL:
        a = np.frombuffer(external(tensor, base, count * dtype.itemsize), dtype.newbyteorder("<"))
    else:
        try:
            # Flat: to_array itself would make sizes up where the file has one that is negative.
            flat = TensorProto()
            flat.CopyFrom(tensor)
            del flat.dims[:]
            flat.dims.append(stored(tensor, dtype))
            a = numpy_helper.to_array(flat)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where}: cannot be read: {error}") from None
    if a.size != count:
        raise ValueError(f"{where}: expected {count} numbers for shape {shape}, got {a.size}")
    a = a.astype(dtype, copy=False).reshape(shape)
    a.flags.writeable = False
    return a


def stored(tensor: TensorProto, dtype: np.dtype[Any]) -> int:
    """How many numbers a tensor holds, whatever it says of itself."""
    if tensor.HasField("raw_data"):
        count, rest = divmod(len(tensor.raw_data), dtype.itemsize)
        if rest:
            raise ValueError(f"raw_data: {len(tensor.raw_data)} bytes are no whole numbers")
        return count
    kinds: dict[int, Any] = {
        TensorProto.FLOAT: tensor.float_data,
        TensorProto.DOUBLE: tensor.double_data,
        TensorProto.INT64: tensor.int64_data,
    }
    return len(kinds.get(tensor.data_type, tensor.int32_data))


def type_name(data_type: int) -> str:
    """What the standard calls it."""
    known = TensorProto.DataType.values()
    return TensorProto.DataType.Name(data_type) if data_type in known else f"type {data_type}"


def external(tensor: TensorProto, base: Path | None, size: int) -> bytes:
    """The bytes of a tensor in a file of its own, inside the model's folder."""
    where = f"tensor {tensor.name!r}: external data"
    said = {entry.key: entry.value for entry in tensor.external_data}
    text(*said.keys(), *said.values())
    location = said.get("location", "")
    if base is None:
        raise ValueError(f"{where}: expected a model read from a file, got one without a folder")
    folder = base.resolve()
    # Resolved, so that neither ".." nor a symbolic link leads elsewhere.
    try:
        path = (folder / location).resolve()
        inside = path.is_relative_to(folder) and not Path(location).is_absolute()
        inside = inside and path.is_file()
    except (OSError, ValueError, RuntimeError):
        inside = False
    if not inside:
        raise ValueError(f"{where}: expected a file in the model's folder, got {location!r}")
    try:
        offset, length = int(said.get("offset", "0")), int(said.get("length", str(size)))
    except ValueError:
        raise ValueError(f"{where}: expected numbers for offset and length, got {said}") from None
    if length != size or offset < 0 or offset + length > path.stat().st_size:
        raise ValueError(
            f"{where}: expected {size} bytes within {location!r}, got offset {offset} and length "
            f"{length}"
        )
    with path.open("rb") as file:
        file.seek(offset)
        data: bytes = file.read(length)
    if len(data) != length:
        raise ValueError(f"{where}: expected {length} bytes in {location!r}, got {len(data)}")
    return data
