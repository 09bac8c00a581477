"""Every function of cells on what JAX traces: its value and derivative are the kernels'."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from tolerances import assert_close
from unrolled import cells as f

jax = pytest.importorskip("jax", reason="JAX is not installed: pip install '.[jax]'")
import jax.numpy as jnp  # noqa: E402
import unrolled.jax as uj  # noqa: E402
from jax_extra.jax_support import plain, quick  # noqa: E402

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "exp": lambda a, b: f.exp(a),
    "log": lambda a, b: f.log(f.abs(a) + 0.5),
    "sqrt": lambda a, b: f.sqrt(f.abs(a) + 0.5),
    "abs": lambda a, b: f.abs(a),
    "sin": lambda a, b: f.sin(a),
    "cos": lambda a, b: f.cos(a),
    "tanh": lambda a, b: f.tanh(a),
    "sigmoid": lambda a, b: f.sigmoid(40 * a),
    "log_sigmoid": lambda a, b: f.log_sigmoid(40 * a),
    "softplus": lambda a, b: f.softplus(40 * a),
    "relu": lambda a, b: f.relu(a),
    "silu": lambda a, b: f.silu(a),
    "stop_gradient": lambda a, b: f.stop_gradient(a) * b,
    "minimum": lambda a, b: f.minimum(a, b) + f.minimum(a, 0.5),
    "maximum": lambda a, b: f.maximum(a, b) + f.maximum(0.5, a),
    "where": lambda a, b: f.where(a < b, a * b, 3.0) + f.where(a, b, a),
    "clip": lambda a, b: f.clip(a, -1.0, 0.5) * b,
    "normalise": lambda a, b: f.normalise(a) * f.normalise(a, b)[1],
    "linear": lambda a, b: f.linear("n", a * b),
    "spike": lambda a, b: f.spike(a - b) + f.spike(a),
    "spike, sigmoid": lambda a, b: f.spike(a, "sigmoid", 2.0) + f.spike(b, "sigmoid"),
    "spike, atan": lambda a, b: f.spike(a, "atan", 2.0),
    "arithmetic": lambda a, b: (2 - a) * b / (3 + a) - -a,
    "powers": lambda a, b: a**2 + (f.abs(a) + 0.5) ** b + 2.0**b,
    "comparisons": lambda a, b: (
        f.where(a <= b, a, b) + f.where(a >= b, 2 * a, b) + f.where(a == b, 3 * a, b)
        + f.where(a != b, 4 * a, b) + f.where(a > b, 5 * a, b) + (a < b) * a
    ),
}  # fmt: skip
# Ties, kinks and bounds among them.
A = np.array([-2.0, -1.0, -0.25, 0.0, 0.0, 0.5, 1.0, 2.0])
B = np.array([-1.0, -1.0, 0.75, 0.0, 0.5, 0.5, -2.0, 2.0])


@pytest.fixture(autouse=True)
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


def test_all_are_here() -> None:
    public = {name for name in f.__all__ if inspect.isfunction(getattr(f, name))}
    functions = {name for name in public if getattr(f, name).__module__.endswith("._functions")}
    assert functions and functions <= FUNCTIONS.keys()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_as_the_kernels(name: str) -> None:
    function = FUNCTIONS[name]

    @ur.cell
    def cell(x: Any, h: Any) -> Any:
        return function(x.a, x.b) + 0.25 * (x.a + x.b) + 0.5 * h

    units = len(A)
    params = uj.init(jax.random.key(0), cell, 2 * units, units, dtype="float64")
    # The maps of x are x itself.
    params["weight_ih_l0"] = jnp.eye(2 * units)
    params["bias_ih_l0"] = jnp.zeros(2 * units)
    x = jnp.concatenate([A, B])[None, None] * jnp.ones((2, 1, 1))
    # What the way back is given differs for each unit.
    weights = jnp.arange(1.0, units + 1)

    def loss(params: Any, x: Any) -> Any:
        return jnp.sum(weights * uj.recurrent(cell, params, x)[0])

    found = jax.value_and_grad(loss, argnums=(0, 1))(params, x)
    with plain():
        # A function of its own: the other's program is not taken for it.
        of_scan = quick(lambda *given: jax.value_and_grad(loss, argnums=(0, 1))(*given))
        expected = of_scan(params, x)
    value, gradient = "reference.output.float64", "reference.gradient.float64"
    assert_close(np.asarray(found[0]), np.asarray(expected[0]), value, name)
    pairs = zip(jax.tree.leaves(found[1]), jax.tree.leaves(expected[1]), strict=True)
    for at, (got, want) in enumerate(pairs):
        assert np.isfinite(got).all()
        assert_close(np.asarray(got), np.asarray(want), gradient, f"{name}, leaf {at}")
