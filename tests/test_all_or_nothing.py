"""What changes parameters changes all of them or none: short of memory, interrupted, in threads."""

from __future__ import annotations

import copy
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import normal, same

unix = pytest.mark.skipif(os.name != "posix", reason="timers and limits as Unix has them")
linux = pytest.mark.skipif(sys.platform != "linux", reason="a limit of memory that is kept")


class RingError(Exception):
    """What an alarm raises."""


@contextmanager
def alarms() -> Iterator[Callable[[float], None]]:
    """A function that sets the alarm, whose handler raises."""

    def ring(*_: Any) -> None:
        raise RingError

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield lambda seconds: signal.setitimer(signal.ITIMER_REAL, seconds) and None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def lasts(work: Callable[[], Any]) -> float:
    """Seconds of a call, so that alarms ring while it lasts: machines differ."""
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return sorted(times)[3]


def filled(module: Any, value: float) -> dict[str, np.ndarray]:
    return {name: np.full_like(a, value) for name, a in module.state_dict().items()}


def values(*modules: Any) -> set[float]:
    """Every number that is a parameter of one of them."""
    return {
        x for module in modules for a in module.state_dict().values() for x in np.unique(a).tolist()
    }


def three() -> list[Any]:
    return [ur.LSTM(8, 48), ur.Dense(48, 7, dtype="float64"), ur.GRU(3, 24, num_layers=2)]


# Without memory

SHORT_OF_MEMORY = """
import resource, sys
import numpy as np, unrolled as ur

KIND, WHAT = sys.argv[1:]
rng = np.random.default_rng(0)
net = ur.Dense(700, 900, seed=0) if KIND == "dense" else ur.LSTM(64, 256, num_layers=2, seed=0)
x = rng.normal(size=(2, 1, 700 if KIND == "dense" else 64)).astype(np.float32)
model = ur.Sequential(net, ur.Dense(900 if KIND == "dense" else 256, 300, seed=1))
opts = {"sgd": ur.optim.SGD, "adam": ur.optim.Adam}
momentum = {"momentum": 0.5} if WHAT == "sgd" else {}
opt = opts.get(WHAT, ur.optim.SGD)(model.modules, lr=0.5, **momentum)
new = {k: rng.normal(size=a.shape).astype(np.float32) for k, a in model.state_dict().items()}
grads = [{k[2:]: a for k, a in new.items() if k.startswith(str(n))} for n in (0, 1)]
work = {
    "load": lambda: model.load_state_dict(new),
    "initialise": lambda: net._native.initialise(*DRAW, 5),
    "sgd": lambda: opt.step(grads),
    "adam": lambda: opt.step(grads),
}[WHAT]
DRAW = (0.5,) if KIND == "dense" else ("orthogonal", 0.0)

def seen():
    kept = [a.copy() for s in opt.state_dict()["state"] for m in s.values() for a in m.values()]
    arrays = [*model.state_dict().values(), *kept, model(x)[0]]
    return b"".join(a.tobytes() for a in arrays), opt.state_dict()["step"]

def limit(bytes):
    resource.setrlimit(resource.RLIMIT_AS, (bytes, resource.RLIM_INFINITY))

# Takes the memory kept for the next module of this kind.
held = [module._make() for _ in range(2) for module in model.modules]
# Holes for what is small, which no program can do without.
junk = [[bytearray(n) for n in (100, 600, 1500, 3000)] for _ in range(500)]
pins = [bytearray(700) for _ in range(10)]
del junk
before, failed, done = seen(), 0, 0
for extra in range(0, 80, 2):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    ballast = []
    limit(used)
    for size in (2**22, 2**20, 2**18, 2**16):
        try:
            while True:
                ballast.append(bytearray(size))
        except MemoryError:
            pass
    limit(used + extra * 2**19)
    try:
        work()
        done += 1
    except MemoryError:
        failed += 1
    finally:
        limit(resource.RLIM_INFINITY)
        del ballast
    if done:
        assert seen() != before, "nothing has changed"
        break
    assert seen() == before, f"{extra}: something has changed"
assert failed and done, (failed, done)
"""


