"""One answer for each sequence: a class, or numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from scipy.special import softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_consistent_length, column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .. import _arguments as arguments
from .. import losses
from .._arguments import Array
from .._training import Batch, Loss
from ..cells import Cell
from ._base import Recurrent, all_or_nothing
from ._input import (
    Standard,
    as_float64,
    check_names,
    for_float32,
    normalised,
    padded,
    sample_weights,
    sequences,
    unmasked,
)

# Rows that are read at once where nothing is learnt.
ROWS = 256
# In scikit-learn's words, by which its own tools know the case.
NO_TARGET = "requires y to be passed, but the target y is None"


class Sequences(Recurrent):
    """What the classifier and the regressor share."""

    bidirectional: bool
    pooling: str
    standardize: bool

    def __init__(
        self,
        cell: str | Cell = "lstm",
        hidden_size: int = 64,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        pooling: str = "last",
        standardize: bool = True,
        epochs: int = 60,
        batch_size: int = 32,
        lr: float = 1e-2,
        clip: float = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.cell = cell
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bidirectional = bidirectional
        self.dropout = dropout
        self.pooling = pooling
        self.standardize = standardize
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.clip = clip
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        # Equal results need an equal random_state.
        tags.non_deterministic = self.random_state is None
        return tags

    def _target(self, rows: Array, weights: Array | None) -> Array:
        """Targets as the loss takes them, set up from those trained on."""
        raise NotImplementedError

    def _constant_loss(self) -> float:
        """About the loss of the best constant answer."""
        raise NotImplementedError

    def _loss(self, prediction: Array, target: Array) -> tuple[float, Array]:
        raise NotImplementedError

    def _score(self, prediction: Array, target: Array, weights: Array | None) -> float:
        raise NotImplementedError

    def _fit(self, X: list[Array], y: Array, weights: Array | None, outputs: int) -> Self:
        """Train on X, or on part of it if there is early stopping.

        What has no weight is left out before anything is drawn, so that nothing hangs on it.
        """
        rng = self._begin()
        arguments.choice("pooling", self.pooling, ("last", "mean"))
        arguments.flag("standardize", self.standardize)
        numbers = np.arange(len(X)) if weights is None else np.flatnonzero(weights)
        if weights is not None and np.ptp(weights[numbers]) == 0:
            weights = None
        held = np.arange(0)
        if self.early_stopping:
            numbers, held = self._split(numbers, y[numbers], int(rng.integers(2**31)))
        self.n_features_in_ = X[0].shape[1]
        steps = None
        if weights is not None:
            weights = weights / weights[numbers].mean()
            steps = np.repeat(weights[numbers], [len(X[n]) for n in numbers])
        rows = np.concatenate([X[n] for n in numbers])
        self._standard = Standard(rows, steps) if self.standardize else None
        ready = {n: for_float32(f"X[{n}]", X[n], self._standard) for n in (*numbers, *held)}
        reader = self._reader(
            self.n_features_in_, outputs, self.pooling, rng, bidirectional=self.bidirectional
        )
        self.reader_ = reader
        target = self._target(y[numbers], None if weights is None else weights[numbers])
        place = np.empty(len(X), int)
        place[numbers] = np.arange(len(numbers))

        def batches() -> Iterator[Batch]:
            order = rng.permutation(numbers)
            for first in range(0, len(order), self.batch_size):
                chosen = order[first : first + self.batch_size]
                x, lengths = padded([ready[n] for n in chosen])
                # Of all weights the mean is 1, of a batch's not: that would undo those of a few.
                share = None if weights is None else weights[chosen] / len(chosen)
                yield Batch(x, lengths, self._weighted(target[place[chosen]], share), len(chosen))

        def validate() -> tuple[float, float]:
            prediction = self._read([ready[n] for n in held])
            weight = None if weights is None else weights[held]
            share = None if weight is None else weight / weight.sum()
            loss, _ = self._weighted(self._target_of(y[held]), share)(prediction)
            return loss, self._score(prediction, y[held], weight)

        self._train(
            reader, batches, validate if self.early_stopping else None, self._constant_loss()
        )
        return self

    def _target_of(self, rows: Array) -> Array:
        """Targets as the loss takes them, by what `_target` has set up."""
        raise NotImplementedError

    def _split(self, numbers: Array, y: Array, seed: int) -> tuple[Array, Array]:
        raise NotImplementedError

    def _weighted(self, target: Array, share: Array | None) -> Loss:
        """The mean loss; or the sum of the rows' losses times their shares."""
        if share is None:
            return lambda prediction: self._loss(prediction, target)

        def loss(prediction: Array) -> tuple[float, Array]:
            rows = [
                self._loss(prediction[n : n + 1], target[n : n + 1]) for n in range(len(target))
            ]
            value = sum(w * row for w, (row, _) in zip(share, rows, strict=True))
            d = np.concatenate([g for _, g in rows])
            return float(value), d * share[:, None].astype(d.dtype)

        return loss

    def _read(self, X: list[Array]) -> Array:
        """The outputs (N, O) for standardised sequences."""
        parts = [padded(X[first : first + ROWS]) for first in range(0, len(X), ROWS)]
        return np.concatenate([self.reader_(x, lengths) for x, lengths in parts])

    def _outputs(self, X: Any, lengths: Any) -> Array:
        check_is_fitted(self)
        check_names(self, X, reset=False)
        found = sequences(X, lengths, channels=self.n_features_in_, estimator=self)
        outputs = self._read(
            [for_float32(f"X[{n}]", x, self._standard) for n, x in enumerate(found)]
        )
        wrong = ~np.isfinite(outputs).all(axis=1)
        if wrong.any():
            raise ValueError(
                f"X[{np.argmax(wrong)}]: expected numbers that float32 can compute with, got some "
                "so large that the network's answer is not finite"
            )
        return outputs


