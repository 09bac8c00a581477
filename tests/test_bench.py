"""The comparison program: what it records, how it judges contenders, what it prints and draws."""

from __future__ import annotations

import copy
import importlib.util
import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unrolled._bench import cliffs, command, contenders, measure, parts, record, session, table
from unrolled._bench.apart import Apart
from unrolled._bench.contenders import OURS, Contender, FailedError, Runner, UnsupportedError, base
from unrolled._bench.contenders.unrolled_ import Reference, Unrolled
from unrolled._bench.measure import Effort
from unrolled._bench.task import task
from unrolled._bench.works import FORWARD, QUICK, STEP, TRAINING, WORKS, Work, sweeps

ROOT = Path(__file__).resolve().parent.parent
TINY = Work("LSTM", 12, 3, 2, 5, {FORWARD: 1.0, TRAINING: 2.0})
OPTIONS = {
    "quick": True,
    "works": "^LSTM (100,1,1,16|step 16,16)$",
    "contenders": [OURS, "NumPy"],
    "repeats": 1,
}


class Fake(Contender):
    """A peer that gives what the reference gives, or what `spoil` makes of it."""

    name = "JAX"

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def version(self) -> str:
        return "0"

    def spoil(self, results: dict[str, Any]) -> dict[str, Any]:
        return results

    def prepare(self, task: Any, mode: str) -> Runner:
        runner = Reference(self.threads).prepare(task, mode)
        return Runner(runner.run, lambda: self.spoil(runner.results()))


class Slightly(Fake):
    def spoil(self, results: dict[str, Any]) -> dict[str, Any]:
        name = "weight_hh_l0" if "weight_hh_l0" in results else "y"
        results[name].flat[3] += 1e-3 * np.abs(results[name]).max()
        return results


class NotANumber(Fake):
    def spoil(self, results: dict[str, Any]) -> dict[str, Any]:
        results["y"].flat[0] = np.nan
        return results


class Forgetful(Fake):
    def spoil(self, results: dict[str, Any]) -> dict[str, Any]:
        results.pop("x", None)
        return results


class Unable(Fake):
    def prepare(self, task: Any, mode: str) -> Runner:
        raise UnsupportedError("not that")


class Failing(Fake):
    def prepare(self, task: Any, mode: str) -> Runner:
        raise RuntimeError("no such file: /home/someone/models/net.onnx\nand more")


class Absent(Fake):
    def __init__(self, threads: int) -> None:
        raise ModuleNotFoundError("No module named 'jax'")


def here(which: type[Contender], threads: int) -> Contender:
    """In this process."""
    return which(threads)


def outcome(fake: type[Contender], mode: str = TRAINING) -> dict[str, Any]:
    """What the record says of a contender beside ours."""
    there: dict[str, Contender] = {OURS: Unrolled(1), "JAX": fake(1)}
    entry = measure.measure(TINY, mode, there, Effort(repeats=1), 1)
    assert entry["contenders"][OURS]["status"] == "timed"
    return dict(entry["contenders"]["JAX"])


def test_who_is_right_is_timed() -> None:
    timed = outcome(Fake)
    assert timed["status"] == "timed"
    assert timed["median"] * timed["inner"] > 1e-3


@pytest.mark.parametrize(
    ("fake", "mode", "reason"),
    [
        (Slightly, TRAINING, "weight_hh_l0: differs by 1.0e-03"),
        (Slightly, FORWARD, "y: differs by 1.0e-03"),
        (NotANumber, TRAINING, "y: differs by nan"),
        (Forgetful, TRAINING, "results differ in which there are: x"),
    ],
)
def test_who_is_wrong_is_not_timed(fake: type[Contender], mode: str, reason: str) -> None:
    found = outcome(fake, mode)
    assert found["status"] == "wrong"
    assert found["reason"].startswith(reason)
    assert "median" not in found


def test_who_cannot_or_fails_says_why_and_not_where() -> None:
    assert outcome(Unable) == {"status": "unsupported", "reason": "not that"}
    failed = {"status": "failed", "reason": "RuntimeError: no such file: <path>"}
    assert outcome(Failing) == failed


