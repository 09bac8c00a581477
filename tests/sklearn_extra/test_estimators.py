"""`SequenceClassifier` and `SequenceRegressor`: input, options, scikit-learn's tools."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from tolerances import TOLERANCES

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install '.[sklearn]'")

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_score  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import FunctionTransformer  # noqa: E402
from unrolled._demo.data import speakers  # noqa: E402
from unrolled.sklearn import SequenceClassifier, SequenceRegressor, unpad  # noqa: E402

DATA = Path(__file__).parents[2] / "examples" / "data"


def waves(n: int = 60, channels: int = 2) -> tuple[list[np.ndarray], np.ndarray]:
    """Slow and fast waves of 8 to 20 steps."""
    rng = np.random.default_rng(0)
    kinds = np.arange(n) % 2
    x = []
    for kind in kinds:
        t = np.arange(rng.integers(8, 21)) + rng.uniform(0, 9)
        wave = 5 + 3 * np.sin(t * (0.3 + kind))
        x.append(np.stack([wave] * channels, axis=1) + rng.normal(0, 0.1, (len(t), channels)))
    return x, np.array(["slow", "fast"])[kinds]


def small(**more: Any) -> SequenceClassifier:
    return SequenceClassifier(
        **{"cell": "gru", "hidden_size": 8, "epochs": 15, "random_state": 0} | more
    )


def test_every_form_of_input() -> None:
    x, y = waves()
    expected = small().fit(x, y).predict_proba(x)
    lengths = [len(a) for a in x]
    padded = np.full((len(x), max(lengths), 2), np.nan)
    objects = np.empty(len(x), object)
    for n, a in enumerate(x):
        padded[n, : len(a)] = objects[n] = a
    model = small().fit(padded, y, lengths=lengths)
    assert np.array_equal(model.predict_proba(padded, lengths=lengths), expected)
    assert model.score(padded, y, lengths=lengths) > 0.9
    assert np.array_equal(small().fit(objects, y).predict_proba(tuple(x)), expected)
    assert np.array_equal(small().fit(unpad(padded, lengths), y).predict_proba(x), expected)
    lists = [a.tolist() for a in x]
    assert np.array_equal(small().fit(lists, y).predict_proba(lists), expected)
    # One channel, as (N, T), (N, T, 1) and a list of (T,).
    flat = np.stack([a[:8, 0] for a in x])
    models = [
        small().fit(form, y) for form in (flat, flat[..., None], list(flat), flat.astype("f"))
    ]
    found = [m.predict_proba(flat) for m in models[:3]]
    assert all(np.array_equal(found[0], f) for f in found)
    assert models[3].n_features_in_ == 1
    before = [a.copy() for a in x]
    small().fit(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(x, before, strict=True))


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("pooling", ["last", "mean"])
def test_learns(cell: str, pooling: str) -> None:
    x, y = waves(120)
    options = {"num_layers": 2, "dropout": 0.1, "bidirectional": True, "epochs": 25}
    model = small(cell=cell, pooling=pooling, **options).fit(x[:80], y[:80])
    assert model.score(x[80:], y[80:]) > 0.9
    assert model.classes_.tolist() == ["fast", "slow"]
    proba = model.predict_proba(x)
    assert np.allclose(proba.sum(axis=1), 1, rtol=TOLERANCES["reordered"]) and (proba >= 0).all()
    assert np.array_equal(model.classes_[proba.argmax(axis=1)], model.predict(x))
    assert model.history_["loss"][-1] < model.history_["loss"][0]
    assert len(model.history_["loss"]) == model.n_iter_ == 25


def test_probabilities_are_softmax() -> None:
    x, y = waves()
    model = small().fit(x, y)
    logits = model._outputs(x, None).astype(np.float64)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(model.predict_proba(x), expected, rtol=0, atol=TOLERANCES["reordered.small"])


def test_random_state() -> None:
    x, y = waves()
    proba = []
    for threads, state in ((1, 0), (2, 0), (5, 0), (1, 1)):
        ur.set_num_threads(threads)
        options = {"random_state": state, "early_stopping": True, "num_layers": 2, "dropout": 0.3}
        proba.append(small(**options).fit(x, y).predict_proba(x))
    assert np.array_equal(proba[0], proba[1]) and np.array_equal(proba[0], proba[2])
    assert not np.array_equal(proba[0], proba[3])
    # A generator goes on from where it is, as everywhere in scikit-learn.
    generator = np.random.RandomState(0)
    first = small(random_state=generator).fit(x, y).predict_proba(x)
    second = small(random_state=generator).fit(x, y).predict_proba(x)
    assert not np.array_equal(first, second)


def test_pickle_and_clone() -> None:
    x, y = waves()
    model = small(early_stopping=True).fit(x, y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(x), model.predict_proba(x))
    other = clone(model).set_params(hidden_size=4, lr=1e-3)
    assert other.get_params()["hidden_size"] == 4 and not hasattr(other, "classes_")
    assert clone(model).fit(x, y).predict_proba(x).tobytes() == model.predict_proba(x).tobytes()


def test_pipeline_and_searches() -> None:
    x, y = waves()

    def halve(sequences: list[np.ndarray]) -> list[np.ndarray]:
        return [a[::2] for a in sequences]

    pipeline = make_pipeline(FunctionTransformer(halve), small())
    assert cross_val_score(pipeline, x, y, cv=3).mean() > 0.8
    grid = {"sequenceclassifier__hidden_size": [1, 8], "sequenceclassifier__cell": ["gru", "rnn"]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(x, y)
    assert search.best_score_ > 0.8 and search.best_estimator_.predict(x).shape == (60,)
    numbers = np.array([a.mean() for a in x])
    regressor = SequenceRegressor("gru", 8, pooling="mean", epochs=60, random_state=0)
    assert cross_val_score(regressor, x, numbers, cv=3).mean() > 0.5


def test_early_stopping() -> None:
    x, y = waves()
    y = y.copy()
    # A share of wrong labels: what is learnt of them by heart does not carry over.
    y[::5] = "slow"
    model = small(early_stopping=True, validation_fraction=0.25, patience=4, epochs=200, lr=3e-2)
    model.fit(x, y)
    curves = model.history_
    best = int(np.argmin(curves["validation_loss"]))
    assert model.best_epoch_ == best and model.n_iter_ == best + 4 + 1 < 200
    assert len(curves["loss"]) == len(curves["validation_score"]) == model.n_iter_
    # The parameters are those of the best epoch: training for just so long gives the same.
    short = small(
        early_stopping=True, validation_fraction=0.25, patience=99, epochs=best + 1, lr=3e-2
    )
    assert np.array_equal(short.fit(x, y).predict_proba(x), model.predict_proba(x))
    assert "validation_loss" not in small().fit(x, y).history_


def test_what_is_held_out_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the mean and deviation either."""
    x, y = waves()
    held = np.arange(0, 60, 7)
    kept = np.setdiff1d(np.arange(60), held)
    monkeypatch.setattr(SequenceClassifier, "_split", lambda *_: (kept, held))
    model = small(early_stopping=True, epochs=3).fit(x, y)
    x = [a * 1e3 if n in held else a for n, a in enumerate(x)]
    other = small(early_stopping=True, epochs=3).fit(x, y)
    frames = np.concatenate([x[n] for n in kept])
    assert np.array_equal(other._standard.mean, frames.mean(axis=0))
    assert other.history_["loss"] == model.history_["loss"]
    assert other.history_["validation_loss"] != model.history_["validation_loss"]


