"""Tensors come back from a call as they went in: their storages, types and meaning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from torch_support import CELLS, HIDDEN, INPUT, SEQUENCES, close, pair, tensors, torch, ut

ALL = [*SEQUENCES, *CELLS]


class Sub(torch.Tensor):
    """A type of one's own."""


def call(name: str, module: Any, **more: Any) -> tuple[Any, list[Any]]:
    """Its result, and the x and states it was called with."""
    rows = (3,) if name.endswith("Cell") else (6, 3)
    x = torch.randn(*rows, INPUT, requires_grad=True)
    cells = () if name.endswith("Cell") else (1,)
    h = torch.randn(*cells, 3, getattr(module, "proj_size", 0) or HIDDEN, requires_grad=True)
    c = torch.randn(*cells, 3, HIDDEN, requires_grad=True)
    given = [x, h, c] if name.startswith("LSTM") else [x, h]
    return module(x, (h, c) if name.startswith("LSTM") else h, **more), given


def resizable(named: Iterator[tuple[str, Any]]) -> None:
    for name, tensor in named:
        storage = tensor.untyped_storage()
        assert storage.resizable(), name
        storage.resize_(storage.nbytes() + 64)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("name", "more"), ALL)
def test_storages_stay_resizable(name: str, more: dict[str, Any], compiled: bool) -> None:
    net = getattr(ut, name)(INPUT, HIDDEN, **more)
    run = torch.compile(net, backend="aot_eager") if compiled else net
    with torch.no_grad():
        found, given = call(name, run)
        resizable(("no_grad", t) for t in [*tensors(found), *given, *net.parameters()])
    found, given = call(name, run)
    outputs = list(tensors(found))
    kept = [*given, *net.parameters()]
    grads = [torch.randn_like(o) for o in outputs]
    gradients = torch.autograd.grad(outputs, kept, grads)
    resizable(("outputs", t) for t in outputs)
    resizable(("given", t) for t in kept)
    resizable(("dy", t) for t in grads)
    resizable(("gradients", t) for t in gradients)
    if not compiled:
        owners = {t.untyped_storage()._cdata for t in gradients}
        assert len(owners) == len(gradients), "each gradient has memory of its own"


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_storages_of_lengths_and_resets_too(name: str) -> None:
    net = getattr(ut, name)(INPUT, HIDDEN)
    rnn = torch.nn.utils.rnn
    lengths = torch.tensor([6, 4, 1])
    x = rnn.pack_padded_sequence(torch.randn(6, 3, INPUT), lengths)
    y, _ = net(x)
    resizable(("packed", t) for t in (x.data, x.batch_sizes, lengths, y.data))
    resets = torch.zeros(6, 3, dtype=torch.bool)
    net(torch.randn(6, 3, INPUT), resets=resets)
    resizable(iter([("resets", resets)]))


def test_a_buffer_is_used_again() -> None:
    net = ut.LSTM(INPUT, HIDDEN)
    buffer = torch.empty(0)
    for rows in (2, 5):
        buffer.resize_(0)
        torch.stack([torch.zeros(6, INPUT)] * rows, 1, out=buffer)
        with torch.no_grad():
            assert net(buffer)[0].shape == (6, rows, HIDDEN)


@pytest.mark.parametrize(
    ("name", "which"),
    [(n, w) for n in ("LSTM", "GRU", "LSTMCell", "GRUCell") for w in "xhc"[: 3 if "L" in n else 2]],
)
def test_a_subclass_keeps_its_type(name: str, which: str) -> None:
    ours, theirs = pair(name, torch.float64)
    cell = name.endswith("Cell")
    x = torch.zeros(*((2,) if cell else (5, 2)), INPUT, dtype=torch.float64)
    h = c = torch.zeros(*(() if cell else (1,)), 2, HIDDEN, dtype=torch.float64)
    x, h, c = (
        t.as_subclass(Sub) if n == which else t for n, t in zip("xhc", (x, h, c), strict=True)
    )
    found, expected = (m(x, (h, c) if name.startswith("LSTM") else h) for m in (ours, theirs))
    for a, b in zip(tensors(found), tensors(expected), strict=True):
        assert type(a) is type(b)


@pytest.mark.parametrize(("name", "more"), CELLS)
def test_no_units_or_no_features(name: str, more: dict[str, Any]) -> None:
    for inputs, units in ((3, 0), (0, 3)):
        cell = getattr(ut, name)(inputs, units, **more)
        state = torch.zeros(2, units)
        for hx in (None, (state, state) if name == "LSTMCell" else state):
            found = list(tensors(cell(torch.ones(2, inputs), hx)))
            assert [t.shape for t in found] == [(2, units)] * len(found)


