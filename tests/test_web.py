"""Models in WebAssembly, in node and on the example's page in a browser, beside Python."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import normal

ROOT = Path(__file__).resolve().parent.parent
NODE = next(filter(None, map(shutil.which, ("node", "nodejs"))), None)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
# `web/build.py` says that something is missing.
SKIPPED = 77
# No whole number of blocks.
STEPS = 5000

FILES = ("fixed", "model.safetensors", "amp.nam", "model.json")


def net(hidden: int, seed: int, dtype: str = "float32") -> ur.Sequential:
    return ur.Sequential(
        ur.LSTM(1, hidden, seed=seed, dtype=dtype),
        ur.Dense(hidden, 1, seed=seed + 1, dtype=dtype),
        ur.Activation("tanh"),
    )


def build(model: ur.Sequential, directory: Path) -> None:
    """The page, and modules of which some have this model compiled in."""
    model.to_rust(directory / "model.rs")
    command = [sys.executable, str(ROOT / "web" / "build.py"), "--relaxed", "--model"]
    command += [str(directory / "model.rs"), "--out", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.splitlines()[-1])
    assert done.returncode == 0, done.stderr[-4000:]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page, its modules, the models, and an input."""
    directory = tmp_path_factory.mktemp("web")
    build(net(16, 1), directory)
    ur.save(net(32, 3), directory / "model.safetensors")
    ur.export(net(12, 5), directory / "model.json")
    shutil.copy(ROOT / "tests" / "data" / "formats" / "amp.nam", directory)
    (directory / "x.f32").write_bytes(normal(STEPS, seed=8).tobytes())
    return directory


def portable(made: Callable[[], ur.Sequential], dtype: str = "float32") -> np.ndarray:
    """What Python gives at the level that WebAssembly has, which a model takes when it is made."""
    before = ur.isa()
    ur.set_max_isa("portable")
    y = np.ravel(made()(normal(STEPS, seed=8).reshape(-1, 1).astype(dtype))[0])
    ur.set_max_isa(before)
    assert len(np.unique(y)) > STEPS // 2
    return y


@pytest.fixture(scope="module")
def expected(site: Path) -> dict[str, np.ndarray]:
    files = {name: portable(partial(ur.load, site / name)) for name in FILES if name != "fixed"}
    return {"fixed": portable(partial(net, 16, 1)), **files}


def same(data: bytes, y: np.ndarray) -> bool:
    return data == y.astype("<f4").tobytes()


def near(data: bytes, y: np.ndarray) -> bool:
    """Of relaxed SIMD, which leaves last digits to the engine."""
    return bool(np.abs(np.frombuffer(data, "<f4") - y.astype("<f4")).max() <= 1e-6)


def played(site: Path, name: str, *options: str) -> bytes:
    if NODE is None:
        pytest.skip("no node on PATH: modules are not run in it")
    command = [NODE]
    if options:
        # Node 20 has relaxed SIMD behind a flag, later ones without.
        flag = "--experimental-wasm-relaxed-simd"
        known = subprocess.run([NODE, "--v8-options"], capture_output=True, text=True, check=True)
        command += [flag] if flag in known.stdout else []
    command += [str(site / "play.mjs"), *options, *([] if name == "fixed" else [str(site / name)])]
    x = normal(STEPS, seed=8).tobytes()
    done = subprocess.run(command, input=x, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.parametrize("name", FILES)
def test_node_gives_the_same_bits(site: Path, expected: dict[str, np.ndarray], name: str) -> None:
    assert same(played(site, name), expected[name])


@pytest.mark.parametrize("name", FILES)
def test_node_gives_almost_the_same_relaxed(
    site: Path, expected: dict[str, np.ndarray], name: str
) -> None:
    assert near(played(site, name, "--relaxed"), expected[name])


def test_a_model_in_float64(site: Path, tmp_path: Path) -> None:
    build(net(16, 1, "float64"), tmp_path)
    y = portable(partial(net, 16, 1, "float64"), "float64")
    assert same(played(tmp_path, "fixed"), y)
    assert near(played(tmp_path, "fixed", "--relaxed"), y)


class Handler(SimpleHTTPRequestHandler):
    """Serves a directory, and keeps what is posted."""

    def do_POST(self) -> None:  # noqa: N802
        name = self.path.strip("/")
        self.server.posted[name] = self.rfile.read(int(self.headers["Content-Length"]))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()
        if name in ("seen.json", "failed"):
            self.server.done.set()  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def posted(site: Path) -> dict[str, bytes]:
    """What the harness found. Anything on the console is an error."""
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH (Debian: apt-get install chromium): pages are not played")
    shutil.copy(ROOT / "tests" / "data" / "web_harness.html", site)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site)))
    server.posted, server.done = {}, threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = [
        CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
        "--no-first-run", "--enable-logging=stderr", f"--user-data-dir={site / 'profile'}",
        "--autoplay-policy=no-user-gesture-required", "--disable-audio-output",
        "--remote-debugging-port=0",
        f"http://127.0.0.1:{server.server_port}/web_harness.html?{','.join(FILES)}",
    ]  # fmt: skip
    log = site / "chromium.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(command, stdout=output, stderr=output) as browser,
    ):
        in_time = server.done.wait(300)  # type: ignore[attr-defined]
        browser.terminate()
    server.shutdown()
    server.server_close()
    found: dict[str, bytes] = server.posted  # type: ignore[attr-defined]
    said = log.read_text(errors="replace")
    assert in_time, said[-2000:]
    assert "failed" not in found, found["failed"].decode()
    assert not [line for line in said.splitlines() if "CONSOLE" in line]
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_worklet_gives_the_same_bits(
    posted: dict[str, bytes], expected: dict[str, np.ndarray], name: str
) -> None:
    assert same(posted[f"{name}.f32"], expected[name])


@pytest.mark.parametrize("name", FILES)
def test_a_worklet_gives_almost_the_same_relaxed(
    posted: dict[str, bytes], expected: dict[str, np.ndarray], name: str
) -> None:
    assert near(posted[f"{name}.relaxed.f32"], expected[name])


def test_the_page_plays_what_is_chosen(posted: dict[str, bytes]) -> None:
    seen = json.loads(posted["seen.json"])
    assert all(seen["labels"]), seen["labels"]
    assert "the model compiled in" in seen["fixed"][0]
    assert "model.safetensors" in seen["chosen"][0]
    for _, percent, meter in (seen["fixed"], seen["chosen"]):
        assert percent.endswith(" %")
        assert 0 <= meter <= 1
    assert seen["playing"] == "Stop"
    assert seen["stopped"] == ["Start", "–"]
    assert seen["refused"]
