"""`unrolled.jax` without jit, over nothing at all, and with lengths of any integers."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from support import Variant, arrays, normal, problem, same

jax = pytest.importorskip("jax", reason="jax is not installed (pip install 'unrolled[jax]')")

import jax.numpy as jnp  # noqa: E402
import unrolled.jax as uj  # noqa: E402
from jax_extra.jax_support import function, plain  # noqa: E402

SMALL = {"steps": 5, "batch": 2, "input_size": 3, "hidden_size": 4}
LSTM, GRU = Variant("LSTM"), Variant("GRU")


def small(variant: Variant) -> tuple[Callable[..., Any], Any, Any]:
    """A function of (params, x) to a number, and what to call it with."""
    p = problem(variant, "float32", **SMALL)
    f = function(p)

    def total(params: Any, x: Any) -> Any:
        y, final = f(params, x)
        return sum(jnp.sum(a**2) for a in (y, *arrays(final)))

    return total, uj.parameters(p.net), jnp.asarray(p.x)


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(a) for a in jax.tree.leaves(tree)]


# Every transformation, as a function of (f, params, x).
TRANSFORMED: dict[str, Callable[..., Any]] = {
    "call": lambda f, p, x: f(p, x),
    "grad": lambda f, p, x: jax.grad(f, (0, 1))(p, x),
    "jit grad": lambda f, p, x: jax.jit(jax.grad(f, (0, 1)))(p, x),
    "vmap": lambda f, p, x: jax.vmap(f, (None, 0))(p, jnp.stack([x, 2 * x])),
    "vmap grad": lambda f, p, x: jax.vmap(jax.grad(f), (None, 0))(p, jnp.stack([x, 2 * x])),
    "jvp": lambda f, p, x: jax.jvp(f, (p, x), (p, x)),
    "hessian": lambda f, p, x: jax.hessian(f, 1)(p, x),
    "linearize": lambda f, p, x: jax.linearize(f, p, x)[1](p, x),
    "checkpoint": lambda f, p, x: jax.grad(jax.checkpoint(f))(p, x),
    "scan": lambda f, p, x: jax.lax.scan(lambda s, x: (s + f(p, x), s), 0.0, jnp.stack([x, 2 * x])),
    "cond": lambda f, p, x: jax.lax.cond(x[0, 0, 0] > 9, lambda: 0.0, lambda: f(p, x)),
    "pmap": lambda f, p, x: jax.pmap(lambda x: f(p, x))(x[None]),
}


@pytest.mark.parametrize("name", TRANSFORMED)
def test_disable_jit(name: str) -> None:
    f, params, x = small(LSTM)
    expected = leaves(TRANSFORMED[name](f, params, x))
    with jax.disable_jit():
        found = leaves(TRANSFORMED[name](f, params, x))
        assert jax.config.jax_disable_jit
    for a, e in zip(found, expected, strict=True):
        # Only what JAX adds up itself may be rounded otherwise.
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)


# What is mapped of (params, x), and over what shapes.
MAPPED = [m for m in product((False, True), repeat=2) if any(m)]


def stacked(tree: Any, *sizes: int) -> Any:
    return jax.tree.map(lambda a: jnp.zeros((*sizes, *a.shape), a.dtype), tree)


@pytest.mark.parametrize("mapped", MAPPED)
def test_vmap_over_nothing(mapped: tuple[bool, bool]) -> None:
    """As over something, but with 0 of it: shapes, and derivatives by what is shared are 0."""
    f, params, x = small(LSTM)
    axes = tuple(0 if m else None for m in mapped)

    def given(*sizes: int) -> list[Any]:
        return [stacked(a, *sizes) if m else a for a, m in zip((params, x), mapped, strict=True)]

    once = {
        "call": lambda *a: jax.vmap(f, axes)(*a),
        "grad": lambda *a: jax.vmap(jax.grad(f, (0, 1)), axes)(*a),
        "grad of it": lambda *a: jax.grad(lambda *b: jax.vmap(f, axes)(*b).sum(), (0, 1))(*a),
        "hessian": lambda *a: jax.vmap(jax.hessian(f, 1), axes)(*a),
        "jvp": lambda *a: jax.jvp(jax.vmap(f, axes), a, a),
        "vjp": lambda *a: jax.vjp(jax.vmap(f, axes), *a)[1](jnp.zeros(len(jax.vmap(f, axes)(*a)))),
        "checkpoint": lambda *a: jax.vmap(jax.checkpoint(jax.grad(f)), axes)(*a),
    }
    for name, transformed in once.items():
        nothing, three = transformed(*given(0)), transformed(*given(3))
        for none, some in zip(leaves(nothing), leaves(three), strict=True):
            mapped_axis = 0 if none.shape != some.shape else None
            assert none.shape == ((0, *some.shape[1:]) if mapped_axis == 0 else some.shape), name
            assert none.dtype == some.dtype and not none.any(), name
        assert all(map(same, leaves(jax.jit(transformed)(*given(0))), leaves(nothing)))
    for sizes in ((0, 3), (3, 0), (0, 0)):
        found = jax.vmap(jax.vmap(jax.grad(f), axes), axes)(*given(*sizes))
        for g, p in zip(leaves(found), leaves(params), strict=True):
            assert g.shape == (*sizes, *p.shape)


def test_vmap_over_nothing_on_the_way() -> None:
    f, params, x = small(LSTM)
    back = jax.vjp(f, params, x)[1]
    assert all(len(a) == 0 for a in leaves(jax.vmap(back)(jnp.zeros(0))))
    forward = jax.linearize(f, params, x)[1]
    assert jax.vmap(forward)(stacked(params, 0), stacked(x, 0)).shape == (0,)
    # Another axis than the first, in and out.
    y = jax.vmap(lambda x: uj.lstm(params, x)[0], in_axes=2, out_axes=1)(jnp.zeros((5, 2, 0, 3)))
    assert y.shape == (5, 0, 2, 4)
    # No steps, no rows, no columns of a Jacobian.
    y_of = lambda x: uj.lstm(params, x)[0]  # noqa: E731
    for shape in ((0, 2, 3), (5, 0, 3), (0, 0, 3)):
        none, out = jnp.zeros(shape), (*shape[:2], 4)
        assert jax.jacfwd(y_of)(none).shape == jax.jacrev(y_of)(none).shape == (*out, *shape)
        assert jax.vmap(y_of)(stacked(none, 3)).shape == (3, *out)
        assert jax.hessian(lambda x: y_of(x).sum())(none).shape == (*shape, *shape)


WRONG = [
    (np.array([2**32 + 4]), ValueError, r"^lengths: expected 0 to T = 9, got 4294967300 in row 0"),
    ([2**32 + 4], ValueError, r"^lengths: expected 0 to T = 9, got 4294967300 in row 0"),
    ([2**100], ValueError, r"^lengths: expected 0 to T = 9, got 12676506"),
    (np.array([2**31]), ValueError, r"got 2147483648 in row 0"),
    (np.array([2**64 - 4], np.uint64), ValueError, r"^lengths: expected integers below 2\*\*63"),
    (np.array([2**32 - 1], np.uint32), ValueError, r"got 4294967295 in row 0"),
    ([-1], ValueError, r"^lengths: expected an integer >= 0, got -1"),
    (np.array([-1]), ValueError, r"got -1 in row 0"),
    ([10], ValueError, r"got 10 in row 0"),
    ([True], TypeError, r"^lengths: expected an integer, got bool"),
    (np.array([True]), TypeError, r"^lengths: expected integers, got dtype bool"),
    (np.array([4.0]), TypeError, r"^lengths: expected integers, got dtype float64"),
    ([4.5], TypeError, r"^lengths: expected an integer, got float"),
]


@pytest.mark.parametrize("x64", [False, True])
@pytest.mark.parametrize(("lengths", "kind", "message"), WRONG, ids=[str(w[0]) for w in WRONG])
def test_lengths_known_at_once(
    lengths: Any, kind: type[Exception], message: str, x64: bool
) -> None:
    _, params, _ = small(GRU)
    x = jnp.ones((9, 1, 3), "float32")
    with jax.enable_x64(x64):
        for call in (uj.gru, jax.jit(lambda p, x, lengths=lengths: uj.gru(p, x, lengths=lengths))):
            given = {"lengths": lengths} if call is uj.gru else {}
            with pytest.raises(kind, match=message):
                call(params, x, **given)


TRACED = [
    (np.array([2**32 + 4]), "4294967300"),
    (np.array([2**64 - 4], np.uint64), "18446744073709551612"),
    (np.array([2**32 - 1], np.uint32), "4294967295"),
    (np.array([200], np.uint8), "200"),
    (np.array([-1], np.int8), "-1"),
]


@pytest.mark.parametrize(("lengths", "got"), TRACED, ids=[t[1] for t in TRACED])
def test_lengths_known_when_the_program_runs(lengths: np.ndarray, got: str) -> None:
    _, params, _ = small(GRU)
    x = jnp.ones((9, 1, 3), "float32")

    def y(x: Any, lengths: Any) -> Any:
        return uj.gru(params, x, lengths=lengths)[0]

    calls: list[Callable[..., Any]] = [
        y,
        jax.jit(y),
        jax.jit(jax.grad(lambda *a: y(*a).sum())),
        jax.jit(lambda x, lengths: jax.vmap(y, (None, 0))(x, lengths[None])),
        lambda x, lengths: jax.jvp(lambda x: y(x, lengths), (x,), (x,)),
    ]
    with jax.enable_x64(True):
        for call in calls:
            # A ValueError of JAX's, or its JaxRuntimeError: by which way it calls a program.
            with pytest.raises((ValueError, jax.errors.JaxRuntimeError), match=f"got {got}"):
                jax.block_until_ready(call(x, jnp.asarray(lengths)))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "uint32", "int64", "uint64"])
def test_lengths_of_any_integers(dtype: str) -> None:
    """The same results with kernels and plain, traced and not, also for T beyond the dtype."""
    _, params, _ = small(GRU)
    with jax.enable_x64(True):
        x = jnp.asarray(normal(300, 3, 3))
        lengths = np.array([100, 0, 127], dtype)
        expected = np.asarray(uj.gru(params, x, lengths=[100, 0, 127])[0])
        y = jax.jit(lambda lengths: uj.gru(params, x, lengths=lengths)[0])
        assert same(np.asarray(y(lengths)), expected)
        assert same(np.asarray(uj.gru(params, x, lengths=lengths)[0]), expected)
        with plain():
            found = np.asarray(uj.gru(params, x, lengths=jnp.asarray(lengths))[0])
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        # A list with some of the values traced.
        mixed = jax.jit(lambda n: uj.gru(params, x, lengths=[100, n, 127])[0])
        assert same(np.asarray(mixed(0)), expected)
