"""Several processes with a part of the batch each: the gradients of one with the whole."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch_support import close, torch

HERE = Path(__file__).parent

if not (torch.distributed.is_available() and torch.distributed.is_gloo_available()):
    pytest.skip("this PyTorch has no gloo", allow_module_level=True)


def worker() -> Any:
    spec = importlib.util.spec_from_file_location("ddp_worker", HERE / "ddp_worker.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("way", "world"), [("ddp", 2), ("fsdp", 1), ("fsdp", 2)])
def test_gradients_of_the_joined_batch(way: str, world: int, tmp_path: Path) -> None:
    out, store = tmp_path / "out", tmp_path / "store"
    script = HERE / f"{way}_worker.py"
    processes = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(world), str(store), str(out)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors

    # In one process, and by PyTorch.
    model, x = worker().setup()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        model(x).square().mean().backward()
        expected = {name: p.grad.clone() for name, p in model.named_parameters()}
        optimiser.step()
    for rank in range(world):
        gradients, state = torch.load(f"{out}.{rank}")
        assert gradients.keys() == expected.keys()
        for name, gradient in gradients.items():
            close(gradient, expected[name], "reference.gradient.float64", f"{rank}: {name}")
        for name, value in state.items():
            close(value, model.state_dict()[name], "reference.output.float64", name)
