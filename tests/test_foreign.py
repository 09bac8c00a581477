"""Arrays of other libraries: taken over with all they mean, or refused."""

from __future__ import annotations

import array
import ctypes
import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import normal
from unrolled import losses

X = normal(5, 2, 3)


class Quantity(np.ndarray):
    """As astropy has it: an array and its unit."""

    unit = "m"


class Measured(np.ndarray):
    """As unyt has it."""

    units = "m"


class Wrapped:
    """As pint has it: a value beside its unit, which has every attribute of its value."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __getattr__(self, name: str) -> Any:
        return getattr(self.value, name)


class Capsule:
    """DLPack, and what it raises."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __dlpack__(self, **_: Any) -> None:
        raise self.error

    def __dlpack_device__(self) -> tuple[int, int]:
        return (1, 0)


def masked(a: np.ndarray) -> Any:
    return np.ma.masked_array(a, mask=np.zeros(a.shape, bool))


def measured(a: np.ndarray) -> Any:
    return a.view(Quantity)


def measured_too(a: np.ndarray) -> Any:
    return a.view(Measured)


MEANING: list[tuple[Callable[[np.ndarray], Any], str]] = [
    (masked, "a masked array, whose mask would be lost; use .filled"),
    (measured, "Quantity, whose unit would be lost"),
    (measured_too, "Measured, whose unit would be lost"),
    (Wrapped, "got Wrapped"),
    (lambda a: Capsule(AttributeError("no such thing")), "unreadable: no such thing"),
    (lambda a: Capsule(ZeroDivisionError("by 0")), "unreadable: by 0"),
]


def entries() -> dict[str, Callable[[Callable[[np.ndarray], Any]], Any]]:
    """Every place where an array comes in, given what is done to that array before."""
    net, other = ur.GRU(3, 4, seed=0), ur.GRU(3, 4, seed=0)
    plain = ur.reference.GRU(3, 4, dtype="float32")
    dense = ur.Dense(3, 2, seed=0)
    relu = ur.Activation("relu")
    h = np.zeros((1, 2, 4), np.float32)
    y, _, tape = net.record(X)
    lengths, resets = np.array([5, 3]), np.zeros((5, 2), bool)
    target, kept = np.zeros((5, 2), np.int64), np.ones((5, 2), bool)
    parameters = net.state_dict()
    w = parameters["weight_hh_l0"]

    def state(a: Any) -> dict[str, Any]:
        return {**parameters, "weight_hh_l0": a}

    return {
        "x": lambda f: net(f(X)),
        "state": lambda f: net(X, f(h)),
        "lengths": lambda f: net(X, lengths=f(lengths)),
        "resets": lambda f: net(X, resets=f(resets)),
        "record": lambda f: net.record(f(X)),
        "dy": lambda f: tape.backward(f(y)),
        "dstate": lambda f: tape.backward(y, f(h)),
        "step": lambda f: net.stream(2).step(f(X[0])),
        "parameters": lambda f: other.load_state_dict(state(f(w))),
        "reference": lambda f: plain(f(X)),
        "reference lengths": lambda f: plain(X, lengths=f(lengths)),
        "dense": lambda f: dense(f(X)),
        "activation": lambda f: relu(f(X)),
        "activation backward": lambda f: relu.backward(X, f(X)),
        "prediction": lambda f: losses.mse(f(y), y),
        "target": lambda f: losses.mse(y, f(y)),
        "mask": lambda f: losses.mse(y, y, mask=f(kept)),
        "classes": lambda f: losses.cross_entropy(y, f(target)),
        "classes' mask": lambda f: losses.cross_entropy(y, target, mask=f(kept)),
        "matrix": lambda f: ur.flow.matrix_power_curve(f(np.eye(3)), 5),
        "flow dy": lambda f: ur.flow.gradient_by_lag(tape, f(y)),
    }


