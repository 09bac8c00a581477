"""Archives, pickles and datasets made to cost much, to run, or to be one thing to each reader."""

from __future__ import annotations

import bz2
import collections
import io
import json
import lzma
import pickle
import random
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import normal, same
from test_formats_refused import DATA, archive, h5, needs_h5py, needs_torch, refuse, torch_archive

TANH = ur.Activation("tanh")
HINTS: dict[str, dict[str, Any]] = {
    "net.pt": {"layers": ("rnn", "head", TANH)},
    "stack.keras": {},
}


def entries(name: str) -> dict[str, bytes]:
    with zipfile.ZipFile(DATA / name) as source:
        return {entry: source.read(entry) for entry in source.namelist()}


def zipped(path: Path, parts: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as target:
        for name, data in parts.items():
            target.writestr(name, data)
    return path


# Entries that are read at all.
READ = re.compile(r"data\.pkl|data/\d|byteorder|config\.json|weights\.h5")
ARCHIVES = [
    "net.pt",
    pytest.param("stack.keras", marks=needs_h5py),
]


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_make_much_of_little(name: str, method: int, tmp_path: Path) -> None:
    path, parts = tmp_path / "model", entries(name)
    zipped(path, parts, method)
    refuse(path, "expected it stored or deflated", **HINTS[name])
    # The size in the list is a lie, and the content a gigabyte.
    squeezed = {
        zipfile.ZIP_BZIP2: lambda: bz2.compress(bytes(1 << 20)) * 1024,
        zipfile.ZIP_LZMA: lambda: lzma.compress(bytes(1 << 26), preset=0),
    }[method]()
    for entry in parts:
        zipped(path, parts | {entry: squeezed})
        data = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as target:
            start, count = target.start_dir, target.namelist().index(entry)
        at = -1
        for _ in range(count + 1):
            at = data.index(b"PK\1\2", max(at + 1, start))
        struct.pack_into("<H", data, at + 10, method)
        path.write_bytes(data)
        refuse(path, "expected it stored or deflated", **HINTS[name])


@pytest.mark.parametrize("name", ARCHIVES)
def test_deflated_entries(name: str, tmp_path: Path) -> None:
    """They are read, and no further than the list says that they go."""
    path, parts = tmp_path / "model", entries(name)
    expected = ur.load(DATA / name, **HINTS[name])
    if name != "net.pt":
        zipped(path, parts, zipfile.ZIP_DEFLATED)
        x = normal(4, 2, 2)
        assert same(ur.load(path, **HINTS[name])(x)[0], expected(x)[0])
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    squeezed = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(400)) + bomb.flush()
    for entry in filter(READ.search, parts):
        zipped(path, parts | {entry: squeezed})
        data = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as target:
            info, start = target.getinfo(entry), target.start_dir
            at = start - 1
            for _ in range(target.namelist().index(entry) + 1):
                at = data.index(b"PK\1\2", at + 1)
        assert info.file_size == len(squeezed)
        struct.pack_into("<H", data, at + 10, zipfile.ZIP_DEFLATED)
        path.write_bytes(data)
        refuse(path, "path: ", **HINTS[name])


@pytest.mark.parametrize("name", ARCHIVES)
def test_entries_upon_each_other(name: str, tmp_path: Path) -> None:
    path, parts = tmp_path / "model", entries(name)
    zipped(path, parts)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as target:
        first, second = target.infolist()[:2]
        at = data.index(b"PK\1\2", data.index(b"PK\1\2", target.start_dir) + 1)
    assert first.header_offset != second.header_offset
    struct.pack_into("<I", data, at + 42, first.header_offset)
    path.write_bytes(data)
    refuse(path, "damaged zip archive.*upon each other", **HINTS[name])


