"""Formulas that a node of ONNX computes, written as that node; others are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import normal
from tolerances import assert_close

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install '.[onnx]'")
import unrolled.onnx  # noqa: E402
from onnx_nodes import CONSTANTS, GATES, Case  # noqa: E402
from unrolled.cells import clip, maximum, sigmoid, tanh, where  # noqa: E402
from unrolled.onnx._recognise import recognised  # noqa: E402
from unrolled.reference._onnx_functions import FORMULAS  # noqa: E402


def every_case() -> list[Case]:
    """Each function in each place, with all else that a node may say."""
    names, found = list(FORMULAS), []
    for n, first in enumerate(names):
        second, third = names[(n + 1) % len(names)], names[(n + 2) % len(names)]
        for bound in (None, 0.375):
            found.append(Case("RNN", clip=bound, activations=first))
            found += [
                Case("GRU", clip=bound, activations=f"{first} {second}", linear_before_reset=after)
                for after in (0, 1)
            ]
            found += [
                Case("LSTM", clip=bound, activations=f"{first} {second} {third}",
                     peepholes=peepholes, input_forget=coupled)
                for peepholes in (False, True) for coupled in (0, 1)
            ]  # fmt: skip
    return found


def loaded(case: Case) -> Any:
    held = tuple(name for name in ("W", "R", "B", "P") if name in case.arrays())
    return unrolled.onnx.load(case.model(held))


def redrawn(net: Any) -> None:
    """Parameters of which none is zero."""
    values = net.state_dict().items()
    net.load_state_dict({name: normal(*a.shape, seed=n) for n, (name, a) in enumerate(values)})


def recurrent_node(proto: Any) -> Any:
    (node,) = [node for node in proto.graph.node if node.op_type in GATES]
    return node


def said(node: Any) -> dict[str, Any]:
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def test_the_same_attributes() -> None:
    """One node of the same kind; read again, the same network."""
    compared = 0
    for case in every_case():
        net = loaded(case)
        if not isinstance(net, ur.Recurrent):
            continue
        compared += 1
        proto = unrolled.onnx.to_onnx(net)
        (given,) = case.model().graph.node
        node, expected = recurrent_node(proto), said(given)
        assert node.op_type == case.op
        if expected.pop("direction") != b"forward":
            expected["direction"] = b"bidirectional"
        usual = {"LSTM": "Sigmoid Tanh Tanh", "GRU": "Sigmoid Tanh", "RNN": "Tanh"}[case.op]
        if case.activations == usual:
            del expected["activations"]
        assert said(node) == expected, case
        again = unrolled.onnx.load(proto)
        assert again.cell == net.cell, case
        for name, a in net.state_dict().items():
            assert np.array_equal(again.state_dict()[name], a), (case, name)
    assert compared > 140


CASES = {
    "LSTM": Case("LSTM", clip=0.5, peepholes=True, bias=True),
    "coupled": Case("LSTM", "bidirectional", peepholes=True, input_forget=1),
    "GRU": Case("GRU", "bidirectional", clip=0.5, bias=True),
    "constants": Case("GRU", activations="HardSigmoid Elu", linear_before_reset=1, bias=True),
    "RNN": Case("RNN", "bidirectional", activations="Softsign", layout=1),
}


@pytest.mark.parametrize("name", CASES)
def test_by_onnxruntime(name: str, tmp_path: Path) -> None:
    """In layers, with states and lengths as inputs, and in a Sequential."""
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    one = loaded(CASES[name])
    net = ur.Recurrent(
        one.cell, 2, 4, 2, bias=one.bias, bidirectional=one.bidirectional, seed=3,
        batch_first=one.batch_first,
    )  # fmt: skip
    redrawn(net)
    x = normal(3, 5, 2) if net.batch_first else normal(5, 3, 2)
    cells = 2 * net.num_directions
    states = [normal(cells, 3, 4, seed=1 + n) for n in range(len(net.cell.states))]
    lengths = np.array([5, 2, 4], np.int32)
    proto = unrolled.onnx.to_onnx(net, state=True, lengths=True)
    session = runtime.InferenceSession(proto.SerializeToString())
    given = {"x": x, "lengths": lengths, **dict(zip(("h_0", "c_0"), states, strict=False))}
    y, final = net(x, tuple(states) if len(states) > 1 else states[0], lengths=lengths)
    expected = [y, *(final if isinstance(final, tuple) else (final,))]
    for got, right in zip(session.run(None, given), expected, strict=True):
        assert_close(got, right, "peer.float32", name)

    model = ur.Sequential(net, ur.Dense(y.shape[2], 2, seed=0))
    ur.export(model, tmp_path / "model.onnx")
    assert np.array_equal(ur.load(tmp_path / "model.onnx")(x)[0], model(x)[0])


def test_a_cell_of_ones_own(tmp_path: Path) -> None:
    """Its names and their order do not matter, nor that of terms; constants are numbers."""

    @ur.cell
    def mine(x: Any, h: Any, c: Any, *, p: Any, bound: float = 0.5) -> Any:
        out = x.out + h.out
        cand = tanh(clip(h.cand + x.cand, -bound, bound))
        keep = sigmoid(clip(c * p.keep + (x.keep + h.keep), -bound, bound))
        take = sigmoid(clip((x.take + h.take) + c * p.take, -bound, bound))
        c = cand * take + c * keep
        return tanh(c) * sigmoid(clip(p.out * c + out, -bound, bound)), c

    net = ur.Recurrent(mine, 3, 4, bidirectional=True, seed=1)
    redrawn(net)
    ur.export(net, tmp_path / "mine.onnx")
    again = ur.load(tmp_path / "mine.onnx")
    assert repr(again) == "Recurrent(lstm_peephole_clip, 3, 4, bidirectional=True)"
    x = normal(6, 2, 3)
    for got, right in zip(again(x)[1], net(x)[1], strict=True):
        assert_close(got, right, "reference.output.float32", "state")

    for cell, said in {
        ur.cells.lstm: "LSTM(3, 4)",
        ur.cells.gru: "GRU(3, 4)",
        ur.cells.gru_original: "GRU(3, 4, reset_after=False)",
        ur.cells.rnn: "RNN(3, 4)",
        ur.cells.peephole_lstm: "Recurrent(lstm_peephole, 3, 4)",
    }.items():
        gallery = ur.Recurrent(cell, 3, 4, seed=2)
        again = unrolled.onnx.load(unrolled.onnx.to_onnx(gallery))
        if cell is ur.cells.peephole_lstm:
            said = "LSTM(3, 4)"  # Peepholes begin at 0, and those are none.
        assert repr(again) == said
        assert_close(again(x)[0], gallery(x)[0], "reference.output.float32", said)


def test_constants_as_often_as_they_are_taken() -> None:
    node = recurrent_node(
        unrolled.onnx.to_onnx(loaded(Case("LSTM", activations="HardSigmoid Affine LeakyRelu")))
    )
    attributes = said(node)
    names = ("HardSigmoid", "Affine", "LeakyRelu")
    for key in ("alpha", "beta"):
        values = [CONSTANTS[name][key] for name in names if key in CONSTANTS[name]]
        assert attributes[f"activation_{key}"] == values


def nearly() -> list[Callable[..., Any]]:
    """Each one thing away from a node's formula."""

    def tied(x: Any, h: Any, c: Any) -> Any:  # One gate for i and f.
        i = sigmoid(x.i + h.i)
        c = i * c + i * tanh(x.g + h.g)
        return sigmoid(x.o + h.o) * tanh(c), c

    def one_sided(x: Any, h: Any) -> Any:
        return tanh(clip(x.h + h.h, -0.5, 0.75))

    def swapped(x: Any, h: Any) -> Any:
        z = sigmoid(x.z + h.z)
        r = sigmoid(x.r + h.r)
        return z * tanh(x.n + r * h.n) + (1 - z) * h

    def two_gates(x: Any, h: Any, c: Any) -> Any:  # i of another function than f and o.
        c = sigmoid(x.f + h.f) * c + tanh(x.i + h.i) * tanh(x.g + h.g)
        return sigmoid(x.o + h.o) * tanh(c), c

    def of_x_alone(x: Any, h: Any) -> Any:
        return tanh(x.a + 0.0 * h)

    def two_slopes(x: Any, h: Any) -> Any:
        a = x.h + h.h
        return where(a >= 0, a, 0.5 * maximum(a, -3.0))

    return [tied, one_sided, swapped, two_gates, of_x_alone, two_slopes]


@pytest.mark.parametrize("function", nearly(), ids=lambda f: f.__name__)
def test_what_no_node_computes(function: Callable[..., Any]) -> None:
    cell = ur.cell(function)
    assert recognised(cell) is None
    with pytest.raises(ValueError, match=r"model: expected an LSTM, .*got Recurrent\("):
        unrolled.onnx.to_onnx(ur.Recurrent(cell, 2, 3, seed=0))


def test_refusals() -> None:
    net = ur.Recurrent(ur.cells.lem, 2, 3, seed=0)
    with pytest.raises(ValueError, match=r"layers\[0\]: expected an LSTM.*got Recurrent\(lem"):
        unrolled.onnx.to_onnx(ur.Sequential(net))

    @ur.cell
    def tenth(x: Any, h: Any) -> Any:
        return tanh(clip(x.h + h.h, -0.1, 0.1))

    unrolled.onnx.to_onnx(ur.Recurrent(tenth, 2, 3, seed=0))
    with pytest.raises(ValueError, match="model: expected clip to be a number of float32"):
        unrolled.onnx.to_onnx(ur.Recurrent(tenth, 2, 3, seed=0, dtype="float64"))
