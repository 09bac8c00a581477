"""What PyTorch's two exporters write of one model comes back as the same layers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from tolerances import assert_close

pytest.importorskip("onnx", reason="needs onnx: pip install '.[onnx]'")
torch = pytest.importorskip("torch", reason="needs torch: pip install '.[torch]'")
pytest.importorskip("onnxscript", reason="needs onnxscript, for PyTorch's exporter")
import unrolled.onnx  # noqa: E402

nn = torch.nn
X = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(1))


class Chain(nn.Module):  # type: ignore[misc, name-defined]
    """Layers behind one another, of which the recurrent ones give their outputs."""

    def __init__(self, *layers: Any) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
            x = x[0] if isinstance(x, tuple) else x
        return x


def export(model: Any, path: Path, dynamo: bool, inputs: tuple[Any, ...] = (), **more: Any) -> None:
    with warnings.catch_warnings():
        # Of an exporter's age, and of what tracing cannot see.
        warnings.simplefilter("ignore")
        torch.onnx.export(model.eval(), (X, *inputs), path, dynamo=dynamo, verbose=False, **more)


MODELS: dict[str, Callable[[], Any]] = {
    "LSTM": lambda: nn.LSTM(3, 4),
    "two layers, two directions": lambda: nn.LSTM(3, 4, 2, bidirectional=True),
    "batch first": lambda: nn.GRU(3, 4, 2, bidirectional=True, batch_first=True),
    "no bias": lambda: nn.LSTM(3, 4, bias=False),
    "two kinds": lambda: Chain(nn.LSTM(3, 4), nn.GRU(4, 5)),
    "a read-out": lambda: Chain(nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2), nn.Tanh()),
    "silu": lambda: Chain(nn.GRU(3, 4), nn.Linear(4, 2), nn.SiLU(), nn.Linear(2, 2)),
}


@pytest.mark.parametrize("name", MODELS)
def test_alike(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = MODELS[name]()
    path = tmp_path / "net.onnx"
    found = []
    for dynamo in (False, True):
        export(model, path, dynamo)
        found.append(ur.load(path))
    assert type(found[0]) is type(found[1]) is not unrolled.onnx.Model
    assert repr(found[0]) == repr(found[1])
    with torch.no_grad():
        outputs = model(X)
    expected = outputs[0] if isinstance(outputs, tuple) else outputs
    for net in found:
        assert_close(net(X.numpy())[0], expected.numpy(), "peer.float32", name)
        # Sizes that the example did not have.
        longer = np.concatenate([X.numpy()] * 3)
        assert net(longer)[0].shape[:2] == (15, 2)


def test_initial_states(tmp_path: Path) -> None:
    h, c, path = torch.zeros(2, 2, 4), torch.ones(2, 2, 4), tmp_path / "net.onnx"
    for model, state in ((nn.LSTM(3, 4, 2), ((h, c),)), (nn.GRU(3, 4, 2), (h,))):
        found = []
        for dynamo in (False, True):
            export(model, path, dynamo, state)
            found.append(repr(ur.load(path)))
        assert found == [f"{type(model).__name__}(3, 4, num_layers=2)"] * 2


@pytest.mark.parametrize("open_axes", [(0,), (1,), (0, 1)])
def test_open_sizes(open_axes: tuple[int, ...], tmp_path: Path) -> None:
    """Which the graph computes from its input's."""
    path = tmp_path / "net.onnx"
    sizes = {axis: torch.export.Dim("BT"[axis]) for axis in open_axes}
    model = nn.LSTM(3, 4, 2, bidirectional=True, batch_first=True)
    export(model, path, True, dynamic_shapes=(sizes,))
    found = ur.load(path)
    assert type(found) is ur.LSTM and found.num_layers == 2 and found.batch_first
    with torch.no_grad():
        expected = model(torch.cat([X] * 2))[0].numpy()
    assert_close(found(np.concatenate([X.numpy()] * 2))[0], expected, "peer.float32", str(sizes))


def test_a_projection_that_the_exporter_leaves_out(tmp_path: Path) -> None:
    """PyTorch writes the projected size for the hidden one, and a cell state of the other."""
    path = tmp_path / "net.onnx"
    export(nn.LSTM(3, 4, proj_size=2), path, True)
    with pytest.raises(ValueError, match=r"\(LSTM\): initial_c: expected shape \(1, 2, 2\), got"):
        ur.load(path)
    export(nn.LSTM(3, 4, proj_size=2), path, True, dynamic_shapes=({1: torch.export.Dim("B")},))
    found = ur.load(path)
    assert isinstance(found, unrolled.onnx.Model)
    assert "initial states of shape" in str(found.unlike_layers)


def test_cells_written_as_steps(tmp_path: Path) -> None:
    """So the default exporter writes a plain RNN: with no cell in it, but the same numbers."""
    model = nn.RNN(3, 4)
    export(model, tmp_path / "net.onnx", True)
    found = ur.load(tmp_path / "net.onnx")
    assert isinstance(found, unrolled.onnx.Model) and "no layer" in str(found.unlike_layers)
    with torch.no_grad():
        expected = model(X)[0].numpy()
    (name,) = found.inputs
    assert_close(next(iter(found({name: X.numpy()}).values())), expected, "peer.float32", "RNN")
