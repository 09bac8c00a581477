"""Small ONNX files that ask for much. As a program: reads each within limits of its own."""

from __future__ import annotations

import itertools
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper
from unrolled.onnx import load

# 64 MiB, 16 times the largest file beside a model, and some for what goes by.
MEMORY, SECONDS = 400 << 20, 20

Node = Any
BOMBS: dict[str, Callable[[Path], ModelProto]] = {}


def bomb(function: Callable[[Path], ModelProto]) -> Callable[[Path], ModelProto]:
    BOMBS[function.__name__] = function
    return function


def model(nodes: list[Node], outputs: list[str], **held: Any) -> ModelProto:
    """With an input x (T, B, 4)."""
    infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "B", 4])
    tensors = [
        a if isinstance(a, TensorProto) else numpy_helper.from_array(np.asarray(a), name)
        for name, a in held.items()
    ]
    graph = helper.make_graph(nodes, "g", [x], infos, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> Node:
    return helper.make_node(op, inputs.split(","), outputs.split(","), **attributes)


def filled(name: str, *shape: int, value: Any = None) -> tuple[Node, dict[str, np.ndarray]]:
    """A node that makes a constant, and the constant that says its shape."""
    more = {} if value is None else {"value": numpy_helper.from_array(np.array([value]))}
    return node("ConstantOfShape", f"{name}_shape", name, **more), {
        f"{name}_shape": np.int64(shape)
    }


def chain(op: str, count: int, name: str, **attributes: Any) -> list[Node]:
    """Nodes one after the other, from `name` to z."""
    names = [name, *(f"{name}{n}" for n in range(1, count)), "z"]
    return [node(op, a, b, **attributes) for a, b in itertools.pairwise(names)]


X = node("Identity", "x", "y")


@bomb
def reshapes_of_a_transpose(_: Path) -> ModelProto:
    make, held = filled("a", 2000, 2000)
    nodes = [
        make,
        node("Transpose", "a", "t"),
        *(node("Reshape", "t,flat", f"r{n}") for n in range(99)),
    ]
    return model([*nodes, X], ["y"], flat=np.int64([-1]), **held)


@bomb
def flattened_transposes(_: Path) -> ModelProto:
    make, held = filled("a", 2000, 2000)
    nodes = [
        make,
        node("Transpose", "a", "t"),
        *(node("Flatten", "t", f"r{n}", axis=0) for n in range(99)),
    ]
    return model([*nodes, X], ["y"], **held)


def cells(count: int, op: str = "LSTM", gates: int = 4, size: int = 512) -> ModelProto:
    """Nodes that share their weights, one after the other, so that they could be layers."""
    w, held_w = filled("w", 1, gates * size, size)
    r, held_r = filled("r", 1, gates * size, size)
    first, held = filled("first", 1, gates * size, 4)
    nodes, value = [w, r, first, node(op, "x,first,r", "h0", hidden_size=size)], "h0"
    for n in range(1, count):
        nodes.append(node("Squeeze", f"{value},one", f"s{n}"))
        nodes.append(node(op, f"s{n},w,r", f"h{n}", hidden_size=size))
        value = f"h{n}"
    return model(nodes, [value], one=np.int64([1]), **held, **held_w, **held_r)


@bomb
def lstms_that_share_weights(_: Path) -> ModelProto:
    return cells(200)


@bomb
def grus_that_share_weights(_: Path) -> ModelProto:
    return cells(200, "GRU", 3)


@bomb
def cells_of_a_model_that_share_weights(_: Path) -> ModelProto:
    proto = cells(200)
    proto.graph.node.append(node("Sub", "h199,h199", "odd"))
    proto.graph.output[0].name = "odd"
    return proto


def formulas(direction: str) -> ModelProto:
    """Nodes with a formula each, for every one has another threshold; sharing weights."""
    nodes, value = [], "x"
    for n in range(5000):
        more = {"clip": 1 + n / 1000, "direction": direction, "hidden_size": 4}
        nodes += [
            node("LSTM", f"{value},w,r", f"h{n}", **more),
            node("Squeeze", f"h{n},one", f"s{n}"),
        ]
        value = f"s{n}"
    w = np.ones((1, 16, 4), np.float32)
    return model(nodes, [value], one=np.int64([1]), w=w, r=w)


@bomb
def formulas_of_layers(_: Path) -> ModelProto:
    return formulas("forward")


@bomb
def formulas_of_a_model(_: Path) -> ModelProto:
    return formulas("reverse")


@bomb
def products_that_share_weights(_: Path) -> ModelProto:
    make, held = filled("w", 2000, 2000)
    first, held_first = filled("first", 4, 2000)
    nodes = [make, first, node("MatMul", "x,first", "p0")]
    nodes += [node("MatMul", f"p{n},w", f"p{n + 1}") for n in range(200)]
    return model(nodes, ["p200"], **held, **held_first)


def beside(folder: Path, size: int) -> TensorProto:
    (folder / "weights.bin").write_bytes(bytes(4 * size))
    tensor = TensorProto(
        dims=[size], data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


@bomb
def one_file_under_many_names(folder: Path) -> ModelProto:
    proto = model([X], ["y"])
    for n in range(100):
        proto.graph.initializer.append(beside(folder, 1 << 22))
        proto.graph.initializer[-1].name = f"w{n}"
    return proto


@bomb
def one_file_in_many_nodes(folder: Path) -> ModelProto:
    tensor = beside(folder, 1 << 22)
    nodes = [helper.make_node("Constant", [], [f"c{n}"]) for n in range(100)]
    for each in nodes:
        each.attribute.append(helper.make_attribute("value", tensor))
    return model([*nodes, X], ["y"])


def powers(value: Any, count: int = 50, size: int = 2000) -> ModelProto:
    make, held = filled("a", size, size, value=value)
    nodes = [
        make,
        *(node("MatMul", f"{'m' if n else 'a'}{n or ''},a", f"m{n + 1}") for n in range(count)),
    ]
    return model([*nodes, X], ["y"], **held)


@bomb
def products_of_products(_: Path) -> ModelProto:
    return powers(np.float32(1))


@bomb
def products_of_integers(_: Path) -> ModelProto:
    return powers(np.int64(1), 1)


@bomb
def products_of_denormals(_: Path) -> ModelProto:
    return powers(np.float32(1e-39), 50, 1000)


@bomb
def products_of_small_matrices(_: Path) -> ModelProto:
    return powers(np.int64(1), 3000, 200)


@bomb
def dot_products(_: Path) -> ModelProto:
    make, held = filled("a", 1 << 20, value=np.int64(1))
    return model([make, *(node("MatMul", "a,a", f"d{n}") for n in range(9999)), X], ["y"], **held)


@bomb
def gemms(_: Path) -> ModelProto:
    make, held = filled("a", 1000, 1000, value=np.int64(2))
    nodes = [node("Gemm", "a,a", f"g{n}", transA=1, transB=1) for n in range(99)]
    return model([make, *nodes, X], ["y"], **held)


@bomb
def many_activations(_: Path) -> ModelProto:
    return model([*chain("Relu", 20000, "x")], ["z"])


@bomb
def many_products(_: Path) -> ModelProto:
    names = ["x", *(f"p{n}" for n in range(20000))]
    nodes = [node("MatMul", f"{a},w", b) for a, b in itertools.pairwise(names)]
    return model(nodes, names[-1:], w=np.eye(4, dtype=np.float32))


@bomb
def many_gates(_: Path) -> ModelProto:
    """x * sigmoid(x), over and over."""
    nodes, value = [], "x"
    for n in range(10000):
        nodes += [node("Sigmoid", value, f"s{n}"), node("Mul", f"{value},s{n}", f"m{n}")]
        value = f"m{n}"
    return model(nodes, [value])


@bomb
def far_too_many_nodes(_: Path) -> ModelProto:
    return model([*chain("Relu", 150_000, "x")], ["z"])


@bomb
def looking_for_nan_again_and_again(_: Path) -> ModelProto:
    make, held = filled("a", 3000, 1000)
    nodes = [helper.make_node("MatMul", ["x", "a"], [f"y{n}"]) for n in range(1000)]
    return model([make, *nodes], ["y0"], **held)


@bomb
def looking_for_nan_in_views(_: Path) -> ModelProto:
    make, held = filled("a", 3000, 1000)
    nodes = []
    for n in range(1000):
        nodes += [
            node("Transpose", "a", f"t{n}"),
            helper.make_node("MatMul", ["x", f"t{n}"], [f"y{n}"]),
        ]
    return model([make, *nodes], ["y0"], **held)


@bomb
def looking_for_zeros_again_and_again(_: Path) -> ModelProto:
    """As constants that become initial states."""
    nodes: list[Node] = [node("Shape", "x", "shape")]
    make, held = filled("a", 1, 3000, 1000)
    nodes += [make, *(node("Expand", "a,shape", f"e{n}") for n in range(5000))]
    cell = helper.make_node("RNN", ["x", "w", "r", "", "", "e0"], ["y"], hidden_size=4)
    square = np.ones((1, 4, 4), np.float32)
    return model([*nodes, cell], ["y"], w=square, r=square, **held)


@bomb
def looking_for_zeros_in_peepholes(_: Path) -> ModelProto:
    make, held = filled("p", 1, 3 << 22)
    w, r = np.ones((1, 16, 4), np.float32), np.ones((1, 16, 4), np.float32)
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r", "", "", "", "", "p"], [f"y{n}"], hidden_size=4)
        for n in range(3000)
    ]
    return model([make, *nodes], ["y0"], w=w, r=r, **held)


@bomb
def values_made_by_repetition(_: Path) -> ModelProto:
    row = numpy_helper.from_array(np.ones((1, 1024), np.float32), "row")
    nodes = [node("Gather", "row,many", f"g{n}") for n in range(99)]
    make, held = filled("many", 4096, value=np.int64(0))
    return model([make, *nodes, X], ["y"], row=row, **held)


@bomb
def values_made_by_joining(_: Path) -> ModelProto:
    return model(
        [node("Concat", "a" + ",a" * 9999, f"c{n}", axis=0) for n in range(9)] + [X], ["y"],
        a=np.ones(4096, np.float32),
    )  # fmt: skip


@bomb
def values_made_by_doubling(_: Path) -> ModelProto:
    nodes = [node("Concat", f"a{n or ''},a{n or ''}", f"a{n + 1}", axis=0) for n in range(60)]
    return model([*nodes, X], ["y"], a=np.ones(4, np.float32))


@bomb
def values_made_by_casting(_: Path) -> ModelProto:
    make, held = filled("a", 1 << 22, value=np.bool_(1))
    return model(
        [make, *(node("Cast", "a", f"c{n}", to=TensorProto.DOUBLE) for n in range(99)), X],
        ["y"],
        **held,
    )


@bomb
def values_made_by_expansion(_: Path) -> ModelProto:
    nodes = [node("Expand", "one,sizes", f"e{n}") for n in range(99)]
    return model([*nodes, X], ["y"], one=np.ones(1, np.float32), sizes=np.int64([1 << 21]))


@bomb
def values_made_by_dropout(_: Path) -> ModelProto:
    make, held = filled("a", 1 << 21)
    return model(
        [make, *(node("Dropout", "a", f"d{n},m{n}") for n in range(999)), X], ["y"], **held
    )


@bomb
def values_made_by_sums(_: Path) -> ModelProto:
    return model(
        [node("Add", "row,column", f"s{n}") for n in range(99)] + [X], ["y"],
        row=np.ones((1, 2048), np.float32), column=np.ones((2048, 1), np.float32),
    )  # fmt: skip


@bomb
def exponentials(_: Path) -> ModelProto:
    make, held = filled("a", 1 << 20)
    return model([make, *(node("Softplus", "a", f"s{n}") for n in range(9999)), X], ["y"], **held)


@bomb
def quotients(_: Path) -> ModelProto:
    make, held = filled("a", 1 << 20, value=np.int64(3))
    return model([make, *(node("Div", "a,a", f"d{n}") for n in range(9999)), X], ["y"], **held)


@bomb
def states_joined_with_themselves(_: Path) -> ModelProto:
    square = np.ones((1, 4, 4), np.float32)
    nodes = [node("RNN", "x,w,r", "y,h", hidden_size=4)]
    nodes += [node("Concat", f"h{n or ''},h{n or ''}", f"h{n + 1}", axis=0) for n in range(60)]
    return model(nodes, ["h60"], w=square, r=square)


@bomb
def lists_of_millions(_: Path) -> ModelProto:
    make, held = filled("a", 1 << 21, value=np.int64(1))
    return model([make, *(node("Reshape", "x,a", f"r{n}") for n in range(99))], ["r0"], **held)


@bomb
def axes_of_millions(_: Path) -> ModelProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1 << 62] * 1_000_000)
    return model([X], ["y"], w=tensor)


