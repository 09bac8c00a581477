"""A recurrent network with a dense layer on top, and how the two are trained.

What the demo and the estimators share: from batches to parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import _native
from ._arguments import Array
from ._clip import clip_grad_norm
from ._dense import Dense
from ._modules import RecurrentNet
from .optim import Optimizer

# A prediction's loss and the derivative of it.
Loss = Callable[[Array], tuple[float, Array]]


@dataclass
class Reader:
    """Reads sequences (T, B, I); the dense layer judges what has been read.

    `pooling` says what that is: "last", the top layer's final hidden states of both directions side
    by side; "mean", its outputs averaged over each sequence; "every", its output at every step.
    """

    net: RecurrentNet[Any]
    dense: Dense
    pooling: str = "last"

    def __call__(self, x: Array, lengths: Array | None = None) -> Array:
        """What the dense layer says: (B, O), or (T, B, O) for every step."""
        y, state = self.net(x, lengths=lengths)
        return self.dense(self._pooled(y, state, lengths))

    def learn(
        self,
        x: Array,
        lengths: Array | None,
        loss: Loss,
        optimiser: Optimizer,
        clip: float,
    ) -> float:
        """One step of the optimiser, which has `net` and `dense`; the loss before it.

        A loss of the last hidden states alone enters the way back through them (`dstate`), and its
        derivative by every single output is zero.
        """
        y, state, tape = self.net.record(x, lengths=lengths)
        pooled = self._pooled(y, state, lengths)
        value, d_prediction = loss(self.dense(pooled))
        g_dense = self.dense.backward(pooled, d_prediction)
        d_y, d_state = self._spread(g_dense.input, y, state, lengths)
        g_net = tape.backward(d_y, d_state)
        clip_grad_norm([g_net, g_dense], clip)
        optimiser.step([g_net, g_dense])
        return value

    def _pooled(self, y: Array, state: Any, lengths: Array | None) -> Array:
        if self.pooling == "every":
            return y
        if self.pooling == "mean":
            # Outputs are zero past an end. `y.sum(axis=0)` adds a lone column in another order, by
            # which a sequence's mean would depend on the others of its batch.
            total = np.add.accumulate(y, axis=0)[-1:].sum(axis=0)
            mean: Array = total / self._counts(y, lengths)
            return mean
        h = state[0] if isinstance(state, tuple) else state
        return np.concatenate(list(h[-self.net.num_directions :]), axis=-1)

    def _spread(self, d: Array, y: Array, state: Any, lengths: Array | None) -> tuple[Array, Any]:
        """The derivatives by y and the final state."""
        if self.pooling == "every":
            return d, None
        if self.pooling == "mean":
            # What is past an end is not read on the way back.
            return np.broadcast_to(d / self._counts(y, lengths), y.shape), None
        directions = self.net.num_directions
        h, *cells = state if isinstance(state, tuple) else (state,)
        d_h = np.zeros_like(h)
        d_h[-directions:] = np.split(d, directions, axis=-1)
        d_state = (d_h, *map(np.zeros_like, cells)) if cells else d_h
        return np.zeros_like(y), d_state

    def _counts(self, y: Array, lengths: Array | None) -> Array:
        if lengths is None:
            return np.full((1, 1), max(len(y), 1), y.dtype)
        return np.maximum(lengths, 1)[:, None].astype(y.dtype)

    def parameters(self) -> list[list[Array]]:
        """Copies, for `restore`."""
        return [native.parameters() for native in _native.snapshots(self._natives())]

    def restore(self, parameters: list[list[Array]]) -> None:
        """Go back to what `parameters` gave."""
        _native.load(self._natives(), parameters)

    def _natives(self) -> list[_native.Network | _native.Dense]:
        return [self.net._native, self.dense._native]


@dataclass
class History:
    """Curves over the epochs; those of the validation are empty without one."""

    loss: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_score: list[float] = field(default_factory=list)
    best_epoch: int | None = None


@dataclass
class Batch:
    """Sequences (T, B, I) to learn from, and how far a prediction is off."""

    x: Array
    lengths: Array | None
    loss: Loss
    # In the epoch's mean.
    weight: float


def train(
    reader: Reader,
    optimiser: Optimizer,
    clip: float,
    epochs: Iterable[object],
    batches: Callable[[], Iterator[Batch]],
    validate: Callable[[], tuple[float, float]] | None = None,
    patience: int = 0,
) -> History:
    """Train, and return what the losses were.

    `batches` gives those of one epoch. `validate` returns a loss and a score of sequences that are
    not trained on: once the loss has not been lower for `patience` epochs training ends, and the
    parameters of the best epoch come back.
    """
    history = History()
    best, kept = np.inf, reader.parameters()
    for epoch, _ in enumerate(epochs):
        total = weight = 0.0
        for batch in batches():
            value = reader.learn(batch.x, batch.lengths, batch.loss, optimiser, clip)
            total += value * batch.weight
            weight += batch.weight
        history.loss.append(total / weight if weight else 0.0)
        if validate is None:
            continue
        loss, score = validate()
        history.validation_loss.append(loss)
        history.validation_score.append(score)
        if loss < best:
            best, kept, history.best_epoch = loss, reader.parameters(), epoch
        elif epoch - (history.best_epoch or 0) >= patience:
            break
    if validate is not None and history.best_epoch is not None:
        reader.restore(kept)
    return history
