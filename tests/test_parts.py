"""`unrolled bench --parts`: whether parts are the whole's, and what is written of them."""

from __future__ import annotations

import copy
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from unrolled import _native
from unrolled._bench import command, parts
from unrolled._bench.contenders import OURS, Runner
from unrolled._bench.contenders.unrolled_ import Unrolled
from unrolled._bench.measure import Effort
from unrolled._bench.parts import ORDER, picture, session, text, yardstick
from unrolled._bench.works import FORWARD, TRAINING, Work

BATCH = Work("LSTM", 100, 64, 64, 64)
ROW = Work("LSTM", 100, 1, 32, 32)
OPTIONS = {"quick": True, "works": "LSTM", "contenders": [], "repeats": 1, "parts": True}


def measured(work: Work, mode: str) -> dict[str, Any]:
    return session.entry(work, mode, ur.isa(), Unrolled(1), Effort(seconds=0.5))


def test_parts_are_the_whole() -> None:
    net, x = ur.LSTM(64, 64, seed=0), np.ones((100, 64, 64), np.float32)

    def share() -> float:
        start = time.perf_counter()
        total = sum(seconds for _, seconds in _native.measure_parts(lambda: net.record(x)))
        return total / (time.perf_counter() - start)

    shares = [share() for _ in range(5)]
    assert max(shares) <= 1
    # Whatever else runs here may come between the clocks, but not each time.
    assert max(shares) > 0.98


@pytest.mark.parametrize("mode", [FORWARD, TRAINING])
def test_parts_are_told_apart(mode: str) -> None:
    entry = measured(BATCH, mode)
    assert list(entry["parts"]) != list(ORDER) and set(entry["parts"]) == set(ORDER)
    total = sum(entry["parts"].values())
    for product in entry["products"]:
        # By far the most of it, and no faster than the machine.
        found = parts.share(entry, product)
        assert found is not None and 0.1 < found < 1.1, product
    of_products = sum(entry["parts"][product] for product in entry["products"])
    assert of_products > 0.4 * total
    assert entry["parts"]["activations"] > 0 and entry["parts"]["whole steps"] == 0
    assert entry["parts"]["rest"] < 0.3 * total
    back = [entry["parts"][name] for name in ("d_gates", "d_h", "d_x", "dW")]
    assert all(seconds > 0 for seconds in back) == (mode == TRAINING)
    assert any(seconds > 0 for seconds in back) == (mode == TRAINING)


def test_steps_of_a_single_row_are_one_part() -> None:
    entry = measured(ROW, FORWARD)
    assert entry["parts"]["whole steps"] > 0.2 * sum(entry["parts"].values())
    assert parts.share(entry, "W_hh h") is None
    assert parts.share(entry, "W_ih x") is not None


def test_changed_weights_are_packed() -> None:
    small, large = (session.packing(work, ur.isa()) for work in (ROW, BATCH))
    assert 0 < small["seconds"] < large["seconds"]


PLAIN = parts.chosen({**OPTIONS, "quick": False, "works": ""})


@pytest.mark.parametrize("work", PLAIN, ids=lambda work: work.name)
def test_products_are_all_that_is_counted(work: Work) -> None:
    for mode in work.modes:
        assert sum(parts.products(work, mode).values()) == work.flops(mode)
    for product, (m, k, n) in yardstick.sizes(work).items():
        flops = parts.products(work, TRAINING)[product]
        assert 2 * m * k * n * (work.steps if product == "W_hh h" else 1) == flops


def test_works_are_plain() -> None:
    assert {work.cell for work in PLAIN} == {"LSTM", "GRU", "RNN"}
    assert "float64" in {work.dtype for work in PLAIN}
    for work in PLAIN:
        assert work.layers == 1 and not work.bidirectional and not work.projection
        assert not work.stream and not work.ragged and not work.resets


