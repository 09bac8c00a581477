"""PyTorch's ``.pt`` and ``.pth``: state dicts, read by PyTorch itself without running anything.

`torch.load(weights_only=True)` makes nothing but tensors and containers. Before it is asked, the
archive and the pickle in it are looked through: what a state dict never holds is refused, so that a
file cannot ask for memory that it does not bring.
"""

from __future__ import annotations

import io
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .._arguments import Array
from .._extras import missing
from . import _limits, _state_dict
from ._format import Content, Format

LONGEST_PICKLE = 16 << 20
# Keys under which a checkpoint keeps the state dict among other things.
NESTED = ("state_dict", "model_state_dict", "model")
# All that PyTorch writes into the pickle of a dict of tensors.
KNOWN = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch FloatStorage",
    "torch DoubleStorage",
    "torch HalfStorage",
    "torch BFloat16Storage",
    "torch LongStorage",
    "torch IntStorage",
    "torch BoolStorage",
    "torch ByteStorage",
}
PICKLE = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def sniff(content: Content) -> bool:
    """Whether it is an archive with a pickle, or a bare pickle."""
    return any(name.endswith("/data.pkl") for name in content.zip_names) or content.head.startswith(
        PICKLE
    )


def load(content: Content, hints: Mapping[str, Any]) -> Any:
    """A model inferred from the names and shapes in a state dict."""
    path = str(content.path)
    if not content.zip_names:
        raise ValueError(
            f"path: expected an archive as PyTorch writes since 1.6, got a bare pickle, {path!r}: "
            "nothing in it was run; save the state_dict again"
        )
    _look_through(content)
    torch = _torch(f"reading {path!r}")
    try:
        found = torch.load(content.path, map_location="cpu", weights_only=True)
    # Whatever a damaged archive makes of PyTorch's reader: it raises nearly every kind there is.
    except Exception as error:
        first = str(error).partition("\n")[0]
        raise ValueError(f"path: {path!r} cannot be read by PyTorch: {first:.200}") from None
    arrays = _arrays(torch, found, content.size)
    if not hints.get("allow_nonfinite"):
        _limits.finite(arrays)
    return _state_dict.model(arrays, hints)


def save(net: Any, path: Path) -> None:
    """The state dict, which `torch.load` gives back."""
    torch = _torch(f"writing {str(path)!r}")
    from .._files import replace

    buffer = io.BytesIO()
    torch.save({key: torch.from_numpy(a) for key, a in net.state_dict().items()}, buffer)
    replace(path, buffer.getvalue())


def _torch(what: str) -> Any:
    try:
        import torch
    except ImportError as error:
        raise missing(error, what, "PyTorch", "torch") from None
    return torch


def _look_through(content: Content) -> None:
    """Refuse an archive that is larger inside than outside, and a pickle of other things."""
    path = str(content.path)
    try:
        with zipfile.ZipFile(content.path) as archive:
            inside = sum(info.file_size for info in archive.infolist())
            if inside > content.size:
                raise ValueError(
                    f"path: expected an archive of uncompressed tensors, got {inside} bytes in a "
                    f"file of {content.size}, {path!r}"
                )
            names = [n for n in archive.namelist() if n.endswith("/data.pkl")]
            if len(names) != 1:
                raise ValueError(f"path: expected one data.pkl, got {len(names)} in {path!r}")
            name = names[0]
            if archive.getinfo(name).file_size > LONGEST_PICKLE:
                raise ValueError(f"path: expected a state dict, got a pickle too long in {path!r}")
            pickle = archive.read(name)
    except (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"path: a damaged archive, {path!r}: {error}") from None
    for name, argument in _opcodes(pickle, path):
        # STACK_GLOBAL takes its name from the stack; PyTorch's protocol does not have it.
        if name == "STACK_GLOBAL" or name.startswith("EXT"):
            raise ValueError(f"path: expected a state dict, got other objects in {path!r}")
        if name in ("GLOBAL", "INST") and argument not in KNOWN:
            raise ValueError(
                f"path: expected a state dict (model.state_dict()), got an object of "
                f"{argument!r:.80} in {path!r}; nothing in it was run"
            )


def _opcodes(pickle: bytes, path: str) -> Iterator[tuple[str, Any]]:
    """What a pickle would do, without doing it."""
    found = pickletools.genops(pickle)
    while True:
        try:
            opcode, argument, _ = next(found)
        except StopIteration:
            return
        except (ValueError, IndexError, KeyError) as error:
            raise ValueError(f"path: a damaged pickle in {path!r}: {error}") from None
        yield opcode.name, argument


def _arrays(torch: Any, found: Any, size: int) -> dict[str, Array]:
    """The tensors by name, as NumPy's."""
    if isinstance(found, Mapping):
        for key in NESTED:
            if isinstance(found.get(key), Mapping):
                found = found[key]
                break
    if not isinstance(found, Mapping):
        raise ValueError(f"path: expected a state dict, got {type(found).__name__}")
    arrays: dict[str, Array] = {}
    total = 0
    for name, tensor in found.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ValueError(f"path: {name!r:.80}: expected a tensor, got {type(tensor).__name__}")
        if tensor.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"path: {name}: expected float32 or float64, got {tensor.dtype}")
        # Strides of 0 make much of little.
        total += tensor.numel() * tensor.element_size()
        if total > size:
            raise ValueError(f"path: {name}: expected no more numbers than the file brings")
        arrays[name] = tensor.detach().contiguous().numpy()
    return arrays


FORMAT = Format(
    name="torch",
    title="PyTorch state dict",
    suffixes=(".pt", ".pth"),
    sniff=sniff,
    load=load,
    save=save,
    hints=_state_dict.HINTS,
)