def test_standardise() -> None:
    """Units do not matter, nor do channels that never vary or numbers too large for float32."""
    x, y = waves()
    plain = small().fit(x, y).predict(x)
    for change in (
        lambda a: a * 1e60,
        lambda a: a * 1e-30 - 4e-29,
        lambda a: a * [1, 0] + [0, 1e9],
    ):
        moved = [change(a) for a in x]
        assert (small().fit(moved, y).predict(moved) == plain).mean() > 0.9
    raw = small(standardize=False).fit(x, y)
    assert raw._standard is None and raw.score(x, y) > 0.5


def test_weights() -> None:
    """A weight of k is a sequence that is there k times, where order and batches play no part."""
    x, y = waves(12)
    times = np.array([1, 3] * 6)
    options = {"batch_size": 10**6, "standardize": False, "epochs": 5}
    weighted = small(**options).fit(x, y, sample_weight=times)
    repeated = small(**options).fit(
        [a for a, n in zip(x, times, strict=True) for _ in range(n)], np.repeat(y, times)
    )
    assert np.allclose(weighted.predict_proba(x), repeated.predict_proba(x), atol=1e-5)
    assert np.allclose(weighted.history_["loss"], repeated.history_["loss"], atol=1e-5)
    assert not np.allclose(
        small(**options).fit(x, y).predict_proba(x), weighted.predict_proba(x), atol=1e-3
    )
    by_class = small(**options, class_weight={"slow": 1, "fast": 3}).fit(x, y)
    assert np.array_equal(by_class.predict_proba(x), weighted.predict_proba(x))
    rare = [n for n in range(60) if n % 2 or n < 8]
    x, y = waves()
    model = small(class_weight="balanced", epochs=40).fit([x[n] for n in rare], y[rare])
    assert model.score(x, y) > 0.9