def test_levels_are_what_there_is_beyond_plain_code(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, expected in [
        (("portable", "avx2", "avx512"), ("avx2", "avx512")),
        (("portable", "neon"), ("neon",)),
        (("portable",), ("portable",)),
    ]:
        monkeypatch.setattr(parts, "available_isas", lambda there=there: there)
        assert parts.levels() == expected


def test_the_level_is_as_before() -> None:
    before = ur.isa()
    with pytest.raises(KeyboardInterrupt), session.at_level("portable"):
        assert ur.isa() == "portable"
        raise KeyboardInterrupt
    assert ur.isa() == before


def seconds(measurement: list[tuple[str, float]], name: str) -> float:
    return dict(measurement)[name]


def test_what_fails_while_it_is_watched_fails_as_it_would() -> None:
    class OwnError(Exception):
        pass

    def work() -> None:
        raise OwnError("as it should")

    with pytest.raises(OwnError, match="as it should"):
        _native.measure_parts(work)
    with pytest.raises(TypeError):
        _native.measure_parts(1)
    # The watch is over: what follows is measured from its own start.
    time.sleep(0.05)
    assert sum(second for _, second in _native.measure_parts(lambda: None)) < 0.05


def test_watches_within_watches() -> None:
    ur.set_num_threads(1)
    net, x = ur.LSTM(8, 16, seed=0), np.ones((40, 8, 8), np.float32)
    inner = []

    def work() -> None:
        net(x)
        inner.append(_native.measure_parts(lambda: time.sleep(0.02)))
        with pytest.raises(ZeroDivisionError):
            _native.measure_parts(lambda: 1 / 0)
        net(x)

    outer = _native.measure_parts(work)
    assert seconds(inner[0], "rest") >= 0.02 and seconds(inner[0], "W_hh h") == 0
    assert seconds(outer, "W_hh h") > 0
    assert sum(second for _, second in outer) >= 0.02


def test_results_are_the_same_while_watched() -> None:
    net, x = ur.GRU(8, 16, seed=0), np.ones((40, 3, 8), np.float32)
    found = []
    _native.measure_parts(lambda: found.append(net(x)[0]))
    np.testing.assert_array_equal(found[0], net(x)[0])


@pytest.fixture(scope="module")
def record() -> dict[str, Any]:
    """A short run of three works, without the yardstick, which is put in by hand."""
    grown = []
    threads = ur.get_num_threads()
    part = session.session(OPTIONS, keep=lambda part: grown.append(len(part["entries"])))
    ur.set_num_threads(threads)
    assert grown == list(range(1, len(part["entries"]) + 1))
    made = parts.assemble(OPTIONS, part, None)
    made["missing"] = {"ONNX Runtime": "ModuleNotFoundError: No module named 'onnx'"}
    made["yardstick"] = [
        {
            "work": "LSTM 100,32,16,32",
            "product": "W_hh h",
            "sizes": [32, 32, 128],
            "flops": 262144,
            "peak": 100.0,
            "contenders": {"PyTorch": {"status": "timed", "seconds": 5.24288e-6}},
        },
        {
            "work": "LSTM 100,32,16,32",
            "product": "dW",
            "sizes": [128, 3200, 48],
            "flops": 39321600,
            "peak": 100.0,
            "contenders": {"PyTorch": {"status": "short"}},
        },
    ]
    return made


def test_the_record_is_as_documented(record: dict[str, Any]) -> None:
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    documented = {
        line.split()[0]
        for line in (parts.__doc__ or "").splitlines()
        if line.startswith("    ") and not line.startswith("     ")
    }
    assert set(record) == documented
    for entry in record["entries"]:
        assert set(entry) == {"work", "mode", "isa", "peak", "whole", "parts", "products"}
        assert set(entry["whole"]) == {"median", "q1", "q3", "repeats"}
    works = [work.name for work in parts.chosen(OPTIONS)]
    points = [(e["work"], e["mode"], e["isa"]) for e in record["entries"]]
    expected = [(w, m, isa) for w in works for m in (FORWARD, TRAINING) for isa in parts.levels()]
    assert points == expected
    assert [(p["work"], p["isa"]) for p in record["packing"]] == [
        (work, isa) for work in works for isa in parts.levels()
    ]


def test_the_text(record: dict[str, Any]) -> None:
    lines = text.text(record).splitlines()
    assert max(map(len, lines)) <= text.WIDTH
    for work in parts.chosen(OPTIONS):
        assert any(line.startswith(f"{work.name} ") for line in lines)
    bars = [line for line in lines if text.LIMIT in line and line.startswith("    ")]
    assert len(bars) == len(record["entries"])
    assert {len(bar.strip()) for bar in bars} == {text.BAR + 1}
    page = "\n".join(lines)
    assert "50.0 (50%)" in page and "–" in page
    assert "ONNX Runtime: missing (ModuleNotFoundError: No module named 'onnx')" in page
    failed = text.text({**record, "failure": "the process ended early, with code -9"})
    assert "the process ended early, with code -9" in failed


def test_a_bar_is_as_long_as_its_parts() -> None:
    shares = dict.fromkeys(ORDER, 0.0) | {"W_ih x": 0.5, "activations": 0.3, "rest": 0.2}
    bar = text.bar(shares, 0.5)
    left, right = bar.split(text.LIMIT)
    assert set(left) == {"x"} and len(left) == round(0.5 * text.BAR)
    assert set(right) == {"a", "."} and right.count(".") == pytest.approx(0.2 * text.BAR, abs=1)
    # Faster than the peak, as one may be by chance, the mark stays at the end.
    assert text.bar(shares, 1.02).endswith(text.LIMIT)


def test_the_pictures(record: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert set(picture.COLOURS) == set(ORDER)
    drawn = picture.draw(record, tmp_path)
    assert [path.name for path in drawn] == ["parts.png", "parts.svg"]
    assert drawn[0].read_bytes().startswith(b"\x89PNG")
    lines = drawn[1].read_text(encoding="utf-8")
    # A bar's part of each colour.
    for part in ("W_hh h", "activations", "whole steps", "dW"):
        assert picture.COLOURS[part] in lines
    only = copy.deepcopy(record)
    only["entries"] = [e for e in only["entries"] if e["work"] == "LSTM 100,1,1,16"]
    assert len(picture.draw(only, tmp_path)) == 2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("which", yardstick.ALL, ids=lambda which: which.name)
def test_yardsticks_are_right(which: type[yardstick.Yardstick], dtype: str) -> None:
    for module in ("torch",) if which is yardstick.TorchProduct else ("onnx", "onnxruntime"):
        pytest.importorskip(module)
    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=shape).astype(dtype) for shape in ((7, 5), (5, 9)))
    found = which().product(a, b).results()["product"]
    np.testing.assert_allclose(found, a @ b, rtol=1e-5 if dtype == "float32" else 1e-13)