def lazy(x: Any) -> dict[str, Any]:
    """The same numbers, otherwise in memory."""
    turned = x.transpose(-1, -2).contiguous().transpose(-1, -2)
    return {
        "negation put off": torch._neg_view(-x),
        "imaginary part of a conjugate": torch.complex(torch.zeros_like(x), -x).conj().imag,
        "last axes turned": turned,
        "every second": torch.stack([x, x], -1).flatten(-2)[..., ::2],
        "in the middle of memory": torch.stack([x, x, x])[1],
        "inference": x.detach().clone(),
        "copy on write": torch._lazy_clone(x),
    }


@pytest.mark.parametrize("kind", list(lazy(torch.zeros(2, 2))))
@pytest.mark.parametrize("name", ["LSTM", "GRU", "LSTMCell"])
def test_however_it_lies_in_memory(name: str, kind: str) -> None:
    ours, theirs = pair(name, torch.float64)
    cell = name.endswith("Cell")
    x = torch.randn(*((3,) if cell else (4, 3)), INPUT, dtype=torch.float64)
    h = torch.randn(*(() if cell else (1,)), 3, HIDDEN, dtype=torch.float64)
    with torch.no_grad():
        expected = list(tensors(theirs(x, (h, h) if name != "GRU" else h)))
        x, h = lazy(x)[kind], lazy(h)[kind]
        assert ut.explain(ours, x, (h, h) if name != "GRU" else h).startswith("unrolled")
        found = list(tensors(ours(x, (h, h) if name != "GRU" else h)))
    for a, b in zip(found, expected, strict=True):
        close(a, b, "reference.output.float64", kind)
    if cell:
        return
    grads = []
    for module, odd in ((ours, True), (theirs, False)):
        y = module(x)[0]
        dy = torch.linspace(0, 1, y.numel(), dtype=torch.float64).view(y.shape)
        dy = lazy(dy)[kind] if odd else dy
        grads.append(torch.autograd.grad(y, list(module.parameters()), dy))
    for a, b in zip(*grads, strict=True):
        close(a, b, "reference.gradient.float64", kind)


def test_a_phase_as_loss() -> None:
    """Its derivative comes as a negation put off."""
    found = []
    for module in pair("GRU", torch.float64):
        y, _ = module(torch.ones(4, 1, INPUT, dtype=torch.float64))
        loss = torch.complex(torch.ones_like(y), y).conj().angle().sum()
        found.append(torch.autograd.grad(loss, list(module.parameters())))
    for a, b in zip(*found, strict=True):
        close(a, b, "reference.gradient.float64", "gradient")


def test_zeros_not_written_down() -> None:
    ours, theirs = pair("LSTM", torch.float64)
    zeros = torch._efficientzerotensor(4, 3, INPUT, dtype=torch.float64)
    close(ours(zeros)[0], theirs(zeros.clone())[0], "reference.output.float64", "x")
    y = ours(torch.randn(4, 3, INPUT, dtype=torch.float64))[0]
    dy = torch._efficientzerotensor(*y.shape, dtype=torch.float64)
    for g in torch.autograd.grad(y, list(ours.parameters()), dy):
        assert not g.any()


@pytest.mark.parametrize("which", [0, 1, 2])
def test_layouts_and_devices_of_states(which: int) -> None:
    """A state that is not for the kernels is PyTorch's, as x is."""
    net = ut.LSTM(INPUT, HIDDEN)
    dense = torch.zeros(4, 3, INPUT), torch.zeros(1, 3, HIDDEN), torch.zeros(1, 3, HIDDEN)
    name = ("x", "h0", "c0")[which]
    for odd, reason in (
        (dense[which].to_sparse(), f"the layout of {name} is torch.sparse_coo"),
        (dense[which].to("meta"), f"{name} is on device meta"),
    ):
        x, h, c = (odd if i == which else t for i, t in enumerate(dense))
        assert ut.explain(net, x, (h, c)) == f"PyTorch: {reason}"


def test_memory_given_back() -> None:
    net = ut.GRU(INPUT, HIDDEN)
    x = torch.randn(4, 3, INPUT)
    net(x)
    net.weight_hh_l0.data.untyped_storage().resize_(0)
    assert ut.explain(net, x) == "PyTorch: a tensor's memory has been given back"


def test_a_profiler_names_what_ran() -> None:
    net, other = ut.LSTM(INPUT, HIDDEN), ut.RNN(INPUT, HIDDEN)
    cell = ut.GRUCell(INPUT, HIDDEN)
    x = torch.randn(4, 3, INPUT)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as seen:
        net(x)[0].sum().backward()
        with torch.no_grad():
            other(x)
            cell(x[0])
    rows = {row.key: row.count for row in seen.key_averages()}
    names = ("unrolled::lstm", "unrolled::lstm_backward", "unrolled::rnn_tanh", "unrolled::gru")
    assert [rows.get(name) for name in names] == [1, 1, 1, 1]
