"""`unrolled.jax` beside the networks, the plain `lax.scan` and finite differences."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import VARIANTS, Variant, arrays, normal, problem, same
from tolerances import TOLERANCES, assert_close

jax = pytest.importorskip("jax", reason="jax is not installed (pip install '.[jax]')")

import jax.numpy as jnp  # noqa: E402
import unrolled.jax as uj  # noqa: E402
from jax_extra.jax_support import compare, function, plain, quick, text  # noqa: E402
from unrolled.jax import _compute  # noqa: E402

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
LSTM, GRU = Variant("LSTM"), Variant("GRU")
STEP = TOLERANCES["difference.step"]
SMALL = {"steps": 6, "batch": 4, "input_size": 3, "hidden_size": 7}


@pytest.fixture(autouse=True)
def _both_precisions() -> Iterator[None]:
    limit = _compute.tapes.limit
    with jax.enable_x64(True):
        yield
    uj.set_tape_limit(limit)


def loss_of(p: Any, f: Any, **given: Any) -> Any:
    """A scalar that depends on every output: their product with the problem's dy and dstate."""

    def loss(params: Any, x: Any, state: Any) -> Any:
        y, final = f(params, x, state, **given)
        parts = zip((y, *arrays(final)), (p.dy, *arrays(p.dstate)), strict=True)
        return sum(jnp.vdot(a, d) for a, d in parts)

    return loss


@each_dtype
@each_variant
@pytest.mark.parametrize("ragged", [False, True])
def test_is_the_network(variant: Variant, dtype: str, ragged: bool) -> None:
    p = problem(variant, dtype, **SMALL, ragged=ragged, num_layers=2, bidirectional=True)
    f, given = function(p), {"lengths": p.lengths, "resets": p.resets}
    params = uj.parameters(p.net)
    y, state, g = p.run(p.net)
    found = jax.jit(f)(params, p.x, p.state, **given)
    assert same(np.asarray(found[0]), y)
    assert same(tuple(map(np.asarray, arrays(found[1]))), arrays(state))
    d_params, d_x, d_state = jax.jit(jax.grad(loss_of(p, f, **given), (0, 1, 2)))(
        params, p.x, p.state
    )
    assert d_params.keys() == g.parameters.keys()
    assert all(same(np.asarray(d_params[name]), g.parameters[name]) for name in d_params)
    assert same(np.asarray(d_x), g.input)
    assert same(tuple(map(np.asarray, arrays(d_state))), arrays(g.state))
    assert _compute.tapes.nbytes == 0


@each_variant
def test_the_plain_network_is_the_reference(variant: Variant) -> None:
    """The judge, judged."""
    more = {"num_layers": 2, "bidirectional": True}
    p = problem(variant, "float64", **SMALL, ragged=True, **more)
    y, state, g = p.run(p.plain)
    f, given = function(p), {"lengths": p.lengths, "resets": p.resets}
    params = uj.parameters(p.net)
    derivative = jax.grad(loss_of(p, f, **given), (0, 1, 2))
    with plain():
        both = quick(lambda *a: (f(*a, **given), derivative(*a)))
        found, d = both(params, p.x, p.state)
    for a, e in zip((found[0], *arrays(found[1])), (y, *arrays(state)), strict=True):
        assert_close(np.asarray(a), e, "reference.output.float64", "y and state")
    for name, e in g.parameters.items():
        assert_close(np.asarray(d[0][name]), e, "reference.gradient.float64", name)
    assert_close(np.asarray(d[1]), g.input, "reference.gradient.float64", "x")
    for a, e in zip(arrays(d[2]), arrays(g.state), strict=True):
        assert_close(np.asarray(a), e, "reference.gradient.float64", "state")


def test_finite_differences() -> None:
    p = problem(LSTM, "float64", **SMALL, ragged=True)
    loss = loss_of(p, function(p), lengths=p.lengths, resets=p.resets)
    at = (uj.parameters(p.net), jnp.asarray(p.x), tuple(map(jnp.asarray, p.state)))
    moves = jax.tree.map(lambda a: jnp.asarray(normal(*a.shape, dtype="float64", seed=5)), at)
    moved = [loss(*jax.tree.map(lambda a, m, s=s: a + s * m, at, moves)) for s in (STEP, -STEP)]
    expected = (moved[0] - moved[1]) / (2 * STEP)
    g = jax.grad(loss, (0, 1, 2))(*at)
    found = sum(jnp.vdot(a, m) for a, m in zip(*map(jax.tree.leaves, (g, moves)), strict=True))
    assert abs(found - expected) <= TOLERANCES["difference"] * abs(expected)


