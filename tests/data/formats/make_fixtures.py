"""Writes the files beside it: models as other programs write them, and what those programs compute.

    KERAS_BACKEND=jax python make_fixtures.py

Takes keras (3.15 made these), jax, torch, and Neural Amp Modeler's own package
(neural-amp-modeler 0.13). Each ``<name>.npz`` holds an input ``x`` and the program's output ``y``,
batch first. CoreAudioML is not a package: here is what its `SimpleRNN` computes, and the file that
its `save_model` writes, made with PyTorch. RTNeural has no writer but Keras' weights in JSON, and
its tests judge it by Keras' outputs; so does this.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import torch
from keras import layers
from nam.models import recurrent

HERE = Path(__file__).parent


def sizes(model: Any) -> None:
    """Every weight random, the biases too: zeros would hide where they go."""
    rng = np.random.default_rng(7)
    model.set_weights([rng.normal(size=w.shape, scale=0.6) for w in model.get_weights()])


def keep(name: str, x: np.ndarray, y: Any) -> None:
    y = np.asarray(y)
    np.savez(HERE / f"{name}.npz", x=x, y=y)
    print(name, y.shape, np.abs(y).max())


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=shape).astype("float32")


def rtneural(model: Any) -> dict[str, Any]:
    """As RTNeural's python/model_utils.py lays it out."""
    kinds = {
        "LSTM": "lstm",
        "GRU": "gru",
        "Dense": "dense",
        "TimeDistributed": "time-distributed-dense",
    }
    found = []
    for layer in model.layers:
        kind = type(layer).__name__
        inner = layer.layer if kind == "TimeDistributed" else layer
        activation = keras.activations.serialize(inner.activation)
        found.append(
            {
                "type": kinds.get(kind, "activation"),
                "activation": "" if activation == "linear" else activation,
                "shape": [None, None, layer.output.shape[-1]],
                "weights": [w.tolist() for w in layer.get_weights()],
            }
        )
    return {"in_shape": [None, None, model.input_shape[-1]], "layers": found}


def keras_files() -> None:
    x = normal(3, 7, 2)
    model = keras.Sequential(
        [
            layers.Input((None, 2)),
            layers.LSTM(4, return_sequences=True),
            layers.Dropout(0.3),
            layers.GRU(3, return_sequences=True),
            layers.SimpleRNN(4, return_sequences=True, activation="relu"),
            layers.Dense(5, activation="silu"),
            layers.ELU(alpha=0.5),
            layers.LeakyReLU(negative_slope=0.25),
            layers.TimeDistributed(layers.Dense(3, activation="hard_sigmoid")),
            layers.Activation("softmax"),
        ]
    )
    sizes(model)
    model.save(HERE / "stack.keras")
    keep("stack", x, model(x))

    model = keras.Sequential(
        [
            layers.Input((None, 2)),
            layers.Bidirectional(layers.GRU(3, return_sequences=True, reset_after=False)),
            layers.Bidirectional(layers.LSTM(2, return_sequences=True, use_bias=False)),
        ]
    )
    sizes(model)
    model.save(HERE / "bidirectional.keras")
    keep("bidirectional", x, model(x))

    model = keras.Sequential(
        [layers.Input((None, 2)), layers.GRU(4, return_sequences=True), layers.Dense(1)]
    )
    sizes(model)
    model.save_weights(HERE / "read_out.weights.h5")
    keep("read_out", x, model(x))

    model = keras.Sequential(
        [
            layers.Input((None, 2)),
            layers.LSTM(4, return_sequences=True),
            layers.GRU(3, return_sequences=True),
            layers.Dense(4, activation="elu"),
            layers.TimeDistributed(layers.Dense(2)),
            layers.Activation("sigmoid"),
        ]
    )
    sizes(model)
    (HERE / "rtneural.json").write_text(json.dumps(rtneural(model), indent=1))
    keep("rtneural", x, model(x))


def nam_file() -> None:
    torch.manual_seed(5)
    model = recurrent.LSTM(4, num_layers=2, sample_rate=48_000.0)
    model.eval()
    # Its own writer first runs over silence, and puts the state after that into the file.
    about = model._get_export_dict()
    path = HERE / "amp.nam"
    path.write_text(json.dumps(about))
    x = 0.3 * normal(1, 64)
    with torch.no_grad():
        state = model._get_initial_state()
        y = model._forward(torch.from_numpy(x), initial_state=state)
    keep("amp", x[..., None], y.numpy()[..., None])


def torch_file() -> None:
    torch.manual_seed(6)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = torch.nn.LSTM(2, 4, num_layers=2, bidirectional=True)
            self.head = torch.nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(self.head(self.rnn(x)[0]))

    net = Net()
    torch.save(net.state_dict(), HERE / "net.pt")
    x = normal(3, 7, 2)
    with torch.no_grad():
        y = net(torch.from_numpy(x).transpose(0, 1)).transpose(0, 1)
    keep("net", x, y.numpy())


def coreaudioml_file() -> None:
    torch.manual_seed(8)
    rec, lin = torch.nn.LSTM(2, 4, 2), torch.nn.Linear(4, 1)
    about = {
        "model": "SimpleRNN",
        "input_size": 2,
        "skip": 1,
        "output_size": 1,
        "unit_type": "LSTM",
        "num_layers": 2,
        "hidden_size": 4,
        "bias_fl": True,
    }
    state = torch.nn.ModuleDict({"rec": rec, "lin": lin}).state_dict()
    for a in state.values():
        # Larger than PyTorch draws them, so that each is heard.
        a *= 2
    whole = {"model_data": about, "state_dict": {name: a.tolist() for name, a in state.items()}}
    (HERE / "proteus.json").write_text(json.dumps(whole))
    x = normal(3, 9, 2)
    with torch.no_grad():
        first = torch.from_numpy(x).transpose(0, 1)
        y = lin(rec(first)[0]) + first[..., :1]
    keep("proteus", x, y.transpose(0, 1).numpy())


if __name__ == "__main__":
    keras_files()
    torch_file()
    nam_file()
    coreaudioml_file()
