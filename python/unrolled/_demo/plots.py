"""The demo's two pictures, drawn without a screen."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from .._style import STYLE
from .._write import replace
from .data import Monthly
from .speakers import Curve
from .sunspots import FIRST_TEST_YEAR, HORIZONS, Result

BLUE, ORANGE, GREEN, GREY = "#1f5fa8", "#d95f02", "#3a8f5c", "#9a9a9a"
SHOWN_AHEAD = 12


def learning(path: Path, curves: list[Curve], target: float, result: Result) -> None:
    """Loss and accuracy on the speakers per epoch, loss on the sunspots per step."""
    with plt.rc_context(STYLE):
        figure, (left, middle, right) = plt.subplots(1, 3, figsize=(11, 3.2), layout="constrained")
        for curve, colour in zip(curves, _colours(len(curves)), strict=True):
            epochs = np.arange(1, len(curve.loss) + 1)
            left.plot(epochs, curve.loss, color=colour, lw=1.2, label=f"seed {curve.seed}")
            middle.plot(epochs, np.multiply(curve.accuracy, 100), color=colour, lw=1.2)
        left.set(title="Speakers: training loss", xlabel="epoch", ylabel="cross entropy")
        left.set_yscale("log")
        left.legend()
        middle.set(title="Speakers: test accuracy", xlabel="epoch", ylabel="%", ylim=(80, 100.5))
        middle.axhline(100 * target, color=GREY, ls="--", lw=1)
        middle.text(
            1,
            100 * target - 0.3,
            f"{target:.0%}",
            color="#555555",
            va="top",
            ha="right",
            transform=middle.get_yaxis_transform(),
        )
        right.plot(np.arange(1, len(result.loss) + 1), result.loss, color=BLUE, lw=0.8)
        right.set(title="Sunspots: training loss", xlabel="step", ylabel="mean square error")
        right.set_ylim(bottom=0)
        _save(figure, path)


def forecast(path: Path, record: Monthly, result: Result) -> None:
    """The test years as they were and as forecast a year ahead; the errors by horizon."""
    with plt.rc_context(STYLE):
        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(9, 6.4), height_ratios=(3, 2), layout="constrained"
        )
        test = slice(result.first, None)
        years, column = record.years[test], HORIZONS.index(SHOWN_AHEAD)
        top.plot(years, record.values[test], color=GREY, lw=0.8, label="observed, monthly mean")
        top.plot(
            years,
            result.forecast[test, column],
            color=ORANGE,
            lw=1.4,
            label=f"GRU, forecast {SHOWN_AHEAD} months before",
        )
        top.set(
            title=f"Sunspots in years never trained on ({FIRST_TEST_YEAR}–{int(years[-1])})",
            ylabel="sunspot number",
            xlim=(years[0], years[-1]),
        )
        top.set_ylim(bottom=0)
        top.legend(loc="upper right")

        for label, values, colour, marker in (
            ("last value", result.persistence, GREY, "s"),
            ("11 years before", result.cycle_before, GREEN, "^"),
            ("GRU", result.model, ORANGE, "o"),
        ):
            bottom.plot(HORIZONS, values, color=colour, marker=marker, ms=4, lw=1.4, label=label)
        bottom.set(
            title="Error over those years",
            xlabel="months ahead",
            ylabel="root mean square error",
            xticks=HORIZONS,
        )
        bottom.set_ylim(bottom=0)
        bottom.legend(loc="upper left")
        _save(figure, path)


def _colours(n: int) -> list[Any]:
    return [plt.get_cmap("viridis")(0.85 * k / max(n - 1, 1)) for k in range(n)]


def _save(figure: Any, path: Path) -> None:
    file = io.BytesIO()
    figure.savefig(file, format=path.suffix[1:])
    replace(path, file.getvalue())
    plt.close(figure)
