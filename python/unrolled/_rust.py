"""A model as Rust source: weights in `static` cells of fixed size, for programs without `std`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace as replaced
from typing import Any

import numpy as np

from ._activation import Activation
from ._arguments import Array
from ._compress import Weights, stored
from ._dense import Dense
from ._layers import initial_names
from ._module import Module, Written
from ._modules import GRU, LSTM, RNN, RecurrentNet
from ._native import __version__
from ._residual import Residual
from ._rust_cells import Types, parameters
from ._sequential import Sequential
from ._write import replace
from .cells._recurrent import Recurrent

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
# Ways to store weights, as `unrolled::fixed` calls them.
WEIGHTS = {"float16": "Float16", "int8": "Int8"}
WIDTH = 100
# What clippy would have written otherwise: 3.14 as PI, and digits in threes.
NUMBERS = ("clippy::approx_constant", "clippy::unreadable_literal")
# What the file has in scope, by module.
SCOPE = {
    "activation": {"Function"},
    "cell": {"Cell", "Derivatives", "NoForgetGate", "Relu", "ResetBefore", "Sigmoid", "Slot"},
    "fixed": {
        "Compressed",
        "Dense",
        "Fixed",
        "Float16",
        "Gru",
        "Int8",
        "Lstm",
        "Parameters",
        "Rnn",
    },
    "": {"math"},
    "real": {"Real"},
    "simd": {"Lanes", "Level", "Simd"},
}


def write(
    model: Module | Sequential, path: str | os.PathLike[str], weights: Weights | None
) -> None:
    """Write a model's `source` to a file."""
    replace(path, source(model, weights).encode())


Written._to_rust = write


def source(model: Module | Sequential, weights: Weights | None = None) -> str:
    """A model as the text of a Rust module.

    It has ``INPUTS``, ``OUTPUTS``, a ``State`` with ``State::new()``, and
    ``step(&[f32; INPUTS], &mut State) -> [f32; OUTPUTS]``, which neither allocates nor panics and
    gives, bit for bit, what the model's stream gives on a machine that fuses multiply-add. Numbers
    are written so that they come back exactly. A recurrent layer's parameters are there to train on
    from. A cell of a formula is a type of the module, which implements `unrolled::cell::Cell`.
    `weights` stores the recurrent weights smaller, and then there is no training.

    Raises
    ------
    ValueError
        For what cells of fixed size do not have: a second direction, a projection, `normalise`; for
        parameters that are not finite.
    """
    whole = model if isinstance(model, Sequential) else Sequential(model)  # type: ignore[arg-type]
    if whole.input_size is None:
        raise ValueError("model: expected a layer with parameters, got activations alone")
    for name, a in whole.state_dict().items():
        if not np.isfinite(a).all():
            raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return "\n".join(_lines(whole, weights)) + "\n"


def _lines(model: Sequential, weights: Weights | None) -> Iterator[str]:
    t = {"float32": "f32", "float64": "f64"}[model.dtype.name]
    statics: list[str] = []
    fields: list[Field] = []
    calls: list[Call] = []
    used: set[str] = set()
    types = Types()
    width = model.input_size
    for n, layer in enumerate(model.layers):
        first = len(calls)
        if isinstance(layer, Residual):
            read = f"&read_{layer.since}" if layer.since else "x"
            summed = f"for (y, x) in y.iter_mut().zip({read}) {{\n    *y += x;\n}}"
            calls.append(Call(summed, in_place=True))
        elif isinstance(layer, Activation):
            applied = f"{_function(layer)}.apply(Level::best(), &mut y, {width});"
            calls.append(Call(applied, in_place=True))
            used |= {"Function", "Level"}
        elif isinstance(layer, Dense):
            statics += _dense(f"LAYER_{n}", layer, t)
            calls.append(Call(f"LAYER_{n}.forward({{x}})"))
            used.add("Dense")
            width = layer.out_features
        else:
            _refuse(n, layer)
            if isinstance(layer, Recurrent):
                cell = Named(types.name(n, layer), "Fixed", own=True)
                parts = parameters(layer)
                used |= {"Cell", "Derivatives", "Lanes", "Real", "Simd", "Slot"}
            else:
                cell = _cell(layer)
                parts = _parameters(layer)
            for at, own in enumerate(parts):
                statics += _made(f"{n}_{at}", cell, t, own, weights)
                name = f"layer_{n}_{at}"
                of = f"State<{cell.path}, {t}, {layer.hidden_size}>"
                fields.append(Field(name, f"unrolled::fixed::{of}", _initial(model, n, at, layer)))
                step = f"LAYER_{n}_{at}.step({{x}}, &mut state.{name})"
                calls.append(Call(step, reference=True))
            used.add(cell.alias)
            used |= {"Compressed", WEIGHTS[weights]} if weights else {"Parameters"}
            if cell.named and not cell.own:
                used.add(cell.name)
            width = layer.hidden_size
        # The model's input is there all the while.
        if n and n in model._sources:
            calls[first] = replaced(calls[first], keep=f"read_{n}")
    if any("math::" in source for source in types.sources):
        used.add("math")
    yield from _head(model, used)
    yield from types.sources
    yield from statics
    yield from _state(fields)
    yield "/// One time step: `state` goes to the next."
    yield "#[must_use]"
    if "Level" in used:
        yield "#[rustfmt::skip]"
        yield f"#[allow({', '.join(NUMBERS)})]"
    unused = "" if fields else "_"
    yield (f"pub fn step(x: &[{t}; INPUTS], {unused}state: &mut State) -> [{t}; OUTPUTS] {{")
    yield from (f"    {line}" for line in _steps(calls))
    yield "}"


