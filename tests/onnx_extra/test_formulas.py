"""Nodes that are none of the built-in cells: as formulas they compute the same, and learn."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import arrays, normal, same
from tolerances import assert_close

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install '.[onnx]'")
import unrolled.onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from onnx_nodes import CONSTANTS, HIDDEN, INPUTS, Case, by_loop, by_onnxruntime  # noqa: E402
from unrolled.cells._activations import FORMULAS, ONNX, Function  # noqa: E402
from unrolled.reference._onnx_functions import FORMULAS as PLAIN  # noqa: E402
from unrolled.reference._onnx_functions import Activation  # noqa: E402

# Times what else there is: peepholes and coupled gates are an LSTM's.
COMMON = {
    "direction": ("forward", "reverse", "bidirectional"),
    "clip": (None, 0.375),
    "lengths": ("", "some", "none"),
}
OWN: dict[str, dict[str, tuple[Any, ...]]] = {
    "LSTM": {"peepholes": (False, True), "input_forget": (0, 1)},
    "GRU": {"linear_before_reset": (0, 1)},
    "RNN": {},
}
# Gates within 0 and 1: others let five steps grow until, in float32, two programs' rounding is all
# there is to compare.
STEADY = ("Sigmoid", "HardSigmoid")
# An LSTM's others overflow, unless what they get is clipped.
BOUNDED = (*STEADY, "Tanh", "ScaledTanh", "Softsign")


def cases(op: str, gates: tuple[str, ...], **more: Any) -> list[Case]:
    """Each function in each place, with all values of everything else."""
    rest = tuple(PLAIN)
    functions = {
        "LSTM": [f"{gate} {g} {h}" for gate, g, h in zip(
            itertools.cycle(gates), rest, rest[1:] + rest[:1], strict=False)],
        "GRU": [f"{gate} {g}" for gate, g in zip(itertools.cycle(gates), rest, strict=False)],
        "RNN": list(rest),
    }  # fmt: skip
    factors = COMMON | OWN[op] | {"activations": tuple(functions[op])}
    return [
        Case(op, bias=True, initial="hc" if op == "LSTM" else "h",
             **dict(zip(factors, values, strict=True)), **more)
        for values in itertools.product(*factors.values())
    ]  # fmt: skip


def ours(case: Case) -> list[np.ndarray]:
    held = ("W", "R", "B", "P")[: 3 + case.peepholes]
    given = {key: a for key, a in case.inputs().items() if key not in held}
    return list(unrolled.onnx.Model(case.model(held))(given).values())


@pytest.mark.parametrize("op", OWN)
def test_every_combination(op: str) -> None:
    """As the plain loop has it; gates are every function too."""
    every = cases(op, tuple(PLAIN), dtype="float64")
    places = {(n, name) for case in every for n, name in enumerate(case.activations.split())}
    assert len(places) == len(PLAIN) * {"LSTM": 3, "GRU": 2, "RNN": 1}[op]
    for case in every:
        if op == "LSTM" and case.clip is None and case.activations.split()[0] not in BOUNDED:
            continue
        for a, e in zip(ours(case), by_loop(case), strict=True):
            assert_close(a, e, "reference.output.float64", str(case))


@pytest.mark.parametrize("op", OWN)
def test_every_combination_by_onnxruntime(op: str) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    for case in cases(op, STEADY):
        for a, e in zip(ours(case), by_onnxruntime(case), strict=True):
            assert_close(a, e, "peer.float32", str(case))


def test_one_table() -> None:
    """Every function of ONNX's has a formula, which gives NumPy's numbers at ties and far away."""
    assert {*ONNX} == {*PLAIN} and {*ONNX.values()} <= {*FORMULAS}
    a = np.array([-1e30, -50, -2.5, -1, -0.25, -0.0, 0, 0.125, 0.25, 1, 2.5, 50, 1e30])
    for name, formula in ONNX.items():
        constants = tuple(CONSTANTS.get(name, {}).values())
        with np.errstate(over="ignore"):
            expected = Activation(name, constants)(a)
        found = Function(formula, constants)(a)
        np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-15)


def layer_of(case: Case) -> Any:
    held = tuple(n for n in ("W", "R", "B", "P") if n in case.arrays())
    return unrolled.onnx.load(case.model(held))


LAYERS = {
    "LSTM": (
        Case("LSTM", peepholes=True, bias=True),
        ["i", "f", "g", "o"],
        "Recurrent(lstm_peephole, 2, 4)",
    ),
    "coupled": (
        Case("LSTM", peepholes=True, input_forget=1, clip=0.5),
        ["i", "g", "o"],
        "Recurrent(lstm_peephole_coupled_clip, 2, 4, bias=False)",
    ),
    "GRU": (
        Case("GRU", activations="HardSigmoid Elu", linear_before_reset=1, bias=True),
        ["r", "z", "n"],
        "Recurrent(gru_hard_sigmoid_elu, 2, 4)",
    ),
    "reset before": (
        Case("GRU", clip=0.5, bias=True),
        ["r", "z", "n"],
        "Recurrent(gru_reset_before_clip, 2, 4)",
    ),
    "RNN": (
        Case("RNN", "bidirectional", activations="Softsign", layout=1),
        ["h"],
        "Recurrent(rnn_softsign, 2, 4, bias=False, batch_first=True, bidirectional=True)",
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer(name: str, tmp_path: Path) -> None:
    """Gates in our order, results those of the node; saved, and read again."""
    case, gates, said = LAYERS[name]
    net = layer_of(case)
    assert repr(net) == said
    assert [each["name"] for each in net.cell.maps if each["x"]] == gates
    assert [each["name"] for each in net.cell.maps if each["h"] is not None] == gates
    x = case.inputs()["X"]
    y, end = net(x)
    expected = by_loop(case)
    joined = expected[0].swapaxes(1, 2).reshape(*expected[0].shape[::2][:1], 3, -1)
    joined = joined.swapaxes(0, 1) if case.layout else joined
    assert_close(y, joined, "reference.output.float32", name)
    for a, e in zip(arrays(end), expected[1:], strict=True):
        assert_close(a, e, "reference.output.float32", name)
    ur.save(net, tmp_path / "net")
    assert same(ur.load(tmp_path / "net")(x)[0], y)


def test_where_weights_go() -> None:
    """The rows of a gate, and the peepholes, by name; of a gate f that is 1 - i there are none."""
    given = Case("LSTM", peepholes=True, bias=True).arrays()
    order = ["i", "o", "f", "g"]
    for coupled, gates in ((0, "ifgo"), (1, "igo")):
        found = layer_of(Case("LSTM", peepholes=True, bias=True, input_forget=coupled)).state_dict()
        both = np.split(given["B"][0], 2)
        for key, a in (
            ("weight_ih_l0", given["W"][0]),
            ("weight_hh_l0", given["R"][0]),
            ("bias_ih_l0", both[0]),
            ("bias_hh_l0", both[1]),
        ):
            rows = dict(zip(order, np.split(a, 4), strict=True))
            assert np.array_equal(found[key], np.concatenate([rows[gate] for gate in gates]))
        rows = dict(zip("iof", np.split(given["P"][0], 3), strict=True))
        units = [rows[gate] for gate in gates if gate != "g"]
        assert np.array_equal(found["weight_p_l0"], np.concatenate(units))


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_trained(name: str) -> None:
    """Gradients as the reference's, and a loss that falls."""
    case, _, _ = LAYERS[name]
    net = layer_of(case)
    config = net.config()
    plain = ur.reference.Recurrent(
        net.cell, INPUTS, HIDDEN, bias=net.bias, bidirectional=net.bidirectional,
        batch_first=net.batch_first, dtype="float64",
    )  # fmt: skip
    plain.load_state_dict({k: a.astype("float64") for k, a in net.state_dict().items()})
    x = case.inputs()["X"]
    target = normal(*net(x)[0].shape, seed=3)
    y, _, tape = net.record(x)
    first, dy = ur.losses.mse(y, target)
    g = tape.backward(dy)
    _, _, other = plain.record(x.astype("float64"))
    expected = other.backward(dy.astype("float64"))
    for key, a in g.parameters.items():
        assert_close(a, expected.parameters[key], "reference.gradient.float32", key)
    optimiser = ur.optim.Adam([net], lr=1e-2)
    for _ in range(100):
        y, _, tape = net.record(x)
        loss, dy = ur.losses.mse(y, target)
        optimiser.step([tape.backward(dy)])
    assert loss < first
    assert net.config() == config


