"""Pictures of how gradients flow: each takes a result of this package and draws it on one axes.

matplotlib is imported when something is drawn. Colours are those of Okabe & Ito (2008), which stay
apart for every common kind of colour vision; what lines mean their dashes say too.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from .._arguments import Array, kind
from .._extras import missing
from .._style import STYLE
from ._words import tenth_power

if TYPE_CHECKING:
    from ._gates import GateSaturation

BLUE, VERMILION, GREEN = "#0072b2", "#d55e00", "#009e73"
PURPLE, AMBER, SKY, GREY = "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f"
SERIES = (BLUE, VERMILION, GREEN, PURPLE, AMBER, SKY)

# What is smaller than this part of the largest value is not told apart from it in float64.
FLOOR = 1e-16


def matplotlib(name: str = "matplotlib") -> Any:
    """matplotlib, or a module of it; ImportError says how to have it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise missing(error, "plots", "matplotlib", "flow") from error


F = TypeVar("F", bound=Callable[..., Any])


def _on_axes(plot: F) -> F:
    """Gives `plot` axes of a figure of their own, in our style, where the caller gave none."""

    @functools.wraps(plot)
    def drawn(result: Any, ax: Any = None, **more: Any) -> Any:
        if ax is None:
            pyplot = matplotlib("matplotlib.pyplot")
            with pyplot.rc_context(STYLE):
                ax = pyplot.subplots(figsize=(5.2, 3.4), layout="constrained")[1]
                return plot(result, ax, **more)
        if not hasattr(ax, "pcolormesh"):
            raise TypeError(f"ax: expected matplotlib Axes, got {kind(ax)}")
        return plot(result, ax, **more)

    return cast(F, drawn)


@_on_axes
def plot_power_curve(curve: Any, ax: Any = None) -> Any:
    """Draw ||M^n||_2 against n on a log axis, with rho^n (rho the spectral radius) beside it.

    Where ||M||_2 > rho, for which M must not be normal, the norm may first rise although rho < 1;
    where M is defective it may grow although rho = 1. The gap between the two lines of one colour
    shows it.

    Parameters
    ----------
    curve : PowerCurve, or mapping of str to PowerCurve
        Several are drawn on the same axes under their names.
    ax : matplotlib Axes, optional
        None makes a figure.

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ImportError
        If matplotlib is missing (here and in every other plot).

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> curve = ur.flow.matrix_power_curve(np.array([[0.9, 2.0], [0.0, 0.9]]), 60)
    >>> ur.flow.plot_power_curve(curve).get_yscale()
    'log'
    """
    curves = curve if isinstance(curve, Mapping) else {"": curve}
    taken = sum(line.get_gid() == "norms" for line in ax.get_lines())
    for place, (name, each) in enumerate(curves.items(), taken):
        colour = SERIES[place % len(SERIES)]
        steps = np.arange(len(each.norms))
        rho = float(each.spectral_radius)
        with np.errstate(over="ignore", under="ignore"):
            powers = np.power(rho, steps)
        head = f"{name}: " if name else ""
        ax.plot(steps, _positive(each.norms), color=colour, lw=1.8, gid="norms",
                label=f"{head}‖Mⁿ‖₂")  # fmt: skip
        ax.plot(steps, _positive(powers), color=colour, lw=1.1, ls=(0, (4, 2)), gid="radius",
                label=f"{head}ρⁿ, ρ = {rho:.3g}")  # fmt: skip
    ax.axhline(1, color=GREY, lw=0.8)
    _log(ax, np.concatenate([_drawn(line) for line in ax.get_lines() if line.get_gid()]))
    ax.set(title="Powers of the recurrent matrix", xlabel="power n (steps)", ylabel="norm")
    if taken + len(curves) == 1:
        ax.legend()
    else:
        # Below the lines, which are all over the place.
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2, fontsize="small")
    return ax


