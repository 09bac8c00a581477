"""Who takes part, and what each is given.

All get the same weights and the same x and dy in memory of their own kind before the clock starts
(NumPy arrays, tensors, JAX arrays), time-major as every one of them takes it, in the work's dtype,
float32 but where it says float64; no contender computes in less (OpenVINO is told so). All run on
the same CPUs with the same number of threads, in processes of their own of which the others stand
still (see `apart`). Before the clock starts each has built, compiled and run the work, and its
results have been compared with ours.

* Forward: y. No tape and no graph for gradients (`inference_mode` in PyTorch).
* Training: y, and the gradients of sum(y * dy) by every parameter and by x, new ones each time.
* Step: one step of a stream, B = 1, the state kept between calls by whoever keeps it there.

One call of Python is one sample, its overhead included on every side; outputs are released inside
the clock, as a loop that trains would. What the classes' docstrings say is particular to each.
"""

from __future__ import annotations

from .base import Contender, FailedError, Prepared, Runner, UnsupportedError
from .jax_ import Jax
from .onnx_ import OnnxRuntime, OpenVino
from .torch_ import Torch, TorchCompiled
from .unrolled_ import BuiltIn, Reference, Unrolled

OURS = Unrolled.name
ALL: dict[str, type[Contender]] = {
    each.name: each
    for each in (Unrolled, Torch, TorchCompiled, OnnxRuntime, OpenVino, Jax, BuiltIn, Reference)
}
PEERS = tuple(name for name, each in ALL.items() if each.peer)

__all__ = [
    "ALL",
    "OURS",
    "PEERS",
    "Contender",
    "FailedError",
    "Prepared",
    "Runner",
    "UnsupportedError",
]
