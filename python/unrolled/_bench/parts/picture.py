"""The parts as bars, in lengths of what the products would take at the machine's peak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.patches import Patch

from ..._style import STYLE
from ..plots import save
from ..works import FORWARD, TRAINING
from . import ORDER, limit
from .text import whole

# Okabe and Ito's colours, told apart by those who see fewer, and greys: blue on the way there,
# orange and red on the way back.
COLOURS = {
    "W_ih x": "#56b4e9",
    "W_hh h": "#0072b2",
    "d_h": "#d55e00",
    "d_x": "#e69f00",
    "dW": "#cc79a7",
    "whole steps": "#3b4a8c",
    "activations": "#009e73",
    "d_gates": "#f0e442",
    "copies": "#8c8c8c",
    "packing": "#404040",
    "rest": "#d0d0d0",
}
TITLES = {FORWARD: "forward", TRAINING: "forward + backward"}
INCH = 0.19


def draw(record: Mapping[str, Any], directory: Path) -> list[Path]:
    """The same picture in pixels and in lines."""
    made = []
    for suffix in ("png", "svg"):
        with plt.rc_context({**STYLE, "svg.hashsalt": "parts"}):
            made.append(save(_figure(record["entries"]), directory / f"parts.{suffix}"))
    return made


def _figure(entries: Sequence[Mapping[str, Any]]) -> Any:
    # Steps of a single row are far longer than the limit: an axis of their own.
    rows = [found for found in _kinds(entries) if found]
    heights = [len(bars) for bars in rows]
    figure, panels = plt.subplots(
        len(rows),
        len(TITLES),
        figsize=(12, 1.6 + sum(INCH * n + 0.35 for n in heights)),
        height_ratios=[n + 2 for n in heights],
        squeeze=False,
        layout="constrained",
    )
    for line, bars in zip(panels, rows, strict=True):
        for axes, mode in zip(line, TITLES, strict=True):
            _bars(axes, [found for found in entries if found["mode"] == mode], bars)
            axes.tick_params(labelleft=axes is line[0])
    for axes, title in zip(panels[0], TITLES.values(), strict=True):
        axes.set_title(title)
    for axes in panels[-1]:
        axes.set_xlabel("times the limit (the products at the peak)")
    seen = {part for entry in entries for part, seconds in entry["parts"].items() if seconds}
    handles = [Patch(color=COLOURS[part], label=part) for part in ORDER if part in seen]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


Bar = tuple[str, str]


def _kinds(entries: Sequence[Mapping[str, Any]]) -> tuple[list[Bar], list[Bar]]:
    """Works and levels, in order: of batches, and of a single row."""
    bars = dict.fromkeys((entry["work"], entry["isa"]) for entry in entries)
    single = {entry["work"] for entry in entries if entry["parts"]["whole steps"]}
    return [b for b in bars if b[0] not in single], [b for b in bars if b[0] in single]


def _bars(axes: Any, entries: Sequence[Mapping[str, Any]], bars: Sequence[Bar]) -> None:
    places, place, before = [], 0.0, ""
    for work, _ in bars:
        # Levels of a work stand together.
        place += 1.0 if work == before or not before else 1.5
        places.append(place)
        before = work
    longest = 1.0
    for entry in entries:
        key = (entry["work"], entry["isa"])
        if key not in bars:
            continue
        y, at_peak = places[bars.index(key)], limit(entry)
        left = 0.0
        for part in ORDER:
            width = entry["parts"][part] / at_peak
            axes.barh(y, width, 0.84, left, color=COLOURS[part], edgecolor="white", lw=0.3)
            left += width
        without = whole(entry) / at_peak
        axes.plot([without] * 2, [y - 0.42, y + 0.42], color="black", lw=1)
        longest = max(longest, left, without)
        axes.annotate(
            f"{without:.2f}", (max(left, without), y), (4, 0), textcoords="offset points",
            va="center", fontsize=7.5,
        )  # fmt: skip
    axes.axvline(1, color="black", lw=1, ls="--")
    axes.set_xlim(0, 1.08 * longest)
    axes.set_ylim(places[-1] + 0.7, places[0] - 0.7)
    axes.set_yticks(places, [f"{work}  {isa}" for work, isa in bars])
    axes.grid(axis="y", visible=False)
