"""The fields of ONNX's messages: read, known to change nothing, or refused by name.

Also those that this version of the onnx package does not know yet: what is not read could matter.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.unknown_fields import UnknownFieldSet

# For each message what is read, and after the bar what says nothing of what is computed:
# descriptions, where things come from and on which device they are to run. Training is another
# graph; value_info repeats what the nodes say.
KNOWN = {
    "ModelProto": "ir_version opset_import graph functions | producer_name producer_version domain "
    "model_version doc_string metadata_props training_info configuration",
    "OperatorSetIdProto": "domain version |",
    "GraphProto": "node initializer input output sparse_initializer | name doc_string value_info "
    "metadata_props",
    "NodeProto": "input output name op_type domain attribute | doc_string metadata_props "
    "device_configurations",
    "AttributeProto": "name ref_attr_name type f i s t g sparse_tensor tp floats ints strings "
    "tensors graphs sparse_tensors type_protos | doc_string",
    "TensorProto": "dims data_type segment float_data int32_data string_data int64_data name "
    "raw_data external_data data_location double_data uint64_data | doc_string metadata_props",
    "StringStringEntryProto": "key value |",
    "ValueInfoProto": "name type | doc_string metadata_props",
    "TypeProto": "tensor_type sequence_type map_type optional_type sparse_tensor_type opaque_type "
    "| denotation",
    "Tensor": "elem_type shape |",
    "TensorShapeProto": "dim |",
    "Dimension": "dim_value dim_param | denotation",
}
FIELDS = {name: frozenset(fields.split()) - {"|"} for name, fields in KNOWN.items()}


def known(message: Any, where: str) -> dict[str, Any]:
    """The fields that are set; refuses what is neither read nor harmless."""
    fields = {field.name: value for field, value in message.ListFields()}
    name = message.DESCRIPTOR.name
    for field in fields.keys() - FIELDS[name]:
        raise ValueError(f"{where}: {field}: expected none, got some: it is not read")
    for unknown in UnknownFieldSet(message):
        raise ValueError(
            f"{where}: field {unknown.field_number}: expected none, got some: this version of onnx "
            f"knows no such field of a {name}"
        )
    return fields


def shown(name: str) -> str:
    """A name out of a file as messages and tables show it: cut, and escaped unless it is text."""
    return name[:80] if name.isprintable() and name else f"{name!r:.80}"