# vmap in all places where it can be.


def several(variant: Variant) -> Any:
    """A function of (params, x, state), one value of each, three of each, and three resets."""
    p = problem(variant, "float64", **SMALL)
    f = function(p)
    nets = [type(p.net)(3, 7, dtype="float64", seed=s) for s in range(3)]
    many = jax.tree.map(lambda *a: jnp.stack(a), *map(uj.parameters, nets))
    xs = jnp.asarray(normal(3, *p.x.shape, dtype="float64", seed=6))
    states = jax.tree.map(lambda s: jnp.stack([s, 2 * s, -s]), p.state)
    resets = np.random.default_rng(8).random((3, *p.x.shape[:2])) < 0.2

    def total(params: Any, x: Any, state: Any, resets: Any = None) -> Any:
        y, final = f(params, x, state, lengths=jnp.array([6, 3, 0, 5]), resets=resets)
        return sum(jnp.sum(a**2) for a in (y, *arrays(final)))

    single = (uj.parameters(p.net), jnp.asarray(p.x), jax.tree.map(jnp.asarray, p.state))
    return total, single, (many, xs, states), resets


# Every choice of params, x and state for one cell, and two of them for another.
AXES = [(LSTM, axes) for axes in product((None, 0), repeat=3) if any(a == 0 for a in axes)]
AXES += [(GRU, (None, 0, None)), (GRU, (0, 0, 0))]


@pytest.mark.parametrize(("variant", "axes"), AXES, ids=str)
def test_vmap(variant: Variant, axes: tuple[int | None, ...]) -> None:
    """Of the call, of the derivative, and of what a derivative is taken of."""
    total, single, many, resets = several(variant)
    given = [s if axis is None else m for s, m, axis in zip(single, many, axes, strict=True)]

    def everything(*a: Any) -> Any:
        mapped = jax.vmap(total, axes)
        return (
            mapped(*a),
            [jax.vmap(jax.grad(total, n), axes)(*a) for n in (0, 1, (0, 1, 2))],
            jax.grad(lambda *b: jnp.sum(mapped(*b) ** 2), (0, 1, 2))(*a),
            # Resets mapped and shared.
            jax.vmap(total, (*axes, 0))(*a, resets),
            jax.vmap(total, (*axes, None))(*a, resets[0]),
        )

    compare(everything, *given)
    assert _compute.tapes.nbytes == 0


def test_vmap_in_vmap() -> None:
    total, (params, x, state), (many, xs, states), _ = several(LSTM)
    by_net, by_x = (0, None, None), (None, 0, None)

    def everything(*a: Any, inner: Any, outer: Any) -> Any:
        twice = jax.vmap(jax.vmap(total, inner), outer)
        within = jax.grad(lambda *b: jnp.sum(jax.vmap(total, inner)(*b)), (0, 1))
        return (
            twice(*a),
            jax.vmap(jax.vmap(jax.grad(total, (0, 1)), inner), outer)(*a),
            jax.grad(lambda *b: jnp.sum(twice(*b) ** 2), (0, 1))(*a),
            jax.vmap(within, outer)(*a),
        )

    for inner, outer in ((by_net, by_x), (by_x, by_net)):
        compare(partial(everything, inner=inner, outer=outer), many, xs, state)
    # Axes other than the first, in and out.
    compare(
        lambda p, x: jax.vmap(lambda x: y_of(p, x), in_axes=2, out_axes=1)(x),
        params,
        jnp.moveaxis(xs, 0, 2),
    )


def y_of(params: Any, x: Any) -> Any:
    function = uj.lstm if params["weight_hh_l0"].shape[0] == 28 else uj.gru
    return function(params, x)[0]


