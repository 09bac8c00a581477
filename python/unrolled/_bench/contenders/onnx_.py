"""ONNX Runtime and OpenVINO, which run the same ONNX model."""

from __future__ import annotations

import importlib
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..._arguments import Array
from ..task import Task
from ..works import FORWARD, STEP
from .base import Contender, Runner, UnsupportedError

# Which of our gates (PyTorch's order) stands where in ONNX: LSTM i o f c of i f g o, GRU z r h of
# r z n.
ORDER = {"LSTM": (0, 3, 1, 2), "GRU": (1, 0, 2), "RNN": (0,)}
# Peepholes are an input of ONNX's LSTM.
NODES = {"peephole_lstm": "LSTM", **{name: name for name in ORDER}}
# i o f of i f o.
PEEPHOLES = [0, 2, 1]
OPSET = 17
# What the opset above may be paired with; older runtimes know no newer.
IR_VERSION = 9


def _reordered(a: Array, cell: str) -> Array:
    """Gates in ONNX's order."""
    gates = a.reshape(len(ORDER[cell]), -1, *a.shape[1:])
    return gates[list(ORDER[cell])].reshape(a.shape)


def model(task: Task, stream: bool) -> Any:
    """The network as an ONNX graph: x, perhaps lengths; y (T, B, D H).

    For a stream the state goes in as h (and c) and comes out as new_h (and new_c).
    """
    onnx: Any = importlib.import_module("onnx")
    helper, from_array = onnx.helper, onnx.numpy_helper.from_array
    work = task.work
    number = helper.np_dtype_to_tensor_dtype(np.dtype(work.dtype))
    steps = 1 if stream else work.steps
    nodes, constants = [], []

    def constant(name: str, a: Array) -> str:
        constants.append(from_array(np.ascontiguousarray(a), name))
        return name

    def shaped(name: str, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, number, shape)

    attributes: dict[str, Any] = {
        "hidden_size": work.units,
        "direction": "bidirectional" if work.bidirectional else "forward",
    }
    cell = NODES[work.cell]
    if cell == "GRU":
        attributes["linear_before_reset"] = 1
    if cell == "RNN":
        attributes["activations"] = ["Tanh"] * work.directions
    state = ["h", "c"][: 1 + (cell == "LSTM")] if stream else []

    suffixes = ("", "_reverse")[: work.directions]
    value = "x"
    for layer in range(work.layers):

        def stacked(kind: str, layer: int = layer) -> Array:
            return np.stack(
                [_reordered(task.weights[f"{kind}_l{layer}{s}"], cell) for s in suffixes]
            )

        biases = np.concatenate([stacked("bias_ih"), stacked("bias_hh")], 1)
        inputs = [
            value,
            constant(f"W{layer}", stacked("weight_ih")),
            constant(f"R{layer}", stacked("weight_hh")),
            constant(f"B{layer}", biases),
            "lengths" if task.lengths is not None else "",
            *state,
        ]
        if cell != work.cell:
            p = [task.weights[f"weight_p_l{layer}{s}"].reshape(3, -1) for s in suffixes]
            inputs += [""] * (7 - len(inputs))
            inputs.append(constant(f"P{layer}", np.stack([a[PEEPHOLES].ravel() for a in p])))
        outputs = [f"Y{layer}", *(f"new_{name}" for name in state)]
        nodes.append(helper.make_node(cell, inputs, outputs, **attributes))
        # (T, D, B, H) to (T, B, D H).
        value = "y" if layer == work.layers - 1 else f"y{layer}"
        nodes.append(helper.make_node("Transpose", [f"Y{layer}"], [f"T{layer}"], perm=[0, 2, 1, 3]))
        flat = constant(f"S{layer}", np.array([steps, work.batch, -1], np.int64))
        nodes.append(helper.make_node("Reshape", [f"T{layer}", flat], [value]))

    graph_inputs = [shaped("x", steps, work.batch, work.inputs)]
    if task.lengths is not None:
        graph_inputs.append(
            helper.make_tensor_value_info("lengths", onnx.TensorProto.INT32, [work.batch])
        )
    graph_inputs += [shaped(name, 1, 1, work.units) for name in state]
    graph_outputs = [shaped("y", steps, work.batch, work.directions * work.units)]
    graph_outputs += [shaped(f"new_{name}", 1, 1, work.units) for name in state]
    graph = helper.make_graph(nodes, "network", graph_inputs, graph_outputs, constants)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )


