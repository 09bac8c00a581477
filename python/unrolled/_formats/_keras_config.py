"""What Keras' configurations say: which keys there are, and what each must be.

A key that is listed here is read, or must have the value that it has by default, or changes no
number once a model is trained. Every other is refused by its name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .._activation import Activation
from ..cells._activations import keras_function
from ._keys import got, only, plain, shown

ACTIVATIONS: dict[str, Activation | None] = {
    "linear": None,
    "tanh": Activation("tanh"),
    "relu": Activation("relu"),
    "sigmoid": Activation("sigmoid"),
    "softmax": Activation("softmax"),
    "elu": Activation("elu"),
    "leaky_relu": Activation("leaky_relu", alpha=0.2),
    "hard_sigmoid": Activation("hard_sigmoid"),
    "softsign": Activation("softsign"),
    "silu": Activation("silu"),
    "swish": Activation("silu"),
}
RECURRENT = ("LSTM", "GRU", "SimpleRNN")
# Those that do something in training only, or nothing at all.
IDLE = (
    "InputLayer",
    "Dropout",
    "SpatialDropout1D",
    "GaussianDropout",
    "GaussianNoise",
    "ActivityRegularization",
    "Identity",
)
# Every object's keys beside its configuration.
OBJECT = ("module", "class_name", "config", "registered_name", "build_config", "shared_object_id")
MODULE = "keras.layers"
# As Keras 3 calls a Sequential's, and as earlier versions that wrote such archives did.
MODEL_MODULES = ("keras", "keras.models", "keras.src.models.sequential")
FLOATS = ("float32", "float64")
# Of every layer. Names and shapes change no number, nor does whether it is trained.
LAYER = ("name", "trainable", "dtype", "batch_shape", "batch_input_shape", "activity_regularizer")
TRAINING = tuple(
    f"{what}_{how}"
    for what in ("kernel", "recurrent", "bias")
    for how in ("initializer", "regularizer", "constraint")
)
# `return_sequences` is what of the output is handed on; `unroll` and `implementation` how it is
# computed; `zero_output_for_mask` is about masks, which no layer here makes.
CELL = (
    *TRAINING,
    "units",
    "activation",
    "recurrent_activation",
    "use_bias",
    "dropout",
    "recurrent_dropout",
    "seed",
    "return_sequences",
    "unroll",
    "implementation",
    "zero_output_for_mask",
)
CELL_PLAIN = {"return_state": False, "stateful": False, "time_major": False}
DENSE_PLAIN = {"quantization_config": None, "lora_rank": None, "lora_alpha": None}
KEYS: dict[str, tuple[str, ...]] = {
    "LSTM": (*CELL, "unit_forget_bias", "go_backwards", *CELL_PLAIN),
    "GRU": (*CELL, "reset_after", "go_backwards", *CELL_PLAIN),
    "SimpleRNN": (*CELL, "go_backwards", *CELL_PLAIN),
    "Dense": (*TRAINING, "units", "activation", "use_bias", *DENSE_PLAIN),
    "Bidirectional": ("merge_mode", "layer", "backward_layer"),
    "TimeDistributed": ("layer",),
    "Activation": ("activation",),
    "ELU": ("alpha",),
    "LeakyReLU": ("negative_slope", "alpha"),
    "ReLU": ("negative_slope", "max_value", "threshold"),
    "Softmax": ("axis",),
    "InputLayer": ("sparse", "ragged", "optional"),
    "Dropout": ("rate", "seed", "noise_shape"),
    "SpatialDropout1D": ("rate", "seed", "noise_shape"),
    "GaussianDropout": ("rate", "seed"),
    "GaussianNoise": ("stddev", "seed"),
    "ActivityRegularization": ("l1", "l2"),
    "Identity": (),
}
# What a cell computes hangs on these.
SETTINGS: dict[str, dict[str, Any]] = {
    "LSTM": {"activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True},
    "GRU": {
        "activation": "tanh",
        "recurrent_activation": "sigmoid",
        "use_bias": True,
        "reset_after": True,
    },
    "SimpleRNN": {"activation": "tanh", "use_bias": True},
}


def layers_of(config: Mapping[str, Any]) -> list[Any]:
    """The layers in ``config.json``, which must be a Sequential's."""
    kind = config.get("class_name")
    if kind != "Sequential":
        raise ValueError(
            "path: expected a Keras Sequential model, "
            f"got {got(kind)}; from_keras_weights takes single layers"
        )
    # How it was trained is no matter.
    only("", config, (*OBJECT, "compile_config"))
    _of_keras("", kind, config, MODEL_MODULES)
    inner = inside(config, "config.json")
    only("config.", inner, ("name", "trainable", "dtype", "layers", "build_input_shape"))
    _dtype("config.", inner)
    given = inner.get("layers")
    if not isinstance(given, list):
        raise ValueError(f"path: config.layers: expected a list, got {got(given)}")
    return given