def test_who_fails_on_the_way_is_out() -> None:
    def tired(calls: int) -> float:
        tired.left -= 1
        if not tired.left:
            raise FailedError("its process ended, code -9")
        return 3e-3

    tired.left = 4
    steady = {OURS: lambda calls: 3e-3, "JAX": tired}
    outcomes, _ = measure.samples(steady, Effort(repeats=5), 1, "float32")
    assert outcomes["JAX"] == {"status": "failed", "reason": "its process ended, code -9"}
    assert outcomes[OURS]["repeats"] == 5


def test_preparation_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Fake):
        def prepare(self, task: Any, mode: str) -> Runner:
            while True:
                pass

    monkeypatch.setattr(base, "PREPARATION", 1)
    found = outcome(Slow)
    assert found == {"status": "failed", "reason": "TimeoutError: not ready after 1 s"}


def test_a_session_is_as_documented() -> None:
    seen = []
    known = {**contenders.ALL, "JAX": Absent}
    part = session.session(OPTIONS, 1, contenders=known, start=here, keep=seen.append)
    assert part["missing"] == {}  # JAX was not asked for
    asked = {**OPTIONS, "contenders": [OURS, "NumPy", "JAX"], "works": "^LSTM step 16,16$"}
    part_with = session.session(asked, 1, contenders=known, start=here)
    assert part_with["missing"] == {"JAX": "ModuleNotFoundError: No module named 'jax'"}
    assert len(seen) == len(part["works"]) == 3
    made = record.assemble(OPTIONS, {1: part, 2: part_with}, {3: "not run"})
    json.dumps(made, allow_nan=False)
    documented = {
        line.split()[0]
        for line in (record.__doc__ or "").splitlines()
        if line.startswith("    ") and not line.startswith("     ")
    }
    assert set(made) == documented
    assert set(made["machine"]) == {"cpu", "cores", "system"}
    assert {"Python", "NumPy", OURS} <= set(made["versions"])
    for entry in made["works"]:
        assert set(entry) == {
            *("work", "mode", "threads", "flops", "peak", "goal", "against", "contenders")
        }
        assert entry["peak"] > 0
        ours = entry["contenders"][OURS]
        assert set(ours) == {"status", "median", "q1", "q3", "repeats", "inner"}
        assert 0 < ours["q1"] <= ours["median"] <= ours["q3"]
    assert [entry["goal"] for entry in made["works"][:3]] == [4, 8, 15]
    printed = table.text(made)
    assert "JAX: missing (ModuleNotFoundError: No module named 'jax')" in printed
    assert "3 threads: not run" in printed


@pytest.fixture
def apart() -> Iterator[Apart]:
    contender = Apart(Unrolled, 1)
    yield contender
    contender.close()


def test_a_contender_apart_gives_what_it_gives_here(apart: Apart) -> None:
    there, here = apart.ready(task(TINY), TRAINING), Unrolled(1).ready(task(TINY), TRAINING)
    assert there.results.keys() == here.results.keys()
    for name, a in here.results.items():
        np.testing.assert_array_equal(there.results[name], a)
    assert apart.version() == Unrolled(1).version()
    assert 0 < there.sample(3) < 1


def test_what_a_contender_apart_cannot_do_is_said_here() -> None:
    apart = Apart(Reference, 1)
    try:
        with pytest.raises(UnsupportedError, match="the reference has no stream"):
            apart.ready(task(Work("LSTM", 1, 1, 2, 3, stream=True)), STEP)
    finally:
        apart.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads the state of a process from /proc")
def test_a_contender_stands_still_when_it_is_not_its_turn(apart: Apart) -> None:
    def state() -> str:
        stat = Path(f"/proc/{apart._process.pid}/stat").read_text(encoding="utf-8")
        return stat.rpartition(")")[2].split()[0]

    def stops() -> bool:
        # The signal takes a moment.
        return any(state() == "T" or time.sleep(0.01) for _ in range(500))

    assert stops()
    prepared = apart.ready(task(TINY), FORWARD)
    assert stops()
    prepared.sample(1)
    assert stops()


