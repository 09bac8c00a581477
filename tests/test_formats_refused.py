"""Files that are damaged, hostile, or hold what is not known here: refused by name, and cheaply."""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import io
import json
import pickle
import resource
import struct
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import unrolled as ur
from support import same

DATA = Path(__file__).parent / "data" / "formats"
# Imported here, so that what that takes is not a test's.
there = {}
for package in ("h5py", "torch"):
    if there.setdefault(package, importlib.util.find_spec(package) is not None):
        importlib.import_module(package)
needs_h5py = pytest.mark.skipif(not there["h5py"], reason="h5py is not installed")
needs_torch = pytest.mark.skipif(not there["torch"], reason="torch is not installed")


def refuse(path: Path, message: str, error: type[Exception] = ValueError, **hints: Any) -> None:
    """Loading fails so, and takes no more memory than some times the file."""
    size = path.stat().st_size if path.exists() else 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracemalloc.start()
    try:
        with pytest.raises(error, match=message):
            ur.load(path, **hints)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The interpreter's and NumPy's, and then the whole process's.
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    assert max(peak, grown) < 64_000_000 + 100 * size


def edited(path: Path, name: str, change: Callable[[dict[str, Any]], Any]) -> Path:
    about = json.loads((DATA / name).read_text())
    change(about)
    path.write_text(json.dumps(about))
    return path


def tensors(path: Path, **arrays: np.ndarray) -> Path:
    safetensors.numpy.save_file({k.replace("__", "."): a for k, a in arrays.items()}, path)
    return path


ZEROS = np.zeros


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"conv__weight": ZEROS((2, 3, 4), "f")}, r"conv.weight: expected shape \(O, I\)"),
        ({"norm__weight": ZEROS(3, "f"), "norm__bias": ZEROS(3, "f")}, r"norm.weight: expected"),
        ({"bn__running_mean": ZEROS(3, "f")}, "bn.running_mean: expected the parameters"),
        ({"weight_ih_l0": ZEROS((4, 1), "f")}, "weight_hh_l0: expected this parameter too"),
        (
            {"weight_ih_l0": ZEROS((4, 1), "f"), "weight_hh_l0": ZEROS((5, 2), "f")},
            "weight_hh_l0: expected H, 3H or 4H rows for H = 2, got 5",
        ),
        (
            {"weight_ih_l0": ZEROS((8, 1), "f"), "weight_hh_l0": ZEROS((8, 0), "f")},
            r"weight_hh_l0: expected a weight or bias, got shape \(8, 0\)",
        ),
        (
            {"weight_ih_l0": ZEROS((7, 1), "f"), "weight_hh_l0": ZEROS((8, 2), "f")},
            r"weight_ih_l0: expected shape \(8, 1\) by the configuration, got \(7, 1\)",
        ),
        (
            {"weight_ih_l0": ZEROS((8, 1), "f"), "weight_hh_l0": ZEROS((8, 2), "d")},
            "expected all of float32 or all of float64",
        ),
        (
            {"weight_ih_l0": ZEROS((8, 1), "e"), "weight_hh_l0": ZEROS((8, 2), "e")},
            "weight_.h_l0: expected float32 or float64 numbers, got F16",
        ),
        (
            {
                "weight_ih_l0": ZEROS((8, 1), "f"),
                "weight_hh_l0": ZEROS((8, 2), "f"),
                "weight_hh_l999999999": ZEROS((8, 2), "f"),
            },
            "holds bias|holds weight_ih_l1",
        ),
        (
            {
                "weight_ih_l0": ZEROS((8, 1), "f"),
                "weight_hh_l0": np.full((8, 2), np.nan, "f"),
            },
            r"weight_hh_l0: expected finite numbers, got nan at \[0, 0\] \(16 of 16\)",
        ),
    ],
)
def test_parameters(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    refuse(tensors(tmp_path / "state", **arrays), message)


def test_nan_names_the_parameter(tmp_path: Path) -> None:
    net = ur.GRU(1, 2, seed=1)
    state = net.state_dict()
    state["bias_ih_l0"][4] = np.inf
    net.load_state_dict(state)
    path = tmp_path / "net"
    ur.save(net, path)
    refuse(path, r"path: bias_ih_l0: expected finite numbers, got inf at \[4\] \(1 of 6\)")
    found = ur.load(path, allow_nonfinite=True)
    assert all(same(a, state[key]) for key, a in found.state_dict().items())


def test_hints_that_do_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "net"
    ur.save(ur.GRU(1, 2), path)
    refuse(path, "colour: no argument for safetensors, which takes kind, ", TypeError, colour=1)
    refuse(path, "kind: expected none", TypeError, kind="GRU")
    tensors(path, **ur.GRU(1, 2).state_dict())
    refuse(path, "kind: expected a cell with 3 gates, got 'RNN'", kind="RNN")
    refuse(path, "kind: expected one of 'LSTM', 'GRU', 'RNN', 'Dense', got 'Conv'", kind="Conv")
    tensors(path, **ur.Recurrent(ur.cells.peephole_lstm, 1, 2).state_dict())
    refuse(path, "weight_p_l0: .* got a formula's; make the network of its cell")


def safetensors_file(
    path: Path, header: bytes, data: bytes = b"", length: int | None = None
) -> Path:
    size = len(header) if length is None else length
    path.write_bytes(struct.pack("<Q", size) + header + data)
    return path


def test_hostile_safetensors(tmp_path: Path) -> None:
    path, expected = tmp_path / "net", "path: expected a safetensors file"
    header = json.dumps(
        {"w": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4 * 10**18]}}
    ).encode()
    refuse(safetensors_file(path, header), expected)
    refuse(safetensors_file(path, b"{}", length=90_000_000), expected)
    refuse(safetensors_file(path, b'{"a":' * 100_000), expected)
    refuse(safetensors_file(path, b"{\xff}"), expected)
    # Longer than the library takes: of no format at all.
    refuse(safetensors_file(path, b"{}", length=2**62), "none of these")


