"""Ctrl-C, forks, the end of the interpreter."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import normal, same


@pytest.fixture(autouse=True)
def _control_c() -> Iterator[None]:
    """A shell starts what runs in the background with SIGINT ignored: here it is Python's."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


unix = pytest.mark.skipif(os.name != "posix", reason="signals and forks as Unix has them")


def long_work() -> tuple[Any, Any]:
    """Some seconds' worth."""
    return ur.LSTM(64, 512, seed=0), normal(600, 64, 64)


@unix
@pytest.mark.parametrize("what", ["call", "record", "backward"])
@pytest.mark.parametrize("threads", [1, 2])
def test_control_c(what: str, threads: int) -> None:
    ur.set_num_threads(threads)
    net, x = long_work()
    if what == "backward":
        x = x[:200]
        y, _, tape = net.record(x)
        work = lambda: [tape.backward(y) for _ in range(20)]  # noqa: E731
    else:
        work = {"call": lambda: net(x), "record": lambda: net.record(x)}[what]
    delay = 0.15
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT))
    start = time.perf_counter()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        work()
    taken = time.perf_counter() - start
    timer.join()
    assert taken < delay + 1.0, "it took its time"
    # What was interrupted is of use again.
    small = normal(3, 2, 64)
    assert np.isfinite(net(small)[0]).all()


@unix
def test_other_exceptions_of_handlers() -> None:
    """An alarm may raise what it likes."""

    class AlarmError(Exception):
        pass

    def ring(*_: Any) -> None:
        raise AlarmError

    net, x = long_work()
    before = signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(AlarmError):
            net.record(x)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def called_meanwhile(handler: Callable[[], None]) -> Iterator[None]:
    """A handler of alarms that ring while the block computes."""
    before = signal.signal(signal.SIGALRM, lambda *_: handler())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


HANDLERS: dict[str, Callable[[Any, Any, Path], Any]] = {
    "load_state_dict": lambda net, _, __: net.load_state_dict(ur.LSTM(64, 512).state_dict()),
    "initialise": lambda net, _, __: net.initialise("orthogonal"),
    "state_dict": lambda net, _, __: net.state_dict(),
    "save": lambda net, _, path: ur.save(net, path / "net.safetensors"),
    "call": lambda net, _, __: net(normal(3, 2, 64)),
    "record": lambda net, _, __: net.record(normal(30, 40, 64)),
    "stream": lambda net, _, __: net.stream(2).step(normal(2, 64)),
    "step": lambda net, opt, __: opt.step(net.state_dict()),
    "set_num_threads": lambda *_: ur.set_num_threads(1),
}


