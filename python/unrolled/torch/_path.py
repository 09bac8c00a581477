"""Who computes: our kernels or PyTorch, and why.

The functions here give None where our kernels can, or else the reason why they cannot, as a clause
for `explain`. Modules ask them before every call, so they are ordered by what is cheap.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.autograd import forward_ad

from ._eager import functorch_level
from ._memory import NUMBERS, Unfit
from ._weights import PLAIN

AUTOCAST = "autocast is on for the CPU"
FORWARD_MODE = "forward-mode differentiation asks for it"
FUNCTORCH = "a transform of torch.func asks for it"
# With these PyTorch itself has to take its differentiable parts rather than oneDNN's kernel.
TRANSFORMS = frozenset((FORWARD_MODE, FUNCTORCH))

# Told of every call's module and arguments, while somebody is (`explain`).
watcher: Callable[..., None] | None = None

_any_autocast = torch._C._is_any_autocast_enabled
_dispatch_modes = torch._C._len_torch_dispatch_stack
_jit_tracing = torch._C._get_tracing_state


def traced(x: Any) -> bool:
    """Whether something looks on that has to see operators: a compiler, a dispatch mode."""
    return bool(torch.compiler.is_compiling() or _dispatch_modes() > 0 or _is_stand_in(x))


def _is_stand_in(x: Any) -> bool:
    """Whether `x` stands for a tensor while something traces."""
    return type(x) not in PLAIN and type(x).__module__.startswith("torch._subclasses.")


def recorded() -> bool:
    """Whether `torch.jit.trace` records what is done to tensors, for inputs that will be others."""
    return _jit_tracing() is not None


def in_onnx_export() -> bool:
    """Whether this is the work of `torch.onnx.export`, as far as it can be told: not by Dynamo."""
    if torch.compiler.is_dynamo_compiling() or "torch.onnx" not in sys.modules:
        return False
    return bool(torch.onnx.is_in_onnx_export())


def not_scriptable(module: Any) -> Any:
    """What `torch.jit.script` asks a module for before it reads its source."""
    kind = type(module)
    raise TypeError(
        f"{kind.__module__}.{kind.__qualname__}: torch.jit.script compiles PyTorch's own layers "
        "only; call unrolled.torch.restore(model) before"
    )


def surroundings() -> str | None:
    """What is true of any call made just now."""
    if torch.compiler.is_compiling():
        # What else there is Dynamo has taken upon itself.
        return AUTOCAST if torch.is_autocast_enabled("cpu") else None
    if _any_autocast() and torch.is_autocast_enabled("cpu"):
        return AUTOCAST
    if functorch_level() is not None:
        return FUNCTORCH
    if forward_ad._current_level >= 0:
        return FORWARD_MODE
    if recorded():
        return "torch.jit.trace is recording PyTorch's functions"
    return None


def tensor(name: str, x: Any) -> str | None:
    """What is wrong with a tensor, whatever its shape."""
    if type(x) not in PLAIN and not _is_stand_in(x):
        return f"{name} is a {type(x).__name__}"
    if x.dtype not in NUMBERS:
        return f"{name} is {x.dtype}; the kernels know float32 and float64"
    if not x.is_cpu:
        return f"{name} is on device {x.device}"
    if x.layout is not torch.strided:
        return f"the layout of {name} is {x.layout}"
    return None


def states(x: Any, given: tuple[Any, ...], shapes: tuple[tuple[int, ...], ...]) -> str | None:
    """What is wrong with initial states that should have these shapes."""
    for name, state, shape in zip(("h0", "c0"), given, shapes, strict=False):
        if (
            type(state) in PLAIN
            and state.dtype is x.dtype
            and state.shape == shape
            and state.is_cpu
            and state.layout is torch.strided
        ):
            continue  # as nearly always; what follows costs twice that
        if not isinstance(state, torch.Tensor):
            return f"{name} is a {type(state).__name__}"
        found = tensor(name, state)
        if found is not None:
            return found
        if state.dtype is not x.dtype:
            return f"{name} is {state.dtype}, x {x.dtype}"
        if state.shape != shape:
            return f"{name} has shape {tuple(state.shape)}, not {shape}"
    return None


def fit(x: Any, weights: Any) -> None:
    """For operators, whose weights nothing else looks at before they run.

    Raises
    ------
    Unfit
        If they are not for our kernels.
    """
    for weight in weights:
        found = tensor("a weight", weight)
        if found is not None:
            raise Unfit(found)
        if weight.dtype is not x.dtype:
            raise Unfit(f"x is {x.dtype}, a weight {weight.dtype}")


def differentiated(inputs: Iterable[Any], weights: Iterable[Any]) -> bool:
    """Whether the call is one that will be differentiated."""
    return torch.is_grad_enabled() and any(
        t is not None and t.requires_grad for t in (*weights, *inputs)
    )