@pytest.mark.parametrize(
    ("cls", "config"),
    [
        ("LSTM", {"input_size": 1, "hidden_size": 10**9}),
        ("LSTM", {"input_size": 1, "hidden_size": 2, "num_layers": 10**12}),
        ("LSTM", {"input_size": 10**30, "hidden_size": 2}),
        ("LSTM", {"input_size": 1, "hidden_size": "2"}),
        ("LSTM", {"input_size": 1, "hidden_size": -2}),
        ("GRU", {"hidden_size": 2}),
        ("Dense", {"in_features": 10**9, "out_features": 10**9}),
        ("Sequential", {"layers": [{"class": "Dense", "config": {"in_features": 2**40}}]}),
        ("Sequential", {"layers": [{"class": "Sequential", "config": {}}] * 3}),
        ("Sequential", {"layers": [{"class": {}, "config": {}}], "initial_state": True}),
        ("Sequential", {"layers": [[]]}),
        ("Sequential", {"layers": 3}),
        ("Sequential", {}),
    ],
)
def test_configurations_that_lie(cls: str, config: dict[str, Any], tmp_path: Path) -> None:
    """No memory is asked for what the file does not bring."""
    path = tmp_path / "net"
    about = json.dumps({"class": cls, "config": config})
    data = {"weight_ih_l0": np.zeros((8, 1), "f")}
    safetensors.numpy.save_file(data, path, metadata={"unrolled": about})
    refuse(path, "path: ")


