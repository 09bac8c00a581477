"""`torch.compile` turns every subclass of `torch.nn.LSTM`, `GRU` and `RNN` away, since it would
unroll their loops over time. Ours have none: a call is one operator. So ours, and only ours, are
let in, as `torch._dynamo.config.allow_rnn` would let in all.
"""

from __future__ import annotations

import importlib.abc
import importlib.util
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import torch

F = TypeVar("F", bound=Callable[..., Any])

_BUILDER = "torch._dynamo.variables.builder"
_ours: set[type] = set()
_unread: list[Callable[..., Any]] = []


def in_graph(function: F) -> F:
    """Have Dynamo put calls of a function into its graph as they are, for the rest of the compiler
    to trace with tensors.
    """
    _unread.append(function)
    return function


def let_in(*classes: type) -> None:
    """Have Dynamo trace these modules: now, or once it is imported (which takes a second)."""
    first = not _ours
    _ours.update(classes)
    if not first:
        return
    if _BUILDER in sys.modules:
        _open(sys.modules[_BUILDER])
    else:
        sys.meta_path.insert(0, _Waiting())


def _open(builder: Any) -> None:
    theirs = builder.VariableBuilder.wrap_module

    def wrap_module(self: Any, value: Any) -> Any:
        # Not sooner: Dynamo is not whole while it is imported.
        while _unread:
            torch.compiler.allow_in_graph(_unread.pop())
        if type(value) not in _ours:
            return theirs(self, value)
        with builder.config.patch(allow_rnn=True):
            return theirs(self, value)

    builder.VariableBuilder.wrap_module = wrap_module


class _Waiting(importlib.abc.MetaPathFinder):
    """Waits for Dynamo to be imported, and is gone after that."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != _BUILDER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            load(module)
            _open(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
