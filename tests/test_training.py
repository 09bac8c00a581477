"""Losses, optimisers and clipping against plain formulae; small networks that must learn."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import VARIANTS, Variant, arrays, make, normal, same
from tolerances import TOLERANCES, assert_close

each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
DIFFERENCE = TOLERANCES["difference.step"]


def keep(mask: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    if mask is None:
        return np.ones(shape, bool)
    return np.broadcast_to(mask.reshape(mask.shape + (1,) * (len(shape) - mask.ndim)), shape)


def plain_mse(p: Any, t: Any, kept: Any) -> float:
    return float(((p - t) ** 2)[kept].mean()) if kept.any() else 0.0


def plain_bce(z: Any, y: Any, kept: Any) -> float:
    loss = y * np.logaddexp(0, -z) + (1 - y) * np.logaddexp(0, z)
    return float(loss[kept].mean()) if kept.any() else 0.0


def plain_ce(z: Any, t: Any, kept: Any) -> float:
    log_sum = np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1)) + z.max(-1)
    loss = log_sum - np.take_along_axis(z, np.where(kept, t, 0)[..., None], -1)[..., 0]
    return float(loss[kept].mean()) if kept.any() else 0.0


LOSSES: dict[str, tuple[Callable[..., Any], Callable[..., float]]] = {
    "mse": (ur.losses.mse, plain_mse),
    "binary": (ur.losses.binary_cross_entropy_with_logits, plain_bce),
    "cross entropy": (ur.losses.cross_entropy, plain_ce),
}


def loss_problem(name: str, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    p = (3 * rng.normal(size=(4, 3, 5))).astype(dtype)
    if name == "cross entropy":
        return p, rng.integers(0, 5, size=(4, 3))
    return p, rng.random(size=p.shape).astype(dtype)


@pytest.mark.parametrize("name", LOSSES)
@each_dtype
@pytest.mark.parametrize("mask_axes", [None, 1, 2, 3])
def test_losses(name: str, dtype: str, mask_axes: int | None) -> None:
    loss, plain = LOSSES[name]
    p, t = loss_problem(name, dtype)
    if mask_axes is not None and mask_axes > t.ndim:
        return
    mask = None
    if mask_axes is not None:
        mask = np.random.default_rng(1).random(t.shape[:mask_axes]) < 0.6
    kept = keep(mask, t.shape)
    value, gradient = loss(p, t, mask=mask)
    assert isinstance(value, float)
    assert gradient.dtype == dtype
    exact = p.astype(np.float64)
    expected = plain(exact, t.astype(np.float64) if t.dtype == dtype else t, kept)
    assert value == pytest.approx(expected, rel=TOLERANCES[f"formula.{dtype}"])
    if dtype == "float64":
        slope = np.zeros_like(exact)
        for index in np.ndindex(exact.shape):
            moved = exact.copy()
            moved[index] += DIFFERENCE
            up = plain(moved, t, kept)
            moved[index] -= 2 * DIFFERENCE
            slope[index] = (up - plain(moved, t, kept)) / (2 * DIFFERENCE)
        assert_close(gradient, slope, "difference", "gradient")
    else:
        assert_close(
            gradient,
            loss(exact, t.astype(t.dtype if name == "cross entropy" else float), mask=mask)[1],
            "formula.float32",
            "gradient",
        )


@pytest.mark.parametrize("name", LOSSES)
def test_what_a_mask_drops_does_not_matter(name: str) -> None:
    loss, _ = LOSSES[name]
    p, t = loss_problem(name, "float32")
    mask = np.ones(t.shape[:2], bool)
    mask[1, 2] = mask[3] = False
    expected = loss(p, t, mask=mask)
    p[~mask] = np.nan
    t[~mask] = -1 if name == "cross entropy" else np.nan
    value, gradient = loss(p, t, mask=mask)
    assert value == expected[0]
    assert same(gradient, expected[1])
    assert (gradient[~mask] == 0).all()
    value, gradient = loss(p, t, mask=np.zeros(4, bool))
    assert value == 0
    assert (gradient == 0).all()


def test_losses_do_not_overflow() -> None:
    big = np.array([[1e4, -1e4, 0.0]])
    value, gradient = ur.losses.cross_entropy(big, np.array([1]))
    assert value == 2e4
    np.testing.assert_array_equal(gradient, [[1, -1, 0]])
    value, gradient = ur.losses.binary_cross_entropy_with_logits(big, np.array([[0.0, 1.0, 0.5]]))
    assert value == pytest.approx((2e4 + np.log(2)) / 3)
    assert np.isfinite(gradient).all()


# Optimisers


def plain_sgd(p: Any, g: Any, s: dict[str, Any], t: int, **o: Any) -> Any:
    g = g + o["weight_decay"] * p
    if o["momentum"]:
        s["b"] = g if t == 1 else o["momentum"] * s["b"] + (1 - o["dampening"]) * g
        g = g + o["momentum"] * s["b"] if o["nesterov"] else s["b"]
    return p - o["lr"] * g


def plain_adam(p: Any, g: Any, s: dict[str, Any], t: int, *, decoupled: bool, **o: Any) -> Any:
    b1, b2 = o["betas"]
    if decoupled:
        p = p * (1 - o["lr"] * o["weight_decay"])
    else:
        g = g + o["weight_decay"] * p
    s["m"] = b1 * s.get("m", 0) + (1 - b1) * g
    s["v"] = b2 * s.get("v", 0) + (1 - b2) * g * g
    m, v = s["m"] / (1 - b1**t), s["v"] / (1 - b2**t)
    return p - o["lr"] * m / (np.sqrt(v) + o["eps"])


SGD = {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0, "dampening": 0.0, "nesterov": False}
ADAM = {"lr": 0.01, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0}
OPTIMISERS = [
    ("SGD", SGD),
    ("SGD", SGD | {"weight_decay": 0.1}),
    ("SGD", SGD | {"momentum": 0.9, "dampening": 0.2}),
    ("SGD", SGD | {"momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    ("Adam", ADAM),
    ("Adam", ADAM | {"weight_decay": 0.1, "betas": (0.5, 0.9)}),
    ("AdamW", ADAM | {"weight_decay": 0.1}),
]


@pytest.mark.parametrize(("name", "options"), OPTIMISERS)
@each_dtype
def test_optimisers(name: str, options: dict[str, Any], dtype: str) -> None:
    modules = [ur.GRU(2, 3, seed=0, dtype=dtype), ur.Dense(3, 2, seed=1, dtype=dtype)]
    opt = getattr(ur.optim, name)(modules, **options)
    options = dict(options)
    expected = [{k: a.astype(float) for k, a in m.state_dict().items()} for m in modules]
    states: list[dict[str, Any]] = [{k: {} for k in e} for e in expected]
    rng = np.random.default_rng(0)

    def plain(p: Any, g: Any, s: dict[str, Any], t: int) -> Any:
        if name == "SGD":
            return plain_sgd(p, g, s, t, **options)
        return plain_adam(p, g, s, t, decoupled=name == "AdamW", **options)

    for t in range(1, 11):
        if t == 6:
            opt.lr = options["lr"] = opt.lr / 2
        grads = [
            {k: rng.normal(size=a.shape).astype(dtype) for k, a in e.items()} for e in expected
        ]
        before = copy.deepcopy(grads)
        opt.step(grads)
        assert all(same(g[k], b[k]) for g, b in zip(grads, before, strict=True) for k in g)
        for e, g, s in zip(expected, grads, states, strict=True):
            for k in e:
                e[k] = plain(e[k], g[k].astype(float), s[k], t)
    for module, e in zip(modules, expected, strict=True):
        for k, a in module.state_dict().items():
            assert_close(a, e[k], f"formula.{dtype}", k)


def test_defaults_are_pytorchs() -> None:
    net = ur.RNN(1, 1)
    assert repr(ur.optim.SGD(net)) == (
        "SGD(lr=0.001, momentum=0.0, weight_decay=0.0, dampening=0.0, nesterov=False)"
    )
    adam = "(lr=0.001, betas=(0.9, 0.999), eps=1e-08, weight_decay="
    assert repr(ur.optim.Adam(net)) == f"Adam{adam}0.0)"
    assert repr(ur.optim.AdamW(net)) == f"AdamW{adam}0.01)"


@pytest.mark.parametrize(("name", "options"), OPTIMISERS)
def test_going_on_from_a_checkpoint(name: str, options: dict[str, Any]) -> None:
    def start() -> tuple[Any, Any]:
        net = ur.LSTM(2, 3, seed=0)
        return net, getattr(ur.optim, name)(net, **options)

    grads = [
        {k: normal(*a.shape, seed=n) for k, a in start()[0].state_dict().items()} for n in range(6)
    ]
    net, opt = start()
    for g in grads[:3]:
        opt.step(g)
    saved = (net.state_dict(), opt.state_dict())
    for g in grads[3:]:
        opt.step(g)
    other, resumed = start()
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    # What was given out and taken in is copied.
    for state in saved[1]["state"]:
        for arrays_ in state.values():
            for a in arrays_.values():
                a[...] = np.nan
    for g in grads[3:]:
        resumed.step([g])
    assert all(same(other.state_dict()[k], a) for k, a in net.state_dict().items())


def test_clipping() -> None:
    net, dense = ur.GRU(2, 3, seed=0), ur.Dense(3, 1, dtype="float64", seed=1)
    y, _, tape = net.record(normal(4, 2, 2))
    g = tape.backward(np.ones_like(y))
    gd = dense.backward(y.astype(float), np.ones((4, 2, 1)))
    both = [*g.parameters.values(), *gd.parameters.values()]
    before = [a.copy() for a in both]
    expected = np.sqrt(sum((a.astype(float) ** 2).sum() for a in before))
    assert ur.clip_grad_norm([g, gd], np.inf) == pytest.approx(
        expected, rel=TOLERANCES["formula.float64"]
    )
    assert ur.clip_grad_norm([g, gd], 2 * expected) == pytest.approx(
        expected, rel=TOLERANCES["formula.float64"]
    )
    assert all(same(a, b) for a, b in zip(both, before, strict=True))
    assert ur.clip_grad_norm([g.parameters, gd], 0.5) == pytest.approx(
        expected, rel=TOLERANCES["formula.float64"]
    )
    for a, b in zip(both, before, strict=True):
        np.testing.assert_allclose(a, b * 0.5 / expected, rtol=TOLERANCES["formula.float32"])
    assert ur.clip_grad_norm({}, 1.0) == 0
    assert np.isnan(ur.clip_grad_norm({"w": np.array([np.nan, 1.0])}, 1.0))
    strided = np.ones((4, 6))[::2, ::3]
    assert ur.clip_grad_norm({"w": strided}, 1.0) == 2
    np.testing.assert_allclose(strided, 0.5, rtol=TOLERANCES["formula.float32"])


# Whole networks


def loss_of(net: Any, x: Any, state: Any, weights: Any, **given: Any) -> float:
    y, final = net(x, state, **given)
    return sum(float((w * a).sum()) for w, a in zip(weights, (y, *arrays(final)), strict=True))


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_gradients_are_slopes(variant: Variant) -> None:
    """Every parameter, input and initial state, against central differences."""
    net = make(variant, 2, 6, num_layers=2, bidirectional=True, dtype="float64")
    sizes = net._sizes
    x = normal(4, 3, 2, dtype=float)
    state = tuple(normal(sizes.cells, 3, n, dtype=float, seed=n) for n in sizes.states)
    given: dict[str, Any] = {"lengths": [4, 2, 3], "resets": np.eye(4, 3, -2, dtype=bool)}
    weights = [
        normal(4, 3, 2 * sizes.states[0], dtype=float, seed=5),
        *(normal(*a.shape, dtype=float, seed=6) for a in state),
    ]
    public = state if len(state) > 1 else state[0]
    dstate = tuple(weights[1:]) if len(state) > 1 else weights[1]
    _, _, tape = net.record(x, public, **given)
    g = tape.backward(weights[0], dstate)

    def slopes(a: np.ndarray, changed: Callable[[], None]) -> np.ndarray:
        out = np.zeros_like(a)
        for index in np.ndindex(a.shape):
            kept, values = a[index], []
            for sign in (1, -1):
                a[index] = kept + sign * DIFFERENCE
                changed()
                values.append(loss_of(net, x, public, weights, **given))
            a[index] = kept
            out[index] = (values[0] - values[1]) / (2 * DIFFERENCE)
        changed()
        return out

    assert_close(g.input, slopes(x, lambda: None), "difference", "input")
    for a, d in zip(state, arrays(g.state), strict=True):
        assert_close(d, slopes(a, lambda: None), "difference", "initial state")
    parameters = net.state_dict()
    for name in ("weight_ih_l0", "weight_hh_l1_reverse", "bias_ih_l1", "bias_hh_l0_reverse"):
        expected = slopes(parameters[name], lambda: net.load_state_dict(parameters))
        assert_close(g.parameters[name], expected, "difference", name)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_learns_to_remember(cell: str) -> None:
    """The first of twelve symbols is asked for at the end."""
    net = getattr(ur, cell)(4, 24, seed=0, **({"forget_bias": 1.0} if cell == "LSTM" else {}))
    dense = ur.Dense(24, 4, seed=1)
    opt = ur.optim.Adam([net, dense], lr=0.01)
    rng = np.random.default_rng(0)

    def batch() -> tuple[np.ndarray, np.ndarray]:
        symbols = rng.integers(0, 4, size=(12, 64))
        return np.eye(4, dtype=np.float32)[symbols], symbols[0]

    for _ in range(250):
        x, first = batch()
        y, _, tape = net.record(x)
        loss, d_logits = ur.losses.cross_entropy(dense(y[-1]), first)
        d_dense = dense.backward(y[-1], d_logits)
        dy = np.zeros_like(y)
        dy[-1] = d_dense.input
        grads = [tape.backward(dy), d_dense]
        ur.clip_grad_norm(grads, 1.0)
        opt.step(grads)
    x, first = batch()
    assert (dense(net(x)[0][-1]).argmax(-1) == first).mean() > 0.98
    assert loss < 0.1


def test_learns_to_add_up() -> None:
    net, dense = ur.RNN(1, 16, nonlinearity="tanh", seed=0), ur.Dense(16, 1, seed=1)
    opt = ur.optim.SGD([net, dense], lr=0.05, momentum=0.9)
    x = normal(10, 32, 1)
    target = np.cumsum(x, axis=0) * np.float32(0.2)
    losses = []
    for _ in range(150):
        y, _, tape = net.record(x, checkpoint="auto")
        loss, d = ur.losses.mse(dense(y), target)
        d_dense = dense.backward(y, d)
        opt.step([tape.backward(d_dense.input), d_dense])
        losses.append(loss)
    assert losses[-1] < 0.05 * losses[0]


# What is made when asked for


def test_gradients_by_name_outlive_what_made_them() -> None:
    net = ur.LSTM(2, 3, seed=0)
    y, _, tape = net.record(normal(4, 2, 2))
    expected = tape.backward(y).parameters
    g = tape.backward(y)
    net.load_state_dict({name: np.zeros_like(a) for name, a in net.state_dict().items()})
    del net, tape
    assert g.parameters is g.parameters
    assert list(g.parameters) == list(expected)
    assert same(tuple(g.parameters.values()), tuple(expected.values()))
    for name in ("parameters", "input", "state"):
        with pytest.raises(AttributeError):
            setattr(g, name, None)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda g: pickle.loads(pickle.dumps(g))])
def test_gradients_are_copied_as_they_are(copied: Callable[[Any], Any]) -> None:
    net, dense = ur.LSTM(2, 3, seed=0), ur.Dense(3, 1, seed=0)
    x = normal(4, 2, 2)
    y, _, tape = net.record(x)
    given = [tape.backward(y), dense.backward(y, normal(4, 2, 1))]
    given[0].parameters["bias_ih_l0"] = np.ones(12, np.float32)
    for g, twin in zip(given, map(copied, given), strict=True):
        assert same(tuple(twin.parameters.values()), tuple(g.parameters.values()))
        assert same(twin.input, g.input)
        assert not np.shares_memory(twin.input, g.input)
    assert same(copied(given[0]).state, given[0].state)


def test_looking_at_gradients_changes_nothing() -> None:
    """Clipped and used whole, or after a look at them by name: the same bits."""

    def train(look: bool) -> tuple[float, dict[str, np.ndarray]]:
        net = ur.GRU(3, 17, seed=0)
        opt = ur.optim.Adam(net)
        y, _, tape = net.record(normal(9, 2, 3))
        g = tape.backward(y)
        if look:
            _ = g.parameters
        norm = ur.clip_grad_norm(g, 0.1)
        opt.step(g)
        return norm, net.state_dict()

    (norm, seen), (other_norm, unseen) = train(True), train(False)
    assert norm == other_norm
    assert same(tuple(seen.values()), tuple(unseen.values()))


def test_arrays_put_into_gradients_count() -> None:
    net = ur.GRU(2, 3, seed=0)
    before = net.state_dict()
    y, _, tape = net.record(normal(4, 2, 2))
    g = tape.backward(y)
    for name, a in g.parameters.items():
        g.parameters[name] = np.zeros_like(a)
    g.parameters["bias_hh_l0"] = np.ones(9, np.float32)
    assert ur.clip_grad_norm(g, np.inf) == 3.0
    ur.optim.SGD(net, lr=1.0).step(g)
    after = net.state_dict()
    assert same(after["weight_ih_l0"], before["weight_ih_l0"])
    np.testing.assert_allclose(after["bias_hh_l0"], before["bias_hh_l0"] - 1)
    del g.parameters["bias_hh_l0"]
    with pytest.raises(ValueError, match=r"grads: .*missing keys \['bias_hh_l0'\]"):
        ur.optim.SGD(net, lr=1.0).step(g)


@pytest.mark.parametrize(
    ("loss", "shape", "target"),
    [
        (ur.losses.mse, (3, 2), np.ones((3, 2))),
        (ur.losses.binary_cross_entropy_with_logits, (3, 2), np.ones((3, 2))),
        (ur.losses.cross_entropy, (3, 2), np.zeros(3, np.int64)),
    ],
)
def test_a_loss_that_is_nan_says_from_where(loss: Any, shape: Any, target: Any) -> None:
    prediction = np.ones(shape)
    prediction[2] = np.nan
    name = "prediction" if loss is ur.losses.mse else "logits"
    message = rf"the loss is NaN, from {name}; .* lengths= and the loss mask="
    with pytest.warns(UserWarning, match=message) as caught:
        loss(prediction, target)
    assert caught[0].filename == __file__
    value, _ = loss(prediction, target, mask=np.array([True, True, False]))
    assert np.isfinite(value)


def test_a_loss_of_a_target_that_is_nan() -> None:
    with pytest.warns(UserWarning, match="from target; "):
        ur.losses.mse(np.ones(2), np.array([1, np.nan]))
