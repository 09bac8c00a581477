"""What a program does to an array while it is computed with: nothing of it ends the process."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import unrolled as ur
from support import normal, same

# What may be done to an array meanwhile, from a handler, another thread or another argument.
DEEDS = {
    "dtype": 'a.dtype = "u1"',
    "shape": "a.shape = (-1,)",
    "strides": "a.strides = (a.itemsize,) * a.ndim",
    "flags": "a.setflags(write=False)",
    "resize": "a.resize((a.size // 2,), refcheck=False)",
    "grow": "a.resize((a.size * 8,), refcheck=False)",
    "state": "a.__setstate__((1, (2,), np.dtype('f4'), False, bytes(8)))",
    "sort": "a.sort(axis=0)",
    "byteswap": "a.byteswap(inplace=True)",
}
CODE = """
import ctypes, signal, sys, threading, time, warnings
import numpy as np, unrolled as ur

warnings.simplefilter("ignore")
done = []

def deed(a):
    if not done:
        done.append(1)
        try:
            DEED
        except (ValueError, TypeError, AttributeError):
            pass  # NumPy refuses it

class Meddling:
    # A state that does it to x before it is read itself.
    def __init__(self, state, x):
        self.state, self.x = state, x
    def __dlpack__(self, **more):
        deed(self.x)
        return self.state.__dlpack__(**more)
    def __dlpack_device__(self):
        return self.state.__dlpack_device__()

def meanwhile(a, work, how):
    if how == "handler":
        signal.signal(signal.SIGALRM, lambda *_: deed(a))
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        work()
    else:
        thread = threading.Timer(0.03, deed, (a,))
        thread.start()
        while not done:
            work()
        thread.join()

how = sys.argv[1]
x = np.random.default_rng(0).normal(size=(400, 64, 64)).astype(np.float32)
if how == "dlpack":
    net = ur.GRU(64, 16, seed=0)
    try:
        net(x, Meddling(np.zeros((1, 64, 16), np.float32), x))
    except (TypeError, ValueError) as error:
        print(error)
else:
    net = ur.LSTM(64, 384, seed=0)
    try:
        meanwhile(x, lambda: net(x), how)
    except (TypeError, ValueError) as error:
        print(error)  # the next call sees another array
assert done
net(np.ones((2, 2, 64), np.float32))
"""


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("how", ["handler", "thread", "dlpack"])
def test_meddling_with_x(deed: str, how: str) -> None:
    command = [sys.executable, "-c", CODE.replace("DEED", DEEDS[deed]), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "panic" not in done.stderr


NARROW = """
import threading
import numpy as np, unrolled as ur

# Little work for each number: such arrays are read where they are.
x = np.ones((3000, 16, 256), np.float32)
dense, net = ur.Dense(256, 8), ur.RNN(256, 4)
jobs = [
    lambda: net(x),
    lambda: dense(x),
    lambda: ur.losses.mse(x, x),
    lambda: ur.clip_grad_norm({"x": x}, np.inf),
    lambda: ur.Activation("tanh")(x),
]
for job in jobs:
    for change in ("dtype", "shape"):
        started = threading.Event()
        def run():
            started.set()
            for _ in range(3):
                try:
                    job()
                except (TypeError, ValueError):
                    pass
        thread = threading.Thread(target=run)
        thread.start()
        started.wait()
        while thread.is_alive():
            if change == "dtype":
                x.dtype = "u1"
                x.dtype = "f4"
            else:
                x.shape = (16, 3000, 256)
                x.shape = (3000, 16, 256)
        thread.join()
"""


@pytest.mark.filterwarnings("ignore")
def test_meddling_with_what_is_read_in_place() -> None:
    command = [sys.executable, "-W", "ignore", "-c", NARROW]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "panic" not in done.stderr


RESIZED = """
import random, threading, time
import numpy as np, unrolled as ur

net, sigmoid = ur.GRU(32, 12, seed=0), ur.Activation("sigmoid")
fixed = np.ones((300, 64, 32), np.float32)
jobs = [net, sigmoid, lambda x: ur.losses.mse(x, fixed), lambda x: ur.losses.mse(fixed, x)]
draw = random.Random(0).uniform
refused = 0

def resize(a):
    global refused
    try:
        a.resize((a.size * 8,), refcheck=False)
    except ValueError:
        refused += 1

for job in jobs:
    for view in (False, True):
        x = fixed.copy()
        start = time.perf_counter()
        job(x)
        taken = time.perf_counter() - start
        for _ in range(12):
            x = fixed.copy()
            timer = threading.Timer(draw(0, taken), resize, (x,))
            timer.start()
            try:
                job(x[::1] if view else x)
            except ValueError:
                pass  # it was resized before
            timer.join()
assert refused
x.resize((8,), refcheck=False)
"""


def test_the_memory_of_what_is_read_in_place_stays() -> None:
    """NumPy would give it back, and reading it would end the process."""
    command = [sys.executable, "-c", RESIZED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr)


CLASSES = """
import threading
import numpy as np, unrolled as ur

logits, target = np.zeros((20000, 32), np.float32), np.zeros(20000, np.int64)
ends = threading.Event()

def write():
    while not ends.is_set():
        target[10000:] = 10**9
        target[10000:] = 0

thread = threading.Thread(target=write)
thread.start()
try:
    for _ in range(300):
        try:
            assert ur.losses.cross_entropy(logits, target)[0] > 3
        except ValueError as error:
            assert "target: expected classes 0 to 31" in str(error), error
finally:
    ends.set()
    thread.join()
"""


def test_classes_that_are_none_any_more() -> None:
    """Another thread writes to the target after it has been checked."""
    command = [sys.executable, "-c", CLASSES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("hidden", [4, 300])
def test_borrows_are_given_back(hidden: int) -> None:
    """In place or copied, contiguous or not: x can be written to by us afterwards."""
    net = ur.RNN(64, hidden, seed=0)
    whole = normal(40, 16, 128)
    for x in (whole[:, :, :64], np.ascontiguousarray(whole[..., :64]), whole[::-1, :, :64]):
        expected = net(x.copy())[0]
        assert same(net(x)[0], expected)
        a = x.copy()
        net(a)
        ur.clip_grad_norm({"a": a}, 1e-3)
        assert not same(a, x)
