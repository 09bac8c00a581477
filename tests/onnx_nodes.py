"""Models of one recurrent node, made for the tests of the `onnx` extra, and others' answers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from unrolled.reference import _onnx_cells as plain
from unrolled.reference._onnx_functions import Activation

STEPS, BATCH, INPUTS, HIDDEN = 5, 3, 2, 4
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
OPTIONAL = {
    "LSTM": ["B", "sequence_lens", "initial_h", "initial_c", "P"],
    "GRU": ["B", "sequence_lens", "initial_h"],
    "RNN": ["B", "sequence_lens", "initial_h"],
}
# The standard's functions with the constants they take, other than their defaults.
CONSTANTS: dict[str, dict[str, float]] = {
    "Affine": {"alpha": 0.5, "beta": 0.25},
    "LeakyRelu": {"alpha": 0.125},
    "ThresholdedRelu": {"alpha": 0.125},
    "ScaledTanh": {"alpha": 0.75, "beta": 1.5},
    "HardSigmoid": {"alpha": 0.25, "beta": 0.375},
    "Elu": {"alpha": 0.5},
}


@dataclass(frozen=True)
class Case:
    """A node: which attributes and inputs it has. `activations` of "" are the defaults."""

    op: str
    direction: str = "forward"
    layout: int = 0
    initial: str = ""
    lengths: str = ""
    bias: bool = False
    dtype: str = "float32"
    clip: float | None = None
    activations: str = ""
    peepholes: bool = False
    input_forget: int = 0
    linear_before_reset: int = 0
    opset: int = 22

    @property
    def directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1

    @property
    def functions(self) -> list[list[tuple[str, dict[str, float]]]]:
        """Names and constants, per direction. The second direction's constants are halved, so that
        a mistake in who takes which is seen."""
        usual = {"LSTM": "Sigmoid Tanh Tanh", "GRU": "Sigmoid Tanh", "RNN": "Tanh"}[self.op]
        names = (self.activations or usual).split()
        return [
            [(name, {k: v / (d + 1) for k, v in CONSTANTS.get(name, {}).items()}) for name in names]
            for d in range(self.directions)
        ]

    def attributes(self) -> dict[str, Any]:
        found: dict[str, Any] = {"hidden_size": HIDDEN, "direction": self.direction}
        if self.layout:
            found["layout"] = self.layout
        if self.clip is not None:
            found["clip"] = self.clip
        if self.input_forget:
            found["input_forget"] = self.input_forget
        if self.linear_before_reset:
            found["linear_before_reset"] = self.linear_before_reset
        if self.activations:
            every = [pair for each in self.functions for pair in each]
            found["activations"] = [name for name, _ in every]
            for key in ("alpha", "beta"):
                values = [constants[key] for _, constants in every if key in constants]
                if values:
                    found[f"activation_{key}"] = values
        return found

    def arrays(self) -> dict[str, np.ndarray]:
        """Every input the node has, time first whatever the layout. Numbers that float32 holds."""
        random = np.random.default_rng(11)
        d, g = self.directions, GATES[self.op]
        shapes = {
            "X": (STEPS, BATCH, INPUTS),
            "W": (d, g * HIDDEN, INPUTS),
            "R": (d, g * HIDDEN, HIDDEN),
            "B": (d, 2 * g * HIDDEN),
            "initial_h": (d, BATCH, HIDDEN),
            "initial_c": (d, BATCH, HIDDEN),
            "P": (d, 3 * HIDDEN),
        }
        # Of a size at which five steps do not blow rounding up. For two directions always, so that
        # a case and its neighbour share what they can.
        scale = 0.75
        drawn = {
            name: random.normal(size=(2, *shape[1:]) if name != "X" else shape) * scale
            for name, shape in shapes.items()
        }
        found = {
            name: drawn[name][: shape[0]].astype(np.float32).astype(self.dtype)
            for name, shape in shapes.items()
        }
        rows = {"": [STEPS] * 3, "some": [STEPS, 2, 1], "none": [0, STEPS - 1, 2]}[self.lengths]
        found["sequence_lens"] = np.array(rows, dtype=np.int32)
        present = {
            "X": True,
            "W": True,
            "R": True,
            "B": self.bias,
            "sequence_lens": bool(self.lengths),
            "initial_h": "h" in self.initial,
            "initial_c": "c" in self.initial,
            "P": self.peepholes,
        }
        return {name: a for name, a in found.items() if present[name]}

    def inputs(self) -> dict[str, np.ndarray]:
        """As `arrays`, in the case's layout."""
        found = self.arrays()
        if self.layout:
            for name in {"X", "initial_h", "initial_c"} & found.keys():
                found[name] = np.ascontiguousarray(found[name].swapaxes(0, 1))
        return found

    def model(self, constants: tuple[str, ...] = ()) -> onnx.ModelProto:
        """The inputs named in `constants` as initializers, the others as the graph's inputs."""
        arrays = self.inputs()
        names = [name if name in arrays else "" for name in ["X", "W", "R", *OPTIONAL[self.op]]]
        while not names[-1]:
            names.pop()
        outputs = ["Y", "Y_h", "Y_c"][: 3 if self.op == "LSTM" else 2]
        node = helper.make_node(self.op, names, outputs, name="cell", **self.attributes())
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        graph = helper.make_graph(
            [node],
            "graph",
            [
                helper.make_tensor_value_info(
                    name, TensorProto.INT32 if name == "sequence_lens" else kind, a.shape
                )
                for name, a in arrays.items()
                if name not in constants
            ],
            [
                helper.make_tensor_value_info(name, kind, [None] * (4 if name == "Y" else 3))
                for name in outputs
            ],
            [onnx.numpy_helper.from_array(arrays[name], name) for name in constants],
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8
        )


