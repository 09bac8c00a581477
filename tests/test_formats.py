"""Other programs' files: what they compute, and what was written comes back."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import unrolled as ur
from support import VARIANTS, Variant, make, normal, same
from tolerances import assert_close

DATA = Path(__file__).parent / "data" / "formats"
needs_h5py = pytest.mark.skipif(
    importlib.util.find_spec("h5py") is None, reason="h5py is not installed"
)
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)
TANH = ur.Activation("tanh")
# File, its golden outputs, what the file leaves open.
PEERS = [
    pytest.param("stack.keras", "stack", {}, marks=needs_h5py),
    pytest.param("bidirectional.keras", "bidirectional", {}, marks=needs_h5py),
    pytest.param(
        "read_out.weights.h5",
        "read_out",
        {"layers": ("gru", "dense"), "keras_defaults": True},
        marks=needs_h5py,
    ),
    ("rtneural.json", "rtneural", {}),
    ("amp.nam", "amp", {}),
    ("proteus.json", "proteus", {}),
    pytest.param("net.pt", "net", {"layers": ("rnn", "head", TANH)}, marks=needs_torch),
]


@pytest.mark.parametrize(("file", "golden", "hints"), PEERS)
def test_as_the_program_computes(
    file: str, golden: str, hints: dict[str, Any], tmp_path: Path
) -> None:
    model = ur.load(DATA / file, **hints)
    with np.load(DATA / f"{golden}.npz") as kept:
        x, expected = kept["x"].swapaxes(0, 1), kept["y"].swapaxes(0, 1)
    y, _ = model(x)
    assert_close(y, expected, "reference.output.float32", file)
    first = ur.load(DATA / file, **hints, batch_first=True)
    assert same(first(x.swapaxes(0, 1))[0].swapaxes(0, 1), y)
    if not any(getattr(layer, "bidirectional", False) for layer in model.layers):
        stream = model.stream(batch=x.shape[1])
        assert same(np.stack([stream.step(x_t) for x_t in x]), y)
    # Recognised by what is in it: under another name, and after a detour through our own format.
    other = tmp_path / "nameless"
    other.write_bytes((DATA / file).read_bytes())
    assert same(ur.load(other, **hints)(x)[0], y)
    ur.save(model, other)
    assert same(ur.load(other)(x)[0], y)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_nam_plugin() -> None:
    """The plug-in's computation (NeuralAmpModelerCore, lstm.cpp), written again from its text."""
    about = json.loads((DATA / "amp.nam").read_text())
    weights = iter(about["weights"])
    inputs, hidden, layers = (
        about["config"][k] for k in ("input_size", "hidden_size", "num_layers")
    )
    cells = []
    for layer in range(layers):
        columns = (inputs if layer == 0 else hidden) + hidden
        w = np.array([[next(weights) for _ in range(columns)] for _ in range(4 * hidden)])
        b = np.array([next(weights) for _ in range(4 * hidden)])
        h, c = (np.array([next(weights) for _ in range(hidden)]) for _ in "hc")
        cells.append([w, b, h, c])
    head = np.array([next(weights) for _ in range(hidden)])
    bias = next(weights)
    assert next(weights, None) is None
    x = 0.3 * normal(50, 1)
    expected = []
    for sample in x.astype("float64"):
        signal = sample
        for cell in cells:
            w, b, h, c = cell
            ifgo = w @ np.concatenate([signal, h]) + b
            i, f, g, o = np.split(ifgo, 4)
            c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
            signal = h = sigmoid(o) * np.tanh(c)
            cell[2:] = h, c
        expected.append([head @ signal + bias])
    model = ur.load(DATA / "amp.nam")
    stream = model.stream()
    y = np.stack([stream.step(sample) for sample in x])
    assert_close(y, np.array(expected), "reference.output.float32", "plug-in")
    stream.reset()
    assert same(stream.step(x[0]), y[0])
    # A start from zeros would be heard.
    assert np.abs(ur.Sequential(*model.layers)(x)[0] - y).max() > 1e-3


