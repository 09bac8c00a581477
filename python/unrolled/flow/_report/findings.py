"""From the numbers of a layer to sentences: what they mean, and what could help.

Every sentence names the numbers it follows from, by the attributes of `Numbers`; the page shows
those beside it. The thresholds are facts about training, not about this package:

* A factor of 10 over a sequence is what a learning rate must allow for anyway; less is called
  keeping its size. Gradients that shrink 1000 times are under the noise of a minibatch, whose
  relative size is 1 / sqrt(B), some per cent.
* A logistic gate outside 0.1 … 0.9 has less than 0.36 of its steepest slope left; |tanh| > 0.9
  leaves under a fifth. More than half of the units is "most".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .._words import number, percent, power_of_ten
from .measure import LN10, Numbers

GROWS, VANISHES = 1.0, -3.0
MOST = 0.5
# What is less than this of the gradient no step of training notices.
REST = 0.01
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
        None of them, if nothing was measured.
    """
    if n.gradient is not None and not np.isfinite(n.gradient):
        return [
            Finding(
                "The gradient is not finite. No clipping mends that: look for infinities and NaN "
                "in the data and in the parameters first.",
                ("gradient",),
            )
        ]
    if n.gradient == 0:
        text = "The gradient is exactly zero: nothing of the loss reaches this matrix."
        return [Finding(text, ("gradient",))]
    rules = (_growth, _advice, _path, _reach, _saturation, _detour)
    return [finding for rule in rules for finding in rule(n)][:limit]


def becomes(n: Numbers) -> str:
    """What a small change of the state does over the sequence: "grows", "vanishes", "keeps"."""
    if n.decades is None:
        return "unknown"
    return "grows" if n.decades > GROWS else "vanishes" if n.decades < VANISHES else "keeps"


def _growth(n: Numbers) -> Iterator[Finding]:
    if n.exponent is None or n.decades is None:
        return
    over = power_of_ten(n.decades) if np.isfinite(n.decades) else "0"
    if becomes(n) == "grows":
        per_step = number(10.0 ** (n.exponent / LN10))
        text = (
            f"Gradients explode: a small change of the state grows {per_step} times a step, "
            f"{over} times over {n.steps} steps. Clip them (ur.clip_grad_norm)."
        )
    elif becomes(n) == "vanishes":
        text = (
            "Far gradients vanish: a small change of the state shrinks to a tenth in "
            f"{number(LN10 / -n.exponent)} steps, and to {over} over {n.steps}."
        )
    else:
        text = (
            "Gradients keep their order of size: a small change of the state becomes "
            f"{over} times itself over {n.steps} steps."
        )
    yield Finding(text, ("exponent", "steps"))


def _advice(n: Numbers) -> Iterator[Finding]:
    """What could help, where something is amiss."""
    if n.cell == "RNN":
        yield from _advice_rnn(n)
    elif n.cell == "LSTM" and becomes(n) != "grows":
        yield from _advice_lstm(n)
    elif n.cell == "GRU" and n.mean is not None and becomes(n) == "vanishes":
        yield Finding(
            f"The update gate is {n.mean:.2f} on average; what it keeps, z ⊙ h, lasts {n.steps} "
            f"steps only above {1 - 1 / n.steps:.3g}. Adding {_bias(n.steps):.1f} to the rows of z "
            "in bias_ih would start there.",
            ("mean", "steps"),
        )


def _advice_rnn(n: Numbers) -> Iterator[Finding]:
    if n.norm is None or n.radius is None:
        return
    orthogonal = "initialise('orthogonal') starts at 1"
    if becomes(n) == "grows":
        text = f"‖W‖₂ = {number(n.norm)}, ρ(W) = {number(n.radius)}: {orthogonal} for both."
        yield Finding(text, ("norm", "radius"))
    elif becomes(n) == "vanishes" and n.bound is not None and n.bound < 1:
        if n.nonlinearity == "sigmoid":
            orthogonal = "an orthogonal W has 1/4; tanh, a GRU or an LSTM keeps more"
        text = f"γ‖W‖₂ = {number(n.bound)} < 1: no input could prevent it; {orthogonal}."
        yield Finding(text, ("bound",))
    elif becomes(n) == "vanishes" and n.radius < 1:
        yield Finding(
            f"ρ(W) = {number(n.radius)}: {orthogonal}; a GRU or an LSTM has a path that does not "
            "shrink by W at all.",
            ("radius",),
        )