@bomb
def sizes_without_numbers(_: Path) -> ModelProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[0, 1 << 62, 1 << 62])
    return model([X], ["y"], w=tensor)


@bomb
def products_over_nothing(_: Path) -> ModelProto:
    """(2^30, 0) times (0, 2^10) is a matrix of zeros."""
    a, held_a = filled("a", 1 << 30, 0)
    b, held_b = filled("b", 0, 1 << 10)
    return model([a, b, node("MatMul", "a,b", "c"), X], ["y"], **held_a, **held_b)


@bomb
def messages_of_nothing(_: Path) -> ModelProto:
    proto = model([X], ["y"])
    proto.graph.node.extend([helper.make_node("", [], []) for _ in range(200_000)])
    return proto


def repeated(field: str, message: Any, nbytes: int = 4_000_000) -> ModelProto:
    """A graph with so many bytes of one and the same message."""
    proto = model([X], ["y"])
    count = nbytes // (message.ByteSize() + 2)
    holder = proto if field == "opset_import" else proto.graph
    getattr(holder, field).extend([message] * count)
    return proto


@bomb
def a_million_nodes(_: Path) -> ModelProto:
    return repeated("node", onnx.NodeProto())


@bomb
def a_million_inputs(_: Path) -> ModelProto:
    return repeated("input", onnx.ValueInfoProto(name="z"))