@linux
@pytest.mark.parametrize("kind", ["dense", "lstm"])
@pytest.mark.parametrize("what", ["load", "initialise", "sgd", "adam"])
def test_without_memory(kind: str, what: str) -> None:
    command = [sys.executable, "-c", SHORT_OF_MEMORY, kind, what]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


# With signals


@unix
@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_an_alarm_in_a_step(name: str) -> None:
    """With gradients of one and a rate of one, k steps of SGD take k from every parameter."""
    modules = three()
    for module in modules:
        module.load_state_dict(filled(module, 0.0))
    opt = getattr(ur.optim, name)(modules, lr=1.0)
    grads = [filled(module, 1.0) for module in modules]
    interrupted = 0
    draw = random.Random(0).uniform
    longest = 2 * lasts(lambda: opt.step(grads))
    with alarms() as ring_in:
        for _ in range(400):
            before = opt.state_dict()["step"]
            try:
                ring_in(draw(1e-6, longest))
                opt.step(grads)
                ring_in(0)
            except RingError:
                interrupted += 1
            after = opt.state_dict()["step"]
            assert after - before in (0, 1)
            if name == "SGD":
                assert values(*modules) == {-float(after)}
            else:
                # Parameters of one history are of one value, in either precision.
                assert len({round(v, 3) for v in values(*modules)}) == 1
    assert interrupted > 20


@unix
@pytest.mark.parametrize("what", ["load", "clip", "optimiser"])
def test_an_alarm_in_other_changes(what: str) -> None:
    model = ur.Sequential(ur.LSTM(8, 48), ur.Dense(48, 40), ur.GRU(40, 24), initial_state=True)
    opt = ur.optim.SGD(model.modules, momentum=0.5)
    strided = np.empty((200, 60), np.float32)[:, ::2]
    gradients = {"a": np.empty(40_000, np.float64), "b": strided, "c": np.empty(9, np.float32)}
    size = sum(a.size for a in gradients.values())
    kept = opt.state_dict()

    def prepared(n: int) -> Callable[[], Any]:
        """What makes every number n, or halves what is to be clipped."""
        for a in gradients.values():
            a[...] = 1
        mapping = filled(model, float(n))
        means = copy.deepcopy(kept["state"])
        for a in (a for state in means for mean in state.values() for a in mean.values()):
            a[...] = n
        return {
            "load": lambda: model.load_state_dict(mapping),
            "clip": lambda: ur.clip_grad_norm(gradients, np.sqrt(size) / 2),
            "optimiser": lambda: opt.load_state_dict(
                {"step": n, "lr": n / 8, "state": means},
            ),
        }[what]

    def seen() -> set[float]:
        if what == "load":
            return values(model)
        if what == "clip":
            return {round(x, 4) for a in gradients.values() for x in np.unique(a).tolist()}
        state = opt.state_dict()
        buffers = [a for s in state["state"] for m in s.values() for a in m.values()]
        found = {x for a in buffers for x in np.unique(a).tolist()}
        return found | {float(state["step"]), 8 * state["lr"]}

    longest = 2 * lasts(prepared(0))
    interrupted = 0
    draw = random.Random(1).uniform
    with alarms() as ring_in:
        for n in range(1, 300):
            change = prepared(n)
            try:
                ring_in(draw(1e-6, longest))
                change()
                ring_in(0)
            except RingError:
                interrupted += 1
            assert len(seen()) == 1
    assert interrupted > 10


@unix
def test_an_alarm_in_a_step_of_a_stream() -> None:
    layers = ur.LSTM(2, 24, seed=0), ur.Dense(24, 24, seed=1), ur.GRU(24, 16, seed=2)
    model = ur.Sequential(*layers)
    x = normal(200, 1, 2)
    expected, _ = model(x)
    stream = model.stream()
    interrupted = 0
    draw = random.Random(2).uniform
    with alarms() as ring_in:
        for x_t, y_t in zip(x, expected, strict=True):
            while True:
                y = None
                try:
                    ring_in(draw(2e-6, 4e-5))
                    y = stream.step(x_t)
                    ring_in(0)
                except RingError:
                    interrupted += 1
                if y is not None:
                    break
            assert same(y, y_t)
    assert interrupted > 10


