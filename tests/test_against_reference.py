"""Outputs, final states and every gradient against the plain NumPy version, on every level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import VARIANTS, Variant, arrays, cast, normal
from tolerances import assert_close
from unrolled._machine import ISAS

LAYOUTS: dict[str, dict[str, Any]] = {
    "one layer": {},
    "two layers": {"num_layers": 2},
    "both directions": {"bidirectional": True},
    "both, two layers": {"num_layers": 2, "bidirectional": True},
    "no bias": {"num_layers": 2, "bias": False},
}
# H with and without a remainder on each level; an input of one.
SIZES = ((1, 6), (5, 19), (3, 32))

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)
each_isa = pytest.mark.parametrize("isa", ISAS)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def pair(
    variant: Variant, isa: str, dtype: str, sizes: tuple[int, int], **more: Any
) -> tuple[Any, Any]:
    """A network on that level, and the reference in float64 with the same parameters."""
    if isa not in ur.available_isas():
        pytest.skip(f"this machine has no {isa}")
    ur.set_max_isa(isa)
    arguments = {"seed": 3, **variant.arguments, **more}
    net = getattr(ur, variant.cell)(*sizes, dtype=dtype, **arguments)
    plain = getattr(ur.reference, variant.cell)(*sizes, **arguments)
    assert net.isa == isa
    # Exact in float32, for both float types to start from the same numbers.
    parameters = {name: cast(a, np.float32) for name, a in net.state_dict().items()}
    net.load_state_dict({name: cast(a, net.dtype) for name, a in parameters.items()})
    plain.load_state_dict({name: cast(a, plain.dtype) for name, a in parameters.items()})
    return net, plain


def compare(
    net: Any,
    plain: Any,
    *,
    steps: int = 7,
    batch: int = 5,
    truncate: int | None = None,
    given: dict[str, Any] | None = None,
    recording: dict[str, Any] | None = None,
) -> None:
    """Run both and compare all that comes out."""
    sizes = net._sizes
    x = normal(steps, batch, net.input_size)
    dy = normal(steps, batch, net.num_directions * sizes.states[0], seed=1)
    state, dstate = (
        tuple(
            normal(sizes.cells, batch, size, seed=seed + n) for n, size in enumerate(sizes.states)
        )
        for seed in (2, 4)
    )
    if len(sizes.states) == 1:
        (state,), (dstate,) = state, dstate
    if net.batch_first:
        x, dy = x.swapaxes(0, 1), dy.swapaxes(0, 1)
    given, results = given or {}, []
    for each, more in ((net, recording or {}), (plain, {})):

        def own(a: Any, dtype: Any = each.dtype) -> Any:
            return cast(a, dtype)

        y, final, tape = each.record(own(x), own(state), **given, **more)
        results.append((y, final, tape, tape.backward(own(dy), own(dstate), truncate=truncate)))
    (y, final, tape, g), (plain_y, plain_final, plain_tape, plain_g) = results

    output, gradient = f"reference.output.{net.dtype}", f"reference.gradient.{net.dtype}"
    assert_close(y, plain_y, output, "y")
    for n, (a, e) in enumerate(zip(arrays(final), arrays(plain_final), strict=True)):
        assert_close(a, e, output, f"state[{n}]")
    for name, e in plain_g.parameters.items():
        assert_close(g.parameters[name], e, gradient, name)
    assert_close(g.input, plain_g.input, gradient, "input")
    for n, (a, e) in enumerate(zip(arrays(g.state), arrays(plain_g.state), strict=True)):
        assert_close(a, e, gradient, f"initial state[{n}]")
    if not recording:
        quantities = ("hidden", "gates", "cell")[: 3 if len(sizes.states) == 2 else 2]
        for quantity in quantities:
            ours, theirs = arrays(getattr(tape, quantity)), arrays(getattr(plain_tape, quantity))
            for n, (a, e) in enumerate(zip(ours, theirs, strict=True)):
                assert_close(a, e, output, f"tape.{quantity}[{n}]")


RAGGED = {"lengths": [7, 0, 4, 1, 6]}
RESETS = {"resets": np.random.default_rng(8).random((7, 5)) < 0.3}


@each_variant
@each_isa
@each_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_layouts(
    variant: Variant, isa: str, dtype: str, layout: str, sizes: tuple[int, int]
) -> None:
    compare(*pair(variant, isa, dtype, sizes, **LAYOUTS[layout]))


@each_variant
@each_isa
@each_dtype
@pytest.mark.parametrize("truncate", [None, 0, 1, 3, 100])
def test_everything_at_once(variant: Variant, isa: str, dtype: str, truncate: int | None) -> None:
    net, plain = pair(variant, isa, dtype, (5, 19), **LAYOUTS["both, two layers"])
    compare(net, plain, truncate=truncate, given=RAGGED | RESETS)


@each_variant
@each_isa
@pytest.mark.parametrize("given", [RAGGED, RESETS], ids=["lengths", "resets"])
@pytest.mark.parametrize("checkpoint", [1, 3, "auto"])
@pytest.mark.parametrize("truncate", [None, 2])
def test_checkpoints(
    variant: Variant, isa: str, given: Any, checkpoint: Any, truncate: int | None
) -> None:
    net, plain = pair(variant, isa, "float64", (3, 6), **LAYOUTS["both, two layers"])
    compare(net, plain, truncate=truncate, given=given, recording={"checkpoint": checkpoint})


@each_variant
@pytest.mark.parametrize("truncate", [None, 5, 70])
@pytest.mark.parametrize("checkpoint", [None, 16, 20, "auto"])
def test_many_steps_and_rows(variant: Variant, truncate: int | None, checkpoint: Any) -> None:
    """More than one chunk of steps and more than one shard of rows."""
    net, plain = pair(variant, "portable", "float64", (2, 6), bidirectional=True)
    rng = np.random.default_rng(0)
    given = {
        "lengths": rng.integers(0, 101, size=21),
        "resets": rng.random(size=(100, 21)) < 0.05,
    }
    if truncate == 70 and checkpoint is not None:
        return  # The reference's double sum is slow; once is enough.
    recording = {"checkpoint": checkpoint} if checkpoint else None
    compare(net, plain, steps=100, batch=21, truncate=truncate, given=given, recording=recording)


@each_variant
@each_dtype
def test_batch_first(variant: Variant, dtype: str) -> None:
    net, plain = pair(variant, "portable", dtype, (3, 6), batch_first=True, bidirectional=True)
    compare(net, plain, given=RAGGED | {"resets": RESETS["resets"].T})


@each_variant
def test_unbatched(variant: Variant) -> None:
    net, plain = pair(variant, "portable", "float64", (3, 6), num_layers=2)
    x, dy = normal(7, 3, dtype=float), normal(7, net._sizes.states[0], dtype=float)
    resets = np.arange(7) == 4
    y, state, tape = net.record(x, resets=resets)
    plain_y, plain_state, plain_tape = plain.record(x, resets=resets)
    g, plain_g = tape.backward(dy, state), plain_tape.backward(dy, state)
    assert_close(y, plain_y, "reference.output.float64", "y")
    assert_close(g.input, plain_g.input, "reference.gradient.float64", "input")
    for a, e in zip(arrays(g.state), arrays(plain_g.state), strict=True):
        assert_close(a, e, "reference.gradient.float64", "initial state")


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
def test_same_constructor(cell: str) -> None:
    """What works with one works with the other; the reference defaults to float64 and has no
    dropout."""
    net, plain = getattr(ur, cell)(2, 3), getattr(ur.reference, cell)(2, 3)
    assert {k: a.shape for k, a in net.state_dict().items()} == {
        k: a.shape for k, a in plain.state_dict().items()
    }
    assert net.num_parameters == plain.num_parameters
