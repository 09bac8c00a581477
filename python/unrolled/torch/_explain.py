"""Which path a call would take."""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence

from . import _classes, _path
from ._cells import Cell
from ._memory import NUMBERS, Unfit
from ._recurrent import Recurrent
from ._sequences import _LEAST_STEPS, RecurrentLayer
from ._weights import packed

_OURS = (RecurrentLayer, Cell, Recurrent)
_NAMES = frozenset(kind.__name__ for kind in _classes.THEIR_CLASSES)
_LIKE_ONE = re.compile(r"LSTM|GRU|RNN|Lstm|Gru|Rnn")


def explain(module: torch.nn.Module, *args: Any, **kwargs: Any) -> str:
    """Who would compute ``module(*args, **kwargs)`` if it were called now, and why.

    Parameters
    ----------
    module : torch.nn.Module
        A recurrent layer or cell; or a model with some inside, which is run once to see what they
        are called with. Buffers and the random numbers of the CPU are afterwards as they were.
    *args, **kwargs
        What it would be called with.

    Returns
    -------
    str
        "unrolled: …" or "PyTorch: …"; for a model a line of each layer with its name before it.

    Raises
    ------
    TypeError
        If `module` is not a `torch.nn.Module`, or takes no such arguments.

    Example
    -------
    >>> import torch
    >>> import unrolled.torch
    >>> net = unrolled.torch.GRU(3, 8)
    >>> unrolled.torch.explain(net.bfloat16(), torch.zeros(5, 2, 3, dtype=torch.bfloat16))
    'PyTorch: x is torch.bfloat16; the kernels know float32 and float64'
    """
    if not isinstance(module, torch.nn.Module):
        raise TypeError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    if isinstance(module, _OURS) and not _classes.own_forward(type(module)):
        if "x" in kwargs:
            kwargs["input"] = kwargs.pop("x")
        given = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        return _call(module, given["input"], given.get("hx"))
    return _walk(module, args, kwargs)


def _call(module: Any, x: Any, hx: Any) -> str:
    if module._quicker_by_torch(x):
        return f"PyTorch: {module._quicker}"
    try:
        reason = module._reason(x, hx)
        if reason is None:
            dtype = (x[0] if isinstance(x, PackedSequence) else x).dtype
            net = packed({}, 0, module._kind(), module._weights(), module.hidden_size, dtype)
    except Unfit as unfit:
        reason = str(unfit)
    if reason is not None:
        return f"PyTorch: {reason}"
    parts = [f"{net.network.isa} kernels"]
    if _path.traced(x):
        parts.append("as an operator, for what is looking on")
    elif torch.is_grad_enabled() and any(p.requires_grad for p in module.parameters()):
        parts.append("with a tape for the way back")
    else:
        parts.append("keeping nothing")
    if not isinstance(module, Cell) and module.training and module.dropout:
        parts.append("layer by layer, PyTorch's dropout between")
    return f"unrolled: {', '.join(parts)}"


def _walk(model: Any, args: Any, kwargs: Any) -> str:
    """What is recurrent in a model, called once."""
    found: dict[str, list[str]] = {}
    ours: dict[Any, str] = {}
    for name, module in model.named_modules():
        if isinstance(module, _OURS):
            ours[module] = name
            found[name] = []
        elif isinstance(module, _classes.THEIR_CLASSES):
            found[name] = [f"PyTorch: {_not_ours(module)}"]
        elif (why := why_left(module)) is not None:
            found[name] = [f"PyTorch: {why}"]

    def see(module: Any, x: Any, hx: Any = None, resets: Any = None) -> None:
        if module in ours:
            text = _call(module, x, hx)
            if text not in found[ours[module]]:
                found[ours[module]].append(text)

    if ours:
        with _watched(see), _undone(model):
            model(*args, **kwargs)
    if not found:
        return f"PyTorch: there is nothing recurrent in {type(model).__qualname__}"
    if list(found) == [""]:
        return "\n".join(found[""] or ["not called"])
    lines = [
        f"{name or '(the model)'}: {text}"
        for name, texts in found.items()
        for text in texts or ["not called"]
    ]
    return "\n".join(lines)


def _not_ours(module: Any) -> str:
    try:
        _classes.to_ours(module)
    except _classes.Left as why:
        return str(why)
    return f"{type(module).__qualname__} is not one of ours; see unrolled.torch.accelerate"


@contextmanager
def _watched(see: Callable[..., None]) -> Iterator[None]:
    """`see` is told of this thread's calls of our layers."""
    before, here = _path.watcher, threading.get_ident()

    def watcher(*call: Any) -> None:
        if threading.get_ident() == here:
            see(*call)
        elif before is not None:
            before(*call)

    _path.watcher = watcher
    try:
        yield
    finally:
        _path.watcher = before


@contextmanager
def _undone(model: Any) -> Iterator[None]:
    """Buffers that are written within it get their numbers back, and random numbers begin again."""
    kept = [(b, b.detach().clone()) for b in model.buffers() if not b.is_inference()]
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, numbers in kept:
                    # Not by their counters, which batch normalisation does not turn.
                    if not torch.equal(buffer, numbers):
                        buffer.copy_(numbers)


def standing(module: Any) -> str:
    """A layer for a summary: what it is, and which calls PyTorch computes as the layer stands."""
    notes = [f"{module._get_name()}({module.extra_repr()})"]
    if not isinstance(module, _classes.OUR_CLASSES):
        return notes[0]
    if _classes.own_forward(type(module)):
        notes.append("by what its own forward hands on")
    weights = [w for w in module.parameters() if w.is_floating_point()]
    odd = [str(w.dtype) for w in weights if w.dtype not in NUMBERS]
    odd += [f"on device {w.device}" for w in weights if not w.is_cpu]
    if odd:
        notes.append(f"by PyTorch as long as its weights are {odd[0]}")
    elif isinstance(module, Cell):
        notes.append(module._standing())
    elif module._quicker_by_torch(torch.empty(1, 1, module.input_size, device="meta")):
        notes.append(f"in calls of {_LEAST_STEPS[module.mode]} or more steps")
    return ", ".join(notes)


def why_left(module: Any) -> str | None:
    """Why a module that looks recurrent, though none of PyTorch's layers, is left alone."""
    kind = type(module)
    name = kind.__qualname__
    if isinstance(module, torch.jit.ScriptModule):
        # A compiled module has forgotten its class but for the name.
        of = getattr(module, "original_name", name)
        return f"{of} is compiled by torch.jit; accelerate before" if of in _NAMES else None
    if isinstance(module, (torch.nn.RNNBase, torch.nn.RNNCellBase)):
        return f"{name} has a recurrence of its own"
    if _LIKE_ONE.search(kind.__name__) is None:
        return None
    if kind.__module__.startswith("torch.ao."):
        return f"{name} is quantised, and has kernels of its own"
    inner = list(module.modules())[1:]
    recurrent = (*_classes.THEIR_CLASSES, torch.nn.RNNBase, torch.nn.RNNCellBase)
    if any(isinstance(m, recurrent) or _LIKE_ONE.search(type(m).__name__) for m in inner):
        return None
    return f"{name} is by its name recurrent, but not made of torch.nn's recurrent layers"