@_on_axes
def plot_triangle(gradients: Any, ax: Any = None, *, decades: float = 8.0) -> Any:
    """Draw the gradient's terms: loss at t upwards, use of the parameter at k to the right.

    Parameters
    ----------
    gradients : LagGradients
        `norms[t, k]` is drawn on a log scale. Blank: no term (k after t), or exactly zero. Where
        few steps have a loss, each is drawn as high as reaches half-way to the next.
    ax : matplotlib Axes, optional
    decades : float
        How far below the largest the scale goes; what is smaller has the lowest colour.

    Returns
    -------
    matplotlib Axes
    """
    norms = np.asarray(gradients.norms, np.float64)
    steps = np.flatnonzero(np.any(norms > 0, axis=1))
    if not steps.size:
        _nothing(ax, "every term is zero")
    else:
        rows = norms[steps]
        top = float(rows[np.isfinite(rows)].max(initial=0.0)) or 1.0
        scale = matplotlib("matplotlib.colors").LogNorm(top * 10.0**-decades, top, clip=True)
        mesh = ax.pcolormesh(
            np.arange(norms.shape[1] + 1) - 0.5,
            _edges(steps),
            np.ma.masked_where(rows <= 0, rows),
            norm=scale,
            cmap="viridis",
            rasterized=True,
        )
        bar = ax.figure.colorbar(mesh, ax=ax, label="norm of the term", extend="min", pad=0.02)
        label_decades(bar.ax.yaxis)
        if steps.size <= 6:
            ax.set_yticks(steps)
    ax.grid(visible=False)
    ax.set(
        title=f"Terms of the gradient of {gradients.parameter}",
        xlabel="used at step k",
        ylabel="loss at step t",
    )
    return ax


@_on_axes
def plot_by_lag(gradients: Any, ax: Any = None, *, bounds: Any = None) -> Any:
    """Draw the share of each lag in the gradient, and how fast theory lets it fall.

    Parameters
    ----------
    gradients : LagGradients
        The share of a lag is its `by_lag` over their sum.
    ax : matplotlib Axes, optional
    bounds : Bounds, optional
        Its curves (the mean over rows) start from the share of lag 0, to compare how steeply they
        fall; they bound the transition's norm (`plot_bounds`), of which a share is only a part.

    Returns
    -------
    matplotlib Axes
    """
    shares = lag_shares(gradients)
    if not np.any(shares > 0):
        _nothing(ax, "not finite" if np.isnan(shares).any() else "every term is zero")
    else:
        drawn = [shares]
        ax.plot(np.arange(len(shares)), _positive(shares), color=BLUE, lw=1.6, marker="o",
                ms=3 if len(shares) <= 64 else 0, gid="shares", label="measured")  # fmt: skip
        for name, values, colour, style in _bounds(bounds):
            line = shares[0] * values
            ax.plot(np.arange(len(line)), _positive(line), color=colour, ls=style, lw=1.1,
                    gid="bound", label=f"lag 0 × {name}")  # fmt: skip
        _log(ax, np.concatenate(drawn), high=1.5)
        if bounds is not None:
            ax.legend()
    ax.set(
        title=f"Gradient of {gradients.parameter} by lag",
        xlabel="lag t − k (steps)",
        ylabel="share of the gradient",
    )
    return ax


