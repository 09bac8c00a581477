"""scikit-learn's own checks; those that a sequence cannot pass are named with the reason."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install '.[sklearn]'")

from sklearn.exceptions import SkipTestWarning  # noqa: E402
from sklearn.utils.estimator_checks import parametrize_with_checks  # noqa: E402
from unrolled.sklearn import Forecaster, SequenceClassifier, SequenceRegressor  # noqa: E402

# An array (N, T) is N sequences of one channel to us, and any T will do.
STEPS = "the columns of a 2-D array are time steps, of which predict may see more or fewer than fit"
WEIGHTS = "minibatches are drawn: a weight of 2 is not the same draw as a row that is there twice"
BY_HORIZON = "predict takes the number of steps to forecast, not X"
ONE_SERIES = "an array is one series: its rows are steps, and one of a single column may be 1-D"

SEQUENCES = {
    "check_n_features_in": STEPS,
    "check_n_features_in_after_fitting": STEPS,
    "check_sample_weight_equivalence_on_dense_data": WEIGHTS,
}
EXPECTED: dict[type, dict[str, str]] = {
    # Its last assertion alone: an error for X.T, which has more steps.
    SequenceClassifier: SEQUENCES | {"check_classifiers_train": STEPS},
    SequenceRegressor: SEQUENCES,
    Forecaster: {
        "check_n_features_in_after_fitting": BY_HORIZON,
        "check_estimators_dtypes": BY_HORIZON,
        "check_dtype_object": BY_HORIZON,
        "check_estimators_nan_inf": BY_HORIZON,
        "check_estimators_pickle": BY_HORIZON,
        "check_f_contiguous_array_estimator": BY_HORIZON,
        "check_methods_sample_order_invariance": BY_HORIZON,
        "check_methods_subset_invariance": BY_HORIZON,
        "check_dict_unchanged": BY_HORIZON,
        "check_fit_idempotent": BY_HORIZON,
        "check_fit2d_predict1d": BY_HORIZON,
        "check_fit2d_1sample": ONE_SERIES,
        "check_fit1d": ONE_SERIES,
    },
}
ESTIMATORS = [
    SequenceClassifier("gru", 8, epochs=25, random_state=0),
    SequenceRegressor("gru", 16, epochs=60, random_state=0),
    Forecaster(hidden_size=4, window=8, epochs=2, random_state=0),
]


def expected(estimator: Any) -> dict[str, str]:
    return EXPECTED[type(estimator)]


# Those of other array libraries and of pandas skip themselves where these are missing.
@pytest.mark.filterwarnings(f"ignore::{SkipTestWarning.__module__}.{SkipTestWarning.__name__}")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected, xfail_strict=True)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)
