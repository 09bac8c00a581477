"""Networks to ONNX and back, other programs' graphs as layers, and what they are when not."""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import VARIANTS, Variant, arrays, make, normal, same
from tolerances import assert_close

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install '.[onnx]'")
import unrolled.onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_nodes import Case  # noqa: E402

A = ur.Activation
EXPRESSIBLE = [v for v in VARIANTS if not {"proj_size", "forget_gate"} & v.arguments.keys()]
SHAPES = [
    dict(zip(("num_layers", "bidirectional", "batch_first", "bias"), values, strict=True))
    for values in itertools.product((1, 2), (False, True), (False, True), (False, True))
]


def peer(proto: Any, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """ONNX Runtime's outputs by name."""
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return dict(zip(proto_outputs(proto), session.run(None, feeds), strict=True))


def proto_outputs(proto: Any) -> list[str]:
    return [info.name for info in proto.graph.output]


def equal(a: Any, b: Any) -> bool:
    """Whether two models have the same parameters to the last bit."""
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(same(a[key], b[key]) for key in a)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "-".join(k for k in s if s[k]))
@pytest.mark.parametrize("variant", EXPRESSIBLE, ids=str)
@pytest.mark.parametrize("inputs", [False, True], ids=["x", "x-state-lengths"])
def test_there_and_back(variant: Variant, shape: dict[str, Any], inputs: bool) -> None:
    net = make(variant, **shape)
    proto = unrolled.onnx.to_onnx(net, state=inputs, lengths=inputs)
    onnx.checker.check_model(proto, full_check=True)
    # Sizes of T and B that no export has seen.
    for steps, batch in ((5, 4), (1, 1), (7, 2)):
        x = normal(batch, steps, 3) if net.batch_first else normal(steps, batch, 3)
        feeds, state, lengths = {"x": x}, None, None
        if inputs:
            lengths = np.linspace(steps, 1, batch).astype(np.int32)
            parts = tuple(
                normal(net.num_layers * net.num_directions, batch, 6, seed=seed)
                for seed in range(2 if variant.cell == "LSTM" else 1)
            )
            feeds |= {"lengths": lengths} | dict(zip(("h_0", "c_0"), parts, strict=False))
            state = parts if len(parts) == 2 else parts[0]
        y, end = net(x, state, lengths=lengths)
        expected = dict(zip(("y", "h_n", "c_n"), (y, *arrays(end)), strict=False))
        found = unrolled.onnx.Model(proto)(feeds)
        for name, a in peer(proto, feeds).items():
            assert_close(a, expected[name], "peer.float32", name)
            # The same kernels, the same bits.
            assert same(found[name], expected[name])
    back = unrolled.onnx.load(proto)
    assert repr(back) == repr(net)
    assert equal(back, net)


@pytest.mark.parametrize("variant", EXPRESSIBLE, ids=str)
def test_float64(variant: Variant) -> None:
    """ONNX Runtime has no float64 for these; the file is valid, and comes back."""
    net = make(variant, num_layers=2, bidirectional=True, dtype="float64")
    back = unrolled.onnx.load(unrolled.onnx.to_onnx(net))
    assert repr(back) == repr(net)
    assert equal(back, net)


@pytest.mark.parametrize("opset", [14, 17, 22])
def test_versions(opset: int) -> None:
    net = ur.GRU(3, 4, bidirectional=True, seed=0)
    proto = unrolled.onnx.to_onnx(net, opset=opset)
    assert proto.opset_import[0].version == opset
    x = normal(3, 2, 3)
    assert_close(peer(proto, {"x": x})["y"], net(x)[0], "peer.float32", "y")


def seeded(model: ur.Sequential) -> ur.Sequential:
    """With an initial state that is not zero."""
    parameters = model.state_dict()
    model.load_state_dict(
        {
            key: normal(*a.shape, seed=n) if key.endswith("_0") else a
            for n, (key, a) in enumerate(parameters.items())
        }
    )
    return model


