"""The modules are PyTorch's in all but who computes; models change over and back in place."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from typing import Any

import pytest
from torch_support import CELLS, HIDDEN, INPUT, SEQUENCES, close, pair, torch, ut

ALL = [*SEQUENCES, *CELLS]
BOTH = [("LSTM", {"num_layers": 2, "bidirectional": True}), ("LSTMCell", {})]


def sample(name: str, dtype: Any = torch.float32) -> Any:
    shape = (3, INPUT) if name.endswith("Cell") else (9, 3, INPUT)
    return torch.randn(*shape, dtype=dtype)


def first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


@pytest.mark.parametrize(("name", "more"), ALL)
def test_it_is_one_of_theirs(name: str, more: dict[str, Any]) -> None:
    ours = getattr(ut, name)(INPUT, HIDDEN, **more)
    theirs = getattr(torch.nn, name)(INPUT, HIDDEN, **more)
    assert isinstance(ours, getattr(torch.nn, name))
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert type(ours).__module__ == "unrolled.torch"
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())
    torch.manual_seed(5)
    ours.reset_parameters()
    torch.manual_seed(5)
    theirs.reset_parameters()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    "arguments",
    [
        ((0, 4), {}),
        ((4, 0), {}),
        ((4, 4, 0), {}),
        ((4, 4), {"dropout": 2}),
        ((4, 4), {"bias": 1}),
        ((4, 4), {"proj_size": 4}),
    ],
)
def test_constructors_refuse_what_theirs_refuse(arguments: Any) -> None:
    args, kwargs = arguments
    with pytest.raises((ValueError, TypeError)) as expected:
        torch.nn.LSTM(*args, **kwargs)
    with pytest.raises(type(expected.value)) as found:
        ut.LSTM(*args, **kwargs)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize(("name", "more"), ALL)
def test_copies_are_on_their_own(name: str, more: dict[str, Any], used: bool) -> None:
    ours = getattr(ut, name)(INPUT, HIDDEN, **more)
    x = sample(name)
    expected = first(ours(x)).detach() if used else None
    buffer = io.BytesIO()
    torch.save(ours, buffer)
    buffer.seek(0)
    copies = [
        copy.deepcopy(ours),
        pickle.loads(pickle.dumps(ours)),
        torch.load(buffer, weights_only=False),
        copy.copy(ours),
    ]
    if expected is None:
        expected = first(ours(x)).detach()
    for other in copies:
        assert type(other) is type(ours)
        assert torch.equal(first(other(x)), expected)
    with torch.no_grad():
        copies[0].weight_ih_l0.zero_() if "Cell" not in name else copies[0].weight_ih.zero_()
    assert not torch.equal(first(copies[0](x)), expected)
    assert torch.equal(first(ours(x)), expected)


@pytest.mark.parametrize(("name", "more"), BOTH)
def test_to_double_and_back(name: str, more: dict[str, Any]) -> None:
    ours = getattr(ut, name)(INPUT, HIDDEN, **more)
    x = sample(name)
    expected = first(ours(x))
    y = first(ours.double()(x.double()))
    assert y.dtype is torch.float64
    close(expected, y, "reference.output.float32", "float32")
    assert torch.equal(first(ours.float()(x)), expected)
    assert first(ours.bfloat16()(x.bfloat16())).dtype is torch.bfloat16


def test_load_state_dict_is_seen() -> None:
    for assign in (False, True):
        ours, theirs = pair("LSTM", torch.float64)
        x = torch.randn(4, 3, INPUT, dtype=torch.float64)
        ours(x)
        torch.nn.init.normal_(theirs.weight_hh_l0)
        ours.load_state_dict(theirs.state_dict(), assign=assign)
        close(ours(x)[0], theirs(x)[0], "reference.output.float64", "y")


@pytest.mark.parametrize("fused", [False, True])
def test_training_is_the_same(fused: bool) -> None:
    """Ten steps beside PyTorch's layer."""
    ours, theirs = pair("LSTM", torch.float64, num_layers=2)
    x, target = torch.randn(12, 4, INPUT).double(), torch.randn(12, 4, HIDDEN).double()
    for module in (ours, theirs):
        optimiser = torch.optim.Adam(module.parameters(), lr=0.01, fused=fused)
        for _ in range(10):
            optimiser.zero_grad()
            (module(x)[0] - target).square().mean().backward()
            optimiser.step()
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        # Adam's quotient turns a rounding of a tiny gradient into one of the step.
        close(a, b, "difference", name)


class Nested(torch.nn.Module):
    """Layers in lists, under two names, of subclasses, of other kinds."""

    class Own(torch.nn.LSTM):
        pass

    def __init__(self) -> None:
        super().__init__()
        self.rows = torch.nn.ModuleList([torch.nn.LSTM(3, 4), torch.nn.GRU(4, 4, 2)])
        self.again = self.rows[0]
        self.inner = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())
        self.cells = torch.nn.ModuleDict({"a": torch.nn.GRUCell(4, 4), "b": torch.nn.RNN(4, 4)})
        self.own = Nested.Own(4, 4)

    def forward(self, x: Any) -> Any:
        x = self.rows[0](x)[0]
        x = self.inner(self.rows[1](x)[0])
        x = self.own(self.cells["b"](x)[0])[0]
        return self.cells["a"](x[-1])


