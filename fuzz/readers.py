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
    import unrolled.onnx

import numpy as np
import onnx

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import formulas  # noqa: E402

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
    used : callable
        Uses a model that was read.
    read : callable
        Reads a file.
    """

    seeds: Callable[[], Parts]
    hints: Mapping[str, Any] = field(default_factory=dict)
    apart: Callable[[bytes], Parts] = lambda data: {"": data}
    together: Callable[[Parts], bytes] = lambda parts: parts[""]
    used: Callable[[Any], Any] = repr
    read: Callable[..., Any] = ur.load


def files(*names: str) -> Callable[[], Parts]:
    """Some of the tests' files."""
    return lambda: {name: (DATA / name).read_bytes() for name in names}


def ours() -> Parts:
    """Files of `unrolled.save`."""
    models = {
        "stack": ur.Sequential(ur.LSTM(1, 2, seed=1), ur.Dense(2, 1, seed=2), initial_state=True),
        "skip": ur.Sequential(ur.RNN(1, 2, seed=5), ur.Dense(2, 1, seed=6), ur.Residual()),
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


def graphs() -> Parts:
    """ONNX models of ours, and of nodes that only a graph has."""
    models = {
        "stack": ur.Sequential(
            ur.GRU(2, 2, num_layers=2, batch_first=True, bidirectional=True, seed=1),
            ur.Dense(4, 2, seed=2),
            ur.Activation("silu"),
            initial_state=True,
        ),
        "lstm": ur.LSTM(1, 2, seed=3),
        "rnn": ur.RNN(1, 2, num_layers=2, nonlinearity="relu", seed=4),
    }
    found = {
        name: unrolled.onnx.to_onnx(model, lengths=name == "lstm").SerializeToString()
        for name, model in models.items()
    }
    text = """<ir_version: 8, opset_import: ["": 17]>
        steps (float[T,B,2] x) => (float[T,B,2] y)
        <float[2,2] w = {1,2,3,4}, int64[3] sizes = {0,0,-1}, int64[1] one = {1}> {
            shape = Shape(x)
            last = Slice(shape, one, one)
            v = Transpose<perm = [1, 0]>(w)
            z = ConstantOfShape<value = float[1] {0}>(sizes)
            p = MatMul(x, v)
            q = Reshape(p, sizes)
            y = ThresholdedRelu<alpha = 0.5>(q)
        }"""
    # Peepholes, a clip and activations with constants: formulas.
    peepholes = """<ir_version: 8, opset_import: ["": 17]>
        cell (float[T,B,1] x) => (float[T,1,B,1] y)
        <float[1,4,1] w = {1,2,3,4}, float[1,4,1] r = {1,2,3,4}, float[1,8] b = {1,2,3,4,5,6,7,8},
         float[1,3] p = {0.1,0.2,0.3}> {
            y = LSTM<
                hidden_size = 1, clip = 3.0, activations = ["HardSigmoid", "Elu", "ScaledTanh"],
                activation_alpha = [0.2, 1.5, 1.7], activation_beta = [0.5, 0.7]
            >(x, w, r, b, , , , p)
        }"""
    found["peepholes"] = onnx.parser.parse_model(peepholes).SerializeToString()
    found["steps"] = onnx.parser.parse_model(text).SerializeToString()
    return found


def formulas_of_keras() -> Parts:
    """A file of Keras whose layers have activations that take a formula."""
    parts = zip_apart((DATA / "stack.keras").read_bytes())
    config = json.loads(parts["config.json"])
    named = iter(("elu", "hard_silu", "selu", "softplus"))
    for layer in config["config"]["layers"]:
        for key in ("activation", "recurrent_activation"):
            if "recurrent_activation" in layer["config"]:
                layer["config"][key] = next(named)
    parts["config.json"] = json.dumps(config).encode()
    return {"formulas": zip_together(parts), **files("stack.keras", "bidirectional.keras")()}


def varint(number: int) -> bytes:
    """Seven bits a byte, lowest first."""
    low = number & 0x7F
    return bytes([low]) if number < 0x80 else bytes([low | 0x80]) + varint(number >> 7)


# The lists of a graph, and the numbers of their fields.
LISTS = {"node": 1, "initializer": 5, "input": 11, "output": 12}


def graph_apart(data: bytes) -> Parts:
    """A model's nodes, tensors, inputs and outputs, and the rest."""
    model = onnx.ModelProto.FromString(data)
    parts = {}
    for name in LISTS:
        for n, message in enumerate(getattr(model.graph, name)):
            parts[f"{name}.{n:03}"] = message.SerializeToString()
        model.graph.ClearField(name)
    return {"model": model.SerializeToString(), **parts}


def graph_together(parts: Parts) -> bytes:
    """The parts with their lengths, whatever they have become; protobuf joins both graphs."""
    graph = b"".join(
        varint(LISTS[name.partition(".")[0]] << 3 | 2) + varint(len(data)) + data
        for name, data in sorted(parts.items())
        if name != "model"
    )
    return parts["model"] + varint(7 << 3 | 2) + varint(len(graph)) + graph


def called(model: Any) -> None:
    """A graph, with zeros as it expects them; layers have parameters."""
    if isinstance(model, unrolled.onnx.Model):
        zeros = {}
        for name, value in model.inputs.items():
            shape = [3 if size is None else max(0, min(size, 8)) for size in value.shape or ()]
            zeros[name] = np.zeros(shape, value.dtype or np.float32)
        model(zeros)
        model.about()
    else:
        repr(model)


TANH = ur.Activation("tanh")
READERS: dict[str, Reader] = {
    "safetensors": Reader(ours, {}, header_apart, header_together),
    "torch": Reader(files("net.pt"), {"layers": ("rnn", "head", TANH)}, zip_apart, zip_together),
    "keras": Reader(formulas_of_keras, {}, zip_apart, zip_together),
    "keras-weights": Reader(
        files("read_out.weights.h5"), {"layers": ("gru", "dense"), "keras_defaults": True}
    ),
    "rtneural": Reader(files("rtneural.json")),
    "nam": Reader(files("amp.nam")),
    "coreaudioml": Reader(files("proteus.json")),
    "onnx": Reader(graphs, {}, graph_apart, graph_together, called),
    "cell": Reader(
        formulas.cells,
        {},
        formulas.cell_apart,
        formulas.cell_together,
        formulas.used,
        lambda path: ur.cells.from_description(path.read_bytes()),
    ),
    "pickle": Reader(
        formulas.cells,
        {},
        formulas.cell_apart,
        formulas.cell_together,
        formulas.used,
        formulas.unpickled,
    ),
    "formula": Reader(
        formulas.saved, {}, formulas.saved_apart, formulas.saved_together, formulas.used
    ),
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
            if name == formulas.CELL and dice.random() < 0.7:
                parts[name] = formulas.changed(old, dice)
            elif old.lstrip()[:1] == b"{" and dice.random() < 0.7:
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
            reader.used(reader.read(path, **reader.hints))
        except DOCUMENTED as error:
            # It says something, and nothing that a terminal would obey.
            text = str(error)
            assert text and text.isprintable(), repr(text)
        except TypeError as error:
            # Of another format now, which does not take these hints.
            assert reader.hints and "no argument for" in str(error), repr(error)

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