MODELS = {
    "read-out": ur.Sequential(ur.LSTM(3, 8, seed=0), ur.Dense(8, 2, seed=1), A("tanh")),
    "both-directions": ur.Sequential(
        ur.Dense(3, 4, bias=False, seed=0),
        A("silu"),
        ur.GRU(4, 5, num_layers=2, bidirectional=True, batch_first=True, seed=1),
        ur.LSTM(10, 3, batch_first=True, seed=2),
        A("softmax"),
    ),
    "two-of-a-kind": ur.Sequential(ur.LSTM(3, 8, seed=0), ur.LSTM(8, 8, seed=1)),
    "initial-state": seeded(
        ur.Sequential(
            ur.RNN(3, 8, num_layers=2, seed=0),
            A("relu"),
            ur.LSTM(8, 8, seed=1, bidirectional=True),
            initial_state=True,
        )
    ),
    "dense": ur.Sequential(
        ur.Dense(3, 4, seed=0),
        A("elu", alpha=0.5),
        ur.Dense(4, 2, seed=1),
        A("hard_sigmoid", alpha=0.25),
        A("leaky_relu", alpha=0.125),
        A("softsign"),
        A("sigmoid"),
    ),
}


@pytest.mark.parametrize("model", MODELS.values(), ids=[*MODELS])
def test_sequential(model: ur.Sequential) -> None:
    proto = unrolled.onnx.to_onnx(model)
    recurrent = any(not isinstance(m, (ur.Dense, A)) for m in model.layers)
    x = normal(4, 5, 3) if recurrent else normal(7, 3)
    y, states = model(x)
    flat = [a for state in states for a in arrays(state)]
    found = peer(proto, {"x": x})
    for (name, a), e in zip(found.items(), (y, *flat), strict=True):
        assert_close(a, e, "peer.float32", name)
    back = unrolled.onnx.load(proto)
    assert repr(back) == repr(model)
    assert equal(back, model)
    assert same(back(x)[0], y)


@pytest.mark.parametrize("batch_first", [False, True])
def test_residual(batch_first: bool) -> None:
    """Sums with what was read before and after time came first; wider, and as wide."""
    model = ur.Sequential(
        ur.Dense(3, 5, seed=0),
        A("tanh"),
        ur.LSTM(5, 6, batch_first=batch_first, seed=1),
        ur.Dense(6, 3, seed=2),
        ur.Residual(),
        ur.Residual(since=1),
        ur.GRU(3, 2, batch_first=batch_first, seed=3),
        ur.Residual(since=6),
        ur.Residual(since=2),
        ur.Residual(since=8),
    )
    proto = unrolled.onnx.to_onnx(model)
    # Sizes of T and B that no export has seen, and that cannot be taken for each other.
    for shape in ((7, 4, 3), (1, 1, 3)):
        x = normal(*shape)
        y, states = model(x)
        found = peer(proto, {"x": x})
        for (name, a), e in zip(
            found.items(), (y, *arrays(states[0]), *arrays(states[1])), strict=True
        ):
            assert_close(a, e, "peer.float32", name)
        back = unrolled.onnx.load(proto)
        assert isinstance(back, unrolled.onnx.Model) and "sum" in (back.unlike_layers or "")
        assert_close(back({"x": x})["y"], y, "peer.float32", "graph")


@pytest.mark.parametrize("model", ["plug-in", "activations"])
def test_residual_of_rows(model: str) -> None:
    """Nothing is cut where as many come, nor turned where time comes first anyway."""
    if model == "activations":
        net, x = ur.Sequential(A("tanh"), ur.Residual()), normal(7, 3)
        operators = ["Tanh", "Add"]
    else:
        net = ur.Sequential(ur.GRU(1, 4, seed=0), ur.Dense(4, 1, seed=1), ur.Residual())
        operators, x = ["GRU", "Squeeze", "MatMul", "Add", "Add"], normal(9, 2, 1)
    proto = unrolled.onnx.to_onnx(net)
    assert [node.op_type for node in proto.graph.node] == operators
    assert_close(peer(proto, {"x": x})["y"], net(x)[0], "peer.float32", "y")