def test_a_process_that_ends_is_a_failure_and_is_started_anew(apart: Apart) -> None:
    apart._process.kill()
    apart._process.join()
    first = apart._process.pid
    prepared = apart.ready(task(TINY), FORWARD)
    assert apart._process.pid != first
    apart._process.kill()
    with pytest.raises(FailedError, match="its process ended, code -9"):
        prepared.sample(1)
    assert apart.ready(task(TINY), FORWARD).sample(1) > 0


def test_the_command_writes_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--quick", "--works", "100,1,1,16", "--contenders", "numpy", "--threads", "1"]
    arguments += ["--repeats", "2"]
    assert command.main([*arguments, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    made = json.loads((tmp_path / "out" / "record.json").read_text(encoding="utf-8"))
    assert [entry["mode"] for entry in made["works"]] == [FORWARD, TRAINING]
    assert all(
        outcome["status"] == "timed" and outcome["repeats"] == 2
        for entry in made["works"]
        for outcome in entry["contenders"].values()
    )
    assert (tmp_path / "out" / "table.txt").read_text(encoding="utf-8") in printed
    assert "| LSTM 100,1,1,16 | forward |" in (tmp_path / "out" / "table.md").read_text(
        encoding="utf-8"
    )

    # Without what draws, all else is written.
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "unrolled._bench.plots", raising=False)
    monkeypatch.delattr("unrolled._bench.plots", raising=False)
    monkeypatch.setattr(command, "_child", lambda *_: ({**_part(made)}, None))
    assert command.main([*arguments, "-o", str(tmp_path / "bare")]) == 0
    assert "plots: skipped" in capsys.readouterr().out
    assert (tmp_path / "bare" / "record.json").exists()


def _part(made: dict[str, Any]) -> dict[str, Any]:
    return {key: made[key] for key in ("isa", "versions", "missing", "works", "sweeps")}


def test_a_process_that_dies_fails_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command.sys, "executable", shutil.which("false"))
    assert command.main(["--quick", "--threads", "1", "-o", str(tmp_path)]) == 1
    assert "1 threads: the process ended early, with code 1" in capsys.readouterr().out


def test_more_threads_than_cpus_are_not_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    monkeypatch.setattr(command, "cpus", lambda: [0, 1, 2])

    def child(settings: Any, count: int, own: Any, sweeping: bool) -> tuple[Any, None]:
        started.append((count, list(own), sweeping))
        return {"isa": "x", "versions": {}, "missing": {}, "works": [], "sweeps": []}, None

    monkeypatch.setattr(command, "_child", child)
    assert command.main(["--threads", "1", "2", "4", "-o", str(tmp_path)]) == 0
    assert started == [(1, [2], True), (2, [1, 2], False)]
    assert "4 threads: not run, for this process may use 3 CPUs" in capsys.readouterr().out
    started.clear()
    assert command.main(["--threads", "1", "--cpus", "1,0", "-o", str(tmp_path)]) == 0
    assert started == [(1, [1], True)]


def test_threads_are_limited_for_everyone() -> None:
    one = command.environment(1)
    for name in ("OMP", "MKL", "OPENBLAS", "UNROLLED"):
        assert one[f"{name}_NUM_THREADS"] == "1"
    assert "--xla_cpu_multi_thread_eigen=false" in one["XLA_FLAGS"]
    assert command.environment(2)["OPENBLAS_NUM_THREADS"] == "2"


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_works_are_counted(work: Work) -> None:
    assert set(work.goals) == set(work.modes)
    assert sum(w.name == work.name for w in WORKS) == 1
    forward = work.flops(work.modes[0])
    if not (work.projection or work.bidirectional):
        kind = work.cell.upper().split("_")[-1].replace("SLSTM", "LSTM")
        gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind]
        columns = work.inputs + work.units
        assert forward == 2 * work.steps * work.batch * gates * work.units * columns
    if TRAINING in work.modes:
        assert work.flops(TRAINING) == 3 * forward


