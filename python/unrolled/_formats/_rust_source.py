"""Rust source: written only."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ._format import Content, Format


def load(content: Content, hints: Mapping[str, Any]) -> Any:
    """Never asked for: `sniff` knows no such file."""
    raise ValueError(f"path: Rust source is only written, got {str(content.path)!r}")


def save(net: Any, path: Path) -> None:
    """As the model's `to_rust`."""
    net.to_rust(path)


FORMAT = Format(
    name="rust",
    title="Rust source",
    suffixes=(".rs",),
    sniff=lambda content: False,
    load=load,
    save=save,
)
