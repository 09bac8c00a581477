"""Which class of ours stands for which of PyTorch's, and the way there and back.

A class is one of PyTorch's own, or one that PyTorch has made around it for one module
(parametrisations, FSDP2), or a subclass of a user's. For that one we make a class that inherits
from both it and ours: its `super()` then finds ours, and PyTorch's behind that.
"""

from __future__ import annotations

import inspect
import sys
from typing import Any
from weakref import WeakValueDictionary

from torch import nn

from . import _cells, _dynamo, _recurrent, _sequences

PAIRS: tuple[tuple[Any, Any], ...] = (
    (nn.LSTM, _sequences.LSTM),
    (nn.GRU, _sequences.GRU),
    (nn.RNN, _sequences.RNN),
    (nn.LSTMCell, _cells.LSTMCell),
    (nn.GRUCell, _cells.GRUCell),
    (nn.RNNCell, _cells.RNNCell),
)
_OURS = dict(PAIRS)
_THEIRS = {ours: theirs for theirs, ours in PAIRS}
THEIR_CLASSES = tuple(_OURS)
OUR_CLASSES = tuple(_THEIRS)
# Where a class of ours for a user's keeps that.
_OF = "_unrolled_class_of"
# PyTorch's `forward` asks these, and our kernels do not.
_ASKED = frozenset(
    (
        "check_input",
        "check_forward_args",
        "check_hidden_size",
        "get_expected_hidden_size",
        "permute_hidden",
        "_flat_weights",
        "_init_flat_weights",
        "_update_flat_weights",
        "_weights_have_changed",
        "__getattr__",
        "__getattribute__",
    )
)
_made: WeakValueDictionary[type, type] = WeakValueDictionary()


class Left(Exception):  # noqa: N818 - a reason, not an error
    """Why a module keeps its class, as a clause about it."""


def to_ours(module: Any) -> Any:
    """The class with which our kernels compute `module`, one of PyTorch's layers.

    Raises
    ------
    Left
        If there is none.
    """
    return _exchanged(type(module), _ours_for, module)


def to_theirs(module: Any) -> Any:
    """The class that `module` had, or would have had, without us. Raises as `to_ours`."""
    return _exchanged(type(module), _theirs_for, module)


def own_forward(kind: type) -> bool:
    """Whether a class of ours has a `forward` of a user's before ours."""
    return inspect.getattr_static(kind, "forward") not in _FORWARDS


_FORWARDS = tuple(
    vars(kind)["forward"] for kind in (_sequences.RecurrentLayer, _cells.Cell, _recurrent.Recurrent)
)


def _exchanged(kind: Any, exchange: Any, module: Any) -> Any:
    if not _made_by_torch(kind):
        return exchange(kind, module)
    bases = tuple(
        _exchanged(base, exchange, module) if issubclass(base, THEIR_CLASSES) else base
        for base in kind.__bases__
    )
    own = {k: v for k, v in vars(kind).items() if k not in ("__dict__", "__weakref__")}
    made = type(kind)(kind.__name__, bases, own)
    _let_in(made)
    return made


def _made_by_torch(kind: type) -> bool:
    """Whether it is a class for one module, which nobody can name."""
    home = sys.modules.get(kind.__module__)
    return kind.__module__.startswith("torch.") and getattr(home, kind.__name__, None) is not kind


def _theirs_for(kind: type, module: Any) -> Any:
    found = _THEIRS.get(kind) or vars(kind).get(_OF)
    if found is None:
        raise Left(f"{kind.__qualname__} is a class of its own, made of ours")
    return found


def _ours_for(kind: type, module: Any) -> Any:
    if kind in _OURS:
        return _OURS[kind]
    theirs = next(base for base in kind.__mro__ if base in _OURS)
    ours = _OURS[theirs]
    own = kind.__mro__[: kind.__mro__.index(theirs)]
    for base in own:
        by = base.__qualname__
        if "forward" in vars(base) and not _calls_super(vars(base)["forward"]):
            raise Left(f"{by} has a forward of its own that does not call super().forward")
        for asked in sorted(_ASKED & set(vars(base))):
            raise Left(f"{by} has a {asked} of its own, which our kernels would not ask")
        if "__init_subclass__" in vars(base) and base.__module__ != "typing":
            raise Left(f"{by} has an __init_subclass__, and we would make a subclass of it")
    added = {n for base in ours.__mro__[: ours.__mro__.index(theirs)] for n in vars(base)}
    added -= set(dir(theirs))
    names = {n for base in own for n in vars(base)}
    names.update(vars(module), module._parameters, module._buffers, module._modules)
    for clash in sorted(added & names):
        raise Left(f"{kind.__qualname__} has a {clash} of its own, and so do our classes")
    return _class_of(kind, ours)


def _calls_super(forward: Any) -> bool:
    code = getattr(inspect.unwrap(forward), "__code__", None)
    return code is not None and {"super", "forward"} <= set(code.co_names)


def _class_of(kind: type, ours: type) -> type:
    made = _made.get(kind)
    if made is None:
        named = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
        try:
            made = type(kind)(
                kind.__name__, (kind, ours), {**named, _OF: kind, "__reduce_ex__": _reduce_ex}
            )
        except TypeError as error:
            raise Left(f"no subclass can be made of {kind.__qualname__}: {error}") from error
        _made[kind] = made
        _let_in(made)
    return made


def _let_in(kind: type) -> None:
    if issubclass(kind, _sequences.RecurrentLayer):
        _dynamo.let_in(kind)


def _reduce_ex(self: Any, protocol: int) -> Any:
    """Pickled and copied as the user's class, which has a name, and ours made of it again."""
    kind = type(self)
    reduced = super(kind, self).__reduce_ex__(protocol)
    function, arguments, *rest = reduced
    if arguments and arguments[0] is kind:
        function, arguments = _again, (function, getattr(kind, _OF), *arguments[1:])
    return function, arguments, *rest


def _again(function: Any, kind: type, *arguments: Any) -> Any:
    ours = next(_OURS[base] for base in kind.__mro__ if base in _OURS)
    return function(_class_of(kind, ours), *arguments)
