"""Estimators whose cell is a formula."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install '.[sklearn]'")
from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from unrolled.sklearn import Forecaster, SequenceClassifier, SequenceRegressor  # noqa: E402


def sequences() -> tuple[list[Any], list[str]]:
    """Rising and falling, of several lengths."""
    rng = np.random.default_rng(0)
    signs = rng.choice([-1, 1], size=40)
    lengths = rng.integers(5, 12, size=40)
    rows = [
        sign * np.linspace(-1, 1, n)[:, None] + 0.1 * rng.normal(size=(n, 1))
        for sign, n in zip(signs, lengths, strict=True)
    ]
    return rows, ["down" if sign < 0 else "up" for sign in signs]


@pytest.mark.parametrize("cell", [ur.cells.peephole_lstm, ur.cells.min_gru, ur.cells.slstm])
def test_classifies(cell: Any) -> None:
    x, y = sequences()
    options = {"hidden_size": 8, "epochs": 30, "random_state": 0}
    model = SequenceClassifier(cell, bidirectional=True, **options).fit(x, y)
    assert isinstance(model.reader_.net, ur.Recurrent)
    assert model.score(x, y) > 0.9
    same = clone(model)
    assert same.cell == cell and not hasattr(same, "reader_")
    assert np.array_equal(same.fit(x, y).predict_proba(x), model.predict_proba(x))
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(x), model.predict_proba(x))
    assert again.get_params()["cell"] == cell
    assert cell.name in repr(model)


def test_regresses_and_is_searched_for() -> None:
    x, _ = sequences()
    y = [float(row.sum()) for row in x]
    model = SequenceRegressor(hidden_size=6, epochs=15, random_state=0)
    cells = [ur.cells.leaky_rnn, ur.cells.ugrnn, "gru"]
    search = GridSearchCV(model, {"cell": cells}, cv=2).fit(x, y)
    assert search.best_params_["cell"] in cells
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.parametrize("cell", ["lstm", ur.cells.lem, ur.cells.ugrnn], ids=str)
def test_forecasts_from_every_step(cell: Any) -> None:
    series = np.sin(np.arange(120) / 5)
    model = Forecaster(cell, hidden_size=8, window=40, epochs=10, random_state=0).fit(series)
    assert np.isfinite(model.predict(5)).all()
    # Forecasts from every step at once, of which the last is that from the end.
    every = model._every(series[:, None], None, 3)
    assert np.allclose(every[-1], model.predict(3)[-1], atol=1e-6)


def test_kept_and_saved(tmp_path: Path) -> None:
    """The trained network goes into a file with cell and constants; a forecaster is pickled."""

    @ur.cell
    def slow(x: Any, h: Any, *, rate: float = 0.5) -> Any:
        return (1 - rate) * h + rate * ur.cells.tanh(x.a + h.a)

    x, y = sequences()
    model = SequenceClassifier("gru", 4, epochs=2, random_state=0)
    model.set_params(cell=slow.with_constants(rate=0.25)).fit(x, y)
    ur.save(model.reader_.net, tmp_path / "net.safetensors")
    net = ur.load(tmp_path / "net.safetensors")
    assert isinstance(net, ur.Recurrent)
    assert net.cell == model.cell and net.cell.constants == {"rate": 0.25}
    row = x[0].astype(np.float32)[:, None]
    assert np.array_equal(net(row)[0], model.reader_.net(row)[0])

    series = np.sin(np.arange(60) / 5)
    forecaster = Forecaster(slow, 4, window=20, epochs=2, random_state=0).fit(series)
    again = pickle.loads(pickle.dumps(forecaster))
    assert np.array_equal(again.predict(3), forecaster.predict(3))


@pytest.mark.parametrize("estimator", [SequenceClassifier, SequenceRegressor, Forecaster])
def test_mistakes(estimator: Any) -> None:
    x, y = sequences()
    arguments = (x[0],) if estimator is Forecaster else (x, [0, 1] * 20)
    choices = "^cell: expected one of 'lstm', 'gru', 'rnn', or what ur.cell makes"
    for wrong in (3, None, ur.LSTM, ["lstm"], ur.cells.lem.formula()):
        with pytest.raises(TypeError, match=choices):
            estimator(cell=wrong).fit(*arguments)
    for name in ("lem", ur.cells.lem.text):
        with pytest.raises(ValueError, match=choices) as caught:
            estimator(cell=name).fit(*arguments)
        assert len(str(caught.value)) < 400
