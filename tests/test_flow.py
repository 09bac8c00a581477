"""How gradients flow: every statement of docs/gradient_flow.md, plain version and `ur.flow`."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from hypothesis import given, settings
from hypothesis import strategies as st
from support import VARIANTS, Variant, arrays, problem
from tolerances import TOLERANCES
from unrolled import flow
from unrolled.reference import flow as plain

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)
EXACT, DIFFERENCES = TOLERANCES["reordered"], TOLERANCES["difference"]


@pytest.fixture(params=[plain, flow], ids=["plain", "fast"])
def module(request: pytest.FixtureRequest) -> Any:
    """The plain version and what is exported: each is judged by itself."""
    return request.param


def error(actual: Any, expected: Any) -> float:
    """max |actual - expected| / max |expected|."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    largest = np.abs(expected).max(initial=0.0)
    return float(np.abs(actual - expected).max(initial=0.0) / (largest or 1.0))


def recorded(variant: Variant, *, ragged: bool = False, **more: Any) -> tuple[Any, Any]:
    """A problem in float64 and its tape."""
    sizes = {"steps": 6, "batch": 3, "input_size": 3, "hidden_size": 6}
    p = problem(variant, "float64", ragged=ragged, **sizes | more)
    _, _, tape = p.net.record(p.x, p.state, lengths=p.lengths, resets=p.resets)
    return p, tape


def rnn(w: np.ndarray, nonlinearity: str = "tanh", bias: float | None = None) -> Any:
    """An RNN with this recurrent matrix and one input, which it does not hear."""
    size = len(w)
    net = ur.RNN(1, size, bias=bias is not None, nonlinearity=nonlinearity, dtype="float64")
    parameters = {"weight_ih_l0": np.zeros((size, 1)), "weight_hh_l0": w}
    if bias is not None:
        parameters |= {"bias_ih_l0": np.full(size, bias), "bias_hh_l0": np.zeros(size)}
    net.load_state_dict(parameters)
    return net


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


# One layer ----------------------------------------------------------------------------------------

SIGMA: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "tanh": np.tanh,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "relu": lambda a: np.maximum(a, 0),
    "identity": lambda a: a,
}


@pytest.mark.parametrize("activation", SIGMA)
@pytest.mark.parametrize("shape", [(3, 5), (5, 2), (4, 4)])
@pytest.mark.parametrize("with_bias", [False, True])
def test_layer_jacobian_is_the_difference_quotient(
    activation: str, shape: tuple[int, int], with_bias: bool, module: Any
) -> None:
    w, x = normal(*shape), normal(shape[1], seed=1)
    bias = normal(shape[0], seed=2) if with_bias else None
    offset = 0.0 if bias is None else bias
    step = TOLERANCES["difference.step"]
    columns = [
        (SIGMA[activation](w @ (x + e) + offset) - SIGMA[activation](w @ (x - e) + offset))
        / (2 * step)
        for e in step * np.eye(len(x))
    ]
    assert error(module.layer_jacobian(w, x, activation, bias), np.stack(columns, 1)) < DIFFERENCES


# Jacobians of the recurrence ----------------------------------------------------------------------


def stepped(net: Any, x: np.ndarray, s: np.ndarray) -> np.ndarray:
    """s after one step of a one-layer reference net, x (I,) and s (S,)."""
    sizes = net._cell.state_sizes
    parts = tuple(a[None] for a in np.split(s, np.cumsum(sizes)[:-1]))
    _, after = net(x[None], parts if len(parts) > 1 else parts[0])
    return np.concatenate([a[0] for a in arrays(after)])


def states_of(p: Any, tape: Any) -> np.ndarray:
    """s_{-1}, s_0, … (T + 1, B, S)."""
    after = [tape.hidden] + ([tape.cell] if isinstance(p.net, ur.LSTM) else [])
    initial = [a[0][None] for a in arrays(p.state)]
    return np.concatenate(
        [np.concatenate([i, a]) for i, a in zip(initial, after, strict=True)], axis=-1
    )


@each_variant
def test_step_jacobians_are_difference_quotients(variant: Variant, module: Any) -> None:
    p, tape = recorded(variant)
    states = states_of(p, tape)
    found = module.step_jacobians(tape)
    step = TOLERANCES["difference.step"]
    for t in range(6):
        for b in range(3):
            columns = [
                (
                    stepped(p.plain, p.x[t, b], states[t, b] + e)
                    - stepped(p.plain, p.x[t, b], states[t, b] - e)
                )
                / (2 * step)
                for e in step * np.eye(states.shape[-1])
            ]
            assert error(found[t, b], np.stack(columns, axis=1)) < DIFFERENCES


