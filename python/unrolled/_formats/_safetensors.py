"""safetensors: our own files, and PyTorch's parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import _arguments as arguments
from .._dense import Dense
from .._module import Module
from .._modules import GRU, LSTM, RNN
from .._native import __version__
from .._sequential import Sequential
from .._write import replace
from ..cells._recurrent import Recurrent
from . import _limits, _state_dict
from ._format import Content, Format, json_object
from ._keys import got, only, printable
from ._tensors import LONGEST_HEADER, Tensors, written

# What a file of ours may hold, by the name in its metadata.
CLASSES: dict[str, type[Module | Sequential]] = {
    cls.__name__: cls for cls in (LSTM, GRU, RNN, Recurrent, Dense, Sequential)
}
OURS = "unrolled"


def sniff(content: Content) -> bool:
    """Whether there is a header's length, and then the header's first letter."""
    length = int.from_bytes(content.head[:8], "little")
    return length <= LONGEST_HEADER and content.head[8:9] == b"{"


def load(content: Content, hints: Mapping[str, Any]) -> Any:
    """A model of ours, with its configuration, or one inferred from PyTorch's names."""
    path = content.path
    with Tensors(path) as file:
        about = _about(path, file.metadata[OURS]) if OURS in file.metadata else None
        if about is not None:
            where = f"path: {str(path)!r} does not hold what it says: it"
            _limits.agree(*about, file.shapes, where)
        parameters = file.arrays()
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
        raise ValueError(
            f"path: {str(path)!r} does not hold what it says: {printable(error)}"
        ) from None
    return net


def save(net: Any, path: Path) -> None:
    """As `unrolled.save`."""
    about = {"class": class_name(net), "version": __version__, "config": net.config()}
    replace(path, written(net.state_dict(), {OURS: json.dumps(about)}))


def _about(path: Path, metadata: str) -> tuple[str, dict[str, Any]]:
    """The class and the constructor's arguments that a file names."""
    where = f"a file written by unrolled.save, got {str(path)!r}"
    try:
        about = json_object(metadata.encode(), "its metadata")
        name, config = about["class"], about["config"]
    except (ValueError, KeyError) as error:
        raise ValueError(
            f"path: expected {where}, whose metadata cannot be read: {printable(error)}"
        ) from None
    only(f"{OURS}.", about, ("class", "version", "config"))
    if not isinstance(name, str) or name not in CLASSES or not isinstance(config, dict):
        raise ValueError(
            f"path: expected {where}, whose metadata cannot be read: class {got(name)}"
        )
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
