"""`unrolled.jax.recurrent`: any cell that is a formula, under JAX's transformations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from tolerances import assert_close

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install '.[jax]'")
import jax.numpy as jnp  # noqa: E402
import unrolled.jax as uj  # noqa: E402
from unrolled.jax import _primitives  # noqa: E402

CELLS = [
    ur.cells.leaky_rnn,
    ur.cells.peephole_lstm,
    ur.cells.slstm,
    ur.cells.layer_norm_lstm,
    ur.cells.min_gru,
    ur.cells.gru_original,
    ur.cells.lif,
]
NAMES = [cell.name for cell in CELLS]
LENGTHS = np.array([6, 2, 5, 1])


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def problem(cell: Any, dtype: str = "float64") -> Any:
    rng = np.random.default_rng(3)
    params = uj.init(jax.random.key(1), cell, 3, 5, 2, bidirectional=True, dtype=dtype)
    x = rng.normal(size=(6, 4, 3)).astype(dtype)
    states = tuple(1 + rng.random((4, 4, 5)).astype(dtype) for _ in cell.states)
    resets = rng.random((6, 4)) < 0.2
    return params, x, states if len(states) > 1 else states[0], resets


def parts(state: Any) -> list[Any]:
    return [np.asarray(a) for a in jax.tree.leaves(state)]


@pytest.mark.parametrize("cell", CELLS, ids=NAMES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_as_ours_to_the_last_bit(cell: Any, dtype: str) -> None:
    params, x, state, resets = problem(cell, dtype)

    def network(params: Any, x: Any, state: Any) -> Any:
        return uj.recurrent(cell, params, x, state, lengths=LENGTHS, resets=resets)

    (y, final), back = jax.vjp(jax.jit(network), params, jnp.asarray(x), state)
    d_final = jax.tree.map(lambda a: jnp.full_like(a, 0.5), final)
    d_params, d_x, d_state = back((jnp.ones_like(y), d_final))

    net = ur.Recurrent(cell, 3, 5, 2, bidirectional=True, dtype=dtype)
    net.load_state_dict({name: np.asarray(a) for name, a in params.items()})
    expected, ended, tape = net.record(x, state, lengths=LENGTHS, resets=resets)
    half = jax.tree.map(lambda a: np.full_like(a, 0.5), ended)
    g = tape.backward(np.ones_like(expected), half)
    assert np.array_equal(y, expected)
    assert all(map(np.array_equal, parts(final), parts(ended)))
    assert np.array_equal(d_x, g.input)
    assert all(map(np.array_equal, parts(d_state), parts(g.state)))
    assert d_params.keys() == g.parameters.keys()
    for name, d in d_params.items():
        assert np.array_equal(d, g.parameters[name]), name


@pytest.mark.parametrize("cell", CELLS, ids=NAMES)
def test_as_the_scan_under_autodiff(cell: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain scan is differentiated by JAX, not by us."""
    params, x, state, resets = problem(cell)

    def loss(params: Any, x: Any, state: Any) -> Any:
        found = uj.recurrent(cell, params, x, state, lengths=LENGTHS, resets=resets)
        return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(found))

    value, gradients = jax.value_and_grad(loss, argnums=(0, 1, 2))(params, x, state)
    plain = _primitives._plain_run
    monkeypatch.setattr(_primitives, "run", lambda call, operands: plain(call, *operands))
    expected, right = jax.value_and_grad(loss, argnums=(0, 1, 2))(params, x, state)
    assert_close(np.asarray(value), np.asarray(expected), "reference.output.float64", "loss")
    for name, (got, want) in enumerate(zip(parts(gradients), parts(right), strict=True)):
        assert_close(got, want, "reference.gradient.float64", str(name))


