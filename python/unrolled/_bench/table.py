"""A record as a table, in text and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import cliffs
from .contenders import ALL, OURS, PEERS
from .works import FORWARD, STEP, TRAINING

MODES = {FORWARD: "forward", TRAINING: "+ backward", STEP: "step"}


@dataclass(frozen=True)
class Row:
    """What an entry of the record comes to. Seconds, GFLOP/s, shares and ratios as fractions."""

    work: str
    mode: str
    entry: Mapping[str, Any]
    seconds: float
    # Between the quartiles, as a share of the median.
    spread: float
    rate: float
    share: float
    # The fastest peer with right results and its time over ours, if there is one.
    best: str | None
    ratio: float | None
    goal: float | None
    # The ratio the goal is for: `ratio`, or that to the one contender it names.
    judged: float | None
    # The time of every other contender with right results over ours.
    times: Mapping[str, float]

    @property
    def reached(self) -> bool | None:
        """Whether the ratio is as it should be; None where either is not known."""
        if self.judged is None or self.goal is None:
            return None
        return self.judged >= self.goal

    @property
    def at_peak(self) -> float | None:
        """What `judged` would be if ours did nothing but multiply-adds, at the peak."""
        return None if self.judged is None else self.judged / self.share


def rows(record: Mapping[str, Any], threads: int) -> list[Row]:
    """Those of one number of threads."""
    return [_row(entry) for entry in record["works"] if entry["threads"] == threads]


def _row(entry: Mapping[str, Any]) -> Row:
    ours = entry["contenders"][OURS]
    seconds = ours["median"]
    times = {
        name: outcome["median"] / seconds
        for name, outcome in entry["contenders"].items()
        if name != OURS and outcome["status"] == "timed"
    }
    peers = {name: times[name] for name in PEERS if name in times}
    best = min(peers, key=lambda name: peers[name], default=None)
    judge = entry.get("against") or best
    rate = entry["flops"] / seconds / 1e9
    return Row(
        entry["work"],
        entry["mode"],
        entry,
        seconds,
        (ours["q3"] - ours["q1"]) / seconds,
        rate,
        rate / entry["peak"],
        best,
        peers[best] if best else None,
        entry["goal"],
        times.get(judge or ""),
        times,
    )


def threads(record: Mapping[str, Any]) -> list[int]:
    """The numbers of threads there are entries of."""
    return sorted({entry["threads"] for entry in record["works"]})


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    scale, unit = (1, "s") if seconds >= 1 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "µs")
    value = seconds * scale
    return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"


def factor(value: float | None) -> str:
    """A ratio or a goal, to two digits or three."""
    return "–" if value is None else f"{value:.2f}" if value < 9.995 else f"{value:.1f}"


def _took_part(record: Mapping[str, Any]) -> list[str]:
    """The contenders of a record, missing ones included, ours first."""
    there = {name for entry in record["works"] for name in entry["contenders"]}
    return [name for name in ALL if name in there or name in record["missing"]]


def _cell(row: Row, name: str, record: Mapping[str, Any]) -> str:
    if name in record["missing"]:
        return "missing"
    outcome = row.entry["contenders"].get(name, {"status": "unsupported"})
    if outcome["status"] == "timed":
        return duration(outcome["median"])
    return "–" if outcome["status"] == "unsupported" else str(outcome["status"])


def _goal(row: Row) -> str:
    if row.reached is None:
        return factor(row.goal)
    named = row.entry.get("against")
    said = f"{row.goal:g} {'yes' if row.reached else 'NO'}"
    return f"{said} ({factor(row.judged)} to {named})" if named else said


def _cells(record: Mapping[str, Any], row: Row, others: Iterable[str]) -> list[str]:
    return [
        row.work,
        MODES[row.mode],
        duration(row.seconds),
        f"{row.spread:.0%}",
        *(_cell(row, name, record) for name in others),
        f"{row.rate:.1f}",
        f"{row.share:.0%}",
        factor(row.ratio),
        factor(row.at_peak),
        _goal(row),
    ]


def _grid(record: Mapping[str, Any], count: int) -> list[list[str]]:
    others = [name for name in _took_part(record) if name != OURS]
    head = [
        "T,B,I,H",
        "",
        OURS,
        "spread",
        *others,
        "GFLOP/s",
        "of peak",
        "ratio",
        "at peak",
        "goal",
    ]
    return [head, *(_cells(record, row, others) for row in rows(record, count))]


def heading(record: Mapping[str, Any]) -> str:
    """What was measured, and where."""
    machine, versions = record["machine"], record["versions"]
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"{machine['cpu']}, {machine['system']}, level {record['isa']}; {said}"


def peak(record: Mapping[str, Any], count: int, dtype: str = "float32") -> float | None:
    """The median of the peaks beside the works of that many threads and that dtype."""
    peaks = sorted(
        entry["peak"]
        for entry in record["works"]
        if entry["threads"] == count and ("float64" in entry["work"]) == (dtype == "float64")
    )
    return peaks[len(peaks) // 2] if peaks else None


def caption(record: Mapping[str, Any], count: int) -> str:
    """Above the table of one number of threads."""
    found = ((dtype, peak(record, count, dtype)) for dtype in ("float32", "float64"))
    peaks = ", ".join(f"{rate:.0f} GFLOP/s in {dtype}" for dtype, rate in found if rate)
    return f"{count} thread{'s' * (count > 1)}; independent multiply-adds: {peaks}"


LEGEND = (
    "Medians of one Python call, taken in turns; spread: between the quartiles of ours. "
    "+ backward: forward and all gradients. GFLOP/s: the products' operations of ours, backward "
    "counted as two forwards. Ratio: the best peer's time over ours (NumPy is our reference, no "
    "peer). At peak: what the ratio with a goal would be if ours did nothing but multiply-adds."
)


def notes(record: Mapping[str, Any]) -> list[str]:
    """Why times are missing: a line for each contender and reason."""
    lines = [f"{name}: missing ({why})" for name, why in record["missing"].items()]
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for entry in record["works"]:
        for name, outcome in entry["contenders"].items():
            if outcome["status"] != "timed":
                key = (name, outcome["status"], outcome["reason"])
                reasons.setdefault(key, []).append(f"{entry['work']} {MODES[entry['mode']]}")
    for (name, status, reason), works in reasons.items():
        # Wrong results and failures are named; what a library is not made for is only counted.
        unique = list(dict.fromkeys(works))
        named = "; ".join(unique) if status != "unsupported" else f"{len(unique)} works"
        lines.append(f"{name}: {status}: {reason} ({named})")
    lines += [f"{count} threads: {why}" for count, why in record["failures"].items()]
    return lines


def text(record: Mapping[str, Any]) -> str:
    """For a terminal."""
    blocks = [heading(record)]
    for count in threads(record):
        blocks.append(caption(record, count) + "\n" + "\n".join(aligned(_grid(record, count))))
    blocks.append("\n".join([LEGEND, *notes(record), *cliffs.lines(record)]))
    return "\n\n".join(blocks) + "\n"


def aligned(grid: Sequence[Sequence[str]]) -> list[str]:
    """Its lines, in columns."""
    widths = [max(len(row[column]) for row in grid) for column in range(len(grid[0]))]

    def line(row: Sequence[str]) -> str:
        # Names to the left, numbers to the right.
        said = [row[0].ljust(widths[0]), row[1].ljust(widths[1])]
        said += [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        return "  ".join(said).rstrip()

    return [line(row) for row in grid]


def markdown_grid(grid: Sequence[Sequence[str]], left: int) -> list[str]:
    """A table whose first `left` columns are names."""
    head, *body = grid
    rule = ["---"] * left + ["--:"] * (len(head) - left)
    return [f"| {' | '.join(row)} |" for row in (head, rule, *body)]


def markdown(record: Mapping[str, Any]) -> str:
    """For a page."""
    blocks = [heading(record) + "."]
    for count in threads(record):
        blocks.append(caption(record, count) + ".")
        blocks.append("\n".join(markdown_grid(_grid(record, count), left=2)))
    blocks.append(LEGEND)
    said = notes(record) + cliffs.lines(record)
    if said:
        blocks.append("\n".join(f"* {line}" for line in said))
    return "\n\n".join(blocks) + "\n"
