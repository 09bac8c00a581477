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


def test_steps_that_pytorch_does_quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # of conftest
    always = "PyTorch: it is as quick or quicker in one step"
    recorded = "PyTorch: it is quicker in one step that will be differentiated"
    large = ut.LSTMCell(16, 500)
    with torch.no_grad():
        for cell in (large, ut.GRUCell(16, 600), ut.RNNCell(16, 1000)):
            for x in (torch.randn(16), torch.randn(64, 16)):
                assert ut.explain(cell, x) == always
        # From so many rows and weights on, if that is ever quicker.
        monkeypatch.setattr(ut.LSTMCell, "_least", (32, 1_000_000))
        for cell, rows, by_torch in [
            (large, 31, True),
            (large, 32, False),
            (ut.LSTMCell(16, 400), 64, True),
        ]:
            text = ut.explain(cell, torch.randn(rows, 16))
            assert text == always if by_torch else text.startswith("unrolled: "), text
    x, state = torch.randn(32, 16), torch.randn(32, 500)
    assert ut.explain(large, x) == recorded
    large.requires_grad_(False)
    assert ut.explain(large, x).startswith("unrolled: ")
    assert ut.explain(large, x, (state, state.requires_grad_())) == recorded
    h, c = large(x, (state, state))
    assert h.requires_grad and c.requires_grad
    odd = ut.RNNCell(4, 16)
    odd.nonlinearity = "sigmoid"
    with pytest.raises(RuntimeError, match="Unknown nonlinearity: sigmoid"):
        odd(torch.randn(3, 4))


@pytest.mark.parametrize(("name", "steps"), [("GRU", 4), ("RNN", 8)])
def test_short_calls_that_pytorch_does_quicker(name: str, steps: int) -> None:
    text = "PyTorch: it is quicker in so few steps of so many weights"
    large, small = getattr(ut, name)(256, 256), getattr(ut, name)(32, 64)
    x = torch.randn(steps, 2, 256)
    assert ut.explain(large, x).startswith("unrolled: ")
    assert ut.explain(large, x[1:]) == text
    assert ut.explain(large, x[1:, 0]) == text
    assert ut.explain(small, x[:1, :, :32]).startswith("unrolled: ")
    assert ut.explain(ut.LSTM(256, 256), x[:1]).startswith("unrolled: ")
    by_rows = getattr(ut, name)(256, 256, batch_first=True)
    assert ut.explain(by_rows, x.transpose(0, 1)).startswith("unrolled: ")
    resets = torch.zeros(1, 2, dtype=torch.bool)
    assert torch.allclose(large(x[:1], resets=resets)[0], large(x[:1])[0], atol=1e-6)


def test_without_pytorch_the_extra_is_named() -> None:
    code = "import sys; sys.modules['torch'] = None\nimport unrolled, unrolled.torch"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "ModuleNotFoundError: unrolled.torch: " in done.stderr
    assert "pip install '.[torch]' in unrolled's source directory" in done.stderr


def test_the_package_itself_does_not_import_pytorch() -> None:
    code = "import sys, unrolled; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
