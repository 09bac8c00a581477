"""PyTorch, eager, and with its compiler where that has something to compile."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..._arguments import Array
from ..task import Task
from ..works import FORWARD, STEP, Work
from . import steps
from .base import Contender, Runner, UnsupportedError


class Torch(Contender):
    """`torch.nn`'s networks, or its cells where the networks cannot do the work, or a loop of steps
    where the cell is a formula.

    Forward under `inference_mode`; training with fresh gradients by all parameters and by x.
    Rows of unequal length go through `pack_padded_sequence`, in and out, for what is handed over
    is padded on either side here. Resets are a loop over cells that multiplies the state by a
    mask, the usual way of it.
    """

    name = "PyTorch"

    def __init__(self, threads: int) -> None:
        self.torch: Any = importlib.import_module("torch")
        self.torch.set_num_threads(threads)
        if self.torch.get_num_interop_threads() != 1:
            # May be said once in a process, which another contender of this kind may have done.
            self.torch.set_num_interop_threads(1)

    def version(self) -> str:
        return str(self.torch.__version__)

    def prepare(self, task: Task, mode: str) -> Runner:
        if mode == STEP:
            return self._stream(task)
        torch = self.torch
        x, dy = torch.from_numpy(task.x.copy()), torch.from_numpy(task.dy)
        if task.work.is_formula:
            net, call = self._formula(task)
            names = {name: name for name, _ in net.named_parameters()}
        elif task.resets is None:
            net, call = self._network(task)
            names = {name: name for name, _ in net.named_parameters()}
        else:
            net, call = self._loop(task)
            names = {name: f"{name}_l0" for name, _ in net.named_parameters()}

        def forward() -> Any:
            return call(x)

        if mode == FORWARD:
            # Results are read within it too: they are not tensors that live outside.
            def outputs() -> dict[str, Array]:
                with torch.inference_mode():
                    return {"y": forward().numpy()}

            return Runner(forward, outputs, torch.inference_mode)
        x.requires_grad_()

        def training() -> Any:
            net.zero_grad(set_to_none=True)
            x.grad = None
            y = call(x)
            y.backward(dy)
            return y

        def results() -> dict[str, Array]:
            y = training().detach().numpy()
            parameters = {
                names[name]: np.zeros_like(p.detach()) if p.grad is None else p.grad.numpy()
                for name, p in net.named_parameters()
            }
            if task.work.is_formula:
                parameters = steps.gradients(parameters)
            return {"y": y, "x": x.grad.numpy(), **parameters}

        return Runner(training, results)

    def _loaded(self, net: Any, task: Task, suffix: str = "") -> Any:
        weights = {
            name.removesuffix(suffix): self.torch.from_numpy(a) for name, a in task.weights.items()
        }
        net = net.to(getattr(self.torch, task.work.dtype))
        net.load_state_dict(weights)
        return net

    def _network(self, task: Task) -> tuple[Any, Callable[[Any], Any]]:
        work, utils = task.work, self.torch.nn.utils.rnn
        make = getattr(self.torch.nn, work.cell)
        net = self._loaded(make(work.inputs, work.units, **task.options()), task)
        if task.lengths is None:
            return net, lambda x: net(x)[0]
        lengths = self.torch.from_numpy(task.lengths)

        def packed(x: Any) -> Any:
            rows = utils.pack_padded_sequence(x, lengths, enforce_sorted=False)
            return utils.pad_packed_sequence(net(rows)[0])[0]

        return net, packed

    def _cell(self, task: Task) -> tuple[Any, Callable[..., Any]]:
        """The module, and it as a function of (x, state) and perhaps what masks the state."""
        work = task.work
        cell = self._loaded(
            getattr(self.torch.nn, f"{work.cell}Cell")(work.inputs, work.units), task, "_l0"
        )
        if work.cell == "LSTM":

            def step(x: Any, state: Any, keep: Any = None) -> Any:
                if keep is not None:
                    state = state[0] * keep, state[1] * keep
                return cell(x, state)

        else:

            def step(x: Any, state: Any, keep: Any = None) -> Any:
                return (cell(x, state[0] if keep is None else state[0] * keep),)

        return cell, step

    def _formula(self, task: Task) -> tuple[Any, Callable[[Any], Any]]:
        """The parameters as a module, and the loop."""
        torch, work, step = self.torch, task.work, steps.step(task)
        nn, normalised = torch.nn, (work.units,)
        f = SimpleNamespace(
            sigmoid=torch.sigmoid,
            log_sigmoid=nn.functional.logsigmoid,
            tanh=torch.tanh,
            exp=torch.exp,
            maximum=torch.maximum,
            normalise=lambda a: nn.functional.layer_norm(a, normalised),
        )
        own = nn.ParameterDict(
            {name: torch.from_numpy(a.copy()) for name, a in steps.weights(task).items()}
        )
        w_x, w_h, b, p = (own[name] for name in ("w_x", "w_h", "b", "p"))
        blocks = work.blocks[0]

        def one(part: Any, state: Any, w_h: Any, p: Any) -> Any:
            gates = torch.addmm(part, state[0], w_h).chunk(blocks, -1)
            return step(f, gates, state, p)

        one = self._compiled(one)
        count = len(work.formula.states)

        def loop(x: Any) -> Any:
            state = (x.new_zeros(work.batch, work.units),) * count
            outputs = []
            for part in (x @ w_x + b).unbind(0):
                state = one(part, state, w_h, p)
                outputs.append(state[0])
            return torch.stack(outputs)

        return own, loop

    def _compiled(self, step: Any) -> Any:
        return step

    def _zeros(self, work: Work) -> Any:
        dtype = getattr(self.torch, work.dtype)
        shape = (work.batch, work.units)
        return tuple(self.torch.zeros(shape, dtype=dtype) for _ in range(1 + (work.cell == "LSTM")))

    def _loop(self, task: Task) -> tuple[Any, Callable[[Any], Any]]:
        assert task.resets is not None
        cell, step = self._cell(task)
        mask = 1 - task.resets[..., None].astype(task.work.dtype)
        keep = self.torch.from_numpy(np.ascontiguousarray(mask)).unbind(0)
        stack = self.torch.stack

        def loop(x: Any) -> Any:
            state, outputs = self._zeros(task.work), []
            for x_t, keep_t in zip(x.unbind(0), keep, strict=True):
                state = step(x_t, state, keep_t)
                outputs.append(state[0])
            return stack(outputs)

        return cell, loop

    def _stream(self, task: Task) -> Runner:
        torch = self.torch
        _, step = self._cell(task)
        # All made within it: the compiler makes a second version for tensors from outside.
        with torch.inference_mode():
            steps = torch.from_numpy(task.x).unbind(0)
            x, state = steps[0], self._zeros(task.work)

        def run() -> None:
            nonlocal state
            state = step(x, state)

        def results() -> dict[str, Array]:
            with torch.inference_mode():
                state, outputs = self._zeros(task.work), []
                for x_t in steps:
                    state = step(x_t, state)
                    outputs.append(state[0].numpy().copy())
            return {"y": np.stack(outputs)}

        return Runner(run, results, torch.inference_mode)


class TorchCompiled(Torch):
    """The same loops and streams with the cell put through `torch.compile`.

    Only the cell: the loop over all steps would be unrolled and compile for minutes. And only
    there: for `torch.nn.LSTM` and its like the compiler steps aside, and the eager kernel runs.
    """

    name = "PyTorch compile"

    def prepare(self, task: Task, mode: str) -> Runner:
        if mode != STEP and task.resets is None and not task.work.is_formula:
            raise UnsupportedError("for torch.nn's networks it runs the eager kernel")
        # What was compiled for other works counts towards a limit of recompilations.
        self.torch._dynamo.reset()
        return super().prepare(task, mode)

    def _cell(self, task: Task) -> tuple[Any, Callable[..., Any]]:
        cell, step = super()._cell(task)
        return cell, self._compiled(step)

    def _compiled(self, step: Any) -> Any:
        return self.torch.compile(step, dynamic=False)