def test_states_and_lengths_of_a_sequential() -> None:
    model = MODELS["both-directions"]
    proto = unrolled.onnx.to_onnx(model, state=True, lengths=True)
    x, lengths = normal(4, 5, 3), np.array([5, 1, 3, 2], np.int32)
    states = (normal(4, 4, 5, seed=1), (normal(1, 4, 3, seed=2), normal(1, 4, 3, seed=3)))
    feeds = {"x": x, "lengths": lengths, "2.h_0": states[0]}
    feeds |= {"3.h_0": states[1][0], "3.c_0": states[1][1]}
    y, ends = model(x, states, lengths=lengths)
    found = peer(proto, feeds)
    assert [*found] == ["y", "2.h_n", "3.h_n", "3.c_n"]
    for (name, a), e in zip(found.items(), (y, ends[0], *ends[1]), strict=True):
        assert_close(a, e, "peer.float32", name)
    back = unrolled.onnx.load(proto)
    assert repr(back) == repr(model)
    assert same(back(x, states, lengths=lengths)[0], y)


def test_a_dense_alone() -> None:
    dense = ur.Dense(3, 2, seed=0)
    proto = unrolled.onnx.to_onnx(dense)
    x = normal(4, 3)
    assert_close(peer(proto, {"x": x})["y"], dense(x), "peer.float32", "y")
    assert equal(unrolled.onnx.load(proto), dense)


def test_files(tmp_path: Path) -> None:
    """ONNX is one of the formats that `load` and `export` know."""
    net = ur.LSTM(3, 4, seed=0)
    path = tmp_path / "net.onnx"
    unrolled.onnx.save(net, path)
    assert equal(unrolled.onnx.load(path), net)
    assert equal(unrolled.onnx.load(path.read_bytes()), net)
    assert equal(ur.load(path), net)
    # By what is in it, not by its name.
    other = tmp_path / "net"
    path.rename(other)
    assert equal(ur.load(other), net)
    ur.export(net, path)
    assert path.read_bytes() == other.read_bytes()
    other.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match="expected an ONNX model"):
        ur.load(other)


def test_what_onnx_cannot_say() -> None:
    to_onnx = unrolled.onnx.to_onnx
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (ur.LSTM(1, 4, proj_size=2), {}, "model: expected proj_size = 0.*got 2"),
        (ur.LSTM(1, 4, forget_gate=False), {}, "forget_gate = True.*got False"),
        (ur.Sequential(A("tanh"), ur.LSTM(1, 4, proj_size=2)), {}, r"layers\[1\].*proj_size"),
        (ur.Dense(1, 1), {"state": True}, "state: expected False"),
        (ur.Dense(1, 1), {"lengths": True}, "lengths: expected False"),
        (ur.GRU(1, 1), {"opset": 23}, "opset: expected 14 to 22, got 23"),
        (ur.GRU(1, 1), {"opset": 13}, "opset: expected .*14.*13"),
        (
            ur.Sequential(ur.Dense(1, 1, dtype="float64"), A("hard_sigmoid")),
            {},
            r"layers\[1\]: expected alpha to be a number of float32",
        ),
    ]
    for model, options, message in wrong:
        with pytest.raises(ValueError, match=message):
            to_onnx(model, **options)
    with pytest.raises(TypeError, match="model: expected an LSTM, .*got int"):
        to_onnx(3)


# --- Other programs' graphs


