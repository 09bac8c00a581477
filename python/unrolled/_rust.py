"""A model as Rust source: weights in `static` cells of fixed size, for programs without `std`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from ._activation import Activation
from ._arguments import Array
from ._dense import Dense
from ._module import Module
from ._modules import GRU, RNN, Recurrent
from ._native import __version__
from ._sequential import Sequential
from ._write import replace

# Functions as `unrolled::activation::Function` writes them.
FUNCTIONS = {
    "tanh": "Tanh",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "softmax": "Softmax",
    "elu": "Elu",
    "leaky_relu": "LeakyRelu",
    "hard_sigmoid": "HardSigmoid",
    "softsign": "Softsign",
    "silu": "Silu",
}
WIDTH = 100


def write(model: Module | Sequential, path: str | os.PathLike[str]) -> None:
    """Write a model's `source` to a file."""
    replace(path, source(model).encode())


def source(model: Module | Sequential) -> str:
    """A model as the text of a Rust module.

    It has ``INPUTS``, ``OUTPUTS``, a ``State`` with ``State::new()``, and
    ``step(&[f32; INPUTS], &mut State) -> [f32; OUTPUTS]``, which neither allocates nor panics and
    gives, bit for bit, what the model's stream gives on a machine that fuses multiply-add. Numbers
    are written so that they come back exactly.

    Raises
    ------
    ValueError
        For what cells of fixed size do not have: a second direction, a projection, an LSTM without
        a forget gate, an RNN's or LSTM's parameters that are not finite.
    """
    whole = model if isinstance(model, Sequential) else Sequential(model)  # type: ignore[arg-type]
    if whole.input_size is None:
        raise ValueError("model: expected a layer with parameters, got activations alone")
    for name, a in whole.state_dict().items():
        if not np.isfinite(a).all():
            raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return "\n".join(_lines(whole)) + "\n"


def _lines(model: Sequential) -> Iterator[str]:
    t = {"float32": "f32", "float64": "f64"}[model.dtype.name]
    statics: list[str] = []
    fields: list[tuple[str, str, str]] = []
    steps: list[str] = []
    used = {"Level"} if any(isinstance(m, Activation) for m in model.layers) else set()
    # Whether `y` is a reference, to a state or to x.
    borrowed, width = True, model.input_size
    first = True
    for n, layer in enumerate(model.layers):
        x = "x" if first else ("y" if borrowed else "&y")
        if isinstance(layer, Activation):
            steps.append(f"let mut y = {'*' + x if borrowed else 'y'};")
            steps.append(f"{_function(layer)}.apply(Level::best(), &mut y, {width});")
            borrowed = False
        elif isinstance(layer, Dense):
            statics += _dense(f"LAYER_{n}", layer, t)
            steps.append(f"let y = LAYER_{n}.forward({x});")
            used.add("Dense")
            borrowed, width = False, layer.out_features
        else:
            _refuse(n, layer)
            for at, (kind, lines) in enumerate(_cells(n, layer, t)):
                statics += lines
                field = f"layer_{n}_{at}"
                fields.append((field, str(layer.hidden_size), _initial(model, n, at, layer)))
                steps.append(f"let y = LAYER_{n}_{at}.step({x}, &mut state.{field});")
                used |= kind
                x, borrowed = "y", True
            width = layer.hidden_size
        first = False
    yield from _head(model, t, used)
    yield from statics
    yield from _state(fields, t)
    yield "/// One time step: `state` goes to the next."
    yield "#[must_use]"
    unused = "" if fields else "_"
    yield (f"pub fn step(x: &[{t}; INPUTS], {unused}state: &mut State) -> [{t}; OUTPUTS] {{")
    yield from (f"    {line}" for line in steps)
    yield f"    {'*y' if borrowed else 'y'}"
    yield "}"


def _head(model: Sequential, t: str, used: set[str]) -> Iterator[str]:
    yield f"//! Written by unrolled {__version__}; not to be edited."
    yield "//!"
    yield from (f"//! {line}" for line in ["```text", *repr(model).splitlines(), "```"])
    yield "//!"
    yield "//! Needs neither `std` nor an allocator: the crate `unrolled`,"
    yield f"//! version {__version__}, with `default-features = false`."
    yield ""
    if "Level" in used:
        yield "use unrolled::activation::Function;"
        yield "use unrolled::simd::Level;"
    cells = sorted(used - {"Level"})
    if cells:
        yield f"use unrolled::cell::fixed::{{{', '.join(cells)}}};"
    yield ""
    yield "/// Features of a step's input."
    yield f"pub const INPUTS: usize = {model.input_size};"
    yield "/// Features of a step's output."
    yield f"pub const OUTPUTS: usize = {model.output_size};"
    yield ""