@pytest.mark.parametrize("name", ARCHIVES)
def test_what_an_archive_does_not_have(name: str, tmp_path: Path) -> None:
    path, parts = tmp_path / "model", entries(name)
    root = next(iter(parts)).partition("/")[0] + "/" if name == "net.pt" else ""
    for extra in (f"{root}code/model.py", f"{root}\x1b[2J"):
        zipped(path, parts | {extra: b"1"})
        refuse(path, r"code/model.py|\\x1b\[2J", **HINTS[name])
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "w") as target:
        for entry, data in [*parts.items(), *parts.items()]:
            target.writestr(entry, data)
    refuse(path, "two entries have one name", **HINTS[name])
    for entry in parts:
        data = bytearray(zipped(path, parts).read_bytes())
        with zipfile.ZipFile(path) as target:
            info = target.getinfo(entry)
        data[info.header_offset + 30 + len(entry)] ^= 1
        path.write_bytes(data)
        if READ.search(entry):
            refuse(path, "is not what the list of entries says", **HINTS[name])


# What is checked is what is loaded.


def two_lists(path: Path, seen: bytes, hidden: bytes) -> None:
    """An archive with two lists of entries, of which readers differ in the one they take."""
    end = hidden.rindex(b"PK\5\6")
    size, start = struct.unpack_from("<II", hidden, end + 12)
    moved = bytearray(hidden)
    # The comment of the first archive's end is the second archive.
    struct.pack_into("<H", moved, end + 20, min(len(seen), 0xFFFF))
    path.write_bytes(bytes(moved) + seen)
    assert start + size <= end


@needs_torch
def test_two_lists_of_entries(tmp_path: Path) -> None:
    import torch

    files = []
    for value in (1.0, 2.0):
        buffer = io.BytesIO()
        linear = torch.nn.Linear(2, 1)
        torch.nn.init.constant_(linear.weight, value)
        torch.save(linear.state_dict(), buffer)
        files.append(buffer.getvalue())
    path = tmp_path / "model.pt"
    two_lists(path, files[0], files[1])
    # One of the two, or refused; never the one's names with the other's numbers.
    try:
        weight = ur.load(path).state_dict()["weight"]
    except ValueError as error:
        assert str(error).startswith("path: ")
    else:
        assert weight.tolist() in ([[1.0, 1.0]], [[2.0, 2.0]])