def test_works_of_other_shapes_are_counted() -> None:
    # Two maps of x, none of h.
    assert Work("min_gru", 5, 3, 2, 4).flops(FORWARD) == 2 * 5 * 3 * 2 * 4 * 2
    projected = Work("LSTM", 50, 32, 64, 64, projection=32)
    assert projected.flops(FORWARD) == 2 * 50 * 32 * (4 * 64 * (64 + 32) + 64 * 32)
    both = Work("LSTM", 50, 32, 64, 64, layers=2, bidirectional=True, ragged=True)
    numbers = task(both)
    assert numbers.lengths is not None
    assert (numbers.lengths.min(), numbers.lengths.max()) == (10, 50)
    one = 2 * int(numbers.lengths.sum()) * 4 * 64
    expected = one * 2 * (64 + 64) + one * 2 * (128 + 64)
    assert both.flops(FORWARD, numbers.row_steps) == expected


def test_sweeps_hold_their_kinds() -> None:
    for sweep in sweeps():
        assert sweep.shared <= set(sweep.works)
        assert set(sweep.others) <= set(contenders.PEERS)
        assert all(sweep.mode in work.modes for work in sweep.works.values())
    assert len(QUICK) == 5


@pytest.mark.parametrize("name", ["cliffs", "training cliffs", "stream"])
def test_sweeps_meet_every_kind_of_width(name: str) -> None:
    (sweep,) = (sweep for sweep in sweeps() if sweep.name == name)
    assert {*range(1, 65), 511, 512, 513, 520} <= set(sweep.works)
    # Whatever the place in a vector; each with the next whole one to be compared with.
    beyond = {h for h in sweep.works if h > 64}
    assert {h % 16 for h in beyond} >= {0, 1, 4, 8, 12, 15}
    assert {cliffs.next_whole(h) for h in sweep.works} <= set(sweep.works)


def test_widths_that_cost_more_than_a_wider_net_are_named() -> None:
    even = {h: 1.0 + 0.01 * h for h in range(1, 65)}
    assert cliffs.slower(even) == {}
    assert cliffs.slower({**even, 17: 1.2 * even[32]}) == {17: pytest.approx(1.2)}
    # 64 has no wider one here, and what is not there is not compared.
    assert cliffs.slower({63: 5.0, 65: 1.0}) == {}
    made = made_by_hand()
    (entry,) = (entry for entry in made["works"] if entry["mode"] == STEP)
    for value, seconds in ((16, 1e-3), (9, 2e-3)):
        added = copy.deepcopy(entry)
        added["contenders"][OURS]["q1"] = seconds
        made["sweeps"].append({**added, "sweep": "stream", "title": "A step", "value": value})
    (line,) = cliffs.lines(made)
    assert line.startswith("A step (step): of 2 widths H") and line.endswith("16: 9 (2.00)")
    assert line in table.text(made) and line in table.markdown(made)


def made_by_hand() -> dict[str, Any]:
    """A record with every kind of outcome."""

    def timed(median: float) -> dict[str, Any]:
        return {
            "status": "timed",
            "median": median,
            "q1": 0.9 * median,
            "q3": 1.2 * median,
            "repeats": 5,
            "inner": 1,
        }

    def entry(
        work: str, mode: str, flops: int, goal: float, others: dict[str, Any], against: str = ""
    ) -> Any:
        return {
            "work": work,
            "mode": mode,
            "threads": 1,
            "flops": flops,
            "peak": 100.0,
            "goal": goal,
            "against": against,
            "contenders": {OURS: timed(2e-3), **others},
        }

    unable = {"status": "unsupported", "reason": "forward only"}
    wrong = {"status": "wrong", "reason": "y: differs by 1.0e-01"}
    return {
        "format": 1,
        "date": "2020-01-01T00:00:00+00:00",
        "machine": {"cpu": "A CPU", "cores": 2, "system": "Linux x86_64"},
        "isa": "avx2",
        "versions": {"Python": "3.11", OURS: "0.1.0"},
        "missing": {"JAX": "ModuleNotFoundError: No module named 'jax'"},
        "options": {},
        "failures": {},
        "works": [
            entry(
                "LSTM 1,2,3,4",
                FORWARD,
                100_000_000,
                1.5,
                {"PyTorch": timed(4e-3), "ONNX Runtime": timed(2.4e-3), "NumPy": timed(1.0)},
                against="PyTorch",
            ),
            entry(
                "LSTM 1,2,3,4",
                TRAINING,
                150_000_000,
                2.5,
                {"PyTorch": timed(4e-3), "ONNX Runtime": unable, "NumPy": timed(12.3456)},
            ),
            entry("GRU step 3,4", STEP, 1000, 15, {"PyTorch": wrong, "NumPy": timed(4.44e-6)}),
        ],
        "sweeps": [],
    }


