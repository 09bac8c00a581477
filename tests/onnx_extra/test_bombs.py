"""Small files that ask for much: each ends soon and in little memory, with an error that says where
or with a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx", reason="needs onnx: pip install '.[onnx]'")
pytest.importorskip("resource", reason="needs limits of a process")
from onnx_bombs import BOMBS  # noqa: E402

SCRIPT = Path(__file__).parents[1] / "onnx_bombs.py"
# Much ado about nothing, which is read; what that gives.
READ = {
    "many_activations": "Model",
    "many_products": "Sequential",
    "many_gates": "Model",
    "looking_for_zeros_again_and_again": "RNN",
    "states_joined_with_themselves": "Model",
    "lists_of_millions": "Model",
    "a_million_notes": "Model",
}


WHERE = ("node ", "tensor ", "initializer", "product", "graph", "opset", "model", "'x'")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits what a process maps")


@pytest.fixture(scope="module")
def outcomes() -> dict[str, str]:
    """What came of each, in a process of its own with little memory and time."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, env=environment, check=True
    )
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", BOMBS)
def test_bomb(name: str, outcomes: dict[str, str]) -> None:
    outcome = outcomes[name]
    if name in READ:
        assert outcome == f"read {READ[name]}"
    else:
        assert outcome.startswith("refused "), outcome
        assert any(where in outcome for where in WHERE)
        assert ": expected" in outcome or ": cannot be read" in outcome
