"""What holds of any input: its memory order does not matter, its values past a row's end neither,
empty ones are served, NaN stays in its row."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import VARIANTS, Variant, arrays, make, normal, same
from tolerances import TOLERANCES

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)
quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

NETS = {
    (cell, batch_first): getattr(ur, cell)(
        3, 5, 2, bidirectional=True, batch_first=batch_first, seed=1
    )
    for cell in ("LSTM", "GRU", "RNN")
    for batch_first in (False, True)
}


@st.composite
def disguises(draw: st.DrawFn, a: np.ndarray) -> Any:
    """The same values in another memory: strides, order, sign, alignment, flags, or no array."""
    kind = draw(
        st.sampled_from(
            ["plain", "fortran", "turned", "sliced", "reversed", "unaligned", "frozen", "view"]
        )
    )
    if kind == "fortran":
        return np.asfortranarray(a)
    if kind == "turned":
        axes = draw(st.permutations(range(a.ndim)))
        return np.ascontiguousarray(a.transpose(axes)).transpose(np.argsort(axes))
    if kind == "sliced":
        steps = [draw(st.integers(1, 3)) for _ in a.shape]
        wide = np.full([n * s for n, s in zip(a.shape, steps, strict=True)], 0, dtype=a.dtype)
        if a.dtype.kind == "f":
            wide[...] = np.nan
        part = wide[tuple(slice(None, None, s) for s in steps)]
        part[...] = a
        return part
    if kind == "reversed":
        axis = draw(st.integers(0, a.ndim - 1))
        return np.flip(np.ascontiguousarray(np.flip(a, axis)), axis)
    if kind == "unaligned":
        room = bytearray(a.nbytes + 1)
        b = np.frombuffer(room, dtype=a.dtype, count=a.size, offset=1).reshape(a.shape)
        b[...] = a
        return b
    b = a.copy()
    if kind == "frozen":
        b.flags.writeable = False
    return memoryview(b) if kind == "view" else b


@quick
@given(data=st.data())
def test_memory_order_does_not_matter(data: st.DataObject) -> None:
    cell = data.draw(st.sampled_from(["LSTM", "GRU", "RNN"]))
    steps, batch = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 5))
    x, dy = normal(steps, batch, 3), normal(steps, batch, 10, seed=1)
    parts = tuple(normal(4, batch, 5, seed=s) for s in range(2 if cell == "LSTM" else 1))
    resets = np.random.default_rng(3).random((steps, batch)) < 0.3

    def run(net: Any, x: Any, state: tuple[Any, ...], resets: Any, dy: Any) -> Any:
        state = state if cell == "LSTM" else state[0]
        y, final, tape = net.record(x, state, resets=resets)
        return y, final, tape.backward(dy, state)

    y, final, g = run(NETS[cell, False], x, parts, resets, dy)
    batch_first = data.draw(st.booleans())

    def turn(a: np.ndarray) -> np.ndarray:
        return a.swapaxes(0, 1) if batch_first else a

    other = NETS[cell, batch_first]
    other.load_state_dict(
        {
            name: np.asarray(data.draw(disguises(a)))
            for name, a in NETS[cell, False].state_dict().items()
        }
    )
    given_x, given_dy = data.draw(disguises(turn(x))), data.draw(disguises(turn(dy)))
    y2, final2, g2 = run(
        other,
        given_x,
        tuple(data.draw(disguises(a)) for a in parts),
        data.draw(disguises(turn(resets))),
        given_dy,
    )
    assert same(turn(y2).copy(), y)
    assert same(final2, final)
    assert same(turn(g2.input).copy(), g.input)
    assert same(g2.state, g.state)
    assert all(same(g2.parameters[name], a) for name, a in g.parameters.items())


@quick
@given(data=st.data())
def test_memory_order_elsewhere(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    p, t = normal(*shape, 3), normal(*shape, 3, seed=1)
    mask = np.random.default_rng(0).random(shape) < 0.7
    classes = np.random.default_rng(0).integers(0, 3, size=shape)
    losses = ur.losses
    for loss, target in (
        (losses.mse, t),
        (losses.binary_cross_entropy_with_logits, t),
        (losses.cross_entropy, classes),
    ):
        value, gradient = loss(p, target, mask=mask)
        value2, gradient2 = loss(
            data.draw(disguises(p)), data.draw(disguises(target)), mask=data.draw(disguises(mask))
        )
        assert value2 == value
        assert same(gradient2, gradient)
    dense = ur.Dense(3, 2, seed=0)
    assert same(dense(data.draw(disguises(p))), dense(p))
    stream = ur.GRU(3, 4, seed=0).stream()
    expected = stream.step(p.reshape(-1, 3)[0])
    stream.reset()
    assert same(stream.step(data.draw(disguises(p.reshape(-1, 3)[0]))), expected)
    grads = {"w": np.array(data.draw(disguises(p)), order="K")}
    norm = ur.clip_grad_norm(grads, 0.5)
    np.testing.assert_allclose(
        norm, np.linalg.norm(p.astype(float)), rtol=TOLERANCES["reference.output.float32"]
    )
    np.testing.assert_allclose(
        grads["w"], p * min(1, 0.5 / norm), rtol=TOLERANCES["formula.float32"]
    )


def test_other_than_numpy() -> None:
    class Exported:
        """Something with DLPack only."""

        def __init__(self, a: np.ndarray) -> None:
            self.a = a

        def __dlpack__(self, **arguments: Any) -> Any:
            return self.a.__dlpack__(**arguments)

        def __dlpack_device__(self) -> Any:
            return self.a.__dlpack_device__()

    net = ur.GRU(1, 3, seed=0)
    x = normal(4, 1)
    expected = net(x)[0]
    assert same(net(Exported(x))[0], expected)
    floats = memoryview(array("f", x.ravel().tolist())).cast("B").cast("f", (4, 1))
    assert same(net(floats)[0], expected)
    assert same(net.stream().step(Exported(x[0])), expected[0])
    net.load_state_dict({name: Exported(a) for name, a in net.state_dict().items()})

    class Sub(np.ndarray):
        pass

    assert type(net(x.view(Sub))[0]) is np.ndarray


def test_bools_of_any_byte() -> None:
    net = ur.RNN(1, 2, seed=0)
    x = normal(4, 2, 1)
    resets = np.array([[0, 0], [2, 0], [0, 255], [0, 1]], np.uint8)
    expected = net(x, resets=resets != 0)[0]
    assert same(net(x, resets=resets.view(bool))[0], expected)


@each_variant
@pytest.mark.parametrize(("steps", "batch"), [(0, 2), (3, 0), (0, 0)])
@pytest.mark.parametrize("truncate", [None, 0])
@pytest.mark.parametrize("batch_first", [False, True])
def test_empty(
    variant: Variant, steps: int, batch: int, truncate: int | None, batch_first: bool
) -> None:
    net = make(variant, num_layers=2, bidirectional=True, batch_first=batch_first)
    x = np.zeros((batch, steps, 3) if batch_first else (steps, batch, 3), np.float32)
    parts = tuple(normal(4, batch, size) for size in net._sizes.states)
    state = parts if variant.cell == "LSTM" else parts[0]
    for checkpoint in (None, 1, "auto"):
        y, final, tape = net.record(x, state, checkpoint=checkpoint)
        assert y.shape == (*x.shape[:2], 2 * net._sizes.states[0])
        g = tape.backward(np.zeros_like(y), state, truncate=truncate)
        assert g.input.shape == x.shape
        assert all((a == 0).all() for a in g.parameters.values())
        if steps == 0:
            assert same(final, state)
            # The final state is the initial one, so their derivatives are the same.
            assert same(g.state, state)
    assert same(net(x, state)[0], y)


@each_variant
def test_ends_of_rows(variant: Variant) -> None:
    net = make(variant, num_layers=2, bidirectional=True)
    x, lengths = normal(5, 4, 3), np.array([5, 0, 2, 3])
    past = np.arange(5)[:, None] >= lengths
    y, state, tape = net.record(x, lengths=lengths)
    dy = normal(*y.shape, seed=1)
    g = tape.backward(dy, state)
    assert (y[past] == 0).all()
    assert (g.input[past] == 0).all()
    x[past] = dy[past] = np.nan
    y2, state2, tape = net.record(x, lengths=lengths)
    g2 = tape.backward(dy, state)
    assert same(y2, y)
    assert same(state2, state)
    assert same(g2.input, g.input)
    assert all(same(g2.parameters[name], a) for name, a in g.parameters.items())
    for dtype in (np.int8, np.uint16, np.uint64):
        assert same(net(x, lengths=lengths.astype(dtype))[0], y)
    assert same(net(x, lengths=list(lengths))[0], y)
    assert same(net(x, lengths=tuple(int(n) for n in lengths))[0], y)


@each_variant
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_stays_in_its_row(variant: Variant, value: float) -> None:
    net = make(variant, num_layers=2)
    x = normal(6, 3, 3)
    y, state, tape = net.record(x)
    g = tape.backward(np.ones_like(y))
    x[3, 1] = value
    y2, state2, tape = net.record(x)
    g2 = tape.backward(np.ones_like(y))
    clean = [0, 2]
    assert same(y2[:, clean], y[:, clean])
    assert same(y2[:3], y[:3])
    assert same(g2.input[:, clean], g.input[:, clean])
    for a, b in zip(arrays(state2), arrays(state), strict=True):
        assert same(a[:, clean], b[:, clean])
    if np.isnan(value):
        assert np.isnan(y2[3:, 1]).all()
    elif variant.arguments.get("nonlinearity") != "relu":
        finite = np.isfinite(y2[3:, 1])
        assert (np.abs(y2[3:, 1][finite]) <= 10).all()


@quick
@given(data=st.data())
def test_any_order_of_arguments_is_checked(data: st.DataObject) -> None:
    """Whatever comes as x, there is a result or a TypeError or ValueError."""
    dtype = data.draw(
        st.sampled_from(["f4", "f8", "f2", "i4", "?", "c8", ">f4", "O", "U3", "M8[s]", "V4"])
    )
    shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=5)))
    x = np.zeros(shape, dtype)
    fits = dtype == "f4" and x.ndim in (2, 3) and shape[-1] == 3
    net = NETS["GRU", False]
    if fits:
        assert net(x)[0].shape == (*shape[:-1], 10)
    else:
        wrong = TypeError if dtype != "f4" else ValueError
        with pytest.raises(wrong, match="^x: expected"):
            net(x)
