"""What the tests of `unrolled.torch` share. Imported without PyTorch, it skips its importer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from tolerances import assert_close

torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install '.[torch]'")

import unrolled.torch as ut  # noqa: E402 - only where there is PyTorch

INPUT, HIDDEN, STEPS, BATCH = 5, 7, 9, 3

# One of each, and what is special about it.
SEQUENCES: list[tuple[str, dict[str, Any]]] = [
    ("LSTM", {}),
    ("LSTM", {"proj_size": 3}),
    ("GRU", {}),
    ("RNN", {"nonlinearity": "tanh"}),
    ("RNN", {"nonlinearity": "relu"}),
]
CELLS: list[tuple[str, dict[str, Any]]] = [
    ("LSTMCell", {}),
    ("GRUCell", {}),
    ("RNNCell", {"nonlinearity": "tanh"}),
    ("RNNCell", {"nonlinearity": "relu"}),
]
DTYPES = [torch.float32, torch.float64]


def pair(name: str, dtype: Any, **options: Any) -> tuple[Any, Any]:
    """The same layer of ours in `dtype`, and of PyTorch's in float64, which judges it."""
    torch.manual_seed(7)
    ours = getattr(ut, name)(INPUT, HIDDEN, **options).to(dtype)
    theirs = getattr(torch.nn, name)(INPUT, HIDDEN, **options).double()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def same_as_theirs(
    ours: Any, theirs: Any, x: Any, states: Any = None, **more: Any
) -> tuple[Any, Any]:
    """Outputs and all gradients of both for one random loss; `states` is h0 or (h0, c0).

    More is for `ours` alone. Returns what both returned.
    """
    sides = []
    for module, dtype in ((ours, next(ours.parameters()).dtype), (theirs, torch.float64)):
        leaf = copy_of(x, dtype)
        begin = None if states is None else map_states(lambda s, d=dtype: copy_of(s, d), states)
        result = module(leaf, begin, **(more if module is ours else {}))
        sides.append((module, leaf, begin, result))
    outputs = [list(tensors(side[3])) for side in sides]
    name = str(outputs[0][0].dtype).removeprefix("torch.")
    weights = [torch.randn(o.shape, dtype=torch.float64) for o in outputs[1]]
    gradients = []
    for (module, leaf, begin, _), found in zip(sides, outputs, strict=True):
        loss = sum((o * w.to(o.dtype)).sum() for o, w in zip(found, weights, strict=True))
        leaves = [*tensors(leaf), *tensors(begin), *module.parameters()]
        gradients.append(torch.autograd.grad(loss, leaves))
    for i, (a, b) in enumerate(zip(*outputs, strict=True)):
        assert a.stride() == b.stride(), f"output {i}: strides {a.stride()}, {b.stride()}"
        close(a, b, f"reference.output.{name}", f"output {i}")
    for i, (a, b) in enumerate(zip(*gradients, strict=True)):
        close(a, b, f"reference.gradient.{name}", f"gradient {i}")
    return sides[0][3], sides[1][3]


def copy_of(x: Any, dtype: Any) -> Any:
    """A leaf with the same numbers; of a packed sequence its data."""
    if isinstance(x, torch.nn.utils.rnn.PackedSequence):
        return x._replace(data=copy_of(x.data, dtype))
    return x.detach().to(dtype, copy=True).requires_grad_()


def map_states(f: Any, states: Any) -> Any:
    return tuple(map(f, states)) if isinstance(states, tuple) else f(states)


def tensors(result: Any) -> Iterable[Any]:
    """The floating tensors of what a layer returns or takes."""
    if isinstance(result, torch.Tensor):
        if result.is_floating_point():
            yield result
    elif result is not None:
        for part in result:
            yield from tensors(part)


def close(actual: Any, expected: Any, entry: str, name: str) -> None:
    assert_close(actual.detach().numpy(), expected.detach().double().numpy(), entry, name)


def initial(name: str, batch: int | None, cells: int = 1, state: int = HIDDEN) -> Any:
    """Random states of a layer: (cells, batch, …), without the batch for None."""
    rows = () if batch is None else (batch,)
    h = torch.randn(cells, *rows, state, dtype=torch.float64)
    c = torch.randn(cells, *rows, HIDDEN, dtype=torch.float64)
    return (h, c) if name.startswith("LSTM") else h
