"""Recurrent networks (RNN, GRU, LSTM, and cells of your own) with fast kernels and exact
back-propagation through time.

Arrays are NumPy's, float32 or float64, time first: ``(T, B, I)``. Parameters have PyTorch's names,
shapes and gate order.

Example
-------
>>> import numpy as np
>>> import unrolled as ur
>>> net = ur.LSTM(3, 8, seed=0)
>>> x = np.ones((20, 4, 3), dtype=np.float32)
>>> y, (h, c), tape = net.record(x)
>>> loss, dy = ur.losses.mse(y, np.zeros_like(y))
>>> g = tape.backward(dy)
>>> g.parameters["weight_hh_l0"].shape, g.input.shape
((32, 8), (20, 4, 3))
"""

from . import _rust as _rust
from . import cells, flow, losses, optim, reference
from ._activation import Activation
from ._clip import clip_grad_norm
from ._compress import Compression
from ._dense import Dense, DenseGradients
from ._files import export, load, save
from ._keras_weights import from_keras_weights, to_keras_weights
from ._machine import (
    available_isas,
    check_environment,
    get_num_threads,
    isa,
    set_max_isa,
    set_num_threads,
    show_config,
)
from ._modules import GRU, LSTM, RNN
from ._native import __version__
from ._residual import Residual
from ._sequential import Sequential
from ._sequential_run import SequentialGradients, SequentialStream, SequentialTape
from ._stream import Stream
from ._tape import Gradients, Tape
from .cells import cell
from .cells._recurrent import Recurrent

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Activation",
    "Compression",
    "Dense",
    "DenseGradients",
    "Gradients",
    "Recurrent",
    "Residual",
    "Sequential",
    "SequentialGradients",
    "SequentialStream",
    "SequentialTape",
    "Stream",
    "Tape",
    "__version__",
    "available_isas",
    "cell",
    "cells",
    "clip_grad_norm",
    "flow",
    "export",
    "from_keras_weights",
    "get_num_threads",
    "isa",
    "load",
    "losses",
    "optim",
    "reference",
    "save",
    "set_max_isa",
    "set_num_threads",
    "show_config",
    "to_keras_weights",
]

check_environment()
del check_environment
