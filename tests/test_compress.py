"""Weights stored smaller: what they are rounded to."""

from __future__ import annotations

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
    changed = set()
    for key, a in made.state_dict().items():
        assert np.array_equal(net.state_dict()[key], before[key])
        assert a.dtype == before[key].dtype
        if not np.array_equal(a, before[key]):
            changed.add(key.rpartition(".")[2].rpartition("_l")[0])
            assert np.abs(a - before[key]).max() < 0.01 * np.abs(before[key]).max()
    assert changed == {"weight_ih", "weight_hh"}
    x = normal(30, 2, 3, seed=6)
    y, rounded = net(x)[0], made(x)[0]
    assert 0 < np.abs(rounded - y).max() < 0.02


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
