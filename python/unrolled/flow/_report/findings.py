"""From the numbers of a layer to sentences: what they mean, and what could help.

Every sentence names the numbers it follows from, by the attributes of `Numbers`; the page shows
those beside it. A word such as "explode" is said only where all that was measured bears it out: the
exponents of all rows, and the transition's norm. The thresholds are facts about training, not about
this package:

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

from .._words import beside_one, number, percent
from .measure import LN10, REST, Numbers

GROWS, VANISHES = 1.0, -3.0
MOST = 0.5
# A detour of more than ten times is what a learning rate notices.
DETOUR = 10.0
# How far two paths may differ and still be said to go together.
TOGETHER = 2.0
SHOWN = 3
EXPONENTS = ("exponent", "exponent_low", "exponent_high")
TRANSITIONS = ("transition_low", "transition_high", "lag")


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
                "The gradient is not finite, which no clipping mends: the data or the parameters "
                "hold NaN or infinity (NaN that pads rows asks for lengths=), or the numbers have "
                "grown beyond what the network's dtype can hold.",
                ("gradient",),
            )
        ]
    if n.gradient == 0:
        text = "The gradient is exactly zero: this loss does not move the matrix."
        return [Finding(text, ("gradient",))]
    rules = (_growth, _advice, _path, _reach, _saturation, _detour)
    return [finding for rule in rules for finding in rule(n)][:limit]


def becomes(n: Numbers) -> str:
    """What a small change of the state does over the span.

    "grows", "keeps", "fades" or "vanishes", and "varies" where that depends on the row or on
    whether one asks the exponents or the transition.
    """
    if not n.decades:
        return "unknown"
    kinds = {_one(decades) for decades in n.decades}
    if len(kinds) > 1 and kinds != {"fades", "vanishes"}:
        return "varies"
    kind = kinds.pop() if len(kinds) == 1 else "fades"
    if n.transition_low is None or n.transition_high is None:
        return kind
    # Over its own lags, which may be fewer: there it need not have come as far.
    agrees = {
        "grows": n.transition_low > 1,
        "keeps": n.transition_low >= 0.1 and n.transition_high <= 10,
        "fades": n.transition_high < 1,
        "vanishes": n.transition_high < 1,
    }
    return kind if agrees[kind] else "varies"


def _one(decades: float) -> str:
    if decades > GROWS:
        return "grows"
    if decades >= -GROWS:
        return "keeps"
    return "vanishes" if decades < VANISHES else "fades"


def _growth(n: Numbers) -> Iterator[Finding]:
    if n.exponent is None or becomes(n) == "unknown":
        return
    seen = n.transition_low is not None and n.transition_high is not None
    over = f" over the last {n.lag} steps" if seen else ""
    high = f"{number(n.transition_high or 0.0)} times itself" if seen else ""
    kind = becomes(n)
    if kind == "grows":
        with np.errstate(over="ignore"):
            per_step = number(float(np.exp(n.exponent)))
        text = f"Gradients explode: a small change of the state grows {per_step} times a step"
        text += f"{over and ','}{over}{' up to ' if seen else ''}{high}. "
        text += "Clip them (ur.clip_grad_norm)."
    elif kind in ("vanishes", "fades"):
        word = "vanish" if kind == "vanishes" else "fade"
        pace = f"shrinks to a tenth in {number(LN10 / -n.exponent)} steps"
        if np.isinf(n.exponent):
            pace = "is lost altogether"
        text = f"Far gradients {word}: a small change of the state {pace}"
        text += f", and{over} becomes at most {high}." if seen else "."
    elif kind == "keeps":
        text = f"Gradients keep their order of size: λ₁ = {number(n.exponent)} over {n.span} steps"
        text += f", and{over} a small change becomes at most {high}." if seen else "."
    else:
        low, top = number(n.exponent_low or 0.0), number(n.exponent_high or 0.0)
        text = f"Neither growth nor decay alone: λ₁ is {low} to {top}, by the row"
        text += f", and{over} a small change becomes at most {high}" if seen else ""
        if seen and n.transition_low != n.transition_high:
            text += f" in one row, {number(n.transition_low or 0.0)} times in another"
        text += "."
    yield Finding(text, (*EXPONENTS, "span", *(TRANSITIONS if seen else ())))


def _advice(n: Numbers) -> Iterator[Finding]:
    """What could help, where something is amiss."""
    if n.cell == "RNN":
        yield from _advice_rnn(n)
    elif n.cell == "LSTM" and becomes(n) != "grows":
        yield from _advice_lstm(n)
    elif n.cell == "GRU" and n.mean is not None and becomes(n) == "vanishes":
        needed = 1 - 1 / n.span
        if n.mean < needed:
            text = (
                f"The update gate is {beside_one(n.mean)} on average; along z ⊙ h more than 1/e "
                f"is left after {n.span} steps only where z is above {beside_one(needed)}."
            )
            if n.bias:
                text += f" Adding {_bias(n.span):.1f} to the rows of z in bias_ih starts near that."
            yield Finding(text, ("mean", "span"))


def _advice_rnn(n: Numbers) -> Iterator[Finding]:
    if n.norm is None or n.radius is None:
        return
    orthogonal = "initialise('orthogonal') starts at 1"
    if becomes(n) == "grows":
        text = f"‖W‖₂ = {number(n.norm)}, ρ(W) = {number(n.radius)}: {orthogonal} for both."
        yield Finding(text, ("norm", "radius"))
    elif becomes(n) == "vanishes" and n.bound is not None and n.bound < 1:
        if n.nonlinearity == "sigmoid":
            orthogonal = "an orthogonal W has 1/4; tanh, a GRU or an LSTM can keep more"
        text = (
            f"γ‖W‖₂ = {beside_one(n.bound)} < 1: whatever the input, at most "
            f"{number(n.bound**n.span)} is left after {n.span} steps; {orthogonal}."
        )
        yield Finding(text, ("bound", "span"))
    elif becomes(n) == "vanishes" and n.radius < 1:
        yield Finding(
            f"ρ(W) = {beside_one(n.radius)}: {orthogonal}; a GRU or an LSTM has a path that does "
            "not shrink by W at all.",
            ("radius",),
        )


def _advice_lstm(n: Numbers) -> Iterator[Finding]:
    if n.low is None or n.mean is None:
        return
    if n.low > MOST:
        text = f"{percent(n.low)} of the forget gates are under 0.1, which cuts the cell's path."
        if n.bias:
            text += " A trained net may do so on purpose; before training a forget_bias opens them."
        yield Finding(text, ("low",))
    elif n.memory is not None and n.memory < n.span / 4:
        text = (
            f"The cell's own path falls below 1/e in {number(n.memory)} steps (median of the "
            f"units), with forget gates of {n.mean:.2f} on average."
        )
        if n.bias:
            text += f" A forget_bias of {_bias(n.span):.1f} starts near {n.span} steps."
        yield Finding(text, ("mean", "memory", "span"))


def _bias(steps: int) -> float:
    """With which a gate f keeps 1/e over so many steps (Tallec & Ollivier 2018).

    f^n = 1/e where f / (1 - f) = n - 1/2, up to 1 / (12 n); its logarithm is the gate's sum.
    """
    return float(np.log(max(steps, 1) - 0.5))


def _path(n: Numbers) -> Iterator[Finding]:
    """Which path gradients take in an LSTM, at all lags."""
    if n.ratio_low is None or n.ratio_high is None:
        return
    low, high = number(n.ratio_low), number(n.ratio_high)
    more, less = n.ratio_high > TOGETHER, n.ratio_low < 1 / TOGETHER
    if not more and not less:
        text = (
            f"At every lag up to {n.ratio_lags} the full derivative of a cell is {low} to {high} "
            "times that along the cell alone: the cell's own path decides what is kept."
        )
    else:
        clauses = []
        if less:
            clauses.append("at the former, paths through h and the gates cancel more than half")
        if more:
            clauses.append("at the latter, most of it comes through h and the gates")
        text = (
            f"The full derivative of a cell is {low} times that along the cell alone at lag "
            f"{n.ratio_low_lag} and {high} times at lag {n.ratio_high_lag}: {'; '.join(clauses)}."
        )
    yield Finding(
        text, ("ratio_low", "ratio_low_lag", "ratio_high", "ratio_high_lag", "ratio_lags")
    )


def _reach(n: Numbers) -> Iterator[Finding]:
    """Of what use far steps are to this loss."""
    if n.reach is None or n.far is None or n.steps < 2:
        return
    half = n.steps // 2
    if n.reach <= half:
        text = f"Without all lags beyond {n.reach} the gradient changes by {100 * REST:g} % at most"
        text += f" (truncate={n.reach})." if n.top else "."
        yield Finding(text, ("reach",))
    else:
        yield Finding(
            f"Far lags count: those beyond {half} hold {percent(n.far)} of the sum of all lags' "
            f"norms, and only what is beyond {n.reach} is sure to be within {100 * REST:g} % of "
            "the gradient.",
            ("far", "reach"),
        )


def _saturation(n: Numbers) -> Iterator[Finding]:
    """Units that pass little."""
    if n.nonlinearity == "relu" and n.low is not None and n.low > MOST:
        yield Finding(
            f"{percent(n.low)} of the units are 0 and pass no gradient: a smaller learning rate or "
            "larger biases can keep more of them at work.",
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
            f"{percent(n.shut)} of the input gates are under 0.1: of what is read there, less than "
            "a tenth is written to the cell.",
            ("shut",),
        )


def _detour(n: Numbers) -> Iterator[Finding]:
    """A transient of a recurrence that fades in the end."""
    if n.peak is None or n.transition is None or becomes(n) == "grows":
        return
    if n.peak > DETOUR * max(n.transition, 1.0):
        yield Finding(
            f"On the way a small change grows up to {number(n.peak)} times (at lag {n.peak_lag}), "
            f"more than the {number(n.transition)} times at lag {n.lag}: clipping guards against "
            "it.",
            ("peak", "peak_lag", "transition", "lag"),
        )