def test_it_is_read_once_and_not_by_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is not handed to anyone who reads it again in another way."""
    monkeypatch.setitem(sys.modules, "torch", None)
    net = ur.load(DATA / "net.pt", **HINTS["net.pt"])
    assert net.num_parameters > 0


# PyTorch's pickles.


@needs_torch
@pytest.mark.parametrize("crc", [True, False])
def test_views_and_shared_storages(crc: bool, tmp_path: Path) -> None:
    """As they are saved: transposed, cut out of more, expanded, tied, parameters, of a buffer."""
    import torch

    path = tmp_path / "model.pt"
    base = torch.arange(60, dtype=torch.float32).reshape(6, 10) / 60
    shared = torch.randn(3, 3)
    state = collections.OrderedDict(
        {
            "0.weight": base[1:5, 2:5].t(),
            "0.bias": base[0, 1:8:3],
            "1.weight": torch.nn.Parameter(shared),
            "1.bias": torch.ones(1).expand(3),
            "2.weight": shared,
            "2.bias": torch.nn.Parameter(torch.zeros(3)),
        }
    )
    default = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(crc)
    try:
        torch.save(state, path)
    finally:
        torch.serialization.set_crc32_options(default)
    found = ur.load(path).state_dict()
    for name, tensor in state.items():
        assert same(found[name], np.ascontiguousarray(tensor.detach().numpy()))


@needs_torch
def test_byte_order(tmp_path: Path) -> None:
    """Numbers lie as the archive says."""
    path, parts = tmp_path / "model.pt", entries("net.pt")
    root = next(iter(parts)).partition("/")[0]
    for name, data in parts.items():
        if name.startswith(f"{root}/data/"):
            parts[name] = np.frombuffer(data, "<f4").astype(">f4").tobytes()
    zipped(path, parts | {f"{root}/byteorder": b"big"})
    x, hints = normal(3, 2, 2), HINTS["net.pt"]
    assert same(ur.load(path, **hints)(x)[0], ur.load(DATA / "net.pt", **hints)(x)[0])
    # Files from before there was that entry are in the machine's.
    old = entries("net.pt")
    del old[f"{root}/byteorder"]
    assert same(ur.load(zipped(path, old), **hints)(x)[0], ur.load(DATA / "net.pt", **hints)(x)[0])
    zipped(path, parts | {f"{root}/byteorder": b"middle"})
    refuse(path, "byteorder: expected little or big, got b'middle'", **hints)


def tensor_pickle(storage: str = "FloatStorage", numbers: int = 4, **more: Any) -> bytes:
    """A state dict of one tensor, by hand."""
    values = {"offset": 0, "shape": (2, 2), "strides": (2, 1)} | more

    def integers(items: Any) -> bytes:
        return b"(" + b"".join(integer(n) for n in items) + b"t"

    def integer(n: int) -> bytes:
        data = pickle.encode_long(n)
        return b"\x8a" + bytes([len(data)]) + data

    persistent = (
        b"(X\x07\0\0\0storagectorch\n" + storage.encode() + b"\nX\x01\0\0\x000X\x03\0\0\0cpu"
        + integer(numbers) + b"tQ"
    )  # fmt: skip
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + persistent + integer(values["offset"])
    tensor += integers(values["shape"]) + integers(values["strides"])
    tensor += b"\x89ccollections\nOrderedDict\n)R" + more.get("last", b"") + b"tR"
    return b"\x80\x02}X\x06\0\0\0weight" + tensor + b"s."


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"numbers": 5}, "data/0: expected 5 numbers, got 16 bytes"),
        ({"numbers": 2**70}, "data/0: expected [0-9]+ numbers"),
        ({"offset": 1}, "expected a tensor within its storage"),
        ({"offset": -1}, "damaged pickle"),
        ({"offset": 2**80}, "expected a tensor within its storage"),
        ({"strides": (2**62, 1)}, "expected a tensor within its storage"),
        ({"strides": (0, 0), "shape": (10**9, 10**9)}, "no more numbers than the file brings"),
        ({"strides": (-1, 1)}, "damaged pickle"),
        ({"strides": (1,)}, "damaged pickle"),
        ({"shape": (2, -2)}, "damaged pickle"),
        ({"shape": (0, 2**70), "strides": (1, 1)}, "expected parameters, got"),
        ({"shape": (1,) * 40, "strides": (1,) * 40}, "expected parameters, got"),
        ({"storage": "HalfStorage"}, "got numbers of HalfStorage; save model.float"),
        ({"storage": "UntypedStorage"}, "got an object of 'torch UntypedStorage'"),
        # Negated or conjugated when it is read.
        ({"last": b"}X\x03\0\0\0neg\x88s"}, "a tensor that is not computed yet"),
    ],
)
def test_tensors_that_lie(made: dict[str, Any], message: str, tmp_path: Path) -> None:
    path, numbers = tmp_path / "model.pt", np.arange(4, dtype="<f4").tobytes()
    torch_archive(path, tensor_pickle(), **{"data/0": numbers})
    assert ur.load(path, kind="Dense").state_dict()["weight"].tolist() == [[0, 1], [2, 3]]
    torch_archive(path, tensor_pickle(**made), **{"data/0": numbers})
    refuse(path, message, kind="Dense")


PAYLOADS: dict[str, bytes] = {
    "os.system": b"cos\nsystem\n(X\x05\0\0\0touchtR.",
    "eval": b"cbuiltins\neval\n(X\x01\0\0\x001tR.",
    "getattr": b"cbuiltins\ngetattr\n(X\x01\0\0\0aX\x01\0\0\0btR.",
    "inst": b"(X\x04\0\0\0echoios\nsystem\n.",
    "obj": b"(cos\nsystem\nX\x04\0\0\0echoo.",
    "newobj": b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ft\x81.",
    "stack global": b"X\x02\0\0\0osX\x06\0\0\0system\x93.",
    "extension": b"\x82\x01.",
    "build": b"}}X\x03\0\0\0abcNsb.",
    "reduce of a storage": b"ctorch\nFloatStorage\n(K\x05tR.",
    "hub": b"ctorch.hub\nload\n(X\x01\0\0\0atR.",
    "numpy": b"cnumpy.core.multiarray\n_reconstruct\n(tR.",
    "long memo": b"}r\xff\xff\xff\x7f.",
    "python 2": b"S'a'\n.",
    "deep": b"\x80\x02" + b"(" * 20_000 + b"t" * 20_000 + b".",
    "laughs": b"\x80\x02]q\0"
    + b"".join(
        b"(" + b"h" + bytes([n]) + (b"h" + bytes([n])) * 9 + b"lq" + bytes([n + 1])
        for n in range(60)
    )
    + b".",
    "itself": b"\x80\x02]q\0h\0a.",
    "tuple as a key": b"\x80\x02}(" + b")" + b"\x85" * 20_000 + b"K\x01u.",
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_payloads(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is called, whatever it is."""

    def called(*_: Any) -> Any:
        raise AssertionError("it ran")

    for place in ("os.system", "builtins.eval", "builtins.exec", "pickle.Unpickler"):
        monkeypatch.setattr(place, called)
    for program in (PAYLOADS[name], b"\x80\x02" + PAYLOADS[name]):
        refuse(torch_archive(tmp_path / "model.pt", program), "path: ")


