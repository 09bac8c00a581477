"""What the estimators share: the network and the options of its training."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from .. import _arguments as arguments
from .. import optim
from .._dense import Dense
from .._modules import GRU, LSTM, RNN, RecurrentNet
from .._progress import progress
from .._training import Batch, Reader, train
from ..cells import Cell
from ..cells._recurrent import Recurrent as Network

CELLS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}

Estimator = TypeVar("Estimator", bound="Recurrent")
Arguments = ParamSpec("Arguments")
Fit = Callable[Concatenate[Estimator, Arguments], Estimator]


def all_or_nothing(fit: Fit[Estimator, Arguments]) -> Fit[Estimator, Arguments]:
    """A `fit` that does not come to its end leaves the estimator as it was."""

    @wraps(fit)
    def whole(self: Estimator, *args: Arguments.args, **kwargs: Arguments.kwargs) -> Estimator:
        before = dict(vars(self))
        try:
            return fit(self, *args, **kwargs)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    return cast("Fit[Estimator, Arguments]", whole)


class Recurrent(BaseEstimator):  # type: ignore[misc]
    """Checks the parameters, makes the network, runs the training."""

    cell: str | Cell
    hidden_size: int
    num_layers: int
    dropout: float
    epochs: int
    batch_size: int
    lr: float
    clip: float
    early_stopping: bool
    validation_fraction: float
    patience: int
    random_state: Any
    verbose: Any

    def _begin(self) -> np.random.Generator:
        """Refuse options that make no sense; the source of all that is random here."""
        named = isinstance(self.cell, str)
        if not isinstance(self.cell, Cell) and not (named and self.cell in CELLS):
            got = arguments.shown(self.cell) if named else arguments.kind(self.cell)
            raise (ValueError if named else TypeError)(
                f"cell: expected one of {', '.join(map(repr, CELLS))}, or what ur.cell makes of a "
                f"function, such as ur.cells.peephole_lstm, got {got}"
            )
        for name in ("hidden_size", "num_layers", "epochs", "batch_size", "patience"):
            arguments.integer(name, getattr(self, name), at_least=1)
        for name in ("lr", "clip"):
            if not arguments.real(name, getattr(self, name)) > 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")
        arguments.flag("early_stopping", self.early_stopping)
        if not 0 < arguments.real("validation_fraction", self.validation_fraction) < 1:
            raise ValueError(
                "validation_fraction: expected more than 0 and less than 1, "
                f"got {self.validation_fraction}"
            )
        return np.random.default_rng(check_random_state(self.random_state).randint(2**31))

    def _reader(
        self, inputs: int, outputs: int, pooling: str, rng: np.random.Generator, **options: Any
    ) -> Reader:
        seeds = rng.integers(2**62, size=2)
        if isinstance(self.cell, Cell):
            make: Callable[..., RecurrentNet[Any]] = partial(Network, self.cell)
        else:
            make = CELLS[self.cell]
        net = make(
            inputs,
            self.hidden_size,
            self.num_layers,
            dropout=self.dropout,
            seed=int(seeds[0]),
            **options,
        )
        dense = Dense(self.hidden_size * net.num_directions, outputs, seed=int(seeds[1]))
        return Reader(net, dense, pooling)

    def _train(
        self,
        reader: Reader,
        batches: Callable[[], Iterator[Batch]],
        validate: Callable[[], tuple[float, float]] | None,
        constant: float,
    ) -> None:
        """Train; `history_` and `n_iter_` say how it went.

        `constant` is the loss of an answer that is always the same.
        """
        optimiser = optim.Adam([reader.net, reader.dense], lr=self.lr)
        epochs: Iterable[int] = range(self.epochs)
        if self.verbose:
            epochs = progress(range(self.epochs), type(self).__name__)
        with warnings.catch_warnings():
            # What was given is finite: then it is the training, of which there is an error below.
            warnings.filterwarnings("ignore", message=".*the loss is NaN")
            history = train(reader, optimiser, self.clip, epochs, batches, validate, self.patience)
        self.history_ = {"loss": history.loss}
        if validate is not None:
            self.history_["validation_loss"] = history.validation_loss
            self.history_["validation_score"] = history.validation_score
            self.best_epoch_ = history.best_epoch
        self.n_iter_ = len(history.loss)
        if not np.isfinite(history.loss[-1]):
            raise ValueError(
                f"lr: expected one with which the loss stays finite, got {self.lr}, with which "
                f"it was {history.loss[-1]} in epoch {self.n_iter_}"
            )
        kept = history.loss[-1 if history.best_epoch is None else history.best_epoch]
        # A network that has learnt nothing is hardly worse than a constant.
        if kept > 2 * constant + 1:
            warnings.warn(
                f"lr: training with {self.lr} has diverged, to a loss of {kept:.3g}, where a "
                f"constant answer has {constant:.3g}; try a smaller lr",
                ConvergenceWarning,
                stacklevel=5,
            )
