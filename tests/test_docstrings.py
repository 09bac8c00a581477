"""The examples in docstrings do what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest
import unrolled

MODULES = [m.name for m in pkgutil.walk_packages(unrolled.__path__, "unrolled.")]


@pytest.mark.parametrize("name", ["unrolled", *MODULES])
def test_examples(name: str) -> None:
    if name == "unrolled.__main__":
        return
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        # What only an extra needs comes with it.
        if error.name in ("matplotlib", "tqdm", "onnx", "jax", "sklearn"):
            pytest.skip(f"{error.name} is not installed")
        raise
    assert doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE).failed == 0
