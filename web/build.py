#!/usr/bin/env python3
"""Models of unrolled as WebAssembly, and a page that plays them, into ``target/web``.

``web/build.py`` makes ``unrolled.wasm``, which loads models, and ``fixed.wasm``, which holds one:
``--model model.rs`` of ``net.to_rust``, else an example. ``--relaxed`` makes each once more with
relaxed SIMD, as ``unrolled.relaxed.wasm`` and ``fixed.relaxed.wasm``. ``--test`` then runs all in
node, beside the same models on this machine. The compiler is rustup's where that has the target,
else Debian's (``tools/cross.py --fetch``); where something is missing it says what, and exits with
77.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "tools"))

import cross  # noqa: E402

TARGET = "wasm32-unknown-unknown"
MADE = ROOT / "target" / "web"
BUILD = ROOT / "target" / "web-build"
# By module: cargo's features, and the optimiser's level, as benches chose them (README.md).
MODULES = {"fixed": ([], "3"), "unrolled": (["--features", "loader"], "3")}
# By what a module's name ends in: what of SIMD it is compiled for.
PLAIN, RELAXED = "", ".relaxed"
SIMD = {PLAIN: "+simd128", RELAXED: "+simd128,+relaxed-simd"}
# What stands beside the modules.
WRAPPER = [HERE / name for name in ("unrolled.js", "unrolled.d.ts", "package.json")]
NAMES = ("index.html", "page.js", "player.js", "worklet.js", "play.mjs")
PAGE = [ROOT / "examples" / "web" / name for name in NAMES]


def compiler() -> tuple[dict[str, str], list[str]]:
    """The environment, and options, in which cargo compiles for the web."""
    if not shutil.which("cargo"):
        raise cross.MissingError("cargo is not installed")
    if cross.by_rustup(TARGET):
        return {}, []
    variable = "CARGO_TARGET_" + TARGET.upper().replace("-", "_")
    names = ["wasm-ld", *(f"wasm-ld-{version}" for version in range(25, 14, -1))]
    linker = {f"{variable}_LINKER": cross.program(*names)}
    return cross.debian() | linker, ["-Zbuild-std=core,alloc,panic_abort"]


def compiled(name: str, kind: str, more: dict[str, str]) -> Path:
    """The module of this name, and of this kind."""
    features, level = MODULES[name]
    environment, options = compiler()
    environment |= {
        "RUSTFLAGS": f"-Ctarget-feature={SIMD[kind]}",
        "CARGO_PROFILE_RELEASE_OPT_LEVEL": level,
    }
    command = ["cargo", "build", "--release", "--manifest-path", str(HERE / "Cargo.toml")]
    # All are called the same: in one directory, each would be linked anew after the others.
    own = BUILD / f"{name}{kind}"
    command += ["--target-dir", str(own), "--target", TARGET, *options, *features]
    cross.run(*command, **environment | more)
    return own / TARGET / "release" / "unrolled_web.wasm"


def build(made: Path, kinds: list[str], more: dict[str, str]) -> None:
    """Everything, into a directory."""
    made.mkdir(parents=True, exist_ok=True)
    for name in MODULES:
        # Of an earlier model, perhaps.
        (made / f"{name}{RELAXED}.wasm").unlink(missing_ok=True)
    modules = [(name, kind) for name in MODULES for kind in kinds]
    for name, kind in modules:
        shutil.copyfile(compiled(name, kind, more), made / f"{name}{kind}.wasm")
    for file in WRAPPER + PAGE:
        shutil.copyfile(file, made / file.name)
    for name, kind in modules:
        data = (made / f"{name}{kind}.wasm").read_bytes()
        packed = len(gzip.compress(data))
        print(f"web: {name}{kind}.wasm has {len(data) / 1000:.1f} kB, {packed / 1000:.1f} gzipped")


def test(made: Path, more: dict[str, str]) -> None:
    """Runs the modules in node, beside the same models on this machine."""
    node = cross.program("node", "nodejs")
    cargo = ["cargo", "run", "-q", "--manifest-path", str(HERE / "Cargo.toml"), "--example"]
    cargo += ["native", "--features", "loader", "--target-dir", str(BUILD)]
    # Flags of the user's might fuse multiply-add.
    native = BUILD / "native"
    shutil.rmtree(native, ignore_errors=True)
    formats = ROOT / "tests" / "data" / "formats"
    files = [str(formats / name) for name in ("amp.nam", "rtneural.json")]
    cross.run(*cargo, str(native), *files, **{"RUSTFLAGS": ""} | more)
    cross.run(node, "--test", str(HERE / "test.mjs"), MADE=str(made), NATIVE=str(native))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", type=Path, help="what fixed.wasm holds, of net.to_rust")
    parser.add_argument("--out", type=Path, default=MADE, help="where to (target/web)")
    parser.add_argument("--relaxed", action="store_true", help="modules with relaxed SIMD too")
    parser.add_argument("--test", action="store_true", help="run what was built in node")
    arguments = parser.parse_args()
    if arguments.model and not arguments.model.is_file():
        parser.error(f"--model: expected a file that is there, got {arguments.model}")
    more = {"UNROLLED_MODEL": str(arguments.model.resolve())} if arguments.model else {}
    try:
        build(arguments.out, [PLAIN, RELAXED] if arguments.relaxed else [PLAIN], more)
        if arguments.test:
            test(arguments.out, more)
    except cross.MissingError as missing:
        print(f"web: not built, {missing}")
        return cross.SKIPPED
    except subprocess.CalledProcessError as error:
        print(f"web: {' '.join(error.cmd)} failed", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
