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
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from .._arguments import Array

MAJOR, MINOR = 0, 1
METADATA, STRING = 1, 4
INVALID_ARGUMENT, INTERNAL = 3, 13

# XLA_FFI_DataType of the arrays that our operands can be.
DTYPES = {1: "|b1", 4: "<i4", 8: "<u4", 11: "<f4", 12: "<f8"}

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
# XLA keeps bare pointers to the handlers: they must live as long as the process.
_handlers: list[Any] = []


def register(name: str, compute: Compute) -> None:
    """Let programs for the CPU call `compute` by this name."""

    def handle(pointer: Any) -> int | None:
        frame = pointer.contents
        try:
            if frame.extension and frame.extension.contents.type == METADATA:
                _answer(frame)
                return None
            compute(_attribute(frame), _views(frame.operands, False), _views(frame.results, True))
        except BaseException as error:
            # It cannot pass through XLA as it is; XLA raises another with this message.
            return _error(frame, error)
        return None

    handler = _HANDLER(handle)
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


def _error(frame: _CallFrame, error: BaseException) -> int | None:
    wrong = isinstance(error, (TypeError, ValueError))
    arguments = _ErrorArguments(
        ctypes.sizeof(_ErrorArguments),
        None,
        (str(error) if wrong else f"{type(error).__name__}: {error}").encode(),
        INVALID_ARGUMENT if wrong else INTERNAL,
    )
    created: int | None = frame.api.contents.create_error(ctypes.byref(arguments))
    return created
