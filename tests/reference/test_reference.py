"""The reference against the formulas, against finite differences, and against itself."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pytest
from reference_support import (
    VARIANTS,
    Problem,
    Variant,
    arrays,
    central_differences,
    close,
    close_gradients,
    load_by_path,
    problem,
    public,
    reference,
)

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)


def logistic(a: float) -> float:
    return 1 / (1 + math.exp(-a))


# The formulas, one number at a time.


def numbers(net: Any, x: np.ndarray, state: tuple[np.ndarray, ...]) -> tuple[Any, ...]:
    """One step for one row, written out from the formulas with scalars; returns the state."""
    p = net.state_dict()
    size = net.hidden_size

    def part(gate: int, unit: int, side: str, v: np.ndarray) -> float:
        row = gate * size + unit
        total = float(p[f"bias_{side}_l0"][row]) if net.bias else 0.0
        return total + sum(
            float(w) * float(a) for w, a in zip(p[f"weight_{side}_l0"][row], v, strict=True)
        )

    h = state[0][0, 0]
    units = range(size)
    if isinstance(net, reference.RNN):
        s = {"tanh": math.tanh, "relu": lambda a: max(a, 0.0), "sigmoid": logistic}
        return ([s[net.nonlinearity](part(0, u, "ih", x) + part(0, u, "hh", h)) for u in units],)
    if isinstance(net, reference.GRU):
        r = [logistic(part(0, u, "ih", x) + part(0, u, "hh", h)) for u in units]
        z = [logistic(part(1, u, "ih", x) + part(1, u, "hh", h)) for u in units]
        if net.reset_after:
            n = [math.tanh(part(2, u, "ih", x) + r[u] * part(2, u, "hh", h)) for u in units]
        else:
            rh = np.array(r) * h
            n = [math.tanh(part(2, u, "ih", x) + part(2, u, "hh", rh)) for u in units]
        return ([(1 - z[u]) * n[u] + z[u] * h[u] for u in units],)
    c = state[1][0, 0]
    order = "ifgo" if net.forget_gate else "igo"
    sums = {
        gate: [part(k, u, "ih", x) + part(k, u, "hh", h) for u in units]
        for k, gate in enumerate(order)
    }
    f = [logistic(a) for a in sums["f"]] if net.forget_gate else [1.0] * size
    c_new = [f[u] * c[u] + logistic(sums["i"][u]) * math.tanh(sums["g"][u]) for u in units]
    shown = [logistic(sums["o"][u]) * math.tanh(c_new[u]) for u in units]
    if net.proj_size:
        w = p["weight_hr_l0"]
        return ([float(w[k] @ np.array(shown)) for k in range(net.proj_size)], c_new)
    return (shown, c_new)


@each_variant
def test_forward_is_the_formula(variant: Variant) -> None:
    p = problem(variant.net(), steps=3, batch=1)
    y, final, _ = p.run()
    state = p.state
    for t in range(3):
        state = tuple(np.array(a)[None, None] for a in numbers(p.net, p.x[t, 0], state))
        close(y[t], state[0][0])
    for a, e in zip(final, state, strict=True):
        close(a, e)


# Finite differences: every parameter, every input, the initial state; losses on y and final state.

SITUATIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({}, {}),
    "lengths": ({}, {"lengths": True}),
    "resets": ({}, {"resets": True}),
    "layers": ({"num_layers": 2}, {"lengths": True}),
    "bidirectional": ({"bidirectional": True}, {"lengths": True, "resets": True}),
    "everything": (
        {"num_layers": 2, "bidirectional": True, "input_size": 1, "hidden_size": 3},
        {"lengths": True, "resets": True, "steps": 3},
    ),
}


@each_variant
@pytest.mark.parametrize("situation", SITUATIONS)
def test_gradients_are_finite_differences(variant: Variant, situation: str) -> None:
    sizes, data = SITUATIONS[situation]
    p = problem(variant.net(**sizes), **data)
    g = p.gradients()
    for name, a in p.net._parameters.items():
        close(g.parameters[name], central_differences(p.loss, a), "difference")
    close(g.input, central_differences(p.loss, p.x), "difference")
    for d, a in zip(arrays(g.state), p.state, strict=True):
        close(d, central_differences(p.loss, a), "difference")


# Sequences as users have them.


def single_row(p: Problem, b: int, times: slice, state: tuple[np.ndarray, ...]) -> Problem:
    """Row b of `p` alone, over `times`, with neither lengths nor resets."""
    no_loss_on_state = tuple(np.zeros_like(a[:, [b]]) for a in p.dstate)
    return Problem(
        p.net,
        p.x[times, [b]],
        state,
        None,
        None,
        p.dy[times, [b]],
        no_loss_on_state,
    )


def add_up(total: dict[str, Any], g: Any) -> dict[str, Any]:
    return {name: total.get(name, 0) + a for name, a in g.parameters.items()}


@each_variant
@pytest.mark.parametrize("truncate", [None, 1])
def test_lengths_are_each_row_alone(variant: Variant, truncate: int | None) -> None:
    p = problem(variant.net(num_layers=2, bidirectional=True), steps=5, batch=5, lengths=True)
    y, final, _ = p.run()
    g = p.gradients(truncate)
    total: dict[str, Any] = {}
    for b, end in enumerate(p.ends):
        alone = single_row(p, b, slice(0, end), tuple(a[:, [b]] for a in p.state))
        alone.dstate = tuple(a[:, [b]] for a in p.dstate)
        y_alone, final_alone, _ = alone.run()
        g_alone = alone.gradients(truncate)
        close(y[:end, [b]], y_alone)
        assert not y[end:, b].any()
        close(g.input[:end, [b]], g_alone.input)
        assert not g.input[end:, b].any()
        for a, e in zip(final, final_alone, strict=True):
            close(a[:, [b]], e)
        for a, e in zip(arrays(g.state), arrays(g_alone.state), strict=True):
            close(a[:, [b]], e)
        total = add_up(total, g_alone)
    for name, e in total.items():
        close(g.parameters[name], e)


@each_variant
@pytest.mark.parametrize("truncate", [None, 1])
def test_resets_are_sequences_cut(variant: Variant, truncate: int | None) -> None:
    """The pieces between resets, run separately, in both directions and two layers."""
    p = problem(
        variant.net(num_layers=2, bidirectional=True), steps=6, batch=3, lengths=True, resets=True
    )
    y, final, _ = p.run()
    g = p.gradients(truncate)
    backwards = np.arange(4) % 2 == 1
    total: dict[str, Any] = {}
    for b, end in enumerate(p.ends):
        inner = [t for t in range(1, end) if p.resets[t, b]]
        bounds = [0, *inner, end] if end else []
        for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
            # The given state enters forwards at time 0 unless reset there, backwards at the end.
            given = np.where(backwards, stop == end, start == 0 and not p.resets[0, b])
            # The final state leaves forwards at the end, backwards at time 0.
            leaves = np.where(backwards, start == 0, stop == end)
            state = tuple(a[:, [b]] * given[:, None, None] for a in p.state)
            piece = single_row(p, b, slice(start, stop), state)
            piece.dstate = tuple(a[:, [b]] * leaves[:, None, None] for a in p.dstate)
            y_piece, final_piece, _ = piece.run()
            g_piece = piece.gradients(truncate)
            close(y[start:stop, [b]], y_piece)
            close(g.input[start:stop, [b]], g_piece.input)
            for a, e in zip(final, final_piece, strict=True):
                close(a[leaves][:, [b]], e[leaves])
            for a, e in zip(arrays(g.state), arrays(g_piece.state), strict=True):
                close(a[given][:, [b]], e[given])
            total = add_up(total, g_piece)
    for name, e in total.items():
        close(g.parameters[name], e)
    for a in arrays(g.state):
        assert not a[0::2, 0].any(), "the reset at time 0 of row 0 cuts the forward initial state"
        assert a[1::2, 0].any(), "and not the reverse one"


@each_variant
def test_reverse_direction_is_the_sequence_flipped(variant: Variant) -> None:
    both = variant.net(bidirectional=True)
    p = problem(both)
    parameters = both.state_dict()
    y, final, tape = p.run()
    g = p.gradients()
    for direction, suffix in enumerate(("", "_reverse")):
        one = variant.net()
        one.load_state_dict({name: parameters[name + suffix] for name in one.state_dict()})
        turn = slice(None, None, -1) if direction else slice(None)
        columns = np.split(np.arange(y.shape[-1]), 2)[direction]
        alone = Problem(
            one,
            p.x[turn],
            tuple(a[[direction]] for a in p.state),
            None,
            None,
            p.dy[turn][..., columns],
            tuple(a[[direction]] for a in p.dstate),
        )
        y_alone, final_alone, tape_alone = alone.run()
        g_alone = alone.gradients()
        close(y[..., columns], y_alone[turn])
        close(tape.hidden[direction], tape_alone.hidden[turn])
        close(tape.gates[direction], tape_alone.gates[turn])
        for a, e in zip(final, final_alone, strict=True):
            close(a[[direction]], e)
        for name, e in g_alone.parameters.items():
            close(g.parameters[name + suffix], e)
        for a, e in zip(arrays(g.state), arrays(g_alone.state), strict=True):
            close(a[[direction]], e)


@each_variant
@pytest.mark.parametrize("truncate", [None, 0, 2])
def test_layers_are_nets_stacked(variant: Variant, truncate: int | None) -> None:
    """Also when truncated: each layer on its own, with what the layer above hands down."""
    two = variant.net(num_layers=2)
    p = problem(two, lengths=True, resets=True)
    parameters = two.state_dict()
    y, final, _ = p.run()
    g = p.gradients(truncate)
    lower = variant.net()
    upper = variant.net(input_size=y.shape[-1])
    lower.load_state_dict({name: parameters[name] for name in lower.state_dict()})
    upper.load_state_dict(
        {name: parameters[name.replace("l0", "l1")] for name in upper.state_dict()}
    )
    rows = {"lengths": p.lengths, "resets": p.resets}
    first = [public(tuple(a[[layer]] for a in p.state)) for layer in (0, 1)]
    last = [public(tuple(a[[layer]] for a in p.dstate)) for layer in (0, 1)]
    y_lower, _, tape_lower = lower.record(p.x, first[0], **rows)
    y_upper, _, tape_upper = upper.record(y_lower, first[1], **rows)
    g_upper = tape_upper.backward(p.dy, last[1], truncate=truncate)
    g_lower = tape_lower.backward(g_upper.input, last[0], truncate=truncate)
    close(y, y_upper)
    close(g.input, g_lower.input)
    for name, e in g_lower.parameters.items():
        close(g.parameters[name], e)
    for name, e in g_upper.parameters.items():
        close(g.parameters[name.replace("l0", "l1")], e)


# Nothing to do is defined too.


@each_variant
@pytest.mark.parametrize("steps, batch", [(0, 2), (3, 0), (0, 0)])
@pytest.mark.parametrize("truncate", [None, 0])
def test_empty(variant: Variant, steps: int, batch: int, truncate: int | None) -> None:
    p = problem(variant.net(num_layers=2, bidirectional=True), steps=steps, batch=batch)
    p.lengths = np.full(batch, steps)
    p.resets = np.zeros((steps, batch), dtype=bool)
    y, final, tape = p.run()
    assert y.shape == p.dy.shape
    assert tape.gates[3].shape[:2] == (steps, batch)
    g = p.gradients(truncate)
    assert g.input.shape == p.x.shape
    assert not any(a.any() for a in g.parameters.values())
    for a, e in zip(final, p.state, strict=True):
        np.testing.assert_array_equal(a, e)
        assert not np.shares_memory(a, e)
    # The final state is the initial one, and so is its derivative.
    for a, e in zip(arrays(g.state), p.dstate, strict=True):
        np.testing.assert_array_equal(a, e)
        assert not np.shares_memory(a, e)


# The tape.


@each_variant
def test_tape_shows_every_step(variant: Variant) -> None:
    net = variant.net()
    p = problem(net, lengths=True)
    y, final, tape = p.run()
    np.testing.assert_array_equal(tape.hidden, y)
    if isinstance(net, reference.RNN):
        np.testing.assert_array_equal(tape.gates[:, :, 0], y)
    elif isinstance(net, reference.GRU):
        r, z, n = np.moveaxis(tape.gates, 2, 0)
        before = np.concatenate([p.state[0], y[:-1]])
        close(y[:1], ((1 - z) * n + z * before)[:1] * (p.ends > 0)[:, None])
        assert ((r >= 0) & (r <= 1)).all()
    else:
        order = "ifgo" if net.forget_gate else "igo"
        gates = dict(zip(order, np.moveaxis(tape.gates, 2, 0), strict=True))
        before = np.concatenate([p.state[1], tape.cell[:-1]])
        c = gates.get("f", 1) * before + gates["i"] * gates["g"]
        live = np.arange(len(y))[:, None] < p.ends
        close(tape.cell[live], c[live])
        assert not tape.cell[~live].any()
        if not net.proj_size:
            close(y, gates["o"] * np.tanh(tape.cell))
            assert (np.abs(y) < 1).all()
    for a in (tape.hidden, tape.gates):
        with pytest.raises(ValueError, match="read-only"):
            a[...] = 0


def test_tape_has_one_array_per_layer_and_direction() -> None:
    net = reference.LSTM(2, 4, 3, bidirectional=True, proj_size=2, seed=0)
    _, _, tape = net.record(np.ones((5, 2, 2)))
    assert [a.shape for a in tape.hidden] == [(5, 2, 2)] * 6
    assert [a.shape for a in tape.cell] == [(5, 2, 4)] * 6
    assert [a.shape for a in tape.gates] == [(5, 2, 4, 4)] * 6
    _, _, tape = reference.GRU(2, 4).record(np.ones((5, 2)))
    assert tape.gates.shape == (5, 3, 4)
    with pytest.raises(AttributeError, match="LSTM"):
        tape.cell  # noqa: B018


def test_tape_stands_by_itself() -> None:
    p = problem(reference.LSTM(2, 3, seed=0), lengths=True, resets=True)
    expected = p.gradients()
    _, _, tape = p.run()
    p.net.load_state_dict({name: 0 * a for name, a in p.net.state_dict().items()})
    p.x[:] = 0
    p.resets[:] = False
    for a in p.state:
        a[:] = 0
    for _ in range(2):
        again = tape.backward(p.dy, p.dstate)
        for name, a in expected.parameters.items():
            np.testing.assert_array_equal(again.parameters[name], a)
        np.testing.assert_array_equal(again.input, expected.input)
        again.input[:] = 1  # what is handed out is the caller's


def test_nothing_given_is_modified() -> None:
    p = problem(reference.LSTM(2, 3, 2, bidirectional=True, seed=0), lengths=True, resets=True)
    given = [p.x, *p.state, p.lengths, p.resets, p.dy, *p.dstate]
    before = [a.copy() for a in given]
    for a in given:
        a.flags.writeable = False
    p.gradients()
    p.gradients(truncate=1)
    for a, e in zip(given, before, strict=True):
        np.testing.assert_array_equal(a, e)


# Layouts and dtypes.


@each_variant
def test_batch_first_and_unbatched(variant: Variant) -> None:
    shape = {"num_layers": 2, "bidirectional": True}
    p = problem(variant.net(**shape), lengths=True, resets=True)
    y, final, _ = p.run()
    g = p.gradients()
    turned = variant.net(**shape, batch_first=True)
    y_turned, final_turned, tape = turned.record(
        p.x.swapaxes(0, 1), public(p.state), lengths=p.lengths, resets=p.resets.T
    )
    g_turned = tape.backward(p.dy.swapaxes(0, 1), public(p.dstate))
    np.testing.assert_array_equal(y_turned.swapaxes(0, 1), y)
    np.testing.assert_array_equal(g_turned.input.swapaxes(0, 1), g.input)
    for net in (p.net, turned):
        # Row 0 has the full length, so it needs no lengths.
        y_row, final_row, tape = net.record(
            p.x[:, 0], public(tuple(a[:, 0] for a in p.state)), resets=p.resets[:, 0]
        )
        g_row = tape.backward(p.dy[:, 0], public(tuple(a[:, 0] for a in p.dstate)))
        close(y_row, y[:, 0])
        close(g_row.input, g.input[:, 0])
        for a, e in zip(arrays(g_row.state), arrays(g.state), strict=True):
            close(a, e[:, 0])
        for a, e in zip(arrays(final_row), final, strict=True):
            close(a, e[:, 0])
        assert tape.hidden[0].ndim == 2


@each_variant
def test_float32_stays_float32(variant: Variant) -> None:
    shape = {"num_layers": 2, "bidirectional": True}
    p = problem(variant.net(**shape), lengths=True, resets=True)
    net = variant.net(**shape, dtype="float32")

    def single(state: tuple[np.ndarray, ...]) -> Any:
        return public(tuple(a.astype(np.float32) for a in state))

    y, state, tape = net.record(
        p.x.astype(np.float32), single(p.state), lengths=p.lengths, resets=p.resets
    )
    close(y, p.run()[0], "float32")
    everything = [y, *arrays(state), *tape.hidden, *tape.gates]
    for truncate in (None, 1):
        g = tape.backward(p.dy.astype(np.float32), single(p.dstate), truncate=truncate)
        close_gradients(g, p.gradients(truncate), "float32")
        everything += [*g.parameters.values(), g.input, *arrays(g.state)]
    assert {a.dtype for a in everything} == {np.dtype(np.float32)}


def test_any_stride_and_any_buffer() -> None:
    net = reference.GRU(2, 3, seed=0)
    x = np.random.default_rng(0).normal(size=(4, 3, 2))
    y, _ = net(x)
    padded = np.full((8, 3, 4), np.nan)
    padded[::2, ::-1, 1:3] = x
    np.testing.assert_array_equal(net(padded[::2, ::-1, 1:3])[0], y)
    np.testing.assert_array_equal(net(np.asfortranarray(x))[0], y)
    np.testing.assert_array_equal(net(memoryview(x.data))[0], y)

    class OnlyDLPack:
        def __dlpack__(self, **arguments: Any) -> Any:
            return x.__dlpack__(**arguments)

        def __dlpack_device__(self) -> Any:
            return x.__dlpack_device__()

    np.testing.assert_array_equal(net(OnlyDLPack())[0], y)


def test_activations_at_the_ends() -> None:
    """No overflow, an accurate left tail, NaN stays NaN."""
    load_by_path("unrolled_reference_alone")
    cells = sys.modules["unrolled_reference_alone._cells"]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        s = cells.sigmoid(np.array([-np.inf, -700.0, -40.0, 0.0, 40.0, 1e308, np.inf, np.nan]))
    np.testing.assert_array_equal(s[[0, 3, 5, 6]], [0, 0.5, 1, 1])
    close(s[[1, 2]] / np.exp([-700.0, -40.0]), 1)
    assert np.isnan(s[-1]) and np.isnan(cells.relu(np.array([np.nan]))[0])