def test_vmap_is_a_bigger_batch() -> None:
    """One call forward and one back, however many examples."""
    p = problem(LSTM, "float32", **SMALL)
    params = uj.parameters(p.net)
    xs = normal(16, 6, 3)

    def loss(params: Any) -> Any:
        return jnp.mean(jax.vmap(lambda x: uj.lstm(params, x)[0])(xs) ** 2)

    program = text(jax.grad(loss), params)
    assert program.count("= unrolled_record[") == program.count("= unrolled_backward[") == 1
    assert "members=0" in program and "members=16" not in program
    assert "f32[6,16,7]" in program
    whole = jax.grad(lambda params: jnp.mean(uj.lstm(params, xs.swapaxes(0, 1))[0] ** 2))(params)
    mapped = jax.grad(loss)(params)
    assert all(same(np.asarray(mapped[k]), np.asarray(whole[k])) for k in whole)


# Derivatives of other orders and directions.


@pytest.mark.parametrize(
    "variant", [LSTM, GRU, Variant("RNN", {"nonlinearity": "sigmoid"})], ids=str
)
def test_other_derivatives(variant: Variant) -> None:
    p = problem(variant, "float64", steps=4, batch=2, input_size=2, hidden_size=3, ragged=True)
    f = function(p)
    params, x = uj.parameters(p.net), jnp.asarray(p.x)

    def total(params: Any, x: Any) -> Any:
        y, final = f(params, x, lengths=p.lengths, resets=p.resets)
        return sum(jnp.sum(a**2) for a in (y, *arrays(final)))

    def everything(*a: Any) -> Any:
        both = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), a)
        return (
            jax.hessian(total, 1)(*a),
            jax.jacfwd(jax.grad(total, 1), 0)(*a),
            jax.grad(lambda *b: jnp.sum(jax.grad(total, 1)(*b) ** 2))(*a),
            jax.jvp(total, a, a),
            jax.jacrev(lambda x: f(a[0], x)[0])(a[1]),
            jax.jacfwd(lambda x: f(a[0], x)[0])(a[1]),
            jax.vmap(jax.linearize(total, *a)[1])(*both),
        )

    compare(everything, params, x)


def test_in_control_flow() -> None:
    p = problem(LSTM, "float64", **SMALL)
    params = uj.parameters(p.net)
    chunks = jnp.asarray(normal(5, *p.x.shape, dtype="float64"))

    def in_pieces(params: Any, chunks: Any) -> Any:
        def step(state: Any, x: Any) -> Any:
            y, state = uj.lstm(params, x, state)
            return state, jnp.sum(y**2)

        return jnp.sum(jax.lax.scan(step, p.state, chunks)[1])

    compare(lambda *a: jax.jit(jax.grad(in_pieces, (0, 1)))(*a), params, chunks)
    compare(lambda *a: jax.grad(jax.checkpoint(in_pieces), (0, 1))(*a), params, chunks)
    compare(
        lambda c: jax.lax.cond(c[0, 0, 0, 0] > 9, lambda: 0.0, lambda: in_pieces(params, c)), chunks
    )


# The tapes.


def test_tapes_do_not_matter() -> None:
    """Kept, thrown away or used twice: the same bits, and nothing stays."""
    p = problem(LSTM, "float32", **SMALL, num_layers=2)
    params = uj.parameters(p.net)
    loss = loss_of(p, function(p))

    def bits() -> list[bytes]:
        g = jax.grad(
            lambda q, x: loss(q, uj.lstm(q, x)[0] @ jnp.ones((7, 3), "f"), p.state), (0, 1)
        )
        return [np.asarray(a).tobytes() for a in jax.tree.leaves(g(params, p.x))]

    kept = bits()
    uj.set_tape_limit(0)
    assert bits() == kept
    uj.set_tape_limit(1 << 30)
    _, back = jax.vjp(lambda q: loss(q, p.x, p.state), params)
    assert _compute.tapes.nbytes > 0
    one = np.float32(1)
    first, second = (jax.tree.leaves(back(one)) for _ in range(2))
    assert all(same(np.asarray(a), np.asarray(b)) for a, b in zip(first, second, strict=True))
    assert _compute.tapes.nbytes == 0
    # Those that nobody comes for make room for newer ones.
    size = p.net.record(p.x, p.state)[2].nbytes
    uj.set_tape_limit(3 * size)
    backs = [jax.vjp(lambda q: loss(q, p.x, p.state), params)[1] for _ in range(8)]
    assert _compute.tapes.nbytes == 3 * size
    for each in backs:
        found = jax.tree.leaves(each(one))
        assert all(same(np.asarray(a), np.asarray(b)) for a, b in zip(first, found, strict=True))
    assert _compute.tapes.nbytes == 0


