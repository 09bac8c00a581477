"""Every mistake gets the exception that fits, and a message with the argument's name, what was
expected and what came."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import normal

NET = ur.LSTM(3, 4, num_layers=2, seed=0)
GRU = ur.GRU(3, 4, batch_first=True, seed=0)
X = normal(5, 2, 3)
H = np.zeros((2, 2, 4), np.float32)
DENSE = ur.Dense(3, 2)


ITSELF: list[Any] = []
ITSELF.append(ITSELF)


class Unreadable:
    def __dlpack__(self, **_: Any) -> None:
        raise BufferError("on another device")

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def tape() -> Any:
    return NET.record(X)[2]


MISTAKES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    # Constructors.
    (lambda: ur.LSTM(0, 4), ValueError, r"input_size: expected an integer >= 1, got 0"),
    (lambda: ur.LSTM(3, -4), ValueError, r"hidden_size: .*>= 1, got -4"),
    (lambda: ur.LSTM(3.0, 4), TypeError, r"input_size: expected an integer, got float"),
    (lambda: ur.LSTM("3", 4), TypeError, r"input_size: expected an integer, got str"),
    (lambda: ur.LSTM(True, 4), TypeError, r"input_size: expected an integer, got bool"),
    (lambda: ur.GRU(3, 4, 0), ValueError, r"num_layers: .*>= 1, got 0"),
    (lambda: ur.GRU(3, 4, bias=1), TypeError, r"bias: expected True or False, got int"),
    (lambda: ur.GRU(3, 4, batch_first=None), TypeError, r"batch_first: .*got None"),
    (lambda: ur.GRU(3, 4, bidirectional="no"), TypeError, r"bidirectional: .*got str"),
    (lambda: ur.GRU(3, 4, 2, dropout=1.0), ValueError, r"dropout: .*< 1, got 1.0"),
    (lambda: ur.GRU(3, 4, 2, dropout=-0.1), ValueError, r"dropout: .*got -0.1"),
    (lambda: ur.GRU(3, 4, 2, dropout=float("nan")), ValueError, r"dropout: .*finite.*got nan"),
    (lambda: ur.GRU(3, 4, 2, dropout="0"), TypeError, r"dropout: .*got str"),
    (
        lambda: ur.GRU(3, 4, dtype="float16"),
        TypeError,
        r"dtype: .*'float32', 'float64', got float16",
    ),
    (lambda: ur.GRU(3, 4, dtype=int), TypeError, r"dtype: .*got int64"),
    (lambda: ur.GRU(3, 4, dtype=None), TypeError, r"dtype: .*got None"),
    (lambda: ur.GRU(3, 4, dtype=ITSELF), TypeError, r"dtype: .*got \[\[\[\[\[\["),
    (lambda: ur.GRU(3, 4, dtype=[("a", "f4", -1)]), TypeError, r"dtype: .*got \[\('a', 'f4'"),
    (lambda: ur.GRU(3, 4, seed=-1), ValueError, r"seed: .*>= 0, got -1"),
    (lambda: ur.GRU(3, 4, seed=2**64), ValueError, r"seed: .*2\*\*64, got 18446744073709551616"),
    (lambda: ur.GRU(3, 4, seed=1.5), TypeError, r"seed: .*got float"),
    (lambda: ur.GRU(3, 4, reset_after=0), TypeError, r"reset_after: .*got int"),
    (lambda: ur.GRU(3, 4, proj_size=2), TypeError, r"proj_size"),
    (lambda: ur.LSTM(3, 4, proj_size=4), ValueError, r"proj_size: .*hidden_size = 4, got 4"),
    (lambda: ur.LSTM(3, 4, proj_size=-1), ValueError, r"proj_size: .*>= 0, got -1"),
    (lambda: ur.LSTM(3, 4, forget_gate=0), TypeError, r"forget_gate: .*got int"),
    (lambda: ur.LSTM(3, 4, forget_bias="1"), TypeError, r"forget_bias: .*got str"),
    (lambda: ur.LSTM(3, 4, forget_bias=np.inf), ValueError, r"forget_bias: .*finite.*got inf"),
    (lambda: ur.LSTM(3, 4, forget_gate=False, forget_bias=1.0), ValueError, r"forget_bias: .*1.0"),
    (lambda: ur.LSTM(3, 4, bias=False, forget_bias=1.0), ValueError, r"forget_bias: .*got 1.0"),
    (lambda: ur.RNN(3, 4, nonlinearity="gelu"), ValueError, r"nonlinearity: .*'tanh'.*'gelu'"),
    (lambda: ur.RNN(3, 4, nonlinearity=1), TypeError, r"nonlinearity: .*got int"),
    (lambda: ur.RNN(3, 4, 1, True), TypeError, r"positional"),
    (lambda: NET.initialise("zero"), ValueError, r"init: .*'uniform'.*got 'zero'"),
    (lambda: NET.initialise(seed="1"), TypeError, r"seed: .*got str"),
    # What a network is called with.
    (lambda: NET(X.tolist()), TypeError, r"x: expected a float32 array, got list"),
    (lambda: NET(None), TypeError, r"x: expected a float32 array, got None"),
    (lambda: NET(1.0), TypeError, r"x: expected a float32 array, got float"),
    (lambda: NET("x"), TypeError, r"x: expected a float32 array, got str"),
    (lambda: NET(b"1234"), TypeError, r"x: expected a float32 array, got dtype uint8$"),
    (
        lambda: NET(X.astype(np.float64)),
        TypeError,
        r"x: .*float32 array, got dtype float64; "
        r"use x\.astype\(np\.float32\) or dtype='float64'$",
    ),
    (lambda: NET(X.astype(np.float16)), TypeError, r"x: .*float32 array, got dtype float16"),
    (lambda: NET(X.astype(int)), TypeError, r"x: .*float32 array, got dtype int64"),
    (lambda: NET(X.astype(bool)), TypeError, r"x: .*float32 array, got dtype bool"),
    (lambda: NET(X.astype(complex)), TypeError, r"x: .*float32 array, got dtype complex128"),
    (lambda: NET(X.astype(object)), TypeError, r"x: .*float32 array, got dtype object"),
    (
        lambda: NET(X.astype(">f4")),
        TypeError,
        r"x: .*float32 array, got dtype >f4; use x\.astype\(np\.float32\)$",
    ),
    (lambda: NET(np.ma.masked_array(X)), TypeError, r"x: .*float32 array, got a masked array"),
    (lambda: NET(Unreadable()), TypeError, r"x: .*got Unreadable.*on another device"),
    (lambda: NET(X[..., :2]), ValueError, r"x: expected shape \(T, B, 3\) or .*got \(5, 2, 2\)"),
    (lambda: GRU(X[..., :2]), ValueError, r"x: expected shape \(B, T, 3\) or .*got \(5, 2, 2\)"),
    (lambda: NET(X[0, 0]), ValueError, r"x: expected shape .*got \(3,\)"),
    (lambda: NET(X[None]), ValueError, r"x: expected shape .*got \(1, 5, 2, 3\)"),
    (lambda: NET(np.float32(1)), ValueError, r"x: expected shape .*got \(\)"),
    (lambda: NET(X, H), TypeError, r"state: expected a tuple \(h, c\) of two arrays, got ndarray"),
    (lambda: NET(X, (H,)), TypeError, r"state: expected a tuple .*got tuple of 1"),
    (lambda: NET(X, (H, H, H)), TypeError, r"state: expected a tuple .*got tuple of 3"),
    (lambda: NET(X, (H, None)), TypeError, r"state\[1\]: .*got None"),
    (lambda: NET(X, (H, H.astype(float))), TypeError, r"state\[1\]: .*float32.*float64"),
    (lambda: NET(X, (H[:1], H)), ValueError, r"state\[0\]: .*\(2, 2, 4\), got \(1, 2, 4\)"),
    (lambda: NET(X[:, 0], (H, H)), ValueError, r"state\[0\]: .*\(2, 4\), got \(2, 2, 4\)"),
    (lambda: GRU(X, (H, H)), TypeError, r"state: expected a float32 array, got tuple"),
    (lambda: GRU(X, H), ValueError, r"state: .*\(1, 5, 4\), got \(2, 2, 4\)"),
    (lambda: NET(X, lengths=[5]), ValueError, r"lengths: .*\(B,\) = \(2,\), got \(1,\)"),
    (lambda: NET(X, lengths=[5, 6]), ValueError, r"lengths: .*T = 5, got 6 in row 1"),
    (lambda: NET(X, lengths=[-1, 5]), ValueError, r"lengths: .*got -1"),
    (lambda: NET(X, lengths=np.array([5, -1])), ValueError, r"lengths: .*got -1 in row 1"),
    (
        lambda: NET(X, lengths=[2**70, 5]),
        ValueError,
        r"lengths: .*T = 5, got 1180591620717411303424",
    ),
    (
        lambda: NET(X, lengths=np.array([5, 2**63], np.uint64)),
        ValueError,
        r"lengths: .*9223372036854",
    ),
    (lambda: NET(X, lengths=[5.0, 5.0]), TypeError, r"lengths: expected an integer, got float"),
    (lambda: NET(X, lengths=np.ones(2)), TypeError, r"lengths: .*integers, got dtype float64"),
    (lambda: NET(X, lengths=np.ones(2, bool)), TypeError, r"lengths: .*integers, got dtype bool"),
    (lambda: NET(X, lengths=5), TypeError, r"lengths: .*got int"),
    (
        lambda: NET(X[:, 0], lengths=[5]),
        ValueError,
        r"^lengths must be None when x has no batch axis$",
    ),
    (
        lambda: NET(X, resets=np.zeros((5, 2))),
        TypeError,
        r"resets: .*bool array, got dtype float64",
    ),
    (
        lambda: NET(X, resets=np.zeros((2, 5), bool)),
        ValueError,
        r"resets: .*\(5, 2\), got \(2, 5\)",
    ),
    (lambda: NET(X, resets=np.zeros(5, bool)), ValueError, r"resets: .*\(5, 2\), got \(5,\)"),
    (lambda: NET(X, resets=[[True]]), TypeError, r"resets: .*bool array, got list"),
    (lambda: NET.record(X, train=1), TypeError, r"train: .*got int"),
    (lambda: NET.record(X, checkpoint=0), ValueError, r"checkpoint: .*>= 1, got 0"),
    (lambda: NET.record(X, checkpoint="often"), ValueError, r"checkpoint: .*\"auto\".*'often'"),
    (lambda: NET.record(X, checkpoint=1.5), TypeError, r"checkpoint: .*got float"),
    # The way back.
    (lambda: tape().backward(None), TypeError, r"dy: expected a float32 array, got None"),
    (lambda: tape().backward(np.zeros((5, 2, 4))), TypeError, r"dy: .*got dtype float64"),
    (lambda: tape().backward(X), ValueError, r"dy: .*\(5, 2, 4\), got \(5, 2, 3\)"),
    (lambda: tape().backward(X[..., :1].repeat(4, 2), H), TypeError, r"dstate: .*got ndarray"),
    (lambda: tape().backward(H, truncate=-1), ValueError, r"dy: .*got \(2, 2, 4\)"),
    (
        lambda: tape().backward(normal(5, 2, 4), truncate=-1),
        ValueError,
        r"truncate: .*>= 0, got -1",
    ),
    (lambda: tape().backward(normal(5, 2, 4), truncate=1.0), TypeError, r"truncate: .*got float"),
    # Parameters.
    (lambda: NET.load_state_dict([]), TypeError, r"mapping: expected a mapping, got list"),
    (
        lambda: ur.RNN(1, 1).load_state_dict({"weight_ih_l0": H, "w": H}),
        ValueError,
        r"missing keys \['weight_hh_l0', 'bias_ih_l0', 'bias_hh_l0'\], unexpected keys \['w'\]",
    ),
    (
        lambda: GRU.load_state_dict(GRU.state_dict() | {"bias_ih_l0": np.zeros(3, np.float32)}),
        ValueError,
        r"mapping\['bias_ih_l0'\]: .*\(12,\), got \(3,\)",
    ),
    (
        lambda: GRU.load_state_dict(GRU.state_dict() | {"bias_ih_l0": np.zeros(12)}),
        TypeError,
        r"mapping\['bias_ih_l0'\]: .*float32 array, got dtype float64",
    ),
    # Streams.
    (lambda: NET.stream(0), ValueError, r"batch: .*>= 1, got 0"),
    (lambda: NET.stream(1.0), TypeError, r"batch: .*got float"),
    (lambda: ur.GRU(1, 2, bidirectional=True).stream(), ValueError, r"bidirectional: .*got True"),
    (lambda: NET.stream().step([1.0, 2.0, 3.0]), TypeError, r"x: .*float32 array, got list"),
    (lambda: NET.stream().step(np.zeros(3)), TypeError, r"x: .*float32 array, got dtype float64"),
    (lambda: NET.stream().step(None), TypeError, r"x: .*float32 array, got None"),
    (
        lambda: NET.stream().step(X[0]),
        ValueError,
        r"x: .*\(3,\) or \(B, I\) = \(1, 3\), got \(2, 3\)",
    ),
    (lambda: NET.stream(2).step(X[0, 0]), ValueError, r"x: .*\(B, I\) = \(2, 3\), got \(3,\)"),
    (lambda: NET.stream().step(np.ma.zeros(3, "f")), TypeError, r"x: .*got a masked array"),
    (lambda: setattr(NET.stream(), "state", H), TypeError, r"state: expected a tuple .*ndarray"),
    (lambda: setattr(NET.stream(), "state", (H, H)), ValueError, r"state\[0\]: .*\(2, 1, 4\)"),
    (
        lambda: setattr(NET.stream(2), "state", ()),
        TypeError,
        r"state: expected a tuple .*tuple of 0",
    ),
    # The dense layer.
    (lambda: ur.Dense(0, 2), ValueError, r"in_features: .*>= 1, got 0"),
    (lambda: ur.Dense(2, None), TypeError, r"out_features: .*got None"),
    (lambda: DENSE(normal(4, 2)), ValueError, r"x: expected shape \(..., 3\), got \(4, 2\)"),
    (lambda: DENSE(np.float32(1)), ValueError, r"x: .*got \(\)"),
    (lambda: DENSE(np.zeros(3)), TypeError, r"x: .*got dtype float64"),
    (lambda: DENSE.backward(X, X), ValueError, r"dy: .*\(5, 2, 2\), got \(5, 2, 3\)"),
    # Losses.
    (lambda: ur.losses.mse([1.0], [1.0]), TypeError, r"prediction: expected an array, got list"),
    (lambda: ur.losses.mse(np.ones(2, int), X), TypeError, r"prediction: .*got dtype int64"),
    (lambda: ur.losses.mse(X, X.astype(float)), TypeError, r"target: .*got dtype float64"),
    (lambda: ur.losses.mse(X, X[0]), ValueError, r"target: .*\(5, 2, 3\), got \(2, 3\)"),
    (lambda: ur.losses.mse(X, X, mask=np.ones(5)), TypeError, r"mask: .*bool.*float64"),
    (lambda: ur.losses.mse(X, X, mask=np.ones(2, bool)), ValueError, r"mask: .*got \(2,\)"),
    (
        lambda: ur.losses.cross_entropy(X, np.zeros((5, 2))),
        TypeError,
        r"target: expected integers, got dtype float64",
    ),
    (
        lambda: ur.losses.cross_entropy(X, np.zeros((5, 3), int)),
        ValueError,
        r"target: .*\(5, 2\), got \(5, 3\)",
    ),
    (
        lambda: ur.losses.cross_entropy(X, np.full((5, 2), -1)),
        ValueError,
        r"target: expected classes 0 to 2, got -1 at \(0, 0\)",
    ),
    (
        lambda: ur.losses.cross_entropy(
            X, np.array(5 * [[9, 3]]), mask=np.array(5 * [[False, True]])
        ),
        ValueError,
        r"target: expected classes 0 to 2, got 3 at \(0, 1\)",
    ),
    (
        lambda: ur.losses.cross_entropy(np.zeros((2, 0)), np.zeros(2, int)),
        ValueError,
        r"logits: .*C >= 1, got \(2, 0\)",
    ),
    # Optimisers and clipping.
    (lambda: ur.optim.SGD(3), TypeError, r"modules: .*got int"),
    (lambda: ur.optim.SGD([3]), TypeError, r"modules: .*got list"),
    (lambda: ur.optim.SGD([]), ValueError, r"modules: expected at least one, got none"),
    (lambda: ur.optim.SGD([NET, NET]), ValueError, r"modules: .*twice"),
    (lambda: ur.optim.SGD(NET, lr=-1.0), ValueError, r"lr: .*0 or more, got -1.0"),
    (lambda: ur.optim.SGD(NET, lr="fast"), TypeError, r"lr: .*got str"),
    (lambda: setattr(ur.optim.SGD(NET), "lr", np.nan), ValueError, r"lr: .*got nan"),
    (lambda: ur.optim.SGD(NET, momentum=-1.0), ValueError, r"momentum: "),
    (lambda: ur.optim.SGD(NET, nesterov=True), ValueError, r"nesterov: .*momentum"),
    (lambda: ur.optim.Adam(NET, betas=(0.9, 1.0)), ValueError, r"betas: "),
    (lambda: ur.optim.Adam(NET, betas=0.9), TypeError, r"betas: .*got 0.9"),
    (lambda: ur.optim.Adam(NET, eps=-1.0), ValueError, r"eps: "),
    (lambda: ur.optim.Adam(NET, weight_decay=-1.0), ValueError, r"weight_decay: "),
    (lambda: ur.optim.Adam(NET).step(None), TypeError, r"grads: .*got NoneType|grads: .*got None"),
    (lambda: ur.optim.Adam(NET).step([]), ValueError, r"grads: expected 1, .*got 0"),
    (lambda: ur.optim.Adam([NET, GRU]).step({}), ValueError, r"grads: expected 2, .*got 1"),
    (lambda: ur.optim.Adam(NET).step({}), ValueError, r"grads: .*missing keys \['weight_ih_l0'"),
    (
        lambda: ur.optim.Adam(DENSE).step({"weight": X, "bias": X}),
        ValueError,
        r"grads\['weight'\]: .*\(2, 3\), got \(5, 2, 3\)",
    ),
    (lambda: ur.optim.Adam(NET).load_state_dict({}), ValueError, r"mapping: expected the keys"),
    (
        lambda: ur.optim.Adam(NET).load_state_dict(ur.optim.SGD(NET).state_dict()),
        ValueError,
        r"mapping\['state'\]\[0\]: expected the keys \['exp_avg', 'exp_avg_sq'\], got \[\]",
    ),
    (lambda: ur.clip_grad_norm({"w": [1.0]}, 1.0), TypeError, r"grads\['w'\]: .*got list"),
    (lambda: ur.clip_grad_norm({"w": np.ones(2, int)}, 1.0), TypeError, r"grads\['w'\]: .*int64"),
    (lambda: ur.clip_grad_norm({"w": np.ones(2)}, -1.0), ValueError, r"max_norm: "),
    (lambda: ur.clip_grad_norm({"w": np.ones(2)}, "1"), TypeError, r"max_norm: .*got str"),
    (lambda: ur.clip_grad_norm({"w": np.ones(2)}, 10**400), ValueError, r"max_norm: .*got inf"),
    (
        lambda: ur.clip_grad_norm({"w": np.ones(2)}, np.complex64(1)),
        TypeError,
        r"max_norm: .*got c",
    ),
    (lambda: ur.clip_grad_norm([3], 1.0), TypeError, r"grads\[0\]: .*got int"),
    (
        lambda: ur.clip_grad_norm({"w": np.broadcast_to(np.ones(1), (3,))}, 1.0),
        ValueError,
        r"grads\['w'\]: .*writeable.*read-only",
    ),
    # The machine.
    (lambda: ur.set_num_threads(0), ValueError, r"n: .*>= 1, got 0"),
    (lambda: ur.set_num_threads(2**40), ValueError, r"n: .*<= 1024, got 1099511627776"),
    (lambda: ur.set_num_threads(1.0), TypeError, r"n: .*got float"),
    (lambda: ur.set_max_isa("sse9"), ValueError, r"name: .*'portable'.*got 'sse9'"),
    (lambda: ur.set_max_isa(2), TypeError, r"name: .*got int"),
    (lambda: ur.show_config("json"), ValueError, r"mode: .*'stdout', 'dicts', got 'json'"),
    (
        lambda: ur.save(3, "x"),
        TypeError,
        r"net: expected one of LSTM, GRU, RNN, Recurrent, Dense, Sequential, got int",
    ),
]


@pytest.mark.parametrize(("mistake", "error", "message"), MISTAKES)
def test_mistake(mistake: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        mistake()
    assert type(caught.value) is error


def test_nothing_is_half_done() -> None:
    net = ur.GRU(2, 3, seed=0)
    before = net.state_dict()
    wrong = {name: np.full_like(a, 9) for name, a in before.items()}
    wrong["bias_hh_l0"] = np.zeros(1, np.float32)
    opt = ur.optim.Adam([net, DENSE])
    for attempt in (
        lambda: net.load_state_dict(wrong),
        lambda: opt.step([before, wrong]),
        lambda: opt.step([wrong, DENSE.state_dict()]),
    ):
        with pytest.raises(ValueError, match="bias_hh_l0|keys"):
            attempt()
    assert all(np.array_equal(before[name], a) for name, a in net.state_dict().items())
    assert opt.state_dict()["step"] == 0


HUGE: list[Callable[[], Any]] = [
    lambda: ur.LSTM(3, 2**40),
    lambda: ur.GRU(3, 2**62),
    lambda: ur.RNN(2**62, 3),
    lambda: ur.RNN(3, 3, 2**40),
    lambda: ur.RNN(3, 3, 2**62),
    lambda: ur.LSTM(3, 2**40, proj_size=2**39),
    lambda: ur.Dense(2**40, 2**40),
    lambda: ur.Dense(2, 2**63 - 1),
    lambda: NET.stream(2**40),
    lambda: NET.stream(2**63 - 1),
    lambda: NET(np.broadcast_to(np.float32(0), (2**40, 1, 3))),
    lambda: NET(np.broadcast_to(np.float32(0), (2**29, 2**29, 3))),
    lambda: NET.record(np.broadcast_to(np.float32(0), (2**25, 2**25, 3))),
    lambda: NET(np.zeros((0, 2**40, 3), np.float32)),
    lambda: NET(np.zeros((2**40, 0, 3), np.float32)),
    lambda: NET.record(np.zeros((0, 2**40, 3), np.float32)),
    lambda: ur.losses.mse(*2 * [np.broadcast_to(np.float32(0), (2**45,))]),
    lambda: DENSE(np.broadcast_to(np.float32(0), (2**40, 3))),
]


@pytest.mark.parametrize("attempt", HUGE)
def test_more_than_there_is(attempt: Callable[[], Any]) -> None:
    with pytest.raises(MemoryError):
        attempt()


@pytest.mark.parametrize("size", [2**63, 2**70])
def test_more_than_a_number_says(size: int) -> None:
    for attempt in (lambda: ur.GRU(3, size), lambda: ur.GRU(3, 3, size), lambda: NET.stream(size)):
        with pytest.raises(ValueError, match=f"got {size}"):
            attempt()
    # Beyond the sequence there is nothing to do: not a mistake.
    y, _, tape = NET.record(X, checkpoint=size)
    tape.backward(y, truncate=size)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("UNROLLED_MAX_ISA", "avx1024"),
        ("UNROLLED_NUM_THREADS", "many"),
        ("UNROLLED_NUM_THREADS", "0"),
        ("UNROLLED_NUM_THREADS", "99999999999999999999"),
        ("UNROLLED_NUM_THREADS", "9" * 5000),
        ("UNROLLED_NUM_THREADS", "1025"),
        ("UNROLLED_NUM_THREADS", "30000"),
        ("UNROLLED_NUM_THREADS", "+1"),
        ("UNROLLED_NUM_THREADS", " 1"),
    ],
    ids=lambda value: value[:24],
)
def test_environment_that_means_nothing(name: str, value: str) -> None:
    """It is not used either: what the machine has is."""
    code = """
import numpy as np, unrolled as ur
ur.GRU(16, 64)(np.zeros((40, 64, 16), np.float32))
print(ur.get_num_threads(), ur.isa() == ur.available_isas()[-1])
"""
    others = {key: v for key, v in os.environ.items() if not key.startswith("UNROLLED")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=others | {name: value},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"{name}: expected" in done.stderr
    assert f"got '{value}'" in done.stderr
    plain = subprocess.run(
        [sys.executable, "-c", code], env=others, capture_output=True, text=True, check=True
    )
    assert done.stdout == plain.stdout
    assert done.stdout.endswith("True\n")
