"""Without what an extra brings, importing its module says which extra that is."""

from __future__ import annotations

import sys

import pytest


@pytest.mark.parametrize(("module", "needs"), [("jax", "jax"), ("sklearn", "scikit-learn")])
def test_missing(module: str, needs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = f"unrolled.{module}"
    for name in [name for name in sys.modules if name == ours or name.startswith(f"{ours}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    extra = rf"pip install '\.\[{module}\]'"
    message = rf"^unrolled\.{module}: expected {needs} to be installed: {extra}"
    with pytest.raises(ImportError, match=message):
        __import__(ours)
