"""What every test may rely on: the machine's settings are as they were before it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import unrolled as ur


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    threads, highest = ur.get_num_threads(), ur.isa()
    yield
    ur.set_num_threads(threads)
    ur.set_max_isa(highest)


def pytest_report_header() -> str:
    return f"unrolled {ur.__version__}: {', '.join(ur.available_isas())}"
