"""The public contract: names, arguments, shapes, who owns what."""

from __future__ import annotations

import copy
import inspect
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import VARIANTS, Variant, arrays, make, normal, same
from tolerances import TOLERANCES

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)

ROUNDED = TOLERANCES["reference.gradient.float32"]
COMMON = {
    "input_size": inspect.Parameter.empty,
    "hidden_size": inspect.Parameter.empty,
    "num_layers": 1,
    "bias": True,
    "batch_first": False,
    "dropout": 0.0,
    "bidirectional": False,
}
LAST = {"dtype": "float32", "seed": None}


@pytest.mark.parametrize(
    ("cls", "own"),
    [
        (ur.LSTM, {"proj_size": 0, "forget_gate": True, "forget_bias": 0.0}),
        (ur.GRU, {"reset_after": True}),
        (ur.RNN, {"nonlinearity": "tanh"}),
    ],
)
def test_constructor_arguments(cls: Any, own: dict[str, Any]) -> None:
    parameters = inspect.signature(cls).parameters
    assert {name: p.default for name, p in parameters.items()} == COMMON | own | LAST
    positional = [n for n, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == ["input_size", "hidden_size", "num_layers"]


def test_state_dict_is_pytorchs() -> None:
    net = ur.LSTM(3, 5, 2, bidirectional=True, proj_size=2)
    shapes = {name: a.shape for name, a in net.state_dict().items()}
    expected = {}
    for layer, inputs in ((0, 3), (1, 4)):
        for suffix in ("", "_reverse"):
            tail = f"_l{layer}{suffix}"
            expected |= {
                f"weight_ih{tail}": (20, inputs),
                f"weight_hh{tail}": (20, 2),
                f"bias_ih{tail}": (20,),
                f"bias_hh{tail}": (20,),
                f"weight_hr{tail}": (2, 5),
            }
    assert list(shapes.items()) == list(expected.items())
    assert net.num_parameters == sum(a.size for a in net.state_dict().values())
    assert list(ur.RNN(3, 5, bias=False).state_dict()) == ["weight_ih_l0", "weight_hh_l0"]
    assert ur.GRU(3, 5).state_dict()["weight_ih_l0"].shape == (15, 3)
    assert ur.LSTM(3, 5, forget_gate=False).state_dict()["bias_hh_l0"].shape == (15,)


@each_variant
def test_state_dict_copies(variant: Variant) -> None:
    net, other = make(variant), make(variant, seed=8)
    x = normal(4, 2, 3)
    given = net.state_dict()
    other.load_state_dict(given)
    assert same(other(x)[0], net(x)[0])
    for a in given.values():
        a[...] = np.nan
    assert np.isfinite(net(x)[0]).all()
    assert np.isfinite(other(x)[0]).all()


def test_seeds() -> None:
    def weights(seed: int | None) -> bytes:
        return b"".join(a.tobytes() for a in ur.LSTM(2, 3, seed=seed).state_dict().values())

    assert weights(5) == weights(5) != weights(6)
    assert weights(None) != weights(None)
    net = ur.LSTM(2, 3)
    assert same(
        tuple(ur.LSTM(2, 3, seed=net.seed).state_dict().values()),
        tuple(net.state_dict().values()),
    )


def test_first_values() -> None:
    net = ur.LSTM(4, 25, forget_bias=1.0, seed=0)
    parameters = net.state_dict()
    forget = slice(25, 50)
    assert (parameters["bias_ih_l0"][forget] >= 0.8).all()
    parameters["bias_ih_l0"][forget] -= 1
    assert all(0.15 < np.abs(a).max() <= 0.2 + 1e-6 for a in parameters.values())
    net.initialise("orthogonal", seed=3)
    square = net.state_dict()["weight_hh_l0"][:25].astype(np.float64)
    np.testing.assert_allclose(square @ square.T, np.eye(25), atol=ROUNDED)
    assert (net.state_dict()["bias_ih_l0"][forget] == 1).all()
    net.initialise("xavier")
    assert (net.state_dict()["bias_hh_l0"] == 0).all()
    net.initialise()
    assert same(net.state_dict()["weight_hh_l0"], parameters["weight_hh_l0"])


@each_variant
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["time first", "batch first", "no batch"])
def test_shapes(variant: Variant, dtype: str, layout: str) -> None:
    net = make(
        variant,
        num_layers=2,
        bidirectional=True,
        dtype=dtype,
        batch_first=layout == "batch first",
    )
    lead = {"time first": (5, 4), "batch first": (4, 5), "no batch": (5,)}[layout]
    rows = () if layout == "no batch" else (4,)
    in_time = (5, *rows)
    h_size = net._sizes.states[0]
    x = normal(*lead, 3, dtype=dtype)

    y, state = net(x)
    y2, state2, tape = net.record(x)
    assert same(y, y2)
    assert same(state, state2)
    assert y.shape == (*lead, 2 * h_size)
    assert y.dtype == dtype
    assert isinstance(state, tuple) == (variant.cell == "LSTM")
    shapes = [(4, *rows, size) for size in net._sizes.states]
    assert [a.shape for a in arrays(state)] == shapes

    g = tape.backward(np.ones_like(y), state)
    assert {name: (a.shape, a.dtype) for name, a in g.parameters.items()} == {
        name: (a.shape, a.dtype) for name, a in net.state_dict().items()
    }
    assert g.input.shape == x.shape
    assert [a.shape for a in arrays(g.state)] == shapes
    assert isinstance(g.state, tuple) == isinstance(state, tuple)

    gates = {"RNN": 1, "GRU": 3, "LSTM": 4 if getattr(net, "forget_gate", True) else 3}
    assert [a.shape for a in tape.hidden] == 4 * [(*in_time, h_size)]
    assert [a.shape for a in tape.gates] == 4 * [(*in_time, gates[variant.cell], 6)]
    both = np.concatenate(tape.hidden[2:], axis=-1)
    assert same(both.swapaxes(0, 1).copy() if layout == "batch first" else both, y)
    if variant.cell == "LSTM":
        assert [a.shape for a in tape.cell] == 4 * [(*in_time, 6)]
    else:
        with pytest.raises(AttributeError, match="cell"):
            _ = tape.cell
    assert tape.nbytes > 0


