"""Where PyTorch computes instead: its results, and a reason that can be read."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from torch_support import HIDDEN, INPUT, pair, torch, ut


def both(name: str = "LSTM", **more: Any) -> tuple[Any, Any]:
    ours, theirs = pair(name, torch.float32, **more)
    return ours, theirs.float()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"])
def test_half_precision(name: str, dtype: Any) -> None:
    ours, theirs = (m.to(dtype) for m in both(name))
    x = torch.randn(*((3,) if "Cell" in name else (4, 3)), INPUT).to(dtype)
    reason = f"PyTorch: x is {dtype}; the kernels know float32 and float64"
    assert ut.explain(ours, x) == reason
    found, expected = ours(x), theirs(x)
    for a, b in zip(found, expected, strict=True) if isinstance(found, tuple) else []:
        a, b = (t[0] if isinstance(t, tuple) else t for t in (a, b))
        assert torch.equal(a, b)


def test_meta_device() -> None:
    ours = ut.LSTM(INPUT, HIDDEN, device="meta")
    x = torch.zeros(4, 3, INPUT, device="meta")
    assert ut.explain(ours, x) == "PyTorch: x is on device meta"
    assert ours(x)[0].shape == (4, 3, HIDDEN)


def test_autocast() -> None:
    ours, theirs = both("GRU")
    x = torch.randn(4, 3, INPUT)
    with torch.autocast("cpu", torch.bfloat16):
        assert ut.explain(ours, x) == "PyTorch: autocast is on for the CPU"
        y, expected = ours(x)[0], theirs(x)[0]
    assert y.dtype == expected.dtype
    assert torch.equal(y, expected)


def test_subclasses() -> None:
    seen = []

    class Watching(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            seen.append(getattr(func, "__name__", ""))
            return super().__torch_function__(func, types, args, kwargs or {})

    ours, theirs = both()
    x = torch.randn(4, 3, INPUT).as_subclass(Watching)
    assert ut.explain(ours, x) == "PyTorch: x is a Watching"
    y = ours(x)[0]
    assert isinstance(y, Watching)
    assert "lstm" in seen
    assert torch.equal(y.as_subclass(torch.Tensor), theirs(x)[0].as_subclass(torch.Tensor))


def test_jit_trace() -> None:
    ours, theirs = both()
    x = torch.randn(4, 3, INPUT)
    with pytest.warns(Warning):
        traced = torch.jit.trace(ours, x)
    again = torch.randn(4, 3, INPUT)
    assert torch.equal(traced(again)[0], theirs(again)[0])


def test_unusual_weights() -> None:
    ours, theirs = both("GRU")
    x = torch.randn(4, 3, INPUT)
    ours.weight_hh_l0.data = ours.weight_hh_l0.data.bfloat16()
    assert ut.explain(ours, x) == "PyTorch: x is torch.float32, a weight torch.bfloat16"
    theirs.weight_hh_l0.data = theirs.weight_hh_l0.data.bfloat16()
    with pytest.raises(Exception) as expected:  # noqa: B017, PT011 - whatever PyTorch raises
        theirs(x)
    with pytest.raises(type(expected.value)):
        ours(x)


def test_explain() -> None:
    net = ut.LSTM(INPUT, HIDDEN, 2, dropout=0.5)
    x = torch.randn(4, 3, INPUT)
    text = ut.explain(net, x)
    assert text.startswith("unrolled: ")
    assert text.endswith(
        "kernels, with a tape for the way back, layer by layer, PyTorch's dropout between"
    )
    assert ut.explain(net.eval(), x).endswith("with a tape for the way back")
    h = torch.zeros(2, 9, HIDDEN)
    assert ut.explain(net, x, (h, h)) == "PyTorch: h0 has shape (2, 9, 7), not (2, 3, 7)"
    assert ut.explain(net, x[..., 1:]) == "PyTorch: x has 4 features, not 5"
    assert ut.explain(net, x, h) == "PyTorch: the states are not a pair"
    assert ut.explain(torch.nn.LSTM(2, 3), x) == (
        "PyTorch: LSTM is not one of ours; see unrolled.torch.accelerate"
    )
    with pytest.raises(TypeError, match="^module: expected a torch.nn.Module, got int"):
        ut.explain(3, x)


def test_recorded_steps_that_pytorch_does_quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # of conftest
    text = "PyTorch: it is quicker in one step of such a cell that will be differentiated"
    for cell, rows, by_torch in [
        (ut.LSTMCell(4, 16), 3, False),
        (ut.LSTMCell(4, 16), 17, False),
        (ut.LSTMCell(64, 256), 16, False),
        (ut.LSTMCell(64, 256), 17, True),
        (ut.GRUCell(64, 64), 17, False),
        (ut.GRUCell(64, 256), 16, False),
        (ut.GRUCell(64, 256), 17, True),
        (ut.RNNCell(4, 16), 3, True),
    ]:
        x = torch.randn(rows, cell.input_size)
        assert (ut.explain(cell, x) == text) == by_torch
        y = cell(x)
        node = (y[0] if isinstance(y, tuple) else y).grad_fn.name()
        assert (node != "StepBackward") == by_torch
        with torch.no_grad():
            assert ut.explain(cell, x).startswith("unrolled: ")
        cell.requires_grad_(False)
        assert ut.explain(cell, x).startswith("unrolled: ")
        assert (ut.explain(cell, x.requires_grad_()) == text) == by_torch
    assert ut.explain(ut.LSTMCell(64, 256), torch.randn(64)).startswith("unrolled: ")
    odd = ut.RNNCell(4, 16)
    odd.nonlinearity = "sigmoid"
    with pytest.raises(RuntimeError, match="Unknown nonlinearity: sigmoid"):
        odd(torch.randn(3, 4))


def test_without_pytorch_the_extra_is_named() -> None:
    code = "import sys; sys.modules['torch'] = None\nimport unrolled, unrolled.torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ModuleNotFoundError: unrolled.torch: " in done.stderr
    assert "pip install '.[torch]' in unrolled's source directory" in done.stderr


def test_the_package_itself_does_not_import_pytorch() -> None:
    code = "import sys, unrolled; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
