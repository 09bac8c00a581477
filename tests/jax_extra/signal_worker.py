"""What `test_jax_signals` runs in a process of its own: a call, and SIGINT while XLA has it.

``signal_worker.py CASE HANDLER`` prints what came out of the call and how often the handler ran.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import unrolled.jax as uj


class RungError(ValueError):
    """What a handler may raise as well; JAX's errors of programs are often ValueErrors."""


heard: list[int] = []


def ring(number: int, _: Any) -> None:
    heard.append(number)
    raise RungError


def interrupt(number: int, frame: Any) -> None:
    heard.append(number)
    signal.default_int_handler(number, frame)


HANDLERS = {"interrupt": interrupt, "ring": ring, "listen": lambda number, _: heard.append(number)}


def y_of(params: Any, x: Any) -> Any:
    return uj.lstm(params, x)[0]


def loss(params: Any, x: Any) -> Any:
    return jnp.sum(y_of(params, x))


def one_after_another(params: Any, x: Any) -> Any:
    def step(total: Any, x: Any) -> Any:
        return total + loss(params, x), None

    return jax.lax.scan(step, 0.0, x.reshape(-1, 4, *x.shape[1:]))[0]


def until_finite(params: Any, x: Any) -> Any:
    """A loop that would go on for ever with the NaN of a call that was stopped."""

    def body(found: tuple[Any, Any]) -> Any:
        value = loss(params, x)
        return jnp.where(jnp.isfinite(value), found[0] + 1, found[0]), value

    return jax.lax.while_loop(lambda found: found[0] < 40, body, (0, jnp.float32(0)))[1]


CASES = {
    "eager": y_of,
    "eager gradient": jax.grad(loss),
    "jit": jax.jit(y_of),
    "gradient": jax.jit(jax.grad(loss)),
    "gradient of vmap": jax.jit(
        jax.grad(lambda params, x: jnp.sum(jax.vmap(y_of, (None, 0))(params, x[:, :, None])))
    ),
    "members": jax.jit(
        lambda params, x: jax.vmap(y_of, (0, None))(
            jax.tree.map(lambda a: jnp.stack([a] * 3), params), x
        )
    ),
    "one after another": jax.jit(one_after_another),
    "until finite": jax.jit(until_finite),
}


def main(case: str, handler: str) -> None:
    function = CASES[case]
    signal.signal(signal.SIGINT, HANDLERS[handler])
    params = uj.init(jax.random.key(0), "LSTM", 32, 256)
    x = jnp.ones((400, 64, 32), "float32")

    def call() -> list[Any]:
        return [np.asarray(a) for a in jax.tree.leaves(function(params, x))]

    expected = call()
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    outcome: object = None
    try:
        try:
            while not heard:
                found = call()
                assert all(map(np.array_equal, found, expected)), "wrong numbers"
        except (RuntimeError, ValueError) as error:
            # Nothing is called here, so that an exception which comes too late gets past this.
            outcome = error
    except BaseException as error:
        outcome = error
    print(f"{outcome!r} {heard}")
    assert all(map(np.array_equal, call(), expected)), "of no use afterwards"


main(*sys.argv[1:])
