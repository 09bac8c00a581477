"""What every test may rely on: settings are as they were before it, and no figure is open."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
import unrolled as ur


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    threads, highest = ur.get_num_threads(), ur.isa()
    yield
    ur.set_num_threads(threads)
    ur.set_max_isa(highest)
    # pyplot keeps what it made until it is told, and warns of many.
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


def pytest_report_header() -> str:
    return f"unrolled {ur.__version__}: {', '.join(ur.available_isas())}"
