"""Every cell of the gallery: its derived reverse against finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from reference_support import arrays, central_differences, close, public

ur = pytest.importorskip("unrolled", reason="the extension has not been built")

# A spike's derivative is by design not that of its value.
GALLERY = [
    cell for name, cell in vars(ur.cells).items()
    if isinstance(cell, ur.cells.Cell) and name != "lif"
]  # fmt: skip


@pytest.mark.parametrize("cell", GALLERY, ids=lambda c: c.name)
def test_gradients_are_finite_differences(cell: Any) -> None:
    rng = np.random.default_rng(2)
    net = ur.reference.Recurrent(cell, 2, 3, seed=5)
    x = rng.normal(size=(3, 2, 2))
    state = tuple(0.2 + rng.random(size=(1, 2, 3)) for _ in cell.states)
    weights = [rng.normal(size=(3, 2, 3)), *(rng.normal(size=(1, 2, 3)) for _ in cell.states)]
    g = net.record(x, public(state))[2].backward(weights[0], public(tuple(weights[1:])))

    def loss() -> float:
        y, final, _ = net.record(x, public(state))
        parts = zip((y, *arrays(final)), weights, strict=True)
        return float(sum(np.sum(a * w) for a, w in parts))

    pairs = [(a, g.parameters[name]) for name, a in net._parameters.items()]
    for a, found in [*pairs, (x, g.input), *zip(state, arrays(g.state), strict=True)]:
        close(found, central_differences(loss, a), "difference")
