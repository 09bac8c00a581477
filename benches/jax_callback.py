"""What a call from JAX costs, and the time beside `lax.scan`: indicative, one process.

python benches/jax_callback.py [--repeats 30]
"""

from __future__ import annotations

import argparse
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import unrolled as ur
import unrolled.jax as uj
from unrolled._cases import medians
from unrolled.jax import _primitives

# T, B, I, H
SHAPES = ((32, 1, 16, 16), (100, 32, 64, 128), (200, 16, 128, 256))


def plain(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """y of the same LSTM as a `lax.scan`."""
    ours = uj.run
    uj.run = lambda call, operands: _primitives._plain_run(call, *operands)
    try:
        return uj.lstm(params, x)[0]
    finally:
        uj.run = ours


def by_pure_callback(net: ur.LSTM, params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """y through `jax.pure_callback`, as one would write it without the interface used here."""

    def compute(x: jax.Array, *parameters: jax.Array) -> np.ndarray:
        return net.twin([np.asarray(p) for p in parameters])(np.asarray(x))[0]

    shape = jax.ShapeDtypeStruct((*x.shape[:2], net.hidden_size), x.dtype)
    return jax.pure_callback(compute, shape, x, *params.values(), vmap_method="sequential")


def report(name: str, seconds: list[float], names: list[str]) -> None:
    cells = (f"{n} {1e6 * s:.0f} us" for n, s in zip(names, seconds, strict=True))
    print(f"{name:<36}{'   '.join(cells)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_args().repeats

    net = ur.LSTM(4, 4, seed=0)
    params = uj.parameters(net)
    x = jnp.zeros((1, 1, 4))
    on_numpy = np.zeros((1, 1, 4), "float32")
    same = jax.jit(lambda p, x: x + 1)
    ours = jax.jit(lambda p, x: uj.lstm(p, x)[0])
    theirs = jax.jit(partial(by_pure_callback, net))
    calls = [
        partial(net, on_numpy),
        lambda: net.twin(list(net.state_dict().values()))(on_numpy),
        lambda: same(params, x).block_until_ready(),
        lambda: ours(params, x).block_until_ready(),
        lambda: theirs(params, x).block_until_ready(),
    ]
    names = ["network", "network made anew", "jit of x + 1", "unrolled.jax", "pure_callback"]
    report("one step of H = 4", medians(calls, 10 * repeats), names)

    for steps, batch, inputs, hidden in SHAPES:
        net = ur.LSTM(inputs, hidden, seed=0)
        params = uj.parameters(net)
        given = np.random.default_rng(0).normal(size=(steps, batch, inputs)).astype("float32")
        x = jnp.asarray(given)
        both = {"unrolled.jax": lambda p, x: uj.lstm(p, x)[0], "lax.scan": plain}
        shape = f"T {steps}, B {batch}, I {inputs}, H {hidden}"
        runs = [lambda n=net, a=given: n(a)]
        for f in map(jax.jit, both.values()):
            runs.append(lambda f=f, p=params, x=x: f(p, x).block_until_ready())
        report(f"{shape}, y", medians(runs, repeats), ["network", *both])

        dy = np.full((steps, batch, hidden), 1 / given.size, "float32")
        runs = [lambda n=net, a=given, d=dy: n.record(a)[2].backward(d)]
        for f in both.values():
            g = jax.jit(jax.grad(lambda p, x, f=f: jnp.mean(f(p, x)), (0, 1)))
            runs.append(lambda g=g, p=params, x=x: jax.block_until_ready(g(p, x)))
        report(f"{shape}, grad", medians(runs, repeats), ["network", *both])


if __name__ == "__main__":
    main()
