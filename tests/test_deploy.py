"""The commands of docs/deploy.md as a user types them, a section at a time, at the top."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from capi_support import DATA, ROOT, needs
from support import normal

# What installs for everybody, or serves for ever.
NOT_HERE = re.compile(r"apt-get|rustup|python3 -m http\.server")
TEXT = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")


def commands(heading: str) -> str:
    """The commands below a heading, and below those within it."""
    level = heading.partition(" ")[0]
    _, _, rest = TEXT.partition(f"\n{heading}\n")
    section = re.split(rf"^#{{1,{len(level)}}} ", rest, flags=re.M)[0]
    found = "".join(re.findall(r"^```sh\n(.*?)^```$", section, flags=re.M | re.S))
    kept = [line for line in found.splitlines(keepends=True) if not NOT_HERE.match(line)]
    assert kept, f"{heading}: no commands"
    return "".join(kept)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tree, of which the commands change no file; and the files that they speak of."""
    tree = tmp_path_factory.mktemp("deploy") / "unrolled"
    tree.mkdir()
    for path in ROOT.iterdir():
        if path.name not in ("examples", ".git"):
            (tree / path.name).symlink_to(path)
    shutil.copytree(ROOT / "examples", tree / "examples")
    (program,) = re.findall(r"^```c\n(.*?)^```$", TEXT, flags=re.M | re.S)
    (tree / "play.c").write_text(program)
    shutil.copy(DATA / "amp.nam", tree)
    model = ur.Sequential(ur.LSTM(1, 16, seed=0), ur.Dense(16, 1, seed=1), ur.Residual())
    ur.save(model, tree / "model.safetensors")
    model.to_rust(tree / "model.rs")
    return tree


def run(commands: str, tree: Path) -> str:
    """What a shell says to them; a failure says what failed."""
    home = Path.home()
    # Not what a `make` that runs the tests was told, which it hands on.
    ours = ("ARGS", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS")
    environment = {
        "CARGO_HOME": str(home / ".cargo"),
        "RUSTUP_HOME": str(home / ".rustup"),
        **{name: value for name, value in os.environ.items() if name not in ours},
        "HOME": str(tree.parent / "home"),
        # `python3` is the one that has NumPy.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    Path(environment["HOME"]).mkdir(exist_ok=True)
    done = subprocess.run(
        ["bash", "-exuo", "pipefail", "-c", commands],
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode and (missing := re.search(r"^web: not built, .*", done.stdout, re.M)):
        pytest.skip(missing[0])
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def sound(path: Path) -> np.ndarray:
    """Writes a sound file of 32-bit floats."""
    x = normal(4000, seed=5) / 4
    data, rate = x.astype("<f4").tobytes(), 44100
    head = b"fmt " + np.array([18, 0], "<u2").tobytes() + np.array([3, 1], "<u2").tobytes()
    head += np.array([rate, 4 * rate], "<u4").tobytes() + np.array([4, 32, 0], "<u2").tobytes()
    body = b"WAVE" + head + b"data" + np.array([len(data)], "<u4").tobytes() + data
    path.write_bytes(b"RIFF" + np.array([len(body)], "<u4").tobytes() + body)
    return x


def samples(path: Path) -> np.ndarray:
    """Those of a sound file of 32-bit floats."""
    _, _, rest = path.read_bytes().partition(b"data")
    return np.frombuffer(rest[4:], "<f4")


def played(path: Path, x: np.ndarray) -> Any:
    return ur.load(path)(x[:, None, None])[0].ravel()


def test_rust_models_from_files(tree: Path) -> None:
    needs("cargo")
    x = sound(tree / "in.wav")
    run(commands("## Rust, models from files"), tree)
    y = played(tree / "model.safetensors", x)
    np.testing.assert_array_equal(samples(tree / "out.wav"), y)


def test_c_cmake_and_lv2(tree: Path) -> None:
    """One shell for all, as the first commands install what the others need."""
    needs("cargo", "cc", "c++", "pkg-config", "make", "cmake", "lv2apply")
    if subprocess.run(["pkg-config", "--exists", "lv2"], check=False).returncode:
        pytest.skip("LV2's headers are not installed (apt-get install lv2-dev)")
    x = sound(tree / "in.wav")
    (tree / "in.f32").write_bytes(x.astype("<f4").tobytes())
    run(commands("## C and C++") + commands("## LV2"), tree)
    y = played(tree / "amp.nam", x)
    np.testing.assert_array_equal(np.fromfile(tree / "out.f32", "<f4"), y)
    np.testing.assert_array_equal(samples(tree / "out.wav"), y)


def test_browsers_and_node(tree: Path) -> None:
    needs("cargo", "node")
    said = run(commands("## Browsers and node"), tree)
    assert "fixed.wasm has" in said
    y = np.fromfile(tree / "y.f32", "<f4")
    x = np.fromfile(tree / "x.f32", "<f4")
    np.testing.assert_allclose(y, played(tree / "model.safetensors", x), atol=1e-6)