class SequenceClassifier(ClassifierMixin, Sequences):  # type: ignore[misc]
    """Sequences of any length to classes: a recurrent network and a dense layer, trained with Adam.

    Parameters
    ----------
    cell : {"lstm", "gru", "rnn"} or unrolled.cells.Cell
        A name, or what `unrolled.cell` makes of a function, such as those of `unrolled.cells`.
    hidden_size, num_layers : int
    bidirectional : bool
        Read to and fro.
    dropout : float
        Between layers.
    pooling : {"last", "mean"}
        What is judged: the last hidden states, or the outputs' mean over the sequence.
    standardize : bool
        Each channel to mean 0 and deviation 1, by the steps trained on.
    epochs, batch_size : int
    lr : float
        Of Adam.
    clip : float
        The gradient's norm, at most.
    early_stopping : bool
        Hold out `validation_fraction` of the sequences, end once their loss has not been lower for
        `patience` epochs, and keep the parameters of the best.
    class_weight : dict, "balanced" or None
        As in scikit-learn's classifiers.
    random_state : int, RandomState or None
        Equal ints give equal results, to the last bit, on any number of threads.
    verbose : bool
        A progress bar, if stderr is a terminal.

    Attributes
    ----------
    classes_ : array (C,)
    history_ : dict of lists
        "loss" of every epoch; with early stopping "validation_loss" and "validation_score" too.
    n_iter_ : int
        Epochs run.
    best_epoch_ : int
        With early stopping, which epoch's parameters these are, from 0.
    n_features_in_ : int
        Channels I.
    feature_names_in_ : array of str
        Names of the columns of X, if it is a data frame (its columns are steps) or a list of data
        frames (channels). Those that follow must have the same in the same order.
    reader_
        `reader_.net` and `reader_.dense` are the trained network and layer.

    Example
    -------
    >>> import numpy as np
    >>> from sklearn.model_selection import cross_val_score
    >>> from unrolled.sklearn import SequenceClassifier
    >>> t = np.arange(20)
    >>> x = [np.sin(t * (0.2 + 0.4 * (n % 2)) + n) for n in range(60)]
    >>> y = [n % 2 for n in range(60)]
    >>> model = SequenceClassifier("gru", 16, epochs=40, random_state=0)
    >>> bool(cross_val_score(model, x, y, cv=3).mean() > 0.9)
    True
    """

    def __init__(
        self,
        cell: str | Cell = "lstm",
        hidden_size: int = 64,
        num_layers: int = 1,
        *,
        bidirectional: bool = False,
        dropout: float = 0.0,
        pooling: str = "last",
        standardize: bool = True,
        epochs: int = 60,
        batch_size: int = 32,
        lr: float = 1e-2,
        clip: float = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        class_weight: Any = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            cell,
            hidden_size,
            num_layers,
            bidirectional=bidirectional,
            dropout=dropout,
            pooling=pooling,
            standardize=standardize,
            epochs=epochs,
            batch_size=batch_size,
            lr=lr,
            clip=clip,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            patience=patience,
            random_state=random_state,
            verbose=verbose,
        )
        self.class_weight = class_weight

    @all_or_nothing
    def fit(self, X: Any, y: Any, *, lengths: Any = None, sample_weight: Any = None) -> Self:
        """Train on sequences and their classes.

        Parameters
        ----------
        X : list of arrays (T_i, I) or (T_i,), or array (N, T, I) or (N, T)
            Samples first, time second. Finite numbers.
        y : array (N,) of labels
        lengths : integers (N,), optional
            For an array X: sequence n ends after ``lengths[n]`` steps.
        sample_weight : array (N,), optional
            Of the losses, and of the means and deviations too. 0 is as if it were not there.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If shapes do not fit or a number is not finite (the message names it), or the loss
            became infinite.

        Warns
        -----
        ConvergenceWarning
            If the loss ended far above that of a constant answer.
        """
        check_names(self, X, reset=True)
        found = sequences(X, lengths, estimator=self)
        y = _classes(y)
        check_consistent_length(found, y)
        check_classification_targets(y)
        weights = sample_weights(sample_weight, found)
        there = y if weights is None else y[weights > 0]
        self.classes_ = np.unique(there)
        if self.class_weight is not None:
            by_class = compute_class_weight(
                self.class_weight,
                classes=self.classes_,
                y=there,
                sample_weight=None if weights is None else weights[weights > 0],
            )
            by_sample = np.zeros(len(y))
            # A class that has no weight in the samples is none.
            known = np.isin(y, self.classes_)
            by_sample[known] = by_class[np.searchsorted(self.classes_, y[known])]
            by_sample = by_sample if weights is None else weights * by_sample
            weights = normalised("class_weight", by_sample)
        return self._fit(found, y, weights, len(self.classes_))

    def predict_proba(self, X: Any, *, lengths: Any = None) -> Array:
        """Probabilities (N, C) of the classes in the order of `classes_`; X as in `fit`."""
        logits = self._outputs(X, lengths).astype(np.float64)
        proba: Array = softmax(logits, axis=1)
        return proba

    def predict(self, X: Any, *, lengths: Any = None) -> Array:
        """The most probable classes (N,)."""
        best = self._outputs(X, lengths).argmax(axis=1)
        found: Array = self.classes_[best]
        return found

    def score(self, X: Any, y: Any, *, lengths: Any = None, sample_weight: Any = None) -> float:
        """The share of right answers."""
        unmasked("y", y)
        unmasked("sample_weight", sample_weight)
        predicted = self.predict(X, lengths=lengths)
        return float(accuracy_score(y, predicted, sample_weight=sample_weight))

    def _target(self, rows: Array, weights: Array | None) -> Array:
        return self._target_of(rows)

    def _constant_loss(self) -> float:
        return float(np.log(len(self.classes_)))

    def _target_of(self, rows: Array) -> Array:
        return np.searchsorted(self.classes_, rows)

    def _loss(self, prediction: Array, target: Array) -> tuple[float, Array]:
        return losses.cross_entropy(prediction, target)

    def _score(self, prediction: Array, target: Array, weights: Array | None) -> float:
        said = self.classes_[prediction.argmax(axis=1)]
        return float(accuracy_score(target, said, sample_weight=weights))

    def _split(self, numbers: Array, y: Array, seed: int) -> tuple[Array, Array]:
        options = {"test_size": self.validation_fraction, "random_state": seed}
        # In the classes' shares, as far as every class has enough for both parts.
        held = max(1, round(self.validation_fraction * len(numbers)))
        enough = np.unique(y, return_counts=True)[1].min() >= 2
        stratify = y if enough and len(self.classes_) <= min(held, len(numbers) - held) else None
        return tuple(train_test_split(numbers, stratify=stratify, **options))


