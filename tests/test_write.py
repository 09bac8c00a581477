"""Whatever happens while a file is written, it is the old one or the new one."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import same

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path(ur.__file__).parent
KINDS = ["net.safetensors", "net.json", "net.nam", "net.rs"]


def model(seed: int) -> ur.Sequential:
    return ur.Sequential(ur.LSTM(1, 3, seed=seed), ur.Dense(3, 1, seed=seed + 1))


def listed(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


def child(program: str, *arguments: object, **more: Any) -> subprocess.Popen[str]:
    """Another interpreter with this package."""
    path = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


@pytest.mark.parametrize("name", KINDS)
def test_mode(name: str, tmp_path: Path) -> None:
    """A new file's is the process's; one that is there keeps its own."""
    before = os.umask(0o027)
    try:
        ur.export(model(1), tmp_path / name)
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640
        for mode in (0o600, 0o664, 0o444):
            (tmp_path / name).chmod(mode)
            ur.export(model(2), tmp_path / name)
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
    finally:
        os.umask(before)
    assert listed(tmp_path) == [name]


@pytest.mark.parametrize("name", KINDS)
def test_links(name: str, tmp_path: Path) -> None:
    """What a link leads to is replaced, the link stays."""
    (tmp_path / "real").mkdir()
    (tmp_path / "links").mkdir()
    ur.export(model(1), tmp_path / "real" / name)
    link = tmp_path / "links" / name
    link.symlink_to(Path("..") / "real" / name)
    before = (tmp_path / "real" / name).read_bytes()
    ur.export(model(2), link)
    assert link.is_symlink()
    assert (tmp_path / "real" / name).read_bytes() != before
    # One that leads to nothing yet.
    (tmp_path / "links" / "new").symlink_to(tmp_path / "real" / "new")
    ur.save(model(3), tmp_path / "links" / "new")
    assert listed(tmp_path / "real") == sorted([name, "new"])
    assert (tmp_path / "links" / "new").is_symlink()


def test_names_that_wait_are_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever guesses the temporary name and puts a link there gains nothing."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr("secrets.token_hex", lambda n: "00" * n)
    (tmp_path / f".net.{'00' * 8}.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        ur.save(model(1), tmp_path / "net")
    assert victim.read_text() == "precious"
    assert not (tmp_path / "net").exists()


def test_devices(tmp_path: Path) -> None:
    """A pipe is written to and stays one."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found: list[bytes] = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    ur.save(model(1), pipe)
    reader.join()
    ur.save(model(1), tmp_path / "net")
    assert found == [(tmp_path / "net").read_bytes()]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    ur.save(model(1), os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failure_leaves_the_old_file(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "net"
    ur.save(model(1), path)
    before = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="no space"):
        ur.save(model(2), path)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert listed(tmp_path) == ["net"]


def test_it_is_brought_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file before it takes its name, and the directory after."""
    done: list[str] = []
    fsync, move = os.fsync, os.replace

    def synced(descriptor: int) -> None:
        kind = os.fstat(descriptor).st_mode
        done.append("directory" if stat.S_ISDIR(kind) else "file")
        fsync(descriptor)

    def moved(*names: Any) -> None:
        done.append("move")
        move(*names)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", moved)
    ur.save(model(1), tmp_path / "net")
    assert done == ["file", "move", "directory"]


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory of root's, seen by a user who may not write there; or one's own, read only."""
    with tempfile.TemporaryDirectory() as name:
        ur.save(model(1), Path(name) / "net")
        os.chmod(name, 0o555)
        if root := os.geteuid() == 0:
            os.seteuid(65534)
        try:
            yield Path(name)
        finally:
            if root:
                os.seteuid(0)
            os.chmod(name, 0o700)


def test_a_directory_without_permission(unprivileged: Path) -> None:
    for name in ("net", "new"):
        with pytest.raises(PermissionError, match="expected a directory in which files can"):
            ur.save(model(2), unprivileged / name)
    assert listed(unprivileged) == ["net"]


@pytest.mark.parametrize("name", [*KINDS, "net.pt", "net.onnx"])
def test_a_missing_directory(name: str, tmp_path: Path) -> None:
    pytest.importorskip({"net.pt": "torch", "net.onnx": "onnx"}.get(name, "numpy"))
    with pytest.raises(FileNotFoundError, match=r"path: no such directory: '.*none'"):
        ur.export(model(1), tmp_path / "none" / name)
    with pytest.raises(IsADirectoryError):
        ur.export(model(1), tmp_path, "safetensors")
    assert not listed(tmp_path)


def test_long_names(tmp_path: Path) -> None:
    name = "ä" * 120 + ".safetensors"
    ur.save(model(1), tmp_path / name)
    assert listed(tmp_path) == [name]


def test_threads(tmp_path: Path) -> None:
    """Every save to one path succeeds, and every read finds one of the nets, whole."""
    path = tmp_path / "net"
    nets = [ur.GRU(2, 5 + n, seed=n) for n in range(6)]
    states = [net.state_dict() for net in nets]
    ur.save(nets[0], path)
    errors: list[BaseException] = []
    running = True

    def guarded(work: Any) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    def writer(net: ur.GRU) -> None:
        for _ in range(25):
            ur.save(net, path)

    def reader() -> None:
        while running:
            found = ur.load(path)
            own = states[found.hidden_size - 5]
            assert all(same(a, own[key]) for key, a in found.state_dict().items())

    readers = [threading.Thread(target=guarded, args=(reader,)) for _ in range(2)]
    writers = [
        threading.Thread(target=guarded, args=(lambda net=net: writer(net),)) for net in nets
    ]
    for thread in [*readers, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    running = False
    for thread in readers:
        thread.join()
    assert not errors
    assert listed(tmp_path) == ["net"]


SAVES = """
import sys, unrolled as ur
nets = [ur.LSTM(64, 256, seed=n) for n in range(2)]
ur.save(nets[0], sys.argv[1])
print("ready", flush=True)
while True:
    for net in nets:
        ur.save(net, sys.argv[1])
"""


def test_kills(tmp_path: Path) -> None:
    """What is left is a whole file, and beside it what says that it is temporary."""
    path = tmp_path / "net.safetensors"
    expected = [ur.LSTM(64, 256, seed=n).state_dict()["weight_hh_l0"] for n in range(2)]
    dice = np.random.default_rng(0)
    for _ in range(8):
        process = child(SAVES, path)
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        time.sleep(dice.uniform(0, 0.05))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        found = ur.load(path).state_dict()["weight_hh_l0"]
        assert any(same(found, a) for a in expected)
    for name in listed(tmp_path):
        assert name == path.name or (name.startswith(f".{path.name}.") and name.endswith(".tmp"))


PRESSED = """
import resource, sys, unrolled as ur
path, extra, what = sys.argv[1], int(sys.argv[2]), sys.argv[3]
net = ur.LSTM(700, 700, seed=0)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + extra,) * 2)
try:
    ur.save(net, path) if what == "save" else ur.load(path)
except MemoryError:
    print("MemoryError")
else:
    print("done")
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("what", ["save", "load"])
def test_where_memory_ends(what: str, tmp_path: Path) -> None:
    """15 MB of parameters and less than that, or somewhat more: an error of Python's, no abort."""
    path = tmp_path / "net"
    ur.save(ur.LSTM(700, 700, seed=0), path)
    before = path.read_bytes()
    said = set()
    for megabytes in (2, 10, 18, 26, 34, 50, 100):
        process = child(PRESSED, path, megabytes << 20, what)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        said.add(out.strip())
        assert path.read_bytes() == before
        assert listed(tmp_path) == ["net"]
    assert said == {"MemoryError", "done"}


def test_there_is_one_way_to_write() -> None:
    """Nothing in the package opens a file to write to but `_write.replace`."""
    ways = r"write_(text|bytes)\(|os\.replace\(|open\(.*\"[wxa]b?\"|savefig\(path|np\.save"
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "_write.py"
        for line in path.read_text().splitlines()
        if re.search(ways, line)
    ]
    assert not found
