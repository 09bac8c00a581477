"""Rust source: written only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._format import Content, Format

WRITTEN = b"//! Written by unrolled "  # how `to_rust` begins


def load(content: Content, hints: Mapping[str, Any]) -> Any:
    """Refused: what has become a program is not taken apart again."""
    raise ValueError(f"path: Rust source is only written, got {str(content.path)!r}")


def save(net: Any, path: Path) -> None:
    """As the model's `to_rust`."""
    net.to_rust(path)


FORMAT = Format(
    name="rust",
    title="Rust source",
    suffixes=(".rs",),
    sniff=lambda content: content.head.startswith(WRITTEN),
    load=load,
    save=save,
)
