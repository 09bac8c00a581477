"""The pickle in PyTorch's archives, taken apart without `pickle`: nothing is called, nothing runs.

A state dict takes few of the instructions there are. They are carried out here on dicts, lists,
tuples, numbers and strings; of a tensor, what is said of it is kept: the storage's name, type and
size, the offset, the sizes, the strides. Everything else is refused by its name.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from ._keys import printable

# Numbers' types by the storages that PyTorch names; None for those that are no parameters here.
STORAGES: dict[str, str | None] = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": None,
    "BFloat16Storage": None,
    "LongStorage": None,
    "IntStorage": None,
    "ShortStorage": None,
    "CharStorage": None,
    "BoolStorage": None,
    "ByteStorage": None,
}
# Python's `collections.OrderedDict` and what PyTorch rebuilds a tensor and a parameter with.
ORDERED, TENSOR, PARAMETER = (
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
)


@dataclass(frozen=True)
class Global:
    """The name of something that pickle would look up."""

    name: str


@dataclass(frozen=True)
class Storage:
    """Numbers in an entry of the archive."""

    kind: str
    key: str
    numbers: int


@dataclass(frozen=True)
class Tensor:
    """A view of a storage, in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Mark:
    """Where the items of a container begin on the stack."""


MARK = _Mark()
CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: MARK,
}
LITERALS = (
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "BINUNICODE",
    "SHORT_BINUNICODE",
)
# Which version of pickle, and how many bytes follow: nothing to do.
IDLE = ("PROTO", "FRAME")
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def unpickled(data: bytes, where: str) -> Any:
    """What is in a pickle: numbers, strings, containers, `Tensor`.

    Raises
    ------
    ValueError
        For anything else, by name, and for damage.
    """
    try:
        return _Machine(where).run(pickletools.genops(data))
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        if str(error).startswith("path: "):
            raise
        raise ValueError(f"path: a damaged pickle in {where}: {printable(error)}") from None


class _Machine:
    def __init__(self, where: str) -> None:
        self._where = where
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, operations: Iterator[tuple[Any, Any, Any]]) -> Any:
        stack = self._stack
        for opcode, argument, _ in operations:
            name = opcode.name
            if name in CONSTANTS:
                stack.append(CONSTANTS[name]())
            elif name in LITERALS:
                stack.append(argument)
            elif name in ("BINPUT", "LONG_BINPUT"):
                self._memo[argument] = stack[-1]
            elif name == "MEMOIZE":
                self._memo[len(self._memo)] = stack[-1]
            elif name in ("BINGET", "LONG_BINGET"):
                stack.append(self._memo[argument])
            elif name == "GLOBAL":
                stack.append(Global(self._known(argument)))
            elif name == "STACK_GLOBAL":
                rest, module = self._pop(), self._pop()
                stack.append(Global(self._known(f"{module} {rest}")))
            elif name == "TUPLE":
                stack.append(tuple(self._items()))
            elif name in TUPLES:
                count = TUPLES[name]
                items = [self._pop() for _ in range(count)]
                stack.append(tuple(reversed(items)))
            elif name == "BINPERSID":
                stack.append(self._storage(self._pop()))
            elif name == "REDUCE":
                arguments, function = self._pop(), self._pop()
                stack.append(self._rebuilt(function, arguments))
            elif name == "STOP":
                return self._pop()
            elif name not in IDLE:
                self._fill(name)
        raise ValueError("it does not end")

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is MARK:
            raise ValueError("a mark where a value was expected")
        return value

    def _items(self) -> list[Any]:
        """What lies above the last mark, which goes too."""
        items: list[Any] = []
        while (value := self._stack.pop()) is not MARK:
            items.append(value)
        return items[::-1]

    def _fill(self, name: str) -> None:
        """Instructions that put something into a container."""
        if name in ("APPEND", "APPENDS"):
            values = [self._pop()] if name == "APPEND" else self._items()
            self._top(list).extend(values)
        elif name in ("SETITEM", "SETITEMS"):
            items = [self._pop(), self._pop()][::-1] if name == "SETITEM" else self._items()
            # Other keys are no state dict's, and a nested tuple's hash may take for ever.
            if len(items) % 2 or not all(isinstance(key, (str, int)) for key in items[::2]):
                raise ValueError("expected names and values in a dict")
            self._top(dict).update(zip(items[::2], items[1::2], strict=True))
        elif name == "BUILD":
            # A state dict's versions of its modules, which are no parameters.
            state = self._pop()
            self._top(dict)
            if not isinstance(state, dict) or state.keys() != {"_metadata"}:
                raise self._other("attributes of its own")
        else:
            raise self._other(f"other objects ({name})")

    def _top(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise ValueError(f"expected a {kind.__name__}, got {type(self._stack[-1]).__name__}")
        return self._stack[-1]

    def _known(self, name: str) -> str:
        module, _, rest = name.partition(" ")
        if name not in (ORDERED, TENSOR, PARAMETER) and (module != "torch" or rest not in STORAGES):
            raise self._other(f"an object of {name!r:.80}")
        return name

    def _other(self, what: str) -> ValueError:
        return ValueError(
            f"path: expected a state dict (model.state_dict()), got {what} in {self._where}; "
            "nothing in it was run"
        )

    def _storage(self, about: Any) -> Storage:
        tag, kind, key, _, numbers = about
        kind_name = kind.name.removeprefix("torch ") if isinstance(kind, Global) else ""
        if tag != "storage" or kind_name not in STORAGES or not isinstance(key, str):
            raise ValueError("expected a storage")
        return Storage(kind_name, key, _size(numbers))

    def _rebuilt(self, function: Any, arguments: Any) -> Any:
        name = function.name if isinstance(function, Global) else ""
        if not isinstance(arguments, tuple):
            raise ValueError("expected arguments")
        if name == ORDERED and not arguments:
            return {}
        if name == PARAMETER and len(arguments) == 3 and isinstance(arguments[0], Tensor):
            return arguments[0]
        # After the first four: whether it takes a gradient, hooks, perhaps metadata.
        if name == TENSOR and len(arguments) in (6, 7):
            if arguments[6:] not in ((), (None,)):
                raise self._other("a tensor that is not computed yet, conjugate or negative")
            storage, offset, shape, strides = arguments[:4]
            if not isinstance(storage, Storage) or len(shape) != len(strides):
                raise ValueError("expected a tensor")
            sizes = tuple(map(_size, shape)), tuple(map(_size, strides))
            return Tensor(storage, _size(offset), *sizes)
        raise ValueError("expected a tensor, a parameter or an OrderedDict")


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("expected a size")
    return value
