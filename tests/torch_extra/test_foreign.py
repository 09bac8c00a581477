"""PyTorch's tensors where an array is expected: the numbers they stand for, not their memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import normal

torch = pytest.importorskip("torch", reason="needs torch: pip install 'unrolled[torch]'")

X = normal(5, 2, 3)


def turned(a: np.ndarray) -> Any:
    """`a`, as a tensor of the opposite numbers whose sign is still to be changed."""
    tensor = torch.from_numpy(-a)._neg_view()
    assert tensor.is_neg() and np.array_equal(tensor.resolve_neg().numpy(), a)
    return tensor


def test_a_sign_to_come() -> None:
    net, plain = ur.GRU(3, 4, seed=0), ur.reference.GRU(3, 4, dtype="float32")
    plain.load_state_dict(net.state_dict())
    y, h, tape = net.record(X)
    for run in (net, plain):
        for found, expected in zip(run(turned(X), turned(h)), run(X, h), strict=True):
            assert np.array_equal(found, expected)
    found, expected = tape.backward(turned(y), turned(h)), tape.backward(y, h)
    assert np.array_equal(found.input, expected.input)
    assert all(np.array_equal(found.parameters[n], a) for n, a in expected.parameters.items())
    other = ur.GRU(3, 4, seed=1)
    other.load_state_dict({name: turned(a) for name, a in net.state_dict().items()})
    assert all(np.array_equal(other.state_dict()[n], a) for n, a in net.state_dict().items())
    assert ur.losses.mse(turned(y), y)[0] == 0 == ur.losses.mse(y, turned(y))[0]
    lengths = np.array([4, 2])
    assert np.array_equal(net(X, lengths=turned(lengths))[0], net(X, lengths=lengths)[0])
    stream, same = net.stream(2), net.stream(2)
    assert np.array_equal(stream.step(turned(X[0])), same.step(X[0]))


def test_a_loss_of_phases() -> None:
    """Whose gradient comes with such a sign."""
    net = ur.GRU(3, 4, seed=0)
    y, _, tape = net.record(X)
    t = torch.tensor(y, requires_grad=True)
    loss = torch.complex(torch.ones_like(t), t).conj().angle().sum()
    (dy,) = torch.autograd.grad(loss, t)
    assert dy.is_neg()
    expected = tape.backward(dy.resolve_neg().numpy()).parameters
    assert all(np.array_equal(a, expected[n]) for n, a in tape.backward(dy).parameters.items())
    spectrum = torch.fft.rfft(torch.from_numpy(X), dim=0).conj()
    assert np.array_equal(net(spectrum.imag)[0], net(spectrum.imag.resolve_neg().numpy())[0])


def fake(a: Any) -> Any:
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode().from_tensor(a)


class Holder(torch.Tensor):
    """A tensor that stands for another, as DTensor and quantised ones do."""

    @staticmethod
    def __new__(cls, held: Any) -> Any:
        holder = torch.Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype)
        holder.held = held
        return holder

    def __init__(self, held: Any) -> None:
        pass

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        plain = [a.held if isinstance(a, cls) else a for a in args]
        return function(*plain, **(kwargs or {}))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "change",
    [
        fake,
        Holder,
        torch._to_functional_tensor,
        lambda a: torch._efficientzerotensor(a.shape),
        lambda a: torch.masked.masked_tensor(a, a > 0),
    ],
    ids=["fake", "wrapper", "functional", "zeros", "masked"],
)
def test_tensors_without_memory(change: Callable[[Any], Any]) -> None:
    """Of which DLPack hands over none, and NumPy makes what was last there."""
    net = ur.GRU(3, 4, seed=0)
    with pytest.raises(TypeError, match="x: expected a float32 array, got .*holds no numbers"):
        net(change(torch.from_numpy(X)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.requires_grad_(),
        lambda a: a.to("meta"),
        lambda a: a.bfloat16(),
        lambda a: a.to(torch.complex64).conj(),
        lambda a: a.to_sparse(),
        lambda a: torch.quantize_per_tensor(a, 0.1, 0, torch.qint8),
        lambda a: torch.nested.nested_tensor(list(a)),
    ],
    ids=["grad", "meta", "bfloat16", "conj", "sparse", "quantised", "nested"],
)
def test_tensors_of_another_kind(change: Callable[[Any], Any]) -> None:
    net = ur.GRU(3, 4, seed=0)
    with pytest.raises(TypeError, match="x: expected a float32 array, got .*unreadable"):
        net(change(torch.tensor(X)))


def test_tensors_that_are_arrays() -> None:
    net = ur.GRU(3, 4, seed=0)
    expected = net(X)[0]
    tensor = torch.tensor(X)
    for same in (
        tensor,
        torch.nn.Parameter(tensor, requires_grad=False),
        tensor.as_subclass(type("Sub", (torch.Tensor,), {})),
        tensor.transpose(0, 1).contiguous().transpose(0, 1),
        tensor.neg().neg(),
    ):
        assert np.array_equal(net(same)[0], expected)
    # Nothing stays with the tensor: its memory can still be resized.
    tensor.resize_(100, 100)
    with torch.inference_mode():
        inside = torch.tensor(X)
    assert np.array_equal(net(inside)[0], expected)
