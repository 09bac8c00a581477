"""The table of permitted errors: every entry has a reason and a use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tolerances import TOLERANCES

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "python" / "unrolled" / "tolerances.toml"


def test_one_line_an_entry_below_its_reason() -> None:
    """The tests in Rust read such lines alone."""
    blocks = TABLE.read_text(encoding="utf-8").split("\n\n")
    entries = [line for block in blocks for line in block.splitlines() if line[:1] != "#"]
    assert all(re.fullmatch(r'"[a-z0-9_. ]+" = [0-9.]+(e-[0-9]+)?', line) for line in entries)
    assert len(entries) == len(TOLERANCES)
    assert all(block.startswith("#") for block in blocks)


@pytest.mark.parametrize("entry", TOLERANCES)
def test_every_entry_is_used(entry: str) -> None:
    written = re.escape(entry)
    for kind in ("float32", "float64"):
        written = written.removesuffix(re.escape(f".{kind}"))
    use = re.compile(rf'"{written}(["{{.])')
    sources = [
        path
        for folder, pattern in (("core/tests", "*.rs"), ("tests", "*.py"), ("python", "*.py"))
        for path in (ROOT / folder).rglob(pattern)
    ]
    assert any(use.search(path.read_text(encoding="utf-8")) for path in sources)
