"""Recurrent networks as scikit-learn estimators. ``pip install '.[sklearn]'``.

Samples come first, as everywhere in scikit-learn, and time second: a list of arrays (T_i, I), one
for each sequence and of any length, or an array (N, T, I) with `lengths`, or (N, T) for one number
a step.

>>> import numpy as np
>>> from unrolled.sklearn import SequenceClassifier
>>> rng = np.random.default_rng(0)
>>> x = [rng.normal(0, 1 + n % 2, size=(10 + n, 2)) for n in range(40)]
>>> y = ["calm", "wild"] * 20
>>> model = SequenceClassifier(hidden_size=8, epochs=20, random_state=0).fit(x, y)
>>> model.score(x, y) > 0.9
True
"""

from .._extras import missing

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise missing(error, "unrolled.sklearn", "scikit-learn", "sklearn") from error

from ._forecaster import Forecaster
from ._input import unpad
from ._sequences import SequenceClassifier, SequenceRegressor

__all__ = ["Forecaster", "SequenceClassifier", "SequenceRegressor", "unpad"]
