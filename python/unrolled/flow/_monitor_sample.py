"""What a monitor saw at one call."""

from __future__ import annotations

from dataclasses import dataclass

from .._arguments import Array


@dataclass(frozen=True, eq=False)
class Sample:
    """What a `Monitor` saw at one call, on the rows it looked at.

    Attributes
    ----------
    call : int
        Which call it was, from 0.
    loss : float or None
        As given.
    rows : tuple of int
    gradient_norms : dict of str to float
        The Frobenius norm of each parameter's gradient: of these rows' part of the loss, or of the
        gradients that were given.
    bands : tuple of pairs of int
        From which lag to which the entries of `by_lag` are.
    by_lag : array (bands,)
        Norm of the part of the gradient of `Monitor.parameter` from those lags. In float32, what is
        under 1e-6 of the largest is rounding.
    jacobian_norms : dict of str to array
        By layer, such as "l0" or "l1_reverse": ||ds_t/ds_{t-1}||_2 at some steps.
    gates : dict of str to tuple of three floats
        By gate and layer, such as "f_l0": share of units below 0.1, above 0.9, and the mean.
    gate_counts : dict of str to array (20,)
        How many values lie in each twentieth of 0 … 1.
    """

    call: int
    loss: float | None
    rows: tuple[int, ...]
    gradient_norms: dict[str, float]
    bands: tuple[tuple[int, int], ...]
    by_lag: Array
    jacobian_norms: dict[str, Array]
    gates: dict[str, tuple[float, float, float]]
    gate_counts: dict[str, Array]

    def scalars(self) -> dict[str, float]:
        """All of it by name, a number each."""
        found = {} if self.loss is None else {"loss": self.loss}
        found |= {f"gradient_norm/{name}": value for name, value in self.gradient_norms.items()}
        for (low, high), value in zip(self.bands, self.by_lag, strict=True):
            found[f"by_lag/{_band(low, high)}"] = float(value)
        for name, norms in self.jacobian_norms.items():
            found[f"jacobian_norm/{name}"] = float(norms.mean())
        for name, values in self.gates.items():
            for what, value in zip(("low", "high", "mean"), values, strict=True):
                found[f"gate/{name}/{what}"] = value
        return found


def _band(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}-{high}"