@unix
@pytest.mark.parametrize("what", HANDLERS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_handler_may_do_anything(what: str, threads: int, tmp_path: Path) -> None:
    """The call goes on with the parameters it began with, whatever a signal's handler does."""
    ur.set_num_threads(threads)
    net, x = long_work()
    opt = ur.optim.SGD(net)
    x = x[:300]
    expected = net(x)[0]
    called = []

    def handler() -> None:
        if not called:
            called.append(threading.active_count())
            HANDLERS[what](net, opt, tmp_path)

    # Another thread that wants to change the parameters must not make the handler wait either.
    done = threading.Event()

    def change() -> None:
        while not done.is_set():
            net.load_state_dict(parameters)

    parameters = net.state_dict()
    thread = threading.Thread(target=change)
    thread.start()
    try:
        with called_meanwhile(handler):
            y = net(x)[0]
    finally:
        done.set()
        thread.join()
    assert called
    assert same(y, expected)


@unix
def test_a_handler_that_changes_parameters_makes_the_tape_stale() -> None:
    net, x = long_work()
    with called_meanwhile(lambda: net.load_state_dict(parameters)):
        parameters = net.state_dict()
        y, _, tape = net.record(x[:300])
    with pytest.raises(ValueError, match="changed since the tape was recorded; record again"):
        tape.backward(y)


FORKS = """
import os, signal, sys, threading, time, warnings
import numpy as np, unrolled as ur

warnings.simplefilter("ignore")
ur.set_num_threads(2)
net, dense = ur.LSTM(8, 48, seed=0), ur.Dense(48, 40, seed=1)
opt = ur.optim.Adam([net, dense])
x = np.ones((60, 64, 8), np.float32)
model = ur.Sequential(ur.GRU(8, 40, seed=2), ur.Dense(40, 3, seed=3))
stream, wide = net.stream(64), model.stream(2)

def everything():
    net.load_state_dict(net.state_dict())
    model.load_state_dict(model.state_dict())
    net.initialise("xavier", seed=4)
    y, _, tape = net.record(x)
    g = tape.backward(y)
    opt.step([g, dense.backward(y, np.ones((60, 64, 40), np.float32))])
    ur.clip_grad_norm(g, 1.0)
    net(x), model(x), dense(y)
    stream.step(x[0]), wide.step(x[0, :2])
    stream.reset()
    ur.losses.mse(y, np.zeros_like(y))

everything()
ends = time.monotonic() + float(sys.argv[1])

def compute():
    while time.monotonic() < ends:
        everything()
        ur.set_num_threads(2)

threads = [threading.Thread(target=compute) for _ in range(3)]
for thread in threads:
    thread.start()
forks = 0
while time.monotonic() < ends:
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            everything()
            ur.set_num_threads(3)
            everything()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if status:
        print(f"fork {forks}: the child ended with {status}", file=sys.stderr)
        os._exit(1)
    forks += 1
for thread in threads:
    thread.join()
print(forks)
"""


@unix
def test_a_fork_while_others_compute() -> None:
    """A child can do everything, whatever the threads that it has not were at."""
    command = [sys.executable, "-c", FORKS, "6"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5


@unix
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
# JAX's, where other tests have loaded it; it is not used in the child.
@pytest.mark.filterwarnings("ignore:.*fork:RuntimeWarning")
def test_a_fork_computes() -> None:
    """Parallel work before the fork, in the child, and in the parent afterwards."""
    ur.set_num_threads(2)
    net = ur.GRU(16, 64, seed=0)
    x = normal(60, 64, 16)

    def work() -> tuple[Any, Any]:
        y, _, tape = net.record(x)
        return y, tape.backward(y).parameters["weight_hh_l0"]

    expected = work()
    for _ in range(3):
        readable, writeable = os.pipe()
        child = os.fork()
        if child == 0:
            right = b"n"
            try:
                right = b"y" if same(work(), expected) else b"n"
            finally:
                os.write(writeable, right)
                os._exit(0)
        os.close(writeable)
        try:
            answered, _, _ = select.select([readable], [], [], 30)
            assert answered, "the child hangs"
            assert os.read(readable, 1) == b"y"
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(readable)
        assert same(work(), expected)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str, tmp_path: Path) -> None:
    code = f"""
import multiprocessing, sys
import numpy as np, unrolled as ur

def work(net):
    y, _, tape = net.record(np.ones((40, 64, 8), np.float32))
    return float(tape.backward(y).input.sum())

if __name__ == "__main__":
    if {method!r} not in multiprocessing.get_all_start_methods():
        sys.exit()
    net = ur.LSTM(8, 48, seed=0)
    expected = work(net)
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        assert pool.map_async(work, [net] * 4).get(timeout=40) == [expected] * 4
"""
    path = tmp_path / "pool.py"
    path.write_text(code)
    subprocess.run([sys.executable, str(path)], check=True, timeout=60)


def test_the_interpreter_may_end_while_a_thread_computes() -> None:
    code = """
import threading, time
import numpy as np, unrolled as ur
net, x = ur.LSTM(16, 128), np.ones((4000, 32, 16), np.float32)
threading.Thread(target=lambda: net(x), daemon=True).start()
time.sleep(0.2)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "panic" not in done.stderr