def test_rtneural_layers() -> None:
    """RTNeural's computation, layer by layer and step by step, from the text of its layers."""
    about = json.loads((DATA / "rtneural.json").read_text())
    x = normal(20, about["in_shape"][-1])
    memory: dict[int, Any] = {}
    functions = {
        "elu": lambda v: np.where(v > 0, v, np.expm1(v)),
        "sigmoid": sigmoid,
        "": lambda v: v,
    }
    expected = []
    for signal in x.astype("float64"):
        for n, layer in enumerate(about["layers"]):
            weights, size = [np.array(w) for w in layer["weights"]], layer["shape"][-1]
            if layer["type"] == "lstm":
                h, c = memory.get(n, (np.zeros(size), np.zeros(size)))
                i, f, g, o = np.split(signal @ weights[0] + h @ weights[1] + weights[2], 4)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                h = sigmoid(o) * np.tanh(c)
                memory[n], signal = (h, c), h
            elif layer["type"] == "gru":
                h = memory.get(n, np.zeros(size))
                xz, xr, xh = np.split(signal @ weights[0] + weights[2][0], 3)
                hz, hr, hh = np.split(h @ weights[1] + weights[2][1], 3)
                z, r = sigmoid(xz + hz), sigmoid(xr + hr)
                h = (1 - z) * np.tanh(xh + r * hh) + z * h
                memory[n] = signal = h
            else:
                if weights:
                    signal = signal @ weights[0] + weights[1]
                signal = functions[layer["activation"]](signal)
        expected.append(signal)
    stream = ur.load(DATA / "rtneural.json").stream()
    y = np.stack([stream.step(x_t) for x_t in x])
    assert_close(y, np.array(expected), "reference.output.float32", "RTNeural")


# What is written comes back.