def test_a_deep_configuration(tmp_path: Path) -> None:
    path = tmp_path / "net"
    config: Any = {}
    for _ in range(300):
        config = {"layers": [{"class": "Sequential", "config": config}]}
    for about in (
        json.dumps({"class": "Sequential", "config": config}),
        '{"class": "GRU", "config": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ):
        safetensors.numpy.save_file({"w": np.zeros(1, "f")}, path, metadata={"unrolled": about})
        refuse(path, "path: ")


def item(*keys: Any, value: Any) -> Callable[[Any], None]:
    def change(about: Any) -> None:
        for key in keys[:-1]:
            about = about[key]
        about[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (item("layers", 0, "type", value="conv1d"), r"layers\[0\]: expected one of .*got conv1d"),
        (item("layers", 0, "type", value=7), r"layers\[0\].type: expected a string, got 7"),
        (item("layers", 0, "activation", value="relu"), "expected tanh in lstm, got relu"),
        (item("layers", 2, "activation", value="gelu"), r"layers\[2\].activation: .*got gelu"),
        (item("layers", 0, "shape", value=[None, 9]), r"layers\[0\].shape: expected 4 .*got 9"),
        (item("layers", 0, "shape", value=[]), r"layers\[0\].shape: expected a shape, got \[\]"),
        (item("in_shape", value=[None, 5]), r"layers\[0\]: expected 5 inputs, got 2"),
        (item("in_shape", value=[True]), "in_shape: expected an integer"),
        (item("layers", value=[]), "layers: expected a list of layers"),
        (item("layers", 1, value=[]), r"layers\[1\]: expected an object"),
        (item("layers", 0, "weights", value=[[]]), "expected 3 of them, got 1"),
        (item("layers", 0, "weights", 0, value=[[1], [2, 3]]), "rows of differing lengths"),
        (item("layers", 0, "weights", 0, value=[["1"]]), "got other things"),
        (item("layers", 0, "weights", 0, value=[[{}]]), "got other things"),
        (item("layers", 0, "weights", 0, value=3), r"weights\[0\]: .*got int"),
        (item("layers", 0, "weights", 0, value=[]), r"weights\[0\]: expected numbers"),
        (item("layers", 0, "weights", 0, 1, 2, value=1e39), r"weights\[0\]: .*got inf at \[1, 2\]"),
        (item("layers", 0, "weights", 0, 0, 0, value=float("nan")), "got nan at"),
        (item("layers", 1, "weights", 2, value=[0.0] * 9), "lists 2 deep, got 1"),
        (item("layers", 1, "weights", 2, value=[[0.0] * 9] * 3), r"\(2, 9\), got \(3, 9\)"),
    ],
)
def test_rtneural(change: Callable[[Any], None], message: str, tmp_path: Path) -> None:
    refuse(edited(tmp_path / "model", "rtneural.json", change), message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (item("architecture", value="WaveNet"), "architecture: expected LSTM, .*got WaveNet"),
        (item("architecture", value=None), "architecture: expected a string"),
        (item("config", "hidden_size", value=10**9), "weights: expected [0-9]+ by config, got"),
        (item("config", "num_layers", value=10**18), "weights: expected [0-9]+ by config, got"),
        (item("config", "num_layers", value=0), "config.num_layers: expected an integer >= 1"),
        (item("config", "hidden_size", value=2.5), "config.hidden_size: expected an integer"),
        (item("config", "in_channels", value=2), "config.in_channels: expected input_size = 1"),
        (item("config", "gated", value=True), "config.gated: expected no such key"),
        (item("config", value=[]), "config: expected an object"),
        (item("weights", value=[1.0]), "weights: expected [0-9]+ by config, got 1"),
        (item("weights", 3, value=float("nan")), r"weights: expected finite .*nan at \[3\]"),
        (item("weights", 3, value=None), "weights: .*got other things"),
    ],
)
def test_nam(change: Callable[[Any], None], message: str, tmp_path: Path) -> None:
    refuse(edited(tmp_path / "model", "amp.nam", change), message)


