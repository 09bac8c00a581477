"""Gradient flow by the kernels, against the plain NumPy version, JAX and PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import VARIANTS, Variant, make, normal
from tolerances import TOLERANCES, assert_close
from unrolled.flow import _kernels as fast
from unrolled.reference import _flow as plain

LENGTHS = [6, 3, 0, 5]


def recorded(net: Any, batch: int | None = 4, steps: int = 6, ragged: bool = True) -> tuple:
    """y and a tape; rows of several lengths and resets, unless without a batch."""
    shape = (steps, net.input_size) if batch is None else (steps, batch, net.input_size)
    x = normal(*shape, dtype=net.dtype, seed=1)
    given: dict[str, Any] = {}
    if ragged and batch is not None:
        given = {"lengths": LENGTHS, "resets": normal(steps, batch, seed=2) > 1.0}
    if net.batch_first and batch is not None:
        x = np.ascontiguousarray(x.swapaxes(0, 1))
        given = given and {**given, "resets": given["resets"].T.copy()}
    sizes = [
        (net._sizes.cells, n) if batch is None else (net._sizes.cells, batch, n)
        for n in net._sizes.states
    ]
    state = tuple(normal(*size, dtype=net.dtype, seed=3 + i) for i, size in enumerate(sizes))
    y, _, tape = net.record(x, state if len(state) > 1 else state[0], **given)
    return y, tape


def both(name: str, entry: str, *arguments: Any, **more: Any) -> Any:
    found, expected = (getattr(of, name)(*arguments, **more) for of in (fast, plain))
    assert found.dtype == expected.dtype
    assert_close(found, expected, entry, name)
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("variant", VARIANTS, ids=str)
class TestAgainstThePlainVersion:
    def test_jacobians(self, variant: Variant, dtype: str) -> None:
        net = make(variant, num_layers=2, bidirectional=True, dtype=dtype)
        _, tape = recorded(net)
        entry = f"reference.gradient.{dtype}"
        size = sum(net._sizes.states)
        for layer in (0, 1):
            for reverse in (False, True):
                of = {"layer": layer, "reverse": reverse}
                both("step_jacobians", entry, tape, **of)
                for times in ((4, 1), (2, 2), (5, 0)):
                    t, k = times[::-1] if reverse else times
                    both("transition", entry, tape, t, k, **of)
                    for shape in ((4, size), (3, 4, size), (0, 4, size)):
                        v = normal(*shape, dtype=dtype, seed=7)
                        both("vjp", entry, tape, t, k, v, **of)
                        both("jvp", entry, tape, t, k, v, **of)

    @pytest.mark.parametrize("bidirectional", [False, True])
    def test_gradient_by_lag(self, variant: Variant, dtype: str, bidirectional: bool) -> None:
        net = make(variant, num_layers=2, bidirectional=bidirectional, dtype=dtype)
        y, tape = recorded(net)
        dy = normal(*y.shape, dtype=dtype, seed=5)
        entry = f"reference.gradient.{dtype}"
        gradients = tape.backward(dy).parameters
        for name, gradient in gradients.items():
            f = fast.gradient_by_lag(tape, dy, name, "all")
            e = plain.gradient_by_lag(tape, dy, name, "all")
            assert f.parameter == name
            assert f.norms.dtype == f.by_lag.dtype == np.float64
            assert_close(f.norms, e.norms, entry, f"norms of {name}")
            assert_close(f.by_lag, e.by_lag, entry, f"by lag of {name}")
            assert_close(f.terms, e.terms, entry, f"terms of {name}")
            # A sum of 36 terms, each rounded.
            whole = f.terms.sum(axis=(0, 1), dtype=np.float64)
            assert_close(whole, gradient.astype(np.float64), entry, name)
            pairs = [(5, 1), (1, 1), (5, 1), (0, 3)]
            some = fast.gradient_by_lag(tape, dy, name, pairs).terms
            assert [a.tobytes() for a in some] == [f.terms[pair].tobytes() for pair in pairs]
            assert fast.gradient_by_lag(tape, dy, name, []).terms == []
            assert fast.gradient_by_lag(tape, dy, name).terms is None

    def test_lyapunov_exponents(self, variant: Variant, dtype: str) -> None:
        if variant.arguments.get("nonlinearity") == "relu":
            pytest.skip("relu units that are off lose directions, where only rounding is left")
        net = make(variant, num_layers=2, bidirectional=True, dtype=dtype)
        for batch in (None, 3):
            x = normal(*((30, 3) if batch is None else (30, batch, 3)), dtype=dtype)
            for of in ({"layer": 1}, {"reverse": True}):
                more = {"n": 3, "discard": 4, "history": True, **of}
                found = fast.lyapunov_exponents(net, x, **more)
                expected = plain.lyapunov_exponents(net, x, **more)
                for a, e in zip(found, expected, strict=True):
                    assert_close(a, e, f"reference.gradient.{dtype}", "exponents")


def test_layouts() -> None:
    for more in ({"batch_first": True}, {}):
        net = ur.LSTM(3, 4, 2, dtype="float64", seed=1, **more)
        for batch in (None, 4):
            y, tape = recorded(net, batch)
            entry = "reference.gradient.float64"
            both("step_jacobians", entry, tape, layer=1)
            both("transition", entry, tape, 4, 2)
            v = normal(*((8,) if batch is None else (4, 8)), dtype="float64")
            both("vjp", entry, tape, 4, 2, v)
            both("jvp", entry, tape, 4, 2, v[..., ::-1])
            dy = normal(*y.shape, dtype="float64")
            f, e = (of.gradient_by_lag(tape, dy, "bias_hh_l0") for of in (fast, plain))
            assert_close(f.norms, e.norms, entry, "norms")


def test_pieces_of_a_long_sequence_are_one(monkeypatch: pytest.MonkeyPatch) -> None:
    net = ur.GRU(3, 6, 2, dtype="float64", seed=1)
    x, state = normal(200, 2, 3, dtype="float64"), normal(2, 2, 6, dtype="float64")
    more = {"state": state, "layer": 1, "discard": 70, "history": True}
    whole = fast.lyapunov_exponents(net, x, **more)
    monkeypatch.setattr(fast, "WINDOW", 1)
    pieces = fast.lyapunov_exponents(net, x, **more)
    for a, e in zip(pieces, whole, strict=True):
        assert a.shape == e.shape
        # The sums of the logarithms run piece by piece.
        assert_close(a, e, "reference.gradient.float64", "exponents")


def test_through_dropout() -> None:
    net = ur.LSTM(3, 6, 3, dropout=0.4, dtype="float64", seed=1)
    y, tape = recorded(net)
    dy = normal(*y.shape, dtype="float64")
    for name, gradient in tape.backward(dy).parameters.items():
        terms = fast.gradient_by_lag(tape, dy, name, "all").terms
        assert_close(terms.sum(axis=(0, 1)), gradient, "reference.gradient.float64", name)


def test_what_vanishes_is_still_measured() -> None:
    net = ur.RNN(2, 8, seed=0)
    net.load_state_dict({name: 0.1 * a for name, a in net.state_dict().items()})
    wide = ur.RNN(2, 8, dtype="float64", seed=0)
    wide.load_state_dict({name: a.astype("float64") for name, a in net.state_dict().items()})
    x = normal(60, 2)
    norms = []
    for of in (net, wide):
        y, _, tape = of.record(x.astype(of.dtype))
        dy = np.ones_like(y)
        norms.append(fast.gradient_by_lag(tape, dy, "weight_ih_l0").norms[59])
    assert 0 < norms[1][0] < 1e-50
    np.testing.assert_allclose(*norms, rtol=TOLERANCES["long.float32"])


@pytest.fixture
def jax() -> Iterator[Any]:
    jax = pytest.importorskip("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield jax
    jax.config.update("jax_enable_x64", before)


def lstm(p: dict[str, Any], np: Any, sigmoid: Any) -> Callable[[Any, Any], Any]:
    """A step of an LSTM on s = (h, c), written out, in the arrays of `np`."""

    def step(s: Any, x: Any) -> Any:
        h, c = np.split(s, 2)
        gates = p["weight_ih_l0"] @ x + p["bias_ih_l0"] + p["weight_hh_l0"] @ h + p["bias_hh_l0"]
        i, f, g, o = np.split(gates, 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        return np.concatenate([sigmoid(o) * np.tanh(c), c])

    return step


def test_against_jax(jax: Any) -> None:
    net = ur.LSTM(3, 5, dtype="float64", seed=3)
    x, state = normal(9, 3, dtype="float64"), np.zeros(10)
    y, _, tape = net.record(x)
    dy = normal(*y.shape, dtype="float64")
    jnp = jax.numpy

    def outputs(p: Any, x: Any = x) -> list[Any]:
        """States when step k has parameters of its own, p[k]."""
        states, s = [], jnp.asarray(state)
        for k, x_k in enumerate(x):
            s = lstm({name: a[k] for name, a in p.items()}, jnp, jax.nn.sigmoid)(s, x_k)
            states.append(s)
        return states

    own = {name: jnp.stack([jnp.asarray(a)] * 9) for name, a in net.state_dict().items()}
    states = outputs(own)
    step = lstm(net.state_dict(), jnp, jax.nn.sigmoid)
    for t in range(1, 9):
        expected = np.asarray(jax.jacobian(step)(states[t - 1], x[t]))
        assert_close(fast.step_jacobians(tape)[t], expected, "reference.gradient.float64", "J")

    def far(s: Any) -> Any:
        for t in range(3, 9):
            s = step(s, x[t])
        return s

    expected = np.asarray(jax.jacobian(far)(states[2]))
    assert_close(fast.transition(tape, 8, 2), expected, "reference.gradient.float64", "transition")

    def losses(p: Any) -> Any:
        return jnp.stack([d @ s[:5] for d, s in zip(dy, outputs(p), strict=True)])

    every = jax.jacobian(losses)(own)
    for name in net.state_dict():
        f = fast.gradient_by_lag(tape, dy, name, "all")
        assert_close(f.terms, np.asarray(every[name]), "reference.gradient.float64", name)


@pytest.mark.parametrize(("cell", "more"), [("LSTM", {"proj_size": 3}), ("GRU", {}), ("RNN", {})])
def test_against_torch(cell: str, more: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    theirs = getattr(torch.nn, cell)(3, 5, **more).double()
    net = getattr(ur, cell)(3, 5, **more, dtype="float64")
    net.load_state_dict(theirs.state_dict())
    sizes = net._sizes.states
    x = normal(7, 3, dtype="float64")
    _, _, tape = net.record(x)

    def run(s: Any, window: slice) -> Any:
        parts = tuple(part[None] for part in torch.split(s, sizes))
        _, end = theirs(torch.from_numpy(x[window]), parts if len(parts) > 1 else parts[0])
        return torch.cat([part[0] for part in (end if len(parts) > 1 else (end,))])

    s = run(torch.zeros(sum(sizes), dtype=torch.double), slice(0, 3)).detach()
    expected = torch.autograd.functional.jacobian(lambda s: run(s, slice(3, 7)), s).numpy()
    assert_close(fast.transition(tape, 6, 2), expected, "reference.gradient.float64", "transition")


NET = ur.LSTM(3, 4, num_layers=2, seed=0)
X = normal(5, 2, 3)
DY = np.zeros((5, 2, 4), np.float32)


def tape() -> Any:
    return NET.record(X)[2]


def changed() -> Any:
    net = ur.GRU(3, 4, seed=0)
    tape = net.record(X)[2]
    net.initialise()
    return tape


MISTAKES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: fast.step_jacobians(X), TypeError, r"tape: expected a Tape .*, got ndarray"),
    (lambda: fast.step_jacobians(tape(), 2), ValueError, r"layer: .*num_layers = 2, got 2"),
    (lambda: fast.step_jacobians(tape(), 0.5), TypeError, r"layer: expected an integer, got float"),
    (lambda: fast.step_jacobians(tape(), 0, True), ValueError, r"reverse: .*one direction"),
    (lambda: fast.step_jacobians(tape(), 0, 1), TypeError, r"reverse: expected True or False"),
    (lambda: fast.step_jacobians(changed()), ValueError, r"tape: .*changed since"),
    (
        lambda: fast.step_jacobians(NET.record(X, checkpoint=2)[2]),
        ValueError,
        r"tape: expected recorded without checkpoints",
    ),
    (lambda: fast.transition(tape(), 5, 0), ValueError, r"t: expected less than T = 5, got 5"),
    (lambda: fast.transition(tape(), 1, 2), ValueError, r"k: expected 0 <= k <= t = 1, got 2"),
    (lambda: fast.transition(tape(), -1, 0), ValueError, r"t: expected an integer >= 0, got -1"),
    (lambda: fast.vjp(tape(), 2, 1, DY[:, :1]), ValueError, r"v: expected shape \(B, S\) or"),
    (lambda: fast.jvp(tape(), 2, 1, DY), ValueError, r"u: .*\(2, 8\), got \(5, 2, 4\)"),
    (lambda: fast.gradient_by_lag(tape(), DY[1:]), ValueError, r"dy: expected shape .*\(4, 2, 4\)"),
    (lambda: fast.gradient_by_lag(tape(), DY, "w"), ValueError, r"parameter: .*'weight_ih_l0'"),
    (lambda: fast.gradient_by_lag(tape(), DY, terms="x"), ValueError, r"terms: .*got 'x'"),
    (lambda: fast.gradient_by_lag(tape(), DY, terms=[(5, 0)]), ValueError, r"terms: .*T = 5"),
    (lambda: fast.gradient_by_lag(changed(), DY), ValueError, r"tape: .*changed since"),
    (lambda: fast.lyapunov_exponents(X, X), TypeError, r"net: .*got ndarray"),
    (lambda: fast.lyapunov_exponents(NET, X, 9), ValueError, r"n: expected at most S = 8, got 9"),
    (lambda: fast.lyapunov_exponents(NET, X, discard=5), ValueError, r"discard: .*T = 5, got 5"),
    (lambda: fast.lyapunov_exponents(NET, X[..., :2]), ValueError, r"x: expected shape"),
    (lambda: fast.lyapunov_exponents(NET, X, history=1), TypeError, r"history: .*got int"),
]


@pytest.mark.parametrize(("call", "error", "message"), MISTAKES)
def test_mistakes_are_told(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^{message}"):
        call()


def test_too_large_is_an_error() -> None:
    net = ur.RNN(1, 1000, seed=0)
    y, _, tape = net.record(np.zeros((2000, 1), np.float32))
    with pytest.raises(MemoryError, match=r"^terms: too large"):
        fast.gradient_by_lag(tape, y, terms="all")
