"""Parameters under their names, and arguments that do not fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference_support import VARIANTS, Variant, reference

GRU, LSTM, RNN = reference.GRU, reference.LSTM, reference.RNN


def test_parameters_have_the_names_shapes_and_order_of_pytorch() -> None:
    net = LSTM(3, 5, 2, bidirectional=True, proj_size=2)
    shapes = {name: a.shape for name, a in net.state_dict().items()}
    expected: dict[str, tuple[int, ...]] = {}
    for layer, inputs in ((0, 3), (1, 4)):
        for suffix in ("", "_reverse"):
            expected[f"weight_ih_l{layer}{suffix}"] = (20, inputs)
            expected[f"weight_hh_l{layer}{suffix}"] = (20, 2)
            expected[f"bias_ih_l{layer}{suffix}"] = (20,)
            expected[f"bias_hh_l{layer}{suffix}"] = (20,)
            expected[f"weight_hr_l{layer}{suffix}"] = (2, 5)
    assert list(shapes.items()) == list(expected.items())
    assert net.num_parameters == sum(int(np.prod(shape)) for shape in expected.values())


@pytest.mark.parametrize(
    "net, rows",
    [(RNN(2, 3), 3), (GRU(2, 3), 9), (LSTM(2, 3), 12), (LSTM(2, 3, forget_gate=False), 9)],
)
def test_rows_per_gate(net: Any, rows: int) -> None:
    assert net.state_dict()["weight_hh_l0"].shape == (rows, 3)
    assert "bias_hh_l0" not in type(net)(2, 3, bias=False).state_dict()


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_drawing(variant: Variant) -> None:
    one, same, other = (variant.net(4, 9, seed=seed).state_dict() for seed in (5, 5, 6))
    for name, a in one.items():
        assert a.dtype == np.float64
        assert np.abs(a).max() <= 1 / 3
        assert np.abs(a).max() > 0.2
        np.testing.assert_array_equal(a, same[name])
        assert not np.array_equal(a, other[name])


def test_forget_bias_is_added_to_one_bias_only() -> None:
    plain = LSTM(2, 3, 2, bidirectional=True, seed=0).state_dict()
    biased = LSTM(2, 3, 2, bidirectional=True, seed=0, forget_bias=1.5).state_dict()
    for name, a in plain.items():
        expected = a.copy()
        if name.startswith("bias_ih"):
            expected[3:6] += 1.5
        np.testing.assert_array_equal(biased[name], expected)


def test_state_dict_round_trip_and_independence() -> None:
    net, other = GRU(2, 3, 2, seed=0), GRU(2, 3, 2, seed=1)
    parameters = net.state_dict()
    other.load_state_dict(parameters)
    x = np.ones((3, 1, 2))
    before = net(x)[0]
    np.testing.assert_array_equal(other(x)[0], before)
    for a in parameters.values():
        a[:] = 0
    np.testing.assert_array_equal(net(x)[0], before)
    np.testing.assert_array_equal(other(x)[0], before)


def test_load_state_dict_is_strict_and_all_or_nothing() -> None:
    net = RNN(2, 3, seed=0)
    good = net.state_dict()
    zeros = {name: 0 * a for name, a in good.items()}
    renamed = {("hh" if name == "bias_hh_l0" else name): a for name, a in zeros.items()}
    with pytest.raises(
        ValueError, match=r"missing keys \['bias_hh_l0'\].*unexpected keys \['hh'\]"
    ):
        net.load_state_dict(renamed)
    with pytest.raises(ValueError, match=r"bias_hh_l0.*\(3,\), got \(4,\)"):
        net.load_state_dict({**zeros, "bias_hh_l0": np.zeros(4)})
    with pytest.raises(TypeError, match="bias_hh_l0.*float64.*float32"):
        net.load_state_dict({**zeros, "bias_hh_l0": np.zeros(3, dtype=np.float32)})
    with pytest.raises(TypeError, match="mapping.*list"):
        net.load_state_dict(list(good))
    for name, a in net.state_dict().items():
        np.testing.assert_array_equal(a, good[name])


@pytest.mark.parametrize(
    "make, error, message",
    [
        (lambda: LSTM(0, 3), ValueError, "input_size: .*>= 1, got 0"),
        (lambda: LSTM(2, 3.0), TypeError, "hidden_size: expected an integer, got float"),
        (lambda: LSTM(2, True), TypeError, "hidden_size: expected an integer, got bool"),
        (lambda: GRU(2, 3, 0), ValueError, "num_layers: .*>= 1, got 0"),
        (lambda: GRU(2, 3, bias=1), TypeError, "bias: expected True or False, got int"),
        (lambda: GRU(2, 3, dropout=0.5), ValueError, r"dropout: .*0\.0 only, got 0\.5"),
        (lambda: GRU(2, 3, dropout="no"), TypeError, "dropout: .*got str"),
        (lambda: GRU(2, 3, seed=-1), ValueError, "seed: .*>= 0, got -1"),
        (lambda: LSTM(2, 3, proj_size=3), ValueError, "proj_size: .*hidden_size = 3, got 3"),
        (lambda: LSTM(2, 3, forget_bias=float("nan")), ValueError, "forget_bias: .*finite"),
        (lambda: LSTM(2, 3, forget_bias=1.0, bias=False), ValueError, "forget_bias: .*got 1.0"),
        (lambda: LSTM(2, 3, forget_bias=1.0, forget_gate=False), ValueError, "forget_bias"),
        (lambda: RNN(2, 3, nonlinearity="gelu"), ValueError, "nonlinearity: .*'tanh'.*got 'gelu'"),
        (lambda: RNN(2, 3, nonlinearity=None), TypeError, "nonlinearity: .*got None"),
        (lambda: RNN(2, 3, dtype="float16"), TypeError, "dtype: .*got float16"),
        (lambda: RNN(2, 3, dtype=None), TypeError, "dtype: .*got None"),
        (lambda: RNN(2, 3, dtype="nonsense"), TypeError, "dtype: .*got 'nonsense'"),
    ],
)
def test_constructors_refuse(make: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()


X = np.ones((4, 3, 2))
H = np.ones((1, 3, 5))


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"x": X.tolist()}, TypeError, "x: expected a float64 array, got list"),
        ({"x": X.astype(np.float32)}, TypeError, "x: expected a float64 array, got dtype float32"),
        ({"x": X[..., :1]}, ValueError, r"x: expected shape \(T, B, 2\).*got \(4, 3, 1\)"),
        ({"x": X[None]}, ValueError, r"x: .*got \(1, 4, 3, 2\)"),
        ({"state": H}, TypeError, r"state: expected a tuple \(h, c\).*got ndarray"),
        ({"state": (H,)}, TypeError, "state: .*got tuple of 1"),
        ({"state": (H, None)}, TypeError, r"state\[1\]: .*got None"),
        ({"state": (H, H[:, :2])}, ValueError, r"state\[1\]: .*\(1, 3, 5\), got \(1, 2, 5\)"),
        ({"lengths": [4, 4]}, ValueError, r"lengths: .*\(3,\), got \(2,\)"),
        ({"lengths": [4, 5, 0]}, ValueError, "lengths: .*T = 4, got 5 in row 1"),
        ({"lengths": np.array([4, -1, 0])}, ValueError, "lengths: .*got -1 in row 1"),
        ({"lengths": np.ones(3)}, TypeError, "lengths: expected integers, got dtype float64"),
        ({"lengths": [1.0, 1, 1]}, TypeError, "lengths: .*got float"),
        ({"lengths": 4}, TypeError, "lengths: .*got int"),
        (
            {"x": X[:, 0], "lengths": [4]},
            ValueError,
            "lengths must be None when x has no batch axis",
        ),
        ({"resets": np.zeros((4, 3))}, TypeError, "resets: .*bool array, got dtype float64"),
        ({"resets": np.zeros((3, 4), dtype=bool)}, ValueError, r"resets: .*got \(3, 4\)"),
        ({"train": 1}, TypeError, "train: .*got int"),
        ({"checkpoint": 0}, ValueError, "checkpoint: .*>= 1, got 0"),
        ({"checkpoint": "often"}, TypeError, "checkpoint: .*got str"),
    ],
)
def test_record_refuses(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        LSTM(2, 5).record(**{"x": X, **arguments})


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"dy": None}, TypeError, "dy: expected a float64 array, got None"),
        ({"dy": np.ones((4, 3, 4))}, ValueError, r"dy: .*\(4, 3, 5\), got \(4, 3, 4\)"),
        ({"dy": np.ones((4, 3, 5), dtype=np.float32)}, TypeError, "dy: .*float32"),
        ({"dstate": (H, H)}, TypeError, "dstate: .*got tuple"),
        ({"dstate": H[:, :1]}, ValueError, r"dstate: .*\(1, 3, 5\), got \(1, 1, 5\)"),
        ({"truncate": -1}, ValueError, "truncate: .*>= 0, got -1"),
        ({"truncate": 1.0}, TypeError, "truncate: expected an integer, got float"),
    ],
)
def test_backward_refuses(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    _, _, tape = GRU(2, 5).record(X, checkpoint="auto", train=False)
    with pytest.raises(error, match=message):
        tape.backward(**{"dy": np.ones((4, 3, 5)), **arguments})
