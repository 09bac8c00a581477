"""The double sum, its terms, and truncation at K lags."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference_support import (
    TOLERANCES,
    VARIANTS,
    Problem,
    Variant,
    arrays,
    close,
    close_gradients,
    problem,
    public,
    reference,
)

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)
# An activation and its derivative at the pre-activation.
SLOPES: dict[str, tuple[Any, Any]] = {
    "tanh": (np.tanh, lambda s: 1 - np.tanh(s) ** 2),
    "relu": (lambda s: np.maximum(s, 0), lambda s: (s > 0).astype(float)),
    "sigmoid": (lambda s: 1 / (1 + np.exp(-s)), lambda s: np.exp(-s) / (1 + np.exp(-s)) ** 2),
}


def terms(p: Problem) -> dict[tuple[int, int], dict[str, np.ndarray]]:
    """Every term (t, k) of the double sum for an RNN and one row, by explicit Jacobians.

    Loss at t, use at k: ``(dL_t/dh_t) (dh_t/dh_k) (d+h_k/dW)`` with
    ``dh_t/dh_k = J_t J_{t-1} ... J_{k+1}``, ``J_t = diag(s'(s_t)) W``; d+ holds h_{k-1} fixed.
    Nothing here is shared with the code under test but the parameters.
    """
    w = p.net.state_dict()
    activation, derivative = SLOPES[p.net.nonlinearity]
    steps = len(p.x)
    x, h = p.x[:, 0], [p.state[0][0, 0]]
    slope, jacobian = [], []
    for t in range(steps):
        s = w["weight_ih_l0"] @ x[t] + w["bias_ih_l0"] + w["weight_hh_l0"] @ h[t] + w["bias_hh_l0"]
        h.append(activation(s))
        slope.append(derivative(s))
        jacobian.append(np.diag(slope[t]) @ w["weight_hh_l0"])
    out = {}
    for t in range(steps):
        loss = p.dy[t, 0] + (p.dstate[0][0, 0] if t == steps - 1 else 0)
        for k in range(t + 1):
            product = np.eye(len(loss))
            for between in range(t, k, -1):
                product = product @ jacobian[between]
            reach = (loss @ product) * slope[k]
            out[t, k] = {
                "weight_ih_l0": np.outer(reach, x[k]),
                "weight_hh_l0": np.outer(reach, h[k]),
                "bias_ih_l0": reach,
                "bias_hh_l0": reach,
                "input": reach @ w["weight_ih_l0"],
                "state": reach @ w["weight_hh_l0"] if k == 0 else 0 * loss,
            }
    return out


def double_sum(p: Problem, lags: int) -> dict[str, np.ndarray]:
    """The terms with ``t - k <= lags`` added up, as one flat dict."""
    total: dict[str, np.ndarray] = {"input": np.zeros_like(p.x[:, 0])}
    for (t, k), term in terms(p).items():
        if t - k > lags:
            continue
        for name, a in term.items():
            if name == "input":
                total[name][k] += a
            else:
                total[name] = total.get(name, 0) + a
    return total


def flat(g: Any) -> dict[str, np.ndarray]:
    return {**g.parameters, "input": g.input[:, 0], "state": g.state[0, 0]}


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu", "sigmoid"])
@pytest.mark.parametrize("lags", [None, 0, 1, 2, 6, 7, 50])
def test_recurrence_is_the_double_sum(nonlinearity: str, lags: int | None) -> None:
    p = problem(reference.RNN(3, 4, nonlinearity=nonlinearity, seed=1), steps=7, batch=1)
    g = flat(p.gradients(lags))
    expected = double_sum(p, 7 if lags is None else lags)
    assert set(g) == set(expected)
    for name, e in expected.items():
        # Relative to the array, not to an entry: entries can cancel.
        error = np.linalg.norm(g[name] - e)
        assert error <= TOLERANCES["reordered"] * np.linalg.norm(e), name


def test_three_steps_term_by_term() -> None:
    """All six terms for W_hh at T = 3 written out, and that each is what the tape gives alone."""
    p = problem(reference.RNN(2, 3, seed=2), steps=3, batch=1)
    p.dstate[0][:] = 0
    w = p.net.state_dict()
    weight, u = w["weight_hh_l0"], w["weight_ih_l0"]
    bias = w["bias_ih_l0"] + w["bias_hh_l0"]
    h0 = p.state[0][0, 0]
    h1 = np.tanh(weight @ h0 + u @ p.x[0, 0] + bias)
    h2 = np.tanh(weight @ h1 + u @ p.x[1, 0] + bias)
    h3 = np.tanh(weight @ h2 + u @ p.x[2, 0] + bias)
    d1, d2, d3 = (np.diag(1 - h * h) for h in (h1, h2, h3))
    l1, l2, l3 = p.dy[:, 0]
    by_hand = {
        (1, 1): np.outer(d1 @ l1, h0),
        (2, 2): np.outer(d2 @ l2, h1),
        (2, 1): np.outer(d1 @ weight.T @ d2 @ l2, h0),
        (3, 3): np.outer(d3 @ l3, h2),
        (3, 2): np.outer(d2 @ weight.T @ d3 @ l3, h1),
        (3, 1): np.outer(d1 @ weight.T @ d2 @ weight.T @ d3 @ l3, h0),
    }
    _, _, tape = p.run()

    def up_to(t: int, lags: int) -> np.ndarray:
        dy = np.zeros_like(p.dy)
        dy[t - 1] = p.dy[t - 1]
        return tape.backward(dy, truncate=lags).parameters["weight_hh_l0"]

    for (t, k), e in by_hand.items():
        alone = up_to(t, t - k) - (up_to(t, t - k - 1) if t > k else 0)
        close(alone, e)
    close(tape.backward(p.dy).parameters["weight_hh_l0"], sum(by_hand.values()))


def test_the_common_mistake_is_truncation_at_lag_0() -> None:
    """``delta_t = dL_t/dh_t`` alone keeps the k = t terms, and is not the gradient."""
    p = problem(reference.RNN(2, 3, seed=3), steps=5, batch=1)
    p.dstate[0][:] = 0
    y, _, tape = p.run()
    before = np.concatenate([p.state[0][0], y[:-1, 0]])
    mistaken = ((1 - y[:, 0] ** 2) * p.dy[:, 0]).T @ before
    close(tape.backward(p.dy, truncate=0).parameters["weight_hh_l0"], mistaken)
    gradient = tape.backward(p.dy).parameters["weight_hh_l0"]
    assert np.linalg.norm(gradient - mistaken) > 0.1 * np.linalg.norm(gradient)


@each_variant
def test_sum_over_lags_is_the_gradient(variant: Variant) -> None:
    """Term by term: the loss of one step, one lag at a time."""
    p = problem(variant.net(bidirectional=True), steps=5, lengths=True, resets=True)
    _, _, tape = p.run()
    full = p.gradients()
    total = {name: np.zeros_like(a) for name, a in full.parameters.items()}
    nothing = tape.backward(0 * np.nan_to_num(p.dy))
    for t in range(5):
        dy = np.zeros_like(p.dy)
        dy[t] = p.dy[t]
        shorter = nothing
        for lag in range(5):
            longer = tape.backward(dy, truncate=lag)
            for name in total:
                total[name] += longer.parameters[name] - shorter.parameters[name]
            shorter = longer
    over_state = tape.backward(0 * np.nan_to_num(p.dy), public(p.dstate))
    for name, e in full.parameters.items():
        close(total[name] + over_state.parameters[name], e)


@each_variant
def test_truncation_beyond_the_start_is_the_gradient(variant: Variant) -> None:
    p = problem(
        variant.net(num_layers=2, bidirectional=True), steps=5, batch=4, lengths=True, resets=True
    )
    for lags in (4, 5, 1000):
        close_gradients(p.gradients(lags), p.gradients())


@each_variant
@pytest.mark.parametrize("lags", [0, 1, 3])
def test_truncation_is_windows_from_a_detached_state(variant: Variant, lags: int) -> None:
    """The terms of the loss at t are the full gradient of the run over t - K .. t, begun from the
    recorded state as if it were a constant."""
    p = problem(variant.net(), steps=5, batch=4, lengths=True, resets=True)
    ends, resets = p.ends, p.resets
    g = p.gradients(lags)
    parameters = {name: np.zeros_like(a) for name, a in g.parameters.items()}
    d_x = np.zeros_like(p.x)
    d_state = [np.zeros_like(a) for a in p.state]
    for b, end in enumerate(ends):
        if end == 0:
            for d, e in zip(d_state, p.dstate, strict=True):
                d[:, b] = e[:, b]
        for t in range(end):
            first = max(t - lags, 0)
            _, entering = p.net(
                p.x[:first, [b]],
                public(tuple(a[:, [b]] for a in p.state)),
                resets=resets[:first, [b]],
            )
            _, _, tape = p.net.record(
                p.x[first : t + 1, [b]], entering, resets=resets[first : t + 1, [b]]
            )
            dy = np.zeros((t + 1 - first, 1, p.dy.shape[-1]))
            dy[-1] = p.dy[t, b]
            at_end = public(tuple(a[:, [b]] * (t == end - 1) for a in p.dstate))
            window = tape.backward(dy, at_end)
            for name, a in window.parameters.items():
                parameters[name] += a
            d_x[first : t + 1, [b]] += window.input
            if first == 0:
                for d, a in zip(d_state, arrays(window.state), strict=True):
                    d[:, [b]] += a
    for name, e in parameters.items():
        close(g.parameters[name], e)
    close(g.input, d_x)
    for a, e in zip(arrays(g.state), d_state, strict=True):
        close(a, e)
