"""Networks in files: our own, and other programs'."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from . import _arguments as arguments
from ._compress import Weights, check
from ._formats import by_name, not_of_another, of_content, to_write
from ._formats._safetensors import class_name
from ._formats._safetensors import save as save_ours
from ._module import Module, Written
from ._sequential import Sequential


def save(net: Module | Sequential, path: str | os.PathLike[str]) -> None:
    """Write a network (or a `Dense`, or a `Sequential`) to a safetensors file.

    The parameters have PyTorch's names, so that `torch.nn.LSTM` can load them. The constructor's
    arguments are in the metadata under "unrolled". The file is replaced in one move: a crash leaves
    the old one or the new, and so do several threads or processes that save to one path. It keeps
    its mode; where the path is a link, what it leads to is replaced. Of a compressed net (see
    `LSTM.compress`) the rounded weights are written, as floats.

    Parameters
    ----------
    net : LSTM, GRU, RNN, Dense or Sequential
    path : path

    Raises
    ------
    ValueError
        If the path ends as another format's files do, ``.pt`` or ``.onnx``: `export` writes those.
    OSError
        If it cannot be written: FileNotFoundError for a missing directory, PermissionError …
    MemoryError
    """
    class_name(net)
    path = arguments.path("path", path)
    not_of_another(path)
    save_ours(net, path)


def load(path: str | os.PathLike[str], *, weights: Weights | None = None, **hints: Any) -> Any:
    """Read a model from a file, whose format is recognised by what is in it.

    `save`'s files; safetensors and ``.pt`` state dicts under PyTorch's names; Keras' ``.keras`` and
    ``.weights.h5``; RTNeural's and CoreAudioML's JSON; Neural Amp Modeler's LSTM files; ONNX.
    ``docs/formats.md`` and ``docs/onnx.md`` say what is taken of each. What cannot be read, or is
    not known here, is refused by name.

    Parameters
    ----------
    path : path
    weights : {"float16", "int8"}, optional
        Gives ``.compress(weights)`` of what is read: recurrent weights are stored smaller.
    **hints
        What a file of some format leaves open, and the errors ask for: ``nonlinearity="tanh"`` for
        a PyTorch RNN, ``layers=("lstm", ur.Activation("relu"), "head")`` for the order of modules
        in a state dict, ``kind={"head": "Dense"}`` for what a layer is, ``keras_defaults=True`` for
        the activations of Keras' weights, ``batch_first=True``. ``allow_nonfinite=True`` takes NaN
        and infinity as parameters, which are refused otherwise.

    Returns
    -------
    LSTM, GRU, RNN, Dense or Sequential
        Of an ONNX graph that is no chain of such layers, an `unrolled.onnx.Model`.

    Raises
    ------
    FileNotFoundError
    ValueError
        If it is of no known format, damaged, or holds what is not known here.
    ImportError
        If reading it takes a package that is not installed; the message names the extra.
    TypeError
        For a hint that this format does not take.
    """
    path = arguments.path("path", path)
    if weights is not None:
        check(weights)
    net = _read(path, hints)
    if weights is None:
        return net
    if not isinstance(net, Written):
        raise ValueError(f"weights: expected a file of layers, got {arguments.kind(net)}")
    return net.compress(weights)


def _read(path: Path, hints: dict[str, Any]) -> Any:
    try:
        form, content = of_content(path)
        for name in hints:
            if name not in (*form.hints, "allow_nonfinite"):
                takes = ", ".join((*form.hints, "allow_nonfinite"))
                raise TypeError(f"{name}: no argument for {form.title}, which takes {takes}")
        return form.load(content, hints)
    except ValueError as error:
        # Whatever is wrong in it, the message says in which file.
        file = f"{str(path)!r}"
        if file in str(error):
            raise
        raise ValueError(f"{error}; in {file}") from None


def export(
    net: Module | Sequential, path: str | os.PathLike[str], format: str | None = None
) -> None:
    """Write a model in another program's format.

    Parameters
    ----------
    net : LSTM, GRU, RNN, Dense or Sequential
    path : path
    format : str, optional
        Its name: "safetensors", "rtneural", "coreaudioml", … None goes by the path's ending.

    Raises
    ------
    ValueError
        If there is no such format, or the model has what the format cannot hold.
    """
    class_name(net)
    path = arguments.path("path", path)
    form = to_write(path) if format is None else by_name(format)
    if form.save is None:
        raise ValueError(f"format: {form.title} is only read here")
    form.save(net, path)
