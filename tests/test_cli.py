"""The command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import unrolled as ur
from unrolled import _check
from unrolled.__main__ import main
from unrolled._cases import VARIANTS
from unrolled._machine import ISAS


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "unrolled", *arguments], capture_output=True, text=True, check=False
    )


def test_info() -> None:
    done = run("info")
    assert done.returncode == 0
    assert ur.__version__ in done.stdout
    assert all(name in done.stdout for name in ur.available_isas())
    assert run("--version").stdout.strip() == ur.__version__


def test_check_says_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check"]) == 0
    table = capsys.readouterr().out
    rows = [line for line in table.splitlines() if line.endswith(("ok", "does not have it"))]
    assert len(rows) == len(VARIANTS) * 2 * len(ISAS)
    for variant in VARIANTS:
        assert sum(row.startswith(f"{variant!s} ") for row in rows) >= 2 * len(ISAS)
    run_here = 2 * len(VARIANTS) * len(ur.available_isas())
    assert f"{run_here} right, 0 wrong, {len(rows) - run_here} not run" in table


def test_check_names_what_is_not_there(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_check, "available_isas", lambda: ("portable",))
    assert main(["check"]) == 0
    others = 2 * (len(ISAS) - 1) * len(VARIANTS)
    assert capsys.readouterr().out.count("not run: this machine") == others


@pytest.mark.parametrize("error", [0.5, float("nan")])
def test_check_says_wrong(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: float
) -> None:
    original = _check.pairs

    def spoilt(y, state, g, plain):  # type: ignore[no-untyped-def]
        g.parameters["bias_hh_l1"][3] += error
        return original(y, state, g, plain)

    monkeypatch.setattr(_check, "pairs", spoilt)
    monkeypatch.setattr(_check, "VARIANTS", VARIANTS[:1])
    assert main(["check"]) == 1
    assert capsys.readouterr().out.count("TOO LARGE") == 2 * len(ur.available_isas())


@pytest.mark.parametrize(
    "arguments",
    [(), ("dance",), ("info", "now"), ("check", "now"), ("bench", "--works", "CNN"),
     ("bench", "--works", "("), ("bench", "--contenders", "nobody"), ("bench", "--cpus", "a"),
     ("bench", "--repeats", "0")],
)  # fmt: skip
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert "usage: unrolled" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_has_enough() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "unrolled", "info"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


def test_alone_it_says_what_there_is() -> None:
    said = run().stderr
    for command in ("info", "check", "bench", "demo", "flow", "inspect", "convert"):
        assert f"    {command} " in said


def test_cells(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed: pip install '.[flow]'")
    picture = tmp_path / "cells.png"
    sizes = ["--inputs", "3", "--units", "8", "--lag", "20"]
    assert main(["cells", "rnn", "co_rnn", *sizes, "--plot", str(picture)]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split() == ["cell", "states", "parameters", "kept", "lag", "20", "time"]
    # What reaches farther is above.
    assert (first.split()[0], second.split()[0]) == ("co_rnn", "rnn")
    assert 0 < float(second.split()[-1]) < 100
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["cells", "rnn", *sizes, "--no-times"]) == 0
    assert capsys.readouterr().out.splitlines()[0].split()[-2:] == ["lag", "20"]


def test_cells_that_are_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cells", "lstn"]) == 1
    assert "expected names among" in capsys.readouterr().err
    assert main(["cells", "lstm", "--units", "0", "--no-times"]) == 1
    assert "hidden_size: expected" in capsys.readouterr().err
