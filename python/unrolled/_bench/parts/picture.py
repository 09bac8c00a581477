"""The parts as bars, in lengths of what the products would take at the machine's peak."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from ..._style import STYLE
from ..plots import save
from ..table import duration, factor
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
    with plt.rc_context(STYLE):
        names = ("parts.png", "parts.svg")
        return [save(_figure(record), directory / name) for name in names]


def _figure(record: Mapping[str, Any]) -> Any:
    entries = record["entries"]
    # A single row is far from the limit: an axis of its own.
    rows = [bars for bars in _kinds(entries) if bars]
    figure, panels = plt.subplots(
        len(rows),
        len(TITLES),
        figsize=(12, 1.5 + sum(INCH * (len(bars) + 3) for bars in rows)),
        height_ratios=[len(bars) + 2 for bars in rows],
        squeeze=False,
        sharex="row",
        layout="constrained",
    )
    for line, bars in zip(panels, rows, strict=True):
        ends = [
            _bars(axes, [found for found in entries if found["mode"] == mode], bars)
            for axes, mode in zip(line, TITLES, strict=True)
        ]
        # The shared axis, with room for the numbers.
        line[0].set_xlim(0, 1.17 * max(1.0, *ends))
        line[1].tick_params(labelleft=False)
    for axes, title in zip(panels[0], TITLES.values(), strict=True):
        axes.set_title(title)
    for axes in panels[-1]:
        axes.set_xlabel("times the limit: what the products would take at the peak")
    figure.suptitle(
        f"Where the time of a call goes: T,B,I,H on {record['machine']['cpu']}, one thread",
        fontsize=10,
    )
    seen = {part for entry in entries for part, seconds in entry["parts"].items() if seconds}
    handles: list[Any] = [Patch(color=COLOURS[part], label=part) for part in ORDER if part in seen]
    line = {"color": "black", "marker": "|", "ls": "", "ms": 9}
    handles.append(Line2D([], [], label="whole, no clock within", **line))
    figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), columnspacing=1.2
    )
    return figure


Bar = tuple[str, str]


def _kinds(entries: Sequence[Mapping[str, Any]]) -> tuple[list[Bar], list[Bar]]:
    """Works and levels, in order: of batches, and of a single row."""
    bars = dict.fromkeys((entry["work"], entry["isa"]) for entry in entries)
    single = {entry["work"] for entry in entries if entry["parts"]["whole steps"]}
    return [b for b in bars if b[0] not in single], [b for b in bars if b[0] in single]


def _bars(axes: Any, entries: Sequence[Mapping[str, Any]], bars: Sequence[Bar]) -> float:
    """A bar each; how far the longest goes."""
    places, place = [], 0.0
    for above, (work, _) in zip([bars[0], *bars], bars, strict=False):
        # Levels of a work stand together.
        place += 1.0 if work == above[0] else 1.5
        places.append(place)
    longest = 0.0
    for entry in entries:
        bar = (entry["work"], entry["isa"])
        if bar in bars:
            longest = max(longest, _bar(axes, entry, places[bars.index(bar)]))
    axes.axvline(1, color="black", lw=1, ls="--")
    axes.set_ylim(places[-1] + 0.7, places[0] - 0.7)
    axes.set_yticks(places, [f"{work}  {isa}" for work, isa in bars])
    axes.tick_params(left=False)
    axes.grid(axis="y", visible=False)
    axes.set_axisbelow(True)
    return longest


def _bar(axes: Any, entry: Mapping[str, Any], place: float) -> float:
    unit, left = limit(entry), 0.0
    for part in ORDER:
        width = entry["parts"][part] / unit
        axes.barh(place, width, 0.84, left, color=COLOURS[part], edgecolor="white", lw=0.3)
        left += width
    at = whole(entry) / unit
    axes.plot([at] * 2, [place - 0.42, place + 0.42], color="black", lw=1)
    end = max(left, at)
    axes.annotate(
        f"{factor(at)}   {duration(whole(entry))}",
        (end, place),
        (4, 0),
        textcoords="offset points",
        va="center",
        fontsize=7.5,
    )
    return end
