"""What a format is, and what it sees of a file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ._keys import printable, shown
from ._zip import Archive

# A number in text takes some 10 bytes and, read, some 32; an empty list 3 and 64.
LARGEST_JSON = 256 << 20
HEAD = 4096
MOST_CONTAINERS = 1 << 22
# Weights hardly shrink; an archive that is so much larger inside is meant to be a burden.
MOST_INFLATED = 20


class Content:
    """A file, opened as far as somebody asks.

    Attributes
    ----------
    path : Path
    size : int
        Bytes.
    head : bytes
        The first of them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size
        with path.open("rb") as file:
            self.head = file.read(HEAD)

    @property
    def is_json(self) -> bool:
        """Whether it may be a JSON object."""
        return self.head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{"

    @cached_property
    def json(self) -> dict[str, Any]:
        """The object in a JSON file."""
        if self.size > LARGEST_JSON:
            raise ValueError(
                f"path: expected JSON of at most {LARGEST_JSON} bytes, got {self.size}"
            )
        return json_object(self.path.read_bytes(), str(self.path))

    @cached_property
    def zip_names(self) -> frozenset[str]:
        """The names in a zip archive; none if it is not one."""
        if not self.head.startswith(b"PK"):
            return frozenset()
        with Archive(self.path, MOST_INFLATED) as archive:
            return frozenset(archive.names)


def json_object(data: bytes, where: str) -> dict[str, Any]:
    """The JSON object that `data` is: no key twice, for programs differ in which of them they take.

    Lists and objects are counted before any is made.
    """
    if data.count(b"[") + data.count(b"{") > MOST_CONTAINERS:
        raise ValueError(
            f"path: expected at most {MOST_CONTAINERS} lists and objects in the JSON of {where!r}"
        )
    try:
        found = json.loads(data.removeprefix(b"\xef\xbb\xbf"), object_pairs_hook=_once)
    except RecursionError:
        raise ValueError(f"path: JSON nested too deeply in {where!r}") from None
    except ValueError as error:
        raise ValueError(f"path: expected JSON, got {where!r}: {printable(error)}") from None
    if not isinstance(found, dict):
        raise ValueError(f"path: expected a JSON object in {where!r}, got {type(found).__name__}")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"{shown(name)} occurs twice in an object")
            seen.add(name)
    return found


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes
    ----------
    name : str
        As ``unrolled convert --to`` takes it.
    title : str
        As ``unrolled inspect`` says it.
    suffixes : tuple of str
        Of names that are to be written in this format.
    sniff : callable
        Whether some content is of this format. May raise ValueError for what is, but is damaged.
    load : callable
        A model from content, with the user's hints; ValueError for what cannot be read, ImportError
        where a package is missing.
    save : callable, optional
        Writes a model to a path; ValueError for a model that the format cannot hold.
    hints : tuple of str
        Names of what `load` lets the user say besides the path.
    """

    name: str
    title: str
    suffixes: tuple[str, ...]
    sniff: Callable[[Content], bool]
    load: Callable[[Content, Mapping[str, Any]], Any]
    save: Callable[[Any, Path], None] | None = None
    hints: tuple[str, ...] = ()