@_on_axes
def plot_bounds(bounds: Any, ax: Any = None) -> Any:
    """Draw ||ds_t/ds_{t-lag}||_2 as measured, and the bounds it keeps to.

    Parameters
    ----------
    bounds : Bounds
        Of several rows the mean is drawn, which keeps to the mean of their bounds.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    measured = _over_rows(bounds.measured)
    lines = [measured]
    ax.plot(np.arange(len(measured)), _positive(measured), color=BLUE, lw=1.8, gid="measured",
            label="measured")  # fmt: skip
    for name, values, colour, style in _bounds(bounds):
        lines.append(values)
        ax.plot(np.arange(len(values)), _positive(values), color=colour, ls=style, lw=1.2,
                gid="bound", label=name)  # fmt: skip
    ax.axhline(1, color=GREY, lw=0.8)
    _log(ax, np.concatenate([np.ones(1), *lines]))
    ax.set(
        title="From an earlier state to the last one",
        xlabel="lag (steps)",
        ylabel="norm of ∂s(t)/∂s(t − lag)",
    )
    ax.legend()
    return ax


@_on_axes
def plot_singular_values(values: Any, ax: Any = None) -> Any:
    """Draw the singular values of ds_t/ds_{t-lag} by lag: how many directions are kept.

    Parameters
    ----------
    values : array (L+1, B, S), or (L+1, S) without a batch
        What `singular_values_by_lag` returns. Of several rows the median is drawn.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    values = np.asarray(values, np.float64)
    if values.ndim not in (2, 3) or 0 in values.shape:
        raise ValueError(f"values: expected shape (L+1, B, S) or (L+1, S), got {values.shape}")
    spectra = np.median(values, axis=1) if values.ndim == 3 else values
    lags, size = np.arange(len(spectra)), spectra.shape[1]
    # Rounding leaves a value somewhat below the largest of its own lag, not a true one.
    seen = np.where(spectra > FLOOR * spectra[:, :1], spectra, np.nan)
    for each in np.unique(np.linspace(0, size - 1, min(size, 24)).round().astype(int)):
        ax.plot(lags, seen[:, each], color=SKY, lw=0.6, alpha=0.7, gid="value")
    bold = {"largest": (0, "-"), "median": (size // 2, (0, (4, 2))), "smallest": (size - 1, ":")}
    for name, (index, style) in bold.items():
        ax.plot(lags, seen[:, index], color=BLUE, lw=1.6, ls=style, gid=name, label=name)
    ax.axhline(1, color=GREY, lw=0.8)
    _log(ax, np.append(seen, 1.0))
    ax.set(
        title="Singular values of the transition",
        xlabel="lag (steps)",
        ylabel="singular values of ∂s(t)/∂s(t − lag)",
    )
    ax.legend(title=f"of {size}")
    return ax


@_on_axes
def plot_lyapunov(exponents: Any, ax: Any = None) -> Any:
    """Draw the Lyapunov exponents: above zero perturbations and gradients grow, below they decay.

    Parameters
    ----------
    exponents : array (B, n) or (n,), or what `history=True` returns
        Without the history: each exponent, a mark for each row and a line through the means. With
        it: the running estimates of the first four against the steps, a band from the least to the
        greatest of the rows.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    if isinstance(exponents, tuple):
        found, running = (np.asarray(a, np.float64) for a in exponents)
        running = running[:, None] if running.ndim == 2 else running
        # More points than an axes is wide only make files large.
        shown = np.unique(np.linspace(0, len(running) - 1, min(len(running), 400)).astype(int))
        steps, running = shown + 1, running[shown]
        styles = ("-", (0, (5, 1.5)), (0, (2, 1.5)), ":")
        for index in range(min(running.shape[2], 4)):
            colour = SERIES[index]
            ax.plot(steps, running[:, :, index].mean(1), color=colour, ls=styles[index], lw=1.4,
                    gid="running", label=f"λ{'₁₂₃₄'[index]}")  # fmt: skip
            if running.shape[1] > 1:
                low, high = running[:, :, index].min(1), running[:, :, index].max(1)
                ax.fill_between(steps, low, high, color=colour, alpha=0.15, lw=0)
        # The first steps swing; what they settle at is to be seen.
        settled = running[len(running) // 10 :, :, :4]
        settled = settled[np.isfinite(settled)]
        if settled.size:
            low, high = min(settled.min(), 0.0), max(settled.max(), 0.0)
            ax.set_ylim(low - 0.1 * (high - low or 1), high + 0.1 * (high - low or 1))
        ax.set(xlabel="steps counted")
        ax.legend(ncols=2)
    else:
        found = np.atleast_2d(np.asarray(exponents, np.float64))
        places = np.arange(1, found.shape[1] + 1)
        for row in found:
            ax.plot(places, row, ls="", marker="o", ms=3, mfc="none", color=SKY, gid="row")
        ax.plot(places, found.mean(0), color=BLUE, lw=1.4, gid="mean")
        ax.set(xlabel="exponent i")
        ax.xaxis.set_major_locator(matplotlib("matplotlib.ticker").MaxNLocator(integer=True))
    ax.axhline(0, color=GREY, lw=0.8, gid="zero")
    ax.set(title="Lyapunov exponents", ylabel="λ (natural log per step)")
    return ax


@_on_axes
def plot_gates(saturation: GateSaturation, ax: Any = None, *, gate: str | None = None) -> Any:
    """Draw one gate over time: its mean, and the share of units nearly shut and nearly open.

    Parameters
    ----------
    saturation : GateSaturation
        What `gate_saturation` returns.
    ax : matplotlib Axes, optional
    gate : str, optional
        One of ``saturation.names``. None is the one that decides what is kept: f of an LSTM (o
        without a forget gate), z of a GRU, h of an RNN.

    Returns
    -------
    matplotlib Axes
    """
    names = saturation.names
    if gate is None:
        gate = next(name for name in ("f", "z", "o", "h") if name in names)
    if gate not in names:
        raise ValueError(f"gate: expected one of {', '.join(names)}, got {gate!r}")
    index = names.index(gate)
    steps = np.arange(len(saturation.mean))
    low, high, mean = (a[:, index] for a in (saturation.low, saturation.high, saturation.mean))
    what = saturation.labels[index]
    ax.fill_between(steps, 0, low, color=VERMILION, alpha=0.3, lw=0, gid="low",
                    label=saturation.low_label[index])  # fmt: skip
    ax.fill_between(steps, 1 - high, 1, color=BLUE, alpha=0.3, lw=0, gid="high",
                    label=saturation.high_label[index])  # fmt: skip
    ax.plot(steps, low, color=VERMILION, lw=0.8)
    ax.plot(steps, 1 - high, color=BLUE, lw=0.8)
    ax.plot(steps, mean, color=GREEN, lw=1.6, gid="mean", label=saturation.mean_label[index])
    ax.set(title=what, xlabel="step", ylabel="share of units, mean", ylim=(0, 1))
    ax.margins(x=0)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=3, fontsize="small")
    return ax


@_on_axes
def plot_cell_path(path: Any, ax: Any = None) -> Any:
    """Draw an LSTM's direct path through the cell against the full derivative, and their ratio.

    Parameters
    ----------
    path : CellPath
        The median over units and rows of the direct path (a product of forget gates), of the
        diagonal of the full dc_t/dc_{t-lag} in size, and of the size of their ratio; bands hold the
        middle half. An upright line marks the median of ``path.memory``.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
    """
    direct = np.asarray(path.direct, np.float64)
    lags = np.arange(len(direct))
    full = np.abs(np.diagonal(np.asarray(path.full, np.float64), axis1=-2, axis2=-1))
    ratio = np.abs(np.asarray(path.ratio, np.float64))
    extent = []
    for gid, name, values, colour, style in (
        ("direct", "direct, Π f", direct, BLUE, "-"),
        ("full", "full, |diagonal|", full, VERMILION, (0, (4, 2))),
        ("ratio", "|full / direct|", ratio, GREEN, ":"),
    ):
        low, middle, high = _quartiles(values.reshape(len(lags), -1))
        ax.plot(lags, _positive(middle), color=colour, ls=style, lw=1.6, gid=gid, label=name)
        if gid != "ratio":
            ax.fill_between(lags, _positive(low), _positive(high), color=colour, alpha=0.15, lw=0)
        extent.append(middle)
    memory = float(np.median(np.asarray(path.memory, np.float64)))
    if np.isfinite(memory):
        ax.axvline(memory, color=GREY, lw=1, ls="--", gid="memory",
                   label=f"direct < 1/e at {memory:g}")  # fmt: skip
    _log(ax, np.concatenate(extent))
    ax.set(title="Along the cell", xlabel="lag (steps)", ylabel="∂c(t)/∂c(t − lag), a unit")
    ax.legend()
    return ax


def lag_shares(gradients: Any) -> Array:
    """`by_lag` over its sum: zeros if that is zero, NaN if one of them is not finite."""
    by_lag = np.asarray(gradients.by_lag, np.float64)
    largest = by_lag.max(initial=0.0)
    if not largest:
        return np.zeros_like(by_lag)
    if not np.isfinite(largest):
        return np.full_like(by_lag, np.nan)
    # Their sum may be more than float64 can say.
    by_lag = by_lag / largest
    return np.asarray(by_lag / by_lag.sum())


def _bounds(bounds: Any) -> Sequence[tuple[str, Array, str, Any]]:
    """Name, curve, colour and style of each that is there, the tightest first."""
    if bounds is None:
        return []
    kinds: tuple[tuple[str, str, str, Any], ...] = (
        ("jacobians", "Π‖J‖₂", GREEN, (0, (5, 2))),
        ("per_step", "Π‖diag σ′‖‖W‖", PURPLE, (0, (3, 1.5, 1, 1.5))),
        ("uniform", "(γ‖W‖)^lag", VERMILION, ":"),
    )
    found = []
    for field, name, colour, style in kinds:
        values = getattr(bounds, field)
        if values is not None:
            found.append((name, _over_rows(values), colour, style))
    return found


def _over_rows(values: Any) -> Array:
    values = np.asarray(values, np.float64)
    return values if values.ndim == 1 else np.asarray(values.mean(axis=1))


def _quartiles(values: Array) -> list[Array]:
    """Over the second axis, without NaN; NaN where there is nothing else."""
    found = np.full((3, len(values)), np.nan)
    for place, row in enumerate(values):
        row = row[np.isfinite(row)]
        if row.size:
            found[:, place] = np.quantile(row, (0.25, 0.5, 0.75))
    return list(found)


def _positive(values: Any) -> Array:
    """What a log axis can show; NaN for the rest."""
    values = np.asarray(values, np.float64)
    return np.where(np.isfinite(values) & (values > 0), values, np.nan)


def _drawn(line: Any) -> Array:
    return np.asarray(line.get_ydata(), np.float64)


def _log(ax: Any, values: Array, *, high: float = 2.0) -> None:
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


def _edges(steps: Array) -> Array:
    """Where the rows of a heat map end: half-way between the steps."""
    if len(steps) == 1:
        return np.array([steps[0] - 0.5, steps[0] + 0.5])
    middle = (steps[1:] + steps[:-1]) / 2
    return np.concatenate(
        [[steps[0] - (middle[0] - steps[0])], middle, [steps[-1] + (steps[-1] - middle[-1])]]
    )


def _nothing(ax: Any, why: str) -> None:
    ax.text(0.5, 0.5, why, ha="center", va="center", transform=ax.transAxes, color=GREY)
