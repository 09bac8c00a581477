"""Networks in files: safetensors, PyTorch's names, the constructor's arguments as metadata."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import safetensors
import safetensors.numpy

from . import _arguments as arguments
from ._dense import Dense
from ._module import Module
from ._modules import GRU, LSTM, RNN
from ._native import __version__

# What a file may hold, by the name in its metadata.
CLASSES: dict[str, type[Module]] = {cls.__name__: cls for cls in (LSTM, GRU, RNN, Dense)}


def save(net: Module, path: str | os.PathLike[str]) -> None:
    """Write a network (or a `Dense`) to a safetensors file.

    The parameters have PyTorch's names, so that `torch.nn.LSTM` can load them. The constructor's
    arguments are in the metadata under "unrolled". The file is replaced in one move: a crash leaves
    either the old one or the new.

    Parameters
    ----------
    net : LSTM, GRU, RNN or Dense
    path : path
    """
    name = next((n for n, cls in CLASSES.items() if isinstance(net, cls)), None)
    if name is None:
        raise TypeError(f"net: expected one of {', '.join(CLASSES)}, got {arguments.kind(net)}")
    path = Path(path)
    about = {"class": name, "version": __version__, "config": net.config()}
    data = safetensors.numpy.save(net.state_dict(), metadata={"unrolled": json.dumps(about)})
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def load(path: str | os.PathLike[str]) -> Any:
    """Read what `save` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    LSTM, GRU, RNN or Dense

    Raises
    ------
    FileNotFoundError
    ValueError
        If it is not a safetensors file, or one that `save` did not write. (For those, make the
        network and pass ``safetensors.numpy.load_file(path)`` to its `load_state_dict`.)
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"path: no such file: {str(path)!r}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            parameters = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(f"path: expected a safetensors file, got {str(path)!r}: {error}") from None
    cls, config = _about(path, metadata)
    try:
        net = cls(**config)
        net.load_state_dict(parameters)
    except (TypeError, ValueError) as error:
        raise ValueError(f"path: {str(path)!r} does not hold what it says: {error}") from None
    return net


def _about(path: Path, metadata: dict[str, str]) -> tuple[type[Module], dict[str, Any]]:
    """The class and the constructor's arguments that a file names."""
    expected = f"path: expected a file written by unrolled.save, got {str(path)!r}"
    if "unrolled" not in metadata:
        raise ValueError(f"{expected}, whose metadata has no 'unrolled'")
    try:
        about = json.loads(metadata["unrolled"])
        cls, config = CLASSES[about["class"]], about["config"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{expected}, whose metadata cannot be read") from None
    if not isinstance(config, dict):
        raise ValueError(f"{expected}, whose metadata cannot be read")
    return cls, config
