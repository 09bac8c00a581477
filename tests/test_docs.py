"""The programs in Python in the documents run, in their order."""

import re
from pathlib import Path

import numpy as np
import pytest
import unrolled as ur

DOCS = Path(__file__).resolve().parent.parent / "docs"


def nothing() -> dict:
    return {}


def onnx_names() -> dict:
    net = ur.LSTM(3, 8, seed=0)
    ur.export(net, "model.onnx")
    return {"net": net, "x": np.ones((5, 2, 3), np.float32)}


def sklearn_names() -> dict:
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((5 + n % 7, 3)) for n in range(60)]
    series = np.sin(np.arange(400) / 8)
    y = ["up" if a[:, 0].sum() > 0 else "down" for a in x]
    return {"x_train": x, "y_train": y, "x_test": x[:5], "series": series, "other": series[:300]}


@pytest.mark.parametrize(
    ("document", "needs", "names"),
    [
        ("cells.md", "numpy", nothing),
        ("deploy.md", "numpy", nothing),
        ("torch.md", "torch", nothing),
        ("jax.md", "jax", nothing),
        ("onnx.md", "onnx", onnx_names),
        ("sklearn.md", "sklearn", sklearn_names),
    ],
)
def test_programs_run(document, needs, names, tmp_path, monkeypatch):
    pytest.importorskip(needs)
    monkeypatch.chdir(tmp_path)
    text = (DOCS / document).read_text(encoding="utf-8")
    programs = re.findall(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    assert programs
    known = {"__name__": "document", **names()}
    for program in programs:
        exec(compile(program, document, "exec"), known)


def test_cells_document_names_every_function_of_formulas():
    text = (DOCS / "cells.md").read_text(encoding="utf-8")
    said = re.search(r"^What a formula is made of:.*?`unrolled.cells` (.*?)\. ", text, re.M | re.S)
    about = {"Cell", "Maps", "cell", "check", "explain", "from_description"}
    cells = {name for name, found in vars(ur.cells).items() if isinstance(found, ur.cells.Cell)}
    assert re.findall(r"`(\w+)`", said[1]) == sorted({*ur.cells.__all__} - about - cells)


@pytest.mark.parametrize("document", sorted(DOCS.glob("*.md")), ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
        assert (DOCS / target).exists()