def graph(
    nodes: list[Any], inputs: dict[str, list[Any]], outputs: list[str], opset: int = 17, **held: Any
) -> Any:
    """A model of these nodes; `held` are its constants."""
    return helper.make_model(
        helper.make_graph(
            nodes,
            "graph",
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
            [numpy_helper.from_array(a, n) for n, a in held.items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )


def test_a_node_alone() -> None:
    """What the node gives is what the network gives, reshaped."""
    for op, direction, bias in itertools.product(
        ("LSTM", "GRU", "RNN"), ("forward", "bidirectional"), (False, True)
    ):
        case = Case(op, direction, bias=bias, initial="hc" if op == "LSTM" else "h")
        held = tuple(n for n in ("W", "R", "B") if n in case.arrays())
        proto = case.model(held)
        net = unrolled.onnx.load(proto)
        assert type(net).__name__ == op
        given = case.inputs()
        states = [given[n] for n in ("initial_h", "initial_c") if n in given]
        y, end = net(given["X"], tuple(states) if op == "LSTM" else states[0])
        found = unrolled.onnx.Model(proto)({n: a for n, a in given.items() if n not in held})
        steps, directions, batch, hidden = found["Y"].shape
        joined = found["Y"].swapaxes(1, 2).reshape(steps, batch, directions * hidden)
        assert same(y, np.ascontiguousarray(joined))
        assert all(same(a, e) for a, e in zip(arrays(end), list(found.values())[1:], strict=True))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"direction": "reverse"}, "direction reverse"),
        (
            {"direction": "bidirectional", "activations": "HardSigmoid Tanh Tanh"},
            "activations that differ between directions",
        ),
    ],
    ids=str,
)
def test_what_no_layer_is(changes: dict[str, Any], why: str) -> None:
    """A node that is none of our cells is run as it is, and the model says why."""
    case = Case("LSTM", **changes)
    held = tuple(n for n in ("W", "R", "P") if n in case.arrays())
    model = unrolled.onnx.load(case.model(held))
    assert isinstance(model, unrolled.onnx.Model)
    assert model.unlike_layers == f"node 'cell' (LSTM): {why}, which no layer has"
    assert model(X=case.inputs()["X"])["Y"].shape == (5, case.directions, 3, 4)


def recurrent_parts() -> tuple[ur.GRU, dict[str, np.ndarray]]:
    net = ur.GRU(3, 4, seed=0)
    held = {t.name: numpy_helper.to_array(t) for t in unrolled.onnx.to_onnx(net).graph.initializer}
    return net, {k.rpartition(".")[2]: a for k, a in held.items() if k.startswith("layers")}


def test_a_classifier_of_the_last_state() -> None:
    """No chain of sequences, so a Model; the same numbers as ONNX Runtime."""
    net, held = recurrent_parts()
    held |= {"V": normal(2, 4), "v": normal(2)}
    proto = graph(
        [
            helper.make_node(
                "GRU", ["x", "W", "R", "B"], ["", "h"], hidden_size=4, linear_before_reset=1
            ),
            helper.make_node("Squeeze", ["h", "axes"], ["last"]),
            helper.make_node("Gemm", ["last", "V", "v"], ["logits"], transB=1, alpha=0.5),
            helper.make_node("Softmax", ["logits"], ["p"]),
        ],
        {"x": ["T", "B", 3]},
        ["p"],
        axes=np.array([0]),
        **held,
    )
    model = unrolled.onnx.load(proto)
    assert isinstance(model, unrolled.onnx.Model) and model.unlike_layers
    x = normal(5, 2, 3)
    found = model(x=x)["p"]
    assert_close(found, peer(proto, {"x": x})["p"], "peer.float32", "p")
    h = net(x)[1][0]
    logits = 0.5 * (h @ held["V"].T) + held["v"]
    e = np.exp(logits - logits.max(-1, keepdims=True))
    assert_close(found, e / e.sum(-1, keepdims=True), "reference.output.float32", "p")