TEXT = """\
A CPU, Linux x86_64, level avx2; Python 3.11, unrolled 0.1.0

1 thread; independent multiply-adds: 100 GFLOP/s in float32
T,B,I,H                   unrolled  spread  PyTorch  ONNX Runtime      JAX    NumPy  GFLOP/s  of peak  ratio  at peak                       goal
LSTM 1,2,3,4  forward      2.00 ms     30%  4.00 ms       2.40 ms  missing   1.00 s     50.0      50%   1.20     4.00  1.5 yes (2.00 to PyTorch)
LSTM 1,2,3,4  + backward   2.00 ms     30%  4.00 ms             –  missing   12.3 s     75.0      75%   2.00     2.67                     2.5 NO
GRU step 3,4  step         2.00 ms     30%    wrong             –  missing  4.44 µs      0.0       0%      –        –                       15.0
"""  # noqa: E501

NOTES = """\
JAX: missing (ModuleNotFoundError: No module named 'jax')
ONNX Runtime: unsupported: forward only (1 works)
PyTorch: wrong: y: differs by 1.0e-01 (GRU step 3,4 step)
"""


def test_the_table() -> None:
    assert table.text(made_by_hand()) == f"{TEXT}\n{table.LEGEND}\n{NOTES}"
    page = table.markdown(made_by_hand())
    assert "| LSTM 1,2,3,4 | forward | 2.00 ms | 30% | 4.00 ms | 2.40 ms | missing |" in page
    rows = table.rows(made_by_hand(), 1)
    assert [row.reached for row in rows] == [True, False, None]
    assert [row.best for row in rows] == ["ONNX Runtime", "PyTorch", None]


def test_the_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from unrolled._bench import plots

    made = made_by_hand()
    for sweep in sweeps():
        for value in sorted(sweep.shared):
            entry = copy.deepcopy(made["works"][0])
            added = {"sweep": sweep.name, "title": sweep.title, "value": value}
            made["sweeps"].append({**entry, **added})
    drawn = plots.draw(made, tmp_path)
    assert [path.name for path in drawn] == [
        "ratios-1.png", "costs.png", "gflops-by-units.png", "step-by-units.png",
    ]  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn)


def figures() -> Any:
    """The script, as a module."""
    path = ROOT / "tools" / "readme_figures.py"
    spec = importlib.util.spec_from_file_location("readme_figures", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_readme_says_what_the_record_says() -> None:
    script = figures()
    for name, (document, _) in script.PLACES.items():
        text = (ROOT / document).read_text(encoding="utf-8")
        made = json.loads((ROOT / name).read_text(encoding="utf-8"))
        assert script.replaced(text, made, name) == text, "run tools/readme_figures.py"
        other = {**made, "versions": {"Python": "0"}}
        assert script.replaced(text, other, name) != text
        with pytest.raises(ValueError, match="expected the lines"):
            script.replaced("no marks", made, name)


def test_the_committed_records_have_every_work_and_no_paths() -> None:
    found: list[str] = []
    for name in ("record.json", "cells.json", "parts.json"):
        text = (ROOT / "benches" / name).read_text(encoding="utf-8")
        made = json.loads(text)
        assert not made["missing"]
        assert "/home" not in text and "/tmp" not in text
        if name == "parts.json":
            works = {entry["work"] for entry in made["entries"]}
            assert works == {work.name for work in parts.chosen({**made["options"], "works": ""})}
            assert len(made["yardstick"]) == 3 * len(works)
        else:
            found += dict.fromkeys(entry["work"] for entry in made["works"])
    assert sorted(found) == sorted(work.name for work in WORKS)
