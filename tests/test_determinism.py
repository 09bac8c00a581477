"""What must not show in a single bit: the batch a row is in, threads, checkpoints, streaming, and
which of the levels that fuse multiply-add."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import VARIANTS, Variant, arrays, make, normal, same
from unrolled._machine import ISAS

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
each_isa = pytest.mark.parametrize("isa", ISAS)


def need(isa: str) -> None:
    if isa not in ur.available_isas():
        pytest.skip(f"this machine has no {isa}")
    ur.set_max_isa(isa)


def everything(net: Any, x: Any, state: Any, dy: Any, **more: Any) -> dict[str, Any]:
    """All that a run and its way back give, by name."""
    truncate = more.pop("truncate", None)
    y, final, tape = net.record(x, state, **more)
    g = tape.backward(dy, final, truncate=truncate)
    return {"y": y, "state": final, "input": g.input, "initial state": g.state, **g.parameters}


def problem(net: Any, steps: int, batch: int) -> tuple[Any, Any, Any]:
    sizes, dtype = net._sizes, net.dtype
    parts = tuple(normal(sizes.cells, batch, n, dtype=dtype, seed=n) for n in sizes.states)
    return (
        normal(steps, batch, net.input_size, dtype=dtype),
        parts if len(parts) > 1 else parts[0],
        normal(steps, batch, net.num_directions * sizes.states[0], dtype=dtype, seed=1),
    )


def rows(state: Any, which: Any) -> Any:
    parts = tuple(a[:, which].copy() for a in arrays(state))
    return parts if len(parts) > 1 else parts[0]


@each_variant
@each_isa
@each_dtype
def test_a_row_is_the_same_in_any_batch(variant: Variant, isa: str, dtype: str) -> None:
    need(isa)
    net = make(variant, 5, 19, num_layers=2, bidirectional=True, dtype=dtype)
    x, state, dy = problem(net, 9, 37)
    lengths = np.random.default_rng(0).integers(0, 10, size=37)
    resets = np.random.default_rng(1).random((9, 37)) < 0.2
    whole = everything(net, x, state, dy, lengths=lengths, resets=resets)
    for which in ([4], [36, 0, 17], slice(5, 23)):
        part = everything(
            net,
            x[:, which],
            rows(state, which),
            dy[:, which],
            lengths=lengths[which],
            resets=resets[:, which],
        )
        for name in ("y", "input"):
            assert same(part[name], whole[name][:, which].copy()), name
        for name in ("state", "initial state"):
            assert same(part[name], rows(whole[name], which)), name


@each_variant
@each_dtype
@pytest.mark.parametrize("truncate", [0, 1, 3])
def test_a_truncated_row_is_the_same_in_any_batch(
    variant: Variant, dtype: str, truncate: int
) -> None:
    """Of rows shorter than the others nothing may be cut off, and alone they are not truncated."""
    net = make(variant, 2, 6, num_layers=2, bidirectional=True, dtype=dtype)
    steps, batch = 9, 23
    x, state, dy = problem(net, steps, batch)
    random = np.random.default_rng(2)
    lengths = random.integers(0, steps + 1, size=batch)
    resets = random.random((steps, batch)) < 0.2
    more = {"truncate": truncate, "checkpoint": 4}
    whole = everything(net, x, state, dy, lengths=lengths, resets=resets, **more)
    for b, length in enumerate(lengths):
        own = (slice(length), [b])
        alone = everything(
            net, x[own], rows(state, [b]), dy[own], resets=resets[own], truncate=truncate
        )
        for name in ("y", "input"):
            assert same(alone[name], whole[name][own].copy()), (name, length)
        for name in ("state", "initial state"):
            assert same(alone[name], rows(whole[name], [b])), (name, length)


@each_variant
@each_isa
@each_dtype
def test_streaming_is_a_call(variant: Variant, isa: str, dtype: str) -> None:
    need(isa)
    net = make(variant, 3, 21, num_layers=2, dtype=dtype)
    x = normal(12, 4, 3, dtype=dtype)
    y, final = net(x)
    s = net.stream(batch=4)
    assert same(np.stack([s.step(x_t) for x_t in x]), y)
    assert same(s.state, final)
    alone = net.stream()
    assert same(np.stack([alone.step(x_t) for x_t in x[:, 2]]), y[:, 2].copy())


def test_a_long_step_is_a_call_too() -> None:
    """Streams of larger networks let go of the interpreter's lock: another path."""
    net = ur.LSTM(16, 200, seed=0)
    x = normal(5, 3, 16)
    s = net.stream(batch=3)
    assert same(np.stack([s.step(x_t) for x_t in x]), net(x)[0])


@each_variant
def test_threads(variant: Variant) -> None:
    net = make(variant, 16, 48, num_layers=2, bidirectional=True)
    given = problem(net, 40, 70)
    results = []
    for threads in (1, 2, 5):
        ur.set_num_threads(threads)
        results.append(everything(net, *given))
    for other in results[1:]:
        assert all(same(other[name], a) for name, a in results[0].items())


@each_variant
@each_dtype
def test_levels_that_fuse(variant: Variant, dtype: str) -> None:
    need("avx512")
    results = []
    for isa in ("avx2", "avx512"):
        need(isa)
        net = make(variant, 5, 19, num_layers=2, bidirectional=True, dtype=dtype)
        results.append(everything(net, *problem(net, 9, 21)))
    assert all(same(results[1][name], a) for name, a in results[0].items())


@each_variant
@each_isa
@each_dtype
@pytest.mark.parametrize("truncate", [None, 7])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_checkpoints(
    variant: Variant, isa: str, dtype: str, truncate: int | None, bidirectional: bool
) -> None:
    need(isa)
    net = make(variant, 3, 9, num_layers=2, bidirectional=bidirectional, dtype=dtype, dropout=0.2)
    given = problem(net, 90, 19)
    lengths = np.random.default_rng(0).integers(0, 91, size=19)
    more = {"lengths": lengths, "truncate": truncate}
    more["resets"] = np.random.default_rng(1).random((90, 19)) < 0.05
    results = []
    for checkpoint in (None, 1, 20, "auto", 1000):
        net._draws = 0
        results.append(everything(net, *given, checkpoint=checkpoint, **more))
    for other in results[1:]:
        assert all(same(other[name], a) for name, a in results[0].items())


@each_variant
def test_again(variant: Variant) -> None:
    net = make(variant, 8, 24, num_layers=2)
    given = problem(net, 30, 40)
    first = everything(net, *given)
    for _ in range(3):
        assert all(same(a, first[name]) for name, a in everything(net, *given).items())


def test_cut_sequences_join() -> None:
    net = ur.LSTM(3, 10, num_layers=2, seed=0)
    x = normal(20, 5, 3)
    y, final = net(x)
    first, state = net(x[:8])
    second, state = net(x[8:], state)
    assert same(np.concatenate([first, second]), y)
    assert same(state, final)


def test_a_reset_is_a_beginning() -> None:
    net = ur.GRU(3, 10, num_layers=2, seed=0)
    x = normal(12, 5, 3)
    resets = np.zeros((12, 5), bool)
    resets[7] = True
    y, final = net(x, normal(2, 5, 10), resets=resets)
    second, state = net(x[7:])
    assert same(y[7:], second)
    assert same(final, state)
