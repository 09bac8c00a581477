"""Recurrent layers with any activation of Keras', judged by Keras itself."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from support import same
from tolerances import assert_close
from unrolled.cells._activations import FORMULAS, KERAS, NOT_KERAS

# Of its back ends the one whose functions compute in float64 where that is asked for. (Its products
# do not: models are compared in float32.)
os.environ["KERAS_BACKEND"] = "torch"
pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("h5py", reason="needs h5py: pip install '.[keras]'")
keras = pytest.importorskip("keras", reason="needs keras")
# Of Keras', whose variables are arrays in the way that NumPy 1 asked for.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
KINDS = ("LSTM", "GRU", "SimpleRNN")
# Bounded, so that what is not has something that holds it.
GATES = ("sigmoid", "hard_sigmoid", "sparse_sigmoid", "tanh", "softsign", "hard_tanh")
DTYPE = "float32"


def normal(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(DTYPE)


def computed(value: Any) -> np.ndarray:
    """An array of Keras' answer."""
    return np.asarray(value.detach().numpy())


def drawn(model: Any) -> Any:
    """Every weight random, the biases too."""
    # Small ones: the exponential of an exponential would overflow.
    weights = [normal(*w.shape, seed=n) / 4 for n, w in enumerate(model.weights)]
    model.set_weights(weights)
    return model


def model_of(*layers: Any) -> Any:
    return drawn(keras.Sequential([keras.layers.Input((None, 2), dtype=DTYPE), *layers]))


def layer(kind: str, both: bool = False, **more: Any) -> Any:
    made = getattr(keras.layers, kind)(3, return_sequences=True, dtype=DTYPE, **more)
    return keras.layers.Bidirectional(made, dtype=DTYPE) if both else made


def agree(model: Any, path: Path) -> Any:
    """A file of the model's gives the same here; what was read."""
    x = normal(2, 6, 2)
    expected = computed(model(x))
    assert expected.dtype == DTYPE and np.isfinite(expected).all()
    model.save(path)
    found = ur.load(path, batch_first=True)
    assert_close(found(x)[0], expected, "peer.float32", repr(found))
    return found


def test_all_of_keras_activations() -> None:
    """Each is a formula, or there is a sentence on why not; names of Keras' own alone."""
    from keras.src.activations import ALL_OBJECTS_DICT

    assert {*KERAS} | {*NOT_KERAS} == {*ALL_OBJECTS_DICT}
    assert not {*KERAS} & {*NOT_KERAS}
    assert {function.name for function in KERAS.values()} <= {*FORMULAS}


@pytest.mark.parametrize("name", KERAS)
def test_the_functions(name: str) -> None:
    """At ties, and far away."""
    ties = [-6, -3, -1, -0.5, -0.25, 0.0, 0.25, 0.5, 1, 3, 6]
    beside = [np.nextafter(ties, end) for end in (-np.inf, np.inf)]
    x = np.concatenate([ties, *beside, normal(20), [-80, 80]])
    expected = computed(keras.activations.get(name)(keras.ops.convert_to_tensor(x, "float64")))
    np.testing.assert_allclose(KERAS[name](x), expected, rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", KERAS)
def test_every_activation(name: str, kind: str, tmp_path: Path) -> None:
    """In both directions, among others in one; LSTM and GRU with every gate in turn."""
    gate = GATES[[*KERAS].index(name) % len(GATES)]
    more = {} if kind == "SimpleRNN" else {"recurrent_activation": gate}
    found = agree(
        model_of(layer(kind, both=True, activation=name, **more), layer(kind, activation=name)),
        tmp_path / "model.keras",
    )
    both, one = found.layers
    assert (both.bidirectional, one.bidirectional) == (True, False)
    usual = ("tanh", "relu", "sigmoid") if kind == "SimpleRNN" else ("tanh",)
    assert isinstance(one, ur.Recurrent) == (name not in usual)


@pytest.mark.parametrize("kind", ("LSTM", "GRU"))
@pytest.mark.parametrize("gate", KERAS)
def test_every_recurrent_activation(gate: str, kind: str, tmp_path: Path) -> None:
    """Over three steps: gates that are not bounded make an LSTM grow as the exponential of one."""
    model = model_of(layer(kind, activation="softsign", recurrent_activation=gate))
    x = normal(2, 3, 2)
    expected = computed(model(x))
    model.save(tmp_path / "model.keras")
    found = ur.load(tmp_path / "model.keras", batch_first=True)
    assert_close(found(x)[0], expected, "peer.float32", gate)
    assert isinstance(found.layers[0], ur.Recurrent)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_gru_variants(after: bool, bias: bool, tmp_path: Path) -> None:
    more = {"reset_after": after, "use_bias": bias, "recurrent_activation": "hard_sigmoid"}
    found = agree(model_of(layer("GRU", both=True, **more)), tmp_path / "model.keras").layers[0]
    assert found.bias is bias
    assert found.cell.name == f"gru_{'' if after else 'reset_before_'}hard_sigmoid_tanh"
    # Our order of gates, though Keras' has z first.
    assert [each["name"] for each in found.cell.maps if each["x"]] == ["r", "z", "n"]
    ur.save(found, tmp_path / "net")
    x = normal(2, 6, 2)
    assert same(ur.load(tmp_path / "net")(x)[0], found(x)[0])


def test_lists_of_weights() -> None:
    """What `get_weights` gives, with the activations told; names and places of an LSTM's gates."""
    made = layer("LSTM", activation="elu", recurrent_activation="hard_sigmoid")
    model = model_of(made)
    x = normal(2, 6, 2)
    net = ur.from_keras_weights(
        made.get_weights(),
        "LSTM",
        activation="elu",
        recurrent_activation="hard_sigmoid",
        batch_first=True,
    )
    assert repr(net) == ("Recurrent(lstm_hard_sigmoid_elu_elu, 2, 3, batch_first=True)")
    assert_close(net(x)[0], computed(model(x)), "peer.float32", "list")
    assert [each["name"] for each in net.cell.maps] == ["i", "f", "g", "o"]
    assert np.array_equal(net.state_dict()["weight_ih_l0"], made.get_weights()[0].T)


def test_it_is_trained(tmp_path: Path) -> None:
    model = model_of(layer("LSTM", activation="mish", recurrent_activation="hard_sigmoid"))
    model.save(tmp_path / "model.keras")
    net = ur.load(tmp_path / "model.keras")
    x = normal(6, 2, 2)
    target = np.roll(normal(6, 2, 3), 1)
    optimiser, losses = ur.optim.Adam(net.modules, lr=1e-2), []
    for _ in range(50):
        y, _, tape = net.record(x)
        loss, dy = ur.losses.mse(y, target)
        optimiser.step(tape.backward(dy).modules)
        losses.append(loss)
    assert losses[-1] < losses[0]


def test_functions_of_ones_own(tmp_path: Path) -> None:
    """Are refused by name, as are those of all units together."""

    @keras.saving.register_keras_serializable("mine")
    def squashed(a: Any) -> Any:
        return keras.ops.tanh(a) * 0.5

    path = tmp_path / "model.keras"
    for given, message in (
        (squashed, "got a dict;"),
        ("softmax", "got 'softmax': it is a function of all units together"),
        ("gelu", "got 'gelu': it takes erf"),
    ):
        model_of(layer("GRU", activation=given)).save(path)
        with pytest.raises(ValueError, match=rf"path: config.layers\[1\].activation: .*{message}"):
            ur.load(path)
