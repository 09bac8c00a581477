#!/usr/bin/env python3
"""The crate on machines that this one is not: built for them, and run where there is an emulator.

``tools/cross.py`` runs every part, ``tools/cross.py aarch64 riscv`` some. A part for which
something is missing says what, and is left out.

Two parts take many minutes, and stay out of CI's ordinary run: ``aarch64-long`` builds the program
without ``std`` and the Python extension, with optimisation, reads their machine code, and runs more
of the tests; ``aarch64-python`` runs the extension in Debian's Python for AArch64.

The library of a target comes from rustup where that has it (``rustup target add``), else from
Debian's compiler ``rustc-web``, which ``--fetch`` unpacks below ``target/cross`` without installing
it (Debian 12, root).
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cortex_m

ROOT = Path(__file__).resolve().parent.parent
OWN = ROOT / "target" / "cross"
DEBIAN = OWN / "root"

AARCH64 = "aarch64-unknown-linux-gnu"
# Debian's packages of a Python for it, with the libraries that its own modules load.
PYTHON = ["python3.11", "python3.11-minimal", "libpython3.11-stdlib", "libpython3.11-minimal"]
PYTHON += ["libexpat1", "zlib1g", "libbz2-1.0", "liblzma5", "libffi8", "libcrypt1", "libuuid1"]
PYTHON += ["libsqlite3-0", "libssl3"]
# Programs without an operating system, with core alone.
BARE = {
    "riscv": ["riscv32imac-unknown-none-elf", "riscv64gc-unknown-none-elf"],
}
# Bytes that a page may load for one model of sixteen units.
MOST_WASM = 60_000
# The tests that an emulator runs in seconds: what levels do, number by number; and whole nets, each
# level beside the others, to the last bit.
TESTS = ["--lib", "--test", "formula"]
# What takes minutes more, of which each property is tried on a few examples.
LONG = ["--test", "guard", "--test", "network"]
CASES = "8"


# How a program says that it lacks something.
SKIPPED = 77


class MissingError(Exception):
    """What a part needs and this machine has not."""


class WrongError(Exception):
    """What a part found."""


def run(*command: str, **more: str) -> None:
    print("+", *command, flush=True)
    subprocess.run(command, cwd=ROOT, env={**os.environ, **more}, check=True)


def program(*names: str) -> str:
    """The first of these programs that there is."""
    for name in names:
        if found := shutil.which(name):
            return found
    raise MissingError(f"{names[0]} is not installed")


def fetch() -> None:
    """Debian's compiler, the sources of `core`, its library for AArch64; a linker, emulators."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise MissingError("packages are fetched by apt-get, as root")
    try:
        run("dpkg", "--add-architecture", "arm64")
        run("apt-get", "update", "-qq")
        tools = ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross", "qemu-user-static", "lld-19"]
        run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *tools)
        depends = ["apt-cache", "depends", "--recurse", "--important", "rustc-web"]
        said = subprocess.run(depends, capture_output=True, text=True, check=True).stdout
        packages = re.findall(r"^(libstd-rust-web-[\d.]+|libllvm\d+)$", said, re.M)
        packages += ["rustc-web", "rust-web-src", "libstd-rust-web-dev"]
        packages += ["libstd-rust-web-dev:arm64"]
        # Installed, it would put others of QEMU's packages out of the system.
        simulate = ["apt-get", "install", "-s", "--no-install-recommends", "qemu-system-arm"]
        said = subprocess.run(simulate, capture_output=True, text=True, check=True).stdout
        packages += re.findall(r"^Inst (\S+)", said, re.M)
        downloads = OWN / "packages"
        downloads.mkdir(parents=True, exist_ok=True)
        command = ["apt-get", "download", "-qq", *packages]
        subprocess.run(command, cwd=downloads, check=True)
        for package in downloads.glob("*.deb"):
            run("dpkg", "-x", str(package), str(DEBIAN))
    except subprocess.CalledProcessError as error:
        raise MissingError(f"{error.cmd[0]} failed") from error


def debian() -> dict[str, str]:
    """The environment in which cargo takes Debian's compiler."""
    if not (DEBIAN / "usr/bin/rustc").exists():
        raise MissingError("no library for this target (rustup target add, or --fetch)")
    made = {}
    for variable, name in (("RUSTC", "rustc"), ("RUSTDOC", "rustdoc")):
        wrapper = OWN / name
        libraries = DEBIAN / "usr/lib/x86_64-linux-gnu"
        wrapper.write_text(
            f'#!/bin/sh\nLD_LIBRARY_PATH="{libraries}" exec "{DEBIAN}/usr/bin/{name}" "$@"\n'
        )
        wrapper.chmod(0o755)
        made[variable] = str(wrapper)
    return {**made, "RUSTC_BOOTSTRAP": "1"}


def by_rustup(target: str) -> bool:
    """Whether the compiler at hand has the target's library."""
    command = ["rustc", "--print", "target-libdir", "--target", target]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    return said.returncode == 0 and any(Path(said.stdout.strip()).glob("libcore-*"))


