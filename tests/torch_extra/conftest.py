"""What PyTorch would do because it is quicker, our kernels do in these tests."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _cells_by_us(monkeypatch: pytest.MonkeyPatch) -> None:
    ut = pytest.importorskip("unrolled.torch", exc_type=ImportError)
    for cell in (ut.LSTMCell, ut.GRUCell, ut.RNNCell):
        monkeypatch.setattr(cell, "_least", (1, 0))