@pytest.mark.parametrize("cell", [ur.cells.peephole_lstm, ur.cells.min_gru], ids=lambda c: c.name)
def test_transformations(cell: Any) -> None:
    params, x, _, _ = problem(cell)
    x = jnp.asarray(x)

    def network(params: Any, x: Any) -> Any:
        return uj.recurrent(cell, params, x)[0]

    alone = [network(params, x[:, b : b + 1])[:, 0] for b in range(4)]
    mapped = jax.vmap(lambda row: network(params, row))(x.swapaxes(0, 1))
    assert np.array_equal(mapped, jnp.stack(alone))

    def loss(params: Any, x: Any) -> Any:
        return jnp.sum(network(params, x) ** 2)

    # Parameters that differ are members, each with a gradient of its own.
    two = jax.tree.map(lambda a: jnp.stack([a, 0.5 * a]), params)
    each = jax.vmap(jax.grad(loss), in_axes=(0, None))(two, x)
    for n in range(2):
        own = jax.grad(loss)(jax.tree.map(lambda a, n=n: a[n], two), x)
        for name, d in own.items():
            assert_close(np.asarray(each[name][n]), np.asarray(d), "reordered", name)
    # Forward over reverse, and forward alone: by the plain scan.
    gradient = jax.grad(loss, argnums=1)
    tangent = jnp.ones_like(x)
    _, product = jax.jvp(lambda x: gradient(params, x), (x,), (tangent,))
    step = 1e-5
    ahead, behind = gradient(params, x + step * tangent), gradient(params, x - step * tangent)
    assert np.allclose(product, (ahead - behind) / (2 * step), rtol=1e-6, atol=1e-8)
    _, slope = jax.jvp(lambda x: loss(params, x), (x,), (tangent,))
    assert np.allclose(slope, jnp.sum(gradient(params, x)), rtol=1e-12)


def test_first_values_and_constants() -> None:
    params = uj.init(jax.random.key(0), ur.cells.ind_rnn, 2, 4, dtype="float64")
    assert params["weight_p_l0"].tolist() == [1.0] * 4
    assert np.abs(params["weight_ih_l0"]).max() <= 0.5
    cell, x = ur.cells.leaky_rnn, np.ones((5, 2, 2))
    params = uj.init(jax.random.key(0), cell, 2, 4, dtype="float64")
    net = ur.Recurrent(cell, 2, 4, alpha=0.3, dtype="float64")
    net.load_state_dict({name: np.asarray(a) for name, a in params.items()})
    assert np.array_equal(uj.recurrent(cell, params, x, alpha=0.3)[0], net(x)[0])
    assert not np.array_equal(uj.recurrent(cell, params, x)[0], net(x)[0])
    for name, a in uj.parameters(net).items():
        assert np.array_equal(a, params[name])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p, x: uj.recurrent("nothing", p, x), ValueError, "expected JSON"),
        (lambda p, x: uj.recurrent(3, p, x), TypeError, "cell: expected what ur.cell makes"),
        (lambda p, x: uj.recurrent(ur.cells.gru, p, x), ValueError, "params"),
        (lambda p, x: uj.recurrent(ur.cells.lstm, p, x), ValueError, "unexpected keys"),
        (
            lambda p, x: uj.recurrent(ur.cells.peephole_lstm, p, x, x),
            TypeError,
            r"state: expected a tuple \(h, c\)",
        ),
        (
            lambda p, x: uj.recurrent(ur.cells.peephole_lstm, p, x[..., :2]),
            ValueError,
            "with I = 3",
        ),
        (
            lambda p, x: uj.recurrent(ur.cells.peephole_lstm, p, x, alpha=1.0),
            ValueError,
            "constants: expected names among",
        ),
        (lambda p, x: uj.init(jax.random.key(0), 3, 2, 4), TypeError, "cell: expected"),
        (
            lambda p, x: uj.init(jax.random.key(0), ur.cells.gru, 2, 4, proj_size=2),
            TypeError,
            "options: expected some of",
        ),
    ],
)
def test_mistakes(call: Any, error: type[Exception], words: str) -> None:
    params, x, _, _ = problem(ur.cells.peephole_lstm)
    with pytest.raises(error, match=words):
        call(params, x)
