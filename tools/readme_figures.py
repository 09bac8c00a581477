"""Write the figures into the documents from the records of runs of `unrolled bench`.

    python tools/readme_figures.py [--check]

`benches/record.json` goes into the README, `benches/cells.json`, made with ``--works ^formula``,
into `docs/cells.md`, `benches/parts.json`, made with ``--parts``, into `docs/performance.md`. What
stands between the two marks is replaced; with --check nothing is written, and the exit code is 1 if
it would change. Needs `unrolled` installed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from unrolled._bench import table
from unrolled._bench.parts.text import text as parts_text
from unrolled._bench.works import BUILT_IN, FORWARD, JAX, STEP, TORCH, TRAINING

ROOT = Path(__file__).resolve().parent.parent
BEGIN = "<!-- figures: by tools/readme_figures.py from {} -->"
END = "<!-- end of figures -->"


def peer(row: table.Row | None) -> str:
    """The ratio, and to whom."""
    return "–" if row is None or row.ratio is None else f"{table.factor(row.ratio)} ({row.best})"


def sequences(rows: list[table.Row]) -> list[str]:
    """The works on whole sequences: forward beside forward and backward."""
    by_name: dict[str, dict[str, table.Row]] = {}
    for row in rows:
        by_name.setdefault(row.work, {})[row.mode] = row
    grid = [["T, B, I, H", *2 * ["time", "of peak", "times as fast as the best peer"]]]
    for name, modes in by_name.items():
        if STEP in modes or name.startswith("formula"):
            continue
        cells = [name]
        for mode in (FORWARD, TRAINING):
            row = modes.get(mode)
            if row is None:
                cells += ["–"] * 3
            else:
                cells += [table.duration(row.seconds), f"{row.share:.0%}", peer(row)]
        grid.append(cells)
    return table.markdown_grid(grid, left=1) if len(grid) > 1 else []


def steps(rows: list[table.Row]) -> list[str]:
    """The streams."""
    grid = [["One step, I, H", "time", "times as fast as the best peer"]]
    for row in rows:
        if row.mode == STEP:
            grid.append([row.work, table.duration(row.seconds), peer(row)])
    return table.markdown_grid(grid, left=1) if len(grid) > 1 else []


def formulas(rows: list[table.Row]) -> list[str]:
    """Cells as formulas, beside each contender: its time over ours."""
    others = (BUILT_IN, JAX, TORCH, f"{TORCH} compile")
    grid = [["T, B, I, H", "", "time", *others]]
    for row in rows:
        if row.work.startswith("formula"):
            ratios = [table.factor(row.times.get(name)) for name in others]
            grid.append([row.work, table.MODES[row.mode], table.duration(row.seconds), *ratios])
    return table.markdown_grid(grid, left=2) if len(grid) > 1 else []


def figures(record: Mapping[str, Any]) -> str:
    """What belongs between the marks."""
    blocks = [
        f"{table.heading(record)}.",
        "Times are medians of one call from Python, first of the forward pass, then of forward and "
        "backward with every gradient. The products' operations are counted (backward as two "
        "forwards) and given as shares of what as many cores do in nothing but independent "
        "multiply-adds. The best peer is the fastest whose results equal ours.",
    ]
    for count in table.threads(record):
        rows = table.rows(record, count)
        blocks.append(f"{table.caption(record, count)}.")
        blocks += ["\n".join(p) for p in (sequences(rows), steps(rows), formulas(rows)) if p]
    return "\n\n".join(blocks)


def parts(record: Mapping[str, Any]) -> str:
    """The parts at the highest level."""
    highest = record["entries"][-1]["isa"]
    shown = {
        name: [found for found in record[name] if found["isa"] == highest]
        for name in ("entries", "packing")
    }
    return f"```text\n{parts_text({**record, **shown})}```"


# What is written where, and how.
PLACES: dict[str, tuple[str, Callable[[Mapping[str, Any]], str]]] = {
    "benches/record.json": ("README.md", figures),
    "benches/cells.json": ("docs/cells.md", figures),
    "benches/parts.json": ("docs/performance.md", parts),
}


def replaced(text: str, record: Mapping[str, Any], name: str) -> str:
    """The document with those figures; ValueError if the marks are not there once, in order."""
    mark = BEGIN.format(name)
    before, begin, rest = text.partition(mark)
    _, end, after = rest.partition(END)
    if not begin or not end or mark in after or END in before:
        raise ValueError(f"expected the lines {mark!r} and {END!r} once each, in this order")
    _, written = PLACES[name]
    return f"{before}{mark}\n\n{written(record)}\n\n{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, say if it would")
    options = parser.parse_args()
    stale = []
    for name, (document, _) in PLACES.items():
        record = json.loads((ROOT / name).read_text(encoding="utf-8"))
        now = (ROOT / document).read_text(encoding="utf-8")
        then = replaced(now, record, name)
        if now != then and options.check:
            stale.append(f"{document}: the figures are not those of {name}")
        elif now != then:
            (ROOT / document).write_text(then, encoding="utf-8")
    print("\n".join(stale), end="\n" if stale else "")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
