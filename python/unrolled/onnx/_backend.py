"""ONNX's interface for whoever can run models, `onnx.backend.base.Backend`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, defs
from onnx.backend import base

from .. import _arguments as arguments
from .._arguments import Array
from ._model import Model, run_node


class Prepared(base.BackendRep):  # type: ignore[misc]
    """A model, ready to run repeatedly; `model` is the `Model`."""

    def __init__(self, model: Model) -> None:
        arguments.instance("model", model, Model, "an unrolled.onnx.Model")
        self.model = model

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs in the graph's order, also to be had by name.

        Parameters
        ----------
        inputs : sequence of arrays in the graph's order, a mapping by name, or one array
        """
        refuse_options(kwargs)
        if not isinstance(inputs, Mapping):
            arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
            if len(arrays) > len(self.model.inputs):
                raise ValueError(f"inputs: expected {[*self.model.inputs]}, got {len(arrays)}")
            inputs = dict(zip(self.model.inputs, arrays, strict=False))
        return named(self.model(inputs))


class Backend(base.Backend):  # type: ignore[misc]
    """Runs models and nodes of LSTM, GRU and RNN, and of what stands around them, on the CPU."""

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether `prepare` would take it."""
        try:
            Model(model)
        except ValueError:
            return False
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> Prepared:
        """The model, checked, its constants turned into networks."""
        cls._on(device)
        refuse_options(kwargs)
        # Ours first: it says what is no model at all.
        made = Model(model)
        super().prepare(model, device)
        return Prepared(made)

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Any = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """The outputs of one node; the option ``opset_version`` says of which version it is."""
        cls._on(device)
        version = kwargs.pop("opset_version", defs.onnx_opset_version())
        refuse_options(kwargs)
        arguments.instance("node", node, NodeProto, "an onnx.NodeProto")
        super().run_node(node, inputs, device, outputs_info, opset_version=version)
        arrays = list(inputs.values()) if isinstance(inputs, Mapping) else list(inputs)
        return named(run_node(node, arrays, version))

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether it is the CPU."""
        arguments.instance("device", device, str, "a str")
        return device.split(":")[0] == "CPU"

    @classmethod
    def _on(cls, device: str) -> None:
        if not cls.supports_device(device):
            raise ValueError(f"device: expected 'CPU', got {device!r}")


def refuse_options(options: Mapping[str, Any]) -> None:
    """There are none; a misspelt one must not pass unseen."""
    if options:
        raise TypeError(f"options: expected none, got {sorted(options)}")


def named(found: dict[str, Array]) -> tuple[Any, ...]:
    outputs: tuple[Any, ...] = base.namedtupledict("Outputs", list(found))(*found.values())
    return outputs