@each_variant
def test_tape_shows_every_step(variant: Variant) -> None:
    net = make(variant)
    y, state, tape = net.record(normal(5, 4, 3), lengths=[5, 0, 2, 4])
    assert same(tape.hidden, y)
    shown = [tape.hidden, tape.gates]
    if variant.cell == "LSTM":
        shown.append(tape.cell)
        ends = np.maximum(np.array([5, 0, 2, 4]) - 1, 0)
        assert same(tape.cell[ends, np.arange(4)], state[1][0])
    for a in shown:
        assert (a[2:, 2] == 0).all()
        with pytest.raises(ValueError, match="read-only"):
            a[0] = 1


def test_tape_with_checkpoints_has_not_every_step() -> None:
    _, _, tape = ur.GRU(1, 2).record(normal(5, 2, 1), checkpoint=2)
    with pytest.raises(ValueError, match="checkpoint"):
        _ = tape.hidden


def test_tape_and_changed_parameters() -> None:
    net = ur.GRU(2, 3)
    y, _, tape = net.record(normal(4, 2, 2))
    tape.backward(y)
    tape.backward(y)
    net.load_state_dict(net.state_dict())
    with pytest.raises(ValueError, match="tape: .*changed"):
        tape.backward(y)


def test_inputs_stay_and_outputs_are_free() -> None:
    net = ur.LSTM(2, 3, bidirectional=True)
    x, dy = normal(4, 3, 2), normal(4, 3, 6)
    state = (normal(2, 3, 3), normal(2, 3, 3))
    lengths, resets = np.array([4, 2, 0]), np.zeros((4, 3), bool)
    given = [x, dy, *state, lengths, resets]
    before = [a.copy() for a in given]
    y, final, tape = net.record(x, state, lengths=lengths, resets=resets)
    g = tape.backward(dy, state)
    for a in (y, *final, g.input, *g.state, *g.parameters.values()):
        assert a.flags.writeable
        a[...] = np.nan
    assert all(same(a, b) for a, b in zip(given, before, strict=True))
    # Nothing of what was handed out is used again.
    assert np.isfinite(tape.backward(dy).input).all()
    assert np.isfinite(net(x)[0]).all()


