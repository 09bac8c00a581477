"""`Forecaster`: what it says many steps ahead, and how it is judged."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install '.[sklearn]'")

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from unrolled._demo.data import sunspots  # noqa: E402
from unrolled.sklearn import Forecaster  # noqa: E402

DATA = Path(__file__).parents[2] / "examples" / "data"
T = np.arange(400)


def small(**more: Any) -> Forecaster:
    options = {"hidden_size": 16, "window": 60, "epochs": 80, "lr": 1e-2, "random_state": 0}
    return Forecaster(**options | more)


@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_waves(cell: str) -> None:
    """Beats of two waves, half a beat ahead, on steps never seen."""
    series = 100 + 5 * np.sin(T / 3) + 3 * np.sin(T / 7)
    model = small(cell=cell, num_layers=2, epochs=150).fit(series[:300])
    said = model.predict(20)
    truth = series[300:320]
    assert said.shape == (20,)
    assert np.mean((said - truth) ** 2) < 0.1 * np.mean((series[299] - truth) ** 2)
    assert model.score(series[300:]) > 0.9 and model.score(series[300:], h=5) > 0.8


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("layers", [1, 2])
def test_score_is_made_of_forecasts(cell: str, layers: int) -> None:
    """All origins at once give, for each, what predicting from there gives, to the last bit."""
    rng = np.random.default_rng(0)
    series, known = rng.normal(size=(50, 2)).cumsum(axis=0), rng.normal(size=(50, 3))
    model = small(cell=cell, num_layers=layers, epochs=3, window=20).fit(series, exogenous=known)
    for h in (1, 3):
        every = model._every(series, known, h)
        error = naive = 0.0
        for end in range(1, 50 - h + 1):
            said = model.predict(
                h, X=series[:end], exogenous=known[:end], future=known[end : end + h]
            )
            assert np.array_equal(every[end - 1], said[-1])
            if end - 1 >= 5:
                scale = series.std(axis=0)
                error += (((said[-1] - series[end + h - 1]) / scale) ** 2).sum()
                naive += (((series[end - 1] - series[end + h - 1]) / scale) ** 2).sum()
        assert np.isclose(model.score(series, exogenous=known, h=h), 1 - error / naive, rtol=1e-9)


def test_exogenous() -> None:
    """A series that follows a signal known ahead is foretold by it, and not without."""
    signal = np.random.default_rng(0).normal(size=400)
    series = np.cumsum(signal)
    blind = small().fit(series[:300])
    seeing = small().fit(series[:300], exogenous=signal[:300])
    assert seeing.score(series[300:], exogenous=signal[300:]) > 0.9
    assert blind.score(series[300:]) < 0.2
    said = seeing.predict(5, future=signal[300:305])
    assert np.abs(said - series[300:305]).max() < 0.3 * np.abs(np.diff(series)).max()


def test_several_series() -> None:
    series = [np.stack([np.sin(t / 4), np.cos(t / 4)], axis=1) for t in (T[:90], T[50:200], T[:40])]
    model = small().fit(series)
    said = model.predict(6)
    assert [s.shape for s in said] == [(6, 2)] * 3
    alone = model.predict(6, X=series[1])
    assert np.array_equal(alone, said[1])
    assert model.score(series) > 0.9
    search = GridSearchCV(small(epochs=10), {"hidden_size": [2, 16]}, cv=3).fit(series)
    assert search.best_params_ == {"hidden_size": 16}
    flat = small(epochs=2).fit([np.sin(T[:50]), np.cos(T[:30])]).predict(4)
    assert [s.shape for s in flat] == [(4,), (4,)]


def test_early_stopping_and_pickle() -> None:
    rng = np.random.default_rng(0)
    series = np.sin(T / 5) + rng.normal(0, 0.3, 400)
    options = {"early_stopping": True, "validation_fraction": 0.3, "patience": 5, "epochs": 300}
    model = small(**options, hidden_size=32).fit(series)
    curves = model.history_["validation_loss"]
    assert model.best_epoch_ == int(np.argmin(curves)) and model.n_iter_ == model.best_epoch_ + 6
    # What is held out is the end, and has no part in mean and deviation.
    assert model._standard.mean == series[:280].mean(axis=0)
    moved = small(**options, hidden_size=32).fit(np.append(series[:280], 9 * series[280:]))
    assert moved.history_["loss"][:5] == model.history_["loss"][:5]
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict(30), model.predict(30))
    assert np.array_equal(clone(model).fit(series).predict(30), model.predict(30))
    assert model.history_["validation_score"][model.best_epoch_] > 0


def test_errors() -> None:
    series = np.sin(T / 5)
    model = small(epochs=1).fit(series)
    for message, call in (
        (r"^h: expected an integer >= 1", lambda: model.predict(0)),
        (r"^window: expected", lambda: small(window=1).fit(series)),
        (r"^warm_up: expected less than window = 60", lambda: small(warm_up=60).fit(series)),
        (r"^noise: expected 0 or more", lambda: small(noise=-1.0).fit(series)),
        (r"^X\[0\]: expected two steps or more, got 1", lambda: small().fit([[1.0]])),
        (
            r"^X\[0\]: expected finite numbers, got nan at step 3",
            lambda: small().fit([1, 2, 3, np.nan]),
        ),
        (r"^X: expected one series", lambda: small().fit(np.zeros((2, 3, 4)))),
        (r"^X\[0\]: expected 1 channels as in fit, got 2", lambda: model.score(np.zeros((9, 2)))),
        (r"^X\[0\]: expected more than h = 9 steps, got 9", lambda: model.score(series[:9], h=9)),
        (r"^exogenous: expected 0 columns", lambda: model.score(series, exogenous=series)),
        (r"^exogenous: expected None without X", lambda: model.predict(2, exogenous=series)),
        (
            r"^exogenous: expected lengths \[400\]",
            lambda: small().fit(series, exogenous=series[1:]),
        ),
        (r"^future: expected None", lambda: model.predict(2, future=[1, 2])),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            call()
    seeing = small(epochs=1).fit(series, exogenous=series)
    with pytest.raises(ValueError, match=r"^future: expected shape \(3, 1\)"):
        seeing.predict(3)
    with pytest.raises(ValueError, match=r"^future: expected 1 of 3 steps, got \[2\]"):
        seeing.predict(3, future=[1, 2])


def test_sunspots() -> None:
    """Half a year ahead, in years never trained on: better than the last value."""
    record = sunspots(DATA)
    roots = np.sqrt(record.values)
    first = record.month(1950)
    options = {"window": 240, "warm_up": 120, "noise": 0.3, "epochs": 150, "random_state": 0}
    model = Forecaster("gru", 32, **options).fit(roots[:first])
    assert model.score(roots[first:], h=1) > 0.1
    assert model.score(roots[first:], h=6) > 0.1
