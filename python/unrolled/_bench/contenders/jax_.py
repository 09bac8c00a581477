"""JAX."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..._arguments import Array
from ..task import Task
from ..works import FORWARD, GATES, STEP
from . import steps
from .base import Contender, Runner

# Steps of the scan in one turn of the compiled loop. At one row the turn itself is what costs,
# and four are about the best; with more rows 1 is, and compiles soonest.
UNROLL_SINGLE, UNROLL = 4, 1


class Jax(Contender):
    """`lax.scan` over a cell, jitted, its gradients by `jax.vjp` in the same jitted function.

    The input part of all steps is one product before the scan, weights stand as (columns, gates x
    units), arrays are on JAX's side before the clock starts, and the clock stops when the results
    are there. Lengths and resets are masks in the scan.
    """

    name = "JAX"

    def __init__(self, threads: int) -> None:
        """Threads follow from the CPUs and the environment this process was given."""
        self.jax: Any = importlib.import_module("jax")
        # For the works in float64; float32 arrays stay what they are.
        self.jax.config.update("jax_enable_x64", True)

    def version(self) -> str:
        return str(self.jax.__version__)

    def prepare(self, task: Task, mode: str) -> Runner:
        if mode == STEP:
            return self._stream(task)
        jax = self.jax
        # As JAX would have them; back again when compared.
        if task.work.is_formula:
            weights, network = steps.weights(task), self._formula(task)
        else:
            weights = {name: a.T for name, a in task.weights.items()}
            network = self._network(task)
        parameters = {name: jax.numpy.asarray(a) for name, a in weights.items()}
        x, dy = jax.numpy.asarray(task.x), jax.numpy.asarray(task.dy)

        def both(parameters: Any, x: Any, dy: Any) -> Any:
            y, back = jax.vjp(network, parameters, x)
            return y, *back(dy)

        if mode == FORWARD:
            outputs = jax.jit(network)

            def forward() -> Any:
                return outputs(parameters, x).block_until_ready()

            return Runner(forward, lambda: {"y": np.asarray(forward())})
        gradients = jax.jit(both)

        def training() -> Any:
            return jax.block_until_ready(gradients(parameters, x, dy))

        def results() -> dict[str, Array]:
            y, by_parameters, by_x = training()
            named = {name: np.asarray(g) for name, g in by_parameters.items()}
            if task.work.is_formula:
                named = steps.gradients(named)
            else:
                named = {name: g.T for name, g in named.items()}
            return {"y": np.asarray(y), "x": np.asarray(by_x), **named}

        return Runner(training, results)

    def _network(self, task: Task) -> Callable[[Any, Any], Any]:
        """y of (parameters, x)."""
        jnp, work = self.jax.numpy, task.work
        layers = range(work.layers)
        suffixes = ("", "_reverse")[: work.directions]

        def network(parameters: Any, x: Any) -> Any:
            for layer in layers:
                sides = [
                    self._layer(task, parameters, f"_l{layer}{suffix}", x, bool(suffix))
                    for suffix in suffixes
                ]
                x = jnp.concatenate(sides, -1) if len(sides) > 1 else sides[0]
            return x

        return network

    def _layer(self, task: Task, parameters: Any, suffix: str, x: Any, reverse: bool) -> Any:
        jnp, work = self.jax.numpy, task.work
        cell = self._cell(work.cell)
        own = {n.removesuffix(suffix): p for n, p in parameters.items() if n.endswith(suffix)}
        # The GRU multiplies one part of b_hh by its reset gate; the others can have it here.
        bias = own["bias_ih"] if work.cell == "GRU" else own["bias_ih"] + own["bias_hh"]
        inputs = x @ own["weight_ih"] + bias
        # Each (T, B, 1), or None, which the scan passes on as None.
        within = keep = None
        if task.lengths is not None:
            within = (np.arange(work.steps)[:, None] < task.lengths)[..., None]
        if task.resets is not None:
            keep = 1 - task.resets[..., None].astype(work.dtype)

        def step(state: Any, at: Any) -> Any:
            part, within_t, keep_t = at
            if keep_t is not None:
                state = tuple(s * keep_t for s in state)
            new = cell(own, part, state)
            if within_t is None:
                return new, new[0]
            new = tuple(jnp.where(within_t, n, s) for n, s in zip(new, state, strict=True))
            return new, jnp.where(within_t, new[0], 0)

        columns = (work.outputs, work.units)[: 1 + (work.cell == "LSTM")]
        zeros = tuple(jnp.zeros((work.batch, n), x.dtype) for n in columns)
        unroll = UNROLL_SINGLE if work.batch == 1 else UNROLL
        scan = self.jax.lax.scan
        return scan(step, zeros, (inputs, within, keep), reverse=reverse, unroll=unroll)[1]

    def _formula(self, task: Task) -> Callable[[Any, Any], Any]:
        """As `_network`, of a work whose cell is a formula."""
        jnp, nn, work, step = self.jax.numpy, self.jax.nn, task.work, steps.step(task)
        f = SimpleNamespace(
            sigmoid=nn.sigmoid,
            log_sigmoid=nn.log_sigmoid,
            tanh=jnp.tanh,
            exp=jnp.exp,
            maximum=jnp.maximum,
            normalise=nn.standardize,
        )
        zeros = tuple(np.zeros((work.batch, work.units), work.dtype) for _ in work.formula.states)
        blocks = work.blocks[0]

        def network(own: Any, x: Any) -> Any:
            def one(state: Any, part: Any) -> Any:
                gates = jnp.split(part + state[0] @ own["w_h"], blocks, -1)
                new = step(f, gates, state, own["p"])
                return new, new[0]

            unroll = UNROLL_SINGLE if work.batch == 1 else UNROLL
            return self.jax.lax.scan(one, zeros, x @ own["w_x"] + own["b"], unroll=unroll)[1]

        return network

    def _cell(self, kind: str) -> Callable[[Any, Any, Any], Any]:
        """The new state of (parameters, input part, state)."""
        jnp, sigmoid = self.jax.numpy, self.jax.nn.sigmoid

        def split(gates: Any) -> Any:
            return jnp.split(gates, GATES[kind], -1)

        def lstm(own: Any, part: Any, state: Any) -> Any:
            h, c = state
            i, f, g, o = split(part + h @ own["weight_hh"])
            c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
            h = sigmoid(o) * jnp.tanh(c)
            return h @ own["weight_hr"] if "weight_hr" in own else h, c

        def gru(own: Any, part: Any, state: Any) -> Any:
            (h,) = state
            x_r, x_z, x_n = split(part)
            h_r, h_z, h_n = split(h @ own["weight_hh"] + own["bias_hh"])
            z = sigmoid(x_z + h_z)
            n = jnp.tanh(x_n + sigmoid(x_r + h_r) * h_n)
            return ((1 - z) * n + z * h,)

        def rnn(own: Any, part: Any, state: Any) -> Any:
            return (jnp.tanh(part + state[0] @ own["weight_hh"]),)

        return {"LSTM": lstm, "GRU": gru, "RNN": rnn}[kind]

    def _stream(self, task: Task) -> Runner:
        jax, work = self.jax, task.work
        jnp, cell = jax.numpy, self._cell(work.cell)
        own = {n.removesuffix("_l0"): jnp.asarray(a.T) for n, a in task.weights.items()}

        def one(own: Any, x: Any, state: Any) -> Any:
            bias = own["bias_ih"] if work.cell == "GRU" else own["bias_ih"] + own["bias_hh"]
            return cell(own, x @ own["weight_ih"] + bias, state)

        step = jax.jit(one)

        def zeros() -> Any:
            shape = (1, work.units)
            return tuple(jnp.zeros(shape, task.x.dtype) for _ in range(1 + (work.cell == "LSTM")))

        x, state = jnp.asarray(task.x[0]), zeros()

        def run() -> None:
            nonlocal state
            state = step(own, x, state)
            state[0].block_until_ready()

        def results() -> dict[str, Array]:
            state, outputs = zeros(), []
            for x_t in task.x:
                state = step(own, jnp.asarray(x_t), state)
                outputs.append(np.asarray(state[0]))
            return {"y": np.stack(outputs)}

        return Runner(run, results)
