"""The formats there are."""

from __future__ import annotations

from pathlib import Path

from .. import _arguments as arguments
from . import _coreaudioml, _keras, _nam, _onnx, _pt, _rtneural, _rust_source, _safetensors
from ._format import Content, Format

# In the order in which they are asked: those that look at the very first bytes come first.
FORMATS: tuple[Format, ...] = (
    _safetensors.FORMAT,
    _pt.FORMAT,
    _onnx.FORMAT,
    _keras.FORMAT,
    _keras.WEIGHTS,
    _rtneural.FORMAT,
    _nam.FORMAT,
    _coreaudioml.FORMAT,
    _rust_source.FORMAT,
)


def of_content(path: Path) -> tuple[Format, Content]:
    """The format of a file.

    Raises
    ------
    FileNotFoundError
    ValueError
        If it is of none.
    """
    if not path.exists():
        raise FileNotFoundError(f"path: no such file: {str(path)!r}")
    if not path.is_file():
        raise ValueError(f"path: expected a file, got {str(path)!r}")
    content = Content(path)
    for form in FORMATS:
        if form.sniff(content):
            return form, content
    titles = ", ".join(form.title for form in FORMATS if form is not _rust_source.FORMAT)
    raise ValueError(f"path: expected a file of one of {titles}; got {str(path)!r}, none of these")


def by_name(name: str) -> Format:
    """The format of that name."""
    if not isinstance(name, str):
        raise TypeError(f"format: expected a string, got {arguments.kind(name)}")
    for form in FORMATS:
        if form.name == name:
            return form
    names = ", ".join(repr(form.name) for form in FORMATS)
    raise ValueError(f"format: expected one of {names}, got {name!r:.80}")


def to_write(path: Path) -> Format:
    """The format that a file of that name is written in."""
    for form in FORMATS:
        if form.save is not None and path.name.lower().endswith(form.suffixes):
            return form
    suffixes = ", ".join(s for form in FORMATS if form.save is not None for s in form.suffixes)
    raise ValueError(f"path: expected a name that ends in one of {suffixes}, got {str(path)!r}")


def not_of_another(path: Path) -> None:
    """Refuses a name for a safetensors file that ends as those of another format do."""
    for form in FORMATS:
        if form is not _safetensors.FORMAT and path.name.lower().endswith(form.suffixes):
            raise ValueError(
                f"path: expected a name for a safetensors file, got {str(path)!r}; "
                "unrolled.export writes other formats"
            )
