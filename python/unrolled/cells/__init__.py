"""Cells of one's own, of functions that take symbols and arrays alike, and a gallery of known ones.

Example
-------
>>> import unrolled as ur
>>> from unrolled.cells import sigmoid, tanh
>>> @ur.cell
... def leaky(x, h, *, alpha=0.1):
...     return (1 - alpha) * h + alpha * tanh(x.h + h.h)
>>> leaky.states, leaky.constants
(('h',), {'alpha': 0.1})
"""

from ._cell import Cell, from_description
from ._check import check
from ._explain import explain
from ._functions import (
    abs,
    clip,
    cos,
    exp,
    linear,
    log,
    log_sigmoid,
    maximum,
    minimum,
    normalise,
    relu,
    sigmoid,
    silu,
    sin,
    softplus,
    spike,
    sqrt,
    stop_gradient,
    tanh,
    where,
)
from ._gallery import (
    adaptive_leaky_rnn,
    co_rnn,
    coupled_lstm,
    gru,
    gru_original,
    ind_rnn,
    janet,
    layer_norm_gru,
    layer_norm_lstm,
    layer_norm_lstm_all,
    leaky_rnn,
    lem,
    li_gru,
    lif,
    lstm,
    lstm_without_forget_gate,
    mgu,
    min_gru,
    min_lstm,
    peephole_lstm,
    rg_lru,
    rnn,
    slstm,
    ugrnn,
)
from ._maps import Maps
from ._trace import cell

__all__ = [
    "rnn",
    "lstm",
    "lstm_without_forget_gate",
    "gru",
    "gru_original",
    "peephole_lstm",
    "coupled_lstm",
    "layer_norm_lstm",
    "layer_norm_lstm_all",
    "layer_norm_gru",
    "janet",
    "mgu",
    "ugrnn",
    "li_gru",
    "leaky_rnn",
    "adaptive_leaky_rnn",
    "ind_rnn",
    "min_gru",
    "min_lstm",
    "rg_lru",
    "slstm",
    "co_rnn",
    "lem",
    "lif",
    "Cell",
    "explain",
    "Maps",
    "abs",
    "cell",
    "check",
    "clip",
    "cos",
    "exp",
    "from_description",
    "linear",
    "log",
    "log_sigmoid",
    "maximum",
    "minimum",
    "normalise",
    "relu",
    "sigmoid",
    "silu",
    "sin",
    "softplus",
    "spike",
    "sqrt",
    "stop_gradient",
    "tanh",
    "where",
]
