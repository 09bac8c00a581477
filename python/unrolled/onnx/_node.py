"""The node of ONNX that computes a layer of a network: its operator, attributes and constants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arguments import Array
from .._modules import GRU, LSTM, RNN, RecurrentNet
from ..cells._activations import ONNX
from ..cells._recurrent import Recurrent
from ..cells._standard import USUAL, Standard
from ..reference._onnx_functions import FORMULAS
from ._recognise import recognised
from ._recurrent import COUPLED, COUPLED_PEEPHOLES, KINDS, PEEPHOLES, Kind, placed, reordered

# Operators of activations by our names.
FUNCTIONS = {
    "tanh": "Tanh",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "elu": "Elu",
    "leaky_relu": "LeakyRelu",
    "hard_sigmoid": "HardSigmoid",
    "softsign": "Softsign",
}
# What a recurrent node's activations are called, by the names of formulas'.
NAMES = {own: name for name, own in ONNX.items()}


@dataclass(frozen=True)
class Node:
    """An LSTM, GRU or RNN of ONNX.

    Parameters
    ----------
    op : {"LSTM", "GRU", "RNN"}
    attributes : dict
        All but ``hidden_size``.
    coupled : bool
        Whether the forget gate is 1 - i, and has no rows of ours.
    directions : int
    parameters : dict of arrays
        Ours, with blocks of rows in the order of our gates.
    """

    op: str
    attributes: dict[str, Any]
    coupled: bool
    directions: int
    parameters: dict[str, Array]

    @classmethod
    def of(cls, net: RecurrentNet[Any], where: str) -> Node:
        """The one that computes a network's layers.

        Raises
        ------
        ValueError
            If there is none, with the reason; `where` says of which network.
        """
        parameters, coupled = net.state_dict(), False
        if isinstance(net, Recurrent):
            found = recognised(net.cell)
            if found is None:
                raise ValueError(
                    f"{where}: expected an LSTM, GRU or RNN for ONNX, or a formula that one of its "
                    f"nodes computes, got {net!r}"
                )
            op, coupled = found.standard.kind, found.standard.coupled
            attributes = _said(found.standard, net.num_directions)
            orders = {"ih": found.of_x, "hh": found.of_h, "p": found.parameters}
            parameters = {
                name: reordered(a, orders[name.split("_")[1]]) for name, a in parameters.items()
            }
        else:
            op, attributes = _built_in(net, where)
        if net.bidirectional:
            attributes["direction"] = "bidirectional"
        for key, value in attributes.items():
            held(where, key, value, net.dtype)
        return cls(op, attributes, coupled, net.num_directions, parameters)

    @property
    def kind(self) -> Kind:
        return KINDS[self.op]

    def weights(self, layer: int) -> tuple[Array, Array, Array | None, Array | None]:
        """W, R, B and P of a layer, in ONNX's order of gates."""
        order = COUPLED if self.coupled else self.kind.order
        suffixes = [f"l{layer}", f"l{layer}_reverse"][: self.directions]

        def stacked(name: str, order: tuple[int, ...], gates: int) -> Array:
            found = (self.parameters[f"{name}_{suffix}"] for suffix in suffixes)
            return np.stack([placed(a, order, gates) for a in found])

        w, r = (stacked(f"weight_{side}", order, self.kind.gates) for side in ("ih", "hh"))
        b = p = None
        if f"bias_ih_l{layer}" in self.parameters:
            biases = [stacked(f"bias_{side}", order, self.kind.gates) for side in ("ih", "hh")]
            b = np.concatenate(biases, axis=1)
        if f"weight_p_l{layer}" in self.parameters:
            p = stacked("weight_p", COUPLED_PEEPHOLES if self.coupled else PEEPHOLES, 3)
        return w, r, b, p


def _built_in(net: RecurrentNet[Any], where: str) -> tuple[str, dict[str, Any]]:
    """The operator of a built-in cell, and its attributes; or why there is none."""
    if isinstance(net, LSTM):
        if net.proj_size:
            raise ValueError(
                f"{where}: expected proj_size = 0, as ONNX's LSTM has no projection, got "
                f"{net.proj_size}"
            )
        if not net.forget_gate:
            raise ValueError(
                f"{where}: expected forget_gate = True, as ONNX's LSTM has a forget gate, "
                "which is never exactly 1, got False"
            )
        return "LSTM", {}
    if isinstance(net, GRU):
        return "GRU", {"linear_before_reset": 1} if net.reset_after else {}
    assert isinstance(net, RNN)
    if net.nonlinearity == "tanh":
        return "RNN", {}
    return "RNN", {"activations": [FUNCTIONS[net.nonlinearity]] * net.num_directions}


def _said(standard: Standard, directions: int) -> dict[str, Any]:
    """The attributes for what a formula has beside the usual."""
    attributes: dict[str, Any] = {}
    if standard.kind == "GRU" and standard.reset_after:
        attributes["linear_before_reset"] = 1
    if standard.coupled:
        attributes["input_forget"] = 1
    if standard.clip is not None:
        attributes["clip"] = standard.clip
    if tuple(function.name for function in standard.functions) != USUAL[standard.kind][0]:
        functions = standard.functions * directions
        names = attributes["activations"] = [NAMES[function.name] for function in functions]
        for key in ("alpha", "beta"):
            # In the order of the functions, by those that take one.
            values = [
                dict(zip(FORMULAS[name].constants, function.constants, strict=True))[key]
                for function, name in zip(functions, names, strict=True)
                if key in FORMULAS[name].constants
            ]
            if values:
                attributes[f"activation_{key}"] = values
    return attributes


def held(where: str, key: str, value: Any, dtype: Any) -> None:
    """Refuse, in float64, a constant that an attribute would round."""
    for each in value if isinstance(value, list) else [value]:
        if dtype == np.float64 and isinstance(each, float) and float(np.float32(each)) != each:
            raise ValueError(
                f"{where}: expected {key} to be a number of float32, as ONNX holds it, got {each}"
            )
