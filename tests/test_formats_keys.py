"""Configurations: each key is read, known to change no number, or refused by its name."""

from __future__ import annotations

import copy
import importlib.util
import json
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import unrolled as ur
from support import normal, same

DATA = Path(__file__).parent / "data" / "formats"
needs_h5py = pytest.mark.skipif(
    importlib.util.find_spec("h5py") is None, reason="h5py is not installed"
)
NEW = "colour\x1b[2J"
# Said as it can be printed.
SHOWN = r"colour\\x1b\[2J"
# What is no matter as a whole: how weights were drawn, how the model was trained, notes on it.
HARMLESS = ("build_config", "compile_config", "metadata", "kernel_initializer",
            "recurrent_initializer", "bias_initializer")  # fmt: skip

Path_ = tuple[Any, ...]


def objects(value: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Where there are objects, as keys to follow."""
    if isinstance(value, dict):
        yield at
        for key, inner in value.items():
            if key not in HARMLESS:
                yield from objects(inner, (*at, key))
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from objects(inner, (*at, n))


def place(about: Any, at: Path_) -> Any:
    for key in at:
        about = about[key]
    return about


def keras_config(name: str) -> dict[str, Any]:
    with zipfile.ZipFile(DATA / name) as archive:
        found: dict[str, Any] = json.loads(archive.read("config.json"))
    return found


def keras_file(path: Path, name: str, config: Any) -> Path:
    with zipfile.ZipFile(DATA / name) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.namelist():
            text = json.dumps(config) if entry == "config.json" else source.read(entry)
            target.writestr(entry, text)
    return path


def json_file(path: Path, name: str, about: Any) -> Path:
    path.write_text(json.dumps(about))
    return path


def ours() -> dict[str, Any]:
    net = ur.Sequential(ur.GRU(1, 2, seed=0), ur.Dense(2, 1, seed=1), ur.Activation("tanh"))
    return {"class": "Sequential", "version": ur.__version__, "config": net.config()}


def our_file(path: Path, name: str, about: Any) -> Path:
    net = ur.Sequential(ur.GRU(1, 2, seed=0), ur.Dense(2, 1, seed=1))
    safetensors.numpy.save_file(net.state_dict(), path, metadata={"unrolled": json.dumps(about)})
    return path


FILES: dict[str, tuple[Callable[[], Any], Callable[[Path, str, Any], Path]]] = {
    "stack.keras": (lambda: keras_config("stack.keras"), keras_file),
    "bidirectional.keras": (lambda: keras_config("bidirectional.keras"), keras_file),
    "rtneural.json": (lambda: json.loads((DATA / "rtneural.json").read_text()), json_file),
    "amp.nam": (lambda: json.loads((DATA / "amp.nam").read_text()), json_file),
    "proteus.json": (lambda: json.loads((DATA / "proteus.json").read_text()), json_file),
    "ours": (ours, our_file),
}
LEVELS = [
    pytest.param(name, at, marks=needs_h5py if name.endswith(".keras") else (), id=f"{name}-{at}")
    for name, (read, _) in FILES.items()
    for at in objects(read())
]


def test_there_are_levels() -> None:
    assert len(LEVELS) > 60


@pytest.mark.parametrize(("name", "at"), LEVELS)
def test_an_unknown_key(name: str, at: Path_, tmp_path: Path) -> None:
    read, write = FILES[name]
    about = read()
    ur.load(write(tmp_path / "model", name, about))
    place(about, at)[NEW] = True
    with pytest.raises(ValueError, match=SHOWN) as raised:
        ur.load(write(tmp_path / "model", name, about))
    assert str(raised.value).isprintable()


def test_an_unknown_key_of_a_tensor(tmp_path: Path) -> None:
    path = tmp_path / "net"
    entry = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], NEW: 1}
    header = json.dumps({"weight": entry}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(ValueError, match=SHOWN):
        ur.load(path)


@pytest.mark.parametrize("name", ["rtneural.json", "amp.nam", "proteus.json"])
def test_a_key_twice(name: str, tmp_path: Path) -> None:
    """Programs differ in which of two they take."""
    text = (DATA / name).read_text().strip()
    (tmp_path / "model").write_text(text[:-1] + ', "layers": [], "weights": [], "weights": []}')
    with pytest.raises(ValueError, match="occurs twice in an object"):
        ur.load(tmp_path / "model")


# Keras: values that would be computed otherwise.

LAYERS = ("config", "layers")
LSTM, GRU = (*LAYERS, 1), (*LAYERS, 3)
BOTH = (*LAYERS, 1, "config")


def changed(name: str, at: Path_, value: Any) -> Any:
    config = keras_config(name)
    place(config, at[:-1])[at[-1]] = value
    return config


@needs_h5py
@pytest.mark.parametrize(
    ("name", "at", "value"),
    [
        ("stack.keras", (*LSTM, "config", "stateful"), True),
        ("stack.keras", (*LSTM, "config", "return_state"), True),
        ("stack.keras", (*GRU, "config", "time_major"), True),
        ("stack.keras", (*LSTM, "config", "go_backwards"), True),
        ("stack.keras", (*LSTM, "config", "go_backwards"), 0),
        ("stack.keras", (*LSTM, "config", "use_bias"), False),
        ("stack.keras", (*LSTM, "config", "dtype"), "mixed_float16"),
        ("stack.keras", (*LSTM, "config", "dtype", "config", "name"), "bfloat16"),
        ("stack.keras", (*LSTM, "config", "dtype", "class_name"), "QuantizedDTypePolicy"),
        ("stack.keras", (*LSTM, "module"), "mine"),
        ("stack.keras", (*LSTM, "module"), None),
        ("stack.keras", (*LSTM, "registered_name"), "mine>LSTM"),
        ("stack.keras", (*LAYERS, 2, "registered_name"), "mine>Dropout"),
        ("stack.keras", (*LAYERS, 2, "module"), "builtins"),
        ("stack.keras", (*LAYERS, 5, "module"), "tests"),
        ("stack.keras", (*LAYERS, 5, "config", "quantization_config"), {"mode": "int8"}),
        ("stack.keras", (*LAYERS, 5, "config", "lora_rank"), 2),
        ("stack.keras", (*LAYERS, 8, "config", "layer", "module"), "mine"),
        ("stack.keras", ("module",), "mine"),
        ("stack.keras", ("registered_name",), "mine>Sequential"),
        ("bidirectional.keras", (*BOTH, "merge_mode"), "sum"),
        ("bidirectional.keras", (*BOTH, "layer", "registered_name"), "mine>GRU"),
        ("bidirectional.keras", (*BOTH, "layer", "config", "stateful"), True),
    ],
)
def test_keras_values(name: str, at: Path_, value: Any, tmp_path: Path) -> None:
    config = changed(name, at, value)
    expected = "dtype" if "dtype" in at else str(at[-1]).replace("registered_name", "module")
    with pytest.raises(ValueError, match=rf"path: .*{expected}.*: expected"):
        ur.load(keras_file(tmp_path / "model", name, config))


def backward(config: dict[str, Any]) -> dict[str, Any]:
    """The layer's twin that goes the other way, as Keras writes one that was given."""
    twin = copy.deepcopy(place(config, (*BOTH, "layer")))
    twin["config"]["go_backwards"] = True
    place(config, BOTH)["backward_layer"] = twin
    found: dict[str, Any] = twin["config"]
    return found


@needs_h5py
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("activation", "relu"),
        ("recurrent_activation", "hard_sigmoid"),
        ("reset_after", True),
        ("use_bias", False),
        ("go_backwards", False),
        ("return_sequences", False),
        ("stateful", True),
        ("units", 5),
    ],
)
def test_the_other_direction(name: str, value: Any, tmp_path: Path) -> None:
    """A Bidirectional's second layer has a configuration of its own."""
    path, file = tmp_path / "model", "bidirectional.keras"
    config = keras_config(file)
    own = backward(config)
    x = normal(5, 2, 2)
    assert same(ur.load(keras_file(path, file, config))(x)[0], ur.load(DATA / file)(x)[0])
    own[name] = value
    with pytest.raises(ValueError, match=rf"layers\[1\]\.backward_layer\.{name}: expected"):
        ur.load(keras_file(path, file, config))
    own[name] = place(config, (*BOTH, "layer", "config"))[name]
    config["config"]["layers"][1]["config"]["backward_layer"]["class_name"] = "LSTM"
    with pytest.raises(ValueError, match=r"layers\[1\]\.backward_layer: LSTM is a layer"):
        ur.load(keras_file(path, file, config))


