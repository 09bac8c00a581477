"""From the numbers of a layer to sentences: what they mean, and what could help.

Every sentence names the numbers it follows from, by the attributes of `Numbers`; the page shows
those beside it. The thresholds are facts about training, not about this package:

* A factor of 10 over a sequence is what a learning rate must already allow for; less is called
  stable. Gradients that shrink 1000 times are under the noise of a minibatch, whose relative size
  is 1 / sqrt(B), some per cent.
* A logistic gate outside 0.1 … 0.9 has less than a third of its sensitivity f (1 - f) left;
  |tanh| > 0.9 leaves under a fifth of its slope. Half of the units is "most".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .measure import LN10, Numbers

GROWS, VANISHES = 1.0, -3.0
MOST = 0.5
# From here on a longer window of truncation is a cost without a use.
SHORT_REACH = 0.25
# A detour of more than ten times is what a learning rate notices.
DETOUR = 10.0
SHOWN = 3


@dataclass(frozen=True)
class Finding:
    """A sentence or two, and the attributes of `Numbers` they follow from."""

    text: str
    numbers: tuple[str, ...]


def findings(n: Numbers, limit: int = SHOWN) -> list[Finding]:
    """What the numbers mean, the weightiest first.

    Parameters
    ----------
    n : Numbers
    limit : int
        At most so many.

    Returns
    -------
    list of Finding
        At least one.
    """
    if n.gradient is not None and not np.isfinite(n.gradient):
        return [
            Finding(
                "The gradient is not finite: some number before it overflowed. No clipping mends "
                "that; look for infinities in the data and in the parameters first.",
                ("gradient",),
            )
        ]
    if n.gradient == 0:
        return [
            Finding(
                "The gradient is exactly zero: nothing of the loss reaches this matrix.",
                ("gradient",),
            )
        ]
    found = [*_growth(n), *_advice(n), *_path(n), *_reach(n), *_saturation(n), *_detour(n)]
    return found[:limit]


def _kind(n: Numbers) -> str:
    decades = n.decades
    if decades is None:
        return "unknown"
    return "grows" if decades > GROWS else "vanishes" if decades < VANISHES else "stable"


def _growth(n: Numbers) -> list[Finding]:
    """What becomes of a change of the state."""
    decades, kind = n.decades, _kind(n)
    if decades is None or n.exponent is None:
        return []
    names = ("exponent", "steps")
    if not np.isfinite(decades):
        return [Finding("A change of the state is lost entirely within the sequence.", names)]
    if kind == "grows":
        per_step = 10.0 ** (n.exponent / LN10)
        text = (
            f"Gradients explode: a small change of the state grows by a factor of {per_step:.3g} a "
            f"step, 10^{decades:.1f} over {n.steps} steps. Clip them (ur.clip_grad_norm)."
        )
    elif kind == "vanishes":
        tenth = LN10 / -n.exponent
        text = (
            f"Far gradients vanish: a small change of the state shrinks to a tenth in {tenth:.3g} "
            f"steps, and to 10^{decades:.1f} over {n.steps}."
        )
    else:
        text = (
            f"Gradients keep their order of size: a small change of the state becomes "
            f"10^{decades:.1f} of itself over {n.steps} steps."
        )
    return [Finding(text, names)]


def _advice(n: Numbers) -> list[Finding]:
    """What could help, where something is amiss."""
    kind = _kind(n)
    if n.cell == "RNN" and n.norm is not None and n.radius is not None:
        if kind == "grows":
            return [
                Finding(
                    f"‖W‖₂ = {n.norm:.3g} and ρ(W) = {n.radius:.3g}: initialise('orthogonal') "
                    "starts at 1 for both.",
                    ("norm", "radius"),
                )
            ]
        if kind == "vanishes" and n.bound is not None and n.bound < 1:
            remedy = (
                "an orthogonal W has only γ‖W‖₂ = 1/4; tanh, a GRU or an LSTM keeps more"
                if n.nonlinearity == "sigmoid"
                else "initialise('orthogonal') starts at 1"
            )
            return [
                Finding(
                    f"γ‖W‖₂ = {n.bound:.3g} is below 1, so that no input could prevent it: "
                    f"{remedy}.",
                    ("bound",),
                )
            ]
        if kind == "vanishes" and n.radius < 1:
            return [
                Finding(
                    f"ρ(W) = {n.radius:.3g}: initialise('orthogonal') starts at 1, and a GRU or an "
                    "LSTM has a path that does not shrink by W.",
                    ("radius",),
                )
            ]
    if n.cell == "LSTM" and n.low is not None and n.mean is not None and kind != "grows":
        if n.low > MOST:
            return [
                Finding(
                    f"{n.low:.0%} of the forget gates are under 0.1. After training that is the "
                    "net cutting its memory on purpose; before it, a forget_bias opens them.",
                    ("low",),
                )
            ]
        if n.memory is not None and n.memory < n.steps / 4:
            # f^n = 1/e at f / (1 - f) = n - 1/2, nearly: the logarithm is the gate's bias.
            bias = float(np.log(n.steps - 0.5))
            return [
                Finding(
                    f"Forget gates of {n.mean:.2f} on average let the cell's own path fall below "
                    f"1/e in {n.memory:.0f} steps. A forget_bias of {bias:.1f} would start it at "
                    f"{n.steps}.",
                    ("mean", "memory", "steps"),
                )
            ]
    if n.cell == "GRU" and n.mean is not None and kind == "vanishes":
        bias = float(np.log(n.steps - 0.5))
        return [
            Finding(
                f"The update gate is {n.mean:.2f} on average; what it keeps, h·z, falls below 1/e "
                f"in {n.steps} steps only above {1 - 1 / n.steps:.2f}. Adding {bias:.1f} to the "
                "rows of z in bias_ih would start there.",
                ("mean", "steps"),
            )
        ]
    return []


def _path(n: Numbers) -> list[Finding]:
    """Which path gradients take in an LSTM."""
    if n.ratio is None or n.lag is None:
        return []
    half = (n.lag + 1) // 2
    if n.ratio > 2:
        return [
            Finding(
                f"Over {half} steps the full derivative of a cell is {n.ratio:.3g} times that "
                "along the cell alone: most of it comes through h and the gates, as in an RNN.",
                ("ratio", "lag"),
            )
        ]
    if n.ratio > 0.5:
        return [
            Finding(
                f"Over {half} steps the full derivative of a cell is {n.ratio:.2f} times that "
                "along the cell alone: the forget gates decide what is kept.",
                ("ratio", "lag"),
            )
        ]
    return []


def _reach(n: Numbers) -> list[Finding]:
    """Of what use far steps are to this loss."""
    if n.reach is None or n.far is None:
        return []
    if n.reach < SHORT_REACH * n.steps:
        return [
            Finding(
                f"99 % of the gradient lies within {n.reach} of {n.steps} steps: truncating at "
                f"K = {n.reach} keeps it.",
                ("reach", "steps"),
            )
        ]
    return [
        Finding(
            f"{n.far:.1%} of the gradient comes from further than half the {n.steps} steps away: "
            f"truncating short of {n.reach} would lose more than 1 %.",
            ("far", "reach", "steps"),
        )
    ]


def _saturation(n: Numbers) -> list[Finding]:
    """Units that pass little."""
    if n.cell == "RNN" and n.nonlinearity == "relu" and n.low is not None and n.low > MOST:
        return [
            Finding(
                f"{n.low:.0%} of the units are 0 and pass no gradient at all: a smaller learning "
                "rate or larger biases keep more of them at work.",
                ("low",),
            )
        ]
    if n.cell == "RNN" and n.nonlinearity == "tanh" and n.high is not None and n.high > MOST:
        return [
            Finding(
                f"{n.high:.0%} of the units have |h| > 0.9, where tanh passes less than a fifth: "
                "scale the inputs or the weights down.",
                ("high",),
            )
        ]
    if n.shut is not None and n.shut > MOST:
        return [
            Finding(
                f"{n.shut:.0%} of the input gates are under 0.1: little of what is read is "
                "written to the cell.",
                ("shut",),
            )
        ]
    return []


def _detour(n: Numbers) -> list[Finding]:
    """A transient of a recurrence that fades in the end."""
    if None in (n.peak, n.transition, n.peak_lag) or _kind(n) == "grows":
        return []
    assert n.peak is not None and n.transition is not None
    if n.peak > DETOUR and n.peak > DETOUR * n.transition:
        return [
            Finding(
                f"On the way gradients grow up to {n.peak:.3g} times (at lag {n.peak_lag}) before "
                "they shrink: the Jacobians are far from normal, and clipping guards against it.",
                ("peak", "peak_lag", "transition"),
            )
        ]
    return []
