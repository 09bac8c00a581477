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
    # Constants are allowed, and decide nothing about shapes or what is drawn.
    for name, a in uj.init(jax.random.key(0), cell, 2, 4, dtype="float64", alpha=0.3).items():
        assert np.array_equal(a, params[name])


def test_init_is_traced() -> None:
    """Under `jit`, and under `vmap` for members; the cell's first values are in it."""
    cell, keys = ur.cells.ind_rnn, jax.random.split(jax.random.key(2), 3)

    def begin(key: Any) -> Any:
        return uj.init(key, cell, 2, 4, dtype="float32")

    members = jax.jit(jax.vmap(begin))(keys)
    for n, key in enumerate(keys):
        for name, a in begin(key).items():
            assert a.dtype == "float32"
            assert np.array_equal(a, members[name][n]), name
    assert members["weight_p_l0"].tolist() == [[1.0] * 4] * 3

    # A bias's first value is in its own rows alone.
    @ur.cell(x={"f": 3.0})
    def leaning(x: Any, h: Any) -> Any:
        f = ur.cells.sigmoid(x.f + h.f)
        return f * h + (1 - f) * ur.cells.tanh(x.n + h.n)

    bias = uj.init(keys[0], leaning, 2, 4)["bias_ih_l0"]
    assert bias[:4].tolist() == [3.0] * 4 and np.abs(bias[4:]).max() <= 0.5


def test_layouts() -> None:
    cell = ur.cells.slstm
    params = uj.init(jax.random.key(0), cell, 3, 5, bias=False, dtype="float64")
    assert not any(name.startswith("bias") for name in params)
    x = np.random.default_rng(0).normal(size=(6, 2, 3))
    y, state = uj.recurrent(cell, params, x)
    swapped, same = uj.recurrent(cell, params, x.swapaxes(0, 1), batch_first=True)
    assert np.array_equal(swapped.swapaxes(0, 1), y)
    alone, single = uj.recurrent(cell, params, x[:, 1], tuple(np.zeros((4, 1, 5))))
    assert np.array_equal(alone, y[:, 1])
    for whole, again, one in zip(state, same, single, strict=True):
        assert np.array_equal(whole, again)
        assert np.array_equal(whole[:, 1], one)


def test_in_control_flow() -> None:
    cell = ur.cells.slstm
    params = uj.init(jax.random.key(1), cell, 3, 5, dtype="float64")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 2, 3)))

    def loss(params: Any, x: Any) -> Any:
        return jnp.sum(uj.recurrent(cell, params, x)[0] ** 2)

    def in_pieces(params: Any, x: Any) -> Any:
        def piece(state: Any, x: Any) -> Any:
            y, state = uj.recurrent(cell, params, x, state)
            return state, jnp.sum(y**2)

        begin = tuple(jnp.zeros((1, 2, 5)) for _ in cell.states)
        return jnp.sum(jax.lax.scan(piece, begin, x.reshape(3, 2, 2, 3))[1])

    value, gradient = jax.value_and_grad(loss)(params, x)
    for name, d in jax.grad(jax.checkpoint(loss))(params, x).items():
        assert np.array_equal(d, gradient[name]), name
    sums, pieces = jax.jit(jax.value_and_grad(in_pieces))(params, x)
    assert_close(np.asarray(sums), np.asarray(value), "reordered", "loss")
    for name, d in pieces.items():
        assert_close(np.asarray(d), np.asarray(gradient[name]), "reordered", name)
    allowed = [
        jax.export.DisabledSafetyCheck.custom_call(f"unrolled_{name}")
        for name in ("run", "record", "backward")
    ]
    program = jax.jit(jax.value_and_grad(loss))
    exported = jax.export.export(program, disabled_checks=allowed)(params, x)
    again, found = jax.export.deserialize(exported.serialize()).call(params, x)
    assert again == value
    for name, d in found.items():
        assert np.array_equal(d, gradient[name]), name


def test_hessian() -> None:
    cell = ur.cells.peephole_lstm
    params = uj.init(jax.random.key(1), cell, 2, 3, dtype="float64")
    x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 1, 2)))

    def loss(x: Any) -> Any:
        return jnp.sum(uj.recurrent(cell, params, x)[0] ** 2)

    found = np.asarray(jax.hessian(loss)(x)).reshape(8, 8)
    assert_close(found, found.T, "reference.gradient.float64", "symmetry")
    step = 1e-5
    ahead = [jax.grad(loss)(x + step * e.reshape(x.shape)).ravel() for e in np.eye(8)]
    behind = [jax.grad(loss)(x - step * e.reshape(x.shape)).ravel() for e in np.eye(8)]
    differences = (np.array(ahead) - np.array(behind)) / (2 * step)
    assert np.allclose(found, differences, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p, x: uj.recurrent("nothing", p, x), ValueError, "got the name 'nothing'"),
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
            lambda p, x: uj.init(jax.random.key(0), ur.cells.leaky_rnn, 2, 4, alpha="much"),
            TypeError,
            "alpha: expected a real number, got str",
        ),
        (
            lambda p, x: uj.recurrent(ur.cells.leaky_rnn, p, x, alpha=jnp.float64(0.1)),
            TypeError,
            "alpha: expected a real number, got",
        ),
        (
            lambda p, x: uj.recurrent(ur.cells.peephole_lstm, p, x, (x, x, x)),
            TypeError,
            "got tuple of 3",
        ),
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
