"""A record's pictures, drawn without a screen."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from .._style import STYLE
from .._write import replace
from . import table
from .contenders import OURS
from .works import FORWARD, STEP, TRAINING

COLOURS = {
    OURS: "#1f5fa8",
    "PyTorch": "#d95f02",
    "JAX": "#3a8f5c",
    "ONNX Runtime": "#8a4fae",
    "OpenVINO": "#b8860b",
    "PyTorch compile": "#c2607f",
    "NumPy": "#808080",
}
MODES = {
    FORWARD: ("forward", "#1f5fa8", "o"),
    TRAINING: ("forward + backward", "#d95f02", "s"),
    STEP: ("one step", "#3a8f5c", "D"),
}
# Sweep, axis, and the values to label.
COSTS = (
    ("steps", "steps T", (1, 16, 256, 4096)),
    ("batch", "rows B", (1, 4, 16, 64, 256)),
    ("units", "units H", (1, 4, 16, 64, 256)),
)


def draw(record: Mapping[str, Any], directory: Path) -> list[Path]:
    """The pictures there is something to show in."""
    made = []
    with plt.rc_context(STYLE):
        for count in table.threads(record):
            rows = [row for row in table.rows(record, count) if row.ratio is not None]
            if rows:
                label = f"{count} thread{'s' * (count > 1)}"
                figure = _ratios(rows, f"Best peer's time over ours, {label}")
                made.append(save(figure, directory / f"ratios-{count}.png"))
        swept = {entry["sweep"] for entry in record["sweeps"]}
        if swept & {name for name, _, _ in COSTS}:
            made.append(save(_costs(record), directory / "costs.png"))
        if "cliffs" in swept:
            made.append(save(_rates(record), directory / "gflops-by-units.png"))
        if "stream" in swept:
            made.append(save(_stream(record), directory / "step-by-units.png"))
    return made


def _ratios(rows: Sequence[table.Row], title: str) -> Any:
    names = list(dict.fromkeys(row.work for row in rows))
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.27 * len(names)), layout="constrained")
    for row in rows:
        assert row.ratio is not None
        _, colour, marker = MODES[row.mode]
        # The two modes a little apart, so that neither hides the other.
        place = names.index(row.work) + {FORWARD: -0.14, TRAINING: 0.14, STEP: 0.0}[row.mode]
        axes.plot(row.ratio, place, marker, color=colour, ms=5)
        if row.goal is not None:
            axes.plot([row.goal] * 2, [place - 0.16, place + 0.16], color=colour, lw=1.6)
            axes.plot([row.goal, row.ratio], [place] * 2, color=colour, lw=0.8, alpha=0.5)
    axes.axvline(1, color="#555555", lw=1)
    axes.set_xscale("log")
    low = min([0.8, *(row.ratio for row in rows if row.ratio)]) / 1.1
    high = max(max(row.ratio or 1, row.goal or 1) for row in rows) * 1.15
    axes.set_xlim(low, high)
    _label(axes.xaxis, [n for n in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128) if low < n < high])
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.set(title=title, xlabel="times as fast as the best peer (log scale)")
    shown = [mode for mode in MODES if any(row.mode == mode for row in rows)]
    handles: list[Any] = [
        Line2D([], [], color=MODES[m][1], marker=MODES[m][2], ls="", label=MODES[m][0])
        for m in shown
    ]
    handles.append(Line2D([], [], color="#555555", marker="|", ms=9, mew=1.6, ls="", label="goal"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


def _sweep(record: Mapping[str, Any], name: str) -> tuple[str, dict[str, list[tuple[int, Any]]]]:
    """Its title, and for each contender the values and entries where it was timed."""
    found = [entry for entry in record["sweeps"] if entry["sweep"] == name]
    title = found[0]["title"] if found else ""
    series: dict[str, list[tuple[int, Any]]] = {}
    for entry in found:
        for contender, outcome in entry["contenders"].items():
            if outcome["status"] == "timed":
                series.setdefault(contender, []).append((entry["value"], entry))
    return title, series


def _curves(
    axes: Any, series: Mapping[str, Sequence[tuple[int, Any]]], rate: bool, dense: bool = False
) -> None:
    """A line each with the quartiles behind it: seconds a call, or GFLOP/s."""
    for name, points in series.items():
        values = [value for value, _ in points]

        def at(key: str, name: str = name, points: Any = points) -> list[float]:
            seconds = [entry["contenders"][name][key] for _, entry in points]
            if not rate:
                return seconds
            pairs = zip(points, seconds, strict=True)
            return [point[1]["flops"] / s / 1e9 for point, s in pairs]

        colour = COLOURS.get(name, "#808080")
        if dense and name != OURS:
            # Sparse points are not joined: what lies between was not measured.
            middle = at("median")
            ends = zip(at("q1"), middle, at("q3"), strict=True)
            # The first quartile of times is the third of rates.
            errors = [(m - min(a, b), max(a, b) - m) for a, m, b in ends]
            axes.errorbar(
                values,
                middle,
                list(zip(*errors, strict=True)),
                color=colour,
                fmt="o",
                ms=3.5,
                elinewidth=0.8,
                label=name,
            )
            continue
        axes.plot(
            values,
            at("median"),
            color=colour,
            lw=1.4 if name == OURS else 1.0,
            marker=None if dense else "o",
            ms=3.5,
            label=name,
        )
        axes.fill_between(values, at("q1"), at("q3"), color=colour, alpha=0.15, lw=0)


def _label(axis: Any, ticks: Sequence[float]) -> None:
    axis.set_major_locator(plt.FixedLocator(list(ticks)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def _seconds(axes: Any) -> None:
    """Times on a log axis, in words."""

    def said(value: float, _: Any) -> str:
        for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6), ("ns", 1e-9)):
            if value >= 0.999 * size:
                return f"{value / size:g} {unit}"
        return f"{value:g} s"

    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FuncFormatter(said))
    axes.yaxis.set_minor_locator(NullLocator())


def _costs(record: Mapping[str, Any]) -> Any:
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.6), layout="constrained")
    for axes, (name, label, ticks) in zip(panels, COSTS, strict=True):
        title, series = _sweep(record, name)
        _curves(axes, series, rate=False)
        axes.set_xscale("log")
        _seconds(axes)
        _label(axes.xaxis, ticks)
        axes.set(title=title, xlabel=label)
    panels[0].set_ylabel("forward + backward, a call")
    panels[0].legend(loc="upper left")
    return figure


def _rates(record: Mapping[str, Any]) -> Any:
    figure, panels = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
    names = {"cliffs": "forward", "training cliffs": "forward + backward"}
    for axes, (name, what) in zip(panels, names.items(), strict=True):
        title, series = _sweep(record, name)
        _curves(axes, series, rate=True, dense=True)
        peaks = sorted(entry["peak"] for entry in record["sweeps"] if entry["sweep"] == name)
        if peaks:
            peak = peaks[len(peaks) // 2]
            axes.axhline(peak, color="#555555", lw=1, ls="--", label="independent multiply-adds")
        axes.set_xscale("log", base=2)
        _label(axes.xaxis, (1, 2, 4, 8, 16, 32, 64, 128, 256, 512))
        axes.set_ylim(bottom=0)
        axes.set(title=f"{title}: {what}", xlabel="units H")
    panels[0].set_ylabel("GFLOP/s")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _stream(record: Mapping[str, Any]) -> Any:
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    title, series = _sweep(record, "stream")
    _curves(axes, series, rate=False, dense=True)
    axes.set_xscale("log", base=2)
    _seconds(axes)
    _label(axes.xaxis, (1, 2, 4, 8, 16, 32, 64, 128, 256, 512))
    axes.set(title=f"{title}, called from Python", xlabel="units H", ylabel="a step")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def save(figure: Any, path: Path) -> Path:
    """In the format that its name says, in one move."""
    file = io.BytesIO()
    figure.savefig(file, format=path.suffix[1:])
    replace(path, file.getvalue())
    plt.close(figure)
    return path
