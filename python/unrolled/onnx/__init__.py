"""ONNX: models with LSTM, GRU and RNN nodes in and out, and ONNX's backend interface.

Needs the extra: ``pip install '.[onnx]'``.

Example
-------
>>> import numpy as np
>>> import unrolled as ur
>>> import unrolled.onnx
>>> net = ur.LSTM(3, 8, seed=0)
>>> proto = ur.onnx.to_onnx(net)
>>> x = np.ones((5, 2, 3), dtype=np.float32)
>>> same = ur.onnx.load(proto)
>>> np.array_equal(same(x)[0], net(x)[0])
True
>>> sorted(ur.onnx.Model(proto)(x=x))
['c_n', 'h_n', 'y']
"""

from .._extras import missing

try:
    import onnx as _onnx  # noqa: F401
except ImportError as error:
    raise missing(error, "unrolled.onnx", "onnx", "onnx") from error

from ._backend import Backend, Prepared
from ._export import save, to_onnx
from ._load import load
from ._model import Model, Value

# As ONNX's own tools look for them: in a module that is a backend.
is_compatible = Backend.is_compatible
prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device

__all__ = [
    "Backend",
    "Model",
    "Prepared",
    "Value",
    "is_compatible",
    "load",
    "prepare",
    "run_model",
    "run_node",
    "save",
    "supports_device",
    "to_onnx",
]
