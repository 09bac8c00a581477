"""Files that are cut short, wrong, or made to do harm: a ValueError that says what is wrong, soon
and in bounded memory."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from hypothesis import given, settings
from hypothesis import strategies as st
from support import normal

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install '.[onnx]'")
import unrolled.onnx  # noqa: E402
from onnx import AttributeProto, TensorProto, helper, numpy_helper  # noqa: E402
from onnx_nodes import Case  # noqa: E402


def proto(**options: Any) -> Any:
    return unrolled.onnx.to_onnx(ur.LSTM(2, 3, seed=0), **options)


def cell(model: Any) -> Any:
    return next(node for node in model.graph.node if node.op_type == "LSTM")


def held(model: Any, name: str) -> Any:
    return next(t for t in model.graph.initializer if t.name.endswith(name))


def set_attribute(model: Any, name: str, value: Any) -> None:
    node = cell(model)
    for n, attribute in enumerate(node.attribute):
        if attribute.name == name:
            del node.attribute[n]
            break
    node.attribute.append(helper.make_attribute(name, value))


def add(model: Any, op: str, inputs: list[str], outputs: list[str], **more: Any) -> None:
    model.graph.node.insert(0, helper.make_node(op, inputs, outputs, name="added", **more))


def constant(model: Any, name: str, a: np.ndarray) -> None:
    model.graph.initializer.append(numpy_helper.from_array(a, name))


def damages() -> dict[str, tuple[Callable[[Any], Any], str]]:
    """What is done to a good model, and what is said of it then."""
    found: dict[str, tuple[Callable[[Any], Any], str]] = {}

    def damage(message: str) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
        def take(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
            found[function.__name__] = (function, message)
            return function

        return take

    @damage("tensor 'layers.0.l0.W': expected 2400 numbers for shape .* got 24")
    def larger_dims(m: Any) -> None:
        held(m, ".W").dims[1] = 1200

    @damage("tensor 'layers.0.l0.W': expected .* got 24")
    def absurd_dims(m: Any) -> None:
        held(m, ".W").dims[:] = [1 << 62, 1 << 62, 1 << 62]

    @damage(r"tensor 'layers.0.l0.W': expected sizes >= 0, got \(1, -1, 2\)")
    def negative_dims(m: Any) -> None:
        held(m, ".W").dims[1] = -1

    @damage(r"node 'layers.0.l0' \(LSTM\): W: expected shape .* got \(1, 2, 12\)")
    def turned_weights(m: Any) -> None:
        held(m, ".W").dims[:] = [1, 2, 12]

    @damage(r"R: expected shape \(1, 12, 3\), got \(1, 3, 12\)")
    def turned_recurrent_weights(m: Any) -> None:
        held(m, ".R").dims[:] = [1, 3, 12]

    @damage("raw_data: 95 bytes are no whole numbers")
    def bytes_missing(m: Any) -> None:
        held(m, ".W").raw_data = held(m, ".W").raw_data[:-1]

    @damage("'layers.0.l0.R': expected finite numbers, got NaN")
    def nan(m: Any) -> None:
        a = numpy_helper.to_array(held(m, ".R")).copy()
        a[0, 1, 2] = np.nan
        held(m, ".R").raw_data = a.tobytes()

    @damage("'layers.0.l0.B': expected finite numbers")
    def infinite(m: Any) -> None:
        held(m, ".B").raw_data = np.full(24, np.inf, np.float32).tobytes()

    @damage("'layers.0.l0.W': expected one of .*float32.* got FLOAT16")
    def half(m: Any) -> None:
        held(m, ".W").data_type = TensorProto.FLOAT16

    @damage("'layers.0.l0.W': expected one of .* got type 99")
    def type_of_the_future(m: Any) -> None:
        held(m, ".W").data_type = 99

    @damage("R: expected float32 or float64, as X, got float64")
    def mixed(m: Any) -> None:
        a = numpy_helper.to_array(held(m, ".R")).astype(np.float64)
        held(m, ".R").CopyFrom(numpy_helper.from_array(a, held(m, ".R").name))

    @damage("hidden_size = 4, got")
    def another_hidden_size(m: Any) -> None:
        set_attribute(m, "hidden_size", 4)

    @damage("hidden_size: expected at least 1, got -3")
    def negative_hidden_size(m: Any) -> None:
        set_attribute(m, "hidden_size", -3)

    @damage("direction: expected one of .* got 'sideways'")
    def direction(m: Any) -> None:
        set_attribute(m, "direction", "sideways")

    @damage(r"W: expected shape \(2, 4\*hidden_size")
    def one_direction_too_few(m: Any) -> None:
        set_attribute(m, "direction", "bidirectional")

    @damage("activations: expected names of .* got 'Swish'")
    def activations(m: Any) -> None:
        set_attribute(m, "activations", ["Swish"] * 3)

    @damage("activations: expected 3 names, got")
    def too_many_activations(m: Any) -> None:
        set_attribute(m, "activations", ["Tanh"] * 4)

    @damage("activation_alpha: expected no more values than .* in excess")
    def constants_nobody_takes(m: Any) -> None:
        set_attribute(m, "activation_alpha", [0.5])

    @damage("activation_alpha: expected a value for Affine")
    def constants_that_lack(m: Any) -> None:
        set_attribute(m, "activations", ["Affine"] * 3)

    @damage("clip: expected a threshold > 0, got -1")
    def clip(m: Any) -> None:
        set_attribute(m, "clip", -1.0)

    @damage("clip: expected a threshold > 0, got nan")
    def clip_nan(m: Any) -> None:
        set_attribute(m, "clip", float("nan"))

    @damage("attribute 'clip': expected type FLOAT, got INT")
    def type_of_attribute(m: Any) -> None:
        set_attribute(m, "clip", 1)

    @damage("layout: expected 0 or 1, got 7")
    def layout(m: Any) -> None:
        set_attribute(m, "layout", 7)

    @damage("attribute 'colour': expected one of .*activation_alpha")
    def unknown_attribute(m: Any) -> None:
        set_attribute(m, "colour", 1)

    @damage(r"attribute 'layout': expected one of .*version 7")
    def attribute_of_later(m: Any) -> None:
        m.opset_import[0].version = 13
        set_attribute(m, "layout", 0)

    @damage(r"node 'added' \(Conv\): expected one of .*LSTM.* got Conv")
    def unknown_node(m: Any) -> None:
        add(m, "Conv", ["x"], ["z"])

    @damage("expected the standard's domain, got 'com.microsoft'")
    def unknown_domain(m: Any) -> None:
        add(m, "Gelu", ["x"], ["z"], domain="com.microsoft")

    @damage(r"node 'added' \(If\): expected one of")
    def control_flow(m: Any) -> None:
        add(m, "If", ["x"], ["z"])

    @damage("functions: expected none .* got .*own")
    def functions(m: Any) -> None:
        m.functions.add(name="own", domain="own")

    @damage("opset_import: expected one version .* got .6.")
    def old(m: Any) -> None:
        m.opset_import[0].version = 6

    @damage("has no graph or opset")
    def no_opset(m: Any) -> None:
        del m.opset_import[:]

    @damage("opset_import: expected one version .* 7 to .* got .9999")
    def opset_of_the_future(m: Any) -> None:
        m.opset_import[0].version = 9999

    @damage("input 'nowhere': expected an input of the graph")
    def undefined(m: Any) -> None:
        cell(m).input[0] = "nowhere"

    @damage("input 'z': expected an input of the graph, a constant or the output of a node before")
    def cycle(m: Any) -> None:
        add(m, "Identity", ["z"], ["z"])

    @damage("output 'x': expected a name of its own")
    def twice(m: Any) -> None:
        add(m, "Identity", ["x"], ["x"])

    @damage("output 'nothing': expected the name of a value")
    def no_such_output(m: Any) -> None:
        m.graph.output[0].name = "nothing"

    @damage("graph: expected outputs, got none")
    def no_outputs(m: Any) -> None:
        del m.graph.output[:]

    @damage("initializer: expected names of their own, got 'layers.0.l0.W' again")
    def the_same_weights_again(m: Any) -> None:
        m.graph.initializer.append(held(m, ".W"))

    @damage("sparse_initializer: expected none")
    def sparse(m: Any) -> None:
        m.graph.sparse_initializer.add()

    @damage("'x': expected a tensor, got sequence_type")
    def sequence(m: Any) -> None:
        m.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1

    @damage("'x': expected one of .* got STRING")
    def text(m: Any) -> None:
        m.graph.input[0].type.tensor_type.elem_type = TensorProto.STRING

    @damage("expected a value of at most .* bytes, got shape")
    def bomb(m: Any) -> None:
        constant(m, "sizes", np.array([1 << 40, 1 << 20]))
        add(m, "ConstantOfShape", ["sizes"], ["z"])

    @damage("expected a value of at most .* bytes, got shape")
    def bomb_by_expansion(m: Any) -> None:
        constant(m, "sizes", np.array([1 << 33]))
        constant(m, "one", np.ones(1, np.float32))
        add(m, "Expand", ["one", "sizes"], ["z"])

    @damage("expected a value of at most .* bytes, got shape")
    def bomb_by_doubling(m: Any) -> None:
        constant(m, "z0", np.ones(16, np.float32))
        for n in reversed(range(60)):
            add(m, "Concat", [f"z{n}", f"z{n}"], [f"z{n + 1}"], axis=0)

    @damage("expected a value of at most .* bytes, got shape")
    def bomb_by_sum(m: Any) -> None:
        constant(m, "row", np.ones((1, 1 << 14), np.float32))
        constant(m, "column", np.ones((1 << 14, 1), np.float32))
        add(m, "Mul", ["row", "column"], ["z"])

    @damage("external data: expected a model read from a file")
    def external_data_of_no_file(m: Any) -> None:
        held(m, ".W").data_location = TensorProto.EXTERNAL

    @damage("attribute 'value': expected type TENSOR")
    def a_graph_as_value(m: Any) -> None:
        add(m, "Constant", [], ["z"])
        attribute = m.graph.node[0].attribute.add(name="value", type=AttributeProto.GRAPH)
        attribute.g.name = "inner"

    return found


DAMAGES = damages()


@pytest.mark.parametrize("name", DAMAGES)
def test_damage(name: str) -> None:
    harm, message = DAMAGES[name]
    model = proto()
    assert not isinstance(unrolled.onnx.load(model), unrolled.onnx.Model)
    harm(model)
    with pytest.raises(ValueError, match=message):
        unrolled.onnx.load(model)
    with pytest.raises(ValueError, match=message):
        unrolled.onnx.load(model.SerializeToString())
    assert not unrolled.onnx.Backend.is_compatible(model)


def test_nonfinite_weights_if_one_must() -> None:
    model = proto()
    DAMAGES["nan"][0](model)
    net = unrolled.onnx.load(model, allow_nonfinite=True)
    assert np.isnan(net.state_dict()["weight_hh_l0"]).sum() == 1


def test_cut_short(tmp_path: Path) -> None:
    """At every byte."""
    data = proto().SerializeToString()
    path = tmp_path / "net.onnx"
    for end in range(len(data)):
        path.write_bytes(data[:end])
        with pytest.raises(ValueError, match="expected|output|node"):
            unrolled.onnx.load(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        unrolled.onnx.load(tmp_path / "none")
    with pytest.raises(TypeError, match="source: expected a path, bytes or an onnx.ModelProto"):
        unrolled.onnx.load(3)


def test_nested_graphs() -> None:
    """A graph in an attribute of a node of a graph, and so on: deeper than protobuf reads."""
    inner = b""
    for _ in range(5000):
        # AttributeProto.g = 6, NodeProto.attribute = 5, GraphProto.node = 1.
        for tag in (0x32, 0x2A, 0x0A):
            inner = bytes([tag]) + varint(len(inner)) + inner
    data = b"\x08\x08\x3a" + varint(len(inner)) + inner
    with pytest.raises(ValueError, match="expected an ONNX model"):
        unrolled.onnx.load(data)


def test_names_that_are_no_text() -> None:
    """Protobuf lets them pass, as bytes."""
    data = proto().SerializeToString()
    for old in (b"layers.0.l0", b"layers.0.l0.W", b"hidden_size", b"h_n"):
        assert data.count(old)
        for at in (0, len(old) - 1):
            new = old[:at] + b"\xff" + old[at + 1 :]
            with pytest.raises(ValueError, match="names: expected UTF-8"):
                unrolled.onnx.load(data.replace(old, new))


def varint(n: int) -> bytes:
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes([*out, n])


def test_memory_and_time_are_bounded() -> None:
    """All bombs together: less than a small multiple of the file, no seconds."""
    for name in (n for n in DAMAGES if n.startswith(("bomb", "absurd"))):
        model = proto()
        DAMAGES[name][0](model)
        tracemalloc.start()
        start = time.perf_counter()
        with pytest.raises(ValueError):
            unrolled.onnx.load(model)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 28, f"{name}: {peak} bytes"
        assert time.perf_counter() - start < 60


# --- Data beside the model


def with_external(tmp_path: Path, **entries: str) -> Path:
    folder = tmp_path / "model"
    folder.mkdir(exist_ok=True)
    model = proto()
    tensor = held(model, ".W")
    (folder / "weights.bin").write_bytes(b"xxxx" + tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (
        {"location": "weights.bin", "offset": "4", "length": "96"} | entries
    ).items():
        tensor.external_data.add(key=key, value=value)
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def test_external_data(tmp_path: Path) -> None:
    net = unrolled.onnx.load(with_external(tmp_path))
    expected = ur.LSTM(2, 3, seed=0).state_dict()["weight_ih_l0"]
    assert np.array_equal(net.state_dict()["weight_ih_l0"], expected)


def test_external_data_that_escapes(tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_bytes(bytes(200))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "link").symlink_to(outside)
    (tmp_path / "model" / "way").symlink_to(tmp_path)
    for location in ("../secret", str(outside), "link", "way/secret", "a/../../secret", "", ".",
                     "none", "weights.bin\0", "a" * 5000):  # fmt: skip
        path = with_external(tmp_path, location=location)
        with pytest.raises(
            ValueError, match="external data: expected a file in the model's folder"
        ):
            unrolled.onnx.load(path)
    for entries in (
        {"offset": "5"}, {"offset": "-1"}, {"length": "97"}, {"length": "92"}, {"offset": "1e2"},
        {"length": str(1 << 62)}, {"offset": str(1 << 70)},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="external data: expected"):
            unrolled.onnx.load(with_external(tmp_path, **entries))


# --- Calls


def test_inputs_that_do_not_fit() -> None:
    model = unrolled.onnx.Model(proto(lengths=True))
    x, lengths = normal(4, 2, 2), np.array([4, 1], np.int32)
    assert model(x=x, lengths=lengths)["y"].shape == (4, 2, 3)
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"x": x}, ValueError, "missing .'lengths'"),
        ({"x": x, "lengths": lengths, "z": x}, ValueError, "unexpected .'z'"),
        ({"x": x.astype("f8"), "lengths": lengths}, TypeError, "x: expected float32, got float64"),
        ({"x": x[0], "lengths": lengths}, ValueError, "x: expected shape"),
        ({"x": normal(4, 2, 3), "lengths": lengths}, ValueError, "x: expected shape"),
        ({"x": x, "lengths": lengths.astype("i8")}, TypeError, "lengths: expected int32"),
        ({"x": x, "lengths": np.array([5, 1], "i4")}, ValueError, "sequence_lens: expected values"),
        ({"x": x, "lengths": np.array([-1, 1], "i4")}, ValueError, "from 0 to 4, got values"),
        ({"x": x, "lengths": np.array([1], "i4")}, ValueError, r"expected shape \(2,\)"),
    ]
    for feeds, error, message in wrong:
        with pytest.raises(error, match=message):
            model(feeds)
    with pytest.raises(TypeError, match="inputs: expected a mapping, got"):
        model([x])


def test_the_backend_refuses() -> None:
    backend = unrolled.onnx.Backend
    assert backend.supports_device("CPU") and not backend.supports_device("CUDA:1")
    case = Case("GRU")
    with pytest.raises(ValueError, match="device: expected 'CPU', got 'CUDA'"):
        backend.prepare(case.model(), "CUDA")
    with pytest.raises(TypeError, match="options: expected none, got .*fast"):
        backend.prepare(case.model(), fast=True)
    with pytest.raises(ValueError, match="missing .'W', 'R'"):
        backend.run_model(case.model(), [case.inputs()["X"]])


# --- Fuzz

GOOD = [
    proto().SerializeToString(),
    unrolled.onnx.to_onnx(
        ur.Sequential(
            ur.GRU(2, 2, num_layers=2, batch_first=True, bidirectional=True, seed=0),
            ur.Dense(4, 2, seed=0),
            ur.Activation("tanh"),
            initial_state=True,
        )
    ).SerializeToString(),
    Case("LSTM", "bidirectional", clip=0.5, peepholes=True, activations="Elu Affine Softplus")
    .model(("W", "R", "P"))
    .SerializeToString(),
]


@settings(max_examples=600, deadline=None)
@given(data=st.data())
def test_bytes_changed(data: st.DataObject) -> None:
    """Some bytes of a good file, changed: it is read, or refused with a ValueError; what is read
    runs, or refuses its input."""
    found = bytearray(data.draw(st.sampled_from(GOOD)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(found) - 1))
        found[at] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(found)))
        found[at : at + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40))
    try:
        model = unrolled.onnx.load(bytes(found))
        if isinstance(model, unrolled.onnx.Model):
            model({name: fitting(value) for name, value in model.inputs.items()})
    except ValueError:
        return


def fitting(value: unrolled.onnx.Value) -> np.ndarray:
    """Zeros as a graph expects them, as far as they are not many."""
    shape = [3 if size is None else max(0, min(size, 64)) for size in value.shape or ()]
    return np.zeros(shape, value.dtype or np.float32)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    with pytest.raises(ValueError):
        unrolled.onnx.load(data)
