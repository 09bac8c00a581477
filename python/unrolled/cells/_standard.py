"""LSTM, GRU and RNN with what ONNX's nodes and Keras' layers may ask for beside the usual.

That is other activations, sums clipped before them, peepholes, and a forget gate coupled to the
input gate. Gates have the names and the order of our `LSTM` and `GRU`, so that weights do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .._modules import GRU, LSTM, RNN, RecurrentNet
from ._activations import Function
from ._cell import Cell
from ._description import MOST_LETTERS
from ._functions import clip as clipped
from ._functions import linear
from ._recurrent import Recurrent
from ._trace import cell

# Cells by what they are asked for: a model has many layers of one.
KEPT = 256
# The activations of the built-in cells, by name.
USUAL = {
    "LSTM": (("sigmoid", "tanh", "tanh"),),
    "GRU": (("sigmoid", "tanh"),),
    "RNN": (("tanh",), ("relu",), ("sigmoid",)),
}


@dataclass(frozen=True)
class Standard:
    """An LSTM, GRU or RNN.

    Parameters
    ----------
    kind : {"LSTM", "GRU", "RNN"}
    functions : tuple of Function
        As `lstm_cell`, `gru_cell` and `rnn_cell` take them.
    clip, coupled, peepholes, reset_after
        As these do; `coupled` and `peepholes` are an LSTM's, `reset_after` a GRU's.
    """

    kind: str
    functions: tuple[Function, ...]
    clip: float | None = None
    coupled: bool = False
    peepholes: bool = False
    reset_after: bool = True

    @property
    def formula(self) -> Cell | None:
        """The cell, if it is none of the built-in ones."""
        usual = tuple(function.name for function in self.functions) in USUAL[self.kind]
        if usual and self.clip is None and not self.coupled and not self.peepholes:
            return None
        if self.kind == "LSTM":
            gates = {"coupled": self.coupled, "peepholes": self.peepholes}
            return lstm_cell(*self.functions, clip=self.clip, **gates)
        if self.kind == "GRU":
            return gru_cell(*self.functions, clip=self.clip, reset_after=self.reset_after)
        return rnn_cell(*self.functions, clip=self.clip)

    def network(self, input_size: int, hidden_size: int, **options: Any) -> RecurrentNet[Any]:
        """A network of it, built in where there is one; the parameters are still to be loaded."""
        sizes, options = (input_size, hidden_size), options | {"seed": 0}
        cell = self.formula
        if cell is not None:
            return Recurrent(cell, *sizes, **options)
        if self.kind == "LSTM":
            return LSTM(*sizes, **options)
        if self.kind == "GRU":
            return GRU(*sizes, reset_after=self.reset_after, **options)
        return RNN(*sizes, nonlinearity=self.functions[0].name, **options)


@lru_cache(KEPT)
def lstm_cell(
    gate: Function,
    candidate: Function,
    output: Function,
    *,
    clip: float | None = None,
    coupled: bool = False,
    peepholes: bool = False,
) -> Cell:
    """``c' = f * c + i * g``, ``h' = o * output(c')``.

    Parameters
    ----------
    gate, candidate, output : Function
        Of i, f and o; of g; of the new c. (ONNX's f, g and h.)
    clip : float, optional
        The sums that `gate` and `candidate` get stay within +-clip.
    coupled : bool
        f is 1 - i, and has no parameters.
    peepholes : bool
        i and f see c, o the new c, each times a number of its unit (Gers & Schmidhuber 2000).
    """
    bounded = _bounded(clip)

    def gated(a: Any, name: str, c: Any, p: Any) -> Any:
        return gate(bounded(a + getattr(p, name) * c if peepholes else a))

    def step(x: Any, h: Any, c: Any, p: Any) -> tuple[Any, Any]:
        i = gated(x.i + h.i, "i", c, p)
        f = 1 - i if coupled else gated(x.f + h.f, "f", c, p)
        c = f * c + i * candidate(bounded(x.g + h.g))
        o = gated(x.o + h.o, "o", c, p)
        return o * output(c), c

    def seeing(x: Any, h: Any, c: Any, *, p: Any) -> tuple[Any, Any]:
        return step(x, h, c, p)

    def blind(x: Any, h: Any, c: Any) -> tuple[Any, Any]:
        return step(x, h, c, None)

    told = {"peephole": peepholes, "coupled": coupled, "clip": clip is not None}
    usual = ("sigmoid", "tanh", "tanh")
    return _named("lstm", told, (gate, candidate, output), usual, seeing if peepholes else blind)


@lru_cache(KEPT)
def gru_cell(
    gate: Function, candidate: Function, *, clip: float | None = None, reset_after: bool = True
) -> Cell:
    """``h' = (1 - z) * n + z * h``, with `gate` of r and z, `candidate` of n.

    `reset_after` as for `GRU`, `clip` as for `lstm_cell`.
    """
    bounded = _bounded(clip)

    def step(x: Any, h: Any) -> Any:
        r = gate(bounded(x.r + h.r))
        z = gate(bounded(x.z + h.z))
        n = candidate(bounded(x.n + (r * h.n if reset_after else linear("n", r * h))))
        return (1 - z) * n + z * h

    told = {"reset_before": not reset_after, "clip": clip is not None}
    return _named("gru", told, (gate, candidate), ("sigmoid", "tanh"), step)


@lru_cache(KEPT)
def rnn_cell(function: Function, *, clip: float | None = None) -> Cell:
    """``h' = function(W_ih x + b_ih + W_hh h + b_hh)``; `clip` as for `lstm_cell`."""
    bounded = _bounded(clip)

    def step(x: Any, h: Any) -> Any:
        return function(bounded(x.h + h.h))

    return _named("rnn", {"clip": clip is not None}, (function,), ("tanh",), step)


def _bounded(clip: float | None) -> Callable[[Any], Any]:
    return (lambda a: a) if clip is None else (lambda a: clipped(a, -clip, clip))


def _named(
    kind: str,
    told: dict[str, bool],
    functions: tuple[Function, ...],
    usual: tuple[str, ...],
    step: Callable[..., Any],
) -> Cell:
    """The cell of `step`, its name what it has beside the usual."""
    names = tuple(function.name for function in functions)
    words = [kind, *(word for word, there in told.items() if there)]
    words += names if names != usual else ()
    step.__name__ = "_".join(words)[:MOST_LETTERS]
    return cell(step)
