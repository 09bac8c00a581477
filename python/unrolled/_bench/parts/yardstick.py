"""The same products by other libraries, on one thread: what a good matrix product takes here.

They are given whole matrices in the order in which the product is written, the weights as what
does not change, where a library has a way to say so, and memory for the result.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..._arguments import Array
from ..contenders.base import Runner, said
from ..contenders.onnx_ import IR_VERSION, OPSET, OnnxRuntime
from ..contenders.torch_ import Torch
from ..measure import Effort, Sample, samples
from ..works import Work

# Of the seconds that a work has.
EFFORT = 0.25


def sizes(work: Work) -> dict[str, tuple[int, int, int]]:
    """(m, k, n) of the products (m, k) · (k, n)."""
    of_x, of_h = work.blocks
    rows, gates = work.steps * work.batch, of_x * work.units
    return {
        "W_ih x": (rows, work.inputs, gates),
        "W_hh h": (work.batch, work.units, of_h * work.units),
        "dW": (gates, rows, work.inputs + work.units),
    }


class Yardstick(ABC):
    """A library that multiplies matrices; an ImportError of `__init__` means it is not there."""

    name: str
    library: Any

    @abstractmethod
    def product(self, a: Array, b: Array) -> Runner:
        """What computes a · b, and as its results "product"."""


class TorchProduct(Yardstick):
    """`torch.mm` into memory that is there."""

    name = Torch.name

    def __init__(self) -> None:
        self.library = Torch(1)

    def product(self, a: Array, b: Array) -> Runner:
        torch, to = self.library.torch, np.empty((len(a), b.shape[1]), a.dtype)
        of_a, of_b, of_to = (torch.from_numpy(each) for each in (a, b, to))

        def run() -> None:
            torch.mm(of_a, of_b, out=of_to)

        return Runner(run, lambda: _after(run, to), torch.inference_mode)


class OnnxProduct(Yardstick):
    """A MatMul whose second matrix is a constant, which ONNX Runtime packs once as ours are."""

    name = OnnxRuntime.name

    def __init__(self) -> None:
        self.library = OnnxRuntime(1)

    def product(self, a: Array, b: Array) -> Runner:
        onnx: Any = importlib.import_module("onnx")
        helper, to = onnx.helper, np.empty((len(a), b.shape[1]), a.dtype)
        number = helper.np_dtype_to_tensor_dtype(a.dtype)
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["a", "b"], ["to"])],
            "product",
            [helper.make_tensor_value_info("a", number, a.shape)],
            [helper.make_tensor_value_info("to", number, to.shape)],
            [onnx.numpy_helper.from_array(b, "b")],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
        session = self.library.session(model)
        binding = session.io_binding()
        for bind, name, memory in ((binding.bind_input, "a", a), (binding.bind_output, "to", to)):
            bind(name, "cpu", 0, memory.dtype, memory.shape, memory.ctypes.data)

        def run() -> Array:
            session.run_with_iobinding(binding)
            # The binding has no more than the address.
            return a

        return Runner(run, lambda: _after(run, to))


def _after(run: Callable[[], object], to: Array) -> dict[str, Array]:
    run()
    return {"product": to}


ALL: tuple[type[Yardstick], ...] = (TorchProduct, OnnxProduct)


def load(
    wanted: Sequence[str], known: Sequence[type[Yardstick]] = ALL
) -> tuple[list[Yardstick], dict[str, str]]:
    """Those wanted that are there, and why the others are not."""
    there, missing = [], {}
    for which in known:
        if which.name not in wanted:
            continue
        try:
            there.append(which())
        except ImportError as error:
            missing[which.name] = said(error)
    return there, missing


def entry(work: Work, product: str, there: Sequence[Yardstick], effort: Effort) -> dict[str, Any]:
    """One product by all of them in turns, beside the peak."""
    m, k, n = sizes(work)[product]
    rng = np.random.default_rng(0)

    def runs(*shape: int) -> dict[str, Sample]:
        a, b = (rng.normal(size=two).astype(work.dtype) for two in (shape[:2], shape[1:]))
        return {each.name: each.product(a, b).sample for each in there}

    brief = Effort(effort.repeats, EFFORT * effort.seconds, effort.fewest)
    # A call from Python is no part of a product, least of all as other libraries' layers do it.
    calls = {f"{name} call": sample for name, sample in runs(1, 1, 1).items()}
    outcomes, peak = samples({**runs(m, k, n), **calls}, brief, 1, work.dtype)
    return {
        "work": work.name,
        "product": product,
        "sizes": [m, k, n],
        "flops": 2 * m * k * n,
        "peak": peak,
        "contenders": {
            each.name: alone(outcomes[each.name], outcomes[f"{each.name} call"]) for each in there
        },
    }


def alone(outcome: Mapping[str, Any], call: Mapping[str, Any]) -> dict[str, Any]:
    """What a product takes by itself, where that can be told from the call."""
    seconds = outcome["median"] - call["median"]
    if seconds < call["median"]:
        return {"status": "short"}
    return {"status": "timed", "seconds": seconds}