@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="jax is not installed")
@pytest.mark.parametrize("cell", ["RNN", "LSTM", "GRU"])
def test_step_jacobians_are_those_of_jax(cell: str, module: Any) -> None:
    import jax
    import jax.numpy as jnp

    p, tape = recorded(Variant(cell))
    w = {name[:-3]: a for name, a in p.net.state_dict().items()}

    def step(s: Any, x: Any) -> Any:
        if cell == "LSTM":
            h, c = jnp.split(s, 2)
            sums = w["weight_ih"] @ x + w["bias_ih"] + w["weight_hh"] @ h + w["bias_hh"]
            i, f, g, o = jnp.split(sums, 4)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            return jnp.concatenate([jax.nn.sigmoid(o) * jnp.tanh(c), c])
        of_x, of_h = w["weight_ih"] @ x + w["bias_ih"], w["weight_hh"] @ s + w["bias_hh"]
        if cell == "RNN":
            return jnp.tanh(of_x + of_h)
        (xr, xz, xn), (hr, hz, hn) = jnp.split(of_x, 3), jnp.split(of_h, 3)
        r, z = jax.nn.sigmoid(xr + hr), jax.nn.sigmoid(xz + hz)
        return (1 - z) * jnp.tanh(xn + r * hn) + z * s

    with jax.enable_x64(True):
        states = states_of(p, tape)[:-1]
        expected = jax.vmap(jax.vmap(jax.jacobian(step)))(states, p.x)
    assert error(module.step_jacobians(tape), np.asarray(expected)) < EXACT


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
@each_variant
def test_step_jacobians_are_those_of_torch(variant: Variant, module: Any) -> None:
    import torch

    if variant.arguments.get("nonlinearity") == "sigmoid" or not {
        "forget_gate",
        "reset_after",
    }.isdisjoint(variant.arguments):
        pytest.skip(f"torch has no {variant}")
    p, tape = recorded(variant)
    cell = getattr(torch.nn, variant.cell)(3, 6, dtype=torch.float64, **variant.arguments)
    cell.load_state_dict({n: torch.from_numpy(a) for n, a in p.net.state_dict().items()})
    sizes = list(p.net._sizes.states)

    def step(s: Any, x: Any) -> Any:
        parts = tuple(a[None] for a in torch.split(s, sizes))
        _, after = cell(x[None], parts if len(parts) > 1 else parts[0])
        return torch.cat([a[0] for a in (after if isinstance(after, tuple) else (after,))])

    states = states_of(p, tape)
    found = module.step_jacobians(tape)
    for t in range(6):
        x, s = torch.from_numpy(p.x[t, 1]), torch.from_numpy(states[t, 1])
        expected = torch.autograd.functional.jacobian(lambda s, x=x: step(s, x), s)
        assert error(found[t, 1], expected.numpy()) < EXACT


@each_variant
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("layer", [0, 1])
def test_products_agree(variant: Variant, layer: int, reverse: bool, module: Any) -> None:
    """transition, vjp and jvp are the products of step_jacobians, in the right order."""
    _, tape = recorded(variant, num_layers=2, bidirectional=True)
    where = {"layer": layer, "reverse": reverse}
    j = module.step_jacobians(tape, **where)
    size = j.shape[-1]
    for t, k in [(5, 2), (4, 4), (5, 0), (3, 2)]:
        expected = np.broadcast_to(np.eye(size), (3, size, size))
        for step in range(t, k, -1):
            expected = expected @ j[t + k - step if reverse else step]
        if reverse:
            # ∂s_k/∂s_t = J_k J_{k+1} … J_{t-1}
            expected = np.broadcast_to(np.eye(size), (3, size, size))
            for step in range(k, t):
                expected = expected @ j[step]
            t, k = k, t
        found = module.transition(tape, t, k, **where)
        assert error(found, expected) < EXACT
        v, u = normal(4, 3, size), normal(3, size, seed=1)
        back, on = module.vjp(tape, t, k, v, **where), module.jvp(tape, t, k, u, **where)
        assert error(back, np.einsum("mbi,bij->mbj", v, expected)) < EXACT
        assert error(on, np.einsum("bij,bj->bi", expected, u)) < EXACT
        # ⟨v, M u⟩ = ⟨Mᵀ v, u⟩
        assert error((v * on).sum(-1), (back * u).sum(-1)) < EXACT


def test_reverse_direction_is_the_forward_one_of_the_reversed_sequence(module: Any) -> None:
    net = ur.LSTM(3, 4, bidirectional=True, dtype="float64", seed=0)
    x = normal(7, 2, 3)
    _, _, tape = net.record(x)
    other = ur.LSTM(3, 4, dtype="float64")
    other.load_state_dict(
        {n.removesuffix("_reverse"): a for n, a in net.state_dict().items() if "reverse" in n}
    )
    _, _, mirrored = other.record(x[::-1].copy())
    assert (
        error(module.step_jacobians(tape, reverse=True), module.step_jacobians(mirrored)[::-1])
        < EXACT
    )


# The double sum -----------------------------------------------------------------------------------


@each_variant
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("more", [{}, {"num_layers": 2, "bidirectional": True}], ids=str)
def test_terms_add_up_to_the_gradient(
    variant: Variant, ragged: bool, more: Any, module: Any
) -> None:
    p, tape = recorded(variant, ragged=ragged, **more)
    gradients = tape.backward(p.dy).parameters
    for name, gradient in gradients.items():
        found = module.gradient_by_lag(tape, p.dy, name, terms="all")
        assert error(found.terms.sum(axis=(0, 1)), gradient) < EXACT, name
        norms = np.sqrt((found.terms**2).sum(axis=tuple(range(2, found.terms.ndim))))
        assert error(found.norms, norms) < EXACT
        times = np.arange(6)
        for lag in times:
            # Both signs of t - k: in two directions a use may be later than the loss.
            at = np.abs(times[:, None] - times) == lag
            whole = found.terms[at].sum(axis=0)
            assert error(found.by_lag[lag], np.linalg.norm(whole)) < EXACT


def test_three_steps_written_out_term_by_term(module: Any) -> None:
    net = ur.RNN(2, 3, dtype="float64", seed=3)
    x, dy = normal(3, 2), normal(3, 3, seed=1)
    h0 = normal(1, 3, seed=2)
    y, _, tape = net.record(x, h0)
    w = net.state_dict()["weight_hh_l0"]
    h = [h0[0], *y]
    slope = [1 - a * a for a in y]
    j = [np.diag(slope[t]) @ w for t in range(3)]
    d = [np.outer(slope[t], h[t]) for t in range(3)]

    def use(row: np.ndarray, k: int) -> np.ndarray:
        """row ∂⁺h_k/∂W."""
        return row[:, None] * d[k]

    expected = {
        (0, 0): use(dy[0], 0),
        (1, 1): use(dy[1], 1),
        (1, 0): use(dy[1] @ j[1], 0),
        (2, 2): use(dy[2], 2),
        (2, 1): use(dy[2] @ j[2], 1),
        (2, 0): use(dy[2] @ j[2] @ j[1], 0),
    }
    found = module.gradient_by_lag(tape, dy, terms=list(expected))
    for term, pair in zip(found.terms, expected, strict=True):
        assert error(term, expected[pair]) < EXACT
    assert error(sum(found.terms), tape.backward(dy).parameters["weight_hh_l0"]) < EXACT
    assert not np.triu(found.norms, 1).any()