def test_tapes_of_other_calls() -> None:
    """A way back that is mapped otherwise than the recording takes nobody else's tape."""
    _, (params, _, _), (many, xs, states), _ = several(GRU)
    dy = normal(6, 4, 7, dtype="float64", seed=9)

    def shuffled(*mapped: Any) -> Any:
        back = jax.vmap(lambda *a: jax.vjp(lambda *b: uj.gru(*b)[0], *a)[1])(*mapped)
        back = jax.tree.map(lambda a: a[jnp.array([2, 0, 1])], back)
        return jax.vmap(lambda b: b(dy))(back)

    compare(shuffled, many, xs, states)

    def rows(params: Any, x: Any) -> Any:
        return jax.jacrev(lambda q: jnp.sum(uj.gru(q, x)[0][:, 0], axis=0))(params)

    compare(lambda *a: jax.vmap(rows, (None, 0))(*a), params, xs)


# Layouts and what does not fit.


def test_layouts() -> None:
    p = problem(LSTM, "float32", **SMALL, ragged=True)
    params = uj.parameters(p.net)
    y, (h, c) = uj.lstm(params, p.x, p.state, lengths=p.lengths, resets=p.resets)
    swapped, _ = uj.lstm(
        params, p.x.swapaxes(0, 1), p.state, lengths=p.lengths, resets=p.resets.T, batch_first=True
    )
    assert same(np.asarray(swapped.swapaxes(0, 1)), np.asarray(y))
    alone, (h1, _) = uj.lstm(params, p.x[:, 0], tuple(s[:, 0] for s in p.state))
    assert alone.shape == (6, 7) and h1.shape == (1, 7)
    assert same(np.asarray(alone), p.net(p.x[:, 0], tuple(s[:, 0] for s in p.state))[0])
    for steps, batch in ((0, 4), (3, 0), (0, 0)):
        x = jnp.zeros((steps, batch, 3), "float32")
        y, (h, _) = uj.lstm(params, x)
        assert y.shape == (steps, batch, 7) and h.shape == (1, batch, 7)
        g = jax.grad(lambda q, x=x: jnp.sum(uj.lstm(q, x)[0]))(params)
        assert all(not a.any() for a in g.values())


def test_init() -> None:
    for options in (
        {},
        {"bias": False, "bidirectional": True},
        {"proj_size": 2},
        {"forget_gate": False},
    ):
        params = uj.init(jax.random.key(0), "LSTM", 3, 5, 2, **options)
        net = ur.LSTM(3, 5, 2, **options)
        net.load_state_dict(params)
        assert {k: a.shape for k, a in params.items()} == {
            k: a.shape for k, a in net.state_dict().items()
        }
        assert all(abs(a).max() <= 5**-0.5 and a.std() > 0.1 for a in params.values())
        assert uj.lstm(params, np.zeros((2, 1, 3), "f"))[0].shape[0] == 2
    plain_bias = uj.init(jax.random.key(1), "LSTM", 3, 5)["bias_ih_l0"]
    biased = uj.init(jax.random.key(1), "LSTM", 3, 5, forget_bias=2.0)["bias_ih_l0"]
    assert_close(
        np.asarray(biased - plain_bias),
        np.repeat([0, 2.0, 0, 0], 5).astype("f"),
        "formula.float32",
        "forget",
    )
    assert uj.init(jax.random.key(0), "GRU", 3, 5, dtype="float64")["bias_hh_l0"].dtype == "float64"


def refused(kind: type[Exception], message: str, *args: Any, **given: Any) -> None:
    with pytest.raises(kind, match=message):
        uj.lstm(*args, **given)


