"""Keras' lists of weights to layers and back: other shapes, another order of a GRU's gates.

Keras multiplies from the right, so every kernel is the transpose of ours. Its LSTM has the gates
in the order i, f, c, o, which is PyTorch's; its GRU z, r, h, where PyTorch's is r, z, n. An LSTM
has one bias, a GRU with `reset_after` two.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _arguments as arguments
from ._arguments import Array
from ._dense import Dense
from ._modules import GRU, LSTM, RNN
from .cells._activations import keras_function
from .cells._recurrent import Recurrent
from .cells._standard import Standard

KINDS = ("LSTM", "GRU", "SimpleRNN", "Dense")


def from_keras_weights(
    weights: Sequence[Any],
    kind: str,
    *,
    bidirectional: bool = False,
    reset_after: bool | None = None,
    activation: str = "tanh",
    recurrent_activation: str | None = None,
    batch_first: bool = False,
) -> LSTM | GRU | RNN | Recurrent | Dense:
    """A layer from what a Keras layer's `get_weights` gives.

    Parameters
    ----------
    weights : sequence of arrays
        kernel (I, G*H), recurrent kernel (H, G*H) and, if the layer has one, the bias: (G*H,), or
        (2, 3*H) for a GRU with `reset_after`. For Dense (I, O) and (O,).
    kind : {"LSTM", "GRU", "SimpleRNN", "Dense"}
    bidirectional : bool
        The list is a `Bidirectional`'s: the forward layer's, then the backward layer's.
    reset_after : bool, optional
        A GRU's, which its bias shows; without a bias None means True, as in Keras.
    activation, recurrent_activation : str, optional
        By Keras' names, functions of each unit: tanh, relu, relu6, elu, selu, hard_sigmoid, mish …
        A SimpleRNN has no `recurrent_activation`; others' None is "sigmoid". A layer with
        activations other than our `LSTM`, `GRU` and `RNN` have becomes a `Recurrent`, its gates'
        names and order those of ours.
    batch_first : bool
        Of the layer made.

    Returns
    -------
    LSTM, GRU, RNN, Recurrent or Dense

    Raises
    ------
    ValueError, TypeError
        If the list does not fit, or there is no formula for an activation.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> weights = [np.ones((3, 16)), np.ones((4, 16)), np.zeros(16)]
    >>> ur.from_keras_weights(weights, "LSTM")
    LSTM(3, 4, dtype='float64')
    >>> ur.from_keras_weights(weights, "LSTM", activation="elu", recurrent_activation="silu")
    Recurrent(lstm_silu_elu_elu, 3, 4, dtype='float64')
    """
    arguments.choice("kind", kind, KINDS)
    if not isinstance(weights, (list, tuple)):
        raise TypeError(f"weights: expected a list of arrays, got {arguments.kind(weights)}")
    arrays = [arguments.array(f"weights[{n}]", a, None) for n, a in enumerate(weights)]
    dtype = arguments.float_dtype(arrays[0].dtype) if arrays else np.dtype(np.float32)
    arrays = [arguments.array(f"weights[{n}]", a, dtype) for n, a in enumerate(arrays)]
    if kind == "Dense":
        return _dense(arrays)
    halves = [arrays]
    if arguments.flag("bidirectional", bidirectional):
        if len(arrays) not in (4, 6):
            raise ValueError(f"weights: expected 4 or 6 arrays of two layers, got {len(arrays)}")
        halves = [arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :]]
    gates = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}[kind]
    inputs, hidden, bias = _check(halves, gates, kind)
    config: dict[str, Any] = {
        "bias": bias is not None,
        "bidirectional": bidirectional,
        "batch_first": batch_first,
        "dtype": dtype,
    }
    after = True
    if kind == "GRU":
        shown = None if bias is None else bias.ndim == 2
        if reset_after is not None and shown not in (None, reset_after):
            raise ValueError(f"reset_after: expected {shown}, as the bias shows, got {reset_after}")
        after = shown if shown is not None else reset_after is not False
    cell = _cell(kind, activation, recurrent_activation, after)
    net: Any = cell.network(inputs, hidden, **config)
    parameters: dict[str, Array] = {}
    for half, suffix in zip(halves, ("", "_reverse"), strict=False):
        names = [f"{name}_l0{suffix}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        parameters |= dict(zip(names, _ours(half, gates, hidden), strict=False))
    net.load_state_dict(parameters)
    made: LSTM | GRU | RNN | Recurrent = net
    return made


def _cell(kind: str, activation: str, recurrent: str | None, reset_after: bool) -> Standard:
    """What the kernels are asked for."""
    own = keras_function("activation", activation)
    if kind == "SimpleRNN":
        if recurrent is not None:
            raise ValueError(
                f"recurrent_activation: expected None for a SimpleRNN, got {recurrent!r:.80}"
            )
        return Standard("RNN", (own,))
    gate = keras_function("recurrent_activation", "sigmoid" if recurrent is None else recurrent)
    functions = (gate, own, own) if kind == "LSTM" else (gate, own)
    return Standard(kind, functions, reset_after=reset_after)


def _dense(arrays: list[Array]) -> Dense:
    shapes = [a.shape for a in arrays]
    if len(arrays) not in (1, 2) or arrays[0].ndim != 2 or 0 in arrays[0].shape:
        raise ValueError(f"weights: expected a kernel (I, O) and a bias (O,), got {shapes}")
    inputs, outputs = arrays[0].shape
    if len(arrays) == 2 and arrays[1].shape != (outputs,):
        raise ValueError(f"weights[1]: expected shape (O,) = ({outputs},), got {arrays[1].shape}")
    dense = Dense(inputs, outputs, bias=len(arrays) == 2, dtype=arrays[0].dtype, seed=0)
    own = {"weight": np.ascontiguousarray(arrays[0].T)}
    dense.load_state_dict(own | ({"bias": arrays[1]} if dense.bias else {}))
    return dense


def _check(halves: list[list[Array]], gates: int, kind: str) -> tuple[int, int, Array | None]:
    """I, H and the bias, once every shape is known to fit."""
    first = halves[0]
    if len(first) not in (2, 3) or any(a.ndim != 2 or 0 in a.shape for a in first[:2]):
        raise ValueError(
            f"weights: expected a kernel (I, {gates}*H), a recurrent kernel (H, {gates}*H) and "
            f"perhaps a bias of {kind}, got {[a.shape for a in first]}"
        )
    inputs, hidden = len(first[0]), len(first[1])
    expected: list[tuple[int, ...]] = [(inputs, gates * hidden), (hidden, gates * hidden)]
    if len(first) == 3:
        two = kind == "GRU" and first[2].ndim == 2
        expected.append((2, gates * hidden) if two else (gates * hidden,))
    for h, half in enumerate(halves):
        for n, (a, shape) in enumerate(zip(half, expected, strict=True)):
            if a.shape != shape:
                place = n + h * len(first)
                raise ValueError(f"weights[{place}]: expected shape {shape}, got {a.shape}")
    return inputs, hidden, first[2] if len(first) == 3 else None


def _gate_order(rows: Array, gates: int, hidden: int) -> Array:
    """Gates along the first axis from Keras' order to ours, and the other way: the same swap."""
    by_gate = rows.reshape(gates, hidden, *rows.shape[1:])
    if gates == 3:
        by_gate = by_gate[[1, 0, 2]]
    return np.ascontiguousarray(by_gate.reshape(rows.shape))


