"""Drop-in recurrent layers for PyTorch on a CPU.

`accelerate` takes a model as it is; or use `LSTM`, `GRU`, `RNN`, `LSTMCell`, `GRUCell` and
`RNNCell` where `torch.nn`'s would stand, and `Recurrent` for any cell that is a formula. What our
kernels cannot do – other devices, other dtypes, second derivatives, forward mode, `torch.func` –
PyTorch does, as it did before.

Example
-------
>>> import torch
>>> import unrolled.torch
>>> model = torch.nn.LSTM(3, 8)
>>> unrolled.torch.accelerate(model)
accelerated 1 recurrent layer
  (the model): LSTM(3, 8)
>>> y, (h, c) = model(torch.randn(20, 4, 3))
>>> y.sum().backward()
"""

from .._extras import missing

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise missing(error, "unrolled.torch", "PyTorch", "torch") from error

from . import _onnx as _onnx
from ._accelerate import Summary, accelerate, restore
from ._cells import GRUCell, LSTMCell, RNNCell
from ._explain import explain
from ._recurrent import Recurrent
from ._sequences import GRU, LSTM, RNN

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "GRUCell",
    "LSTMCell",
    "RNNCell",
    "Recurrent",
    "Summary",
    "accelerate",
    "explain",
    "restore",
]
