"""The LV2 plug-in: in a host that exchanges models while it runs, and by lv2apply over a file."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from capi_support import DATA, ROOT, environment, needs, pkg_config, run
from support import normal

HOST = Path(__file__).resolve().parent / "lv2" / "host.c"
BLOCK = 64
FRAMES = 40 * BLOCK


def built(folder: Path, *settings: str) -> Path:
    """The bundle."""
    needs("pkg-config", "make")
    env = environment()
    if subprocess.run(["pkg-config", "--exists", "lv2"], env=env, check=False).returncode:
        pytest.skip("LV2's headers are not installed (apt-get install lv2-dev)")
    bundle = folder / "unrolled.lv2"
    flags = "CFLAGS=-O2 -Wall -Wextra -Wpedantic -Werror"
    run("make", "-C", ROOT / "examples" / "lv2", f"BUNDLE={bundle}", flags, *settings, env=env)
    return bundle


def gru(folder: Path) -> Path:
    path = folder / "gru.safetensors"
    ur.save(ur.Sequential(ur.GRU(1, 12, seed=1), ur.Dense(12, 1, seed=2)), path)
    return path


def played(path: Path, x: Any) -> np.ndarray:
    y, _ = ur.load(path)(x[:, None, None])
    return y[:, 0, 0]


def test_models_are_exchanged_while_it_runs_and_states_restored(tmp_path: Path) -> None:
    bundle = built(tmp_path)
    host = tmp_path / "host"
    # -rdynamic: what the plug-in allocates goes through the host's watch.
    flags = [
        "-std=c11",
        "-O1",
        "-g",
        "-Wall",
        "-Wextra",
        "-rdynamic",
        *pkg_config("--cflags", "lv2"),
    ]
    run("gcc", *flags, HOST, "-o", host, "-ldl", "-pthread")
    model, other = DATA / "amp.nam", gru(tmp_path)
    x = normal(FRAMES, seed=3)
    command = [str(host), f"{bundle}/", str(model), str(other)]
    done = run(*command, input=x.tobytes())
    first, restored, at_once, gains = np.frombuffer(done.stdout, np.float32).reshape(4, -1)
    told = [part.splitlines() for part in done.stderr.decode().split("next\n")]

    # At the first block nothing plays; a file that is not there leaves what plays.
    assert sum(line.startswith("/no such/model: ") for line in told[0]) == 1
    begun = [line.split(" ", 1) for line in told[0] if line[0].isdigit()]
    assert [path for _, path in begun] == [str(model), str(other), str(other)], told
    a, b = (int(frame) for frame, _ in begun[:2])
    assert 3 * BLOCK < a < b < FRAMES
    expected = [x[:a], played(model, x[a:b]), played(other, x[b:])]
    np.testing.assert_array_equal(first, np.concatenate(expected))

    np.testing.assert_array_equal(restored, played(other, x))
    begins = 2 * BLOCK + 16
    expected = [x[:begins], played(model, x[begins:])]
    np.testing.assert_array_equal(at_once, np.concatenate(expected))

    half = FRAMES // 2
    factor = gains / x
    np.testing.assert_allclose(factor[:half], 10 ** (-18 / 20), rtol=1e-6)
    assert np.all(np.diff(factor[half : half + BLOCK]) > 0)
    np.testing.assert_array_equal(gains[half + BLOCK :], x[half + BLOCK :])


def write_wav(path: Path, x: np.ndarray) -> None:
    """Mono, 32-bit floats."""
    data = x.astype("<f4").tobytes()
    form = struct.pack("<HHIIHH", 3, 1, 48000, 4 * 48000, 4, 32)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def read_wav(path: Path) -> np.ndarray:
    content = path.read_bytes()
    assert content[:4] == b"RIFF" and content[8:12] == b"WAVE"
    chunks, at = {}, 12
    while at < len(content):
        name, size = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
        chunks[name] = content[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    kind, channels = struct.unpack_from("<HH", chunks[b"fmt "])
    assert (kind, channels) == (3, 1), "32-bit floats, mono"
    return np.frombuffer(chunks[b"data"], "<f4")


def test_lv2apply_gives_the_bits_of_python(tmp_path: Path) -> None:
    needs("lv2apply")
    model = DATA / "amp.nam"
    built(tmp_path, f"MODEL={model}")
    x = normal(500, seed=4)
    write_wav(tmp_path / "in.wav", x)
    # Standard bundles lie where the system has them.
    standard = "/usr/lib/lv2:/usr/local/lib/lv2"
    files = ["-i", tmp_path / "in.wav", "-o", tmp_path / "out.wav"]
    env = environment(LV2_PATH=f"{tmp_path}:{standard}")
    run("lv2apply", *files, "urn:unrolled:lv2", env=env)
    np.testing.assert_array_equal(read_wav(tmp_path / "out.wav"), played(model, x))


def test_the_plug_in_shows_its_descriptor_alone(tmp_path: Path) -> None:
    needs("nm")
    library = built(tmp_path) / "unrolled.so"
    said = run("nm", "-D", "--defined-only", library).stdout.decode()
    assert [line.split()[-1] for line in said.splitlines()] == ["lv2_descriptor"]
