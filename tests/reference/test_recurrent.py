"""Networks of formulas: against the built-in cells, finite differences and the formula itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference_support import arrays, central_differences, close, close_gradients, problem, public

ur = pytest.importorskip("unrolled", reason="the extension has not been built")

from unrolled.cells import (  # noqa: E402 - only where the package is
    clip,
    exp,
    linear,
    log_sigmoid,
    maximum,
    normalise,
    sigmoid,
    silu,
    softplus,
    sqrt,
    tanh,
    where,
)


@ur.cell
def lstm(x: Any, h: Any, c: Any) -> Any:
    i, f = sigmoid(x.i + h.i), sigmoid(x.f + h.f)
    c = f * c + i * tanh(x.g + h.g)
    return sigmoid(x.o + h.o) * tanh(c), c


@ur.cell
def gru(x: Any, h: Any) -> Any:
    r, z = sigmoid(x.r + h.r), sigmoid(x.z + h.z)
    return (1 - z) * tanh(x.n + r * h.n) + z * h


@ur.cell
def gru_original(x: Any, h: Any) -> Any:
    r, z = sigmoid(x.r + h.r), sigmoid(x.z + h.z)
    return (1 - z) * tanh(x.n + linear("n", r * h)) + z * h


@ur.cell(p={"i": 0.3, "o": -0.2}, x={"f": 1.0})
def peephole_norm(x: Any, h: Any, c: Any, *, p: Any, alpha: float = 0.3) -> Any:
    i, f = normalise(x.i + h.i + p.i * c, x.f + h.f)
    c = sigmoid(f) * c + alpha * exp(log_sigmoid(i)) * silu(x.g + h.g)
    o = clip(0.5 + (x.o - p.o * c) / sqrt(1 + c * c), 0, 1)
    return where(c > 0, o * tanh(c), maximum(softplus(h) * 0.5, o)), c


BUILT_IN = {
    "LSTM": (lstm, {}),
    "GRU": (gru, {}),
    "original": (gru_original, {"reset_after": False}),
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_formulas_of_the_built_in_cells(name: str) -> None:
    cell, more = BUILT_IN[name]
    sizes: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "seed": 3}
    kind = ur.reference.LSTM if name == "LSTM" else ur.reference.GRU
    p = problem(kind(2, 3, **sizes, **more), lengths=True, resets=True)
    net = ur.reference.Recurrent(cell, 2, 3, **sizes)
    net.load_state_dict(p.net.state_dict())
    y, state, tape = net.record(p.x, public(p.state), lengths=p.lengths, resets=p.resets)
    for truncate in (None, 1):
        close_gradients(
            tape.backward(p.dy, public(p.dstate), truncate=truncate), p.gradients(truncate)
        )
    expected, last, _ = p.run()
    close(y, expected)
    for a, e in zip(arrays(state), last, strict=True):
        close(a, e)


def loss(net: Any, x: Any, state: Any, weights: Any) -> float:
    y, final, _ = net.record(x, state)
    parts = zip((y, *arrays(final)), weights, strict=True)
    return float(sum(np.sum(a * w) for a, w in parts))


def test_gradients_are_finite_differences() -> None:
    rng = np.random.default_rng(1)
    net = ur.reference.Recurrent(peephole_norm, 2, 3, seed=5, alpha=0.7)
    x, state = rng.normal(size=(4, 3, 2)), tuple(rng.normal(size=(2, 1, 3, 3)))
    weights = [rng.normal(size=(4, 3, 3)), *rng.normal(size=(2, 1, 3, 3))]
    g = net.record(x, state)[2].backward(weights[0], tuple(weights[1:]))
    pairs = [(a, g.parameters[name]) for name, a in net._parameters.items()]
    for a, found in [*pairs, (x, g.input), *zip(state, g.state, strict=True)]:
        numeric = central_differences(lambda: loss(net, x, state, weights), a)
        close(found, numeric, "difference")


def test_initial_values() -> None:
    found = ur.reference.Recurrent(peephole_norm, 2, 3, seed=0).state_dict()
    assert found["weight_p_l0"].tolist() == [0.3] * 3 + [-0.2] * 3
    assert found["bias_ih_l0"].reshape(-1, 3)[1].tolist() == [1.0] * 3


@pytest.mark.parametrize("cell", [lstm, gru, gru_original, peephole_norm], ids=lambda c: c.name)
def test_the_function_and_its_description_agree(cell: Any) -> None:
    x = np.random.default_rng(0).normal(size=(5, 2, 4))
    outputs = [
        ur.reference.Recurrent(c, 4, 3, seed=1)(x)[0]
        for c in (cell, ur.cells.from_description(cell.formula()))
    ]
    close(*outputs)
