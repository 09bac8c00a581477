"""Examples that need nothing but the package run, and find what they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def test_remember() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / "remember.py"],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = re.findall(r"^(.+?) +\d+ parameters: (\d+)% right$", done.stdout, re.MULTILINE)
    shares = {name.strip(): int(share) for name, share in found}
    assert set(shares) == {"RG-LRU", "LSTM", "LSTM, forget_bias=5"}
    assert shares["RG-LRU"] >= 95 > shares["LSTM"]
