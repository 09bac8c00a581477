"""No module of the package imports itself through others."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "python" / "unrolled"
Graph = dict[str, set[str]]


def modules(package: Path) -> dict[str, Path]:
    """Of names, the files; those made by a compiler are known by their stubs."""
    found = {}
    for path in sorted([*package.rglob("*.pyi"), *package.rglob("*.py")]):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(node: ast.AST, when: str = "run") -> Iterator[tuple[ast.Import | ast.ImportFrom, str]]:
    """Import statements, and when they act: as the module is run, for types alone, or late."""
    for child in ast.iter_child_nodes(node):
        own = when
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            own = "late"
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            own = "types" if when == "run" else when
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, own
        yield from imports(child, own)


def graph(package: Path, *when: str) -> Graph:
    """Which modules each imports."""
    files = modules(package)
    found: Graph = {name: set() for name in files}
    for name, path in files.items():
        here = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
        for node, own in imports(ast.parse(path.read_text(encoding="utf-8"))):
            if own not in when or path.suffix == ".pyi":
                continue
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            else:
                above = here[: len(here) + 1 - node.level] if node.level else []
                base = ".".join(above + (node.module.split(".") if node.module else []))
                inner = [f"{base}.{alias.name}" for alias in node.names]
                targets = [i if i in files else base for i in inner]
            found[name].update(t for t in targets if t in files and t != name)
    return found


def with_packages(direct: Graph) -> Graph:
    """Before a module the packages that it lies in are run, unless one of them is what imports."""
    found = {name: set(targets) for name, targets in direct.items()}
    for name, targets in direct.items():
        for target in targets:
            parts = target.split(".")
            above = {".".join(parts[:n]) for n in range(1, len(parts))}
            found[name] |= {a for a in above if not f"{name}.".startswith(f"{a}.")}
    return found


def circle(of: Graph) -> list[str]:
    """One, from a module to itself; empty if there is none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for target in sorted(of[name]):
            if found := walk(target, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in of if (found := walk(name, []))), [])


def test_no_circle_as_modules_are_run() -> None:
    found = circle(with_packages(graph(PACKAGE, "run")))
    assert not found, " → ".join(found)


def test_no_circle_with_what_is_imported_for_types() -> None:
    found = circle(graph(PACKAGE, "run", "types"))
    assert not found, " → ".join(found)


def test_no_circle_is_hidden_in_functions() -> None:
    found = circle(graph(PACKAGE, "run", "types", "late"))
    assert not found, " → ".join(found)


@pytest.mark.parametrize(
    ("when", "source", "expected"),
    [
        ("run", "from . import b", True),
        ("run", "from .b import x", True),
        ("run", "import p.b", True),
        ("run", "def f():\n    from . import b", False),
        ("late", "def f():\n    from . import b", True),
        ("types", "if TYPE_CHECKING:\n    from .b import x", True),
        ("run", "if TYPE_CHECKING:\n    from .b import x", False),
    ],
)
def test_a_circle_is_found(tmp_path: Path, when: str, source: str, expected: bool) -> None:
    package = tmp_path / "p"
    package.mkdir()
    for name, text in (("__init__", ""), ("a", source), ("b", "from .a import y")):
        (package / f"{name}.py").write_text(text)
    found = circle(graph(package, "run", when))
    assert found == (["p.a", "p.b", "p.a"] if expected else [])
