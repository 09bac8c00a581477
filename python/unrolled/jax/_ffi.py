"""XLA's foreign function interface from Python: a function that XLA calls with its own buffers.

XLA hands a handler one C struct, the call frame, with pointers to the operands' and the results'
memory (`xla/ffi/api/c_api.h`, among the headers that jaxlib brings). ctypes can read that struct
and can make a function that C calls, so neither C++ nor `unsafe` Rust is needed. Three things come
of it that `jax.pure_callback` does not give: the operands are NumPy views of XLA's memory, with no
JAX array made inside a callback (which may wait for the very thread that runs the callback); a call
costs less; a compiled program holds the handler's name and no pointer, so that it can be cached.

The structs below are version 0.1 of that interface; later minor versions only append. XLA asks each
handler for the version it was written for when it is registered and refuses one it cannot serve.
"""

from __future__ import annotations

import ctypes
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import jax
import numpy as np

from .._arguments import Array
from .._native import attempt

MAJOR, MINOR = 0, 1
METADATA, STRING = 1, 4
INVALID_ARGUMENT, INTERNAL = 3, 13

# Seconds that a program may go on after a signal handler has raised an exception.
PATIENCE = 1.0

# XLA_FFI_DataType of the arrays that our operands can be.
DTYPES = {1: "|b1", 4: "<i4", 5: "<i8", 8: "<u4", 9: "<u8", 11: "<f4", 12: "<f8"}

# What computes: the call's attribute, views of the operands, views of the results to be filled.
Compute = Callable[[bytes, list[Array], list[Array]], None]


class _Extension(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("type", ctypes.c_int),
        ("next", ctypes.c_void_p),
    )


class _Version(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("major", ctypes.c_int),
        ("minor", ctypes.c_int),
    )


class _Metadata(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("version", _Version),
        ("traits", ctypes.c_uint32),
    )


class _MetadataExtension(ctypes.Structure):
    _fields_ = (("base", _Extension), ("metadata", ctypes.POINTER(_Metadata)))


class _Buffer(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("dtype", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("rank", ctypes.c_int64),
        ("dims", ctypes.POINTER(ctypes.c_int64)),
    )


class _Buffers(ctypes.Structure):
    """XLA_FFI_Args and XLA_FFI_Rets, which are alike."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("types", ctypes.c_void_p),
        ("buffers", ctypes.POINTER(ctypes.POINTER(_Buffer))),
    )


class _ByteSpan(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("len", ctypes.c_size_t))


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("types", ctypes.POINTER(ctypes.c_int)),
        ("names", ctypes.c_void_p),
        ("values", ctypes.POINTER(ctypes.POINTER(_ByteSpan))),
    )


class _ErrorArguments(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("message", ctypes.c_char_p),
        ("code", ctypes.c_int),
    )


class _Api(ctypes.Structure):
    """The beginning of XLA_FFI_Api: as far as we need it."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.c_void_p),
        ("version", _Version),
        ("internal", ctypes.c_void_p),
        ("create_error", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_ErrorArguments))),
    )


class _CallFrame(ctypes.Structure):
    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("extension", ctypes.POINTER(_Extension)),
        ("api", ctypes.POINTER(_Api)),
        ("context", ctypes.c_void_p),
        ("stage", ctypes.c_int),
        ("operands", _Buffers),
        ("results", _Buffers),
        ("attributes", _Attributes),
    )


_HANDLER = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_CallFrame))
# Of CPython's: `int Py_AddPendingCall(int (*)(void *), void *)`, `int PyObject_IsTrue(PyObject *)`.
_ADD_PENDING_CALL = ctypes.PYFUNCTYPE(None, ctypes.c_void_p, ctypes.py_object)(
    ("Py_AddPendingCall", ctypes.pythonapi)
)
_IS_TRUE = ctypes.cast(ctypes.pythonapi.PyObject_IsTrue, ctypes.c_void_p)
# XLA keeps bare pointers to the handlers: they must live as long as the process.
_handlers: list[Any] = []


def register(name: str, compute: Compute) -> None:
    """Let programs for the CPU call `compute` by this name."""

    def handle(pointer: Any) -> None:
        frame = pointer.contents
        if frame.extension and frame.extension.contents.type == METADATA:
            _answer(frame)
            return
        compute(_attribute(frame), _views(frame.operands, False), _views(frame.results, True))

    # No `try` around the body of `handle` would do: Python hears signals before its first line.
    handler = _HANDLER(partial(attempt, handle, _failed))
    _handlers.append(handler)
    address = ctypes.cast(handler, ctypes.c_void_p).value
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(address), platform="cpu", api_version=1)