def test_a_product_shorter_than_its_call_is_not_a_rate() -> None:
    timed = {"median": 3e-6}
    assert yardstick.alone({"median": 5e-6}, timed) == {"status": "short"}
    found = yardstick.alone({"median": 9e-6}, timed)
    assert found == {"status": "timed", "seconds": pytest.approx(6e-6)}


def test_yardsticks_are_timed_beside_the_peak() -> None:
    class Plain(yardstick.Yardstick):
        name = "NumPy"

        def product(self, a: Any, b: Any) -> Runner:
            return Runner(lambda: a @ b, lambda: {"product": a @ b})

    entry = yardstick.entry(BATCH, "W_hh h", [Plain()], Effort(repeats=3))
    assert set(entry) == {"work", "product", "sizes", "flops", "peak", "contenders"}
    assert entry["sizes"] == [64, 64, 256] and entry["flops"] == 2 * 64 * 64 * 256
    (found,) = entry["contenders"].values()
    assert found["status"] == "timed"
    assert 0 < entry["flops"] / found["seconds"] / 1e9 < 16 * entry["peak"]


def test_yardsticks_that_are_missing_are_said() -> None:
    class Absent(yardstick.TorchProduct):
        def __init__(self) -> None:
            raise ModuleNotFoundError("No module named 'torch'")

    there, missing = yardstick.load(["PyTorch", OURS], [Absent])
    assert not there and missing == {"PyTorch": "ModuleNotFoundError: No module named 'torch'"}
    assert yardstick.load([OURS], [Absent]) == ([], {})


def test_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--parts", "--quick", "--works", "100,1,1,16", "--contenders", "numpy"]
    arguments += ["--repeats", "1"]
    assert command.main([*arguments, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    made = json.loads((tmp_path / "out" / "parts.json").read_text(encoding="utf-8"))
    assert {entry["work"] for entry in made["entries"]} == {"LSTM 100,1,1,16"}
    assert (tmp_path / "out" / "parts.txt").read_text(encoding="utf-8") in printed

    # Without what draws, all else is written; a process that ends early is said.
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    for module in ("plots", "parts.picture"):
        monkeypatch.delitem(sys.modules, f"unrolled._bench.{module}", raising=False)
    monkeypatch.setattr(command, "_child", lambda *_: (made, "the process ended early"))
    assert command.main([*arguments, "-o", str(tmp_path / "bare")]) == 1
    printed = capsys.readouterr().out
    assert "plots: skipped" in printed and "the process ended early" in printed
    assert (tmp_path / "bare" / "parts.json").exists()
    monkeypatch.setattr(command, "_child", lambda *_: (None, "the process ended early"))
    assert command.main([*arguments, "-o", str(tmp_path / "none")]) == 1
    assert "the process ended early" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--threads", "2"], "--parts: expected --threads 1"),
        (["--works", "step"], "--works: 'step' matches no work"),
        (["--works", "("], "--works: expected a regular expression"),
    ],
)
def test_what_cannot_be_asked_for(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        command.main(["--parts", *arguments])
    assert raised.value.code == 2
    assert said in capsys.readouterr().err