def _refuse(n: int, layer: Recurrent[Any]) -> None:
    plain = {"bidirectional": False, "proj_size": 0, "forget_gate": True}
    for name, value in plain.items():
        if (got := getattr(layer, name, value)) != value:
            raise ValueError(
                f"layers[{n}].{name}: expected {value}, as cells of fixed size are, got {got}"
            )


def _cells(n: int, layer: Recurrent[Any], t: str) -> Iterator[tuple[set[str], list[str]]]:
    """For each layer of a stack, the names it needs and its lines."""
    state, hidden = layer.state_dict(), layer.hidden_size
    for at in range(layer.num_layers):
        columns = layer.input_size if at == 0 else hidden
        kind, variant = "Lstm", ""
        if isinstance(layer, GRU):
            kind, variant = "Gru", "" if layer.reset_after else "ResetBefore"
        elif isinstance(layer, RNN):
            kind = "Rnn"
            variant = "" if layer.nonlinearity == "tanh" else layer.nonlinearity.capitalize()
        own = []
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            key = f"{name}_l{at}"
            rows = len(state[f"weight_hh_l{at}"])
            a = state[key] if key in state else np.zeros(rows, dtype=layer.dtype)
            # A plain recurrent cell's arrays have no axis of gates.
            own.append(a if kind == "Rnn" else a.reshape(-1, hidden, *a.shape[1:]))
        more = f", {variant}" if variant else ""
        typed = f"{kind}<{t}, {columns}, {hidden}{more}>"
        yield {kind} | ({variant} if variant else set()), _static(f"LAYER_{n}_{at}", typed, own)


def _dense(name: str, layer: Dense, t: str) -> list[str]:
    own = layer.state_dict()
    bias = own.get("bias", np.zeros(layer.out_features, dtype=layer.dtype))
    typed = f"Dense<{t}, {layer.in_features}, {layer.out_features}>"
    return _static(name, typed, [own["weight"], bias])


def _static(name: str, typed: str, arrays: list[Array]) -> list[str]:
    maker = typed.partition("<")[0]
    lines = ["#[rustfmt::skip]", "#[allow(long_running_const_eval, clippy::approx_constant)]"]
    lines.append(f"static {name}: {typed} = {maker}::new(")
    for a in arrays:
        lines += [f"    {line}" for line in _literal(a)]
        lines[-1] += ","
    return [*lines, ");", ""]


def _literal(a: Array) -> list[str]:
    """An array as Rust writes it, in lines."""
    if a.ndim > 1:
        lines = ["["]
        for part in a:
            lines += [f"  {line}" for line in _literal(part)]
            lines[-1] += ","
        return [*lines, "]"]
    # NumPy's shortest decimals come back as the same float, of either kind.
    words = [str(value) for value in a]
    lines, line = [], "["
    for word in words:
        if len(line) + len(word) > WIDTH:
            lines.append(line.rstrip())
            line = " "
        line += f"{word}, "
    lines.append(line.rstrip(", ") + "]")
    return lines


def _function(layer: Activation) -> str:
    values = ", ".join(f"{name}: {float(v)!r}" for name, v in layer._values.items())
    return f"Function::{FUNCTIONS[layer.function]}" + (f" {{ {values} }}" if values else "")


def _initial(model: Sequential, n: int, at: int, layer: Recurrent[Any]) -> str:
    """A cell's initial state, as a Rust expression's lines."""
    parts = []
    for field, name in (("h", "h_0"), ("c", "c_0")):
        a = model._initial.get(f"{n}.{name}")
        if a is None or not a[at].any():
            parts.append(f"{field}: [0.0; {layer.hidden_size}]")
        else:
            parts.append(f"{field}: {' '.join(line.strip() for line in _literal(a[at]))}")
    return ", ".join(parts)


def _state(fields: list[tuple[str, str, str]], t: str) -> Iterator[str]:
    yield "/// What goes from one step to the next."
    yield "#[derive(Clone, Copy, Debug, PartialEq)]"
    if not fields:
        yield "pub struct State;"
    else:
        yield "pub struct State {"
        for name, hidden, _ in fields:
            yield f"    {name}: unrolled::cell::fixed::State<{t}, {hidden}>,"
        yield "}"
    yield ""
    yield "impl State {"
    yield "    /// Where the model starts."
    yield "    #[must_use]"
    yield "    #[rustfmt::skip]"
    yield "    pub const fn new() -> Self {"
    if not fields:
        yield "        State"
    else:
        yield "        State {"
        for name, _, start in fields:
            yield f"            {name}: unrolled::cell::fixed::State {{ {start} }},"
        yield "        }"
    yield "    }"
    yield "}"
    yield ""
    yield "impl Default for State {"
    yield "    fn default() -> Self {"
    yield "        Self::new()"
    yield "    }"
    yield "}"
    yield ""