def time_first(case: Case, outputs: list[np.ndarray]) -> list[np.ndarray]:
    """Outputs in layout 0, whatever the case's."""
    if not case.layout:
        return outputs
    y, *states = outputs
    return [y.transpose(1, 2, 0, 3), *(a.swapaxes(0, 1) for a in states)]


def by_loop(case: Case, dtype: str = "float64") -> list[np.ndarray]:
    """The plain loop's answer, in layout 0."""
    arrays = {
        name: a if name == "sequence_lens" else a.astype(dtype) for name, a in case.arrays().items()
    }
    lengths = arrays.get("sequence_lens", np.full(BATCH, STEPS))
    ys, finals = [], []
    for d in range(case.directions):
        functions = [Activation(n, tuple(k.values())) for n, k in case.functions[d]]
        options: dict[str, Any] = {"clip": case.clip}
        if case.op == "LSTM":
            options["input_forget"] = bool(case.input_forget)
        if case.op == "GRU":
            options["linear_before_reset"] = bool(case.linear_before_reset)
        cell = getattr(plain, f"{case.op}Cell")(*functions, **options)
        rows = GATES[case.op] * HIDDEN
        b = arrays["B"][d] if case.bias else np.zeros(2 * rows, dtype)
        p = arrays["P"][d] if case.peepholes else None
        weights = plain.Weights(arrays["W"][d], arrays["R"][d], b[:rows], b[rows:], p)
        initial = tuple(
            arrays[name][d] if name in arrays else np.zeros((BATCH, HIDDEN), dtype)
            for name in ("initial_h", "initial_c")[: 2 if case.op == "LSTM" else 1]
        )
        reverse = case.direction == "reverse" or d == 1
        y, final = plain.run(cell, weights, arrays["X"], initial, lengths, reverse=reverse)
        ys.append(y)
        finals.append(final)
    none = (lengths == 0)[:, None]
    states = [np.where(none, 0, np.stack(parts)) for parts in zip(*finals, strict=True)]
    return [np.stack(ys, axis=1), *states]


def by_onnxruntime(case: Case) -> list[np.ndarray]:
    """ONNX Runtime's answer, in layout 0 and float32: it has neither of the others."""
    import onnxruntime

    case = replace(case, layout=0, dtype="float32")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        case.model().SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, case.inputs()))
