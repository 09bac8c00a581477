"""Every change of a weight is seen, however it was made and however small it is."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch_support import HIDDEN, INPUT, close, pair, torch, ut


def sample(name: str) -> Any:
    shape = (2, 3, INPUT) if name == "LSTM" else (3, INPUT)
    return torch.randn(*shape, dtype=torch.float64)


def first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


def edits(weight: Any) -> dict[str, Callable[[], Any]]:
    """Ways of changing a weight, some of which count nowhere."""
    new = torch.randn_like(weight.detach())

    def by_optimiser(**more: Any) -> None:
        weight.grad = new
        torch.optim.Adam([weight], lr=0.1, **more).step()

    def inference() -> None:
        with torch.inference_mode():
            weight.add_(new)

    def no_grad() -> None:
        with torch.no_grad():
            weight.copy_(new)

    def shared() -> None:
        weight.data.share_memory_()
        weight.data.copy_(new)

    return {
        "no_grad": no_grad,
        "inference mode": inference,
        "data, assigned": lambda: setattr(weight, "data", new),
        "data, assigned twice": lambda: (
            setattr(weight, "data", torch.zeros_like(new)),
            setattr(weight, "data", new),
        ),
        "data, in place": lambda: weight.data.mul_(0.5),
        "data, turned": lambda: setattr(weight, "data", weight.data.flip(0).t().contiguous().t()),
        "data, a negation put off": lambda: setattr(weight, "data", torch._neg_view(weight.data)),
        "NumPy": lambda: weight.detach().numpy().__imul__(0.5),
        "DLPack": lambda: torch.from_dlpack(weight.detach()).mul_(0.5),
        "shared memory": shared,
        "by address": lambda: ctypes.memset(weight.data_ptr(), 0, 8),
        "SGD": lambda: by_optimiser(),
        "fused": lambda: by_optimiser(fused=True),
        "foreach": lambda: by_optimiser(foreach=True),
    }


@pytest.mark.parametrize("edit", list(edits(torch.zeros(1))))
@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("name", ["LSTM", "LSTMCell"])
def test_every_way_is_seen(name: str, short: bool, edit: str) -> None:
    ours, theirs = pair(name, torch.float64)
    x = sample(name)[:1]
    if not short and name == "LSTM":
        x = x.repeat(30, 1, 1)
    with torch.no_grad():
        before = first(ours(x))
    weight = ours.weight_hh_l0 if name == "LSTM" else ours.weight_hh
    states = torch.randn(*((1, x.shape[1]) if name == "LSTM" else (1,)), HIDDEN).double()
    edits(weight)[edit]()
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        y = first(ours(x, (states, states)))
        close(y, first(theirs(x, (states, states))), "reference.output.float64", edit)
    assert before.shape == y.shape


def parts(weight: Any) -> dict[str, Any]:
    """Of a (rows, columns) or (rows,) array: what is written to."""
    if weight.ndim == 1:
        return {"one bias": weight[17:18]}
    return {
        "one number": weight[7, 3:4],
        "the last number": weight[-1, -1:],
        "a row": weight[11],
        "a column": weight[:, 5],
    }


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell"])
def test_part_of_a_large_weight(name: str) -> None:
    """Through `data`, which PyTorch's counters do not see; then a call of one step for one row."""
    torch.manual_seed(0)
    large = getattr(ut, name)(64, 160)
    shape = (1, 64) if name.endswith("Cell") else (1, 1, 64)
    x = torch.randn(*shape)
    begin = torch.ones(*shape[:-1], 160)
    begin = (begin, begin) if name.startswith("LSTM") else begin
    with torch.no_grad():
        y = first(large(x, begin))
        for parameter in large.parameters():
            for what, part in parts(parameter.data).items():
                part.add_(1)
                after = first(large(x, begin))
                assert not torch.equal(after, y), what
                y = after
            mask = torch.rand_like(parameter) < 0.01
            mask.view(-1)[3] = True
            parameter.data.masked_fill_(mask, 0)
            after = first(large(x, begin))
            assert not torch.equal(after, y), "a mask of pruning"
            y = after


def test_bits_are_compared() -> None:
    """A zero's sign and a NaN's payload count as changes, equal NaN do not."""
    from unrolled.torch._weights import packed

    net = ut.GRU(2, 3)
    cache: dict[int, Any] = {}

    def now() -> Any:
        return packed(cache, 0, net._kind(), net._weights(), torch.float32).network

    numbers = net.weight_hh_l0.detach().numpy().view(np.uint32)
    for bits in (0x00000000, 0x80000000, 0x7FC00000, 0x7FC00001):
        numbers[4, 1] = bits
        network = now()
        assert now() is network
        assert network.parameters()[1].view(np.uint32)[4, 1] == bits


def test_weights_that_moved_are_not_packed_again() -> None:
    net = ut.GRU(INPUT, HIDDEN)
    x = torch.randn(3, 2, INPUT)
    net(x)
    before = net.__dict__["_unrolled_packed"][0].net
    net.load_state_dict({k: v.clone() for k, v in net.state_dict().items()}, assign=True)
    net(x)
    assert net.__dict__["_unrolled_packed"][0].net is before


def test_another_kind_of_cell_with_the_same_weights() -> None:
    net = ut.RNN(INPUT, HIDDEN)
    x = torch.randn(3, 2, INPUT)
    net(x)
    net.mode, net.nonlinearity = "RNN_RELU", "relu"
    other = ut.RNN(INPUT, HIDDEN, nonlinearity="relu")
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(x)[0], other(x)[0])


@pytest.mark.parametrize("name", ["GRU", "GRUCell"])
def test_weights_of_no_use_are_pytorchs(name: str) -> None:
    """What cannot be packed is PyTorch's to refuse, or to compute."""
    for spoil in (
        lambda w: torch.zeros(3),
        lambda w: torch.zeros(0, 7),
        lambda w: w.to_sparse(),
    ):
        ours, theirs = pair(name, torch.float64)
        x = torch.randn(*((4, INPUT) if name == "GRUCell" else (2, 4, INPUT)), dtype=torch.float64)
        key = "weight_hh" if name == "GRUCell" else "weight_hh_l0"
        for module in (ours, theirs):
            setattr(module, key, torch.nn.Parameter(spoil(getattr(module, key).detach())))
        with pytest.raises(Exception) as expected, torch.no_grad():  # noqa: B017, PT011
            theirs(x)
        with pytest.raises(type(expected.value)) as found, torch.no_grad():
            ours(x)
        assert str(found.value) == str(expected.value)
