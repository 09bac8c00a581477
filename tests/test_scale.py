"""Long sequences: what a tape holds, as the README says, and memory that does not grow with T."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import unrolled as ur
from support import VARIANTS, Variant, make, normal

LINUX = Path("/proc/self/clear_refs").exists()


def tape_bytes(net, steps: int, batch: int, checkpointed: bool) -> int:
    """The README's formula, for rows of equal length without dropout."""
    line = 64 // net.dtype.itemsize
    padded = lambda n: -(-n // line) * line  # noqa: E731
    units, h = net.hidden_size, net.proj_size or net.hidden_size
    slots = {"GRU": 4, "RNN": 1}.get(type(net).__name__)
    if slots is None:
        slots = 4 if net.forget_gate else 3
    gates = slots * padded(units)
    gates += line * (gates % (16 * line) == 0)
    state = padded(h) + (padded(units) if isinstance(net, ur.LSTM) else 0)
    directions, layers = net.num_directions, net.num_layers
    if checkpointed:
        # Steps between checkpoints: about the root, in whole chunks.
        assert batch <= 4, "chunks of more rows have fewer steps"
        spans = math.ceil(steps / padded_to(64, max(math.isqrt(steps // 3), 1)))
        values = steps * batch * (net.input_size + (layers - 1) * h * 2 * (directions - 1))
        values += spans * batch * layers * directions * state
    else:
        projected = padded(units) if net.proj_size else 0
        row = net.input_size + layers * directions * (gates + state + projected + h)
        values = steps * batch * row
        if isinstance(net, ur.LSTM):
            values += batch * layers * directions * state
    return values * net.dtype.itemsize


def padded_to(whole: int, n: int) -> int:
    return -(-n // whole) * whole


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("units", [16, 21, 64])
@pytest.mark.parametrize("layers, bidirectional", [(1, False), (3, False), (1, True), (2, True)])
@pytest.mark.parametrize("checkpoint", [None, "auto"])
def test_bytes_of_a_tape(
    variant: Variant,
    dtype: str,
    units: int,
    layers: int,
    bidirectional: bool,
    checkpoint: str | None,
) -> None:
    net = make(variant, 5, units, num_layers=layers, bidirectional=bidirectional, dtype=dtype)
    steps, batch = 300, 3
    _, _, tape = net.record(normal(steps, batch, 5, dtype=dtype), checkpoint=checkpoint)
    assert tape.nbytes == tape_bytes(net, steps, batch, checkpoint is not None)


@pytest.mark.parametrize("cell, least", [("LSTM", 23), ("GRU", 20), ("RNN", 10)])
@pytest.mark.parametrize("layers", [1, 2])
def test_checkpoints_save_memory(cell: str, least: int, layers: int) -> None:
    net = getattr(ur, cell)(16, 64, num_layers=layers, seed=0)
    x = normal(10_000, 4, 16)
    plain, checkpointed = (net.record(x, checkpoint=c)[2].nbytes for c in (None, "auto"))
    assert checkpointed * least * layers <= plain


# Prints how much resident memory grows at most, in bytes: for training, for a call, for a stream.
LONG = """
import gc, json, sys
from pathlib import Path
import numpy as np, unrolled as ur

def status(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))

def growth(work):
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = status("VmRSS")
    work()
    return status("VmHWM") - before

steps, inputs, units = map(int, sys.argv[1:])
net = ur.LSTM(inputs, units, num_layers=3, seed=0)
optimiser = ur.optim.SGD(net, lr=0.1)
x = np.random.default_rng(0).standard_normal((steps, 1, inputs), dtype=np.float32)
dy = np.full((steps, 1, units), 1 / steps, np.float32)
before = net.state_dict()["weight_hh_l0"]

def train():
    y, _, tape = net.record(x, checkpoint="auto")
    optimiser.step(tape.backward(dy))

def stream():
    s = net.stream()
    for x_t in x:
        s.step(x_t)

train_growth = growth(train)
assert np.isfinite(net.state_dict()["weight_hh_l0"]).all()
assert not np.array_equal(net.state_dict()["weight_hh_l0"], before)
print(json.dumps([train_growth, growth(lambda: net(x)), growth(stream)]))
"""


@pytest.mark.skipif(not LINUX, reason="the most resident memory, counted anew: as Linux tells it")
def test_a_hundred_thousand_steps() -> None:
    steps, inputs, units = 100_000, 8, 32
    arguments = [str(n) for n in (steps, inputs, units)]
    done = subprocess.run(
        [sys.executable, "-c", LONG, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    train, call, stream = json.loads(done.stdout)
    x, y = (4 * steps * columns for columns in (inputs, units))
    more = 8 << 20
    plain = tape_bytes(ur.LSTM(inputs, units, num_layers=3), steps, 1, checkpointed=False)
    assert plain > 10 * (2 * x + more), "this would pass without checkpoints"
    # The kept x and the derivative by x, y, the copy of dy that nobody else can change while the
    # kernels read it, and no more that grows with T.
    assert train < 2 * x + 2 * y + more
    assert call < y + more
    assert stream < more / 4


def test_the_ends_of_spans_do_not_show() -> None:
    """An inference goes span by span: where one ends does not show."""
    net = ur.GRU(3, 20, num_layers=2, seed=0)
    x = normal(1100, 2, 3)
    whole, state = net(x)
    for steps in (511, 512, 513, 1024):
        part, _ = net(x[:steps])
        assert np.array_equal(part, whole[:steps])
    assert np.array_equal(net(x[700:], net(x[:700])[1])[1], state)