def _ours(half: list[Array], gates: int, hidden: int) -> list[Array]:
    """Under our names, in order: weight_ih, weight_hh, bias_ih, bias_hh."""
    found = [_gate_order(a.T, gates, hidden) for a in half[:2]]
    if len(half) == 3:
        bias = half[2]
        pair = [bias[0], bias[1]] if bias.ndim == 2 else [bias, np.zeros_like(bias)]
        found += [_gate_order(b, gates, hidden) for b in pair]
    return found


def to_keras_weights(layer: LSTM | GRU | RNN | Dense) -> list[list[Array]]:
    """What `set_weights` of Keras' layers takes: a list for each layer of a stack.

    Two biases become one, their sum, wherever Keras has but one; what is computed is the same.

    Parameters
    ----------
    layer : LSTM, GRU, RNN or Dense
        In one direction, without projection, with a forget gate: what Keras' layers can be.

    Returns
    -------
    list of lists of arrays

    Raises
    ------
    ValueError
        For a layer that Keras does not have.
    TypeError
        For what is no layer.
    """
    if not isinstance(layer, (LSTM, GRU, RNN, Dense)):
        raise TypeError(f"layer: expected an LSTM, GRU, RNN or Dense, got {arguments.kind(layer)}")
    state = layer.state_dict()
    if isinstance(layer, Dense):
        own = [np.ascontiguousarray(state["weight"].T)]
        return [own + ([state["bias"]] if layer.bias else [])]
    for name, plain in (("bidirectional", False), ("proj_size", 0), ("forget_gate", True)):
        if (value := getattr(layer, name, plain)) != plain:
            raise ValueError(f"{name}: expected {plain} for a layer of Keras' form, got {value}")
    found = []
    hidden, both = layer.hidden_size, isinstance(layer, GRU) and layer.reset_after
    for n in range(layer.num_layers):
        gates = len(state[f"weight_hh_l{n}"]) // hidden
        weights = [
            np.ascontiguousarray(_gate_order(state[f"weight_{name}_l{n}"], gates, hidden).T)
            for name in ("ih", "hh")
        ]
        if layer.bias:
            pair = [_gate_order(state[f"bias_{name}_l{n}"], gates, hidden) for name in ("ih", "hh")]
            weights.append(np.stack(pair) if both else pair[0] + pair[1])
        found.append(weights)
    return found