def test_hostile_json(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.write_text('{"in_shape":' + "[" * 1_000_000)
    refuse(path, "JSON nested too deeply|expected JSON")
    path.write_text('{"in_shape": [1], "layers": ' + "[" * 60 + "]" * 60 + "}")
    refuse(path, r"layers\[0\]: expected an object")
    path.write_text("{" * 3)
    refuse(path, "expected JSON")
    path.write_bytes(b'{"a": "\xff"}')
    refuse(path, "expected JSON")
    path.write_text('{"architecture": 1}')
    refuse(path, "path: expected a file of one of .* none of these")
    path.write_text(f'{{"in_shape": [{"9" * 5000}], "layers": []}}')
    refuse(path, "path: ")
    with path.open("wb") as file:
        file.write(b"{")
        file.truncate(300 << 20)
    with pytest.raises(ValueError, match="expected JSON of at most"):
        ur.load(path)


# Keras.


def archive(path: Path, config: Any = None, store: bytes | None = None, level: int = 0) -> Path:
    """`stack.keras` with other contents."""
    with zipfile.ZipFile(DATA / "stack.keras") as source:
        about = json.loads(source.read("config.json"))
        config = about if config is None else config(about) or about
        store = source.read("model.weights.h5") if store is None else store
    method = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as target:
        target.writestr("config.json", json.dumps(config))
        target.writestr("model.weights.h5", store)
    return path


LAYERS = ("config", "layers")


@needs_h5py
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (item("class_name", value="Functional"), "expected a Keras Sequential.*'Functional'"),
        (item(*LAYERS, 1, "class_name", value="Conv1D"), r"layers\[1\]: Conv1D is a layer that"),
        (item(*LAYERS, 1, "class_name", value="Lambda"), r"layers\[1\]: Lambda is a layer that"),
        (
            item(*LAYERS, 1, "config", "activation", value="gelu"),
            r"layers\[1\].activation: expected one of .*, got 'gelu': it takes erf",
        ),
        (
            item(*LAYERS, 1, "config", "recurrent_activation", value="softmax"),
            "recurrent_activation: expected .*, got 'softmax': it is a function of all units",
        ),
        (
            item(*LAYERS, 1, "config", "activation", value={"class_name": "function"}),
            "activation: expected one of .*mish.*, got a dict",
        ),
        (
            item(*LAYERS, 3, "config", "recurrent_activation", value="mine>gate"),
            "recurrent_activation: expected one of .*, got 'mine>gate';",
        ),
        (item(*LAYERS, 4, "config", "activation", value=None), "activation: expected .*NoneType"),
        (item(*LAYERS, 1, "config", "go_backwards", value=True), "go_backwards: expected False"),
        (item(*LAYERS, 1, "config", "units", value=10**9), "units: expected 4 by the weights"),
        (item(*LAYERS, 3, "config", "reset_after", value=False), "reset_after: expected True"),
        (item(*LAYERS, 5, "config", "activation", value="gelu"), "activation: 'gelu' is not known"),
        (item(*LAYERS, 5, "config", "activation", value={"class_name": "X"}), "'X' is not known"),
        (
            item(*LAYERS, 5, "class_name", value="LSTM"),
            r"layers\[5\].quantization_config: expected no",
        ),
        (item(*LAYERS, 1, "class_name", value="GRU"), r"layers\[1\].unit_forget_bias: expected no"),
        (item(*LAYERS, 6, "config", "alpha", value="1"), "alpha: expected a real number"),
        (item(*LAYERS, value=[]), "config.layers: expected at least one"),
        (item(*LAYERS, value={}), "config.layers: expected a list"),
        (item(*LAYERS, 2, value=[]), r"config.layers\[2\]: expected a layer"),
        (item("config", value=None), "expected a configuration, got None"),
    ],
)
def test_keras(change: Callable[[Any], None], message: str, tmp_path: Path) -> None:
    refuse(archive(tmp_path / "model", change), message)


def h5(write: Callable[[Any], Any]) -> bytes:
    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write(file)
    return buffer.getvalue()