def test_derivative_of_the_loss_alone_is_not_the_gradient() -> None:
    """δ_t = ∂L_t/∂h_t without what comes from later steps keeps the terms of lag 0 only."""
    p, tape = recorded(Variant("RNN"))
    h = np.concatenate([p.state, tape.hidden[:-1]])
    e = p.dy * (1 - tape.hidden**2)
    mistaken = np.einsum("tbi,tbj->ij", e, h)
    name = "weight_hh_l0"
    assert error(mistaken, tape.backward(p.dy, truncate=0).parameters[name]) < EXACT
    assert error(mistaken, tape.backward(p.dy).parameters[name]) > 0.1


@each_variant
def test_truncation_keeps_the_small_lags(variant: Variant, module: Any) -> None:
    p, tape = recorded(variant)
    lag = np.subtract.outer(np.arange(6), np.arange(6))
    for name in p.net.state_dict():
        terms = module.gradient_by_lag(tape, p.dy, name, terms="all").terms
        for lags in range(7):
            kept = terms[(lag >= 0) & (lag <= lags)].sum(axis=0)
            assert error(tape.backward(p.dy, truncate=lags).parameters[name], kept) < EXACT


@each_variant
def test_nothing_crosses_a_reset(variant: Variant, module: Any) -> None:
    p, _ = recorded(variant)
    resets = np.zeros((6, 3), dtype=bool)
    resets[2], resets[5] = True, True
    name = "weight_hh_l0"
    _, _, tape = p.net.record(p.x, p.state, resets=resets)
    found = module.gradient_by_lag(tape, p.dy, name, terms="all")
    pieces = [slice(0, 2), slice(2, 5), slice(5, 6)]
    inside = np.zeros((6, 6), dtype=bool)
    total = np.zeros_like(p.net.state_dict()[name])
    for piece in pieces:
        inside[piece, piece] = True
        state = p.state if piece.start == 0 else None
        _, _, own = p.net.record(p.x[piece].copy(), state)
        total += module.gradient_by_lag(own, p.dy[piece].copy(), name, terms="all").terms.sum(
            (0, 1)
        )
    assert not found.terms[~inside].any()
    assert not found.norms[~inside].any()
    assert error(found.terms.sum((0, 1)), total) < EXACT
    assert not module.step_jacobians(tape)[[2, 5]].any()
    assert not module.transition(tape, 3, 1).any()
    assert module.transition(tape, 4, 2).any()


@each_variant
def test_past_its_end_a_row_is_zero(variant: Variant, module: Any) -> None:
    p, _ = recorded(variant, bidirectional=True)
    x = p.x.copy()
    x[4:, 1] = np.nan
    _, _, tape = p.net.record(x, p.state, lengths=[6, 4, 0])
    for reverse in (False, True):
        j = module.step_jacobians(tape, reverse=reverse)
        assert not j[4:, 1].any() and not j[:, 2].any()
        assert j[:4, 1].any() and j[:, 0].any()
    # The state that a row enters with in reverse is none of another time.
    assert not module.transition(tape, 2, 4, reverse=True)[1].any()
    # A row's own end is its last step.
    _, _, alone = p.net.record(p.x[:4, 1:2].copy(), tuple_of(p.state, slice(1, 2)))
    for reverse in (False, True):
        found = flow.singular_values_by_lag(tape, reverse=reverse)[:4, 1]
        expected = flow.singular_values_by_lag(alone, reverse=reverse)[:, 0]
        assert error(found, expected) < EXACT
    dy = p.dy.copy()
    dy[4:, 1] = np.nan
    assert np.isfinite(module.gradient_by_lag(tape, dy).norms).all()


def tuple_of(state: Any, rows: slice) -> Any:
    parts = tuple(a[:, rows].copy() for a in arrays(state))
    return parts if len(parts) > 1 else parts[0]


@each_variant
def test_permuting_the_batch_permutes(variant: Variant, module: Any) -> None:
    p, tape = recorded(variant)
    order = np.array([2, 0, 1])
    state = tuple(a[:, order].copy() for a in arrays(p.state))
    _, _, other = p.net.record(p.x[:, order].copy(), state if len(state) > 1 else state[0])
    assert error(module.step_jacobians(other), module.step_jacobians(tape)[:, order]) < EXACT
    spectra = flow.singular_values_by_lag(tape)[:, order]
    assert error(flow.singular_values_by_lag(other), spectra) < EXACT
    found = module.gradient_by_lag(other, p.dy[:, order].copy()).norms
    assert error(found, module.gradient_by_lag(tape, p.dy).norms) < EXACT