def _answer(frame: _CallFrame) -> None:
    extension = ctypes.cast(frame.extension, ctypes.POINTER(_MetadataExtension)).contents
    metadata = extension.metadata.contents
    metadata.version.major, metadata.version.minor = MAJOR, MINOR
    metadata.traits = 0


def _attribute(frame: _CallFrame) -> bytes:
    """The one attribute that our calls have, a string."""
    attributes = frame.attributes
    if attributes.size != 1 or attributes.types[0] != STRING:
        raise ValueError(f"call: expected one attribute, a string, got {attributes.size}")
    span = attributes.values[0].contents
    return ctypes.string_at(span.start, span.len)


class _Memory:
    """Memory of XLA's, as NumPy takes it."""

    __slots__ = ("__array_interface__",)

    def __init__(self, interface: dict[str, Any]) -> None:
        self.__array_interface__ = interface


def _views(buffers: _Buffers, writeable: bool) -> list[Array]:
    views: list[Array] = []
    for n in range(buffers.size):
        buffer = buffers.buffers[n].contents
        shape = tuple(buffer.dims[: buffer.rank])
        typestr = DTYPES[buffer.dtype]
        if 0 in shape:
            # There may be no memory at all.
            views.append(np.empty(shape, typestr))
            continue
        interface = {
            "version": 3,
            "shape": shape,
            "typestr": typestr,
            "data": (buffer.data, not writeable),
        }
        views.append(np.asarray(_Memory(interface)))
    return views


def _failed(pointer: Any, error: BaseException) -> tuple[int | None, Callable[[], None] | None]:
    """XLA's status for an exception, and what is to be called when no step of Python follows.

    An exception cannot pass through XLA. In place of an error of ours XLA raises another with its
    message. What a signal handler raised (KeyboardInterrupt, say) is no error of the program's: it
    is raised as it is once XLA has returned to Python. Until then results are NaN, which nobody
    will see.
    """
    frame = pointer.contents
    in_main = threading.current_thread() is threading.main_thread()
    if not (in_main and _by_a_signal_handler(error)):
        return _error(frame, error), None
    for view in _views(frame.results, True):
        view.fill(np.nan if view.dtype.kind == "f" else 0)
    raised = _Raised(error)
    # A loop in the program that waits for a number which NaN never becomes must end as well.
    status = _error(frame, error) if time.monotonic() > raised.first + PATIENCE else None
    return status, raised.schedule()


def _by_a_signal_handler(error: BaseException) -> bool:
    """Whether another's code has raised it; all that runs here otherwise is ours and NumPy's."""
    modules = (f.f_globals.get("__name__", "") for f, _ in traceback.walk_tb(error.__traceback__))
    return not isinstance(error, Exception) or any(
        name.partition(".")[0] not in ("unrolled", "numpy") for name in modules
    )


class _Raised:
    """An exception that Python raises in its main thread, at the next step there.

    CPython can be told to call a C function of one pointer at that time. Here it asks whether this
    object is true, and gets the exception. (PyThreadState_SetAsyncExc takes classes alone.)
    """

    _waiting: ClassVar[set[_Raised]] = set()

    def __init__(self, error: BaseException) -> None:
        self.error = error
        # XLA may call once more before it returns: then the exception is raised there, and caught.
        now = (time.monotonic(), error.__traceback__)
        self.first, self._trace = vars(error).setdefault("_unrolled_first", now)

    def schedule(self) -> Callable[[], None]:
        """A function in C that sees to it."""
        self._waiting.add(self)
        return partial(_ADD_PENDING_CALL, _IS_TRUE, self)

    def __bool__(self) -> bool:
        self._waiting.discard(self)
        raise self.error.with_traceback(self._trace)


def _error(frame: _CallFrame, error: BaseException) -> int | None:
    wrong = isinstance(error, (TypeError, ValueError))
    arguments = _ErrorArguments(
        ctypes.sizeof(_ErrorArguments),
        None,
        (str(error) if wrong else f"{type(error).__name__}: {error}").encode(errors="replace"),
        INVALID_ARGUMENT if wrong else INTERNAL,
    )
    created: int | None = frame.api.contents.create_error(ctypes.byref(arguments))
    return created
