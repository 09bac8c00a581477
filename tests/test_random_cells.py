"""Random formulas: the kernels against the reference, and what may not matter to the last bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import unrolled as ur
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from random_cells import random_cells
from support import arrays, same
from tolerances import assert_close

# The same graphs each time: what is found is not found by chance.
steady = settings(
    max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
STEPS = 4


def numbers(cell: Any, batch: int, dtype: str) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(STEPS, batch, 2)).astype(dtype)
    return x, rng.normal(size=(STEPS, batch, 1)).astype(dtype), rng


@steady
@given(random_cells(), st.sampled_from([1, 3, 17, 33]), st.sampled_from([1, 2, 5, 9]))
def test_kernels_are_the_reference(cell: Any, units: int, batch: int) -> None:
    net = ur.Recurrent(cell, 2, units, dtype="float64", seed=1)
    plain = ur.reference.Recurrent(cell, 2, units, seed=1)
    plain.load_state_dict(net.state_dict())
    x, _, rng = numbers(cell, batch, "float64")
    resets = rng.random((STEPS, batch)) < 0.2
    y, final, tape = net.record(x, resets=resets)
    expected, ended, taped = plain.record(x, resets=resets)
    assert_close(y, expected, "reference.output.float64", "y")
    for got, right in zip(arrays(final), arrays(ended), strict=True):
        assert_close(got, right, "reference.output.float64", "state")
    dy = rng.normal(size=y.shape)
    g, right = tape.backward(dy), taped.backward(dy)
    assert_close(g.input, right.input, "reference.gradient.float64", "x")
    for name, d in g.parameters.items():
        assert_close(d, right.parameters[name], "reference.gradient.float64", name)


@steady
@given(random_cells(), st.sampled_from(["float32", "float64"]))
def test_what_does_not_matter(cell: Any, dtype: str) -> None:
    """The batch a row is in, a stream, checkpoints, the number of threads."""
    net = ur.Recurrent(cell, 2, 9, dtype=dtype, seed=1)
    x, _, rng = numbers(cell, 19, dtype)
    y, final, tape = net.record(x)
    dy = rng.normal(size=y.shape).astype(dtype)
    g = tape.backward(dy)
    alone = net.record(np.ascontiguousarray(x[:, 7:8]))
    assert same(alone[0], y[:, 7:8])
    own = alone[2].backward(np.ascontiguousarray(dy[:, 7:8]))
    assert same(own.input, g.input[:, 7:8])
    stream = net.stream(batch=19)
    assert same(np.stack([stream.step(x_t) for x_t in x]), y)
    assert same(stream.state, final)
    again = net.record(x, checkpoint=1)[2].backward(dy)
    threads = ur.get_num_threads()
    ur.set_num_threads(1 if threads > 1 else 2)
    try:
        other = net.record(x)[2].backward(dy)
    finally:
        ur.set_num_threads(threads)
    for found in (again, other):
        assert same(found.input, g.input)
        for name, d in g.parameters.items():
            assert same(found.parameters[name], d), name