@each_variant
def test_without_a_batch_there_is_no_axis_for_it(variant: Variant, module: Any) -> None:
    p, tape = recorded(variant)
    state = tuple(a[:, 1].copy() for a in arrays(p.state))
    _, _, row = p.net.record(p.x[:, 1].copy(), state if len(state) > 1 else state[0])
    size = module.step_jacobians(tape).shape[-1]
    v = normal(2, size)
    assert error(module.step_jacobians(row), module.step_jacobians(tape)[:, 1]) < EXACT
    assert error(module.transition(row, 4, 1), module.transition(tape, 4, 1)[1]) < EXACT
    assert module.vjp(row, 4, 1, v).shape == (2, size) and module.jvp(row, 4, 1, v[0]).shape == (
        size,
    )
    spectra = flow.singular_values_by_lag(tape)[:, 1]
    assert error(flow.singular_values_by_lag(row), spectra) < EXACT
    assert flow.bounds(row).measured.shape == (6,)
    if isinstance(p.net, ur.LSTM):
        a, b = flow.cell_path(row), flow.cell_path(tape)
        assert error(a.full, b.full[:, 1]) < EXACT and np.array_equal(a.memory, b.memory[1])


@given(seed=st.integers(0, 10_000), steps=st.integers(1, 7), batch=st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_terms_add_up_whatever_the_sizes(seed: int, steps: int, batch: int) -> None:
    rng = np.random.default_rng(seed)
    variant = VARIANTS[seed % len(VARIANTS)]
    arguments = {k: v for k, v in variant.arguments.items() if k != "proj_size"}
    net = getattr(ur, variant.cell)(
        2,
        3,
        int(rng.integers(1, 3)),
        bias=bool(rng.integers(2)),
        dtype="float64",
        batch_first=bool(rng.integers(2)),
        bidirectional=bool(rng.integers(2)),
        seed=seed,
        **arguments,
    )
    shape = (batch, steps) if net.batch_first else (steps, batch)
    x, lengths = rng.normal(size=(*shape, 2)), rng.integers(0, steps + 1, size=batch)
    y, _, tape = net.record(x, lengths=lengths, resets=rng.random(size=shape) < 0.2)
    dy = rng.normal(size=y.shape)
    name = str(rng.choice(list(net.state_dict())))
    found = flow.gradient_by_lag(tape, dy, name, terms="all")
    gradient = tape.backward(dy).parameters[name]
    assert np.abs(found.terms.sum((0, 1)) - gradient).max() <= EXACT * max(
        1, np.abs(gradient).max()
    )


# Powers -------------------------------------------------------------------------------------------

Q = np.array([[-0.6, -0.8], [-0.8, 0.6]])
GOLDEN = Q @ np.diag([0.9, 0.4]) @ np.linalg.inv(Q)


def test_the_golden_power() -> None:
    curve = flow.matrix_power_curve(GOLDEN, 30)
    assert np.array_equal(np.round(curve.power(30), 4), [[0.0153, 0.0203], [0.0203, 0.0271]])
    assert round(0.9**30, 4) == 0.0424 and f"{0.4**30:.3e}" == "1.153e-12"
    by_eigenvalues = Q @ np.diag([0.9**30, 0.4**30]) @ np.linalg.inv(Q)
    assert error(curve.power(30), by_eigenvalues) < EXACT
    assert error(curve.eigenvalues, np.array([0.9, 0.4])) < EXACT
    # Symmetric, hence normal: the norm of each power is that of the eigenvalue.
    assert curve.normal and curve.diagonalisable and curve.condition < 1 + 1e-9
    assert error(curve.norms, 0.9 ** np.arange(31)) < EXACT
    assert abs(curve.numerical_radius - 0.9) < EXACT


def test_a_matrix_that_is_not_normal_grows_before_it_fades() -> None:
    curve = flow.matrix_power_curve(np.array([[0.9, 5.0], [0.0, 0.8]]), 300)
    assert curve.spectral_radius == 0.9 and not curve.normal and curve.diagonalisable
    assert curve.norms[1] > 5 and curve.norms.argmax() > 3 and curve.norms.max() > 10
    assert curve.norms[300] < 1e-10
    # At last each power makes 0.9 of the one before.
    assert abs(curve.norms[300] / curve.norms[299] - 0.9) < 1e-6


def test_powers_are_those_of_the_radius_where_the_norm_is() -> None:
    """And only there: neither needs a normal matrix."""
    curve = flow.matrix_power_curve(np.array([[1, 0, 0], [0, 0, 0.5], [0, 0, 0.0]]), 50)
    assert not curve.normal
    np.testing.assert_array_equal(curve.norms, curve.spectral_radius ** np.arange(51))
    # Not normal, of a norm above the radius, and yet it never grows.
    small = flow.matrix_power_curve(np.array([[0.5, 0.1], [0.0, 0.4]]), 50)
    assert not small.normal and small.norms[1] > small.spectral_radius
    assert (np.diff(small.norms) < 0).all()


def test_eigenvalues_one_do_not_leave_a_defective_matrix_unchanged() -> None:
    curve = flow.matrix_power_curve(np.array([[1.0, 1.0], [0.0, 1.0]]), 1000)
    assert np.array_equal(curve.eigenvalues, [1, 1])
    assert not curve.diagonalisable and curve.condition > 1e6
    # ‖[[1, n], [0, 1]]‖₂ = (n + √(n² + 4)) / 2
    n = np.arange(1001)
    assert error(curve.norms, (n + np.sqrt(n * n + 4.0)) / 2) < EXACT
    assert np.array_equal(curve.power(1000), [[1, 1000], [0, 1]])
    identity = flow.matrix_power_curve(np.eye(3), 50)
    assert (
        identity.diagonalisable and identity.normal and np.array_equal(identity.norms, np.ones(51))
    )


@given(seed=st.integers(0, 10_000), size=st.integers(1, 8), block=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_diagonalisable_or_not(seed: int, size: int, block: int) -> None:
    """A rotated Jordan block among distinct eigenvalues."""
    rng = np.random.default_rng(seed)
    block = min(block, size)
    jordan = np.diag(np.linspace(-1, 1, size))
    jordan[:block, :block] = 0.5 * np.eye(block) + np.eye(block, k=1)
    rotation, _ = np.linalg.qr(rng.normal(size=(size, size)))
    clash = np.isclose(np.linspace(-1, 1, size)[block:], 0.5).any()
    curve = flow.matrix_power_curve(rotation @ jordan @ rotation.T, 3)
    if not clash or block == 1:
        assert curve.diagonalisable == (block == 1)
    if block == 1:
        assert curve.normal


@given(seed=st.integers(0, 10_000), size=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_spectra_of_a_matrix_are_in_order(seed: int, size: int) -> None:
    """ρ <= numerical radius <= ‖M‖₂ <= 2 radius, ‖Mⁿ‖ <= 2 radiusⁿ, and ρⁿ <= ‖Mⁿ‖ <= ‖M‖ⁿ."""
    m = normal(size, size, seed=seed)
    curve = flow.matrix_power_curve(m, 12)
    rho, radius, norm = curve.spectral_radius, curve.numerical_radius, curve.norms[1]
    room = 1 + 1e-9
    # The sampled edge is inside the range by at most 1 - cos of half a degree.
    assert rho <= radius * room and radius <= norm * room and norm <= 2 * radius * room
    n = np.arange(13)
    assert (rho**n <= curve.norms * room).all() and (curve.norms <= norm**n * room).all()
    assert (curve.norms <= np.maximum(2 * radius**n, 1) * room).all()
    for k in (0, 1, 5):
        assert abs(np.linalg.norm(curve.power(k), 2) - curve.norms[k]) <= 1e-10 * curve.norms[k]
    # Every eigenvalue is in the convex hull of the edge: never beyond it in any direction.
    edge = curve.numerical_range
    for angle in np.linspace(0, 2 * np.pi, 72, endpoint=False):
        turn = complex(math.cos(angle), -math.sin(angle))
        beyond = (turn * curve.eigenvalues).real.max() - (turn * edge).real.max()
        assert beyond <= 1e-3 * norm
    assert np.abs(edge).max() <= radius * room


def test_the_numerical_range_of_a_block_is_a_disc() -> None:
    curve = flow.matrix_power_curve(np.array([[0.0, 1.0], [0.0, 0.0]]), 2)
    assert np.allclose(np.abs(curve.numerical_range), 0.5, rtol=EXACT)
    assert abs(curve.numerical_radius - 0.5) < EXACT
    assert np.array_equal(curve.norms, [1, 1, 0])


def test_powers_beyond_what_a_float_can_hold() -> None:
    up, down = (flow.matrix_power_curve(np.array([[factor]]), 2000) for factor in (2.0, 0.5))
    assert up.norms[1000] == 2.0**1000 and up.norms[2000] == np.inf
    assert down.norms[1000] == 0.5**1000 and down.norms[2000] == 0


@pytest.mark.parametrize("size", [8e307, 1e300, 1e160, 1e-200, 5e-324])
def test_powers_of_huge_and_of_tiny_matrices(size: float) -> None:
    """What is as normal as the matrix of ones, whatever its scale."""
    with np.errstate(over="raise", invalid="raise"):
        curve = flow.matrix_power_curve(np.full((2, 2), size), 2)
    assert curve.normal and np.isclose(curve.norms[1] / 2, size, rtol=EXACT, atol=0)


# Bounds and spectra -------------------------------------------------------------------------------


@given(
    seed=st.integers(0, 10_000),
    scale=st.floats(0.1, 4),
    nonlinearity=st.sampled_from(["tanh", "relu", "sigmoid"]),
    ragged=st.booleans(),
)
@settings(max_examples=50, deadline=None)
def test_bounds_hold(seed: int, scale: float, nonlinearity: str, ragged: bool) -> None:
    rng = np.random.default_rng(seed)
    net = ur.RNN(2, 4, bidirectional=True, nonlinearity=nonlinearity, dtype="float64", seed=seed)
    net.load_state_dict({name: scale * a for name, a in net.state_dict().items()})
    lengths = rng.integers(0, 9, size=3) if ragged else None
    resets = rng.random((8, 3)) < 0.15 if ragged else None
    _, _, tape = net.record(rng.normal(size=(8, 3, 2)), lengths=lengths, resets=resets)
    t = None if seed % 2 else int(rng.integers(8))
    b = flow.bounds(tape, t, reverse=bool(seed % 3))
    room = 1 + EXACT
    assert (b.measured <= b.jacobians * room).all()
    assert (b.jacobians <= b.per_step * room).all()
    assert (b.per_step <= b.uniform[:, None] * room).all()
    assert b.gamma == (0.25 if nonlinearity == "sigmoid" else 1.0)


@each_variant
@pytest.mark.parametrize("reverse", [False, True])
def test_spectra_by_lag_are_those_of_transition(variant: Variant, reverse: bool) -> None:
    p, tape = recorded(variant, bidirectional=True)
    for t in (None, 0, 3, 5):
        found = flow.singular_values_by_lag(tape, t, reverse=reverse)
        b = flow.bounds(tape, t, reverse=reverse)
        at = (0 if reverse else 5) if t is None else t
        assert len(found) == (6 - at if reverse else at + 1)
        for lag, values in enumerate(found):
            m = flow.transition(tape, at, at + lag if reverse else at - lag, reverse=reverse)
            assert error(values, np.linalg.svd(m, compute_uv=False)) < EXACT
        assert error(b.measured, found[..., 0]) < EXACT
        assert (b.measured <= b.jacobians * (1 + EXACT)).all()
        if not isinstance(p.net, ur.RNN):
            assert b.per_step is None and b.uniform is None and b.gamma is None


def test_eigenvalues_say_nothing_of_products() -> None:
    up, down = np.eye(2, k=1), np.eye(2, k=-1)
    assert flow.matrix_power_curve(up, 2).spectral_radius == 0
    assert flow.matrix_power_curve(down, 2).spectral_radius == 0
    assert flow.matrix_power_curve(up @ down, 2).spectral_radius == 1


def test_nothing_is_bounded_across_a_reset_but_by_zero() -> None:
    resets = np.zeros(6, dtype=bool)
    resets[3] = True
    _, _, tape = rnn(0.9 * np.eye(2)).record(np.zeros((6, 1)), np.full((1, 2), 0.5), resets=resets)
    b = flow.bounds(tape)
    for a in (b.measured, b.jacobians, b.per_step):
        # s_5 hears of s_4 and s_3, and of nothing before the cut.
        assert (a[:3] > 0).all() and not a[3:].any()


def test_a_norm_above_one_does_not_make_gradients_explode() -> None:
    """γ‖W‖₂ > 1 is necessary for that, not sufficient."""
    net = rnn(np.array([[0.0, 3.0], [0.1, 0.0]]))
    _, _, tape = net.record(np.zeros((40, 1)))
    b = flow.bounds(tape)
    assert b.uniform[-1] > 1e15 and b.measured[-1] < 1e-9


def test_far_terms_vanish_and_the_gradient_does_not() -> None:
    net = rnn(0.5 * np.eye(3))
    h0, steps = np.full((1, 3), 0.5), 40
    y, _, tape = net.record(np.zeros((steps, 1)), h0)
    dy = np.ones_like(y)
    found = flow.gradient_by_lag(tape, dy)
    assert found.norms[-1, 0] < 1e-11 * found.norms[0, 0]
    assert np.linalg.norm(tape.backward(dy).parameters["weight_hh_l0"]) > 0.5 * found.by_lag[0]


# Lyapunov exponents -------------------------------------------------------------------------------


def test_exponents_at_rest_are_the_logarithms_of_the_eigenvalues(module: Any) -> None:
    w = 0.9 * normal(5, 5, seed=4) / math.sqrt(5)
    exponents = module.lyapunov_exponents(rnn(w), np.zeros((4000, 1)), discard=2000)
    expected = np.sort(np.log(np.abs(np.linalg.eigvals(w))))[::-1]
    # A complex pair turns for ever: what is left of its turns over 2000 steps.
    assert np.abs(exponents - expected).max() < 2e-3
    real = np.diag([0.9, -0.5, 0.2]) + np.triu(normal(3, 3), 1)
    found = module.lyapunov_exponents(rnn(real), np.zeros((400, 1)), discard=200)
    assert np.abs(found - np.log([0.9, 0.5, 0.2])).max() < EXACT


def test_exponents_of_a_linear_map(module: Any) -> None:
    """relu is linear where everything is positive."""
    w = np.array([[0.5, 0.2], [0.1, 0.6]])
    net = rnn(w, "relu", bias=1.0)
    y, _ = net(np.zeros((300, 1)))
    assert (y > 0).all()
    found = module.lyapunov_exponents(net, np.zeros((300, 1)), discard=200)
    assert np.abs(found - np.log(np.sort(np.linalg.eigvals(w))[::-1])).max() < EXACT
    assert found.sum() == pytest.approx(math.log(np.linalg.det(w)), rel=EXACT)


def test_exponents_of_an_orthogonal_matrix_are_zero(module: Any) -> None:
    w, _ = np.linalg.qr(normal(6, 6))
    found, running = module.lyapunov_exponents(rnn(w), np.zeros((50, 1)), history=True)
    assert np.abs(found).max() < EXACT and np.abs(running).max() < EXACT
    assert running.shape == (50, 6)
    assert flow.classify(rnn(w)).kind == "stable"


@each_variant
def test_exponents_add_up_to_the_growth_of_volume(variant: Variant, module: Any) -> None:
    """Σ λ_i = mean log |det J_t|, and the largest few are the first of all."""
    p, tape = recorded(variant, steps=12)
    all_of_them, running = module.lyapunov_exponents(p.net, p.x, state=p.state, history=True)
    determinants = np.abs(np.linalg.det(module.step_jacobians(tape)))
    if (determinants > 0).all():
        with np.errstate(divide="ignore"):
            expected = np.log(determinants).mean(axis=0)
        assert error(all_of_them.sum(axis=-1), expected) < 1e-9
    else:
        assert variant.arguments.get("nonlinearity") == "relu" and (all_of_them == -np.inf).any()
    assert running.shape == (12, *all_of_them.shape) and np.array_equal(running[-1], all_of_them)
    assert (np.diff(np.nan_to_num(all_of_them, neginf=-1e9), axis=-1) <= 0).all()
    assert module.lyapunov_exponents(p.net, p.x, 2, state=p.state, discard=3).shape == (3, 2)


# One word -----------------------------------------------------------------------------------------


def test_words_for_matrices() -> None:
    kinds = {
        "vanishing": [GOLDEN, 0.999 * np.eye(3), np.array([[0.9, 1e6], [0.0, 0.9]])],
        "stable": [np.eye(3), np.linalg.qr(normal(4, 4))[0], np.array([[1.0, 9.0], [0.0, 0.5]])],
        "exploding": [1.001 * np.eye(2), np.array([[1.0, 1.0], [0.0, 1.0]]), np.diag([2.0, 0.1])],
    }
    for kind, matrices in kinds.items():
        for w in matrices:
            found = flow.classify(w)
            assert found.kind == kind, w
            assert str(found).startswith(f"{kind}: spectral radius")
    zero = flow.classify(np.zeros((2, 2)))
    assert zero.kind == "vanishing" and zero.exponent == -np.inf and str(zero)


def test_words_for_networks() -> None:
    w = normal(60, 60) / math.sqrt(60)
    state = normal(1, 60, seed=1)
    found = {gain: flow.classify(rnn(gain * w), state=state, steps=600) for gain in (0.4, 3.0)}
    assert found[0.4].kind == "vanishing" and found[0.4].bound < 1
    assert found[3.0].kind == "exploding" and found[3.0].bound > 1
    assert found[3.0].exponent > found[3.0].tolerance >= 2 * found[3.0].spread > 0
    assert "largest Lyapunov exponent +" in str(found[3.0])
    lstm = ur.LSTM(2, 4, seed=0)
    word = flow.classify(lstm, np.ones((50, 3, 2), dtype=np.float32))
    assert word.kind == "vanishing" and word.spectral_radius is None and word.steps == 38


# The LSTM's cell ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ragged", [False, True])
def test_without_forget_gate_the_direct_path_is_the_identity(ragged: bool) -> None:
    _, tape = recorded(Variant("LSTM", {"forget_gate": False}))
    path = flow.cell_path(tape)
    assert np.array_equal(path.direct, np.ones((6, 3, 6)))
    assert np.isinf(path.memory).all()
    if ragged:
        p, tape = recorded(Variant("LSTM", {"forget_gate": False}), ragged=True)
        assert set(np.unique(flow.cell_path(tape).direct)) <= {0.0, 1.0}


@pytest.mark.parametrize("more", [{}, {"proj_size": 4}], ids=str)
def test_direct_path_is_the_product_of_the_forget_gates(more: Any) -> None:
    _, tape = recorded(Variant("LSTM", more))
    path = flow.cell_path(tape, 4)
    f = tape.gates[:, :, 1]
    for lag in range(5):
        assert error(path.direct[lag], np.prod(f[5 - lag : 5], axis=0)) < EXACT
        full = flow.transition(tape, 4, 4 - lag)[:, -6:, -6:]
        assert error(path.full[lag], full) < EXACT
        assert error(path.ratio[lag] * path.direct[lag], np.diagonal(full, 0, 1, 2)) < EXACT
    for b in range(3):
        for unit in range(6):
            below = np.flatnonzero(path.direct[:, b, unit] < 1 / math.e)
            assert path.memory[b, unit] == (below[0] if below.size else np.inf)


def test_with_no_path_through_h_the_full_derivative_is_the_direct_one() -> None:
    net = ur.LSTM(3, 5, dtype="float64", seed=0)
    net.load_state_dict(net.state_dict() | {"weight_hh_l0": np.zeros((20, 5))})
    _, _, tape = net.record(normal(8, 2, 3))
    path = flow.cell_path(tape)
    assert error(path.ratio, np.ones_like(path.ratio)) < EXACT
    assert error(path.full, path.direct[..., None] * np.eye(5)) < EXACT


def test_a_forget_gate_near_one_remembers_and_one_near_zero_cuts() -> None:
    memory = []
    for bias in (-6.0, 0.0, 6.0):
        net = ur.LSTM(3, 5, forget_bias=bias, dtype="float64", seed=0)
        _, _, tape = net.record(normal(60, 3))
        memory.append(flow.cell_path(tape).memory)
    # Where a row begins there is nothing further back: short rows have not forgotten.
    _, _, tape = net.record(normal(60, 2, 3), lengths=[60, 4])
    assert np.isinf(flow.cell_path(tape).memory).all()
    assert (memory[0] == 1).all() and (memory[1] < 10).all() and np.isinf(memory[2]).all()


@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 20))
@settings(max_examples=30, deadline=None)
def test_what_holds_of_every_lstm(seed: int, scale: float) -> None:
    """Gates in [0, 1] and g in [-1, 1], open but for rounding; |h| < 1; sign(h) = sign(c)."""
    net = ur.LSTM(2, 4, dtype="float64", seed=seed)
    net.load_state_dict({name: scale * a for name, a in net.state_dict().items()})
    _, _, tape = net.record(normal(10, 2, 2, seed=seed))
    i, f, g, o = np.moveaxis(tape.gates, 2, 0)
    for gate in (i, f, o):
        assert ((gate > 0) & (gate <= 1)).all()
        if scale < 4:
            assert (gate < 1).all()
    assert (np.abs(g) <= 1).all() and (np.abs(tape.hidden) <= 1).all()
    if scale < 4:
        assert (np.abs(g) < 1).all() and (np.abs(tape.hidden) < 1).all()
    assert np.array_equal(np.sign(tape.hidden), np.sign(tape.cell))
    assert error(tape.cell[1:], f[1:] * tape.cell[:-1] + i[1:] * g[1:]) < EXACT
    direct = flow.cell_path(tape).direct
    assert ((direct >= 0) & (direct <= 1)).all() and (np.diff(direct, axis=0) <= 0).all()


# What does not fit --------------------------------------------------------------------------------

NET = ur.RNN(2, 3, dtype="float64", seed=0)
X = normal(5, 2, 2)
Y, _, TAPE = NET.record(X)
PAIR = ur.RNN(2, 3, bidirectional=True, dtype="float64", seed=0).record(X)[2]
W = np.eye(3)

REFUSED = [
    (lambda f: f.step_jacobians(None), TypeError, r"tape: expected a Tape .*got None"),
    (lambda f: f.step_jacobians(TAPE, 1), ValueError, r"layer: .*num_layers = 1, got 1"),
    (lambda f: f.step_jacobians(TAPE, -1), ValueError, r"layer: .*>= 0, got -1"),
    (lambda f: f.step_jacobians(TAPE, 0, True), ValueError, r"reverse: expected False"),
    (lambda f: f.step_jacobians(TAPE, 0, 1), TypeError, r"reverse: expected True or False"),
    (lambda f: f.transition(TAPE, 5, 0), ValueError, r"t: .*T = 5, got 5"),
    (lambda f: f.transition(TAPE, 2, 3), ValueError, r"k: .*t = 2, got 3"),
    (lambda f: f.transition(TAPE, 2, -1), ValueError, r"k: .*>= 0, got -1"),
    (lambda f: f.transition(PAIR, 2, 1, reverse=True), ValueError, r"k: .*got 1"),
    (lambda f: f.transition(TAPE, 1.0, 0), TypeError, r"t: expected an integer, got float"),
    (lambda f: f.vjp(TAPE, 2, 1, np.ones((2, 4))), ValueError, r"v: .*\(2, 3\), got \(2, 4\)"),
    (lambda f: f.jvp(TAPE, 2, 1, np.ones(3)), ValueError, r"u: .*got \(3,\)"),
    (lambda f: f.jvp(TAPE, 2, 1, np.ones((2, 3), "f4")), TypeError, r"u: .*float64.*float32"),
    (lambda f: f.gradient_by_lag(TAPE, Y[1:]), ValueError, r"dy: .*\(5, 2, 3\), got \(4, 2, 3\)"),
    (lambda f: f.gradient_by_lag(TAPE, Y, "w"), ValueError, r"parameter: .*'w'"),
    (lambda f: f.gradient_by_lag(TAPE, Y, terms="some"), ValueError, r"terms: .*'some'"),
    (lambda f: f.gradient_by_lag(TAPE, Y, terms=3), TypeError, r"terms: .*got int"),
    (lambda f: f.gradient_by_lag(TAPE, Y, terms=[(5, 0)]), ValueError, r"terms: .*\(5, 0\)"),
    (lambda f: f.lyapunov_exponents(NET, X, 4), ValueError, r"n: .*S = 3, got 4"),
    (lambda f: f.lyapunov_exponents(NET, X, discard=5), ValueError, r"discard: .*T = 5, got 5"),
    (lambda f: f.lyapunov_exponents(NET, X[..., :1]), ValueError, r"x: expected shape"),
    (lambda f: f.layer_jacobian(W, np.ones(2)), ValueError, r"x: .*\(3,\), got \(2,\)"),
    (lambda f: f.layer_jacobian(W[0], np.ones(3)), ValueError, r"W: .*\(n, d\), got \(3,\)"),
    (lambda f: f.layer_jacobian(W.astype(int), np.ones(3)), TypeError, r"W: .*int64"),
    (lambda f: f.layer_jacobian(W, np.ones(3), "elu"), ValueError, r"activation: .*'elu'"),
    (lambda f: f.layer_jacobian(W, np.ones(3), "tanh", np.ones(2)), ValueError, r"bias: .*\(2,\)"),
]
REFUSED_BEYOND = [
    (lambda: flow.singular_values_by_lag(TAPE, 5), ValueError, r"t: .*T = 5, got 5"),
    (lambda: flow.singular_values_by_lag(TAPE, 2, 5), ValueError, r"max_lag: .*T = 5, got 5"),
    (lambda: flow.bounds(TAPE, max_lag=-1), ValueError, r"max_lag: .*>= 0, got -1"),
    (lambda: flow.bounds(3), TypeError, r"tape: expected a Tape"),
    (lambda: flow.cell_path(TAPE), ValueError, r"tape: expected the tape of an LSTM.* RNN"),
    (lambda: flow.cell_path(None), TypeError, r"tape: expected a Tape"),
    (lambda: flow.matrix_power_curve(W[:2], 3), ValueError, r"W: .*\(H, H\).*\(2, 3\)"),
    (lambda: flow.matrix_power_curve(W * np.nan, 3), ValueError, r"W: .*finite"),
    (lambda: flow.matrix_power_curve([[1.0]], 3), TypeError, r"W: .*list"),
    (lambda: flow.matrix_power_curve(W, -1), ValueError, r"n: .*>= 0, got -1"),
    (lambda: flow.matrix_power_curve(W, 3).power(-1), ValueError, r"k: .*>= 0, got -1"),
    (lambda: flow.classify("net"), TypeError, r"net_or_W: .*got str"),
    (lambda: flow.classify(W, X), ValueError, r"x: expected None for a matrix"),
    (lambda: flow.classify(W[:2]), ValueError, r"net_or_W: .*\(2, 3\)"),
    (lambda: flow.classify(W, tolerance=-1.0), ValueError, r"tolerance: .*-1"),
    (lambda: flow.classify(NET, X[:0]), ValueError, r"x: .*\(0, 2, 2\)"),
]


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: Any, module: Any) -> None:
    call, kind, message = case
    with pytest.raises(kind, match=message):
        call(module)


@pytest.mark.parametrize("case", REFUSED_BEYOND)
def test_refused_beyond_the_kernels(case: Any) -> None:
    call, kind, message = case
    with pytest.raises(kind, match=message):
        call()


def test_tapes_that_do_not_serve(module: Any) -> None:
    net = ur.RNN(2, 3, dtype="float64", seed=0)
    _, _, tape = net.record(X, checkpoint=2)
    with pytest.raises(ValueError, match="checkpoint"):
        module.step_jacobians(tape)
    _, _, tape = net.record(X)
    net.load_state_dict(net.state_dict())
    with pytest.raises(ValueError, match="changed since"):
        module.step_jacobians(tape)


def test_the_plain_version_knows_when_x_was_written_to() -> None:
    x = X.copy()
    _, _, tape = NET.record(x)
    x += 1
    with pytest.raises(ValueError, match="tape: expected x, state.* as they were"):
        plain.step_jacobians(tape)
