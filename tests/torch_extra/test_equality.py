"""The numbers and gradients of `torch.nn` for every option; what is wrong is refused alike."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from torch_support import (
    BATCH,
    CELLS,
    DTYPES,
    HIDDEN,
    INPUT,
    SEQUENCES,
    STEPS,
    close,
    initial,
    map_states,
    pair,
    same_as_theirs,
    tensors,
    torch,
    ut,
)
from unrolled.torch import _memory, _run

rnn = torch.nn.utils.rnn


def sizes(options: dict[str, Any]) -> dict[str, int]:
    directions = 2 if options.get("bidirectional") else 1
    cells = options.get("num_layers", 1) * directions
    return {"cells": cells, "state": options.get("proj_size") or HIDDEN}


def by_us(module: Any, *arguments: Any) -> None:
    """A test of equality would be idle if PyTorch computed both sides."""
    assert ut.explain(module, *arguments).startswith("unrolled: ")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("name", "more"), SEQUENCES)
def test_sequences(
    name: str, more: dict[str, Any], bias: bool, bidirectional: bool, layers: int, dtype: Any
) -> None:
    options = {"num_layers": layers, "bidirectional": bidirectional, "bias": bias, **more}
    ours, theirs = pair(name, dtype, **options)
    x = torch.randn(STEPS, BATCH, INPUT)
    by_us(ours, x.to(dtype))
    same_as_theirs(ours, theirs, x)
    same_as_theirs(ours, theirs, x, initial(name, BATCH, **sizes(options)))


@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("shape", ["batch_first", "unbatched", "one row", "one step"])
@pytest.mark.parametrize(("name", "more"), SEQUENCES)
def test_shapes(name: str, more: dict[str, Any], shape: str, states: bool) -> None:
    options = {"num_layers": 2, "bidirectional": True, **more}
    ours, theirs = pair(name, torch.float64, **options, batch_first=shape == "batch_first")
    x = {
        "batch_first": torch.randn(BATCH, STEPS, INPUT),
        "unbatched": torch.randn(STEPS, INPUT),
        "one row": torch.randn(STEPS, 1, INPUT),
        "one step": torch.randn(1, BATCH, INPUT),
    }[shape]
    batch = {"unbatched": None, "one row": 1}.get(shape, BATCH)
    by_us(ours, x.double())
    same_as_theirs(ours, theirs, x, initial(name, batch, **sizes(options)) if states else None)


@pytest.mark.parametrize("lengths", [[9, 6, 2], [2, 9, 6], [5, 5, 5], [1, 1, 1]])
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize(("name", "more"), SEQUENCES)
def test_packed(name: str, more: dict[str, Any], states: bool, lengths: list[int]) -> None:
    options = {"num_layers": 2, "bidirectional": True, **more}
    ours, theirs = pair(name, torch.float64, **options)
    ordered = lengths == sorted(lengths, reverse=True)
    x = rnn.pack_padded_sequence(
        torch.randn(STEPS, BATCH, INPUT), torch.tensor(lengths), enforce_sorted=ordered
    )
    by_us(ours, x.double())
    h0 = initial(name, BATCH, **sizes(options)) if states else None
    (y, _), (expected, _) = same_as_theirs(ours, theirs, x, h0)
    assert isinstance(y, rnn.PackedSequence)
    assert y.batch_sizes.equal(expected.batch_sizes)
    for a, b in zip(y[2:], expected[2:], strict=True):
        assert (a is None) == (b is None) and (a is None or a.equal(b))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("p", [0.5, 1.0])
@pytest.mark.parametrize(("name", "more"), SEQUENCES)
def test_dropout_draws_what_pytorch_draws(
    name: str, more: dict[str, Any], p: float, bidirectional: bool, batch_first: bool, packed: bool
) -> None:
    options = {"num_layers": 3, "dropout": p, "bidirectional": bidirectional, **more}
    ours, theirs = pair(name, torch.float64, batch_first=batch_first, **options)
    x = torch.randn(BATCH, STEPS, INPUT, dtype=torch.float64)
    x = x if batch_first else x.transpose(0, 1)
    if packed:
        lengths = torch.tensor([4, 9, 5])
        x = rnn.pack_padded_sequence(x, lengths, batch_first, enforce_sorted=False)
    by_us(ours, x)
    results = []
    for module in (ours, theirs):
        torch.manual_seed(3)
        found = list(tensors(module(x)))
        loss = sum(o.square().sum() for o in found)
        results.append([*found, *torch.autograd.grad(loss, list(module.parameters()))])
    if p < 1:
        torch.manual_seed(4)
        assert not next(tensors(theirs(x))).equal(results[1][0])
    for i, (a, b) in enumerate(zip(*results, strict=True)):
        close(a, b, "reference.gradient.float64", f"result {i}")
    ours.eval(), theirs.eval()
    for a, b in zip(tensors(ours(x)), tensors(theirs(x)), strict=True):
        close(a, b, "reference.output.float64", "without dropout")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize(("name", "more"), CELLS)
def test_cells(
    name: str, more: dict[str, Any], alone: bool, states: bool, bias: bool, dtype: Any
) -> None:
    ours, theirs = pair(name, dtype, bias=bias, **more)
    x = torch.randn(INPUT) if alone else torch.randn(BATCH, INPUT)
    h0 = None
    if states:
        shape = (HIDDEN,) if alone else (BATCH, HIDDEN)
        h = torch.randn(2, *shape, dtype=torch.float64)
        h0 = tuple(h) if name == "LSTMCell" else h[0]
    same_as_theirs(ours, theirs, x, h0)
    with torch.no_grad():
        own = None if h0 is None else map_states(lambda s: s.to(dtype), h0)
        by_us(ours, x.to(dtype), own)
        found = tensors(ours(x.to(dtype), own))
        expected = tensors(theirs(x.double(), h0))
    entry = f"reference.output.{str(dtype).removeprefix('torch.')}"
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        close(a, b, entry, "h or c")


@pytest.mark.parametrize(("name", "more"), CELLS)
def test_a_loop_over_a_cell(name: str, more: dict[str, Any]) -> None:
    ours, theirs = pair(name, torch.float64, **more)
    x = torch.randn(STEPS, BATCH, INPUT, dtype=torch.float64)
    gradients = []
    for cell in (ours, theirs):
        state = None
        for step in x:
            state = cell(step, state)
        h = state[0] if name == "LSTMCell" else state
        gradients.append(torch.autograd.grad(h.square().sum(), list(cell.parameters())))
    for a, b in zip(*gradients, strict=True):
        close(a, b, "reference.gradient.float64", "gradient")


@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_part_of_the_outputs(name: str) -> None:
    """Autograd gives no derivative for what the loss does not use."""
    ours, theirs = pair(name, torch.float64, num_layers=2)
    x = torch.randn(STEPS, BATCH, INPUT, dtype=torch.float64)
    for which in range(3 if name == "LSTM" else 2):
        found = []
        for module in (ours, theirs):
            loss = list(tensors(module(x)))[which].square().sum()
            parameters = list(module.parameters())
            found.append(torch.autograd.grad(loss, parameters))
        for a, b in zip(*found, strict=True):
            close(a, b, "reference.gradient.float64", f"by output {which}")


def test_frozen_parameters_and_inputs_that_need_nothing() -> None:
    ours, theirs = pair("LSTM", torch.float64)
    x = torch.randn(STEPS, BATCH, INPUT, dtype=torch.float64)
    for module in (ours, theirs):
        module.weight_hh_l0.requires_grad_(False)
        module(x)[0].sum().backward()
        assert module.weight_hh_l0.grad is None
    close(ours.weight_ih_l0.grad, theirs.weight_ih_l0.grad, "reference.gradient.float64", "w_ih")
    for p in ours.parameters():
        p.requires_grad_(False)
    assert not ours(x)[0].requires_grad


@pytest.mark.parametrize(
    "view",
    [
        lambda x: x.transpose(0, 1),
        lambda x: x[::2],
        lambda x: x[:, :, 1:],
        lambda x: x.expand(x.shape[0] * 3, -1, -1) if x.shape[0] == 1 else x[:1].expand(4, -1, -1),
        lambda x: x.flip(0).permute(1, 0, 2),
    ],
)
@pytest.mark.parametrize("batch_first", [False, True])
def test_views(view: Any, batch_first: bool) -> None:
    x = view(torch.randn(4, 6, INPUT + 1, dtype=torch.float64))[..., :INPUT]
    ours, theirs = pair("GRU", torch.float64, batch_first=batch_first)
    close(ours(x)[0], theirs(x)[0], "reference.output.float64", "y")


def test_lazy_negation() -> None:
    ours, theirs = pair("GRU", torch.float64)
    x = torch.randn(4, 3, INPUT, dtype=torch.complex128).conj().imag
    assert x.is_neg()
    by_us(ours, x)
    close(ours(x)[0], theirs(x)[0], "reference.output.float64", "y")


@pytest.mark.parametrize("batch_first", [False, True])
def test_memory_is_shared_not_copied(batch_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels get x's own memory, in either order of axes; y is laid out as PyTorch's."""
    seen: list[Any] = []

    def watched(tensor: Any) -> Any:
        seen.append(_run_array(tensor))
        return seen[-1]

    _run_array = _run.array
    for module in (_run, _memory):
        monkeypatch.setattr(module, "array", watched)
    ours, theirs = pair("LSTM", torch.float32, batch_first=batch_first)
    x = torch.randn(32, 48, INPUT, requires_grad=True)
    y, expected = ours(x)[0], theirs(x.double())[0]
    assert np.shares_memory(seen[0], x.detach().numpy())
    time_first = x.detach().transpose(0, 1) if batch_first else x.detach()
    assert seen[0].strides == time_first.numpy().strides
    assert y.stride() == expected.stride()
    dy = torch.randn_like(y.transpose(0, 1)).transpose(0, 1)
    y.backward(dy)
    assert any(np.shares_memory(a, dy.numpy()) for a in seen[1:])


