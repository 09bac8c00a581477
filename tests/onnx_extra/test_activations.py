"""Activations where their formulas change: at ties, at both infinities, at NaN and at -0."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from tolerances import TOLERANCES

onnx = pytest.importorskip("onnx", reason="needs onnx: pip install '.[onnx]'")
import unrolled.onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

FUNCTIONS: dict[str, tuple[str, ...]] = {
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "LeakyRelu": ("alpha",),
    "Relu": (),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "Tanh": (),
    "ThresholdedRelu": ("alpha",),
}
VALUES = {"alpha": (0.0, 1.0, -1.0, 0.5, -2.0), "beta": (0.0, 0.5, -1.0)}
CASES = [
    (function, dict(zip(names, values, strict=True)))
    for function, names in FUNCTIONS.items()
    for values in product(*(VALUES[name] for name in names))
]


def edges(constants: dict[str, float]) -> np.ndarray:
    ties = np.float32(
        [-0.0, 0.0, *constants.values(), *(-c for c in constants.values()), 2.5, -2.5]
    )
    beside = [np.nextafter(ties, np.float32(end)) for end in (-np.inf, np.inf)]
    far = np.float32([-np.inf, -3e38, -50, -1, 1, 50, 3e38, np.inf, np.nan])
    return np.concatenate([ties, *beside, far]).astype(np.float32)


def model(node: Any, shape: tuple[int, ...], outputs: tuple[int, ...], **held: np.ndarray) -> Any:
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, sizes)
        for name, sizes in (("x", shape), ("y", outputs))
    ]
    tensors = [numpy_helper.from_array(a, name) for name, a in held.items()]
    graph = helper.make_graph([node], "g", infos[:1], infos[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def by_onnxruntime(proto: Any, x: np.ndarray) -> np.ndarray:
    onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    session = onnxruntime.InferenceSession(proto.SerializeToString())
    return np.asarray(session.run(None, {"x": x})[0])


@pytest.mark.parametrize(("function", "constants"), CASES)
def test_operators(function: str, constants: dict[str, float]) -> None:
    """As ONNX Runtime has them: NaN where it has NaN, the same zeros and infinities."""
    x = edges(constants)
    proto = model(helper.make_node(function, ["x"], ["y"], **constants), x.shape, x.shape)
    expected = by_onnxruntime(proto, x)
    found = unrolled.onnx.Model(proto)(x=x)["y"]
    # Its exponentials cancel near 0, and are 0 where they are tiny.
    np.testing.assert_allclose(found, expected, rtol=TOLERANCES["peer.float32"], atol=2e-7)


def test_thresholds() -> None:
    """The operator gives what is more than alpha, the activation what reaches it."""
    for alpha in (-1.0, 0.0, 0.5, 1.0):
        a = np.float32(alpha)
        x = np.array([a, np.nextafter(a, np.float32(9)), np.nextafter(a, np.float32(-9)), np.nan])
        x = x.astype(np.float32)
        node = helper.make_node("ThresholdedRelu", ["x"], ["y"], alpha=alpha)
        found = unrolled.onnx.Model(model(node, x.shape, x.shape))(x=x)["y"]
        assert found.tolist() == [0, x[1], 0, 0]
        cell = helper.make_node(
            "RNN", ["x", "w", "r"], ["y"], hidden_size=1, activations=["ThresholdedRelu"],
            activation_alpha=[alpha],
        )  # fmt: skip
        one, zero = np.ones((1, 1, 1), np.float32), np.zeros((1, 1, 1), np.float32)
        proto = model(cell, (1, 4, 1), (1, 1, 4, 1), w=one, r=zero)
        found = unrolled.onnx.Model(proto)(x=x[None, :, None])["y"]
        assert found.ravel().tolist() == [a, x[1], 0, 0]
