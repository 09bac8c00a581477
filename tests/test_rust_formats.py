"""Files as the crate reads them: the same sound to the last bit, refusals of the same things."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from rust_cells import everything
from support import normal

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "tests" / "data" / "formats"
REFUSED = json.loads((DATA / "refused.json").read_text())
IEEE_FLOAT = 3
RATE = 48_000

needs_cargo = pytest.mark.skipif(shutil.which("cargo") is None, reason="cargo is not installed")


def wav(path: Path, x: np.ndarray) -> Path:
    """Samples (T, channels) as 32-bit float."""
    channels, data = x.shape[1], x.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", IEEE_FLOAT, channels, RATE, RATE * channels * 4, channels * 4, 32)
    parts = b"fmt " + struct.pack("<I", len(form)) + form
    parts += b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(parts)) + b"WAVE" + parts)
    return path


def samples(path: Path) -> np.ndarray:
    """What a file of 32-bit floats holds, (T, channels)."""
    content, at, channels = path.read_bytes(), 12, 0
    while at < len(content):
        name, size = struct.unpack_from("<4sI", content, at)
        if name == b"fmt ":
            channels = struct.unpack_from("<H", content, at + 10)[0]
        if name == b"data":
            data = np.frombuffer(content, "<f4", size // 4, at + 8)
            return data.reshape(-1, channels)
        at += 8 + size + size % 2
    raise AssertionError(f"no data in {path}")


@pytest.fixture(scope="session")
def process() -> Path:
    """The program ``core/examples/process.rs``."""
    command = ["cargo", "build", "--quiet", "--release", "-p", "unrolled", "--features", "formats"]
    command += ["--example", "process", "--message-format", "json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    messages = [json.loads(line) for line in done.stdout.splitlines()]
    programs = [m["executable"] for m in messages if m.get("executable")]
    return Path(programs[0])


def play(process: Path, model: Path, x: np.ndarray) -> np.ndarray:
    out = model.with_suffix(".out.wav")
    command = [process, model, wav(model.with_suffix(".in.wav"), x), out]
    environment = {**os.environ, "UNROLLED_MAX_ISA": ur.isa()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return samples(out)


def started(net: ur.Sequential, *states: Any) -> ur.Sequential:
    return ur.Sequential(*net.layers, initial_state=states)


def amp() -> ur.Sequential:
    net = ur.Sequential(ur.LSTM(1, 12, num_layers=2, seed=1), ur.Dense(12, 1, seed=2))
    return started(net, (normal(2, 12, seed=3), normal(2, 12, seed=4)))


@ur.cell
def thresholds(x: Any, h: Any, v: Any, *, scale: float = 0.5) -> Any:
    """Every operation that a file has and that becomes another one when it is read."""
    fired = ur.cells.spike(v - 1.0, surrogate="atan")
    greater = ur.cells.where(x.a > v, x.a, scale * v)
    other = ur.cells.where(x.b >= h, h, x.b) + ur.cells.where(x.b != x.a, x.a, v)
    a, b = ur.cells.normalise(greater + h.a, other)
    return ur.cells.tanh(a + b * fired), ur.cells.maximum(greater, other)


FILES: dict[str, Any] = {
    "model.json": lambda: ur.Sequential(
        ur.GRU(1, 20, seed=1),
        ur.LSTM(20, 9, seed=2),
        ur.Dense(9, 5, seed=3),
        ur.Activation("elu"),
        ur.Dense(5, 1, seed=4),
        ur.Activation("leaky_relu", alpha=0.3),
        ur.Residual(),
    ),
    "model.nam": amp,
    "core.json": lambda: ur.Sequential(ur.LSTM(1, 20, seed=5), ur.Dense(20, 1), ur.Residual()),
    "core_gru.json": lambda: ur.Sequential(ur.GRU(1, 7, 2, seed=6), ur.Dense(7, 1, bias=False)),
    "core_rnn.json": lambda: ur.Sequential(ur.RNN(1, 33, seed=7), ur.Dense(33, 1)),
    "lstm.safetensors": lambda: ur.LSTM(1, 16, 2, proj_size=5, seed=8),
    "old_lstm.safetensors": lambda: ur.LSTM(2, 16, forget_gate=False, bias=False, seed=9),
    "gru.safetensors": lambda: ur.GRU(1, 24, reset_after=False, seed=10),
    "rnn.safetensors": lambda: ur.RNN(1, 24, nonlinearity="sigmoid", seed=11),
    "dense.safetensors": lambda: ur.Dense(1, 3, seed=12),
    "amp.safetensors": amp,
    "chain.safetensors": lambda: ur.Sequential(
        ur.Activation("hard_sigmoid"),
        ur.Recurrent(ur.cells.peephole_lstm, 1, 18, seed=13),
        ur.Activation("silu"),
        ur.LSTM(18, 18, seed=14),
        ur.Residual(since=3),
        ur.Dense(18, 4, seed=15),
        ur.Activation("softmax"),
        ur.Activation("softsign"),
    ),
    "cell.safetensors": lambda: started(
        ur.Sequential(ur.Recurrent(everything, 1, 10, alpha=0.7, seed=16)),
        (normal(1, 10, seed=17), normal(1, 10, seed=18)),
    ),
    "thresholds.safetensors": lambda: ur.Recurrent(thresholds, 1, 12, scale=0.25, seed=19),
}


@needs_cargo
@pytest.mark.parametrize("name", FILES)
def test_the_crate_plays_what_python_loads(process: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    ur.export(FILES[name](), path, format="coreaudioml" if name.startswith("core") else None)
    # As files are read: some formats do not tell one bias from two.
    net = ur.load(path)
    net = ur.Sequential(net) if isinstance(net, ur.Dense) else net
    x = normal(500, 2, seed=20)
    if net.input_size == 1:
        stream = net.stream(batch=2)
        expected = np.stack([stream.step(x_t[:, None]).ravel() for x_t in x])
    else:
        stream = net.stream()
        expected = np.stack([stream.step(x_t) for x_t in x])
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_array_equal(play(process, path, x), expected)


@needs_cargo
def test_what_cannot_be_played_is_said(process: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.safetensors"
    ur.save(ur.LSTM(2, 4, seed=1), model)
    (tmp_path / "noise.wav").write_bytes(b"RIFF....WAVE")
    mono = wav(tmp_path / "mono.wav", normal(10, 1))
    out = tmp_path / "out.wav"
    out.write_bytes(b"what was there")
    for arguments, said in [
        ([model, mono, out], "2 divides"),
        ([model, tmp_path / "noise.wav", out], "noise.wav"),
        ([model, tmp_path / "missing.wav", out], "missing.wav"),
        ([tmp_path / "missing.nam", mono, out], "missing.nam"),
        ([mono, mono, out], "mono.wav: expected a file of safetensors"),
        ([model, mono], "usage"),
    ]:
        done = subprocess.run([process, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode != 0
        assert said in done.stderr
        assert "panicked" not in done.stderr
    assert out.read_bytes() == b"what was there"
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: f"{case['set'][-1]}-{case['names']}")
def test_what_is_not_known_is_refused_by_name(tmp_path: Path, case: dict[str, Any]) -> None:
    file = json.loads((DATA / case["file"]).read_text())
    place = file
    for key in case["set"][:-1]:
        place = place[key]
    place[case["set"][-1]] = case["to"]
    path = tmp_path / case["file"]
    path.write_text(json.dumps(file))
    with pytest.raises(ValueError, match=".") as raised:
        ur.load(path)
    assert case["names"] in str(raised.value)