def test_a_failing_step_of_a_stream_does_not_move_it() -> None:
    class BrokenError(Exception):
        pass

    def broken(_: Any) -> Any:
        raise BrokenError

    model = ur.Sequential(ur.LSTM(2, 5, seed=0), ur.Activation("tanh"), ur.GRU(5, 3, seed=1))
    stream, other = model.stream(), model.stream()
    x = normal(3, 2)
    assert same(stream.step(x[0]), other.step(x[0]))
    steps = stream._steps[:]
    for at in (1, 2):
        stream._steps[at:] = [broken]
        with pytest.raises(BrokenError):
            stream.step(x[1])
        stream._steps[:] = steps
        assert same(stream.state[0], other.state[0])
        assert same(stream.state[1], other.state[1])
    assert same(stream.step(x[1]), other.step(x[1]))


# Among threads


def in_threads(count: int, work: Callable[[int], None]) -> None:
    failed: list[BaseException] = []

    def run(n: int) -> None:
        try:
            work(n)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_threads_share_an_optimiser(momentum: float) -> None:
    modules = three()
    for module in modules:
        module.load_state_dict(filled(module, 0.0))
    twins = copy.deepcopy(modules)
    opt = ur.optim.SGD(modules, lr=0.5, momentum=momentum)
    grads = [filled(module, 1.0) for module in modules]
    in_threads(4, lambda _: [opt.step(grads) for _ in range(15)] and None)
    assert opt.state_dict()["step"] == 60
    alone = ur.optim.SGD(twins, lr=0.5, momentum=momentum)
    for _ in range(60):
        alone.step(grads)
    for module, twin in zip(modules, twins, strict=True):
        assert same(tuple(module.state_dict().values()), tuple(twin.state_dict().values()))


def test_threads_share_a_stream() -> None:
    """Whatever the order, each step happens: here all of them are the same."""
    net = ur.RNN(64, 256, nonlinearity="relu", seed=0)
    stream, alone = net.stream(16), net.stream(16)
    x = normal(16, 64)
    in_threads(4, lambda _: [stream.step(x) for _ in range(10)] and None)
    for _ in range(40):
        alone.step(x)
    assert same(stream.state, alone.state)
    assert stream.count == 40


def test_no_mixture_of_two_loads() -> None:
    model = ur.Sequential(ur.LSTM(4, 40), ur.Dense(40, 30), ur.GRU(30, 20), initial_state=True)
    given = [filled(model, value) for value in (0.25, -0.5)]
    x = normal(6, 2, 4)
    # From one state, for the model's own is one of its parameters.
    _, start = model(x)
    expected = []
    for mapping in given:
        model.load_state_dict(mapping)
        expected.append(model(x, start)[0].tobytes())
    stop = threading.Event()

    def load() -> None:
        while not stop.is_set():
            for mapping in given:
                model.load_state_dict(mapping)

    def read() -> None:
        try:
            for _ in range(150):
                assert len(values(model)) == 1
                assert model(x, start)[0].tobytes() in expected
        finally:
            stop.set()

    in_threads(2, lambda n: (load, read)[n]())


def test_a_tape_of_a_model_goes_with_its_parameters() -> None:
    model = ur.Sequential(ur.Dense(2, 3, seed=0), ur.Activation("tanh"), ur.Dense(3, 1, seed=1))
    x = normal(4, 2)
    y, _, tape = model.record(x)
    tape.backward(y)
    model.layers[2].load_state_dict(filled(model.layers[2], 1.0))  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"changed since the tape was recorded; record again"):
        tape.backward(y)


def test_optimisers_are_copied_with_what_they_keep() -> None:
    net = ur.GRU(2, 3, seed=0)
    opt = ur.optim.Adam(net, lr=0.125)
    opt.step(filled(net, 1.0))
    twin = copy.deepcopy(opt)
    assert twin.lr == 0.125
    assert twin.modules[0] is not net
    for each in (opt, twin):
        each.step([filled(net, 0.5)])
    ours, theirs = net.state_dict(), twin.modules[0].state_dict()
    assert same(tuple(ours.values()), tuple(theirs.values()))
    assert twin.state_dict()["step"] == 2
    with pytest.raises(ValueError, match=r"mapping\['step'\]"):
        opt.load_state_dict(opt.state_dict() | {"step": 2**64})
