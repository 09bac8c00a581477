"""ONNX, by `unrolled.onnx` (the extra ``onnx``)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._format import Content, Format

# The fields of a ModelProto by number, and how each is encoded: 0 a number, 2 bytes of a length.
# It begins with the version of the format.
FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
GRAPH = 7


def sniff(content: Content) -> bool:
    """Whether the fields at the start are a ModelProto's, up to its graph or out of sight."""
    head, at = content.head, 0
    if head[:1] != b"\x08":
        return False
    while at < len(head):
        tag, at = _number(head, at)
        if FIELDS.get(tag >> 3) != tag & 7:
            return False
        if tag >> 3 == GRAPH:
            return True
        value, at = _number(head, at)
        at += value if tag & 7 == 2 else 0
    return content.size > len(head)


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, lowest first, and where it ends."""
    value = shift = 0
    while at < len(data) and shift < 64:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            break
    return value, at


def load(content: Content, hints: Mapping[str, Any]) -> Any:
    """Layers, or an `unrolled.onnx.Model` where the graph is no chain of layers."""
    from ..onnx import load as load_onnx

    return load_onnx(content.path, **hints)


def save(net: Any, path: Path) -> None:
    """As `unrolled.onnx.save`."""
    from ..onnx import save as save_onnx

    save_onnx(net, path)


FORMAT = Format(name="onnx", title="ONNX", suffixes=(".onnx",), sniff=sniff, load=load, save=save)
