"""The C and C++ interface, from an installed library: the bits of Python's, and nothing that a
sanitizer or valgrind objects to."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from capi_support import DATA, ROOT, SOURCES, environment, needs, pkg_config, play, prefix, run
from support import normal

STEPS = 75


def read_out(path: Path) -> None:
    ur.save(ur.Sequential(ur.GRU(2, 33, seed=1), ur.Dense(33, 3, seed=2)), path)


# A file, or what writes one, and the rows that are played at a time.
MODELS: dict[str, tuple[Any, int]] = {
    "rtneural.json": (DATA / "rtneural.json", 3),
    "amp.nam": (DATA / "amp.nam", 1),
    "gru.safetensors": (read_out, 2),
}


def case(name: str, folder: Path) -> tuple[Path, int, np.ndarray, np.ndarray]:
    """A model's file, rows, sequences, and what Python makes of them."""
    source, rows = MODELS[name]
    path = source
    if callable(source):
        path = folder / name
        source(path)
    model = ur.load(path)
    first = model.layers[0]
    x = normal(STEPS, rows, first.input_size, seed=3)
    y, _ = model(x)
    return path, rows, x, y


def compiled(program: Path, source: Path, *flags: str) -> Path:
    plain = source.suffix == ".c"
    compiler, standard = ("gcc", "-std=c99") if plain else ("g++", "-std=c++17")
    warn = ["-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
    library = pkg_config("--cflags", "--libs", "unrolled")
    run(compiler, standard, *warn, source, "-o", program, *flags, *library, "-pthread")
    return program


def same_thrice(found: np.ndarray, y: np.ndarray) -> None:
    """The whole, blocks, channels."""
    assert found.size == 3 * y.size
    for part in found.reshape(3, *y.shape):
        np.testing.assert_array_equal(part, y)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("source", "flags"),
    [
        ("check.c", ["-std=gnu11"]),
        ("check.c", ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]),
        ("check.cpp", []),
        ("check.cpp", ["-std=c++20", "-fsanitize=address,undefined"]),
    ],
    ids=["c", "c-sanitized", "c++17", "c++20-sanitized"],
)
def test_programs_get_the_bits_of_python(
    source: str, flags: list[str], name: str, tmp_path: Path
) -> None:
    path, rows, x, y = case(name, tmp_path)
    program = compiled(tmp_path / "program", SOURCES / source, *flags)
    same_thrice(play(program, path, rows, x=x), y)


@pytest.mark.parametrize("name", MODELS)
def test_valgrind_finds_nothing(name: str, tmp_path: Path) -> None:
    needs("valgrind")
    path, rows, x, y = case(name, tmp_path)
    program = compiled(tmp_path / "program", SOURCES / "check.c")
    # Valgrind knows no AVX-512.
    env = environment(UNROLLED_MAX_ISA="avx2")
    watch = ["-q", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=all"]
    found = play(Path("valgrind"), *watch, program, path, rows, x=x, env=env)
    same_thrice(found, y)


@pytest.mark.parametrize("kind", ["unrolled", "unrolled-static"])
def test_examples_of_both_libraries(kind: str, tmp_path: Path) -> None:
    library = pkg_config("--cflags", "--libs", kind)
    x = normal(130, 2, seed=4)
    y, _ = ur.load(DATA / "amp.nam")(x[:, :, None])
    examples = ROOT / "examples" / "c"
    run("gcc", examples / "play.c", "-o", tmp_path / "play", *library)
    run("g++", "-std=c++17", examples / "play.cpp", "-o", tmp_path / "play_cpp", *library)
    # The static one needs nothing of the folder any more.
    env = environment() if kind == "unrolled" else {}
    mono = play(tmp_path / "play", DATA / "amp.nam", x=x[:, 0], env=env)
    np.testing.assert_array_equal(mono, y[:, 0, 0])
    both = play(tmp_path / "play_cpp", DATA / "amp.nam", 2, x=x, env=env)
    np.testing.assert_array_equal(both.reshape(x.shape), y[:, :, 0])


@pytest.mark.parametrize("language", ["c", "cpp"])
def test_programs_of_the_documentation(language: str, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "deploy.md").read_text()
    (program,) = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    source = tmp_path / f"play.{language}"
    source.write_text(program)
    shutil.copy(DATA / "amp.nam", tmp_path)
    compiled(tmp_path / "play", source, "-std=c11" if language == "c" else "-std=c++17")
    run(tmp_path / "play", env=environment(), cwd=tmp_path)


def test_cmake_finds_a_tree_that_was_moved(tmp_path: Path) -> None:
    needs("cmake", "make")
    moved = tmp_path / "moved"
    shutil.copytree(prefix(), moved, symlinks=True)
    source, build = ROOT / "examples" / "c", tmp_path / "build"
    run("cmake", "-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={moved}")
    run("cmake", "--build", build)
    x = normal(100, seed=5)
    y, _ = ur.load(DATA / "amp.nam")(x[:, None, None])
    for program, *channels in (["play"], ["play_cpp", 1]):
        # CMake tells each program where its library lies.
        found = play(build / program, DATA / "amp.nam", *channels, x=x, env={})
        np.testing.assert_array_equal(found, y[:, 0, 0])


def test_the_library_shows_its_functions_alone(tmp_path: Path) -> None:
    needs("nm")
    lib = prefix() / "lib"
    header = (prefix() / "include" / "unrolled.h").read_text()
    said = run("nm", "-D", "--defined-only", lib / "libunrolled_c.so").stdout.decode()
    shown = {line.split()[-1] for line in said.splitlines()}
    assert shown and all(f" *{name}(" in header or f" {name}(" in header for name in shown), shown