class OnnxContender(Contender):
    """What the two have in common: forward only, full sequences or a state that is passed on."""

    def __init__(self, threads: int) -> None:
        importlib.import_module("onnx")
        self.threads = threads

    def prepare(self, task: Task, mode: str) -> Runner:
        if mode not in (FORWARD, STEP):
            raise UnsupportedError("forward only")
        if task.work.cell not in NODES:
            raise UnsupportedError("ONNX has no such cell")
        if task.work.projection:
            raise UnsupportedError("ONNX's LSTM has no projection")
        if task.resets is not None:
            raise UnsupportedError("ONNX's cells have no resets")
        feed: dict[str, Array] = {"x": task.x}
        if task.lengths is not None:
            feed["lengths"] = task.lengths.astype(np.int32)
        if mode == STEP:
            return self._stream(task)
        run = self.compiled(model(task, stream=False), feed, ["y"])
        return Runner(run, lambda: {"y": run()[0].copy()})

    def _stream(self, task: Task) -> Runner:
        work = task.work
        names = ["h", "c"][: 1 + (work.cell == "LSTM")]
        feed = {"x": task.x[:1].copy()}
        feed |= {name: np.zeros((1, 1, work.units), work.dtype) for name in names}
        call = self.compiled(model(task, stream=True), feed, ["y", *(f"new_{n}" for n in names)])

        def step() -> Any:
            outputs = call()
            for name, new in zip(names, outputs[1:], strict=True):
                self.hand_on(feed, name, new)
            return outputs[0]

        def results() -> dict[str, Array]:
            for name in names:
                self.hand_on(feed, name, np.zeros_like(feed[name]))
            outputs = []
            for x_t in task.x:
                feed["x"][0] = x_t
                outputs.append(step()[0].copy())
            feed["x"][0] = task.x[0]
            return {"y": np.stack(outputs)}

        return Runner(step, results)

    @abstractmethod
    def hand_on(self, feed: dict[str, Array], name: str, new: Array) -> None:
        """Make an output the next call's input."""

    @abstractmethod
    def compiled(
        self, model: Any, feed: dict[str, Array], names: Sequence[str]
    ) -> Callable[[], Sequence[Array]]:
        """The outputs of those names for what is in `feed` when it is called."""


class OnnxRuntime(OnnxContender):
    """ONNX Runtime on its CPU provider, all optimisations, threads set in the session."""

    name = "ONNX Runtime"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.ort: Any = importlib.import_module("onnxruntime")

    def version(self) -> str:
        return str(self.ort.__version__)

    def hand_on(self, feed: dict[str, Array], name: str, new: Array) -> None:
        feed[name] = new

    def compiled(
        self, model: Any, feed: dict[str, Array], names: Sequence[str]
    ) -> Callable[[], Sequence[Array]]:
        session, names = self.session(model), list(names)
        return lambda: session.run(names, feed)

    def session(self, model: Any) -> Any:
        """The library's, of that model."""
        options = self.ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.graph_optimization_level = self.ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 4
        return self.ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


class OpenVino(OnnxContender):
    """OpenVINO on the CPU, hinted to one stream, low latency and float32 throughout.

    (Left alone it computes in bfloat16 where the machine has it.) Inputs and outputs are views of
    NumPy arrays; nothing is copied that need not be.
    """

    name = "OpenVINO"

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self.ov: Any = importlib.import_module("openvino")
        self.core = self.ov.Core()

    def version(self) -> str:
        return str(self.ov.__version__)

    def hand_on(self, feed: dict[str, Array], name: str, new: Array) -> None:
        # The array of `feed` is the input's memory.
        feed[name][...] = new

    def compiled(
        self, model: Any, feed: dict[str, Array], names: Sequence[str]
    ) -> Callable[[], Sequence[Array]]:
        precision = "f64" if any(a.dtype == np.float64 for a in feed.values()) else "f32"
        if precision == "f64":
            raise UnsupportedError("its CPU plug-in computes in float32 at most")
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": str(self.threads),
            "INFERENCE_PRECISION_HINT": precision,
            # Where to run is said by this process's affinity.
            "ENABLE_CPU_PINNING": False,
        }
        read = self.core.read_model(model.SerializeToString())
        request = self.core.compile_model(read, "CPU", options).create_infer_request()
        for name, a in feed.items():
            request.set_tensor(name, self.ov.Tensor(a, shared_memory=True))
        outputs = [request.get_tensor(name).data for name in names]

        def run() -> Sequence[Array]:
            request.infer()
            return outputs

        return run
