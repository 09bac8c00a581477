"""Without what an extra brings, its module says which extra that is and how to have it."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(
    ("module", "needs"),
    [("jax", "jax"), ("onnx", "onnx"), ("sklearn", "scikit-learn"), ("torch", "PyTorch")],
)
def test_missing(module: str, needs: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = f"unrolled.{module}"
    for name in [name for name in sys.modules if name == ours or name.startswith(f"{ours}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    extra = rf"pip install '\.\[{module}\]' in unrolled's source directory"
    message = rf"^unrolled\.{module}: expected {needs}, got .*; {extra}$"
    with pytest.raises(ModuleNotFoundError, match=message) as error:
        __import__(ours)
    assert error.value.name == module


def test_a_package_that_is_there_but_broken_is_not_said_to_be_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnx.py").write_text("raise ImportError('libprotobuf.so: no such file')")
    for name in [name for name in sys.modules if re.match(r"(unrolled\.)?onnx(\.|$)", name)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"expected onnx, got libprotobuf\.so: no such file; "):
        __import__("unrolled.onnx")


def test_extras_are_named_as_they_can_be_installed() -> None:
    """From the source: the package is on no index, where the name may be another's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = set()
    for folder, pattern in [
        (".", "*.md"), ("docs", "*.md"), ("examples", "**/*.md"), ("examples", "**/*.py"),
        ("python", "**/*.py"), ("tests", "**/*.py"),
    ]:  # fmt: skip
        for path in (ROOT / folder).glob(pattern):
            for name, extras in re.findall(
                r"pip install '?([\w.]+)\[([a-z, ]+)\]", path.read_text(encoding="utf-8")
            ):
                assert name == ".", f"{path}: {name}[{extras}]"
                named |= set(re.split(r", *", extras))
    assert {"demo", "jax", "onnx", "sklearn", "torch"} <= named
    assert named <= set(project["optional-dependencies"])