def test_errors() -> None:
    p = problem(LSTM, "float32", **SMALL)
    params, x = uj.parameters(p.net), p.x
    refused(TypeError, r"^params: expected a mapping, got list", [1], x)
    refused(ValueError, r"^params: expected the keys \['weight_ih_l0'", {}, x)
    refused(ValueError, r"^params: .*unexpected keys \['w'\]", params | {"w": x}, x)
    short = params | {"bias_hh_l0": jnp.zeros(3, "float32")}
    refused(ValueError, r"^params\['bias_hh_l0'\]: expected shape \(28,\), got \(3,\)", short, x)
    mixed = params | {"bias_hh_l0": jnp.zeros(28)}
    refused(TypeError, r"^params\['bias_hh_l0'\]: expected float32, got float64", mixed, x)
    halves = jax.tree.map(lambda a: a.astype("bfloat16"), params)
    refused(TypeError, r"^params: expected float32 or float64 arrays, got bfloat16", halves, x)
    refused(
        TypeError, r"^x: expected float32 as the parameters, got float64", params, p.x.astype("d")
    )
    refused(
        ValueError,
        r"^x: expected shape \(T, B, I\) or \(T, I\) with I = 3, got \(6, 4\)",
        params,
        x[..., 0],
    )
    refused(TypeError, r"^state: expected a tuple \(h, c\)", params, x, x)
    refused(ValueError, r"^state\[1\]: expected shape", params, x, (p.state[0], p.state[0][:, :1]))
    refused(TypeError, r"^lengths: expected integers, got float", params, x, lengths=np.ones(4))
    refused(
        ValueError,
        r"^lengths: expected shape \(B,\) = \(4,\), got \(5,\)",
        params,
        x,
        lengths=np.ones(5, int),
    )
    refused(ValueError, r"^lengths: expected None for x without", params, x[:, 0], lengths=[6])
    refused(TypeError, r"^resets: expected bool", params, x, resets=np.ones((6, 4)))
    refused(
        ValueError,
        r"^resets: expected shape \(T, B\) = \(6, 4\)",
        params,
        x,
        resets=np.ones((4, 6), bool),
    )
    # Known only when the program runs: JAX's error with our words.
    with pytest.raises(jax.errors.JaxRuntimeError, match=r"lengths: expected .* got 7"):
        jax.jit(uj.lstm)(params, x, lengths=np.array([1, 7, 2, 3]))
    with pytest.raises(ValueError, match=r"^nonlinearity: expected"):
        uj.rnn(params, x, nonlinearity="gelu")
    with pytest.raises(TypeError, match=r"^options: expected some of .* got \['proj_size'\]"):
        uj.init(jax.random.key(0), "GRU", 3, 5, proj_size=2)
    with pytest.raises(
        TypeError, match=r"^net: expected an LSTM, GRU, RNN or Recurrent, got Dense"
    ):
        uj.parameters(ur.Dense(1, 2))
    with jax.enable_x64(False), pytest.raises(ValueError, match=r"^dtype: .*jax_enable_x64"):
        uj.init(jax.random.key(0), "GRU", 3, 5, dtype="float64")


def test_other_devices() -> None:
    """A program for another device has the plain network in it, and no call of ours."""
    p = problem(LSTM, "float32", **SMALL)
    params = uj.parameters(p.net)
    gradient = jax.jit(jax.grad(lambda q: jnp.sum(uj.lstm(q, p.x)[0])))
    for platform, ours in (("cuda", False), ("cpu", True)):
        exported = jax.export.export(
            gradient,
            platforms=[platform],
            disabled_checks=[
                jax.export.DisabledSafetyCheck.custom_call(f"unrolled_{name}")
                for name in ("run", "record", "backward")
            ],
        )(params)
        assert ("@unrolled_record" in exported.mlir_module()) == ours
        assert ("while" in exported.mlir_module()) != ours


def test_several_devices() -> None:
    """Where JAX would leave the sum over devices to us there is an error, and no wrong gradient."""
    p = problem(LSTM, "float32", **SMALL)
    params = uj.parameters(p.net)
    spec = jax.sharding.PartitionSpec
    mesh = jax.make_mesh((1,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))

    def loss(params: Any, x: Any) -> Any:
        return jax.lax.pmean(jnp.mean(uj.lstm(params, x)[0] ** 2), "rows")

    def parted(check: bool) -> Any:
        specs = {"in_specs": (spec(), spec(None, "rows")), "out_specs": spec()}
        return jax.grad(jax.shard_map(loss, mesh=mesh, check_vma=check, **specs))(params, p.x)

    expected = jax.grad(lambda q: jnp.mean(uj.lstm(q, p.x)[0] ** 2))(params)
    for name, g in parted(False).items():
        assert_close(np.asarray(g), np.asarray(expected[name]), "reference.gradient.float32", name)
    with pytest.raises(NotImplementedError, match=r"^unrolled.jax: expected .*check_vma=False"):
        parted(True)
