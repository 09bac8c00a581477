"""`resets`: the same as running every episode by itself, whoever computes."""

from __future__ import annotations

from typing import Any

import pytest
from torch_support import (
    BATCH,
    HIDDEN,
    INPUT,
    SEQUENCES,
    STEPS,
    close,
    initial,
    pair,
    same_as_theirs,
    tensors,
    torch,
    ut,
)

rnn = torch.nn.utils.rnn


def marks() -> Any:
    """A row with a reset in its first step, one with two in a row, one with none."""
    begins = torch.zeros(STEPS, BATCH, dtype=torch.bool)
    begins[0, 0] = begins[4, 0] = begins[3, 1] = begins[4, 1] = begins[STEPS - 1, 1] = True
    return begins


def episode_by_episode(module: Any, x: Any, states: Any, begins: Any) -> Any:
    """A layer of one direction, an episode a call."""
    rows = []
    for b in range(x.shape[1]):
        row = x[:, b : b + 1]
        cuts = [0, *(t for t in range(1, len(x)) if begins[t, b]), len(x)]
        h = None if begins[0, b] else _row(states, b)
        parts = []
        for start, end in zip(cuts[:-1], cuts[1:], strict=True):
            y, h_end = module(row[start:end], h)
            parts.append(y)
            h = None
        rows.append((torch.cat(parts), h_end))
    y = torch.cat([y for y, _ in rows], 1)
    ends = [list(tensors(end)) for _, end in rows]
    return y, [torch.cat(parts, 1) for parts in zip(*ends, strict=True)]


def _row(states: Any, b: int) -> Any:
    if isinstance(states, tuple):
        return tuple(s[:, b : b + 1] for s in states)
    return states[:, b : b + 1]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize(("name", "more"), SEQUENCES)
def test_episodes_run_by_themselves(name: str, more: dict[str, Any], layers: int) -> None:
    ours, theirs = pair(name, torch.float64, num_layers=layers, **more)
    x = torch.randn(STEPS, BATCH, INPUT, dtype=torch.float64)
    h0 = initial(name, BATCH, layers, more.get("proj_size", HIDDEN))
    y, state = ours(x, h0, resets=marks())
    expected, ends = episode_by_episode(theirs, x, h0, marks())
    close(y, expected, "reference.output.float64", "y")
    for a, b in zip(tensors(state), ends, strict=True):
        close(a, b, "reference.output.float64", "state")
    found = torch.autograd.grad(y.square().sum(), list(ours.parameters()))
    right = torch.autograd.grad(expected.square().sum(), list(theirs.parameters()))
    for a, b in zip(found, right, strict=True):
        close(a, b, "reference.gradient.float64", "gradient")


class ByTorch(torch.nn.Module):
    """Our layer, kept to the path by PyTorch's functions."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Any, hx: Any) -> Any:
        return self.layer._by_torch(x, hx, self.begins)


@pytest.mark.parametrize("shape", ["time first", "batch_first", "unbatched", "packed"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize(("name", "more"), SEQUENCES)
def test_both_paths_agree(name: str, more: dict[str, Any], bidirectional: bool, shape: str) -> None:
    """The kernels against PyTorch's functions on the packed episodes, which go by another way."""
    options = {"num_layers": 2, "bidirectional": bidirectional, **more}
    options["batch_first"] = shape == "batch_first"
    ours, theirs = pair(name, torch.float64, **options)
    like = getattr(ut, name)(INPUT, HIDDEN, **options).double()
    like.load_state_dict(theirs.state_dict())
    by_torch = ByTorch(like)
    x, begins = torch.randn(STEPS, BATCH, INPUT), marks()
    cells = 4 if bidirectional else 2
    h0 = initial(
        name, None if shape == "unbatched" else BATCH, cells, more.get("proj_size", HIDDEN)
    )
    if shape == "batch_first":
        x, begins = x.transpose(0, 1), begins.t()
    elif shape == "unbatched":
        x, begins = x[:, 0], begins[:, 0]
    elif shape == "packed":
        lengths = torch.tensor([5, 9, 3])
        x = rnn.pack_padded_sequence(x, lengths, enforce_sorted=False)
        begins = rnn.pack_padded_sequence(begins[..., None], lengths, enforce_sorted=False)
        begins = begins._replace(data=begins.data[..., 0])
    by_torch.begins = begins
    same_as_theirs(ours, by_torch, x, h0, resets=begins)
    same_as_theirs(ours, by_torch, x, resets=begins)


def test_no_gradient_crosses() -> None:
    net = ut.GRU(INPUT, HIDDEN)
    x = torch.randn(STEPS, BATCH, INPUT, requires_grad=True)
    begins = torch.zeros(STEPS, BATCH, dtype=torch.bool)
    begins[4] = True
    net(x, resets=begins)[0][4:].sum().backward()
    assert not x.grad[:4].any()
    assert x.grad[4:].any()


def test_bfloat16_has_resets_too() -> None:
    net = ut.LSTM(INPUT, HIDDEN)
    x = torch.randn(STEPS, BATCH, INPUT)
    expected, _ = net(x, resets=marks())
    y, _ = net.bfloat16()(x.bfloat16(), resets=marks())
    assert y.dtype is torch.bfloat16
    # Eight bits of mantissa, over nine steps.
    assert (y.float() - expected).abs().max() < 0.03
    without, _ = net(x.bfloat16())
    assert not torch.equal(y, without)


@pytest.mark.parametrize(
    ("resets", "message"),
    [
        (torch.zeros(STEPS, BATCH), "expected a bool tensor, got one of torch.float32"),
        ([[False] * BATCH] * STEPS, "expected a bool tensor, got list"),
        (torch.zeros(BATCH, STEPS, dtype=torch.bool), r"\(T, B\) = \(9, 3\), got \(3, 9\)"),
    ],
)
def test_wrong_resets_are_named(resets: Any, message: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        net = ut.LSTM(INPUT, HIDDEN, dtype=dtype)
        with pytest.raises((TypeError, ValueError), match=f"^resets: .*{message}"):
            net(torch.zeros(STEPS, BATCH, INPUT, dtype=dtype), resets=resets)


def test_resets_of_a_packed_sequence_are_packed() -> None:
    x = rnn.pack_sequence([torch.zeros(3, INPUT), torch.zeros(2, INPUT)])
    for wrong in (
        torch.zeros(3, 2, dtype=torch.bool),
        rnn.pack_sequence([torch.zeros(3), torch.zeros(3)]),
    ):
        with pytest.raises(TypeError, match="^resets: expected a PackedSequence of bools"):
            ut.GRU(INPUT, HIDDEN)(x, resets=wrong)