@pytest.mark.parametrize("break_at", ["order", "axis", "branch", "unused", "bias", "none"])
def test_what_only_looks_like_a_chain(break_at: str) -> None:
    """Each of these differs in one thing from a GRU with a read-out, and must not become one."""
    net, held = recurrent_parts()
    held |= {"V": normal(4, 2), "v": normal(2)}
    inputs: dict[str, list[Any]] = {"x": ["T", "B", 3]}
    bias = "v"
    nodes = [
        helper.make_node("GRU", ["x", "W", "R", "B"], ["Y"], hidden_size=4, linear_before_reset=1),
        helper.make_node("Squeeze", ["Y", "axes"], ["s"]),
        helper.make_node("MatMul", ["s", "V"], ["m"]),
        helper.make_node("Add", ["m", bias], ["a"]),
        helper.make_node("Softmax", ["a"], ["y"], axis=-1),
    ]
    if break_at == "order":
        nodes[-1] = helper.make_node("Transpose", ["a"], ["y"], perm=[1, 0, 2])
    elif break_at == "axis":
        nodes[-1] = helper.make_node("Softmax", ["a"], ["y"], axis=0)
    elif break_at == "branch":
        nodes[-1] = helper.make_node("Add", ["a", "m"], ["y"])
    elif break_at == "unused":
        inputs["unread"] = ["T"]
    elif break_at == "bias":
        held["v"] = normal(2, 2)
    proto = graph(nodes, inputs, ["y"], axes=np.array([1]), **held)
    found = unrolled.onnx.load(proto)
    x = normal(2, 2, 3)
    feeds = {"x": x} | ({"unread": normal(1)} if break_at == "unused" else {})
    expected = peer(proto, feeds)["y"]
    if break_at == "none":
        assert isinstance(found, ur.Sequential)
        got = found(x)[0]
    else:
        assert isinstance(found, unrolled.onnx.Model), found
        got = found(feeds)["y"]
    assert_close(got, expected, "peer.float32", break_at)


def test_layout_1_is_batch_first() -> None:
    case = Case("GRU", layout=1, linear_before_reset=1, bias=True)
    net = unrolled.onnx.load(case.model(("W", "R", "B")))
    assert isinstance(net, ur.GRU) and net.batch_first and net.reset_after
    x = case.inputs()["X"]
    found = unrolled.onnx.Model(case.model(("W", "R", "B")))(X=x)["Y"]
    assert same(net(x)[0], np.ascontiguousarray(found[:, :, 0]))


def test_no_bias_stays_no_bias() -> None:
    net = unrolled.onnx.load(Case("RNN").model(("W", "R")))
    assert repr(net) == "RNN(2, 4, bias=False)"


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("opset", [11, 17])
def test_pytorchs_exports(kind: str, opset: int, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="needs torch")

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.cells = getattr(torch.nn, kind)(
                3, 4, num_layers=2, bidirectional=True, batch_first=True
            )
            self.read_out = torch.nn.Linear(8, 2)

        def forward(self, x: Any) -> Any:
            return torch.relu(self.read_out(self.cells(x)[0]))

    torch.manual_seed(0)
    net = Net().eval()
    x = torch.randn(5, 4, 3)
    path = tmp_path / "net.onnx"
    axes = {"x": {0: "B", 1: "T"}}
    with warnings.catch_warnings():
        # Of this exporter's age, and of what tracing cannot see.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, (x,), path, input_names=["x"], dynamic_axes=axes, opset_version=opset, dynamo=False
        )
    found = unrolled.onnx.load(path)
    assert [type(m).__name__ for m in found.layers] == [kind, "Dense", "Activation"]
    assert found.layers[0].num_layers == 2 and found.batch_first
    with torch.no_grad():
        expected = net(x).numpy()
    assert_close(found(x.numpy())[0], expected, "peer.float32", kind)


