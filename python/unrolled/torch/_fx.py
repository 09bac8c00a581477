"""`torch.fx` takes a module for a leaf, one node of its graph, if its class lives in `torch.nn`.
Ours live elsewhere and are leaves all the same.
"""

from __future__ import annotations

from typing import Any

from torch.fx import Proxy, Tracer

_forwards: set[Any] = set()


def leaves(*classes: type) -> None:
    """Have tracers treat modules with these classes' `forward` as leaves."""
    _forwards.update(vars(kind)["forward"] for kind in classes)


def _is_leaf(module: Any) -> bool:
    return getattr(type(module), "forward", None) in _forwards


def _open() -> None:
    theirs = Tracer.is_leaf_module

    def is_leaf_module(self: Any, m: Any, module_qualified_name: str) -> bool:
        return _is_leaf(m) or theirs(self, m, module_qualified_name)

    is_leaf_module.__doc__ = theirs.__doc__
    Tracer.is_leaf_module = is_leaf_module  # type: ignore[method-assign]


_open()


def node(module: Any, *arguments: Any) -> Any:
    """The node a call becomes where a tracer with a rule of its own went into a leaf; else None.

    A module with hooks becomes none: the tracer has run them already, and the node would again.
    """
    tracer: Any = None
    for argument in arguments:
        for part in argument if type(argument) in (tuple, list) else (argument,):
            if isinstance(part, Proxy):
                tracer = part.tracer
    if tracer is None or module is getattr(tracer, "root", None) or not _is_leaf(module):
        return None
    if module._forward_pre_hooks or module._forward_hooks:
        return None
    while arguments[-1] is None:
        arguments = arguments[:-1]
    return tracer.create_proxy("call_module", tracer.path_of_module(module), arguments, {})
