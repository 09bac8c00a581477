"""The demo, in its shortest form."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from unrolled import _check, _demo
from unrolled._demo import data, sunspots

RECORDS = Path(__file__).resolve().parent.parent / "examples" / "data"


def test_it_runs_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_check, "main", lambda argv: 0)  # has its own test
    monkeypatch.setattr(_demo.speakers, "torch_seconds", lambda *_: None)
    assert _demo.main([str(RECORDS), "--quick", "--output", str(tmp_path)]) == 0
    for name in ("learning.png", "forecast.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    accuracy = re.search(r"seed 0: test accuracy ([0-9.]+)%", printed)
    assert accuracy is not None
    assert float(accuracy[1]) > 90
    assert "months ahead" in printed


def test_a_failed_check_fails_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_check, "main", lambda argv: 1)
    monkeypatch.setattr(_demo.speakers, "torch_seconds", lambda *_: None)
    arguments = [str(RECORDS), "--quick", "--epochs", "1", "--output", str(tmp_path)]
    assert _demo.main(arguments) == 1


def test_missing_records_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _demo.main([str(tmp_path)]) == 2
    message = capsys.readouterr().err
    assert str(tmp_path) in message
    assert data.SUNSPOTS in message


def test_the_records_are_read_whole() -> None:
    train, test = data.speakers(RECORDS)
    assert (len(train), len(test)) == (270, 370)
    assert np.bincount(train.speakers).tolist() == [30] * 9
    assert np.bincount(test.speakers).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    lengths = np.concatenate([train.lengths, test.lengths])
    assert (lengths.min(), lengths.max()) == (7, 29)

    record = data.sunspots(RECORDS)
    assert record.first_year == 1749
    assert len(record.values) == 260 * 12
    january_1749, december_2008 = record.values[[0, -1]]
    assert (january_1749, december_2008) == (np.float32(58.0), np.float32(0.8))


def test_no_forecast_knows_later_months() -> None:
    """Each is the same if the record ends when it is made."""
    values = data.sunspots(RECORDS).values
    forecaster = sunspots.Forecaster(values[:1200], steps=2, seed=0)
    whole = forecaster.forecast(values)
    now = 1500
    for column, ahead in enumerate(sunspots.HORIZONS):
        changed = values.copy()
        changed[now + 1 :] = 0
        made = forecaster.forecast(changed)
        known = slice(ahead, now + 1 + ahead)
        assert np.array_equal(made[known, column], whole[known, column])