@dataclass(frozen=True)
class Call:
    """What a layer makes of ``{x}``: an expression, perhaps of a reference, or a change of `y`.

    `keep` names what it reads, where that is wanted again.
    """

    text: str
    reference: bool = False
    in_place: bool = False
    keep: str = ""


def _steps(calls: list[Call]) -> Iterator[str]:
    """The body of `step`, without a name that is only handed on."""
    name, reference, mutable = "x", True, False
    for n, call in enumerate(calls):
        if call.keep:
            yield f"let {call.keep} = {'*' * reference}{name};"
        if call.in_place:
            if not mutable:
                yield f"let mut y = *{name};"
            yield from call.text.splitlines()
            name, reference, mutable = "y", False, True
            continue
        text = call.text.format(x=name if reference else f"&{name}")
        if n + 1 == len(calls):
            yield f"{'*' * call.reference}{text}"
            return
        name, reference, mutable = "y", call.reference, calls[n + 1].in_place
        if mutable:
            text, reference = f"{'*' * call.reference}{text}", False
        yield f"let {'mut ' * mutable}y = {text};"
    yield "y"


def _head(model: Sequential, used: set[str]) -> Iterator[str]:
    yield f"//! Written by unrolled {__version__}; not to be edited."
    yield "//!"
    yield from (f"//! {line}" for line in ["```text", *repr(model).splitlines(), "```"])
    yield "//!"
    yield "//! Needs neither `std` nor an allocator: the crate `unrolled`,"
    yield f"//! version {__version__}, with `default-features = false`."
    yield ""
    for module, scope in SCOPE.items():
        if names := sorted(scope & used):
            path = "::".join(["unrolled"] + [module] * bool(module))
            listed = names[0] if len(names) == 1 else f"{{{', '.join(names)}}}"
            yield f"use {path}::{listed};"
    yield ""
    yield "/// Features of a step's input."
    yield f"pub const INPUTS: usize = {model.input_size};"
    yield "/// Features of a step's output."
    yield f"pub const OUTPUTS: usize = {model.output_size};"
    yield ""


def _refuse(n: int, layer: RecurrentNet[Any]) -> None:
    if not isinstance(layer, (LSTM, GRU, RNN, Recurrent)):
        raise ValueError(f"layers[{n}]: expected an LSTM, GRU, RNN or Recurrent, got {layer!r}")
    plain = {"bidirectional": False, "proj_size": 0}
    for name, value in plain.items():
        if (got := getattr(layer, name, value)) != value:
            raise ValueError(
                f"layers[{n}].{name}: expected {value}, as cells of fixed size are, got {got}"
            )


@dataclass(frozen=True)
class Named:
    """What a layer's cell is called in Rust: its type, the type of such cells of fixed size,
    whether that has to name it, and whether it is a type of the module."""

    name: str
    alias: str
    named: bool = True
    own: bool = False

    @property
    def path(self) -> str:
        """Its type, wherever that is."""
        return self.name if self.own else f"unrolled::cell::{self.name}"

    def fixed(self, sizes: str, weights: str) -> str:
        """The type of a cell of fixed size, whose weights are stored so, unless that is empty."""
        arguments = [sizes, weights] if weights else [sizes]
        if self.alias == "Fixed":
            arguments.insert(0, self.name)
        elif self.named or (weights and self.alias != "Lstm"):
            arguments.insert(1, self.name if self.named else self.path)
        return f"{self.alias}<{', '.join(arguments)}>"


def _cell(layer: RecurrentNet[Any]) -> Named:
    if isinstance(layer, GRU):
        after = layer.reset_after
        return Named("ResetAfter" if after else "ResetBefore", "Gru", named=not after)
    if isinstance(layer, RNN):
        return Named(layer.nonlinearity.capitalize(), "Rnn", named=layer.nonlinearity != "tanh")
    if getattr(layer, "forget_gate", True):
        return Named("ForgetGate", "Lstm", named=False)
    return Named("NoForgetGate", "Fixed")