def test_regressor() -> None:
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(rng.integers(3, 9), 2)) for _ in range(150)]
    y = 1e4 * np.array([a.mean(axis=0) for a in x]) + 1e6
    options = {"cell": "gru", "hidden_size": 16, "epochs": 60, "random_state": 0, "pooling": "mean"}
    model = SequenceRegressor(**options).fit(x[:100], y[:100])
    assert model.predict(x).shape == (150, 2) and model.score(x[100:], y[100:]) > 0.9
    one = SequenceRegressor(**options, early_stopping=True).fit(x[:100], y[:100, 0])
    assert one.predict(x).shape == (150,) and one.score(x[100:], y[100:, 0]) > 0.8
    assert one.history_["validation_score"][one.best_epoch_] > 0.5


def test_empty_and_single_sequences() -> None:
    x, y = waves()
    x[3] = np.empty((0, 2))
    model = small().fit(x, y)
    assert model.predict(x[:4]).shape == (4,) and model.predict([x[3]]).shape == (1,)
    alone = small(epochs=2).fit(x[:1], y[:1])
    assert alone.predict_proba(x[:2]).tolist() == [[1.0], [1.0]]


REFUSED: list[tuple[str, dict[str, Any], Any]] = [
    (r"^cell: expected one of", {"cell": "tcn"}, None),
    (r"^hidden_size: expected", {"hidden_size": 0}, None),
    (r"^epochs: expected", {"epochs": 0}, None),
    (r"^batch_size: expected", {"batch_size": 0}, None),
    (r"^patience: expected", {"patience": 0}, None),
    (r"^lr: expected more than 0", {"lr": 0.0}, None),
    (r"^clip: expected more than 0", {"clip": -1.0}, None),
    (r"^pooling: expected one of", {"pooling": "max"}, None),
    (r"^validation_fraction: expected", {"validation_fraction": 1.0}, None),
    (r"^dropout: expected", {"dropout": 1.0}, None),
    (r"^X\[2\]: expected finite numbers, got nan at step 4, channel 1", {}, "nan"),
    (r"^X\[5\]: expected 2 channels as X\[0\], got 3", {}, "channels"),
    (r"^X\[1\]: expected numbers", {}, "text"),
    (r"^X\[1\]: expected shape", {}, "deep"),
    (r"^X: expected .*0 sample", {}, "none"),
    (r"^lengths: expected None for a list", {}, "lengths"),
]


@pytest.mark.parametrize(("message", "options", "what"), REFUSED, ids=[r[0] for r in REFUSED])
def test_errors(message: str, options: dict[str, Any], what: str | None) -> None:
    x, y = waves(10)
    given: dict[str, Any] = {}
    if what == "nan":
        x[2][4, 1] = np.nan
    elif what == "channels":
        x[5] = np.zeros((4, 3))
    elif what == "text":
        x[1] = ["a", "b"]
    elif what == "deep":
        x[1] = np.zeros((2, 2, 2))
    elif what == "none":
        x, y = [], []
    elif what == "lengths":
        given["lengths"] = [1] * 10
    with pytest.raises(ValueError, match=message):
        small(**options).fit(x, y, **given)


def test_more_errors() -> None:
    x, y = waves(10)
    model = small(epochs=1).fit(x, y)
    with pytest.raises(ValueError, match=r"^X\[0\]: expected 2 channels as in fit, got 1"):
        model.predict([np.zeros(4)])
    with pytest.raises(ValueError, match=r"^lengths: expected 0 to T = 4, got 5 for sequence 1"):
        model.predict(np.zeros((2, 4, 2)), lengths=[4, 5])
    with pytest.raises(ValueError, match=r"^lengths: expected shape \(N,\)"):
        unpad(np.zeros((2, 4, 2)), [4])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        small().fit(x, y[:-1])
    with pytest.raises(ValueError, match=r"^lr: expected one with which the loss stays finite"):
        SequenceRegressor("rnn", 8, epochs=5, lr=1e38, random_state=0).fit(x, np.arange(10.0))


def test_speakers() -> None:
    """The demo's record: nine speakers, no worse than the demo."""
    train, test = speakers(DATA)
    x, x_test = (unpad(part.x.swapaxes(0, 1), part.lengths) for part in (train, test))
    model = SequenceClassifier("lstm", 64, bidirectional=True, random_state=0).fit(
        x, train.speakers
    )
    assert model.score(x_test, test.speakers) >= 0.96