@needs_h5py
def test_hostile_keras(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "model"
    place = "layers/lstm/cell/vars"
    hostile: list[tuple[Callable[[Any], Any], str]] = [
        # Numbers that the file claims and does not have.
        (
            lambda f: f.create_dataset(
                f"{place}/0", shape=(10**6, 10**6), dtype="f", chunks=(8, 8)
            ),
            "expected no more numbers than the file has",
        ),
        (
            lambda f: f.create_dataset(
                f"{place}/0", data=np.zeros((9, 9), "f"), compression="gzip"
            ),
            "expected plain numbers in the file",
        ),
        (
            lambda f: f.create_dataset(
                f"{place}/0", shape=(9,), dtype="f", external=[("/etc/passwd", 0, 36)]
            ),
            "expected plain numbers in the file",
        ),
        (
            lambda f: f.create_group(place).__setitem__("0", h5py.ExternalLink("/x.h5", "/a")),
            "expected no links, got ExternalLink",
        ),
        (
            lambda f: f.create_group(place).__setitem__("0", h5py.SoftLink("/layers")),
            "expected no links, got SoftLink",
        ),
        (
            lambda f: f.create_dataset(f"{place}/0", data=np.array(["a"], "S")),
            "expected float32 or float64 numbers",
        ),
        (
            lambda f: [f.create_dataset(f"{place}/{n}", data=np.zeros(1, "f")) for n in range(4)],
            "expected at most 3 variables, got 4",
        ),
        (
            lambda f: f.create_dataset(f"{place}/a", data=np.zeros(1, "f")),
            "expected float32 or float64 numbers",
        ),
        (lambda f: f.create_group("layers"), r"layers\[1\]: weights: expected a kernel"),
        (lambda f: f.create_dataset("layers", data=1.0), r"layers\[1\]: weights: expected"),
    ]
    for write, message in hostile:
        refuse(archive(path, store=h5(write)), message)
    for store in (b"", b"\x89HDF\r\n\x1a\n", bytes(100)):
        refuse(archive(path, store=store), "a damaged HDF5 file")
    # An archive that is far larger inside.
    refuse(archive(path, store=bytes(30_000_000), level=9), "expected an archive of weights")
    data = (DATA / "stack.keras").read_bytes()
    for cut in (len(data) // 2, len(data) - 30, 10):
        path.write_bytes(data[:cut])
        refuse(path, "damaged zip archive")


@needs_h5py
def test_keras_weights(tmp_path: Path) -> None:
    path = DATA / "read_out.weights.h5"
    refuse(path, r"got weights of \['dense', 'gru'\].*pass layers=")
    refuse(path, r"layers: expected each of .* once", layers=["gru"], keras_defaults=True)
    refuse(
        path, r"layers: expected names of .*got 'conv'", layers=["conv", "gru"], keras_defaults=True
    )
    refuse(path, "layers: expected a sequence, got str", TypeError, layers="gru")
    other = tmp_path / "weights"
    other.write_bytes(h5(lambda f: f.create_dataset("model_weights/a", data=np.zeros(3))))
    refuse(other, "without its group 'layers'")


def test_lists_that_do_not_fit() -> None:
    a = np.zeros
    mistakes: list[tuple[Any, str, dict[str, Any], type[Exception], str]] = [
        ([a((2, 8)), a((2, 8)), a(7)], "LSTM", {}, ValueError, r"weights\[2\]: .*\(8,\), got"),
        ([a((2, 8)), a((3, 8))], "LSTM", {}, ValueError, r"weights\[0\]: expected shape \(2, 12\)"),
        ([a((2, 8))], "LSTM", {}, ValueError, "expected a kernel"),
        ([a((2, 8)), a((2, 8), "f")], "LSTM", {}, TypeError, r"weights\[1\]: expected a float64"),
        ([a((2, 8))] * 3, "LSTM", {"bidirectional": True}, ValueError, "expected 4 or 6 arrays"),
        ([a((2, 6)), a((2, 6)), a((2, 6))], "GRU", {"reset_after": False}, ValueError, "shows"),
        ([a((2, 6)), a(5)], "Dense", {}, ValueError, r"weights\[1\]: expected shape \(O,\)"),
        ([a(3)], "Dense", {}, ValueError, "expected a kernel"),
        ([], "GRU", {}, ValueError, "expected a kernel"),
        (a((2, 8)), "LSTM", {}, TypeError, "expected a list of arrays, got ndarray"),
        ([a((2, 8))], "Conv1D", {}, ValueError, "kind: expected one of 'LSTM'.*got 'Conv1D'"),
        (
            [a((2, 8)), a((2, 8))],
            "LSTM",
            {"activation": "softmax"},
            ValueError,
            "^activation: expected one of .* got 'softmax': it is a function of all units together",
        ),
        (
            [a((2, 2)), a((2, 2))],
            "SimpleRNN",
            {"recurrent_activation": "tanh"},
            ValueError,
            "recurrent_activation: expected None for a SimpleRNN, got 'tanh'",
        ),
    ]
    for weights, kind, more, error, message in mistakes:
        with pytest.raises(error, match=message):
            ur.from_keras_weights(weights, kind, **more)


# PyTorch.


class Runs:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (open, (str(self.path), "w"))


def torch_archive(path: Path, pickled: bytes, level: int = 0, **more: bytes) -> Path:
    method = zipfile.ZIP_DEFLATED if level else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", b"3\n")
        for name, data in more.items():
            file.writestr(f"archive/{name}", data)
    return path


def test_pickles_do_not_run(tmp_path: Path) -> None:
    path, evidence = tmp_path / "model.pt", tmp_path / "evidence"
    path.write_bytes(pickle.dumps(Runs(evidence)))
    refuse(path, "got a bare pickle.*nothing in it was run")
    for protocol in (0, 2, 5):
        torch_archive(path, pickle.dumps(Runs(evidence), protocol))
        refuse(path, "got an object of|got other objects")
    assert not evidence.exists()
    refuse(torch_archive(path, b"\x80\x02"), "path: a damaged pickle")
    refuse(torch_archive(path, b"", data=b""), "path: ")
    refuse(torch_archive(path, bytes(40_000_000), level=9), "expected an archive of weights")
    # 10**12 bytes for four: not PyTorch's to make.
    made = b"\x80\x02cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R."
    refuse(torch_archive(path, made), "got an object of 'builtins bytearray'")


@needs_torch
def test_state_dicts(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "model.pt"
    cases: list[tuple[Any, str]] = [
        (torch.zeros(3), "expected a state dict, got Tensor"),
        ({"epoch": 3}, "'epoch': expected a tensor, got int"),
        (
            {"weight": torch.zeros(2, 2, dtype=torch.bfloat16)},
            "weight: expected float32 or float64, got numbers of BFloat16Storage",
        ),
        ({"weight": torch.zeros(1).expand(10**6, 10**6)}, "no more numbers than the file brings"),
        ({"weight": torch.full((2, 2), float("nan"))}, "weight: expected finite numbers"),
        ({"conv.weight": torch.zeros(2, 2, 2)}, "conv.weight: expected shape"),
        ({}, "expected parameters, got none"),
        (torch.nn.Linear(2, 2), "got an object of 'torch.nn.modules.linear Linear'"),
    ]
    for saved, message in cases:
        torch.save(saved, path)
        refuse(path, message)
    linear = torch.nn.Linear(2, 3)
    torch.save({"epoch": 3, "state_dict": linear.state_dict()}, path)
    x = np.ones((4, 2), dtype=np.float32)
    assert np.allclose(ur.load(path)(x), linear(torch.from_numpy(x)).detach().numpy())
    data = (DATA / "net.pt").read_bytes()
    for cut in (len(data) // 2, len(data) - 30, 10):
        path.write_bytes(data[:cut])
        refuse(path, "path: ")


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a package were not installed."""
    original = builtins.__import__

    def found(name: str, *rest: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(f"no module named {name}")
        return original(name, *rest)

    monkeypatch.delitem(sys.modules, package, raising=False)
    monkeypatch.setattr(builtins, "__import__", found)


def test_without_h5py(monkeypatch: pytest.MonkeyPatch) -> None:
    without("h5py", monkeypatch)
    with pytest.raises(ImportError, match=r"expected h5py, got .*; pip install '\.\[keras\]' in "):
        ur.load(DATA / "stack.keras")


def test_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's files are read without it, and written with it."""
    hints = {"layers": ("rnn", "head", ur.Activation("tanh"))}
    with_it = ur.load(DATA / "net.pt", **hints)
    without("torch", monkeypatch)
    assert same(
        ur.load(DATA / "net.pt", **hints)(ZEROS((3, 2), "f"))[0], with_it(ZEROS((3, 2), "f"))[0]
    )
    with pytest.raises(
        ImportError,
        match=r"expected PyTorch, got .*; pip install '\.\[torch\]' in ",
    ):
        ur.export(ur.GRU(1, 2), tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())


def test_what_other_formats_cannot_hold(tmp_path: Path) -> None:
    both = ur.LSTM(1, 2, bidirectional=True)
    initial = ur.Sequential(ur.LSTM(1, 2), ur.Dense(2, 1), initial_state=True)
    mistakes: list[tuple[Any, str, str]] = [
        (both, "m.json", r"layers\[0\].bidirectional: expected False"),
        (ur.RNN(1, 2), "m.json", r"layers\[0\]: expected a layer that RTNeural has, got RNN"),
        (ur.GRU(1, 2, reset_after=False), "m.json", "expected reset_after=True"),
        (initial, "m.json", "expected no initial_state"),
        (ur.Sequential(ur.Activation("tanh")), "m.json", "activations alone"),
        (
            ur.Sequential(ur.Dense(1, 1), ur.Activation("silu")),
            "m.json",
            r"layers\[1\]: expected an activation that RTNeural has, got Activation\('silu'\)",
        ),
        (ur.LSTM(1, 2), "m.nam", "expected a Sequential of an LSTM and a Dense"),
        (ur.Sequential(both, ur.Dense(4, 1)), "m.nam", "expected a plain LSTM in one direction"),
        (
            ur.Sequential(ur.LSTM(1, 2, dtype="float64"), ur.Dense(2, 1, dtype="float64")),
            "m.nam",
            "dtype: expected float32",
        ),
        (both, "m.txt", "path: expected a name that ends in one of .safetensors"),
    ]
    for net, name, message in mistakes:
        with pytest.raises(ValueError, match=message):
            ur.export(net, tmp_path / name)
    with pytest.raises(ValueError, match="format: expected one of 'safetensors'.*got 'csv'"):
        ur.export(both, tmp_path / "m", "csv")
    with pytest.raises(ValueError, match="format: Keras is only read here"):
        ur.export(both, tmp_path / "m", "keras")
    assert not list(tmp_path.iterdir())


def test_directories_and_nothing(tmp_path: Path) -> None:
    refuse(tmp_path, "path: expected a file, got")
    refuse(tmp_path / "none", "path: no such file", FileNotFoundError)