def _parameters(layer: RecurrentNet[Any]) -> Iterator[dict[str, Array]]:
    """By layer of a stack: the fields of `unrolled::fixed::Parameters`, each by blocks of units."""
    state, hidden = layer.state_dict(), layer.hidden_size
    for at in range(layer.num_layers):
        own = {}
        for field in ("ih", "hh"):
            rows = len(state[f"weight_hh_l{at}"])
            for short, long in (("w", "weight"), ("b", "bias")):
                a = state.get(f"{long}_{field}_l{at}")
                a = np.zeros(rows, dtype=layer.dtype) if a is None else a
                own[f"{short}_{field}"] = a.reshape(-1, hidden, *a.shape[1:])
        own["w_p"] = np.zeros((0, hidden), dtype=layer.dtype)
        yield own


def _made(
    name: str, cell: Named, t: str, own: dict[str, Array], weights: Weights | None
) -> list[str]:
    """Parameters, and the cell that is made from them."""
    *_, hidden, columns = own["w_ih"].shape
    sizes, way = f"{t}, {columns}, {hidden}", WEIGHTS[weights] if weights else ""
    kind, maker = ("Compressed", "compressed") if weights else ("Parameters", "parameters")
    generic = ", ".join([cell.path, sizes, way] if weights else [cell.path, sizes])
    what_for = "" if weights else ", to train on with"
    lines = [f"/// What `LAYER_{name}` is made from{what_for}.", "#[rustfmt::skip]"]
    lines.append(f"#[allow({', '.join(NUMBERS)})]")
    lines.append(f"pub const PARAMETERS_{name}: {kind}<{generic}> = {kind} {{")
    for field, literal in _fields(own, weights):
        first, *rest = literal
        lines += [f"    {line}" for line in (f"{field}: {first}", *rest)]
        lines[-1] += ","
    lines += ["};", "#[rustfmt::skip]", "#[allow(long_running_const_eval)]"]
    made = f"{cell.alias}::from_{maker}(&PARAMETERS_{name})"
    lines.append(f"static LAYER_{name}: {cell.fixed(sizes, way)} = {made};")
    return [*lines, ""]


def _fields(own: dict[str, Array], weights: Weights | None) -> Iterator[tuple[str, list[str]]]:
    """The fields of parameters, as Rust writes them."""
    for of in ("ih", "hh"):
        numbers, scale = own[f"w_{of}"], None
        if weights:
            numbers, scale = stored(numbers, weights)
        half = numbers.dtype == np.float16
        yield f"w_{of}", _literal(numbers.view(np.uint16) if half else numbers)
        if weights:
            blocks, units = numbers.shape[:2]
            none = [f"[[(); {units}]; {blocks}]"]
            yield f"scale_{of}", none if scale is None else _literal(scale)
    for field in ("b_ih", "b_hh", "w_p"):
        yield field, _literal(own[field])


def _dense(name: str, layer: Dense, t: str) -> list[str]:
    own = layer.state_dict()
    bias = own.get("bias", np.zeros(layer.out_features, dtype=layer.dtype))
    typed = f"Dense<{t}, {layer.in_features}, {layer.out_features}>"
    return _static(name, typed, [own["weight"], bias])


def _static(name: str, typed: str, arrays: list[Array]) -> list[str]:
    maker = typed.partition("<")[0]
    lines = ["#[rustfmt::skip]", f"#[allow(long_running_const_eval, {', '.join(NUMBERS)})]"]
    lines.append(f"static {name}: {typed} = {maker}::new(")
    for a in arrays:
        lines += [f"    {line}" for line in _literal(a)]
        lines[-1] += ","
    return [*lines, ");", ""]


def _literal(a: Array) -> list[str]:
    """An array as Rust writes it, in lines."""
    if not len(a):
        return ["[]"]
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


@dataclass(frozen=True)
class Field:
    """A cell's state: its name, its type, and where it begins."""

    name: str
    type: str
    initial: str


def _initial(model: Sequential, n: int, at: int, layer: RecurrentNet[Any]) -> str:
    """A cell's initial states, as Rust expressions."""
    parts = []
    for name in initial_names(layer):
        a = model._initial.get(f"{n}.{name}")
        if a is None or not a[at].any():
            parts.append(f"[0.0; {layer.hidden_size}]")
        else:
            parts.append(" ".join(line.strip() for line in _literal(a[at])))
    return ", ".join(parts)


def _state(fields: list[Field]) -> Iterator[str]:
    yield "/// What goes from one step to the next."
    yield "#[derive(Clone, Copy, Debug, PartialEq)]"
    if not fields:
        yield "pub struct State;"
    else:
        yield "#[allow(clippy::struct_field_names)]"
        yield "pub struct State {"
        yield from (f"    {field.name}: {field.type}," for field in fields)
        yield "}"
    yield ""
    yield "impl State {"
    yield "    /// Where the model starts."
    yield "    #[must_use]"
    yield "    #[rustfmt::skip]"
    yield f"    #[allow({', '.join(NUMBERS)})]"
    yield "    pub const fn new() -> Self {"
    if not fields:
        yield "        State"
    else:
        yield "        State {"
        for field in fields:
            yield f"            {field.name}: unrolled::fixed::State::new([{field.initial}]),"
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
