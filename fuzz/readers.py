"""Coverage-guided fuzzing of everything that reads a file: `make fuzz`, or one reader alone,

    python fuzz/readers.py keras --seconds 60

Needs atheris (the extra ``fuzz``). libFuzzer changes valid files; whatever comes of it must be a
model or an error that `unrolled.load` documents, in bounded time and memory. Anything else ends the
run, and the input that did it stays in ``fuzz/found``: `python fuzz/readers.py keras FILE` runs it
again. A container's parts are changed one at a time and put together again, so that what is
found lies beyond its checksums and lengths.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["unrolled", "zipfile", "pickletools"]):
    import unrolled as ur

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "tests" / "data" / "formats"
# What `unrolled.load` says it raises for a file that is there, with every extra installed.
DOCUMENTED = (ValueError,)
LONGEST = 1 << 16
MEGABYTES, SECONDS_EACH = 2048, 20

# Changes some bytes, to so many at most.
Mutate = Callable[[bytes, int], bytes]
# Takes a file apart into named parts, and puts parts together.
Parts = dict[str, bytes]


@dataclass(frozen=True)
class Reader:
    """A format as `unrolled.load` is given it.

    Attributes
    ----------
    seeds : callable
        Valid files to begin with, by name.
    hints : mapping
        What those files leave open.
    apart, together : callable
        A file's parts, and a file of them.
    """

    seeds: Callable[[], Parts]
    hints: Mapping[str, Any] = field(default_factory=dict)
    apart: Callable[[bytes], Parts] = lambda data: {"": data}
    together: Callable[[Parts], bytes] = lambda parts: parts[""]


def files(*names: str) -> Callable[[], Parts]:
    """Some of the tests' files."""
    return lambda: {name: (DATA / name).read_bytes() for name in names}


def ours() -> Parts:
    """Files of `unrolled.save`."""
    models = {
        "stack": ur.Sequential(ur.LSTM(1, 2, seed=1), ur.Dense(2, 1, seed=2), initial_state=True),
        "gru": ur.GRU(1, 2, num_layers=2, bidirectional=True, seed=3),
        "rnn": ur.RNN(1, 2, seed=4),
    }
    found = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, model in models.items():
            ur.save(model, Path(directory) / name)
            found[name] = (Path(directory) / name).read_bytes()
    return found


def header_apart(data: bytes) -> Parts:
    """A safetensors file: the header, without its length, and the numbers."""
    end = 8 + int.from_bytes(data[:8], "little")
    return {"header.json": data[8:end], "data": data[end:]}


def header_together(parts: Parts) -> bytes:
    """The length, the header, the numbers."""
    header = parts["header.json"]
    return len(header).to_bytes(8, "little") + header + parts["data"]


def zip_apart(data: bytes) -> Parts:
    """The entries of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zip_together(parts: Parts) -> bytes:
    """A zip archive of stored entries."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    return buffer.getvalue()


TANH = ur.Activation("tanh")
READERS: dict[str, Reader] = {
    "safetensors": Reader(ours, {}, header_apart, header_together),
    "torch": Reader(files("net.pt"), {"layers": ("rnn", "head", TANH)}, zip_apart, zip_together),
    "keras": Reader(files("stack.keras", "bidirectional.keras"), {}, zip_apart, zip_together),
    "keras-weights": Reader(
        files("read_out.weights.h5"), {"layers": ("gru", "dense"), "keras_defaults": True}
    ),
    "rtneural": Reader(files("rtneural.json")),
    "nam": Reader(files("amp.nam")),
}

NEW: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**64, 10**400, 0.5, 1e308, float("nan"), "", "lstm",
    "LSTM", "tanh", "\x1b[2J", "\ud800", [], [[]], [[[]]], {}, {"class_name": "LSTM", "config": {}},
)  # fmt: skip


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every place in nested lists and objects, as (container, key); of a long list the first."""
    found = []
    if isinstance(value, dict | list):
        for key in list(value) if isinstance(value, dict) else range(min(len(value), 4)):
            found += [(value, key), *places(value[key])]
    return found


def json_changed(data: bytes, dice: random.Random) -> bytes:
    """JSON with one value replaced, removed, doubled, wrapped, or under a key nobody knows."""
    about = json.loads(data)
    found = places(about)
    if not found:
        return data
    container, key = dice.choice(found)
    old, new = container[key], dice.choice(NEW)
    action = dice.choice(("set", "remove", "wrap", "move", "add"))
    if action == "remove":
        del container[key]
    elif action == "wrap":
        container[key] = [old]
    elif action == "move":
        container[key] = dice.choice(found)[0]
    elif action == "add" and isinstance(container, dict):
        container[f"new_{key}"] = new
    elif action == "add":
        container.insert(key, old)
    else:
        container[key] = new
    return json.dumps(about).encode()


def mutator(reader: Reader) -> Callable[[bytes, int, int], bytes]:
    """Changes one part of a file, or the whole of it."""

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        dice = random.Random(seed)
        if dice.random() < 0.2:
            return bytes(atheris.Mutate(data, len(data)))
        try:
            parts = reader.apart(data)
            name = dice.choice(sorted(parts))
            old = parts[name]
            if old.lstrip()[:1] == b"{" and dice.random() < 0.7:
                parts[name] = json_changed(old, dice)
            else:
                parts[name] = bytes(atheris.Mutate(old, max(len(old), 1) + 64))
            data = reader.together(parts)
        # It cannot be taken apart any more: then as a whole.
        except Exception:
            data = bytes(atheris.Mutate(data, len(data)))
        return data[:longest]

    return mutate


def attempt(reader: Reader, path: Path) -> Callable[[bytes], None]:
    """Reads a file of such content: a model or a documented error."""

    def run(data: bytes) -> None:
        path.write_bytes(data)
        try:
            model = ur.load(path, **reader.hints)
        except DOCUMENTED as error:
            # It says something, and nothing that a terminal would obey.
            text = str(error)
            assert text and text.isprintable(), repr(text)
        else:
            assert model.num_parameters >= 0

    return run


def fuzz(name: str, seconds: float, repeat: list[str]) -> None:
    """Run libFuzzer on one reader; does not come back."""
    reader = READERS[name]
    # What reads the files warns of some damage, and then refuses it or not.
    warnings.simplefilter("ignore")
    found = HERE / "found"
    found.mkdir(exist_ok=True)
    corpus = HERE / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed, data in reader.seeds().items():
        (corpus / seed).write_bytes(data)
    shared = Path("/dev/shm")
    directory = tempfile.mkdtemp(dir=shared if shared.is_dir() else None)
    path = Path(directory) / f"file-{os.getpid()}"
    options = [
        f"-artifact_prefix={found}/{name}-",
        f"-max_total_time={seconds:.0f}",
        f"-rss_limit_mb={MEGABYTES}",
        f"-timeout={SECONDS_EACH}",
        f"-max_len={LONGEST}",
        "-print_final_stats=1",
    ]
    atheris.Setup(
        [sys.argv[0], *options, *(repeat or [str(corpus)])],
        attempt(reader, path),
        custom_mutator=mutator(reader),
    )
    atheris.Fuzz()


def main() -> None:
    """Fuzz one reader, or list them."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("reader", nargs="?", choices=READERS)
    parser.add_argument("files", nargs="*", help="run these, and no others")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--list", action="store_true", help="the readers' names")
    options = parser.parse_args()
    if options.list or options.reader is None:
        print("\n".join(READERS))
    else:
        fuzz(options.reader, options.seconds, options.files)


if __name__ == "__main__":
    main()
