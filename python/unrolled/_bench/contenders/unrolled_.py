"""Ours, and its NumPy reference."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np

import unrolled as ur

from ... import _machine, _native, reference
from ..._arguments import Array
from ..task import Task
from ..works import BUILT_IN, FORWARD, STEP
from .base import Contender, Runner, UnsupportedError


def _gradients(y: Array, g: Any) -> dict[str, Array]:
    return {"y": y, "x": g.input, **g.parameters}


class Unrolled(Contender):
    """This package, as a user calls it."""

    name = "unrolled"
    peer = False
    _module: ModuleType = ur

    def __init__(self, threads: int) -> None:
        _machine.set_num_threads(threads)

    def version(self) -> str:
        return _native.__version__

    def prepare(self, task: Task, mode: str) -> Runner:
        net = self._network(task)
        if mode == STEP:
            return self._stream(net, task)
        x, dy = task.x, task.dy
        masks = {"lengths": task.lengths, "resets": task.resets}

        def forward() -> Any:
            return net(x, **masks)[0]

        def training() -> Any:
            y, _, tape = net.record(x, **masks)
            return y, tape.backward(dy)

        if mode == FORWARD:
            return Runner(forward, lambda: {"y": forward()})
        return Runner(training, lambda: _gradients(*training()))

    def _network(self, task: Task) -> Any:
        return task.network(self._module)

    def _stream(self, net: Any, task: Task) -> Runner:
        stream = net.stream()
        step, x = stream.step, task.x[0]

        def results() -> dict[str, Array]:
            stream.reset()
            return {"y": np.stack([step(x_t).copy() for x_t in task.x])}

        return Runner(lambda: step(x), results)


class BuiltIn(Unrolled):
    """Our LSTM and GRU, where the work is to compute them as formulas."""

    name = BUILT_IN

    def _network(self, task: Task) -> Any:
        work = task.work
        kind = {"lstm": ur.LSTM, "gru": ur.GRU}.get(work.cell)
        if kind is None:
            raise UnsupportedError("for formulas of what is built in")
        net: Any = kind(work.inputs, work.units, dtype=work.dtype, **task.options())
        net.load_state_dict(task.weights)
        return net


class Reference(Unrolled):
    """`unrolled.reference`: the plain version, to see what NumPy alone would cost."""

    name = "NumPy"
    _module = reference

    def __init__(self, threads: int) -> None:
        """NumPy's threads are set in the environment, before this process began."""

    def version(self) -> str:
        return str(np.__version__)

    def _stream(self, net: Any, task: Task) -> Runner:
        raise UnsupportedError("the reference has no stream")
