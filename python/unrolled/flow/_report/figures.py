"""A layer's pictures as SVG that takes its colours from the page, each with words for it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..._style import STYLE
from .. import _plots as plots
from .._words import number, percent
from .measure import REST, Results

# Ink that the page replaces by its own; not a colour that anything else has.
INK = "#010203"
# The names the page gives to the colours of `_plots`, of which it has others for the dark.
PALETTE = {
    plots.BLUE: "blue",
    plots.VERMILION: "vermilion",
    plots.GREEN: "green",
    plots.PURPLE: "purple",
    plots.AMBER: "amber",
    plots.SKY: "sky",
    plots.GREY: "grey",
}
RC: Any = STYLE | {
    "svg.fonttype": "none",
    "svg.hashsalt": "unrolled",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "grid.color": INK,
    "grid.alpha": 0.12,
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Figure:
    """A picture, how to read it, and what one would tell who cannot see it."""

    svg: str
    caption: str
    alt: str


def pictures(results: Results, prefix: str) -> Iterator[Figure]:
    """Those there is something to show in; `prefix` keeps the ids of one page apart."""
    for place, (draw, caption, alt) in enumerate(_drawings(results)):
        yield Figure(svg(draw, f"{prefix}-{place}-", alt), caption, alt)


def svg(draw: Callable[[Any], Any], prefix: str, alt: str) -> str:
    """What `draw` puts on axes, as an element for a page."""
    figure_class = plots.matplotlib("matplotlib.figure").Figure
    with plots.matplotlib().rc_context(RC):
        figure = figure_class(figsize=(4.8, 3.2), layout="constrained")
        draw(figure.add_subplot())
        file = io.StringIO()
        about = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=about, dpi=150)
    return _adopt(file.getvalue(), prefix, alt)


def _adopt(text: str, prefix: str, alt: str) -> str:
    """Without a file's head, with ids of its own where they are used, in the page's colours."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{prefix}{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", text)
    text = text.replace(INK, "currentColor")
    for colour, name in PALETTE.items():
        text = text.replace(colour, f"var(--{name})")
    view = re.search(r'viewBox="[^"]*"', text)
    assert view is not None, "matplotlib writes a viewBox"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'{view.group()} role="img" aria-labelledby="{prefix}alt">'
        f'<title id="{prefix}alt">{_escaped(alt)}</title>'
    )
    return re.sub(r"<svg\b[^>]*>", lambda _: head, text, count=1)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


Drawing = tuple[Callable[[Any], Any], str, str]


def _drawings(r: Results) -> Iterator[Drawing]:
    yield _by_lag(r)
    if np.any(r.gradients.norms > 0, axis=1).sum() > 1:
        yield (
            lambda ax: plots.plot_triangle(r.gradients, ax),
            "Each cell is one term of the double sum. Along a row, one loss is "
            "followed to where the matrix is used.",
            f"Heat map of the terms of the gradient of {r.gradients.parameter} by step of loss "
            f"and step of use; {_triangle_words(r)}.",
        )
    if r.exponents is not None:
        yield (
            lambda ax: plots.plot_lyapunov(r.exponents, ax),
            "Mean growth of a small change, per step. Below 0 it shrinks, above 0 it grows.",
            "Running estimates of the largest Lyapunov exponents; the first ends at "
            f"{number(r.numbers.exponent or 0.0)} per step.",
        )
    if r.bounds is not None:
        yield (
            lambda ax: plots.plot_bounds(r.bounds, ax),
            "The measured norm, and bounds it cannot exceed: the looser, the less they know of "
            "this run.",
            f"The norm of the derivative of the last state by earlier ones: "
            f"{number(r.numbers.transition or 0.0)} at lag {r.numbers.lag}, at most "
            f"{number(r.numbers.peak or 0.0)}.",
        )
    if r.spectra is not None:
        spectra = r.spectra
        kept = int((np.median(spectra[-1], axis=0) > 0.1).sum())
        yield (
            lambda ax: plots.plot_singular_values(spectra, ax),
            "Directions of the state whose value stays near 1 are kept; what falls far below is "
            "forgotten, what rises far above is magnified.",
            f"Singular values by lag: {kept} of {spectra.shape[2]} are above 0.1 at lag "
            f"{len(spectra) - 1}.",
        )
    if r.path is not None:
        yield (
            lambda ax: plots.plot_cell_path(r.path, ax),
            "Median and middle half of the units. Where the ratio leaves 1, paths through h and "
            "the gates add to the cell's own or cancel it.",
            f"Derivative along the cell, directly and in full: {_path_words(r)}.",
        )
    if np.isfinite(r.gates.low).any():
        for name in r.gates.names:
            yield _gate(r, name)
    if r.powers:
        yield (
            lambda ax: plots.plot_power_curve(r.powers, ax).set_title("Powers of one matrix"),
            "What one matrix alone would do, were every step the same. The product of the steps' "
            "own Jacobians is above.",
            "Norms of powers of a matrix: "
            + ", ".join(
                f"{name}, spectral radius {number(curve.spectral_radius)}"
                for name, curve in r.powers.items()
            )
            + ".",
        )  # fmt: skip


def _by_lag(r: Results) -> Drawing:
    shares = plots.lag_shares(r.gradients)
    words = f"{percent(shares[0])} at lag 0" if len(shares) else "nothing"
    if r.numbers.reach is not None:
        words += f"; beyond lag {r.numbers.reach} at most {100 * REST:g} % of the gradient"
    return (
        lambda ax: plots.plot_by_lag(r.gradients, ax, bounds=r.bounds),
        "Norm of all terms whose loss is so many steps from the use of the matrix, over the sum "
        "for all lags.",
        f"Share of each lag in the gradient of {r.gradients.parameter}: {words}.",
    )


def _path_words(r: Results) -> str:
    n = r.numbers
    memory = n.memory if n.memory is not None else np.inf
    words = f"directly below 1/e at {f'lag {number(memory)}' if np.isfinite(memory) else 'no lag'}"
    if n.ratio_low is not None and n.ratio_high is not None:
        words += f", ratio {number(n.ratio_low)} to {number(n.ratio_high)}"
    return words


def _gate(r: Results, name: str) -> Drawing:
    low, high, mean = r.gates.overall(name)
    index = r.gates.names.index(name)
    about = (
        f"{r.gates.labels[index]}: {r.gates.low_label[index]} {percent(low)}, "
        f"{r.gates.high_label[index]} {percent(high)}, {r.gates.mean_label[index]} {number(mean)}"
    )
    return (
        lambda ax: plots.plot_gates(r.gates, ax, gate=name),
        f"Over all steps: {about.partition(': ')[2]}.",
        f"Over time, {about}.",
    )


def _triangle_words(r: Results) -> str:
    norms = r.gradients.norms
    t, k = np.unravel_index(int(np.argmax(norms)), norms.shape)
    return f"the largest has its loss at {t} and its use at {k}"
