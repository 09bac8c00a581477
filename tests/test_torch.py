"""Beside PyTorch, where it is installed: parameters both ways, tensors as arguments, gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import arrays, normal
from tolerances import assert_close

torch = pytest.importorskip("torch")
CELLS = [("LSTM", {}), ("LSTM", {"proj_size": 3}), ("GRU", {}), ("RNN", {"nonlinearity": "relu"})]


def pair(cell: str, **more: Any) -> tuple[Any, Any]:
    """The same network here and there."""
    arguments = {"num_layers": 2, "bidirectional": True, **more}
    theirs = getattr(torch.nn, cell)(5, 7, **arguments).double()
    ours = getattr(ur, cell)(5, 7, **arguments, dtype="float64")
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.parametrize(("cell", "more"), CELLS)
def test_parameters_and_gradients(cell: str, more: dict[str, Any]) -> None:
    ours, theirs = pair(cell, **more)
    x = torch.randn(6, 3, 5, dtype=torch.double, requires_grad=True)
    dy = torch.randn(6, 3, theirs(x)[0].shape[-1], dtype=torch.double)
    expected, _ = theirs(x)
    expected.backward(dy)
    y, _, tape = ours.record(x.detach())
    g = tape.backward(dy)
    assert_close(y, expected.detach().numpy(), "reference.output.float64", "y")
    assert_close(g.input, x.grad.numpy(), "reference.gradient.float64", "input")
    for name, p in theirs.named_parameters():
        assert_close(g.parameters[name], p.grad.numpy(), "reference.gradient.float64", name)
    back = {name: torch.from_numpy(a) for name, a in ours.state_dict().items()}
    theirs.load_state_dict(back)


def test_tensors_as_arguments() -> None:
    ours, _ = pair("LSTM")
    x = torch.randn(3, 6, 5, dtype=torch.double).transpose(0, 1)
    state = tuple(torch.randn(4, 3, 7, dtype=torch.double) for _ in range(2))
    given = {"lengths": torch.tensor([6, 2, 4]), "resets": torch.rand(6, 3) < 0.3}
    y, final = ours(x, state, **given)
    y2, final2 = ours(
        x.numpy(), tuple(a.numpy() for a in state), **{k: a.numpy() for k, a in given.items()}
    )
    assert all(np.array_equal(a, b) for a, b in zip((y, *final), (y2, *final2), strict=True))
    with pytest.raises(TypeError, match=r"^x: expected a float64 array, got Tensor.*grad"):
        ours(x.requires_grad_())
    with pytest.raises(TypeError, match=r"^x: expected a float64 array, got dtype float32"):
        ours(x.detach().float())
    with pytest.raises(TypeError, match=r"^x: expected a float64 array, got Tensor"):
        ours(x.detach().bfloat16())
    stream = ur.GRU(2, 3).stream()
    assert stream.step(torch.zeros(2)).shape == (3,)


def test_files(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    ours, theirs = pair("GRU")
    ours.initialise(seed=4)
    ur.save(ours, tmp_path / "net")
    theirs.load_state_dict(load_file(tmp_path / "net"))
    x = normal(4, 2, 5, dtype="float64")
    y = theirs(torch.from_numpy(x))
    for a, e in zip((*arrays(ours(x)),), y, strict=True):
        assert_close(a, e.detach().numpy(), "reference.output.float64", "y and state")


def test_sums_with_the_input() -> None:
    """A Residual: the gradients go past the layers and through them."""
    rec, lin = torch.nn.LSTM(3, 4, num_layers=2).double(), torch.nn.Linear(4, 2).double()
    layers = ur.LSTM(3, 4, 2, dtype="float64"), ur.Dense(4, 2, dtype="float64")
    for ours, theirs in zip(layers, (rec, lin), strict=True):
        ours.load_state_dict(theirs.state_dict())
    tanh = ur.Activation("tanh")
    net = ur.Sequential(tanh, *layers, ur.Residual(), ur.Residual(since=2))
    x = torch.randn(6, 3, 3, dtype=torch.double, requires_grad=True)
    dy = torch.randn(6, 3, 2, dtype=torch.double)
    h = rec(torch.tanh(x))[0]
    expected = lin(h) + x[..., :2] + h[..., :2]
    expected.backward(dy)
    y, _, tape = net.record(x.detach())
    g = tape.backward(dy)
    assert_close(y, expected.detach().numpy(), "reference.output.float64", "y")
    assert_close(g.input, x.grad.numpy(), "reference.gradient.float64", "input")
    for place, module in ((1, rec), (2, lin)):
        for name, p in module.named_parameters():
            key = f"{place}.{name}"
            assert_close(g.parameters[key], p.grad.numpy(), "reference.gradient.float64", key)