def test_nodes_that_do_not_go_together() -> None:
    """Two GRUs: of different sizes, one along the other's batch, and directions left apart."""
    net, held = recurrent_parts()
    other = {t.name: numpy_helper.to_array(t) for t in unrolled.onnx.to_onnx(
        ur.GRU(4, 5, seed=1)).graph.initializer}  # fmt: skip
    held |= {f"{k.rpartition('.')[2]}2": a for k, a in other.items() if k.startswith("layers")}
    attributes = {"linear_before_reset": 1}

    def found(between: list[Any], source: str, turned: bool) -> tuple[Any, np.ndarray]:
        nodes = [
            helper.make_node("GRU", ["x", "W", "R", "B"], ["Y"], hidden_size=4, **attributes),
            helper.make_node("Squeeze", ["Y", "axes"], ["s"]),
            *between,
            helper.make_node(
                "GRU", [source, "W2", "R2", "B2"], ["Y2"], hidden_size=5, **attributes
            ),
            helper.make_node("Squeeze", ["Y2", "axes"], ["z" if turned else "y"]),
        ]
        if turned:
            nodes.append(helper.make_node("Transpose", ["z"], ["y"], perm=[1, 0, 2]))
        proto = graph(nodes, {"x": ["T", "B", 3]}, ["y"], axes=np.array([1]), **held)
        return unrolled.onnx.load(proto), peer(proto, {"x": x})["y"]

    x = normal(3, 2, 3)
    model, expected = found([], "s", False)
    assert [type(m) for m in model.layers] == [ur.GRU, ur.GRU]
    assert_close(model(x)[0], expected, "peer.float32", "sizes")
    turn = [helper.make_node("Transpose", ["s"], ["t"], perm=[1, 0, 2])]
    model, expected = found(turn, "t", True)
    assert "time where the batch is elsewhere" in model.unlike_layers
    assert_close(model(x=x)["y"], expected, "peer.float32", "batch")


def test_directions_left_apart() -> None:
    """(T, D, B, H) after more than the node itself is not what a Sequential gives."""
    case = Case("GRU", "bidirectional", linear_before_reset=1)
    held = {name: a for name, a in case.inputs().items() if name != "X"}
    nodes = [
        helper.make_node("GRU", ["x", "W", "R"], ["Y"], **case.attributes()),
        helper.make_node("Relu", ["Y"], ["y"]),
    ]
    proto = graph(nodes, {"x": ["T", "B", 2]}, ["y"], **held)
    model = unrolled.onnx.load(proto)
    assert model.unlike_layers == "directions that stay apart"
    x = case.inputs()["X"]
    expected = peer(proto, {"x": x})["y"]
    assert expected.shape == (5, 2, 3, 4)
    assert_close(model(x=x)["y"], expected, "peer.float32", "y")


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``unrolled convert`` and ``inspect`` know ONNX, graphs that are no layers included."""
    from unrolled.__main__ import main

    source, target = tmp_path / "net.safetensors", tmp_path / "net.onnx"
    net = ur.GRU(3, 4, seed=0)
    ur.save(net, source)
    assert main(["convert", str(source), str(target)]) == 0
    assert equal(ur.load(target), net)
    assert main(["inspect", str(target)]) == 0
    assert "ONNX" in (said := capsys.readouterr().out) and "GRU(3, 4)" in said
    case = Case("LSTM", direction="reverse")
    target.write_bytes(case.model(("W", "R")).SerializeToString())
    assert main(["inspect", str(target)]) == 0
    lines = [line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines()]
    assert ["input", "X (5, 3, 2) float32"] in lines
    assert ["nodes", "LSTM"] in lines
    assert any("direction reverse, which no layer has" in line[1] for line in lines)
    assert main(["convert", str(target), str(tmp_path / "other.safetensors")]) == 1
    assert "expected one of LSTM" in capsys.readouterr().err


def test_a_model_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Protobuf has one error for too large a file and for memory that ends."""
    from google.protobuf.message import EncodeError

    def serialize() -> bytes:
        raise EncodeError("Failed to serialize proto")

    net = ur.LSTM(2, 3, seed=0)
    for size, error in ((1000, MemoryError), (1 << 31, ValueError)):
        proto = SimpleNamespace(SerializeToString=serialize, ByteSize=lambda size=size: size)
        monkeypatch.setattr("unrolled.onnx._export.to_onnx", lambda _, proto=proto: proto)
        with pytest.raises(error, match=str(size)):
            unrolled.onnx.save(net, tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())