def test_accelerate_and_restore() -> None:
    torch.manual_seed(0)
    model = Nested()
    x = torch.randn(6, 2, 3)
    expected = model(x)
    calls = []
    model.rows[1].register_forward_hook(lambda *_: calls.append(1))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    before = dict(model.named_parameters())
    layer, text = model.rows[0], repr(model)
    model.rows[0].eval()

    summary = ut.accelerate(model)
    assert summary.replaced == {
        "rows.0": "LSTM(3, 4)",
        "rows.1": "GRU(4, 4, num_layers=2)",
        "cells.a": "GRUCell(4, 4), in inference of 1 or more rows only",
        "cells.b": "RNN(4, 4)",
        "own": "Own(4, 4)",
    }
    assert not summary.left
    assert str(summary).splitlines()[0] == "accelerated 5 recurrent layers"
    assert repr(model) == text
    assert model.rows[0] is layer is model.again
    assert type(layer) is ut.LSTM
    assert not layer.training
    assert all(p is before[name] for name, p in model.named_parameters())
    y = model(x)
    close(y, expected, "reference.output.float32", "y")
    assert calls == [1]
    y.square().sum().backward()
    optimiser.step()
    assert not torch.equal(model(x), y)
    assert not ut.accelerate(model).replaced

    after = model(x)
    summary = ut.restore(model)
    assert len(summary.replaced) == 5
    assert str(summary).startswith("restored 5")
    assert type(layer) is torch.nn.LSTM
    assert vars(layer).keys() == vars(torch.nn.LSTM(3, 4)).keys()
    close(model(x), after, "reference.output.float32", "restored")
    assert not ut.restore(model).replaced


def test_the_model_itself() -> None:
    model = torch.nn.LSTMCell(3, 4)
    assert "(the model): LSTMCell(3, 4)" in str(ut.accelerate(model))
    assert type(model) is ut.LSTMCell
    with pytest.raises(TypeError, match="^model: expected a torch.nn.Module, got int"):
        ut.accelerate(3)


def test_parametrised_and_pruned_weights() -> None:
    import torch.nn.utils.prune

    for wrap in (
        lambda m: torch.nn.utils.parametrizations.weight_norm(m, "weight_hh_l0"),
        lambda m: torch.nn.utils.prune.l1_unstructured(m, "weight_hh_l0", 0.5),
    ):
        ours, theirs = (wrap(m) for m in pair("GRU", torch.float64))
        theirs.load_state_dict(ours.state_dict())
        x = torch.randn(6, 2, INPUT, dtype=torch.float64)
        for _ in range(2):
            found = []
            for module in (ours, theirs):
                y = module(x)[0]
                parameters = [p for p in module.parameters() if p.requires_grad]
                found.append([y, *torch.autograd.grad(y.square().sum(), parameters)])
                with torch.no_grad():
                    for p in module.parameters():
                        p.mul_(1.5)
            for a, b in zip(*found, strict=True):
                close(a, b, "reference.gradient.float64", "result")


def test_threads() -> None:
    """Several threads in one module, its weights changing between rounds."""
    net = ut.LSTM(INPUT, HIDDEN, 2)
    xs = [torch.randn(20, 4, INPUT) for _ in range(4)]
    for _ in range(5):
        with torch.no_grad():
            net.weight_hh_l0.mul_(0.9)
        expected = [ut.LSTM.forward(copy.deepcopy(net), x)[0] for x in xs]
        found: list[Any] = [None] * len(xs)

        def work(i: int, found: list[Any] = found) -> None:
            y = net(xs[i])[0]
            torch.autograd.grad(y.sum(), list(net.parameters()))
            found[i] = y

        threads = [threading.Thread(target=work, args=(i,)) for i in range(len(xs))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_no_grad_and_inference_mode() -> None:
    for name, more in BOTH:
        ours, theirs = pair(name, torch.float64, **more)
        x = sample(name, torch.float64)
        expected = first(theirs(x))
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                assert ut.explain(ours, x).endswith("keeping nothing")
                y = first(ours(x))
            assert not y.requires_grad
            assert y.is_inference() == (mode is torch.inference_mode)
            close(y, expected, "reference.output.float64", name)
        with torch.inference_mode():
            inside = getattr(ut, name)(INPUT, HIDDEN, **more)
            y = first(inside(x.float()))
            for p in inside.parameters():
                p.mul_(2)
            assert not torch.equal(first(inside(x.float())), y)
        x.requires_grad_()
        with torch.no_grad():
            assert not first(ours(x)).requires_grad


def test_the_thread_count_follows_pytorch() -> None:
    import unrolled

    net = ut.LSTM(INPUT, HIDDEN)
    threads = torch.get_num_threads()
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            net(torch.randn(3, 2, INPUT))
            assert unrolled.get_num_threads() == n
        unrolled.set_num_threads(1)
        net(torch.randn(3, 2, INPUT))
        assert unrolled.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