def to_rtneural(dtype: str = "float32") -> ur.Sequential:
    return ur.Sequential(
        ur.LSTM(2, 5, num_layers=2, dtype=dtype, seed=1),
        ur.Activation("leaky_relu", alpha=0.25),
        ur.GRU(5, 4, bias=False, dtype=dtype, seed=2),
        ur.Dense(4, 3, dtype=dtype, seed=3),
        ur.Activation("softmax"),
        ur.Dense(3, 2, bias=False, dtype=dtype, seed=4),
        ur.Activation("elu"),
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rtneural_there_and_back(dtype: str, tmp_path: Path) -> None:
    model, x = to_rtneural(dtype), normal(9, 3, 2, dtype=dtype)
    path = tmp_path / "model.json"
    ur.export(model, path)
    found = ur.load(path, dtype=dtype)
    y, _ = model(x)
    # Two biases became one, which their sum is before anything else is added.
    assert same(found(x)[0], y)
    again = tmp_path / "again.json"
    ur.export(found, again)
    assert again.read_bytes() == path.read_bytes()
    about = json.loads(path.read_text())
    assert about["in_shape"] == [None, None, 2]
    kinds = [layer["type"] for layer in about["layers"]]
    assert kinds == ["lstm", "lstm", "prelu", "gru", "dense", "activation", "dense", "activation"]
    assert all(layer["shape"][-1] for layer in about["layers"])


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("initial", [False, True])
def test_nam_there_and_back(outputs: int, initial: bool, tmp_path: Path) -> None:
    layers = ur.LSTM(2, 5, num_layers=3, seed=1), ur.Dense(5, outputs, seed=2)
    start = ((normal(3, 5, seed=1), normal(3, 5, seed=2)),)
    model = ur.Sequential(*layers, initial_state=start if initial else False)
    ur.export(model, tmp_path / "amp.nam")
    found = ur.load(tmp_path / "amp.nam")
    x = normal(9, 3, 2)
    assert same(found(x)[0], model(x)[0])
    assert found.initial_state is not None
    expected = start[0] if initial else tuple(np.zeros_like(a) for a in start[0])
    assert same(found.initial_state[0], expected)


@needs_torch
def test_torch_there_and_back(tmp_path: Path) -> None:
    import torch

    model = ur.Sequential(ur.GRU(2, 5, seed=1), ur.Dense(5, 3, seed=2))
    ur.export(model, tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    theirs = torch.nn.GRU(2, 5)
    theirs.load_state_dict({k[2:]: a for k, a in state.items() if k.startswith("0.")})
    x = normal(9, 3, 2)
    h = theirs(torch.from_numpy(x))[0].detach().numpy()
    assert_close(model.layers[0](x)[0], h, "reference.output.float32", "torch")
    assert same(ur.load(tmp_path / "model.pt")(x)[0], model(x)[0])


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_kinds_by_names(variant: Variant, dtype: str, bidirectional: bool, tmp_path: Path) -> None:
    """Names and shapes say all there is, but what the hints are for."""
    more = {"num_layers": 2, "dtype": dtype, "bidirectional": bidirectional}
    net = make(variant, **more)
    path = tmp_path / "state.safetensors"
    safetensors.numpy.save_file(net.state_dict(), path)
    hints: dict[str, Any] = {}
    if isinstance(net, ur.RNN):
        with pytest.raises(ValueError, match='pass nonlinearity="tanh" or "relu"'):
            ur.load(path)
        hints["nonlinearity"] = net.nonlinearity
    if isinstance(net, ur.LSTM) and not net.forget_gate:
        hints["kind"] = "LSTM"
    if isinstance(net, ur.GRU) and not net.reset_after:
        # PyTorch has no such thing, and nothing in the parameters shows it.
        return
    found = ur.load(path, **hints)
    x = normal(5, 2, 3, dtype=dtype)
    assert type(found) is type(net)
    assert same(found(x)[0], net(x)[0])


def test_order_by_names(tmp_path: Path) -> None:
    lstm, dense = ur.LSTM(2, 4, seed=1), ur.Dense(4, 1, seed=2)
    x, path = normal(5, 2, 2), tmp_path / "state.safetensors"

    def write(**prefixes: Any) -> None:
        safetensors.numpy.save_file(
            {
                f"{prefix.replace('_', '.')}.{key}": a
                for prefix, layer in prefixes.items()
                for key, a in layer.state_dict().items()
            },
            path,
        )

    write(core_rnn=lstm)
    assert same(ur.load(path)(x)[0], lstm(x)[0])
    write(model_1=dense, model_0=lstm)
    assert same(ur.load(path)(x)[0], dense(lstm(x)[0]))
    write(model_2=dense, model_0=lstm)
    with pytest.raises(ValueError, match=r"\['model.0', 'model.2'\].*pass layers="):
        ur.load(path)
    y = ur.load(path, layers=["model.0", TANH, "model.2"])(x)[0]
    assert same(y, dense(TANH(lstm(x)[0])))
    for order, message in (
        (["model.0"], "expected each of .* once, got"),
        (["model.0", "model.0", "model.2"], "expected each of .* once, got"),
        (["model.0", "head"], "expected names of .*got 'head'"),
        (["model.2", "model.0"], r"layers\[1\]: expected an input of 1"),
    ):
        with pytest.raises(ValueError, match=message):
            ur.load(path, layers=order)


def test_a_cell_of_pytorchs(tmp_path: Path) -> None:
    net = ur.GRU(2, 3, seed=1)
    state = {key.removesuffix("_l0"): a for key, a in net.state_dict().items()}
    safetensors.numpy.save_file(state, tmp_path / "cell")
    x = normal(5, 2, 2)
    assert same(ur.load(tmp_path / "cell")(x)[0], net(x)[0])


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("bias", [False, True])
def test_keras_lists_there_and_back(variant: Variant, bias: bool) -> None:
    net = make(variant, bias=bias)
    if getattr(net, "proj_size", 0) or not getattr(net, "forget_gate", True):
        with pytest.raises(ValueError, match="of Keras' form"):
            ur.to_keras_weights(net)
        return
    kind = {"RNN": "SimpleRNN"}.get(variant.cell, variant.cell)
    more = {"activation": net.nonlinearity} if isinstance(net, ur.RNN) else {}
    if isinstance(net, ur.GRU):
        more["reset_after"] = net.reset_after
    (weights,) = ur.to_keras_weights(net)
    found = ur.from_keras_weights(weights, kind, **more)
    assert type(found) is type(net) and found.bias is net.bias
    x = normal(5, 2, 3)
    assert same(found(x)[0], net(x)[0])
    (again,) = ur.to_keras_weights(found)
    assert all(same(a, b) for a, b in zip(again, weights, strict=True))


def test_keras_dense_and_directions() -> None:
    dense = ur.Dense(3, 2, seed=0)
    (weights,) = ur.to_keras_weights(dense)
    x = normal(5, 3)
    assert same(ur.from_keras_weights(weights, "Dense")(x), dense(x))
    forward, backward = ur.GRU(3, 4, seed=1), ur.GRU(3, 4, seed=2)
    lists = [ur.to_keras_weights(net)[0] for net in (forward, backward)]
    both = ur.from_keras_weights(lists[0] + lists[1], "GRU", bidirectional=True)
    x = normal(5, 2, 3)
    expected = [forward(x)[0], backward(x[::-1])[0][::-1]]
    assert same(both(x)[0], np.concatenate(expected, axis=-1))