# HDF5.

PLACE = "layers/lstm/cell/vars/0"


def datasets(directory: Path) -> list[Callable[[Any], Any]]:
    import h5py

    zeros = np.zeros((512, 512), "f")
    other = directory / "other.h5"
    with h5py.File(other, "w") as file:
        file["a"] = zeros

    def create(**more: Any) -> Callable[[Any], Any]:
        return lambda file: file.create_dataset(PLACE, **more)

    def virtual(file: Any) -> None:
        layout = h5py.VirtualLayout((512, 512), "f")
        layout[:] = h5py.VirtualSource(str(other), "a", (512, 512))
        file.create_virtual_dataset(PLACE, layout)

    return [
        create(data=zeros, scaleoffset=2, chunks=(512, 512)),
        create(data=zeros, compression="gzip"),
        create(data=zeros, compression="lzf"),
        create(data=zeros, shuffle=True, chunks=(64, 64)),
        create(data=zeros, fletcher32=True, chunks=(64, 64)),
        # Never written: the library fills them in when they are read.
        create(shape=(10**5, 10**5), dtype="f", fillvalue=1.0),
        create(shape=(512, 512), dtype="f", chunks=(64, 64), fillvalue=1.0),
        create(shape=(64, 64), dtype="f", chunks=(64, 64), maxshape=(None, None)),
        create(shape=(512, 512), dtype="f", external=[(str(other), 0, 2**20)]),
        virtual,
    ]


@needs_h5py
@pytest.mark.parametrize("n", range(10))
def test_datasets_that_bring_little(n: int, tmp_path: Path) -> None:
    store = h5(datasets(tmp_path)[n])
    # With other data, so that the size of the file alone is no hint.
    path = archive(tmp_path / "model", store=store + normal(2_000_000).tobytes())
    refuse(path, "expected plain numbers in the file|expected no more numbers than the file has")


