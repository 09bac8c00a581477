"""What estimators are given: names of columns, masks, numbers beyond float32, other sequences."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install '.[sklearn]'")

from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from unrolled.sklearn import (  # noqa: E402
    Forecaster,
    SequenceClassifier,
    SequenceRegressor,
    unpad,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 6, 3))
Y = np.arange(24) % 2
T = np.arange(80)
SERIES, KNOWN = np.sin(T / 5), np.cos(T / 5)


def classifier(**more: Any) -> SequenceClassifier:
    return SequenceClassifier(**{"cell": "gru", "hidden_size": 4, "epochs": 2} | more)


def forecaster(**more: Any) -> Forecaster:
    given = {"hidden_size": 4, "window": 16, "epochs": 2, "random_state": 0}
    return Forecaster(**given | more)


# Names of columns.

ORDER = "Feature names must be in the same order as they were in fit"
MISSING = "Feature names seen at fit time, yet now missing:\n- b\n"
UNSEEN = "Feature names unseen at fit time:\n- z\n"
NO_NAMES = "X does not have valid feature names"


def frames(columns: str, several: bool) -> Any:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    found = [pd.DataFrame(x, columns=list("abc")) for x in X]
    found = [frame.assign(z=1.0)[list(columns)] for frame in found]
    # A frame alone has a row for each sequence, and a column for each step.
    return found if several else pd.concat([frame.iloc[:1] for frame in found])


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("kind", [SequenceClassifier, SequenceRegressor])
def test_names_of_columns(kind: Any, several: bool) -> None:
    model = kind("gru", 4, epochs=2, random_state=0).fit(frames("abc", several), Y)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    assert model.feature_names_in_.dtype == object
    methods = [model.predict, lambda x: model.score(x, Y)]
    methods += [model.predict_proba] if hasattr(model, "predict_proba") else []
    for method in methods:
        method(frames("abc", several))
        for columns, message in (("bac", ORDER), ("ac", MISSING), ("abcz", UNSEEN)):
            for form in (tuple, objects) if several else (lambda x: x,):
                with pytest.raises(ValueError, match=message):
                    method(form(frames(columns, several)))
        if several:
            with pytest.raises(
                ValueError, match=rf"^X\[7\]: The feature names should(.|\n)*{ORDER}"
            ):
                method([*frames("abc", True)[:7], *frames("cba", True)[:17]])
        with pytest.warns(UserWarning, match=NO_NAMES):
            method(X if several else X[:, 0])
    with pytest.warns(UserWarning, match=NO_NAMES):
        assert pickle.loads(pickle.dumps(model)).predict(X if several else X[:, 0]).shape == (24,)
    # Names are those of the last fit.
    model.fit(frames("cab", several), Y)
    assert model.feature_names_in_.tolist() == ["c", "a", "b"]
    model.fit(X, Y)
    assert not hasattr(model, "feature_names_in_")


def objects(values: list[Any]) -> np.ndarray:
    found = np.empty(len(values), object)
    for n, value in enumerate(values):
        found[n] = value
    return found


def test_names_differ_in_fit() -> None:
    with pytest.raises(ValueError, match=rf"^X\[3\]: (.|\n)*{ORDER}"):
        classifier().fit([*frames("abc", True)[:3], *frames("acb", True)[3:]], Y)
    model = classifier()
    with pytest.raises(TypeError, match="string names"):
        model.fit(frames("abc", False).rename(columns={"a": 1}), Y)


def test_names_of_a_forecasters_columns() -> None:
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    series = pd.DataFrame({"a": SERIES, "b": KNOWN})
    known = pd.DataFrame({"u": KNOWN, "v": SERIES})
    turned, known_turned = series[["b", "a"]], known[["v", "u"]]
    alone = forecaster().fit(series)
    assert alone.feature_names_in_.tolist() == ["a", "b"] and alone.n_features_in_ == 2
    for call in (
        lambda: alone.predict(2, X=turned),
        lambda: alone.predict(2, X=[series, turned]),
        lambda: alone.score(turned),
    ):
        with pytest.raises(ValueError, match=ORDER):
            call()
    model = forecaster().fit(series, exogenous=known)
    assert model.feature_names_in_.tolist() == ["a", "b"]
    model.predict(2, X=series, exogenous=known, future=known[:2])
    for call in (
        lambda: model.predict(2, X=series, exogenous=known_turned, future=known[:2]),
        lambda: model.predict(2, future=known_turned[:2]),
        lambda: model.score(series, exogenous=known_turned),
        lambda: model.score(known_turned, series),
    ):
        with pytest.raises(ValueError, match=ORDER):
            call()
    other = forecaster().fit(known, series)
    assert other.feature_names_in_.tolist() == ["u", "v"]
    assert np.array_equal(other.predict(2, future=known[:2]), model.predict(2, future=known[:2]))


# Masks.

MASKED = np.ma.array(X, mask=X > 1)
CURE = r"expected an array without a mask, got a masked array; give it values with \.filled\(\)"


@pytest.mark.parametrize(
    ("name", "x"),
    [
        ("X", MASKED),
        ("X", MASKED[:, 0]),
        (r"X\[0\]", list(MASKED)),
        (r"X\[1\]", [X[0], MASKED[1], *X[2:]]),
        (r"X\[2\]", objects([X[0], X[1], *MASKED[2:]])),
        (r"X\[0\]\[0\]", [list(MASKED[n]) for n in range(24)]),
    ],
)
def test_masks(name: str, x: Any) -> None:
    with pytest.raises(TypeError, match=f"^{name}: {CURE}"):
        classifier().fit(x, Y)
    with pytest.raises(TypeError, match=f"^{name}: {CURE}"):
        classifier().fit(X if np.ndim(x) == 3 else X[:, 0], Y).predict(x)


def test_nan_that_pads_names_lengths() -> None:
    padded = X.copy()
    padded[3, 4:] = np.nan
    with pytest.raises(
        ValueError, match=r"contains NaN(.|\n)*pass lengths=, or unpad\(X, lengths\)"
    ):
        classifier().fit(padded, Y)
    lengths = np.where(np.arange(24) == 3, 4, 6)
    classifier().fit(padded, Y, lengths=lengths).predict(unpad(padded, lengths))


def test_masks_elsewhere() -> None:
    hidden = np.ma.array(Y, mask=Y == 1)
    series = np.ma.array(SERIES, mask=SERIES > 0.9)
    known = forecaster().fit(SERIES, exogenous=KNOWN)
    calls: dict[str, list[Any]] = {
        "y": [
            lambda: classifier().fit(X, hidden),
            lambda: SequenceRegressor(epochs=1).fit(X, hidden),
            lambda: classifier().fit(X, Y).score(X, hidden),
            lambda: SequenceRegressor("gru", 4, epochs=1).fit(X, Y).score(X, hidden),
            lambda: forecaster().fit(KNOWN, series),
        ],
        "sample_weight": [
            lambda: classifier().fit(X, Y, sample_weight=hidden),
            lambda: classifier().fit(X, Y).score(X, Y, sample_weight=hidden),
        ],
        "lengths": [
            lambda: classifier().fit(X, Y, lengths=hidden),
            lambda: unpad(X, hidden),
        ],
        "X": [
            lambda: unpad(MASKED, [2] * 24),
            lambda: classifier().fit(MASKED, Y, lengths=[2] * 24),
            lambda: forecaster().fit(series),
            lambda: forecaster().fit(series, SERIES),
            lambda: known.predict(2, X=series, exogenous=KNOWN, future=KNOWN[:2]),
        ],
        r"X\[1\]": [lambda: forecaster().fit([SERIES, series])],
        "exogenous": [lambda: forecaster().fit(SERIES, exogenous=series)],
        "future": [lambda: known.predict(2, future=series[:2])],
    }
    for name, refused in calls.items():
        for call in refused:
            with pytest.raises(TypeError, match=f"^{name}: {CURE}"):
                call()


# Numbers beyond float32.


@pytest.mark.parametrize("value", [1e39, -1e39, 1e300])
@pytest.mark.parametrize("standardize", [False, True])
def test_beyond_float32(value: float, standardize: bool) -> None:
    x = X.copy()
    x[5, 2, 1] = value
    message = (
        r"^X\[5\]: expected numbers that fit into float32 .*got -?1e\+\d+ at step 2, channel 1"
    )
    for kind in (SequenceClassifier, SequenceRegressor):
        model = kind("gru", 4, epochs=2, random_state=0, standardize=standardize)
        fitted = clone(model).fit(X, Y)
        for form in (x, list(x), [a.tolist() for a in x]):
            with pytest.raises(ValueError, match=message):
                fitted.predict(form)
        if standardize:
            # Then it is one large number among small ones.
            assert np.isfinite(clone(model).fit(x, Y).predict(x)).all()
        else:
            with pytest.raises(ValueError, match=message):
                clone(model).fit(x, Y)
            # float32 has them; sums of them need not.
            huge = np.sign(X) * 3.4e38
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)
                try:
                    assert np.isfinite(fitted.predict(huge)).all()
                except ValueError as error:
                    assert str(error).startswith("X[")
    series = SERIES.copy()
    series[7] = value
    with pytest.raises(ValueError, match=r"^X\[0\]: expected numbers that fit into float32"):
        forecaster().fit(SERIES).predict(2, X=series)
    known = forecaster().fit(SERIES, exogenous=KNOWN)
    with pytest.raises(ValueError, match=r"^exogenous: expected numbers that fit into float32"):
        known.predict(9, future=series[:9])


def test_beyond_float64() -> None:
    for call in (
        lambda: classifier().fit([[10**400, 1], [1, 2]], [0, 1]),
        lambda: classifier().fit([[[10**400]], [[1]]], [0, 1]),
        lambda: SequenceRegressor(epochs=1).fit(X[:2], [10**400, 1]),
        lambda: forecaster().fit([1, 10**400]),
    ):
        with pytest.raises(ValueError, match="int too large to convert to float"):
            call()


@pytest.mark.parametrize("unit", [1e-310, 1e-200, 1e200, 1e307])
def test_units(unit: float) -> None:
    """Squares of neither vanish nor overflow in a deviation."""
    expected = SequenceRegressor("gru", 4, epochs=3, random_state=0).fit(X, X[:, 0, 0])
    with warnings.catch_warnings():
        # scikit-learn's own sum, by which it sees that numbers are finite.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = clone(expected).fit(X * unit, X[:, 0, 0] * unit)
        said = found.predict(X * unit) / unit
    np.testing.assert_allclose(said, expected.predict(X), rtol=1e-2)
    np.testing.assert_allclose(found.history_["loss"], expected.history_["loss"], rtol=1e-2)


# One answer is not another's business.


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_answers_do_not_depend_on_the_batch(data: Any) -> None:
    """To the last bit: in any company, order and place."""
    seed = data.draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    options = {
        "cell": data.draw(st.sampled_from(["lstm", "gru", "rnn"])),
        "hidden_size": data.draw(st.sampled_from([1, 2, 5, 16, 33])),
        "pooling": data.draw(st.sampled_from(["last", "mean"])),
        "bidirectional": data.draw(st.booleans()),
        "epochs": 1,
        "random_state": seed,
    }
    count, outputs = data.draw(st.integers(2, 300)), data.draw(st.integers(1, 12))
    channels = data.draw(st.integers(1, 4))
    x = [rng.normal(size=(rng.integers(0, 40), channels)) for _ in range(count)]
    classes = np.arange(count) % min(outputs, count)
    chosen = rng.permutation(count)[: data.draw(st.integers(1, count))]
    few = [x[n] for n in chosen]
    for model, y, methods in (
        (SequenceClassifier(**options), classes, ("predict", "predict_proba")),
        (SequenceRegressor(**options), rng.normal(size=(count, outputs)), ("predict",)),
    ):
        model.fit(x[:8] if count > 8 else x, y[:8] if count > 8 else y)
        for method in methods:
            said = getattr(model, method)
            every, some = said(x), said(few)
            assert np.array_equal(every[chosen], some)
            assert np.array_equal(said(few[:1]), some[:1])


# What training ends with.


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("lr", [10.0, 1e3, 1e6])
def test_divergence_warns(lr: float, early_stopping: bool) -> None:
    options = {"epochs": 5, "lr": lr, "early_stopping": early_stopping, "random_state": 0}
    message = r"^lr: training with .* has diverged, to a loss of .* try a smaller lr"
    for model, data in (
        (SequenceClassifier("gru", 8, batch_size=8, **options), (X, Y)),
        (SequenceRegressor("gru", 8, batch_size=8, **options), (X, Y)),
        (Forecaster("gru", 8, window=16, batch_size=2, **options), (SERIES,)),
    ):
        with pytest.warns(ConvergenceWarning, match=message) as found:
            model.fit(*data)
        assert found[0].filename == __file__
        # Without, nothing is said: warnings are errors here.
        model.set_params(lr=1e-2).fit(*data)


def test_a_fit_that_fails_changes_nothing() -> None:
    for model, good, bad in (
        (classifier(random_state=0), (X, Y), (X[..., :1], Y[:-1])),
        (classifier(random_state=0), (X, Y), (X * np.nan, Y)),
        (SequenceRegressor("gru", 4, epochs=2, random_state=0), (X, Y), (X[..., :2], Y * np.nan)),
        (forecaster(), (SERIES,), (np.stack([SERIES] * 2, axis=1)[:1],)),
    ):
        model.fit(*good)
        before = dict(vars(model))
        with pytest.raises(ValueError, match="expected|inconsistent|NaN"):
            model.fit(*bad)
        assert vars(model) == before
        fresh = clone(model)
        with pytest.raises(ValueError, match="expected|inconsistent|NaN"):
            fresh.fit(*bad)
        assert not [name for name in vars(fresh) if name.endswith("_") or name.startswith("_")]


def test_parameters_set_after_fit_do_not_matter() -> None:
    for model in (forecaster(cell="lstm"), forecaster(cell="gru")):
        model.fit(SERIES)
        expected = model.predict(5), model.score(SERIES)
        model.set_params(cell="rnn", window=2, hidden_size=9, num_layers=3)
        assert np.array_equal(model.predict(5), expected[0])
        assert model.score(SERIES) == expected[1]


# A forecaster's y.


def test_y_is_the_series() -> None:
    """fit(price, sales) forecasts sales."""
    expected = forecaster().fit(SERIES, exogenous=KNOWN)
    found = forecaster().fit(KNOWN, SERIES)
    future = KNOWN[:5]
    assert np.array_equal(found.predict(5, future=future), expected.predict(5, future=future))
    assert found.score(KNOWN, SERIES) == expected.score(SERIES, exogenous=KNOWN)
    assert not np.array_equal(found.predict(5, future=future), forecaster().fit(KNOWN).predict(5))
    several = forecaster().fit([KNOWN, KNOWN[:50]], [SERIES, SERIES[:50]])
    assert len(several.predict(5, future=[future, future])) == 2
    wide = np.stack([KNOWN] * 3, axis=1)
    assert forecaster().fit(wide, SERIES).n_features_in_ == 3


@pytest.mark.parametrize(
    ("message", "call"),
    [
        (r"^X: expected lengths \[80\] as y, got \[79\]", lambda f: f.fit(KNOWN[:-1], SERIES)),
        (r"^X: expected a list if y is one", lambda f: f.fit(KNOWN, [SERIES])),
        (r"^exogenous: expected None with y", lambda f: f.fit(KNOWN, SERIES, exogenous=KNOWN)),
        (r"^y\[0\]: expected finite numbers", lambda f: f.fit(KNOWN, SERIES / 0)),
        (r"^y\[0\]: expected two steps", lambda f: f.fit(KNOWN[:1], SERIES[:1])),
        (r"^future: expected shape \(2, 1\)", lambda f: f.fit(KNOWN, SERIES).predict(2)),
        (r"^X: expected 0 columns", lambda f: f.fit(SERIES).score(KNOWN, SERIES)),
        (r"^exogenous: expected 1 col", lambda f: f.fit(KNOWN, SERIES).score(SERIES)),
        (r"^X\[0\]: expected shape", lambda f: f.fit(3.0)),
    ],
)
def test_errors_about_y(message: str, call: Any) -> None:
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message):
        call(forecaster())


def test_a_list_in_which_it_is_itself() -> None:
    itself: list[Any] = []
    itself.append(itself)
    deep: list[Any] = [1.0]
    for _ in range(5000):
        deep = [deep]
    for wrong in (itself, deep):
        with pytest.raises(ValueError, match="^X: expected lists in lists at most 64 deep"):
            classifier().fit(wrong, Y)
        with pytest.raises(ValueError, match="^y: expected lists in lists at most 64 deep"):
            classifier().fit(X, wrong)