@needs_h5py
def test_weights_that_nobody_reads(tmp_path: Path) -> None:
    config = keras_config("stack.keras")
    del config["config"]["layers"][-2]
    with pytest.raises(ValueError, match=r"got also \['time_distributed/layer/vars/0'"):
        ur.load(keras_file(tmp_path / "model", "stack.keras", config))


def lone_weights(path: Path, group: str, *arrays: np.ndarray) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        for n, a in enumerate(arrays):
            file[f"layers/{group}/vars/{n}"] = a
    return path


@needs_h5py
def test_lone_weights(tmp_path: Path) -> None:
    """They do not say what the layer's activations are: the user does."""
    import h5py

    path = tmp_path / "net.weights.h5"
    arrays = normal(2, 12), normal(3, 12), normal(12)
    lone_weights(path, "lstm/cell", *arrays)
    with pytest.raises(ValueError, match=r"lstm: .* \(tanh and sigmoid, .* keras_defaults=True"):
        ur.load(path)
    with pytest.raises(ValueError, match="keras_defaults=True"):
        ur.load(path, keras_defaults=False)
    net, x = ur.load(path, keras_defaults=True), normal(4, 1, 2)
    assert same(net(x)[0], ur.from_keras_weights(arrays, "LSTM")(x)[0])
    with h5py.File(path, "a") as file:
        file["layers/lstm/cell/seed_generator/vars/0"] = np.zeros(2, np.uint32)
    assert same(ur.load(path, keras_defaults=True)(x)[0], net(x)[0])
    # Of a class that adds something, which may be called LSTM too.
    for more in ("layers/lstm/vars/0", "layers/lstm/cell/norm/vars/0"):
        lone_weights(path, "lstm/cell", *arrays)
        with h5py.File(path, "a") as file:
            file[more] = normal(3)
        with pytest.raises(ValueError, match=f"expected weights of the layers alone.*{more[7:]}"):
            ur.load(path, keras_defaults=True)
    # Without biases a GRU's weights do not say where it resets either.
    lone_weights(path, "gru/cell", normal(2, 9), normal(3, 9))
    with pytest.raises(ValueError, match=r"gru: .*reset_after=True, forwards"):
        ur.load(path)
    arrays = normal(2, 3), normal(3, 3), normal(3)
    lone_weights(path, "simple_rnn/cell", *arrays)
    with pytest.raises(ValueError, match="keras_defaults=True"):
        ur.load(path, nonlinearity="relu")
    for said in ("tanh", "relu"):
        net = ur.load(path, nonlinearity=said, keras_defaults=True)
        expected = ur.from_keras_weights(arrays, "SimpleRNN", activation=said)
        assert same(net(x)[0], expected(x)[0])