ENTRIES = entries()


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_means_more_than_its_memory_is_refused(entry: str) -> None:
    call = ENTRIES[entry]
    call(lambda a: a)
    for change, message in MEANING:
        with pytest.raises(TypeError, match=message):
            call(change)


def test_what_stops_a_program_is_not_taken_for_an_unreadable_array() -> None:
    for error in (KeyboardInterrupt(), MemoryError()):
        with pytest.raises(type(error)):
            ENTRIES["x"](lambda a, error=error: Capsule(error))  # type: ignore[misc]


def test_gradients_that_are_clipped() -> None:
    """In place, which would scale what a mask keeps from being counted."""
    for change, message in MEANING[:3]:
        with pytest.raises(TypeError, match=rf"grads\['w'\]: .*{message}"):
            ur.clip_grad_norm({"w": change(np.ones(3))}, 1.0)


def test_spans_of_time_are_no_integers() -> None:
    """NumPy counts them among the signed ones."""
    net = ur.GRU(3, 4, seed=0)
    with pytest.raises(TypeError, match=r"lengths: expected integers, got dtype timedelta64\[s\]"):
        net(X, lengths=np.array([5, 3], "m8[s]"))
    with pytest.raises(TypeError, match="lr: expected a real number, got timedelta64"):
        ur.optim.SGD(net, lr=np.timedelta64(1))
    with pytest.raises(TypeError, match="lengths: expected an integer, got MaskedArray"):
        net(X, lengths=[5, np.ma.masked_array(3)])


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.reshape(5, 6).view(np.matrix),
        lambda a: memoryview(a),
        lambda a: memoryview(a.tobytes()).cast("f", a.shape),
        lambda a: array.array("f", a.ravel().tolist()),
        lambda a: (ctypes.c_float * a.size)(*a.ravel().tolist()),
        lambda a: np.lib.stride_tricks.as_strided(a, a.shape, a.strides, writeable=False),
        lambda a: a.view(np.recarray),
        lambda a: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(np.float32),
    ],
)
def test_other_memory_of_the_same_numbers(change: Callable[[np.ndarray], Any]) -> None:
    found = losses._floats("x", change(X))
    assert (
        type(found) is np.ndarray
        and found.flags.aligned
        and np.array_equal(found.ravel(), X.ravel())
    )


@pytest.mark.parametrize("dtype", [">f4", "f2", "f8", "c8", "i4", "O", "f4,f4", "S4", "M8[s]"])
def test_other_numbers(dtype: str) -> None:
    with pytest.raises(TypeError, match="x: expected a float32 array, got dtype"):
        ENTRIES["x"](lambda a: np.zeros(a.shape, dtype))


class AlarmError(Exception):
    """What a handler raises."""


def ring(*_: Any) -> None:
    raise AlarmError


class Ring:
    """A handler that is no function."""

    def __call__(self, *_: Any) -> None:
        raise AlarmError


@pytest.mark.skipif(os.name != "posix", reason="signals as Unix has them")
@pytest.mark.parametrize("handler", [ring, Ring()])
def test_what_a_handler_raises_is_not_taken_for_a_refusal(handler: Any) -> None:
    """It may come while another library's code runs, which may raise whatever it likes."""

    class Interrupted:
        def answer(self, **_: Any) -> Any:
            os.kill(os.getpid(), signal.SIGALRM)
            return self

        __dlpack__ = __dlpack_device__ = __index__ = __fspath__ = answer

    net = ur.RNN(1, 2)
    before = signal.signal(signal.SIGALRM, handler)
    try:
        for call in (net, net.stream().step, net.stream, ur.load, lambda n: ur.RNN(1, n)):
            with pytest.raises(AlarmError):
                call(Interrupted())
        with pytest.raises(AlarmError):
            ur.optim.SGD(net).step({name: Interrupted() for name in net.state_dict()})
    finally:
        signal.signal(signal.SIGALRM, before)