@bomb
def a_million_outputs(_: Path) -> ModelProto:
    return repeated("output", onnx.ValueInfoProto(name="y"))


@bomb
def a_million_domains(_: Path) -> ModelProto:
    return repeated("opset_import", onnx.OperatorSetIdProto())


@bomb
def a_million_tensors(_: Path) -> ModelProto:
    return repeated("initializer", TensorProto())


@bomb
def a_million_notes(_: Path) -> ModelProto:
    return repeated("metadata_props", onnx.StringStringEntryProto())


@bomb
def a_million_attributes(_: Path) -> ModelProto:
    many = onnx.NodeProto(op_type="Relu", input=["x"], output=["y"])
    many.attribute.extend([onnx.AttributeProto(name="a")] * 400_000)
    proto = model([], ["y"])
    proto.graph.node.append(many)
    return proto


@bomb
def a_million_sizes(_: Path) -> ModelProto:
    proto = model([X], ["y"])
    dims = proto.graph.input[0].type.tensor_type.shape.dim
    dims.extend([onnx.TensorShapeProto.Dimension()] * 1_000_000)
    return proto


@bomb
def a_million_unknown_fields(_: Path) -> ModelProto:
    proto = model([X], ["y"])
    proto.MergeFromString(b"\xf8\xff\x03\x01" * 1_000_000)
    return proto


def read(path: Path) -> str:
    """What comes of it, within the limits."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    used = int(time.process_time())
    resource.setrlimit(resource.RLIMIT_CPU, (used + SECONDS, used + SECONDS))
    try:
        return f"read {type(load(path)).__name__}"
    except ValueError as error:
        return f"refused {error}"


def main() -> None:
    """Read each in a process of its own, and print what came of it as JSON."""
    found = {}
    for name, make in BOMBS.items():
        with tempfile.TemporaryDirectory() as folder:
            path, out = Path(folder, "net.onnx"), Path(folder, "out")
            path.write_bytes(make(Path(folder)).SerializeToString())
            child = os.fork()
            if child == 0:
                # Whatever happens, the child does not go on with the parent's work.
                try:
                    out.write_text(read(path))
                finally:
                    os._exit(0)
            status = os.waitpid(child, 0)[1]
            found[name] = out.read_text() if out.exists() else f"ended by {status}"
    print(json.dumps(found))


if __name__ == "__main__":
    main()