def version() -> str:
    """What the compiler at hand says of itself."""
    command = ["rustc", "--version"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def for_aarch64() -> dict[str, str]:
    """The environment in which cargo builds for AArch64, and runs what it built."""
    variable = "CARGO_TARGET_" + AARCH64.upper().replace("-", "_")
    return {
        **({} if by_rustup(AARCH64) else debian()),
        f"{variable}_LINKER": program("aarch64-linux-gnu-gcc"),
        f"{variable}_RUNNER": shlex.join(emulated()),
    }


def emulated(**environment: str) -> list[str]:
    """What a command for AArch64 is put behind."""
    variables = [part for name, value in environment.items() for part in ("-E", f"{name}={value}")]
    emulator = program("qemu-aarch64-static", "qemu-aarch64")
    return [emulator, "-L", "/usr/aarch64-linux-gnu", *variables]


def cargo_aarch64(command: str, *arguments: str, **more: str) -> Path:
    """Has cargo do this for AArch64. Where it puts what it builds."""
    build = ["cargo", command, "--target-dir", str(OWN / "build"), "--target", AARCH64]
    run(*build, *arguments, **for_aarch64(), **more)
    return OWN / "build" / AARCH64 / "release"


def extension() -> Path:
    """The Python extension."""
    # What pyo3 would ask a Python for: there is one ABI for every Python from 3.11 on.
    pyo3 = {"PYO3_NO_PYTHON": "1", "PYO3_BUILD_EXTENSION_MODULE": "1"}
    return cargo_aarch64("build", "--release", "-p", "unrolled-python", **pyo3) / "lib_native.so"


def aarch64() -> None:
    """Core tests with NEON, beside the portable level."""
    cargo_aarch64("test", "--profile", "quick", "-p", "unrolled", *TESTS)


def aarch64_long() -> None:
    """What the compiler made of the kernels, and more of the tests."""
    cargo_aarch64("test", "--profile", "quick", "-p", "unrolled", *LONG, PROPTEST_CASES=CASES)
    built = cargo_aarch64("build", "--release", "--manifest-path", "freestanding/Cargo.toml")
    freestanding = built / "freestanding"
    run(*emulated(), str(freestanding))
    read = {"UNROLLED_FREESTANDING": str(freestanding), "UNROLLED_ARTEFACT": str(extension())}
    tests = ["--test", "freestanding", "--test", "machine_code"]
    cargo_aarch64("test", "--release", "-p", "unrolled", *tests, **read)


def unpack_python(root: Path, site: Path) -> None:
    """Debian's Python for AArch64, and from PyPI what the package and its tests import."""
    if not shutil.which("apt-get"):
        raise MissingError("no Python for AArch64 (apt-get would fetch Debian's)")
    debs, wheels = root.with_name("debs"), root.with_name("wheels")
    debs.mkdir(parents=True, exist_ok=True)
    download = ["apt-get", "download", "-qq", *(f"{name}:arm64" for name in PYTHON)]
    pip = [sys.executable, "-m", "pip", "download", "-q", "-d", str(wheels), "--python-version"]
    pip += ["3.11", "--only-binary=:all:"]
    pip += [f"--platform=manylinux{version}_aarch64" for version in ("2014", "_2_28")]
    try:
        subprocess.run(download, cwd=debs, check=True)
        for package in debs.glob("*.deb"):
            run("dpkg", "-x", str(package), str(root))
        run(*pip, "numpy", "safetensors", "pytest")
    except subprocess.CalledProcessError as error:
        raise MissingError(f"{error.cmd[0]} failed") from error
    for wheel in wheels.glob("*.whl"):
        with zipfile.ZipFile(wheel) as file:
            file.extractall(site)


def aarch64_python() -> None:
    """The Python package with NEON: the golden numbers, that bits repeat, and training."""
    python = OWN / "python"
    root, site, package = python / "root", python / "site", python / "package"
    if not (site / "pytest").exists():
        unpack_python(root, site)
    built = extension()
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(ROOT / "python" / "unrolled", package / "unrolled")
    shutil.copy(built, package / "unrolled" / "_native.abi3.so")
    libraries = [root / part / "aarch64-linux-gnu" for part in ("usr/lib", "lib")]
    environment = {
        "LD_LIBRARY_PATH": ":".join(map(str, libraries)),
        "PYTHONHOME": str(root / "usr"),
        "PYTHONPATH": f"{package}:{site}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    tests = [f"tests/test_{name}.py" for name in ("golden", "determinism", "training")]
    command = [str(root / "usr/bin/python3.11"), "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run(*emulated(**environment), *command, *tests)


def x86_64() -> None:
    """The same tests on a processor of 2008, which lacks AVX: the portable level alone."""
    if os.uname().machine != "x86_64":
        raise MissingError("this machine is no x86-64")
    emulator = program("qemu-x86_64-static", "qemu-x86_64")
    runner = {"CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER": f"{emulator} -cpu Nehalem"}
    # With the features of `make test`, whose build this then is.
    run("cargo", "test", "--release", "-p", "unrolled", "--features", "formats", *TESTS, **runner)


def bare(name: str) -> None:
    """Compiles the crate for each target, with core alone."""
    for target in BARE[name]:
        command = ["cargo", "check", "--target-dir", str(OWN / "build")]
        command += ["--target", target, "-p", "unrolled", "--no-default-features"]
        environment = {}
        if not by_rustup(target):
            environment = debian()
            command += ["-Zbuild-std=core"]
        run(*command, **environment)


def wasm() -> None:
    """The modules for browsers, run by node beside the same models on this machine."""
    made = OWN / "web"
    command = [sys.executable, "web/build.py", "--test", "--out", str(made)]
    print("+", *command, flush=True)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="", flush=True)
    if done.returncode == SKIPPED:
        raise MissingError(done.stdout.splitlines()[-1].partition(", ")[2])
    done.check_returncode()
    if (size := (made / "fixed.wasm").stat().st_size) > MOST_WASM:
        print(f"cross: fixed.wasm: expected {MOST_WASM} bytes at most, got {size}", file=sys.stderr)
        raise subprocess.CalledProcessError(1, command)


def emulator_of_boards() -> list[str]:
    """QEMU for Arm's boards: of the system, or as `--fetch` unpacks it."""
    if found := shutil.which("qemu-system-arm"):
        return [found]
    unpacked = DEBIAN / "usr/bin/qemu-system-arm"
    if not unpacked.exists():
        raise MissingError("qemu-system-arm is not installed (or --fetch)")
    libraries = ":".join(str(DEBIAN / of / "x86_64-linux-gnu") for of in ("usr/lib", "lib"))
    return [
        "env",
        f"LD_LIBRARY_PATH={libraries}",
        str(unpacked),
        "-L",
        str(DEBIAN / "usr/share/qemu"),
    ]


def boards(target: str) -> None:
    """The program in `examples/cortex-m` on boards of a target: Python's bits, and figures."""
    emulator = emulator_of_boards()
    command = ["cargo", "build", "--release", "--target", target]
    command += ["--manifest-path", "examples/cortex-m/Cargo.toml"]
    command += ["--target-dir", str(OWN / "build")]
    environment = {}
    nightly = "nightly" in version()
    if not by_rustup(target):
        nightly = True  # or as good as that, see `debian`
        linker = f"CARGO_TARGET_{re.sub(r'[-.]', '_', target.upper())}_LINKER"
        lld = program("ld.lld", "ld.lld-19")
        environment = {**debian(), linker: lld, "RUSTFLAGS": "-Clinker-flavor=ld.lld"}
        command += ["-Zbuild-std=core"]
    built = OWN / "build" / target / "release" / cortex_m.PROGRAM
    wrong: list[str] = []
    for name, board in cortex_m.BOARDS.items():
        if board.fused and not nightly:
            print(f"{name}: not run, it takes Rust's nightly")
        elif board.target == target:
            features = ["--features", "nightly-fma"] if board.fused else []
            run(*command, *features, **environment, UNROLLED_MEMORY=board.memory)
            said = cortex_m.says(emulator, board, built)
            wrong += cortex_m.complaints(name, said, built)
    if wrong:
        raise WrongError("\n".join(wrong))


PARTS: dict[str, Callable[[], None]] = {
    "aarch64": aarch64,
    "x86-64": x86_64,
    "wasm": wasm,
    "cortex-m": partial(boards, cortex_m.V7EM),
    "cortex-m-v8": partial(boards, cortex_m.V8M),
    **{name: partial(bare, name) for name in BARE},
    "aarch64-long": aarch64_long,
    "aarch64-python": aarch64_python,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    some = f"of {', '.join(PARTS)} (all; the last two take many minutes)"
    parser.add_argument("parts", nargs="*", metavar="PART", help=some)
    parser.add_argument("--fetch", action="store_true", help="get what is missing from Debian")
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"expected parts of {', '.join(PARTS)}, got {', '.join(sorted(unknown))}")
    summary, began = [], time.monotonic()
    if arguments.fetch and not (DEBIAN / "usr/bin/rustc").exists():
        try:
            fetch()
        except MissingError as missing:
            summary.append(f"fetch: {missing}")
    for name in arguments.parts or PARTS:
        start = time.monotonic()
        try:
            PARTS[name]()
        except MissingError as missing:
            summary.append(f"{name}: not run, {missing}")
        except subprocess.CalledProcessError as error:
            print(f"cross: {name} failed: {' '.join(error.cmd)}", file=sys.stderr)
            return 1
        except WrongError as wrong:
            print(f"cross: {wrong}", file=sys.stderr)
            return 1
        else:
            summary.append(f"{name}: passed in {time.monotonic() - start:.0f} s")
    print("\n".join(f"cross: {line}" for line in summary))
    print(f"cross: {time.monotonic() - began:.0f} s in all")
    return 0


if __name__ == "__main__":
    sys.exit(main())
