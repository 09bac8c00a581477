"""The adding problem in JAX: an LSTM of this package, optax's Adam, everything under jit.

Each sequence has two columns: numbers in [0, 1], and two marks. The answer is the sum of the two
numbers marked, which may stand far apart (Hochreiter & Schmidhuber 1997). Saying 1 each time gives
a mean squared error of 1/6.

    pip install '.[jax]' optax
    python examples/jax_optax.py [--length 50] [--steps 800]
"""

import argparse

import jax
import jax.numpy as jnp
import optax
import unrolled.jax as uj
from unrolled._progress import progress

HIDDEN, BATCH = 64, 64

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--length", type=int, default=50)
parser.add_argument("--steps", type=int, default=800)
options = parser.parse_args()


def problems(key, n):
    """x (T, n, 2) and the answers (n,)."""
    numbers, first, second = jax.random.split(key, 3)
    half = options.length // 2
    value = jax.random.uniform(numbers, (options.length, n))
    at = jax.random.randint(first, (n,), 0, half), jax.random.randint(second, (n,), half, 2 * half)
    mark = sum(jax.nn.one_hot(a, options.length, axis=0) for a in at)
    return jnp.stack([value, mark], axis=-1), jnp.sum(value * mark, axis=0)


def loss(params, x, answer):
    _, (h, _) = uj.lstm(params["lstm"], x)
    return jnp.mean((h[-1] @ params["out"] + params["bias"] - answer) ** 2)


@jax.jit
def step(params, state, key):
    value, gradient = jax.value_and_grad(loss)(params, *problems(key, BATCH))
    updates, state = optimiser.update(gradient, state)
    return optax.apply_updates(params, updates), state, value


key, init_key, out_key, test_key = jax.random.split(jax.random.key(0), 4)
params = {
    "lstm": uj.init(init_key, "LSTM", 2, HIDDEN, forget_bias=1.0),
    "out": jax.random.normal(out_key, (HIDDEN,)) * HIDDEN**-0.5,
    "bias": jnp.ones(()),
}
optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(3e-3))
state = optimiser.init(params)
for n in progress(range(options.steps), "adding problem"):
    params, state, value = step(params, state, jax.random.fold_in(key, n))
    if (n + 1) % (options.steps // 4 or 1) == 0:
        print(f"step {n + 1:5d}  mean squared error {value:.4f}")
found = loss(params, *problems(test_key, 1000))
print(f"on 1000 new sequences of {options.length} steps: {found:.4f}; saying 1 gives {1 / 6:.4f}")
