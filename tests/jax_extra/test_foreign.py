"""Arrays of other libraries in `unrolled.jax`: with all they mean, or refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support import normal

jax = pytest.importorskip("jax", reason="needs jax: pip install 'unrolled[jax]'")
import unrolled.jax as uj  # noqa: E402

X = normal(5, 2, 3)
P = uj.init(jax.random.key(0), "GRU", 3, 4)
H = np.zeros((1, 2, 4), np.float32)
ENTRIES = {
    "x": lambda f: uj.gru(P, f(X)),
    "state": lambda f: uj.gru(P, X, f(H)),
    "lengths": lambda f: uj.gru(P, X, lengths=f(np.array([5, 3], np.int32))),
    "resets": lambda f: uj.gru(P, X, resets=f(np.zeros((5, 2), bool))),
    "params": lambda f: uj.gru({**P, "weight_hh_l0": f(np.asarray(P["weight_hh_l0"]))}, X),
}


class Quantity(np.ndarray):
    unit = "m"


@pytest.mark.parametrize("entry", ENTRIES)
def test_what_means_more_than_its_memory(entry: str) -> None:
    torch = pytest.importorskip("torch", reason="needs torch: pip install 'unrolled[torch]'")

    def turned(a: np.ndarray) -> Any:
        return torch.from_numpy(a) if a.dtype == bool else torch.from_numpy(-a)._neg_view()

    call = ENTRIES[entry]
    expected = call(lambda a: a)
    for same in (turned, jax.numpy.asarray, memoryview):
        assert np.array_equal(call(same)[0], expected[0])
    with pytest.raises(TypeError, match=f"{entry}.*: expected an array, got a masked array"):
        call(np.ma.masked_array)
    with pytest.raises(TypeError, match=f"{entry}.*: expected an array, got Quantity, whose unit"):
        call(lambda a: a.view(Quantity))
    with pytest.raises(TypeError, match=f"{entry}.*: expected an array, got .*holds no numbers"):
        call(lambda a: torch._efficientzerotensor(a.shape))