def inside(about: Mapping[str, Any], at: str) -> dict[str, Any]:
    """An object's configuration."""
    config = about.get("config")
    if not isinstance(config, dict):
        raise ValueError(f"path: {at}: expected a configuration, got {got(config)}")
    return config


def layer(at: str, about: Any, kinds: Sequence[str] = tuple(KEYS)) -> tuple[str, dict[str, Any]]:
    """The class of a layer, Keras' own and one of `kinds`, and its configuration."""
    kind = about.get("class_name") if isinstance(about, dict) else None
    if not isinstance(kind, str):
        raise ValueError(f"path: {at}: expected a layer, got {got(about)}")
    if kind not in kinds:
        raise ValueError(
            f"path: {at}: {shown(kind)} is a layer that is not known here; expected one of "
            f"{', '.join(kinds)}"
        )
    only(f"{at}.", about, OBJECT)
    _of_keras(f"{at}.", kind, about, (MODULE,))
    config = inside(about, at)
    only(f"{at}.", config, (*LAYER, *KEYS[kind]))
    _dtype(f"{at}.", config)
    if kind == "InputLayer":
        plain(f"{at}.", config, {"sparse": False, "ragged": False})
    return kind, config


def _of_keras(at: str, kind: str, about: Mapping[str, Any], modules: Sequence[str]) -> None:
    """A class of one's own may have the name of one of Keras'."""
    module, name = about.get("module"), about.get("registered_name")
    if module not in modules or name not in (None, kind):
        raise ValueError(
            f"path: {at}module: expected Keras' own {kind}, of {modules[0]}, got "
            f"{got(name if name is not None else kind)} of {got(module)}"
        )


def _dtype(at: str, config: Mapping[str, Any]) -> None:
    """Numbers are float32 or float64, not halved and not quantised."""
    name = config.get("dtype", "float32")
    if isinstance(name, dict):
        only(f"{at}dtype.", name, OBJECT)
        if name.get("class_name") != "DTypePolicy" or name.get("module") != "keras":
            raise ValueError(f"path: {at}dtype: expected a DTypePolicy of Keras', got another")
        inner = inside(name, f"{at}dtype")
        only(f"{at}dtype.", inner, ("name",))
        name = inner.get("name")
    if name not in FLOATS:
        raise ValueError(f"path: {at}dtype: expected float32 or float64, got {got(name)}")


def cell(at: str, kind: str, config: Mapping[str, Any], *, backwards: bool) -> dict[str, Any]:
    """What a recurrent layer computes: `SETTINGS`, and the rest as it must be."""
    plain(f"{at}.", config, {"go_backwards": backwards, **CELL_PLAIN})
    found = {name: config.get(name, value) for name, value in SETTINGS[kind].items()}
    for name in ("use_bias", "reset_after"):
        if name in found and not isinstance(found[name], bool):
            raise ValueError(f"path: {at}.{name}: expected a bool, got {got(found[name])}")
    for name in ("activation", "recurrent_activation"):
        if name in found:
            # A function of one's own is an object there, or a name that Keras does not have.
            keras_function(f"path: {at}.{name}", found[name])
    if kind == "SimpleRNN":
        plain(f"{at}.", config, {"recurrent_activation": None})
    return found


def activation(at: str, name: Any) -> list[Activation]:
    """A function by Keras' name."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        # A class, or a function of one's own.
        name = name.get("class_name") if isinstance(name, dict) else name
        raise ValueError(f"path: {at}.activation: {got(name)} is not known here")
    found = ACTIVATIONS[name]
    return [] if found is None else [Activation(**found.config())]


def activation_layer(at: str, kind: str, config: Mapping[str, Any]) -> list[Activation]:
    """A layer that is a function."""
    try:
        if kind == "Activation":
            return activation(at, config.get("activation"))
        if kind == "ELU":
            return [Activation("elu", alpha=config.get("alpha", 1.0))]
        if kind == "Softmax":
            plain(f"{at}.", config, {"axis": -1})
            return [Activation("softmax")]
        if kind == "LeakyReLU":
            slope = config.get("negative_slope", config.get("alpha", 0.3))
        else:
            plain(f"{at}.", config, {"max_value": None, "threshold": 0.0})
            slope = config.get("negative_slope", 0.0)
        return [Activation("leaky_relu", alpha=slope) if slope else Activation("relu")]
    except (TypeError, OverflowError) as error:
        raise ValueError(f"path: {at}: {error}") from None
