"""The network with a dense layer on top: what is pooled, and the way back through it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import VARIANTS, Variant, normal
from tolerances import TOLERANCES
from unrolled._training import Batch, Reader, train

STEP = TOLERANCES["difference.step"]
LENGTHS = np.array([5, 2, 0, 4])


def reader(variant: Variant, pooling: str, **more: Any) -> Reader:
    options = {"seed": 3, "dtype": "float64", **variant.arguments, **more}
    net = getattr(ur, variant.cell)(3, 6, **options)
    y, _ = net(np.zeros((1, 1, 3)))
    return Reader(net, ur.Dense(y.shape[-1], 2, dtype="float64", seed=4), pooling)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("pooling", ["last", "mean", "every"])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "ragged"])
def test_gradient(variant: Variant, pooling: str, lengths: Any) -> None:
    """A step of plain gradient descent moves the parameters by what finite differences say."""
    r = reader(variant, pooling, num_layers=2, bidirectional=True)
    x = normal(5, 4, 3, dtype="float64")
    weights = normal(*r(x, lengths).shape, dtype="float64", seed=1)
    if pooling == "every" and lengths is not None:
        weights[np.arange(5)[:, None] >= lengths] = 0

    def loss(prediction: np.ndarray) -> tuple[float, np.ndarray]:
        return float((prediction * weights).sum()), weights

    modules = (r.net, r.dense)
    before = [m.state_dict() for m in modules]
    optimiser = ur.optim.SGD(modules, lr=1.0)
    value = r.learn(x, lengths, loss, optimiser, clip=np.inf)
    after = [m.state_dict() for m in modules]
    assert value == loss(reader_value(r, before, x, lengths))[0]
    gradient = [{k: b[k] - a[k] for k in b} for b, a in zip(before, after, strict=True)]
    for n, module in enumerate(before):
        for name, p in module.items():
            direction = normal(*p.shape, dtype="float64", seed=5)
            sides = []
            for step in (STEP, -STEP):
                moved = [dict(m) for m in before]
                moved[n][name] = p + step * direction
                sides.append(loss(reader_value(r, moved, x, lengths))[0])
            expected = (sides[0] - sides[1]) / (2 * STEP)
            found = float((gradient[n][name] * direction).sum())
            scale = max(1.0, abs(expected), abs(gradient[n][name]).max())
            assert abs(found - expected) <= TOLERANCES["difference"] * scale, name


def reader_value(r: Reader, parameters: Any, x: Any, lengths: Any) -> np.ndarray:
    for module, own in zip((r.net, r.dense), parameters, strict=True):
        module.load_state_dict(own)
    return r(x, lengths)


def test_pooling() -> None:
    r = reader(Variant("LSTM"), "mean", bidirectional=True)
    x = normal(5, 4, 3, dtype="float64")
    y, (h, _) = r.net(x, lengths=LENGTHS)
    means = [y[:n, row].mean(axis=0) if n else np.zeros(12) for row, n in enumerate(LENGTHS)]
    assert np.allclose(r(x, LENGTHS), r.dense(np.stack(means)), rtol=TOLERANCES["formula.float64"])
    r.pooling = "last"
    assert np.array_equal(r(x, LENGTHS), r.dense(np.concatenate([h[0], h[1]], axis=-1)))


def test_the_best_parameters_come_back() -> None:
    r = reader(Variant("GRU"), "last")
    x = normal(5, 4, 3, dtype="float64")
    said = iter([3.0, 1.0, 2.0, 1.0, 4.0, 0.0])
    seen = []

    def validate() -> tuple[float, float]:
        seen.append(r.parameters())
        return next(said), 0.5

    def batches() -> Any:
        yield Batch(x, None, lambda p: ur.losses.mse(p, np.ones_like(p)), 4.0)

    optimiser = ur.optim.Adam([r.net, r.dense], lr=0.1)
    history = train(r, optimiser, 1.0, range(9), batches, validate, patience=3)
    assert history.validation_loss == [3.0, 1.0, 2.0, 1.0, 4.0] and history.best_epoch == 1
    assert len(history.loss) == 5 and history.loss[-1] < history.loss[0]
    for kept, now in zip(seen[1], r.parameters(), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(kept, now, strict=True))
