"""Series into the future: trained to say the next value, then fed with what it said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from .. import _arguments as arguments
from .. import losses
from .._arguments import Array
from .._training import Batch
from ..cells import Cell
from ._base import Recurrent, all_or_nothing
from ._input import Standard, check_names, for_float32, padded, sequences, unmasked


class Forecaster(Recurrent):
    """Forecasts series any number of steps ahead: a recurrent network fed with its own forecasts.

    Trained to say how each value will differ from the one before, on windows of the series.
    Values are standardised for it.

    Parameters
    ----------
    cell : {"gru", "lstm", "rnn"} or unrolled.cells.Cell
    hidden_size, num_layers : int
    dropout : float
        Between layers.
    window : int
        Steps of the pieces of the series that it is trained on.
    warm_up : int or None
        Steps at the beginning of a piece that only bring the state up to date; none where the piece
        begins with its series. None is a quarter of `window`.
    noise : float
        Deviation of the noise on what is read in training, in the series' own deviations. What is
        forecast many steps ahead is read in place of true values; noise prepares for that.
    epochs, batch_size : int
        An epoch has as many windows as would cover the series once, each taken anywhere.
    lr, clip : float
        Adam's learning rate; the gradient's norm, at most.
    early_stopping : bool
        Hold out the last `validation_fraction` of every series, end once the error of forecasts one
        step ahead there has not been lower for `patience` epochs, and keep the best parameters.
    random_state : int, RandomState or None
        Equal ints give equal results, to the last bit, on any number of threads.
    verbose : bool
        A progress bar, if stderr is a terminal.

    Attributes
    ----------
    history_ : dict of lists
        "loss" of every epoch; with early stopping "validation_loss" and "validation_score" too.
    n_iter_, best_epoch_
        As for `SequenceClassifier`.
    n_features_in_ : int
        Columns of X.
    n_exogenous_ : int
        Columns of the exogenous values.
    feature_names_in_ : array of str
        Names of the columns of X, if it is a data frame or a list of data frames. Those that follow
        must have the same in the same order.
    reader_
        `reader_.net` and `reader_.dense` are the trained network and layer.

    Example
    -------
    >>> import numpy as np
    >>> from unrolled.sklearn import Forecaster
    >>> series = np.sin(np.arange(300) / 5)
    >>> model = Forecaster(hidden_size=16, window=60, epochs=60, random_state=0).fit(series)
    >>> model.predict(20).shape
    (20,)
    >>> model.score(series) > 0.9
    True
    """

    def __init__(
        self,
        cell: str | Cell = "gru",
        hidden_size: int = 32,
        num_layers: int = 1,
        *,
        dropout: float = 0.0,
        window: int = 128,
        warm_up: int | None = None,
        noise: float = 0.0,
        epochs: int = 100,
        batch_size: int = 16,
        lr: float = 5e-3,
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
        self.dropout = dropout
        self.window = window
        self.warm_up = warm_up
        self.noise = noise
        self.epochs = epochs
        self.batch_size = batch_size
        self.lr = lr
        self.clip = clip
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state
        self.verbose = verbose

    @all_or_nothing
    def fit(self, X: Any, y: Any = None, *, exogenous: Any = None) -> Self:
        """Train on one series or several.

        ``fit(series, exogenous=known)`` and ``fit(known, series)`` are the same.

        Parameters
        ----------
        X : array (T,) or (T, C), or list of such arrays
            One series, or one for each element. A list of numbers is one series.
        y : as X, optional
            The series, in scikit-learn's order of arguments: X is then what `exogenous` is
            otherwise. None means that X is the series.
        exogenous : as X, optional
            Values known ahead of time, (T, E): those of step t help to forecast step t.

        Returns
        -------
        self

        Warns
        -----
        ConvergenceWarning
            If the loss ended far above that of the forecast that nothing changes.
        """
        self._fit(_Given.of(X, y, exogenous))
        check_names(self, X, reset=True)
        self.n_features_in_ = self._columns if y is None else self.n_exogenous_
        return self

    def _fit(self, given: _Given) -> None:
        rng = self._begin()
        arguments.integer("window", self.window, at_least=2)
        warm_up = self.window // 4 if self.warm_up is None else self.warm_up
        if arguments.integer("warm_up", warm_up, at_least=0) >= self.window:
            raise ValueError(f"warm_up: expected less than window = {self.window}, got {warm_up}")
        if arguments.real("noise", self.noise) < 0:
            raise ValueError(f"noise: expected 0 or more, got {self.noise}")
        self._named = Series(), Exogenous()
        series, known = self._checked(given, reset=True)
        self._several = _several(given.names[0], given.series)
        self._flat = np.ndim(given.series[0] if self._several else given.series) == 1
        for n, values in enumerate(series):
            if len(values) < 2:
                raise ValueError(
                    f"{given.names[0]}[{n}]: expected two steps or more, got {len(values)}"
                )
        self._columns = series[0].shape[1]
        self.n_exogenous_ = 0 if known is None else known[0].shape[1]
        self._skipped = self.window // 4
        # Where the part to train on ends.
        held = self.validation_fraction if self.early_stopping else 0.0
        ends = [max(2, len(s) - round(held * len(s))) for s in series]
        self._standard = _standard(series, ends)
        self._standard_known = None if known is None else _standard(known, ends)
        self.reader_ = self._reader(self._columns + self.n_exogenous_, self._columns, "every", rng)
        self._series, self._known = series, known
        inputs = self._inputs(series, known)
        changes = [
            np.diff(x[:end, : self._columns], axis=0) for x, end in zip(inputs, ends, strict=True)
        ]
        self._train(
            self.reader_,
            lambda: self._windows(inputs, ends, warm_up, rng),
            (lambda: self._validate(inputs, ends)) if self.early_stopping else None,
            float((np.concatenate(changes) ** 2).mean()) + self.noise**2,
        )

    def predict(self, h: int, *, X: Any = None, exogenous: Any = None, future: Any = None) -> Any:
        """The `h` values that follow a series.

        Parameters
        ----------
        h : int
        X, exogenous : as in ``fit(X, exogenous=exogenous)``, optional
            The series that comes before, and what was known of it; None means what was trained on.
        future : array (h, E), or list of such arrays for several series
            The exogenous values of the steps to be forecast, if there were any in `fit`.

        Returns
        -------
        array (h,) or (h, C) as the series, or a list of those for several
        """
        check_is_fitted(self)
        arguments.integer("h", h, at_least=1)
        several = self._several if X is None else _several("X", X)
        if X is None:
            if exogenous is not None:
                raise ValueError("exogenous: expected None without X")
            series, known = self._series, self._known
        else:
            series, known = self._checked(_Given.of(X, None, exogenous))
        ahead = self._future(future, several, len(series), h)
        found = []
        for n, values in enumerate(series):
            first = None if ahead is None else ahead[n]
            said = self._forecast(values, None if known is None else known[n], h, first)
            found.append(said[:, 0] if self._flat else said)
        return found if several else found[0]

    def score(self, X: Any, y: Any = None, *, exogenous: Any = None, h: int = 1) -> float:
        """Skill against the naive forecast, which says that nothing changes.

        One less the ratio of their squared errors over all forecasts `h` steps ahead in the series:
        1 is perfect, 0 as good as the last value, less is worse. The first quarter of a window is
        left out of it, as far as the series is longer. X, y and exogenous are as in `fit`.
        """
        check_is_fitted(self)
        arguments.integer("h", h, at_least=1)
        given = _Given.of(X, y, exogenous)
        series, known = self._checked(given)
        error = naive = 0.0
        for n, values in enumerate(series):
            if len(values) <= h:
                raise ValueError(
                    f"{given.names[0]}[{n}]: expected more than h = {h} steps, got {len(values)}"
                )
            origins = np.arange(min(self._skipped, len(values) - h - 1), len(values) - h)
            said = self._every(values, None if known is None else known[n], h)[origins]
            truth = values[origins + h]
            # In deviations, for series of several values of unlike size.
            scale = self._standard.deviation
            error += float((((said - truth) / scale) ** 2).sum())
            naive += float((((values[origins] - truth) / scale) ** 2).sum())
        if naive == 0.0:
            return 1.0 if error == 0.0 else -np.inf
        return 1.0 - error / naive

    # What is read at step t: the value of step t, and what is known of step t + 1.

    def _inputs(self, series: list[Array], known: list[Array] | None) -> list[Array]:
        """(T - 1, C + E) each."""
        found = _standardised("X", series, self._standard)
        if known is None or self._standard_known is None:
            return found
        others = _standardised("exogenous", known, self._standard_known)
        return [
            np.concatenate([values, np.append(other[1:], other[-1:], axis=0)], axis=1)
            for values, other in zip(found, others, strict=True)
        ]

    def _windows(
        self, inputs: list[Array], ends: list[int], warm_up: int, rng: np.random.Generator
    ) -> Iterator[Batch]:
        columns = self._columns
        # A window of n steps needs the value after its last.
        starts = np.maximum(np.array(ends) - 1 - self.window, 0) + 1
        count = -(-sum(ends) // self.window)
        chance = np.array(ends) / sum(ends)
        for first in range(0, count, self.batch_size):
            rows, targets, judged = [], [], []
            for which in rng.choice(len(inputs), min(self.batch_size, count - first), p=chance):
                start = int(rng.integers(starts[which]))
                stop = min(start + self.window, ends[which] - 1)
                x = inputs[which][start:stop].copy()
                after = inputs[which][start + 1 : stop + 1, :columns]
                x[:, :columns] += self.noise * rng.standard_normal((len(x), columns))
                rows.append(x)
                targets.append(after - x[:, :columns])
                judged.append(min(warm_up, len(x) - 1) if start else 0)
            x, lengths = padded(rows)
            target, _ = padded(targets)
            steps = np.arange(len(x))[:, None]
            mask = (steps >= np.array(judged)) & (steps < lengths)

            def loss(prediction: Array, target: Array = target, mask: Array = mask) -> Any:
                return losses.mse(prediction, target, mask=mask)

            yield Batch(x, lengths, loss, float(mask.sum()))

    def _validate(self, inputs: list[Array], ends: list[int]) -> tuple[float, float]:
        """The error one step ahead on what is held out, and the skill."""
        columns = self._columns
        x, lengths = padded([x[:-1] for x in inputs])
        said = self.reader_(x, lengths)
        change = np.concatenate(
            [
                np.stack(
                    [said[end - 1 : len(x) - 1, n], np.diff(x[:, :columns], axis=0)[end - 1 :]]
                )
                for n, (x, end) in enumerate(zip(inputs, ends, strict=True))
            ],
            axis=1,
        )
        if change.size == 0:
            raise ValueError(
                "validation_fraction: expected one that leaves a step to hold out, "
                f"got {self.validation_fraction}"
            )
        error, naive = float(((change[0] - change[1]) ** 2).mean()), float((change[1] ** 2).mean())
        return error, 1.0 - error / naive if naive else 0.0

    def _forecast(self, values: Array, known: Array | None, h: int, future: Array | None) -> Array:
        """(h, C): read the series, then what is said of it."""
        if future is not None and known is not None:
            known = np.concatenate([known, future])
        _, state = self.reader_.net(self._before(values, known)[:, None])
        return self._on(values[-1:], state, known, np.array([len(values) - 1]), h)[:, 0]

    def _every(self, values: Array, known: Array | None, h: int) -> Array:
        """(T, C): from every step, what is said of the h-th after it."""
        before = self._before(values, known)
        _, _, tape = self.reader_.net.record(before[:, None], train=False)
        # The state before each step, (layers, T, H): every step a row of one stream.
        state = [np.stack(p if isinstance(p, tuple) else (p,))[:, :, 0] for p in tape.states]
        state = [np.concatenate([np.zeros_like(s[:, :1]), s], axis=1) for s in state]
        given = tuple(state) if len(state) > 1 else state[0]
        steps = np.arange(len(values))
        if known is not None:
            # The last ones look past the end; who scores them knows to leave them out.
            known = np.concatenate([known, np.repeat(known[-1:], h, axis=0)])
        found: Array = self._on(values, given, known, steps, h)[-1]
        return found

    def _before(self, values: Array, known: Array | None) -> Array:
        """What is read before the last value: (T - 1, C + E)."""
        inputs = self._inputs([values], None if known is None else [known[: len(values)]])
        return inputs[0][:-1].astype(np.float32)

    def _on(self, last: Array, state: Any, known: Array | None, at: Array, h: int) -> Array:
        """(h, B, C): on from the values of steps `at`, with the states before them."""
        stream = self.reader_.net.stream(batch=len(last))
        stream.state = state
        value = self._standard(last)
        said = np.empty((h, *last.shape))
        for ahead in range(h):
            x = value
            if known is not None and self._standard_known is not None:
                now = for_float32("exogenous", known[at + ahead + 1], self._standard_known)
                x = np.concatenate([x, now], axis=1)
            y = stream.step(x.astype(np.float32).reshape(len(last), -1))
            value = value + self.reader_.dense(y.reshape(len(last), -1))
            said[ahead] = value
        return self._standard.back(said)

    def _checked(
        self, given: _Given, *, reset: bool = False
    ) -> tuple[list[Array], list[Array] | None]:
        """The series and what is known ahead, for `fit` or as they were in `fit`."""
        (x, e), several = given.names, _several(given.names[0], given.series)
        columns, known = (None, None) if reset else (self._columns, self.n_exogenous_)
        check_names(self._named[0], given.series, reset=reset, name=x)
        series = sequences(
            list(given.series) if several else [given.series],
            channels=columns,
            estimator=self,
            name=x,
        )
        if known is not None and (given.exogenous is not None) != (known > 0):
            raise ValueError(
                f"{e}: expected {known} columns{' of exogenous values' if e == 'X' else ''} as in "
                f"fit, got {'None' if given.exogenous is None else 'some'}"
            )
        if given.exogenous is None:
            return series, None
        if several != _several(e, given.exogenous):
            raise ValueError(f"{e}: expected a list if {x} is one, and an array if not")
        check_names(self._named[1], given.exogenous, reset=reset, name=e)
        others = sequences(
            list(given.exogenous) if several else [given.exogenous],
            channels=known,
            estimator=self,
            name=e,
        )
        lengths = [[len(a) for a in each] for each in (series, others)]
        if lengths[0] != lengths[1]:
            raise ValueError(f"{e}: expected lengths {lengths[0]} as {x}, got {lengths[1]}")
        return series, others

    def _future(self, future: Any, several: bool, count: int, h: int) -> list[Array] | None:
        if (future is not None) != (self.n_exogenous_ > 0):
            shape = f"shape ({h}, {self.n_exogenous_})"
            raise ValueError(
                f"future: expected {shape if future is None else None} as fit had "
                f"{self.n_exogenous_} exogenous columns, got {'None' if future is None else 'some'}"
            )
        if future is None:
            return None
        unmasked("future", future)
        check_names(self._named[1], future, reset=False, name="future")
        found = sequences(
            list(future) if several else [future], channels=self.n_exogenous_, name="future"
        )
        if [len(f) for f in found] != [h] * count:
            raise ValueError(
                f"future: expected {count} of {h} steps, got {[len(f) for f in found]} steps"
            )
        return found


class Series:
    """Holds the names of the series' columns, as scikit-learn's estimators do."""


class Exogenous:
    """Holds the names of the exogenous values' columns."""


