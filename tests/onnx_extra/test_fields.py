"""Nothing in a file passes unseen: what is not read says nothing of what is computed, or is refused
by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import unrolled as ur

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install '.[onnx]'")
import unrolled.onnx  # noqa: E402
from onnx import ModelProto, TensorProto, defs, helper, numpy_helper  # noqa: E402
from unrolled.onnx._fields import FIELDS, KNOWN  # noqa: E402
from unrolled.onnx._operators import OPERATORS  # noqa: E402
from unrolled.onnx._recurrent import KINDS  # noqa: E402

# Field 8191 of any message, a number.
UNKNOWN = b"\xf8\xff\x03\x01"
NET = ur.LSTM(2, 3, seed=0)


def proto() -> ModelProto:
    """A model with a constant in a node and a tensor beside it."""
    model = unrolled.onnx.to_onnx(NET)
    node = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones(2)))
    model.graph.node.insert(0, node)
    model.graph.initializer[0].metadata_props.add(key="k", value="v")
    return model


PARTS: dict[str, Callable[[ModelProto], Any]] = {
    "model": lambda m: m,
    "opset_import": lambda m: m.opset_import[0],
    "graph": lambda m: m.graph,
    "node": lambda m: m.graph.node[1],
    "attribute": lambda m: m.graph.node[1].attribute[0],
    "tensor of an attribute": lambda m: m.graph.node[0].attribute[0].t,
    "tensor": lambda m: m.graph.initializer[0],
    "input": lambda m: m.graph.input[0],
    "output": lambda m: m.graph.output[0],
    "type": lambda m: m.graph.input[0].type,
    "tensor type": lambda m: m.graph.input[0].type.tensor_type,
    "shape": lambda m: m.graph.input[0].type.tensor_type.shape,
    "size": lambda m: m.graph.input[0].type.tensor_type.shape.dim[0],
}


@pytest.mark.parametrize("part", PARTS)
def test_fields_of_a_version_to_come(part: str) -> None:
    model = proto()
    assert repr(unrolled.onnx.load(model)) == "LSTM(2, 3)"
    PARTS[part](model).MergeFromString(UNKNOWN)
    with pytest.raises(ValueError, match=r"field 8191: expected none, got some"):
        unrolled.onnx.load(model)
    with pytest.raises(ValueError, match=r"field 8191: expected none, got some"):
        unrolled.onnx.load(model.SerializeToString())


def test_every_field_of_this_version() -> None:
    """Each field of each message that is read is known, or refused when it is there."""
    messages = [PARTS[part](proto()) for part in PARTS]
    messages.append(onnx.StringStringEntryProto())
    refused = set()
    for message in messages:
        name = message.DESCRIPTOR.name
        there = {field.name for field in message.DESCRIPTOR.fields}
        assert FIELDS[name] <= there | {"configuration", "metadata_props", "device_configurations"}
        refused |= {(name, field) for field in there - FIELDS[name]}
    assert refused >= {("GraphProto", "quantization_annotation"), ("NodeProto", "overload")}
    assert {message.DESCRIPTOR.name for message in messages} == KNOWN.keys()


REFUSED: list[tuple[Callable[[ModelProto], Any], str]] = [
    (
        lambda m: m.graph.quantization_annotation.add(tensor_name="x"),
        "graph: quantization_annotation: expected none",
    ),
    (lambda m: setattr(m.graph.node[1], "overload", "own"), r"\(LSTM\): overload: expected none"),
    (lambda m: setattr(m, "ir_version", 99), "ir_version: expected at most .* got 99"),
    (lambda m: m.functions.add(name="own"), "functions: expected none .* got .'own'."),
    (lambda m: m.graph.sparse_initializer.add(), "sparse_initializer: expected none"),
    (
        lambda m: setattr(m.graph.node[1].attribute[0], "f", 1.0),
        r"attribute '.*': expected a value in .*, got one in \['f'\]",
    ),
    (
        lambda m: m.graph.initializer[0].float_data.append(1),
        r"tensor '.*': expected data in raw_data alone, got also \['float_data'\]",
    ),
    (
        lambda m: m.graph.initializer[0].external_data.add(key="location", value="f"),
        r"tensor '.*': expected data in raw_data alone, got also \['external_data'\]",
    ),
    (
        lambda m: m.graph.initializer[0].segment.SetInParent(),
        "tensor '.*': expected a whole tensor, got a segment",
    ),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_fields_that_are_not_read(change: Callable[[ModelProto], Any], message: str) -> None:
    model = proto()
    change(model)
    with pytest.raises(ValueError, match=message):
        unrolled.onnx.load(model)


def test_fields_that_change_nothing() -> None:
    model = proto()
    model.producer_name = model.domain = model.doc_string = "somebody's"
    model.model_version = 7
    model.metadata_props.add(key="author", value="nobody")
    model.training_info.add().algorithm.node.add(op_type="Gradient")
    model.opset_import.add(domain="com.example", version=3)
    model.graph.value_info.add(name="c").type.denotation = "TENSOR"
    model.graph.node[1].doc_string = model.graph.initializer[0].doc_string = "a note"
    model.graph.input[0].type.tensor_type.shape.dim[0].denotation = "DATA_TIME"
    found = unrolled.onnx.load(model)
    assert repr(found) == "LSTM(2, 3)"
    assert all(np.array_equal(a, NET.state_dict()[n]) for n, a in found.state_dict().items())


@pytest.mark.parametrize("op", sorted({*OPERATORS, *KINDS}))
def test_attributes_that_no_operator_has(op: str) -> None:
    schema = defs.get_schema(op, 22, "")
    count = max(schema.min_input, 1 if schema.max_input else 0)
    node = helper.make_node(op, ["x"] * count, ["y"], name="odd\x1b[31m", colour=1)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 1])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "g", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    with pytest.raises(ValueError, match="attribute 'colour': expected one of") as caught:
        unrolled.onnx.load(model)
    assert str(caught.value).startswith(r"node 'odd\x1b[31m' (" + op) and "\x1b" not in str(
        caught.value
    )


def test_names_are_escaped() -> None:
    """As a terminal would take them for orders; and cut."""
    odd = "a\x1b[31m\nb" + "c" * 10**6
    changes: list[Callable[[ModelProto], Any]] = [
        lambda m: setattr(m.graph.node[1], "op_type", odd),
        lambda m: setattr(m.graph.node[1], "domain", odd),
        lambda m: setattr(m.graph.node[1].attribute[0], "name", odd),
        lambda m: setattr(m.graph.initializer[0], "name", odd),
        lambda m: setattr(m.graph.output[0], "name", odd),
        lambda m: m.functions.add(name=odd),
        lambda m: m.graph.node[1].attribute.append(helper.make_attribute("direction", odd)),
        lambda m: m.graph.node[1].attribute.append(helper.make_attribute("activations", [odd] * 3)),
        lambda m: m.graph.node[1].input.__setitem__(0, odd),
    ]
    for change in changes:
        model = proto()
        change(model)
        with pytest.raises(ValueError) as caught:
            unrolled.onnx.load(model)
        said = str(caught.value)
        assert said.isprintable() and len(said) < 1000, said[:1000]
    model = proto()
    model.graph.input[0].name = model.graph.node[1].input[0] = odd
    found = unrolled.onnx.Model(model)
    assert repr(found).isprintable()
    assert all(cell.isprintable() for row in found.about() for cell in row)
    for x in (np.ones((5, 2, 2)), np.ones((5, 2, 9), np.float32)):
        with pytest.raises((TypeError, ValueError)) as caught:
            found({odd: x})
        assert str(caught.value).isprintable() and len(str(caught.value)) < 1000