# Dropout


def test_dropout_follows_seed_and_calls() -> None:
    x = normal(6, 3, 2)

    def run(seed: int, calls: int, **more: Any) -> np.ndarray:
        net = ur.LSTM(2, 8, num_layers=2, dropout=0.5, seed=seed)
        return [net.record(x, **more)[0] for _ in range(calls)][-1]

    assert same(run(1, 1), run(1, 1))
    assert same(run(1, 3), run(1, 3))
    assert not same(run(1, 1), run(1, 2))
    net = ur.LSTM(2, 8, num_layers=2, dropout=0.5, seed=1)
    assert same(net.record(x, train=False)[0], net(x)[0])
    assert same(net.record(x)[0], run(1, 1)), "only calls that draw count"


def test_dropout_acts_between_layers_in_proportion() -> None:
    # Layer 0 gives relu(x); layer 1 copies its input, so y shows what was dropped.
    net = ur.RNN(50, 50, num_layers=2, bias=False, nonlinearity="relu", dropout=0.3, seed=2)
    zero, eye = np.zeros((50, 50), np.float32), np.eye(50, dtype=np.float32)
    net.load_state_dict(
        {name: eye if "_ih" in name else zero for name in net.state_dict()},
    )
    y, _, tape = net.record(np.ones((40, 10, 50), np.float32))
    kept = y != 0
    np.testing.assert_allclose(y[kept], 1 / 0.7, rtol=TOLERANCES["reference.output.float32"])
    assert abs(kept.mean() - 0.7) < 0.01
    # Neither steps, rows nor units share a mask.
    assert all(kept.mean(axis=axis).min() > 0 for axis in (0, 1, 2))
    assert all(kept.mean(axis=axis).std() > 0.01 for axis in (0, 1, 2))
    g = tape.backward(np.ones_like(y))
    np.testing.assert_allclose(
        g.input, kept / np.float32(0.7), rtol=TOLERANCES["reference.output.float32"]
    )


def test_dropout_of_one_layer_warns() -> None:
    with pytest.warns(UserWarning, match="dropout"):
        ur.GRU(1, 2, dropout=0.5)


# Streams


@each_variant
def test_stream(variant: Variant) -> None:
    net = make(variant, num_layers=2)
    x = normal(6, 3, 3)
    y, final = net(x)
    s = net.stream(batch=3)
    assert s.batch == 3
    assert same(np.stack([s.step(x_t) for x_t in x]), y)
    assert same(s.state, final)
    s.reset()
    assert all((a == 0).all() for a in arrays(s.state))
    s.state = net(x[:4])[1]
    assert same(s.step(x[4]), y[4])
    s.state = None
    assert same(s.step(x[0]), y[0])

    alone = net.stream()
    assert same(np.stack([alone.step(x_t) for x_t in x[:, 0]]), y[:, 0].copy())
    assert alone.step(x[0, :1]).shape == (1, y.shape[-1])
    unbatched = net(x[:4, 0])[1]
    alone.state = unbatched
    assert same(alone.step(x[4, 0]), y[4, 0])


def test_stream_sees_new_parameters() -> None:
    net, other = ur.GRU(2, 3, seed=1), ur.GRU(2, 3, seed=2)
    x = normal(2)
    s = net.stream()
    s.step(x)
    s.reset()
    net.load_state_dict(other.state_dict())
    assert same(s.step(x), other.stream().step(x))


# Copies and files' kin


@each_variant
@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda n: pickle.loads(pickle.dumps(n))]
)
def test_copies(variant: Variant, copied: Callable[[Any], Any]) -> None:
    net = make(variant, num_layers=2, dropout=0.4, bidirectional=True)
    x = normal(5, 2, 3)
    net.record(x)
    twin = copied(net)
    assert repr(twin) == repr(net)
    assert same(twin(x)[0], net(x)[0])
    assert same(twin.record(x)[0], net.record(x)[0]), "the masks go on where they were"
    net.initialise(seed=99)
    assert not same(twin(x)[0], net(x)[0])


def test_dense_copies() -> None:
    dense = ur.Dense(3, 2, seed=1)
    assert same(copy.deepcopy(dense)(normal(4, 3)), dense(normal(4, 3)))


