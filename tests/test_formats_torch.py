"""State dicts as `torch.save` writes them, with whatever options, and what else it is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import unrolled as ur
from support import same
from test_formats_refused import refuse

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["state", "parameters", "checkpoint"])
def test_protocols(protocol: int, kind: str, tmp_path: Path) -> None:
    path, layer = tmp_path / "model.pt", torch.nn.LSTM(3, 4, num_layers=2)
    optimiser = torch.optim.Adam(layer.parameters())
    layer(torch.ones(5, 2, 3))[0].sum().backward()
    optimiser.step()
    state: Any = layer.state_dict()
    saved = {
        "state": state,
        "parameters": dict(layer.named_parameters()),
        "checkpoint": {"epoch": 3, "model": state, "optimizer": optimiser.state_dict()},
    }[kind]
    torch.save(saved, path, pickle_protocol=protocol)
    found = ur.load(path).state_dict()
    assert found.keys() == state.keys()
    assert all(same(found[name], state[name].numpy()) for name in state)


WORDS: list[tuple[Callable[[Any], Any], str]] = [
    (lambda net: net, "expected a state dict .model.state_dict.*an object of"),
    (lambda net: {"net": net.state_dict()}, "save the state dict alone, or in a dict under one of"),
    (lambda net: {1: torch.ones(3)}, "1: expected a tensor under a name, got Tensor"),
    (
        lambda net: {"weight": torch.zeros(2, 2, dtype=torch.complex64).conj().imag},
        "expected a state dict.*a tensor that is not computed yet",
    ),
    (lambda net: net.half().state_dict(), r"HalfStorage; save model.float\(\).state_dict"),
    (
        lambda net: torch.nn.Sequential(torch.nn.BatchNorm1d(4), net).state_dict(),
        "num_batches_tracked: .* numbers of LongStorage, as another layer's",
    ),
]


@pytest.mark.parametrize(("made", "message"), WORDS, ids=[message for _, message in WORDS])
def test_words(made: Callable[[Any], Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save(made(torch.nn.LSTM(3, 4)), path)
    refuse(path, message)