WRONG: list[tuple[str, Any, Any]] = [
    ("features", torch.zeros(4, 3, INPUT + 1), None),
    ("dimensions", torch.zeros(2, 4, 3, INPUT), None),
    ("one dimension", torch.zeros(INPUT), None),
    ("dtype", torch.zeros(4, 3, INPUT, dtype=torch.float64), None),
    ("integers", torch.zeros(4, 3, INPUT, dtype=torch.int64), None),
    ("no steps", torch.zeros(0, 3, INPUT), None),
    ("h0", torch.zeros(4, 3, INPUT), torch.zeros(1, 2, HIDDEN)),
    ("h0 without batch", torch.zeros(4, 3, INPUT), torch.zeros(1, HIDDEN)),
    ("h0 with batch", torch.zeros(4, INPUT), torch.zeros(1, 3, HIDDEN)),
    ("h0's dtype", torch.zeros(4, 3, INPUT), torch.zeros(1, 3, HIDDEN, dtype=torch.float64)),
    ("a list", [[0.0] * INPUT], None),
]


@pytest.mark.parametrize(("what", "x", "h0"), WRONG, ids=[w[0] for w in WRONG])
@pytest.mark.parametrize("name", ["LSTM", "GRU", "RNN"])
def test_what_is_wrong_gives_pytorchs_error(name: str, what: str, x: Any, h0: Any) -> None:
    ours = getattr(ut, name)(INPUT, HIDDEN)
    theirs = getattr(torch.nn, name)(INPUT, HIDDEN)
    hx = (h0, h0) if h0 is not None and name == "LSTM" else h0
    with pytest.raises(Exception) as expected:  # noqa: B017, PT011 - whatever PyTorch raises
        theirs(x, hx)
    with pytest.raises(type(expected.value)) as found:
        ours(x, hx)
    assert str(found.value) == str(expected.value)


def test_an_empty_batch_is_pytorchs_too() -> None:
    ours, theirs = pair("GRU", torch.float32)
    x = torch.zeros(4, 0, INPUT)
    assert ours(x)[0].shape == theirs.float()(x)[0].shape == (4, 0, HIDDEN)
    assert ut.explain(ours, x) == "PyTorch: x is empty"


@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell", "RNNCell"])
def test_wrong_cells_give_pytorchs_error(name: str) -> None:
    ours, theirs = pair(name, torch.float32)
    theirs.float()
    h = torch.zeros(3, HIDDEN)
    for x, state in itertools.product(
        [torch.zeros(3, INPUT + 1), torch.zeros(1, 3, INPUT), torch.zeros(2, INPUT)],
        [None, h],
    ):
        if len(x) == 2 and state is None:
            continue
        hx = (state, state) if state is not None and name == "LSTMCell" else state
        with pytest.raises(Exception) as expected:  # noqa: B017, PT011
            theirs(x, hx)
        with pytest.raises(type(expected.value)) as found:
            ours(x, hx)
        assert str(found.value) == str(expected.value)
