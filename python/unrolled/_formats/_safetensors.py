"""safetensors: our own files, and PyTorch's parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors

from .. import _arguments as arguments
from .._dense import Dense
from .._module import Module
from .._modules import GRU, LSTM, RNN
from .._sequential import Sequential
from . import _limits, _state_dict
from ._format import Content, Format

# What a file of ours may hold, by the name in its metadata.
CLASSES: dict[str, type[Module | Sequential]] = {
    cls.__name__: cls for cls in (LSTM, GRU, RNN, Dense, Sequential)
}
# By the library's own rule; a longer header is no safetensors file.
LONGEST_HEADER = 100_000_000
DTYPES = {"F32": "float32", "F64": "float64"}


def sniff(content: Content) -> bool:
    """Whether there is a header's length, and then the header's first letter."""
    length = int.from_bytes(content.head[:8], "little")
    return length <= LONGEST_HEADER and content.head[8:9] == b"{"


def load(content: Content, hints: Mapping[str, Any]) -> Any:
    """A model of ours, with its configuration, or one inferred from PyTorch's names."""
    path = content.path
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118
            found = {key: tuple(s.get_shape()) for key, s in slices.items()}
            about = _about(path, metadata) if "unrolled" in metadata else None
            if about is not None:
                _limits.agree(*about, found, f"path: {str(path)!r} does not hold what it says: it")
            for key, part in slices.items():
                if part.get_dtype() not in DTYPES:
                    raise ValueError(
                        f"path: {key}: expected float32 or float64 numbers, got {part.get_dtype()}"
                    )
            parameters = {key: file.get_tensor(key) for key in slices}
    except safetensors.SafetensorError as error:
        raise ValueError(f"path: expected a safetensors file, got {str(path)!r}: {error}") from None
    if not hints.get("allow_nonfinite"):
        _limits.finite(parameters)
    if about is None:
        return _state_dict.model(parameters, hints)
    asked = [name for name in hints if name != "allow_nonfinite"]
    if asked:
        raise TypeError(f"{asked[0]}: expected none, for {str(path)!r} says itself what it is")
    name, config = about
    try:
        cls = CLASSES[name]
        net = cls.from_config(config) if issubclass(cls, Sequential) else cls(**config)
        net.load_state_dict(parameters)
    except (TypeError, ValueError) as error:
        raise ValueError(f"path: {str(path)!r} does not hold what it says: {error}") from None
    return net


def save(net: Any, path: Path) -> None:
    """As `unrolled.save`."""
    from .._files import save as save_ours

    save_ours(net, path)


def _about(path: Path, metadata: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The class and the constructor's arguments that a file names."""
    wrong = ValueError(
        f"path: expected a file written by unrolled.save, got {str(path)!r}, "
        "whose metadata cannot be read"
    )
    try:
        about = json.loads(metadata["unrolled"])
        name, config = about["class"], about["config"]
        if name not in CLASSES or not isinstance(config, dict):
            raise wrong
    except (ValueError, KeyError, TypeError, RecursionError):
        raise wrong from None
    return name, config


def class_name(net: Any) -> str:
    """What a file calls the class of `net`."""
    for name, cls in CLASSES.items():
        if isinstance(net, cls):
            return name
    raise TypeError(f"net: expected one of {', '.join(CLASSES)}, got {arguments.kind(net)}")


FORMAT = Format(
    name="safetensors",
    title="safetensors",
    suffixes=(".safetensors",),
    sniff=sniff,
    load=load,
    save=save,
    hints=_state_dict.HINTS,
)