class _Given(NamedTuple):
    """The series and the exogenous values, and as which arguments they came."""

    series: Any
    exogenous: Any
    names: tuple[str, str]

    @classmethod
    def of(cls, X: Any, y: Any, exogenous: Any) -> Self:
        if y is None:
            return cls(X, exogenous, ("X", "exogenous"))
        if exogenous is not None:
            raise ValueError(
                "exogenous: expected None with y, as X has the exogenous values then, got some"
            )
        return cls(y, X, ("y", "X"))


def _standard(series: list[Array], ends: list[int]) -> Standard:
    return Standard(np.concatenate([s[:end] for s, end in zip(series, ends, strict=True)]))


def _standardised(name: str, series: list[Array], standard: Standard) -> list[Array]:
    return [for_float32(f"{name}[{n}]", values, standard) for n, values in enumerate(series)]


def _several(name: str, X: Any) -> bool:
    """Whether it is a list of series, and not one series."""
    unmasked(name, X)
    if issparse(X):
        raise TypeError(f"{name}: expected a dense array, got a sparse one; use .toarray()")
    if isinstance(X, np.ndarray) and X.dtype != object:
        if X.ndim not in (1, 2):
            raise ValueError(
                f"{name}: expected one series (T,) or (T, C), or a list of series, got shape "
                f"{X.shape}"
            )
        return False
    return isinstance(X, (list, tuple, np.ndarray)) and bool(len(X)) and np.ndim(X[0]) > 0