@needs_h5py
@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f4"])
def test_either_byte_order(dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "net.weights.h5"
    kernel = normal(2, 3, dtype=dtype)
    lone_weights(path, "dense", kernel)
    layer = ur.load(path, layers=("dense",)).layers[0]
    assert layer.dtype == np.dtype(dtype).newbyteorder("=")
    assert np.array_equal(layer.state_dict()["weight"], kernel.T)


# RTNeural and Neural Amp Modeler.


@pytest.mark.parametrize("name", ["in_gain", "out_gain"])
def test_what_plugins_add(name: str, tmp_path: Path) -> None:
    """A gain of 0 dB is nothing; others are refused."""
    about = json.loads((DATA / "rtneural.json").read_text())
    x = normal(5, 1, 2)
    expected = ur.load(DATA / "rtneural.json")(x)[0]
    for value in (0, 0.0, None):
        json_file(tmp_path / "model", "", about | {name: value, "metadata": {"name": "amp"}})
        assert same(ur.load(tmp_path / "model")(x)[0], expected)
    for value in (1, -3.5, "0", [0]):
        json_file(tmp_path / "model", "", about | {name: value})
        with pytest.raises(ValueError, match=rf"path: {name}: expected 0, .* got"):
            ur.load(tmp_path / "model")


def test_rtneural_dense_without_bias(tmp_path: Path) -> None:
    kernel = normal(2, 3)
    layer = {"type": "dense", "activation": "", "shape": [None, 3], "weights": [kernel.tolist()]}
    json_file(tmp_path / "model", "", {"in_shape": [None, 2], "layers": [layer]})
    dense = ur.load(tmp_path / "model").layers[0]
    assert not dense.bias
    assert np.array_equal(dense.state_dict()["weight"], kernel.T)


@pytest.mark.parametrize(
    "weights", [[], [[[]]], [[]], [[[1.0]], [[1.0]]], [1.0], [["1"]], [[[True]]], [[[10**400]]]]
)
def test_rtneural_slopes(weights: Any, tmp_path: Path) -> None:
    layer = {"type": "prelu", "shape": [None, 1], "weights": weights}
    json_file(tmp_path / "model", "", {"in_shape": [None, 1], "layers": [layer]})
    with pytest.raises(ValueError, match=r"layers\[0\]"):
        ur.load(tmp_path / "model")


@pytest.mark.parametrize("version", ["1.0.0", 5, "x"])
def test_nam_versions(version: Any, tmp_path: Path) -> None:
    about = json.loads((DATA / "amp.nam").read_text()) | {"version": version}
    with pytest.raises(ValueError, match="version: expected"):
        ur.load(json_file(tmp_path / "model", "", about))


# State dicts.


def state_file(path: Path, **arrays: np.ndarray) -> Path:
    safetensors.numpy.save_file({k.replace("__", "."): a for k, a in arrays.items()}, path)
    return path


def test_a_lone_matrix(tmp_path: Path) -> None:
    """It may be an Embedding's, whose rows are looked up, or a Linear's, which are multiplied."""
    matrix, x = normal(4, 4), normal(3, 1, 4)
    lone = state_file(tmp_path / "lone", weight=matrix)
    with pytest.raises(ValueError, match=r"Linear's or a torch.nn.Embedding's.*'': 'Dense'"):
        ur.load(lone)
    for kind in ("Dense", {"": "Dense"}):
        assert np.array_equal(ur.load(lone, kind=kind).state_dict()["weight"], matrix)
    gru = ur.GRU(4, 5, seed=0)
    state = {f"1__{key}": a for key, a in gru.state_dict().items()}
    path = state_file(tmp_path / "stack", **{"0__weight": matrix}, **state)
    with pytest.raises(ValueError, match=r"0.weight: \(4, 4\) without a bias.*'0': 'Dense'"):
        ur.load(path)
    expected = gru((x @ matrix.T).astype("float32"))[0]
    for kind in ("Dense", {"0": "Dense"}, {"0": "Dense", "1": "GRU"}):
        assert np.allclose(ur.load(path, kind=kind)(x)[0], expected, atol=1e-6)
    # Saying what the cell is does not say what the matrix is.
    for kind in ("GRU", {"1": "GRU"}):
        with pytest.raises(ValueError, match="without a bias"):
            ur.load(path, kind=kind)
    mistakes: list[tuple[Any, str]] = [
        ({"2": "Dense"}, r"kind: expected names of \['0', '1'\], got '2'"),
        ({"0": "Embedding"}, "kind: expected one of .*got 'Embedding'"),
        ({"0": "LSTM"}, "kind: expected 'Dense' for 0, got 'LSTM'"),
        ({"0": "Dense", "1": "Dense"}, "kind: expected a cell with 3 gates, got 'Dense'"),
        (3, "kind: expected one of .*got 3"),
    ]
    for kind, message in mistakes:
        with pytest.raises(ValueError, match=message):
            ur.load(path, kind=kind)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"weight": normal(3), "bias": normal(3)}, "weight: expected shape"),
        ({"weight": normal(1)}, "weight: expected shape"),
        ({"weight": normal(2, 3), "bias": normal(2, 3)}, "bias: expected shape"),
        ({"weight": normal(2, 3, 1), "bias": normal(2)}, "weight: expected shape"),
        ({"weight": normal(2, 3), "bias": normal(3)}, "bias: expected shape"),
    ],
    ids=["LayerNorm", "PReLU", "LayerNorm of two axes", "Conv1d", "not a bias of it"],
)
def test_other_layers_weights(arrays: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        ur.load(state_file(tmp_path / "state", **arrays), kind="Dense")


# What takes a configuration or a layer without a file.


@pytest.mark.parametrize("value", [0.0, None, [], "LSTM"])
def test_from_config_of_nothing(value: Any) -> None:
    with pytest.raises(TypeError, match="config: expected a mapping, got"):
        ur.Sequential.from_config(value)


@pytest.mark.parametrize("value", [0.5, None, "LSTM", ur.Activation("tanh")])
def test_to_keras_weights_of_nothing(value: Any) -> None:
    with pytest.raises(TypeError, match="layer: expected an LSTM, GRU, RNN or Dense, got"):
        ur.to_keras_weights(value)


def test_from_config_with_more() -> None:
    config = ur.Sequential(ur.GRU(1, 2)).config()
    assert isinstance(ur.Sequential.from_config(config), ur.Sequential)
    with pytest.raises(ValueError, match=r"config\['colour'\]: expected one of layers"):
        ur.Sequential.from_config(config | {"colour": 1})
    config["layers"][0]["colour"] = 1
    with pytest.raises(ValueError, match=r"config\['layers'\]\[0\]\['colour'\]: expected"):
        ur.Sequential.from_config(config)
