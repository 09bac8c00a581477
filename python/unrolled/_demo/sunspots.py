"""Sunspots, months to years ahead: a GRU against the two forecasts that cost nothing.

The number of spots rises and falls in about eleven years, never twice alike. The last value seen is
hard to beat a month ahead and hopeless half a cycle ahead; the value eleven years before knows the
cycle but neither its strength nor its phase.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import unrolled as ur

from .data import Floats, Monthly

HORIZONS = (1, 6, 12, 24, 36, 60)
CYCLE = 132
FIRST_TEST_YEAR = 1950

# Chosen by training on the years before 1870 and before 1910, and judging by the forty after each.
HIDDEN, BATCH, LEARNING_RATE, CLIP = 32, 16, 5e-3, 1.0
WINDOW, WARM_UP = 240, 120
NOISE, LOUDNESS = 0.3, 0.15


class Forecaster:
    """Reads month after month; a dense layer on each hidden state says how the value will change.

    Counts are worked on as square roots, which makes their scatter about the same at every level,
    and standardised with mean and deviation of the training years. A dense output per horizon is
    the change from the month just read.
    """

    def __init__(self, training: Floats, steps: int, seed: int) -> None:
        root = np.sqrt(training)
        self.mean, self.deviation = root.mean(), root.std()
        self.series = self._standardise(training)
        self.steps = steps
        self.random = np.random.default_rng(seed)
        self.gru = ur.GRU(1, HIDDEN, seed=seed)
        self.dense = ur.Dense(HIDDEN, len(HORIZONS), seed=seed + 1)
        self.optimiser = ur.optim.Adam([self.gru, self.dense], lr=LEARNING_RATE)

    def _standardise(self, values: Floats) -> Floats:
        return np.asarray((np.sqrt(values) - self.mean) / self.deviation, np.float32)

    def _windows(self) -> tuple[Floats, Floats]:
        """(WINDOW, BATCH, 1) months to read and the changes to be said, (…, horizons).

        Taken anywhere in the training years. There are only eighteen cycles in them, so no window
        is shown twice alike: each is made stronger or weaker as a whole, for cycles differ in
        strength and one to come may exceed all before; and the months read get noise.
        """
        last = len(self.series) - WINDOW - HORIZONS[-1]
        months = np.arange(WINDOW)[:, None] + self.random.integers(0, last + 1, BATCH)
        loudness = np.exp(self.random.normal(0, LOUDNESS, BATCH))
        no_spots = -self.mean / self.deviation

        def value(ahead: int) -> Floats:
            return np.asarray((self.series[months + ahead] - no_spots) * loudness + no_spots)

        x = value(0) + self.random.normal(0, NOISE, months.shape)
        change = np.stack([value(ahead) - x for ahead in HORIZONS], axis=-1)
        return x[..., None].astype(np.float32), change.astype(np.float32)

    def learn(self, step: int) -> float:
        """One step on some windows; the loss before it.

        The first months of a window only bring the state up to date: no loss is taken there.
        """
        self.optimiser.lr = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * step / self.steps))
        x, change = self._windows()
        y, _, tape = self.gru.record(x)
        judged = np.arange(WINDOW) >= WARM_UP
        loss, d_change = ur.losses.mse(self.dense(y), change, mask=judged)
        g_dense = self.dense.backward(y, d_change)
        g_gru = tape.backward(g_dense.input)
        ur.clip_grad_norm([g_gru, g_dense], CLIP)
        self.optimiser.step([g_gru, g_dense])
        return loss

    def forecast(self, values: Floats) -> Floats:
        """(months, horizons): what was said of each month, so many months before; NaN at first."""
        x = self._standardise(values)[:, None]
        y, _ = self.gru(x)
        root = (x + self.dense(y)) * self.deviation + self.mean
        said = np.maximum(root, 0) ** 2
        result = np.full_like(said, np.nan)
        for column, ahead in enumerate(HORIZONS):
            result[ahead:, column] = said[:-ahead, column]
        return result


@dataclass(frozen=True)
class Result:
    """Root mean square errors in sunspots, one per horizon, over the test years."""

    first: int  # the first test month
    loss: list[float]
    forecast: Floats
    model: Floats
    persistence: Floats
    cycle_before: Floats


def run(record: Monthly, steps: int, seed: int, tick: Callable[[], object]) -> Result:
    """Trains on the years before FIRST_TEST_YEAR and forecasts every month after."""
    first = record.month(FIRST_TEST_YEAR)
    forecaster = Forecaster(record.values[:first], steps, seed)
    loss = []
    for step in range(steps):
        loss.append(forecaster.learn(step))
        tick()
    forecast = forecaster.forecast(record.values)

    observed = record.values[first:]
    months = np.arange(first, len(record.values))

    def error(said: Floats) -> float:
        return float(np.sqrt(np.mean((said - observed) ** 2)))

    def per_horizon(said: Callable[[int], Floats]) -> Floats:
        return np.array([error(said(column)) for column in range(len(HORIZONS))], np.float32)

    return Result(
        first,
        loss,
        forecast,
        model=per_horizon(lambda column: forecast[first:, column]),
        persistence=per_horizon(lambda column: record.values[months - HORIZONS[column]]),
        cycle_before=per_horizon(lambda _: record.values[months - CYCLE]),
    )


def table(result: Result) -> str:
    """The errors side by side, and in words where the model wins and where it does not."""
    lines = ["  months ahead   GRU   last value   11 years before"]
    better, worse = [], []
    columns = zip(HORIZONS, result.model, result.persistence, result.cycle_before, strict=True)
    for ahead, model, persistence, cycle in columns:
        lines.append(f"  {ahead:12d} {model:5.1f} {persistence:12.1f} {cycle:17.1f}")
        (better if model < min(persistence, cycle) else worse).append(str(ahead))
    if better:
        lines.append(f"  The GRU is better than both at {', '.join(better)} months ahead.")
    if worse:
        lines.append(f"  It is not better than both at {', '.join(worse)} months ahead.")
    return "\n".join(lines)
