"""Models in other programs' files: what kind a file is, and how to read and write it.

A format is a module here with a `FORMAT`, listed in ``_registry``. A file is recognised by what is
in it; its name counts only where a new one is to be written.
"""

from __future__ import annotations

from ._registry import by_name, not_of_another, of_content, to_write

__all__ = ["by_name", "not_of_another", "of_content", "to_write"]
