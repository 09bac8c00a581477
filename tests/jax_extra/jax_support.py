"""The networks of the tests as functions of JAX, and the plain network in their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import unrolled.jax as uj
from tolerances import assert_close
from unrolled._cases import Problem
from unrolled.jax import _primitives

# Not for every function, but options that decide about shapes are read from the parameters.
OPTIONS = ("nonlinearity", "reset_after")


def function(problem: Problem) -> Callable[..., Any]:
    """The function of `unrolled.jax` for the problem's cell: (params, x, state, **given)."""
    config = problem.net.config()
    options = {name: config[name] for name in OPTIONS if name in config}

    def call(params: Any, x: Any, state: Any = None, **given: Any) -> Any:
        return getattr(uj, type(problem.net).__name__.lower())(params, x, state, **given, **options)

    return call


def quick(compute: Callable[..., Any]) -> Callable[..., Any]:
    """`jax.jit`, with a compiler that does not spend minutes on programs that run once."""
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    return jax.jit(compute, compiler_options=options)


@contextmanager
def plain() -> Iterator[None]:
    """Inside, the public functions are the plain `lax.scan`, with JAX's own derivatives."""
    ours = uj.run
    uj.run = lambda call, operands: _primitives._plain_run(call, *operands)
    try:
        yield
    finally:
        uj.run = ours


def compare(compute: Callable[..., Any], *arguments: Any, entry: str = "reference.gradient") -> Any:
    """What `compute` gives, once with the kernels and once with the plain network, is the same."""
    # Two programs: what is traced first must not be taken from a cache for the other.
    found = quick(lambda *a: compute(*a))(*arguments)
    with plain():
        expected = quick(lambda *a: compute(*a))(*arguments)
    found_leaves, structure = jax.tree.flatten(found)
    expected_leaves, expected_structure = jax.tree.flatten(expected)
    assert structure == expected_structure
    for n, (a, e) in enumerate(zip(found_leaves, expected_leaves, strict=True)):
        assert a.dtype == e.dtype
        name = f"{jax.tree_util.tree_structure(found)} leaf {n}"
        assert_close(np.asarray(a), np.asarray(e), f"{entry}.{a.dtype}", name)
    return found


def text(compute: Callable[..., Any], *arguments: Any) -> str:
    """The program as JAX traces it."""
    return str(jax.make_jaxpr(compute)(*arguments))
