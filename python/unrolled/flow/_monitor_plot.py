"""A monitor's history in one figure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .._arguments import Array
from .._style import STYLE
from . import _plots as plots
from ._gates import HIGH, LOW
from ._monitor_sample import Sample


def draw(history: Sequence[Sample], parameter: str) -> Any:
    """Gradients, shares by lag, Jacobians, gates: each against the calls."""
    pyplot = plots.matplotlib("matplotlib.pyplot")
    calls = [sample.call for sample in history]
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(2, 2, figsize=(11, 6.6), layout="constrained")
        _gradients(axes[0, 0], history, calls)
        _shares(axes[0, 1], history, parameter, pyplot)
        _jacobians(axes[1, 0], history, calls)
        _gates(axes[1, 1], history, calls)
        for ax in axes.ravel():
            ax.set_xlabel("call")
            if ax.get_lines():
                ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")
    return figure


def _gradients(ax: Any, history: Sequence[Sample], calls: list[int]) -> None:
    names = [n for n in history[0].gradient_norms if n.startswith("weight")]
    for place, name in enumerate(names):
        values = [sample.gradient_norms[name] for sample in history]
        ax.plot(calls, _log(values), color=plots.SERIES[place % 6], lw=1.3, label=name,
                ls=("-", "--", ":")[place // 6 % 3])  # fmt: skip
    ax.set(title="Gradients of the weights", ylabel="norm", yscale="log")
    plots.label_decades(ax.yaxis)


def _shares(ax: Any, history: Sequence[Sample], parameter: str, pyplot: Any) -> None:
    """Bands are in order, so are the colours. What is not finite has no shares."""
    bands = max((sample.bands for sample in history), key=len)
    shares = [plots.lag_shares(sample) for sample in history]
    colours = pyplot.get_cmap("viridis")(np.linspace(0, 0.85, len(bands)))
    for place, (low, high) in enumerate(bands):
        points = [
            (sample.call, share[place])
            for sample, share in zip(history, shares, strict=True)
            if place < len(share) and share.any()
        ]
        if points:
            at, values = zip(*points, strict=True)
            last = place == len(bands) - 1
            ax.plot(at, _log(values), color=colours[place], lw=1.3,
                    label=_named(low, None if last else high))  # fmt: skip
    ax.set(title=f"Gradient of {parameter} by lag", ylabel="share", yscale="log")
    # Below, differences of float32 gradients are rounding.
    ax.set_ylim(bottom=max(ax.get_ylim()[0], 1e-7))
    plots.label_decades(ax.yaxis)


def _jacobians(ax: Any, history: Sequence[Sample], calls: list[int]) -> None:
    for place, name in enumerate(history[0].jacobian_norms):
        norms = [sample.jacobian_norms[name] for sample in history]
        colour = plots.SERIES[place % 6]
        ax.plot(calls, [a.mean() for a in norms], color=colour, lw=1.4, label=name)
        ax.fill_between(
            calls, [a.min() for a in norms], [a.max() for a in norms],
            color=colour, alpha=0.15, lw=0,
        )  # fmt: skip
    ax.axhline(1, color=plots.GREY, lw=0.8)
    ax.set(title="Jacobian of a step, least to greatest", ylabel="norm of ∂s(t)/∂s(t − 1)")


def _gates(ax: Any, history: Sequence[Sample], calls: list[int]) -> None:
    names = list(history[0].gates)
    of_states = names[0].startswith("h_")
    for place, name in enumerate(names):
        low, high, mean = np.array([sample.gates[name] for sample in history]).T
        colour = plots.SERIES[place % 6]
        ax.plot(calls, mean, color=colour, lw=1.4, label=f"{name}, mean")
        # A gate is saturated at both ends, a state that is small is not.
        ax.plot(calls, high if of_states else low + high, color=colour, lw=1.1, ls=":")
    title = f"Gates: mean, and share below {LOW} or above {HIGH} (dotted)"
    if of_states:
        title = f"Size of states: mean, and share above {HIGH} (dotted)"
    ax.set(title=title, ylim=(0, 1))


def _named(low: int, high: int | None) -> str:
    """A band in a legend; the last is as long as the sequences."""
    if high is None:
        return f"lag {low} and beyond"
    return f"lag {low}" if low == high else f"lags {low}–{high}"


def _log(values: Any) -> Array:
    values = np.asarray(values, np.float64)
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)
