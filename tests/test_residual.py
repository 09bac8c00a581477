"""Sums with what an earlier layer read: as by hand, exact on the way back, step by step."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import unrolled as ur
from support import normal, same
from tolerances import TOLERANCES, assert_close
from unrolled.__main__ import main


def skipping(dtype: str = "float32", **more: Any) -> ur.Sequential:
    """One layer read twice, a sum that is read again, and fewer features than were read."""
    return ur.Sequential(
        ur.Dense(3, 4, dtype=dtype, seed=1),
        ur.LSTM(4, 4, num_layers=2, dtype=dtype, seed=2, **more),
        ur.Residual(since=1),
        ur.Residual(since=2),
        ur.Activation("tanh"),
        ur.GRU(4, 3, dtype=dtype, seed=3, **more),
        ur.Residual(since=3),
        ur.Residual(),
        ur.Dense(3, 2, dtype=dtype, seed=4),
        ur.Residual(since=1),
        ur.Residual(),
    )


def by_hand(net: ur.Sequential, x: np.ndarray) -> np.ndarray:
    """What `skipping` is, without the sums' own code."""
    dense, lstm, _, _, tanh, gru, _, _, out, _, _ = net.layers
    a = dense(x)
    b = lstm(a)[0]
    c = b + a
    e = gru(tanh(c + b))[0]
    e = e + c[..., :3]
    y = out(e + x)
    y = y + a[..., :2]
    return y + x[..., :2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_as_by_hand(dtype: str) -> None:
    net, x = skipping(dtype), normal(9, 4, 3, dtype=dtype)
    before = x.copy()
    y, state = net(x)
    assert y.dtype == x.dtype and y.flags.c_contiguous
    assert same(y, by_hand(net, x)) and same(x, before)
    recorded, ends, _ = net.record(x)
    assert same(recorded, y)
    assert all(same(a, b) for a, b in zip(ends, state, strict=True))
    assert same(net(x[:, 0])[0], y[:, 0])
    first = skipping(dtype, batch_first=True)
    assert same(first(x.swapaxes(0, 1))[0].swapaxes(0, 1), y)
    assert (net.input_size, net.output_size) == (3, 2)
    assert net.num_parameters == sum(m.num_parameters for m in net.modules)
    # The sums are no matter of rounding: without one, another model.
    assert np.abs(ur.Sequential(*net.layers[:-1])(x)[0] - y).max() > 0.1


def test_lengths() -> None:
    """A row that has ended gives zeros, to which its input is added as it is."""
    net = ur.Sequential(ur.GRU(2, 2, seed=0), ur.Residual())
    x, lengths = normal(5, 3, 2), np.array([5, 2, 3])
    y, _ = net(x, lengths=lengths)
    assert same(y, net.layers[0](x, lengths=lengths)[0] + x)
    assert same(y[3:, 1], x[3:, 1])


def test_activations_alone() -> None:
    """As many features as come, and any number of axes."""
    net = ur.Sequential(ur.Activation("relu"), ur.Residual(), ur.Residual(since=1))
    assert (net.input_size, net.output_size) == (None, None)
    for shape in ((), (3,), (2, 0), (2, 3, 1, 4)):
        x = normal(*shape) if shape else np.array(-1.5, np.float32)
        y, _, tape = net.record(x)
        relu = np.maximum(x, 0)
        assert same(y, np.asarray(relu + x + relu)) and same(net(x)[0], y)
        d_x = tape.backward(np.ones_like(y)).input
        assert same(d_x, np.asarray(1 + 2 * (x > 0), np.float32))


def differences(loss: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """The slope of `loss` in every direction, by central differences."""
    h, found = TOLERANCES["difference.step"], np.zeros_like(at)
    for place in np.ndindex(at.shape):
        step = np.zeros_like(at)
        step[place] = h
        found[place] = (loss(at + step) - loss(at - step)) / (2 * h)
    return found


def test_the_way_back() -> None:
    """Every parameter, the input and the states, against central differences."""
    net = skipping("float64")
    x, dy = normal(5, 3, 3, dtype="float64"), normal(5, 3, 2, dtype="float64", seed=1)
    given = dy.copy()
    start = (tuple(normal(2, 3, 4, dtype="float64", seed=n) for n in (2, 3)), np.zeros((1, 3, 3)))
    g = net.record(x, start)[2].backward(dy)
    assert same(dy, given)

    def loss(x: np.ndarray, start: Any = start) -> float:
        return float((net(x, start)[0] * dy).sum())

    assert_close(g.input, differences(loss, x), "difference", "input")
    assert_close(
        g.state[0][0],
        differences(lambda h: loss(x, ((h, start[0][1]), start[1])), start[0][0]),
        "difference",
        "h",
    )
    parameters = net.state_dict()
    assert set(g.parameters) == set(parameters)

    def with_parameter(name: str) -> Callable[[np.ndarray], float]:
        def found(a: np.ndarray) -> float:
            net.load_state_dict(parameters | {name: a})
            return loss(x)

        return found

    for name, a in parameters.items():
        expected = differences(with_parameter(name), a)
        assert_close(g.parameters[name], expected, "difference", name)


def test_gradients_of_modules_are_their_own() -> None:
    """What goes past a layer is no part of the gradient by that layer's input."""
    dense = ur.Dense(2, 2, seed=0)
    net, x = ur.Sequential(dense, ur.Residual()), normal(4, 2)
    dy = normal(4, 2, seed=1)
    g = net.record(x)[2].backward(dy)
    assert same(g.modules[0].input, dense.backward(x, dy).input)
    assert same(g.input, g.modules[0].input + dy)


@pytest.mark.parametrize("initial", [False, True])
def test_stream(initial: bool) -> None:
    net, x = skipping(), normal(9, 4, 3)
    if initial:
        start = ((normal(2, 4, seed=1), normal(2, 4, seed=2)), normal(1, 3, seed=3))
        net = ur.Sequential(*net.layers, initial_state=start)
    y, state = net(x)
    stream = net.stream(batch=4)
    assert same(np.stack([stream.step(x_t) for x_t in x]), y)
    for ours, theirs in zip(stream.state, state, strict=True):
        assert same(ours, theirs)
    stream.reset()
    assert same(stream.step(x[0]), y[0])
    alone = net.stream()
    assert same(np.stack([alone.step(x_t) for x_t in x[:, 0]]), y[:, 0])


def test_a_step_that_fails_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the sum itself is what fails, behind layers that have gone on."""
    net, x = skipping(), normal(3, 1, 3)
    stream, expected = net.stream(), net(x)[0]
    assert same(stream.step(x[0]), expected[0])
    before = stream.state
    for wrong in (normal(1, 4), normal(1, 3, dtype="float64"), [1.0, 2.0, 3.0]):
        with pytest.raises((TypeError, ValueError), match="^x: expected"):
            stream.step(wrong)

    def ends(*_: Any) -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as patched:
        patched.setattr("unrolled._sequential_run.added", ends)
        with pytest.raises(MemoryError, match="no room"):
            stream.step(x[1])
    for ours, theirs in zip(stream.state, before, strict=True):
        assert same(ours, theirs)
    assert same(stream.step(x[1]), expected[1])


def test_too_large_is_infinite() -> None:
    """Without a warning of NumPy's, which would be an error here."""
    dense = ur.Dense(1, 1, bias=False)
    dense.load_state_dict({"weight": np.ones((1, 1), np.float32)})
    net = ur.Sequential(dense, ur.Residual())
    x = np.array([[3e38], [np.inf], [-3e38]], np.float32)
    y, _, tape = net.record(x)
    assert same(y, np.array([[np.inf], [np.inf], [-np.inf]], np.float32))
    assert same(tape.backward(x).input, y)


def test_training() -> None:
    net, x = skipping(), normal(9, 4, 3)
    target = normal(9, 4, 2, seed=1)
    opt, losses = ur.optim.Adam(net.modules, lr=0.02), []
    for _ in range(30):
        y, _, tape = net.record(x)
        loss, dy = ur.losses.mse(y, target)
        losses.append(loss)
        opt.step(tape.backward(dy).modules)
    assert losses[-1] < 0.7 * losses[0]


def test_copies_and_files(tmp_path: Path) -> None:
    net, x = skipping(), normal(5, 3, 3)
    y, _ = net(x)
    assert net.config()["layers"][-2:] == [
        {"class": "Residual", "config": {"since": 1}},
        {"class": "Residual", "config": {"since": 0}},
    ]
    assert repr(net).splitlines()[-3:] == ["  (9): Residual(since=1)", "  (10): Residual()", ")"]
    path = tmp_path / "model.safetensors"
    ur.save(net, path)
    for other in (pickle.loads(pickle.dumps(net)), copy.deepcopy(net), ur.load(path)):
        assert repr(other) == repr(net) and other.config() == net.config()
        assert same(other(x)[0], y)
    drawn = ur.Sequential.from_config(net.config())
    drawn.load_state_dict(net.state_dict())
    assert same(drawn(x)[0], y)


def test_state_dicts_in_an_order_that_is_told(tmp_path: Path) -> None:
    """What stands between parameters, and at their end, is for the user to say."""
    net = ur.Sequential(ur.GRU(2, 3, seed=0), ur.Dense(3, 2, seed=1), ur.Residual())
    state = net.state_dict()
    safetensors.numpy.save_file(state, tmp_path / "state")
    x = normal(4, 1, 2)
    found = ur.load(tmp_path / "state", layers=("0", "1", ur.Residual()))
    assert same(found(x)[0], net(x)[0])
    with pytest.raises(ValueError, match=r"layers\[1\].since: expected less than 1"):
        ur.load(tmp_path / "state", layers=("0", ur.Residual(since=1), "1"))


def test_since_stays() -> None:
    layer = ur.Residual(since=2)
    assert layer.config() == {"since": 2} and layer.since == 2
    with pytest.raises(AttributeError):
        layer.since = 3  # type: ignore[misc]


def test_mistakes() -> None:
    wide, narrow = ur.Dense(2, 3), ur.Dense(3, 2)
    mistakes: list[tuple[Callable[[], Any], type[Exception], str]] = [
        (lambda: ur.Residual(-1), ValueError, "since: expected an integer >= 0, got -1"),
        (lambda: ur.Residual("0"), TypeError, "since: expected an integer, got str"),  # type: ignore[arg-type]
        (lambda: ur.Residual(True), TypeError, "since: expected an integer, got bool"),
        (
            lambda: ur.Sequential(ur.Residual(), wide),
            ValueError,
            r"layers\[0\]: expected a layer before the Residual, got none",
        ),
        (
            lambda: ur.Sequential(wide, narrow, ur.Residual(since=2)),
            ValueError,
            r"layers\[2\].since: expected less than 2, the layer's own place, got 2",
        ),
        (
            lambda: ur.Sequential(wide, ur.Residual(since=10**30)),
            ValueError,
            r"layers\[1\].since: expected less than 1.* got 1000",
        ),
        (
            lambda: ur.Sequential(wide, ur.Residual()),
            ValueError,
            r"layers\[1\]: expected layers\[0\] to read at least 3 features, .* got 2",
        ),
        (
            lambda: ur.Sequential(ur.Activation("tanh"), wide, ur.Residual(since=1)),
            ValueError,
            r"layers\[2\]: expected layers\[1\] to read at least 3 features, .* got 2",
        ),
        (
            lambda: (
                ur.Sequential(wide, narrow, ur.Residual())
                .record(normal(4, 2))[2]
                .backward(np.ones((4, 1), np.float32))
            ),
            ValueError,
            r"dy: expected shape of y = \(4, 2\), got \(4, 1\)",
        ),
        (
            lambda: ur.Sequential.from_config({"layers": [{"class": "Residual", "config": {}}]}),
            ValueError,
            "a layer before the Residual",
        ),
    ]
    for mistake, error, message in mistakes:
        with pytest.raises(error, match=message):
            mistake()


@pytest.mark.parametrize("config", [{"since": 1}, {"since": -1}, {"since": "0"}, {"till": 0}])
def test_files_that_lie(config: dict[str, Any], tmp_path: Path) -> None:
    dense = ur.Dense(1, 1, seed=0)
    layers = [{"class": "Dense", "config": dense.config()}, {"class": "Residual", "config": config}]
    about = {"class": "Sequential", "config": {"layers": layers, "initial_state": False}}
    state = {f"0.{name}": a for name, a in dense.state_dict().items()}
    safetensors.numpy.save_file(state, tmp_path / "m", metadata={"unrolled": json.dumps(about)})
    with pytest.raises(ValueError, match="path: .*since|path: .*till"):
        ur.load(tmp_path / "m")


def test_inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ur.save(skipping(), tmp_path / "net")
    assert main(["inspect", str(tmp_path / "net")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["9", "Residual(since=1)", "2", "2", "0"] in rows
    assert ["output", "2"] in rows