def chained(cases: list[Case], initial: bool = False) -> Any:
    """Nodes one after the other, each reading what the one before gives."""
    nodes, held, value = [], {"one": np.array([1])}, "x"
    for n, case in enumerate(cases):
        given = case.arrays()
        names = [f"{key}{n}" if key in given else "" for key in ("W", "R", "B")]
        names += ["", f"h{n}" if initial else "", f"c{n}" if initial else ""]
        names += [f"P{n}" if "P" in given else ""]
        held |= {f"{key}{n}": given[key] for key in ("W", "R", "B", "P") if key in given}
        if n:
            held[f"W{n}"] = normal(1, 4 * HIDDEN, HIDDEN, seed=n)
        if initial:
            held |= {f"{s}{n}": normal(1, 1, HIDDEN, seed=k) for k, s in enumerate("hc")}
        while not names[-1]:
            names.pop()
        nodes.append(helper.make_node("LSTM", [value, *names], [f"Y{n}"], **case.attributes()))
        nodes.append(helper.make_node("Squeeze", [f"Y{n}", "one"], [f"s{n}"]))
        value = f"s{n}"
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["T", 1, size])
        for name, size in (("x", INPUTS), (value, HIDDEN))
    ]
    tensors = [numpy_helper.from_array(a, name) for name, a in held.items()]
    graph = helper.make_graph(nodes, "g", infos[:1], infos[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_layers_of_one_network() -> None:
    """Nodes become one network if all that they are asked for is the same."""
    base = {"peepholes": True, "clip": 0.5, "bias": True}
    x = normal(5, 1, INPUTS)
    assert repr(unrolled.onnx.load(chained([Case("LSTM", **base)] * 2))) == (
        "Recurrent(lstm_peephole_clip, 2, 4, num_layers=2)"
    )
    changes: list[dict[str, Any]] = [
        {"peepholes": False},
        {"clip": 0.25},
        {"clip": None},
        {"input_forget": 1},
        {"activations": "HardSigmoid Tanh Tanh"},
    ]
    for change in changes:
        proto = chained([Case("LSTM", **base), Case("LSTM", **(base | change))])
        found = unrolled.onnx.load(proto)
        assert isinstance(found, ur.Sequential) and len(found.layers) == 2, change
        assert same(found(x)[0], unrolled.onnx.Model(proto)(x=x)["s1"].reshape(5, 1, HIDDEN))


def test_a_start_in_the_file(tmp_path: Path) -> None:
    """Initial states that are constants become the Sequential's, and stay so in a file of ours."""
    proto = chained([Case("LSTM", peepholes=True)] * 2, initial=True)
    found, x = unrolled.onnx.load(proto), normal(5, 1, INPUTS)
    assert isinstance(found, ur.Sequential)
    assert [key for key in found.state_dict() if key.endswith("_0")] == ["0.h_0", "0.c_0"]
    y = found(x)[0]
    assert same(y, unrolled.onnx.Model(proto)(x=x)["s1"].reshape(y.shape))
    ur.save(found, tmp_path / "net")
    assert same(ur.load(tmp_path / "net")(x)[0], y)
    _, _, tape = found.record(x)
    assert np.any(tape.backward(np.ones_like(y)).parameters["0.c_0"])


def test_peepholes_of_zeros_are_none() -> None:
    case = Case("LSTM", peepholes=True, bias=True)
    proto = case.model(("W", "R", "B", "P"))
    tensor = next(t for t in proto.graph.initializer if t.name == "P")
    tensor.raw_data = bytes(len(tensor.raw_data))
    assert repr(unrolled.onnx.load(proto)) == "LSTM(2, 4)"


def test_no_bound() -> None:
    """A threshold of infinity clips nothing."""
    assert repr(layer_of(Case("LSTM", clip=float("inf"), bias=True))) == "LSTM(2, 4)"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_constants_that_no_formula_has(value: float) -> None:
    node = helper.make_node(
        "RNN", ["x", "w", "r"], ["y"], hidden_size=1, activations=["Elu"], activation_alpha=[value]
    )
    one = np.ones((1, 1, 1), np.float32)
    with pytest.raises(ValueError, match=r"activation_alpha: expected finite numbers, got"):
        unrolled.onnx.run_node(node, [one, one, one])
