"""Valid files, mutilated at random: whatever comes of it, it is a model or a clear error.

The same examples in every run. ``UNROLLED_FUZZ=20000`` tries that many for each file.
"""

from __future__ import annotations

import importlib.util
import json
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
import unrolled as ur
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

DATA = Path(__file__).parent / "data" / "formats"
EXAMPLES = int(os.environ.get("UNROLLED_FUZZ", "80"))
# What `load` says it raises; FileNotFoundError is for what is not there.
ALLOWED = (ValueError, ImportError)
TANH = ur.Activation("tanh")


def needs(package: str) -> Any:
    there = importlib.util.find_spec(package) is not None
    return pytest.mark.skipif(not there, reason=f"{package} is not installed")


FILES = [
    ("ours.safetensors", {}),
    ("rtneural.json", {}),
    ("amp.nam", {}),
    ("proteus.json", {}),
    pytest.param("net.pt", {"layers": ("rnn", "head", TANH)}, marks=needs("torch")),
    pytest.param("stack.keras", {}, marks=needs("h5py")),
    pytest.param("bidirectional.keras", {}, marks=needs("h5py")),
    pytest.param(
        "read_out.weights.h5",
        {"layers": ("gru", "dense"), "keras_defaults": True},
        marks=needs("h5py"),
    ),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("ours") / "ours.safetensors"
    model = ur.Sequential(ur.LSTM(1, 3, seed=1), ur.Dense(3, 1, seed=2), initial_state=True)
    ur.save(model, path)
    found = {p.name: p.read_bytes() for p in DATA.iterdir()}
    return found | {path.name: path.read_bytes()}


def attempt(path: Path, data: bytes, hints: dict[str, Any]) -> None:
    path.write_bytes(data)
    with warnings.catch_warnings():
        # PyTorch and zipfile warn of what they then refuse, or of names that occur twice.
        warnings.simplefilter("ignore")
        try:
            model = ur.load(path, **hints)
        except ALLOWED as error:
            assert str(error)
        else:
            assert model.num_parameters > 0


MANY = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
# Places lie near the front more often than not: headers are there.
PLACES = st.one_of(st.floats(0, 1), st.floats(0, 0.02), st.floats(0.98, 1))
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "cut", "drop", "insert", "repeat"]),
        PLACES,
        st.integers(0, 255),
        st.integers(1, 64),
    ),
    min_size=1,
    max_size=5,
)


def mutilated(data: bytes, edits: list[tuple[str, float, int, int]]) -> bytes:
    edited = bytearray(data)
    for what, place, value, length in edits:
        at = min(int(place * len(edited)), max(len(edited) - 1, 0))
        if what == "cut":
            del edited[at:]
        elif what == "drop":
            del edited[at : at + length]
        elif what == "insert":
            edited[at:at] = bytes([value]) * length
        elif what == "repeat":
            edited[at:at] = edited[at : at + length]
        elif edited:
            edited[at] = edited[at] ^ (1 << value % 8) if what == "flip" else value
    return bytes(edited)


@pytest.mark.parametrize(("name", "hints"), FILES)
def test_bytes(name: str, hints: dict[str, Any], files: dict[str, bytes], tmp_path: Path) -> None:
    attempt(tmp_path / "whole", files[name], hints)
    assert ur.load(tmp_path / "whole", **hints).num_parameters > 0

    @MANY
    @given(EDITS)
    def run(edits: list[tuple[str, float, int, int]]) -> None:
        attempt(tmp_path / "file", mutilated(files[name], edits), hints)

    run()


JSON = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 9),
    st.floats(allow_nan=True),
    st.text(max_size=4),
    st.sampled_from(["lstm", "gru", "dense", "LSTM", "Sequential", "conv1d", "tanh", "activation"]),
    st.recursive(st.integers(), lambda x: st.lists(x, max_size=3), max_leaves=6),
    st.dictionaries(st.sampled_from(["class_name", "config", "layer"]), st.integers(), max_size=2),
)
REPLACED = st.lists(st.tuples(st.integers(0, 2**32), JSON, st.booleans()), min_size=1, max_size=3)


def nodes(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every place in nested lists and objects, as (container, key)."""
    if isinstance(value, (dict, list)):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            # Long rows of numbers are all alike.
            if isinstance(value, dict) or key < 3:
                found.append((value, key))
                nodes(value[key], found)
    return found


def replaced(data: bytes, edits: list[tuple[int, Any, bool]]) -> bytes:
    about = json.loads(data)
    for place, new, removes in edits:
        places = nodes(about, [])
        if not places:
            break
        container, key = places[place % len(places)]
        if removes:
            del container[key]
        else:
            container[key] = new
    return json.dumps(about).encode()


@pytest.mark.parametrize("name", ["rtneural.json", "amp.nam", "proteus.json"])
def test_json(name: str, files: dict[str, bytes], tmp_path: Path) -> None:
    @MANY
    @given(REPLACED)
    def run(edits: list[tuple[int, Any, bool]]) -> None:
        attempt(tmp_path / "file", replaced(files[name], edits), {})

    run()


@needs("h5py")
@pytest.mark.parametrize("name", ["stack.keras", "bidirectional.keras"])
def test_keras_configurations(name: str, files: dict[str, bytes], tmp_path: Path) -> None:
    import io
    import zipfile

    with zipfile.ZipFile(io.BytesIO(files[name])) as archive:
        parts = {n: archive.read(n) for n in archive.namelist()}

    @MANY
    @given(REPLACED)
    def run(edits: list[tuple[int, Any, bool]]) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("config.json", replaced(parts["config.json"], edits))
            archive.writestr("model.weights.h5", parts["model.weights.h5"])
        attempt(tmp_path / "file", buffer.getvalue(), {})

    run()


def test_headers_of_ours(files: dict[str, bytes], tmp_path: Path) -> None:
    """The configuration in the metadata, which the header carries as text."""
    data = files["ours.safetensors"]
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])

    @MANY
    @given(REPLACED)
    def run(edits: list[tuple[int, Any, bool]]) -> None:
        about = replaced(header["__metadata__"]["unrolled"].encode(), edits).decode()
        changed = header | {"__metadata__": {"unrolled": about}}
        text = json.dumps(changed).encode()
        whole = len(text).to_bytes(8, "little") + text + data[8 + length :]
        attempt(tmp_path / "file", whole, {})

    run()