def _classes(y: Any) -> Array:
    if y is None:
        raise ValueError(f"y: expected classes, got None: {NO_TARGET}")
    unmasked("y", y)
    found: Array = column_or_1d(y, warn=True)
    if found.dtype.kind in "fc" and not np.isfinite(found).all():
        raise ValueError("y: expected classes, got Input y contains NaN or infinity")
    return found


class SequenceRegressor(RegressorMixin, Sequences):  # type: ignore[misc]
    """Sequences of any length to numbers: a recurrent network and a dense layer, trained with Adam.

    Minimises the mean squared error of targets that are standardised for it.

    Parameters
    ----------
    as for `SequenceClassifier`, without `class_weight`

    Attributes
    ----------
    as for `SequenceClassifier`, without `classes_`

    Example
    -------
    >>> import numpy as np
    >>> from unrolled.sklearn import SequenceRegressor
    >>> rng = np.random.default_rng(0)
    >>> x = [rng.normal(size=5 + n % 7) for n in range(80)]
    >>> y = [sequence.mean() for sequence in x]
    >>> model = SequenceRegressor("gru", 16, epochs=40, random_state=0).fit(x, y)
    >>> model.score(x, y) > 0.9
    True
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    @all_or_nothing
    def fit(self, X: Any, y: Any, *, lengths: Any = None, sample_weight: Any = None) -> Self:
        """Train on sequences and their targets.

        Parameters
        ----------
        X, lengths, sample_weight
            As for `SequenceClassifier.fit`.
        y : array (N,) or (N, O)

        Returns
        -------
        self
        """
        check_names(self, X, reset=True)
        found = sequences(X, lengths, estimator=self)
        if y is None:
            raise ValueError(f"y: expected numbers, got None: {NO_TARGET}")
        y = as_float64("y", y, ensure_2d=False, estimator=self)
        if y.ndim > 2:
            raise ValueError(f"y: expected shape (N,) or (N, O), got {y.shape}")
        check_consistent_length(found, y)
        weights = sample_weights(sample_weight, found)
        self._single = y.ndim == 1
        y = y.reshape(len(y), -1)
        return self._fit(found, y, weights, y.shape[1])

    def predict(self, X: Any, *, lengths: Any = None) -> Array:
        """Numbers (N,) or (N, O), as y in `fit`."""
        outputs = self._outputs(X, lengths).astype(np.float64)
        found = self._standard_y.back(outputs)
        return found[:, 0] if self._single else found

    def score(self, X: Any, y: Any, *, lengths: Any = None, sample_weight: Any = None) -> float:
        """The coefficient of determination R²."""
        unmasked("y", y)
        unmasked("sample_weight", sample_weight)
        return float(r2_score(y, self.predict(X, lengths=lengths), sample_weight=sample_weight))

    def _target(self, rows: Array, weights: Array | None) -> Array:
        self._standard_y = Standard(rows, weights)
        return self._target_of(rows)

    def _constant_loss(self) -> float:
        return 1.0

    def _target_of(self, rows: Array) -> Array:
        return for_float32("y", rows, self._standard_y, ("row", "column")).astype(np.float32)

    def _loss(self, prediction: Array, target: Array) -> tuple[float, Array]:
        return losses.mse(prediction, target)

    def _score(self, prediction: Array, target: Array, weights: Array | None) -> float:
        said = self._standard_y.back(prediction.astype(np.float64))
        return float(r2_score(target, said, sample_weight=weights)) if len(target) > 1 else np.nan

    def _split(self, numbers: Array, y: Array, seed: int) -> tuple[Array, Array]:
        options = {"test_size": self.validation_fraction, "random_state": seed}
        return tuple(train_test_split(numbers, **options))
