"""Weights stored smaller: what they are rounded to."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import normal
from unrolled._compress import stored


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_halves_are_those_of_numpy(dtype: str) -> None:
    a = normal(50, 70, dtype=np.dtype(dtype), seed=1)
    numbers, scale = stored(a, "float16")
    assert scale is None
    normal_numbers = np.abs(a) >= 2.0**-14
    expected = a.astype(np.float32).astype(np.float16)
    assert np.array_equal(numbers[normal_numbers], expected[normal_numbers])


def test_halves_are_normal_and_finite() -> None:
    a = np.array([[1e9, -65520.0, 2**-14, 0.6 * 2**-14, -0.4 * 2**-14, 0.0]], dtype=np.float32)
    numbers, _ = stored(a, "float16")
    assert numbers.tolist() == [[65504.0, -65504.0, 2**-14, 2**-14, 0.0, 0.0]]


def test_integers_are_within_half_a_step() -> None:
    a = normal(40, 33, seed=2)
    a[3] = 0
    numbers, scale = stored(a, "int8")
    assert scale is not None and numbers.dtype == np.int8
    assert np.array_equal(scale, np.abs(a).max(axis=1) / np.float32(127))
    assert np.abs(numbers).max() == 127 and not numbers[3].any()
    error = np.abs(numbers * scale[:, None].astype(float) - a)
    assert (error <= scale[:, None] * (0.5 + 1e-5)).all()


NETS: dict[str, Any] = {
    "lstm": lambda: ur.LSTM(3, 20, num_layers=2, bidirectional=True, proj_size=6, seed=1),
    "gru": lambda: ur.GRU(3, 20, seed=2),
    "formula": lambda: ur.Recurrent(ur.cells.leaky_rnn, 3, 20, seed=3),
    "sequential": lambda: ur.Sequential(ur.RNN(3, 20, seed=4), ur.Dense(20, 2, seed=5)),
}


@pytest.mark.parametrize("weights", ["float16", "int8"])
@pytest.mark.parametrize("name", NETS)
def test_a_copy_with_recurrent_weights_rounded(name: str, weights: Any) -> None:
    net = NETS[name]()
    before = {key: a.copy() for key, a in net.state_dict().items()}
    made = net.compress(weights)
    assert type(made) is type(net)
    for key, a in made.state_dict().items():
        if "weight_ih" in key or "weight_hh" in key:
            assert np.array_equal(a, rounded(before[key], weights)), key
    changed = set()
    for key, a in made.state_dict().items():
        assert np.array_equal(net.state_dict()[key], before[key])
        assert a.dtype == before[key].dtype
        if not np.array_equal(a, before[key]):
            changed.add(key.rpartition(".")[2].rpartition("_l")[0])
            assert np.abs(a - before[key]).max() < 0.01 * np.abs(before[key]).max()
    assert changed == {"weight_ih", "weight_hh"}
    x = normal(30, 2, 3, seed=6)
    y, other = net(x)[0], made(x)[0]
    assert 0 < np.abs(other - y).max() < 0.02


def rounded(rows: Any, weights: Any) -> Any:
    numbers, scale = stored(rows, weights)
    made = numbers.astype(rows.dtype)
    return made if scale is None else made * scale[:, None]


@pytest.mark.parametrize("weights", ["float16", "int8"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_was_rounded_stays(weights: Any, dtype: str) -> None:
    # Of about a hundred rows, one has a largest weight whose quotient is its scale's neighbour.
    rows = rounded(normal(3000, 9, dtype=np.dtype(dtype), seed=7), weights)
    assert np.array_equal(rounded(rows, weights), rows)
    net = ur.GRU(1, 200, dtype=dtype, seed=8).compress(weights)
    same = net.state_dict()
    net.load_state_dict(same)
    for key, a in net.state_dict().items():
        assert np.array_equal(a, same[key]), key


@pytest.mark.parametrize("weights", ["float16", "int8"])
@pytest.mark.parametrize("name", ["lstm 150", "gru 150", *NETS])
def test_a_row_gives_the_bits_of_a_net_of_rounded_weights(name: str, weights: Any) -> None:
    own = {"lstm 150": lambda: ur.LSTM(3, 150, seed=1), "gru 150": lambda: ur.GRU(3, 150, seed=1)}
    net = (own | NETS)[name]()
    small, same = net.compress(weights), copy.deepcopy(net)
    same.load_state_dict(small.state_dict())
    x = normal(30, 1, 3, seed=6)
    y = same(x)[0]
    copies = [small, copy.deepcopy(small), pickle.loads(pickle.dumps(small))]
    for made in copies:
        assert np.array_equal(made(x)[0], y)
        assert made.compression == small.compression and made.compression.weights == weights
        assert all(stored_as(module, weights) for module in recurrent(made))
        batch = np.repeat(x, 3, axis=1)
        assert np.array_equal(made(batch)[0], same(batch)[0])
        if not getattr(made, "bidirectional", False):
            stream = made.stream()
            assert np.array_equal(np.stack([stream.step(x_t) for x_t in x]), y)
    assert net.compression is None and same.compression is None
    before = ur.isa()
    try:
        for isa in ur.available_isas():
            ur.set_max_isa(isa)
            made = net.compress(weights)
            assert all(stored_as(module, weights) for module in recurrent(made))
            assert np.array_equal(made.state_dict().popitem()[1], small.state_dict().popitem()[1])
    finally:
        ur.set_max_isa(before)


def recurrent(net: Any) -> list[Any]:
    layers = getattr(net, "layers", (net,))
    return [layer for layer in layers if not isinstance(layer, ur.Dense)]


def stored_as(net: Any, weights: Any) -> bool:
    return bool(net._native.weights == weights)


@pytest.mark.parametrize("name", NETS)
def test_what_it_costs_is_said_for_the_users_data(name: str) -> None:
    net, x = NETS[name](), normal(30, 2, 3, seed=6)
    made = {weights: net.compress(weights, x) for weights in ("float16", "int8")}
    y = net(x)[0].astype(float)
    matrices = [a for key, a in net.state_dict().items() if "weight_ih" in key or "_hh" in key]
    matrices = [a for a in matrices if a.ndim == 2]
    for weights, small in made.items():
        found = small.compression
        difference, norm = small(x)[0] - y, np.sqrt(np.square(y).mean())
        assert found.error == pytest.approx(np.sqrt(np.square(difference).mean()) / norm)
        assert found.largest_error == pytest.approx(np.abs(difference).max() / norm)
        assert 0 < found.error < found.largest_error
        assert found.bytes_before == sum(a.nbytes for a in matrices)
        numbers = sum(a.size for a in matrices)
        scales = 4 * sum(len(a) for a in matrices)
        assert found.bytes == (2 * numbers if weights == "float16" else numbers + scales)
        # Without data nothing is run.
        without = net.compress(weights).compression
        assert without == dataclasses.replace(found, error=None, largest_error=None)
    assert made["float16"].compression.error < made["int8"].compression.error


def test_lengths_go_with_the_data() -> None:
    net, x = NETS["gru"](), normal(30, 2, 3, seed=6)
    found = net.compress("int8", x, lengths=[30, 10]).compression
    assert found.error != net.compress("int8", x).compression.error
    with pytest.raises(ValueError, match="lengths: expected an x that they are of"):
        net.compress("int8", lengths=[30, 10])
    with pytest.raises(ValueError, match="x: expected at least one step"):
        net.compress("int8", x[:0])
    with pytest.raises(ValueError, match="^x: "):
        net.compress("int8", x[..., :2])


@pytest.mark.parametrize("name", NETS)
def test_a_file_may_be_loaded_so(name: str, tmp_path: Path) -> None:
    net = NETS[name]()
    ur.save(net, tmp_path / "net.safetensors")
    small = ur.load(tmp_path / "net.safetensors", weights="int8")
    same = net.compress("int8")
    assert small.compression == same.compression
    for key, a in same.state_dict().items():
        assert np.array_equal(small.state_dict()[key], a)
    # A compressed net is written as the net of the rounded weights.
    ur.save(small, tmp_path / "small.safetensors")
    again = ur.load(tmp_path / "small.safetensors")
    assert again.compression is None
    for key, a in same.state_dict().items():
        assert np.array_equal(again.state_dict()[key], a)
    with pytest.raises(ValueError, match="weights: expected 'float16' or 'int8', got 'int4'"):
        bad: Any = "int4"
        ur.load(tmp_path / "net.safetensors", weights=bad)


def test_what_is_not_finite_is_refused() -> None:
    net = ur.LSTM(2, 3, seed=0)
    state = net.state_dict()
    state["weight_hh_l0"][1, 1] = np.nan
    net.load_state_dict(state)
    with pytest.raises(ValueError, match="weights: expected finite numbers"):
        net.compress("int8")


@pytest.mark.parametrize("call", ["compress", "to_rust"])
def test_other_ways_are_refused(call: str, tmp_path: Path) -> None:
    net: Any = ur.LSTM(1, 2, seed=0)
    message = "weights: expected 'float16' or 'int8', got 'int4'"
    with pytest.raises(ValueError, match=message):
        if call == "compress":
            net.compress("int4")
        else:
            net.to_rust(tmp_path / "model.rs", weights="int4")
    assert not list(tmp_path.iterdir())