@needs_h5py
@pytest.mark.parametrize("method", ["_get", "_array"])
def test_memory_that_ends_is_no_damage(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(*_: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(f"unrolled._formats._h5.Weights.{method}", ended)
    with pytest.raises(MemoryError, match="no room"):
        ur.load(DATA / "stack.keras")


@needs_h5py
def test_one_dataset_under_many_names(tmp_path: Path) -> None:
    """A small file with many layers, all of them of the same numbers."""

    def write(file: Any) -> None:
        file["layers/dense/vars/0"] = np.zeros((256, 256), "f")
        for n in range(1, 2000):
            file[f"layers/dense_{n}/vars/0"] = file["layers/dense/vars/0"]

    def change(config: Any) -> None:
        layer = {"module": "keras.layers", "class_name": "Dense", "config": {"use_bias": False}}
        config["config"]["layers"] = [layer] * 2000

    path = archive(tmp_path / "model", change, h5(write))
    refuse(path, "expected no more numbers than the file has")


@needs_h5py
@pytest.mark.parametrize("value", [2**31, 2**63, 2**64 - 1])
def test_sizes_beyond_every_machine(value: int, tmp_path: Path) -> None:
    """Written over the sizes in a dataset's header, wherever they stand."""
    store = h5(lambda f: f.create_dataset(PLACE, data=np.zeros((37, 41), "f")))
    path, ours = tmp_path / "model", (struct.pack("<Q", 37), struct.pack("<Q", 41))
    for size in ours:
        assert size in store
        refuse(archive(path, store=store.replace(size, struct.pack("<Q", value))), "path: ")


# JSON.


def test_one_long_text_among_numbers(tmp_path: Path) -> None:
    """NumPy would make every number a text of that length."""
    about = json.loads((DATA / "amp.nam").read_text())
    about["weights"] = [0.5] * 100_000 + ["a" * 100_000]
    (tmp_path / "model").write_text(json.dumps(about))
    refuse(tmp_path / "model", "weights: expected numbers in lists 1 deep, got other things")


def test_lists_of_nothing(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_text('{"in_shape": [' + "[]," * 5_000_000 + '1], "layers": []}')
    refuse(path, "expected at most 4194304 lists and objects")


@pytest.mark.parametrize("deep", [50, 900, 200_000])
@pytest.mark.parametrize(
    "key", ["in_shape", "layers", "metadata", "weights", "config", "model_data", "state_dict"]
)
def test_deep(deep: int, key: str, tmp_path: Path) -> None:
    nested = "[" * deep + "1" + "]" * deep
    for other in (
        '"in_shape": [1], "layers": [{}]',
        '"architecture": "LSTM", "config": {}',
        '"model_data": {"model": "SimpleRNN"}',
        '"state_dict": {"lin.bias": [1]}',
    ):
        keys = f'{{{other}, "{key}": {nested}, "weights_": 1}}'
        (tmp_path / "model").write_text(keys)
        refuse(tmp_path / "model", "path: ")


# Every damaged file of every format is a ValueError.


@pytest.mark.parametrize("name", ["net.pt", "rtneural.json", "amp.nam", "proteus.json"])
def test_cut_anywhere(name: str, tmp_path: Path) -> None:
    data, dice = (DATA / name).read_bytes(), random.Random(1)
    for _ in range(60):
        (tmp_path / "model").write_bytes(data[: dice.randrange(len(data))])
        with pytest.raises(ValueError, match="^path: ") as raised:
            ur.load(tmp_path / "model", **HINTS.get(name, {}))
        assert repr(str(tmp_path / "model")) in str(raised.value)


def test_names_are_printed_escaped(tmp_path: Path) -> None:
    """A terminal obeys none of what a file calls its parts."""
    evil = "\x1b]0;owned\x07\x1b[2J\r\n\u202e"
    found = []
    for header in (
        {evil: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
        {"weight": {"dtype": evil, "shape": [1], "data_offsets": [0, 4]}},
        {f"{evil}.weight_ih_l0": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}},
        {f"{evil}.weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}},
        {"__metadata__": {"unrolled": evil}},
        {"__metadata__": {"unrolled": json.dumps({"class": evil, "config": {}})}},
        {"__metadata__": {"unrolled": json.dumps({"class": "GRU", "config": {evil: 1}})}},
    ):
        text = json.dumps(header).encode()
        numbers = bytes(0 if "__metadata__" in header else 4)
        found.append(len(text).to_bytes(8, "little") + text + numbers)
    layer = {"type": evil, "shape": [1], "weights": []}
    found.append(json.dumps({"in_shape": [1], "layers": [layer]}).encode())
    found.append(json.dumps({"model_data": {"model": evil}, "state_dict": {}}).encode())
    rnn = {"model_data": {"model": "SimpleRNN", "unit_type": evil}, "state_dict": {}}
    found += [json.dumps(rnn).encode(), json.dumps(rnn | {evil: 1}).encode()]
    named = json.loads((DATA / "proteus.json").read_text())
    named["state_dict"][evil] = 1
    found.append(json.dumps(named).encode())
    nam = {"architecture": evil, "config": {}, "weights": []}
    found += [json.dumps(nam).encode(), json.dumps(nam | {evil: 1}).encode()]
    for data in found:
        (tmp_path / "model").write_bytes(data)
        with pytest.raises(ValueError, match="path: ") as raised:
            ur.load(tmp_path / "model")
        assert str(raised.value).isprintable(), str(raised.value)
        # And in which file it is.
        assert repr(str(tmp_path / "model")) in str(raised.value)
