"""What a file says under names: every key is known, and shown so that a terminal obeys none."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

PLAIN = re.compile(r"[\w.,:/\[\]() -]{1,80}", re.A)


def shown(name: object) -> str:
    """A name as it stands if it is a plain one, and else escaped and cut."""
    return name if isinstance(name, str) and PLAIN.fullmatch(name) else f"{name!r:.80}"


def printable(text: object) -> str:
    """Another library's message, in which there may be names, without what is no character."""
    line = " ".join(str(text).split())[:300]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def got(value: Any) -> str:
    """A value of JSON, or the kind of a container: what is in one may be without end."""
    container = isinstance(value, (dict, list)) and value
    return type(value).__name__ if container else f"{value!r:.80}"


def only(at: str, about: Mapping[Any, Any], known: Collection[str]) -> None:
    """Refuse a key that is not among those read or known to change no number."""
    for name, value in about.items():
        if name not in known:
            raise ValueError(
                f"path: {at}{shown(name)}: expected no such key, whose effect is not known here, "
                f"got {got(value)}"
            )


def plain(at: str, config: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuse settings other than these, which are the defaults of what is not there."""
    for name, value in expected.items():
        found = config.get(name, value)
        if found != value or isinstance(found, bool) != isinstance(value, bool):
            raise ValueError(f"path: {at}{name}: expected {value}, got {got(found)}")
