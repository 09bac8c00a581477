"""Axes for a plot, and how their scales are written."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np

from .._arguments import Array, kind
from .._extras import missing
from .._style import STYLE
from ..reference._foreign import by_a_handler
from ._words import tenth_power

# What is smaller than this part of the largest value is not told apart from it in float64.
FLOOR = 1e-16


def matplotlib(name: str = "matplotlib") -> Any:
    """matplotlib, or a module of it; ImportError says how to have it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise missing(error, "plots", "matplotlib", "flow") from error


F = TypeVar("F", bound=Callable[..., Any])


def result(name: str, value: Any, expected: type, *needed: str) -> None:
    """That `value` has what a plot draws of a result of that kind."""
    if not all(hasattr(value, each) for each in needed):
        raise TypeError(f"{name}: expected a {expected.__name__}, got {kind(value)}")


def on_axes(*kind_and_needed: Any) -> Callable[[F], F]:
    """Gives a plot axes, in our style, where the caller gave none.

    `kind_and_needed` says what its first argument is, and what it needs of that.
    """

    def decorated(plot: F) -> F:
        name = next(iter(inspect.signature(plot).parameters))

        @functools.wraps(plot)
        def drawn(*given: Any, **named: Any) -> Any:
            bound = inspect.signature(plot).bind(*given, **named)
            if kind_and_needed:
                result(name, bound.arguments[name], *kind_and_needed)
            if (ax := bound.arguments.get("ax")) is None:
                pyplot = matplotlib("matplotlib.pyplot")
                with pyplot.rc_context(STYLE):
                    figure = pyplot.figure(figsize=(5.2, 3.4), layout="constrained")
                    bound.arguments["ax"] = figure.add_subplot()
                    return plot(*bound.args, **bound.kwargs)
            if not hasattr(ax, "pcolormesh"):
                raise TypeError(f"ax: expected matplotlib Axes, got {kind(ax)}")
            return plot(*bound.args, **bound.kwargs)

        return cast(F, drawn)

    return decorated


def numbers(name: str, value: Any) -> Array:
    """An array, or lists of numbers, as float64."""
    wrong = f"{name}: expected real numbers, got {kind(value)}"
    try:
        found = np.asarray(value)
    # Whatever NumPy raises for what is none.
    except Exception as error:
        if by_a_handler(error):
            raise
        raise TypeError(wrong) from error
    if found.dtype.kind not in "fiub":
        raise TypeError(wrong)
    return found.astype(np.float64)


def log_axis(ax: Any, values: Array, *, high: float = 2.0) -> None:
    """A log axis around the values that matter: not the hundreds of decades to underflow."""
    ax.set_yscale("log")
    label_decades(ax.yaxis)
    values = values[np.isfinite(values) & (values > 0)]
    if values.size:
        top = float(values.max())
        bottom = max(float(values.min()), FLOOR * min(top, 1.0))
        # At least one whole decade, or the axis has no label.
        bottom = min(bottom, top / 10)
        ax.set_ylim(bottom / 2, min(top * high, 1e300))


def label_decades(axis: Any) -> None:
    """10⁻³ as plain text: matplotlib's own formulas take most of the time of a picture."""
    ticker = matplotlib("matplotlib.ticker")

    def said(value: float, _: Any) -> str:
        exponent = round(float(np.log10(value))) if value > 0 else 0
        return "1" if exponent == 0 else tenth_power(exponent)

    axis.set_major_formatter(ticker.FuncFormatter(said))
    axis.set_minor_formatter(ticker.NullFormatter())