def test_tapes_and_streams_are_not_copied() -> None:
    net = ur.GRU(1, 2)
    for thing in (net.record(normal(3, 1, 1))[2], net.stream()):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            pickle.dumps(thing)
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            copy.deepcopy(thing)


def test_repr() -> None:
    assert repr(ur.LSTM(3, 4)) == "LSTM(3, 4)"
    net = ur.LSTM(3, 4, 2, batch_first=True, dropout=0.1, proj_size=2, dtype="float64")
    assert repr(net) == (
        "LSTM(3, 4, num_layers=2, batch_first=True, dropout=0.1, proj_size=2, dtype='float64')"
    )
    assert repr(ur.RNN(1, 2, nonlinearity="relu")) == "RNN(1, 2, nonlinearity='relu')"
    assert repr(ur.Dense(3, 2)) == "Dense(3, 2, bias=True)"
    assert "3 steps, 1 rows" in repr(ur.GRU(1, 2).record(normal(3, 1, 1))[2])
    assert "2 rows" in repr(ur.GRU(1, 2).stream(2))


# The dense layer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(), (4,), (5, 4), (2, 5, 4), (0,), (300,)])
def test_dense(dtype: str, shape: tuple[int, ...]) -> None:
    dense = ur.Dense(7, 3, dtype=dtype, seed=0)
    w, b = dense.state_dict().values()
    x, dy = normal(*shape, 7, dtype=dtype), normal(*shape, 3, dtype=dtype, seed=1)
    y, g = dense(x), dense.backward(x, dy)
    assert y.dtype == dtype
    tolerance = (
        {"rtol": ROUNDED, "atol": ROUNDED}
        if dtype == "float32"
        else {"rtol": TOLERANCES["reordered"]}
    )
    np.testing.assert_allclose(y, x @ w.T + b, **tolerance)
    np.testing.assert_allclose(g.input, dy @ w, **tolerance)
    rows_x, rows_dy = x.reshape(-1, 7), dy.reshape(-1, 3)
    np.testing.assert_allclose(g.parameters["weight"], rows_dy.T @ rows_x, **tolerance)
    np.testing.assert_allclose(g.parameters["bias"], rows_dy.sum(axis=0), **tolerance)
    assert list(ur.Dense(2, 2, bias=False).state_dict()) == ["weight"]
    assert dense.num_parameters == 24


# The machine


def test_threads() -> None:
    ur.set_num_threads(3)
    assert ur.get_num_threads() == 3


def test_instruction_sets() -> None:
    names = ur.available_isas()
    assert names[0] == "portable"
    before = ur.GRU(1, 2)
    for name in names:
        ur.set_max_isa(name)
        assert ur.isa() == name
        assert ur.GRU(1, 2).isa == name
    assert before.isa == names[-1]


def test_show_config(capsys: pytest.CaptureFixture[str]) -> None:
    assert ur.show_config() is None
    said = capsys.readouterr().out
    config = ur.show_config(mode="dicts")
    assert config is not None
    assert config["version"] == ur.__version__
    for part in (ur.__version__, ur.isa(), *ur.available_isas(), str(ur.get_num_threads())):
        assert part in said


# Threads of the interpreter


def test_the_interpreter_runs_on_while_computing() -> None:
    net = ur.LSTM(64, 256)
    x = normal(200, 32, 64)
    ticks = 0
    done = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)

    ticker = threading.Thread(target=tick)
    ticker.start()
    start, before = time.perf_counter(), ticks
    net.record(x)
    taken, counted = time.perf_counter() - start, ticks - before
    done.set()
    ticker.join()
    # Held throughout, the interpreter's lock would let none or one through.
    assert counted > 1 + taken / 0.05, f"{counted} ticks in {taken:.3f} s"


def test_one_network_in_many_threads() -> None:
    net = ur.GRU(3, 32)
    x = normal(50, 24, 3)
    expected, _, tape = net.record(x)
    gradient = tape.backward(expected).input
    stream, failures = net.stream(), []

    def work() -> None:
        for _ in range(10):
            y, _, tape = net.record(x)
            stream.step(x[0, 0])
            if not same(y, expected) or not same(tape.backward(y).input, gradient):
                failures.append("another result")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
