"""Layers one after another: as the layers by hand, as PyTorch, and exact on the way back."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import normal, same
from tolerances import TOLERANCES, assert_close

FUNCTIONS: dict[str, Any] = {
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softmax": lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
    "elu": lambda x: np.where(x < 0, 0.7 * np.expm1(x), x),
    "leaky_relu": lambda x: np.where(x < 0, 0.3 * x, x),
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.4, 0, 1),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
}
VALUES: dict[str, dict[str, float]] = {
    "elu": {"alpha": 0.7},
    "leaky_relu": {"alpha": 0.3},
    "hard_sigmoid": {"alpha": 0.2, "beta": 0.4},
}


def activation(name: str) -> ur.Activation:
    return ur.Activation(name, **VALUES.get(name, {}))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str, dtype: str) -> None:
    # Rows of 19: whole vectors of every width, and a part of one.
    x = 3 * normal(5, 7, 19, dtype="float64")
    x[0, 0, :4] = [0.0, -0.0, 1e-9, -1e-9]
    x = x.astype(dtype)
    before = x.copy()
    y = activation(name)(x)
    expected = FUNCTIONS[name](x.astype("float64"))
    assert y.dtype == x.dtype
    assert same(x, before)
    assert_close(y, expected, f"reference.output.{dtype}", name)
    # Any stride.
    assert same(activation(name)(x[:, ::-1])[:, ::-1], y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_instruction_set(name: str, dtype: str) -> None:
    x = 3 * normal(5, 19, dtype=dtype)
    found = []
    for isa in ur.available_isas():
        ur.set_max_isa(isa)
        found.append(activation(name)(x))
        expected = FUNCTIONS[name](x.astype("float64"))
        assert_close(found[-1], expected, f"reference.output.{dtype}", f"{name} on {isa}")
    # Those that fuse multiply-add give the same bits.
    assert all(same(y, found[-1]) for y in found[1:])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_slopes(name: str) -> None:
    """Against central differences, away from the kinks."""
    x, dy = 2 * normal(4, 5, dtype="float64"), normal(4, 5, dtype="float64", seed=1)
    function, h = activation(name), TOLERANCES["difference.step"]
    expected = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = h
        expected[at] = ((function(x + step) - function(x - step)) * dy).sum() / (2 * h)
    assert_close(function.backward(x, dy), expected, "difference", name)


def test_extremes() -> None:
    x = np.array([-np.inf, -1e4, 1e4, np.inf, np.nan])
    assert same(ur.Activation("relu")(x), np.array([0.0, 0.0, 1e4, np.inf, np.nan]))
    elu = ur.Activation("elu")(x)
    assert same(elu[:4], np.array([-1.0, -1.0, 1e4, np.inf])) and np.isnan(elu[4])
    assert same(ur.Activation("softmax")(np.array([1e4, 0.0])), np.array([1.0, 0.0]))
    assert ur.Activation("softmax")(np.zeros((3, 0))).shape == (3, 0)


def test_arguments_of_activations() -> None:
    with pytest.raises(ValueError, match="function: expected one of 'tanh'.*got 'gelu'"):
        ur.Activation("gelu")
    with pytest.raises(ValueError, match="alpha: expected None for 'tanh', got 1.0"):
        ur.Activation("tanh", alpha=1.0)
    with pytest.raises(TypeError, match="x: expected a float32 or float64 array, got dtype int64"):
        ur.Activation("tanh")(np.arange(3))
    with pytest.raises(ValueError, match="dy: expected shape of x"):
        ur.Activation("tanh").backward(np.zeros(3), np.zeros(2))
    assert ur.Activation("leaky_relu").config() == {"function": "leaky_relu", "alpha": 0.01}


def model(dtype: str = "float32", **more: Any) -> ur.Sequential:
    return ur.Sequential(
        ur.LSTM(2, 6, num_layers=2, dtype=dtype, seed=1, **more),
        ur.Activation("elu"),
        ur.Dense(6, 5, dtype=dtype, seed=2),
        ur.GRU(5, 4, dtype=dtype, seed=3, **more),
        ur.Dense(4, 3, bias=False, dtype=dtype, seed=4),
        ur.Activation("softmax"),
    )


def test_as_the_layers_by_hand() -> None:
    net, x = model(), normal(9, 4, 2)
    lstm, elu, first, gru, second, softmax = net.layers
    h, lstm_state = lstm(x)
    h, gru_state = gru(first(elu(h)))
    y, state = net(x)
    assert same(y, softmax(second(h)))
    assert same(state[0], lstm_state) and same(state[1], gru_state)
    assert net.num_parameters == sum(m.num_parameters for m in net.modules)
    assert (net.input_size, net.output_size) == (2, 3)
    # Going on from a state is the same as not having stopped.
    half, middle = net(x[:5])
    assert same(np.concatenate([half, net(x[5:], middle)[0]]), y)


@pytest.mark.parametrize("initial", [False, True])
def test_stream(initial: bool) -> None:
    net = model()
    if initial:
        net = with_initial(net)
    x = normal(9, 4, 2)
    y, state = net(x)
    stream = net.stream(batch=4)
    assert same(np.stack([stream.step(x_t) for x_t in x]), y)
    for ours, theirs in zip(stream.state, state, strict=True):
        assert same(ours, theirs)
    stream.reset()
    assert same(stream.step(x[0]), y[0])
    stream.state = state
    assert same(stream.step(x[0]), net(x[:1], state)[0][0])
    before = stream.state
    with pytest.raises(ValueError, match="state"):
        stream.state = (state[0], np.zeros((1, 2, 2), dtype=np.float32))
    assert all(same(a, b) for a, b in zip(stream.state, before, strict=True))
    alone = net.stream()
    assert same(np.stack([alone.step(x_t) for x_t in x[:, 0]]), y[:, 0])
    assert same(net(x[:, 0])[0], y[:, 0])


def with_initial(net: ur.Sequential, seed: int = 5) -> ur.Sequential:
    dtype = net.dtype
    h, c, g = (normal(n, m, dtype=dtype, seed=seed + n * m) for n, m in ((2, 6), (2, 6), (1, 4)))
    return ur.Sequential(*net.layers, initial_state=((h, 2 * c), g))


def test_batch_first() -> None:
    x = normal(9, 4, 2)
    y, _ = model()(x)
    for initial in (False, True):
        first = model(batch_first=True)
        assert same(first(x.swapaxes(0, 1))[0].swapaxes(0, 1), y)
        if initial:
            expected, _ = with_initial(model())(x)
            assert same(with_initial(first)(x.swapaxes(0, 1))[0].swapaxes(0, 1), expected)


@pytest.mark.parametrize("initial", [False, True])
def test_the_way_back(initial: bool) -> None:
    """Every parameter, the input and the state, against central differences."""
    net = model("float64")
    if initial:
        net = with_initial(net)
    x, dy = normal(5, 3, 2, dtype="float64"), normal(5, 3, 3, dtype="float64", seed=1)
    ends = net(x)[1]
    d_end = ((normal(2, 3, 6, dtype="float64", seed=2), np.zeros((2, 3, 6))), np.ones((1, 3, 4)))

    def loss(x: np.ndarray) -> float:
        y, ((h, _), g) = net(x)
        return float((y * dy).sum() + (h * d_end[0][0]).sum() + g.sum())

    y, state, tape = net.record(x)
    assert same(y, net(x)[0]) and same(state[1], ends[1])
    g = tape.backward(dy, d_end)
    parameters, h = net.state_dict(), TOLERANCES["difference.step"]
    assert list(g.parameters) == list(parameters) or set(g.parameters) == set(parameters)
    for name, a in parameters.items():
        expected = np.zeros_like(a)
        for at in np.ndindex(a.shape):
            losses = []
            for step in (h, -h):
                moved = a.copy()
                moved[at] += step
                net.load_state_dict(parameters | {name: moved})
                losses.append(loss(x))
            expected[at] = (losses[0] - losses[1]) / (2 * h)
        net.load_state_dict(parameters)
        assert_close(g.parameters[name], expected, "difference", name)
    expected = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[at] = h
        expected[at] = (loss(x + step) - loss(x - step)) / (2 * h)
    assert_close(g.input, expected, "difference", "input")
    opt = ur.optim.SGD(net.modules, lr=1e-3)
    before = loss(x)
    opt.step(g.modules)
    assert loss(x) < before


def test_copies_and_files(tmp_path: Path) -> None:
    x = normal(5, 3, 2)
    for net in (model(), with_initial(model()), ur.Sequential(ur.Dense(2, 3, seed=0))):
        y, _ = net(x)
        path = tmp_path / "model.safetensors"
        ur.save(net, path)
        for other in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net), ur.load(path)):
            assert isinstance(other, ur.Sequential)
            assert repr(other) == repr(net) and other.config() == net.config()
            assert same(other(x)[0], y)
            assert list(other.state_dict()) == list(net.state_dict())


def test_pytorchs_names() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1))
    net = ur.Sequential(ur.Dense(2, 3), ur.Activation("tanh"), ur.Dense(3, 1))
    assert list(net.state_dict()) == list(theirs.state_dict())
    net.load_state_dict(theirs.state_dict())
    x = normal(4, 2)
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    assert_close(net(x)[0], expected, "reference.output.float32", "torch")


def test_load_is_all_or_nothing() -> None:
    net = with_initial(model())
    state = net.state_dict()
    assert {"0.h_0", "0.c_0", "3.h_0"} < state.keys()
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({}, ValueError, "missing keys .*0.weight_ih_l0"),
        (state | {"7.weight": state["2.weight"]}, ValueError, r"unexpected keys \['7.weight'\]"),
        (state | {"4.weight": state["2.weight"]}, ValueError, r"mapping\['4.weight'\]: expected"),
        (state | {"4.weight": np.zeros((3, 4))}, TypeError, "expected a float32 array"),
        (state | {"0.h_0": np.zeros((1, 6), "f")}, ValueError, r"mapping\['0.h_0'\]"),
    ]
    other = {key: a + 1 for key, a in state.items()}
    for mapping, error, message in wrong:
        with pytest.raises(error, match=message):
            net.load_state_dict(
                {k: other.get(k, a) if a is state.get(k) else a for k, a in mapping.items()}
            )
        assert all(same(a, state[k]) for k, a in net.state_dict().items())
    net.load_state_dict(other)
    assert all(same(a, other[k]) for k, a in net.state_dict().items())


def test_mistakes() -> None:
    lstm, dense = ur.LSTM(2, 6), ur.Dense(6, 1)
    mistakes: list[tuple[Any, type[Exception], str]] = [
        (lambda: ur.Sequential(), ValueError, "layers: expected at least one"),
        (lambda: ur.Sequential(lstm, 3), TypeError, r"layers\[1\]: expected one of LSTM.*got int"),
        (lambda: ur.Sequential(dense, lstm), ValueError, r"layers\[1\]: expected an input of 1"),
        (lambda: ur.Sequential(lstm, lstm), ValueError, "each once"),
        (
            lambda: ur.Sequential(lstm, ur.Dense(6, 1, dtype="float64")),
            TypeError,
            r"layers\[1\]: expected dtype float32 as layers\[0\], got float64",
        ),
        (
            lambda: ur.Sequential(lstm, ur.GRU(6, 1, batch_first=True)),
            ValueError,
            r"layers\[1\]: expected batch_first=False as layers\[0\], got True",
        ),
        (
            lambda: ur.Sequential(lstm, dense, initial_state=(1, 2)),
            ValueError,
            "initial_state: expected a tuple of 1",
        ),
        (
            lambda: ur.Sequential(lstm, dense)(normal(3, 1, 2), (None, None)),
            ValueError,
            "state: expected a tuple of 1, one for each recurrent layer, got 2",
        ),
        (lambda: ur.Sequential(lstm, dense)(normal(3, 1, 3)), ValueError, "x: expected shape"),
        (lambda: ur.Sequential(lstm)([1.0]), TypeError, "x: expected a float32 array, got list"),
        (
            lambda: ur.Sequential(ur.LSTM(2, 6, bidirectional=True)).stream(),
            ValueError,
            "bidirectional: expected False",
        ),
    ]
    for mistake, error, message in mistakes:
        with pytest.raises(error, match=message):
            mistake()
