"""Ctrl-C, forks, the end of the interpreter."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import normal, same

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