def _advice_lstm(n: Numbers) -> Iterator[Finding]:
    if n.low is None or n.mean is None:
        return
    if n.low > MOST:
        yield Finding(
            f"{percent(n.low)} of the forget gates are under 0.1. After training, that is the net "
            "cutting its memory on purpose; before it, a forget_bias opens them.",
            ("low",),
        )
    elif n.memory is not None and n.memory < n.steps / 4:
        yield Finding(
            f"Forget gates of {n.mean:.2f} on average let the cell's own path fall below 1/e in "
            f"{n.memory:.0f} steps. A forget_bias of {_bias(n.steps):.1f} would start with "
            f"{n.steps} steps.",
            ("mean", "memory", "steps"),
        )


def _bias(steps: int) -> float:
    """With which a gate f keeps 1/e over so many steps (Tallec & Ollivier 2018).

    f^n = 1/e where f / (1 - f) = n - 1/2, up to 1 / (12 n); its logarithm is the gate's sum.
    """
    return float(np.log(max(steps, 1) - 0.5))


def _path(n: Numbers) -> Iterator[Finding]:
    """Which path gradients take in an LSTM."""
    if n.ratio is None or n.ratio_lag is None:
        return
    if n.ratio > 2:
        says = "most of it comes through h and the gates, as in an RNN"
    elif n.ratio > 0.5:
        says = "the forget gates decide what is kept"
    else:
        says = "the paths through h and the gates cancel most of it"
    yield Finding(
        f"Over {n.ratio_lag} steps the full derivative of a cell is {number(n.ratio)} times that "
        f"along the cell alone: {says}.",
        ("ratio", "ratio_lag"),
    )


def _reach(n: Numbers) -> Iterator[Finding]:
    """Of what use far steps are to this loss."""
    if n.reach is None or n.far is None:
        return
    if n.far < REST:
        yield Finding(
            f"99 % of the gradient lies within {n.reach} of {n.steps} steps: truncating there "
            f"(truncate={n.reach}) loses next to nothing of it.",
            ("reach", "steps"),
        )
    else:
        yield Finding(
            f"{percent(n.far)} of the gradient comes from more than {n.steps // 2} steps away: "
            f"truncating short of {n.reach} would lose more than 1 % of it.",
            ("far", "reach", "steps"),
        )


def _saturation(n: Numbers) -> Iterator[Finding]:
    """Units that pass little."""
    if n.nonlinearity == "relu" and n.low is not None and n.low > MOST:
        yield Finding(
            f"{percent(n.low)} of the units are 0 and pass no gradient: a smaller learning rate or "
            "larger biases keep more of them at work.",
            ("low",),
        )
    if n.nonlinearity == "tanh" and n.high is not None and n.high > MOST:
        yield Finding(
            f"{percent(n.high)} of the units have |h| > 0.9, where tanh passes less than a fifth: "
            "scale the inputs or the weights down.",
            ("high",),
        )
    if n.shut is not None and n.shut > MOST:
        yield Finding(
            f"{percent(n.shut)} of the input gates are under 0.1: little of what is read is "
            "written to the cell.",
            ("shut",),
        )


def _detour(n: Numbers) -> Iterator[Finding]:
    """A transient of a recurrence that fades in the end."""
    if n.peak is None or n.transition is None or becomes(n) == "grows":
        return
    if n.peak > DETOUR * max(n.transition, 1.0):
        yield Finding(
            f"On the way gradients grow up to {number(n.peak)} times (at lag {n.peak_lag}) before "
            "they shrink: the Jacobians are far from normal, and clipping guards against it.",
            ("peak", "peak_lag", "transition"),
        )
