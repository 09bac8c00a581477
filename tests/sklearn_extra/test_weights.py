"""`sample_weight`: 0 is as if a sequence were not there, 2 as if it were there twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tolerances import TOLERANCES

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install '.[sklearn]'")

from sklearn.base import clone  # noqa: E402
from unrolled.sklearn import SequenceClassifier, SequenceRegressor  # noqa: E402

COUNT = 40
# Nothing may hang on these: their numbers are like no others.
OUT = np.array([3, 4, 11, 20, 39])
IN = np.setdiff1d(np.arange(COUNT), OUT)
OPTIONS: list[dict[str, Any]] = [
    {},
    {"batch_size": 7, "dropout": 0.3, "num_layers": 2},
    {"early_stopping": True, "validation_fraction": 0.3, "patience": 2, "batch_size": 7},
    {"standardize": False, "pooling": "mean"},
]


def data() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Sequences, numbers and classes."""
    rng = np.random.default_rng(0)
    x = [rng.normal(3, 2, size=(4 + n % 6, 2)) for n in range(COUNT)]
    numbers = np.array([a.mean() for a in x]) * 100
    classes = np.where(numbers > np.median(numbers), "more", "less")
    for n in OUT:
        x[n] = x[n] * 1e4 - 1e5
    numbers[OUT] = 1e9
    return x, numbers, classes.astype("<U9")


def estimators(**options: Any) -> list[tuple[Any, np.ndarray]]:
    _, numbers, classes = data()
    given: dict[str, Any] = {"hidden_size": 6, "epochs": 6, "random_state": 0, **options}
    return [(SequenceClassifier(**given), classes), (SequenceRegressor(**given), numbers)]


def fitted(model: Any, x: Any, y: Any, **given: Any) -> tuple[Any, bytes]:
    """The model, and all that it says of the sequences trained on."""
    x_all = data()[0]
    model = clone(model).fit(x, y, **given)
    said = getattr(model, "predict_proba", model.predict)([x_all[n] for n in IN])
    return model, np.ascontiguousarray(said).tobytes()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_0_is_left_out(options: dict[str, Any]) -> None:
    """To the last bit, whatever is drawn: order, batches, what is held out, dropout."""
    x, _, _ = data()
    kept = [x[n] for n in IN]
    weights = np.where(np.isin(np.arange(COUNT), OUT), 0.0, np.arange(COUNT) % 3 + 1)
    for model, y in estimators(**options):
        for w in (weights, weights > 0):
            with_0, said = fitted(model, x, y, sample_weight=w)
            without, expected = fitted(model, kept, y[IN], sample_weight=w[IN])
            assert said == expected
            assert with_0.history_ == without.history_
        # Weights that are all the same are no weights.
        assert said == fitted(model, kept, y[IN])[1]
        assert said == fitted(model, x, y, sample_weight=7.5 * (weights > 0))[1]
        assert said != fitted(model, x, y, sample_weight=weights)[1]


def test_0_is_left_out_of_the_classes() -> None:
    x, _, y = data()
    y[OUT] = "other"
    weights = np.where(y == "other", 0, 1)
    model, said = fitted(estimators()[0][0], x, y, sample_weight=weights)
    assert model.classes_.tolist() == ["less", "more"]
    # A class that weighs nothing is known of, but not learnt.
    unlike = SequenceClassifier(hidden_size=6, epochs=6, random_state=0, class_weight={"other": 0})
    model, _ = fitted(unlike, x, y)
    assert model.classes_.tolist() == ["less", "more", "other"]
    assert "other" not in model.predict(x)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_2_is_twice(early_stopping: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where order and batches play no part: losses, means and deviations, those of targets too."""
    x, numbers, classes = data()
    x, numbers, classes = [x[n] for n in IN], numbers[IN], classes[IN]
    times = np.arange(len(IN)) % 4
    again = np.repeat(np.arange(len(IN)), times)

    def split(self: Any, numbers: Any, y: Any, seed: int) -> Any:
        """The first ten are held out."""
        which = again[numbers] if len(numbers) == len(again) else numbers
        return numbers[which >= 10], numbers[which < 10]

    options = {"batch_size": 10**6, "epochs": 5, "early_stopping": early_stopping}
    for kind, y in ((SequenceClassifier, classes), (SequenceRegressor, numbers)):
        monkeypatch.setattr(kind, "_split", split)
        model = kind("gru", 6, random_state=0, **options)
        weighted = clone(model).fit(x, y, sample_weight=times)
        repeated = clone(model).fit([x[n] for n in again], y[again])
        for name, losses in weighted.history_.items():
            np.testing.assert_allclose(losses, repeated.history_[name], rtol=1e-4, err_msg=name)
        for standard in ("_standard", "_standard_y"):
            if hasattr(weighted, standard):
                a, b = getattr(weighted, standard), getattr(repeated, standard)
                np.testing.assert_allclose(a.mean, b.mean, rtol=TOLERANCES["reordered"])
                np.testing.assert_allclose(a.deviation, b.deviation, rtol=TOLERANCES["reordered"])
        np.testing.assert_allclose(
            getattr(weighted, "predict_proba", weighted.predict)(x),
            getattr(repeated, "predict_proba", repeated.predict)(x),
            rtol=1e-3,
        )


def test_balanced_classes_by_weight() -> None:
    x, _, y = data()
    x, y = [x[n] for n in IN], y[IN]
    times = np.where(y == "more", 3, 1)
    again = np.repeat(np.arange(len(IN)), times)
    model = SequenceClassifier(
        "gru", 6, epochs=5, batch_size=10**6, class_weight="balanced", random_state=0
    )
    weighted = clone(model).fit(x, y, sample_weight=times)
    repeated = clone(model).fit([x[n] for n in again], y[again])
    np.testing.assert_allclose(weighted.history_["loss"], repeated.history_["loss"], rtol=1e-4)


def test_weights_count_in_batches_of_one() -> None:
    """A batch's mean must not undo them."""
    x, _, _ = data()
    # The same sequence is of two classes: the answer is their shares by weight.
    x, y = [x[0]] * 40, np.arange(40) % 2
    model = SequenceClassifier("gru", 6, epochs=30, batch_size=1, lr=1e-3, random_state=0)
    says = [
        model.fit(x, y, sample_weight=np.where(y == 1, more, 1)).predict_proba(x[:1])[0, 1]
        for more in (1 / 9, 1, 9)
    ]
    np.testing.assert_allclose(says, [0.1, 0.5, 0.9], atol=0.15)
    by_class = model.set_params(class_weight={1: 9}).fit(x, y).predict_proba(x[:1])[0, 1]
    assert by_class == says[2]


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([np.nan] + [1] * 9, "sample_weight contains NaN"),
        ([np.inf] + [1] * 9, "sample_weight contains infinity"),
        ([-1] + [1] * 9, "Negative values in data passed to `sample_weight`"),
        ([0] * 10, "weight"),
        ([1] * 9, r"sample_weight.shape == \(9,\)"),
    ],
)
def test_errors(weights: Any, message: str) -> None:
    x, numbers, classes = data()
    for model, y in estimators():
        with pytest.raises(ValueError, match=message):
            model.fit(x[:10], y[:10], sample_weight=weights)
    with pytest.raises(ValueError, match=r"^class_weight: expected finite weights, .* got -1.0"):
        SequenceClassifier(class_weight={"less": -1}).fit(x, classes)
    with pytest.raises(ValueError, match=r"^class_weight: expected one above 0"):
        SequenceClassifier(class_weight={"less": 0, "more": 0}).fit(x, classes)
