"""The parts in text, a hundred columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from ..contenders import OURS
from ..table import aligned, duration
from . import ORDER, limit, share

WIDTH = 100
# Columns of a bar, beside the mark of the limit.
BAR = 95
# Small letters for what is on the way there, capitals for what is on the way back.
LETTERS = dict(zip(ORDER, "xhHXWsaGcp.", strict=True))
LIMIT = "|"

EXPLAINED = (
    "One call from Python on one thread: medians. Of peak: what the products would take at the "
    "machine's rate of independent multiply-adds, as a share of the whole. Laps: what was added by "
    f"looking at the clock between parts. A bar is the whole; left of {LIMIT} is what the products "
    "would take at the peak. Below it each part's share of the whole, and of products in brackets "
    "their share of the peak. Steps of a single short row are one part: W_hh h and activations, on "
    "the way back also the derivatives by both."
)
MEASURED_BY = (
    "The same products by other libraries, on one thread, at the level each chooses for this "
    "processor, beside ours at our highest: GFLOP/s and the share of the peak. Theirs are one "
    "product over and over, less the time of a call from Python; ours are within the work. –: not "
    "by itself (ours), or shorter than a call (theirs)."
)


def text(record: Mapping[str, Any]) -> str:
    """All of it."""
    blocks = [_filled([_heading(record)]), _filled([EXPLAINED]), _legend()]
    blocks += ["\n".join(_work(record, work)) for work in works(record)]
    if record["yardstick"]:
        blocks += [_filled([MEASURED_BY]), "\n".join(aligned(_grid(record)))]
    notes = [f"{name}: missing ({why})" for name, why in record["missing"].items()]
    if record["failure"]:
        notes.append(str(record["failure"]))
    return "\n\n".join([*blocks, *([_filled(notes)] if notes else [])]) + "\n"


def works(record: Mapping[str, Any]) -> list[str]:
    """The names of those measured, in order."""
    return list(dict.fromkeys(entry["work"] for entry in record["entries"]))


def whole(entry: Mapping[str, Any]) -> float:
    """Seconds a call, without laps."""
    return float(entry["whole"]["median"])


def _filled(lines: Iterable[str]) -> str:
    return "\n".join(textwrap.fill(line, WIDTH, break_on_hyphens=False) for line in lines)


def _heading(record: Mapping[str, Any]) -> str:
    machine = record["machine"]
    said = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    return f"{machine['cpu']}, {machine['system']}; {said}"


def _legend() -> str:
    # A row for products, a row for what comes on top.
    halves = (ORDER[:5], ORDER[5:])
    return "\n".join("   ".join(f"{LETTERS[name]} {name}" for name in half) for half in halves)


def _work(record: Mapping[str, Any], work: str) -> list[str]:
    lines = [f"{work:<28} {'time':>8} {'of peak':>8} {'laps':>5}"]
    for entry in record["entries"]:
        if entry["work"] == work:
            lines += _entry(entry)
    lines += [
        f"  {'packing':<10}{found['isa']:<16} {duration(found['seconds']):>8} when weights change"
        for found in record["packing"]
        if found["work"] == work
    ]
    return lines


def _entry(entry: Mapping[str, Any]) -> list[str]:
    seconds, parts = whole(entry), entry["parts"]
    measured = sum(parts.values())
    at_peak = limit(entry) / seconds
    numbers = f"{duration(seconds):>8} {at_peak:>8.0%} {measured / seconds - 1:>+5.0%}"
    shares = {name: parts[name] / measured for name in ORDER}
    first = f"  {entry['mode']:<10}{entry['isa']:<16} {numbers}"
    return [first, f"    {bar(shares, at_peak)}", f"    {_shares(entry, shares)}"]


def bar(shares: Mapping[str, float], at_peak: float) -> str:
    """Letters, as many as their parts' shares come to, with a mark at the limit."""
    said, sum_ = "", 0.0
    for name, value in shares.items():
        sum_ += value
        said += LETTERS[name] * (round(sum_ * BAR) - len(said))
    place = min(round(at_peak * BAR), BAR)
    return said[:place] + LIMIT + said[place:]


def _shares(entry: Mapping[str, Any], shares: Mapping[str, float]) -> str:
    said = []
    for name, value in shares.items():
        if value < 0.005:
            continue
        rate = share(entry, name) if name in entry["products"] else None
        beside = "" if rate is None else f" ({rate:.0%})"
        said.append(f"{LETTERS[name]} {value:.0%}{beside}")
    return "  ".join(said)


def _grid(record: Mapping[str, Any]) -> list[list[str]]:
    others = list(dict.fromkeys(n for entry in record["yardstick"] for n in entry["contenders"]))
    grid = [["", "product", f"{OURS}, {record['entries'][-1]['isa']}", *others]]
    work = ""
    for entry in record["yardstick"]:
        theirs = [_rate(*_theirs(entry, name)) for name in others]
        named = entry["work"] if entry["work"] != work else ""
        grid.append([named, entry["product"], _rate(*_ours(record, entry)), *theirs])
        work = entry["work"]
    return grid


def _rate(rate: float | None, peak: float) -> str:
    return "–" if rate is None else f"{rate:.1f} ({rate / peak:.0%})"


def _theirs(entry: Mapping[str, Any], name: str) -> tuple[float | None, float]:
    outcome = entry["contenders"][name]
    timed = outcome["status"] == "timed"
    return entry["flops"] / outcome["seconds"] / 1e9 if timed else None, entry["peak"]


def _ours(record: Mapping[str, Any], entry: Mapping[str, Any]) -> tuple[float | None, float]:
    """GFLOP/s of that product within ours, at the highest level, and the peak beside."""
    product = entry["product"]
    *_, found = (
        each
        for each in record["entries"]
        if each["work"] == entry["work"] and product in each["products"]
    )
    part = share(found, product)
    return None if part is None else part * found["peak"], found["peak"]
