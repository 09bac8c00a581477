"""Whatever one passes to the public interface, it gives a result or an error that says what to do.

    python fuzz/api.py [--seconds 60] [--only PATTERN] [--seed N]

Everything in `unrolled.__all__` and in the modules named there, with all methods, is called with
arguments that fit by their names, of which some are changed or replaced by something odd
(`fuzz/odd.py`). A TypeError or a ValueError is an answer, so are an OSError, a MemoryError and what
an argument itself raises; everything else is a fault: AttributeError, IndexError, OverflowError,
ZeroDivisionError, RecursionError, a panic, NumPy's AxisError and LinAlgError, a warning of NumPy's.
What is new in the interface takes part by itself, once `VALUES` knows its arguments' names.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import faulthandler
import functools
import importlib
import inspect
import io
import itertools
import os
import random
import re
import resource
import sys
import tempfile
import time
import traceback
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import unrolled as ur

sys.path.insert(0, str(Path(__file__).resolve().parent))
import api_cells  # noqa: E402
from odd import CHANGES, EVERY, RaisedError  # noqa: E402

ANSWERS = (TypeError, ValueError, OSError, MemoryError, ImportError, RaisedError)
# Of those, some are another's error that slipped through.
FAULTS = (IndexError, np.linalg.LinAlgError, UnicodeDecodeError)
# Only ever returned, and made by the package alone.
RETURNED = {
    ur.Tape, ur.Gradients, ur.DenseGradients, ur.SequentialGradients, ur.SequentialTape,
    ur.reference.Tape, ur.reference.Gradients,
}  # fmt: skip
OPERATORS = ("__call__", "__repr__", "__len__", "__iter__", "__getitem__", "__eq__", "__hash__")
# What one part of the package has for another.
INTERNAL = {"fitting", "twin", "whole", "first_values"}
GIGABYTES = 6
# Seconds after which a call is said to hang.
HANGS = 120


class World:
    """A network with data that fit it; the rest is made when it is asked for."""

    def __init__(self, rng: random.Random, wanted: type | None = None) -> None:
        self.dice = rng
        kinds = ["RNN", "LSTM", "GRU", "Recurrent"]
        cell = rng.choice(kinds)
        if wanted is not None and wanted.__name__ in kinds:
            cell = wanted.__name__
        first = (api_cells.cell(self),) if cell == "Recurrent" else ()
        more = {"proj_size": 1} if cell == "LSTM" and rng.random() < 0.5 else {}
        self.dtype = rng.choice(["float32", "float64"])
        plain = wanted in vars(ur.reference).values()
        # A plain tape has less than a tape.
        plain = plain or wanted is not ur.Tape and rng.randint(0, 9) == 0
        self.net = getattr(ur.reference if plain else ur, cell)(
            *first, 3, 2, rng.randint(1, 2), dtype=self.dtype, bidirectional=rng.random() < 0.5,
            batch_first=rng.random() < 0.5, bias=rng.random() < 0.5, seed=0, **more,
        )  # fmt: skip
        self.plain = plain
        self.steps, self.batch = rng.randint(0, 5), rng.randint(0, 2)
        self.unbatched = self.batch == 0 and rng.random() < 0.5

    def normal(self, *shape: int) -> Any:
        return np.random.default_rng(0).normal(size=shape).astype(self.dtype)

    def data(self, features: int | None) -> Any:
        shape = [self.steps] if self.unbatched else [self.steps, self.batch]
        if self.net.batch_first and not self.unbatched:
            shape.reverse()
        return self.normal(*shape, *([] if features is None else [features]))

    @functools.cached_property
    def x(self) -> Any:
        return self.data(3)

    @functools.cached_property
    def recorded(self) -> Any:
        return self.net.record(self.x)

    @property
    def tape(self) -> Any:
        return self.recorded[2]

    @functools.cached_property
    def gradients(self) -> Any:
        return self.tape.backward(np.ones_like(self.recorded[0]))

    @functools.cached_property
    def dense(self) -> Any:
        return ur.Dense(self.recorded[0].shape[-1], 2, dtype=self.dtype, seed=0)

    @functools.cached_property
    def model(self) -> Any:
        net = ur.GRU(3, 2, dtype=self.dtype, seed=0)
        dense = ur.Dense(2, 1, dtype=self.dtype, seed=0)
        return ur.Sequential(net, ur.Activation("tanh"), dense, ur.Residual())

    @functools.cached_property
    def modelled(self) -> Any:
        return self.model.record(self.normal(3, 1, 3))

    def ax(self) -> Any:
        from matplotlib.figure import Figure

        return Figure().add_subplot()

    def state_size(self) -> int:
        return sum(self.net._sizes.states) if not self.plain else 2


def monitor(world: World) -> Any:
    """One that has looked once, if there was something to look at."""
    found = ur.flow.Monitor(world.net, every=1)
    found(world.tape, np.ones_like(world.recorded[0]), 0.5)
    return found


# What fits an argument of that name.
VALUES: dict[str, Callable[[World], Any]] = {
    "net": lambda w: w.net,
    "net_or_W": lambda w: w.net,
    "modules": lambda w: [w.net],
    "model": lambda w: w.model,
    "layer_": lambda w: w.dense,
    "tape": lambda w: w.tape,
    "recording": lambda w: w.tape,
    "layers": lambda w: w.model,
    "x": lambda w: w.x,
    "dy": lambda w: np.ones_like(w.recorded[0]),
    "state": lambda w: w.recorded[1],
    "dstate": lambda w: w.recorded[1],
    "lengths": lambda w: [w.steps] * w.batch,
    "resets": lambda w: w.data(None) > 1,
    "u": lambda w: w.normal(w.batch, w.state_size()),
    "v": lambda w: w.normal(w.batch, w.state_size()),
    "W": lambda w: w.normal(3, 3),
    "x_t": lambda w: w.normal(1, 3),
    "y": lambda w: None,
    "grads": lambda w: w.gradients,
    "gradients": lambda w: ur.flow.gradient_by_lag(w.tape, np.ones_like(w.recorded[0])),
    "mapping": lambda w: w.net.state_dict(),
    "weights": lambda w: ur.to_keras_weights(w.net)[0],
    "prediction": lambda w: w.normal(4, 2),
    "logits": lambda w: w.normal(4, 2),
    "target": lambda w: np.array([0, 1, 1, 0]),
    "mask": lambda w: np.array([True, True, False, True]),
    "bounds": lambda w: ur.flow.bounds(w.tape),
    "values": lambda w: ur.flow.singular_values_by_lag(w.tape),
    "exponents": lambda w: ur.flow.lyapunov_exponents(w.net, w.x),
    "saturation": lambda w: ur.flow.gate_saturation(w.tape),
    "ax": World.ax,
    "curve": lambda w: ur.flow.matrix_power_curve(w.normal(2, 2), 4),
    "path": lambda w: "file",
    "kind": lambda w: "LSTM",
    "format": lambda w: "safetensors",
    "function": lambda w: "tanh",
    "name": lambda w: ur.isa(),
    "mode": lambda w: "dicts",
    "parameter": lambda w: "weight_hh_l0",
    "nonlinearity": lambda w: "tanh",
    "dtype": lambda w: w.dtype,
    "init": lambda w: "orthogonal",
    "activation": lambda w: "tanh",
    "title": lambda w: "a title",
    "progress": lambda w: iter,
    "terms": lambda w: "all",
    "betas": lambda w: (0.9, 0.99),
    "writer": lambda w: "runs",
    "loss": lambda w: 0.5,
    "max_norm": lambda w: 1.0,
    "momentum": lambda w: 0.9,
    "input": lambda w: w.x,
    "initial_state": lambda w: False,
    "hidden_size": lambda w: 2,
    "bias": lambda w: True,
    "checkpoint": lambda w: "auto",
    "train": lambda w: True,
    "config": lambda w: w.model.config(),
    "file": lambda w: None,
    "hints": lambda w: {},
    **api_cells.VALUES,
}
# Of those that are not all of a kind.
SPECIAL: dict[str, dict[str, Callable[[World], Any]]] = {
    "Dense": {
        "x": lambda w: w.recorded[0],
        "dy": lambda w: np.ones((*w.recorded[0].shape[:-1], 2), w.dtype),
    },
    "Activation": {"dy": lambda w: w.x},
    "Sequential": {"x": lambda w: w.normal(3, 1, 3), "state": lambda w: None},
    "SequentialTape": {"dy": lambda w: np.ones((3, 1, 1), w.dtype), "dstate": lambda w: None},
    "layer_jacobian": {"x": lambda w: w.normal(3), "bias": lambda w: w.normal(3)},
    "plot_cell_path": {
        "path": lambda w: ur.flow.cell_path(ur.LSTM(1, 2).record(np.ones((3, 1), "f4"))[2])
    },
    "mse": {"target": lambda w: w.normal(4, 2)},
    "binary_cross_entropy_with_logits": {"target": lambda w: w.normal(4, 2)},
    "Adam": {"mapping": lambda w: ur.optim.Adam(w.net).state_dict()},
    "AdamW": {"mapping": lambda w: ur.optim.Adam(w.net).state_dict()},
    "SGD": {"mapping": lambda w: ur.optim.SGD(w.net).state_dict()},
    "Stream": {
        "x": lambda w: w.normal(1, 3),
        "net": lambda w: ur.LSTM(3, 2, dtype=w.dtype, seed=0),
        "batch": lambda w: 1,
    },
    "SequentialStream": {"x": lambda w: w.normal(1, 3), "batch": lambda w: 1},
    "Dense.load_state_dict": {"mapping": lambda w: w.dense.state_dict()},
    "Sequential.load_state_dict": {"mapping": lambda w: w.model.state_dict()},
    "to_keras_weights": {"layer": lambda w: w.net},
    **api_cells.SPECIAL,
}
# Those to call methods of.
INSTANCES: dict[type, Callable[[World], Any]] = {
    ur.Tape: lambda w: w.tape,
    ur.reference.Tape: lambda w: w.tape,
    ur.Gradients: lambda w: w.gradients,
    ur.reference.Gradients: lambda w: w.gradients,
    ur.Dense: lambda w: w.dense,
    ur.Sequential: lambda w: w.model,
    ur.DenseGradients: lambda w: w.dense.backward(w.recorded[0], w.dense(w.recorded[0])),
    ur.SequentialTape: lambda w: w.modelled[2],
    ur.Activation: lambda w: ur.Activation("tanh"),
    ur.Residual: lambda w: ur.Residual(),
    ur.SequentialGradients: lambda w: w.modelled[2].backward(np.ones_like(w.modelled[0])),
    ur.SequentialStream: lambda w: w.model.stream(),
    ur.Stream: lambda w: ur.LSTM(3, 2, dtype=w.dtype, seed=0).stream(),
    ur.flow.Monitor: monitor,
    ur.flow.GateSaturation: VALUES["saturation"],
    ur.flow.PowerCurve: VALUES["curve"],
    ur.flow.Classification: lambda w: ur.flow.classify(w.normal(2, 2).astype("f8")),
    ur.flow.LagGradients: VALUES["gradients"],
    ur.flow.Bounds: VALUES["bounds"],
    **api_cells.INSTANCES,
}


@dataclasses.dataclass(frozen=True)
class Callee:
    """Something public: a function, a class, or an attribute of one."""

    name: str
    value: Any
    owner: type | None = None

    def __repr__(self) -> str:
        return self.name


def public(module: types.ModuleType, name: str = "unrolled") -> Iterator[Callee]:
    """All of it, and of the modules in it."""
    names = getattr(module, "__all__", None)
    for each in names or [n for n in vars(module) if not n.startswith("_")]:
        value, full = getattr(module, each), f"{name}.{each}"
        if names is None and getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, types.ModuleType):
            yield from public(value, full)
        elif isinstance(value, type):
            if value not in RETURNED and not dataclasses.is_dataclass(value):
                yield Callee(full, value)
            if dataclasses.is_dataclass(value) and value not in INSTANCES:
                continue
            for attribute in dir(value):
                if attribute in INTERNAL:
                    continue
                if not attribute.startswith("_") or attribute in OPERATORS:
                    yield Callee(f"{full}.{attribute}", attribute, value)
        elif callable(value):
            yield Callee(full, value)


CALLEES = list(public(ur))


def odd(rng: random.Random, valid: Any) -> Any:
    """Something else: wholly, or `valid` with one change."""
    if isinstance(valid, np.ndarray) and rng.random() < 0.5:
        change = rng.choice(CHANGES)
        with np.errstate(all="ignore"), contextlib.suppress(IndexError, ValueError, TypeError):
            return change(valid)
    if isinstance(valid, dict) and valid and rng.random() < 0.5:
        key = rng.choice(list(valid))
        return {**valid, key: odd(rng, valid[key])}
    if isinstance(valid, (list, tuple)) and valid and rng.random() < 0.5:
        place = rng.randint(0, len(valid) - 1)
        changed = list(valid)
        changed[place] = odd(rng, valid[place])
        return type(valid)(changed)
    return rng.choice(EVERY)()


def arguments(rng: random.Random, function: Any, name: str, owner: str, world: World) -> Any:
    """By position and by name: fitting ones, of which up to two are odd."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return [rng.choice(EVERY)()], {}
    special: dict[str, Callable[[World], Any]] = {}
    for key in (owner, name, f"{owner}.{name}"):
        special |= SPECIAL.get(key, {})
    wrong = {rng.randrange(len(parameters) or 1) for _ in range(rng.randint(0, 2))}
    given_, named = [], {}
    for place, parameter in enumerate(parameters):
        make = special.get(parameter.name) or VALUES.get(parameter.name)
        optional = parameter.default is not parameter.empty
        if place not in wrong and optional and (make is None or rng.random() < 0.5):
            continue
        value = make(world) if make else rng.randint(1, 3)
        if place in wrong:
            value = odd(rng, value)
        if parameter.kind is parameter.VAR_KEYWORD:
            if place in wrong:
                named[rng.choice(("more", "alpha"))] = value
        elif parameter.kind is parameter.VAR_POSITIONAL:
            given_ += (
                [value]
                if place in wrong
                else list(value if isinstance(value, list) else world.model.layers)
            )
        elif parameter.kind is parameter.KEYWORD_ONLY or len(given_) < place:
            named[parameter.name] = value
        else:
            given_.append(value)
    return given_, named


def call(rng: random.Random, callee: Callee, world: World, calls: list[Any]) -> None:
    """Call it once; with what, is added to `calls`."""
    if callee.owner is None:
        function, name, owner = callee.value, callee.value.__name__, callee.value.__name__
    else:
        name, owner = callee.value, callee.owner.__name__
        if callee.owner in INSTANCES:
            instance = INSTANCES[callee.owner](world)
        elif isinstance(world.net, callee.owner):
            instance = world.net
        else:
            given_, named = [], {}
            for each in inspect.signature(callee.owner).parameters.values():
                if each.default is each.empty:
                    make = VALUES.get(each.name, lambda _: 3)
                    named[each.name] = make(world)
            instance = callee.owner(*given_, **named)
        function = getattr(instance, name)
        if not callable(function):
            if rng.random() < 0.5:
                setattr_or_answer(instance, name, odd(rng, function))
            return
    given_, named = arguments(rng, function, name, owner, world)
    calls += [world.net, given_, named]
    repr(function(*given_, **named))


def setattr_or_answer(instance: Any, name: str, value: Any) -> None:
    """Set it; that it cannot be set is an answer as well."""
    settable = isinstance(inspect.getattr_static(type(instance), name, None), property)
    if settable and getattr(type(instance), name).fset is not None:
        setattr(instance, name, value)


def said(value: Any) -> str:
    """`repr`, of what has none too."""
    try:
        return repr(value)
    except Exception as error:
        return f"<no repr: {error!r}>"


@dataclasses.dataclass
class Faults:
    """What was called, how often with a result and how often with an answer, and the faults."""

    counts: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    found: dict[tuple[str, ...], str] = dataclasses.field(default_factory=dict)

    def add(self, callee: Callee, error: BaseException, calls: list[Any], again: str) -> None:
        """One of each kind: by what was called, what came of it, and where."""
        where = traceback.extract_tb(error.__traceback__)[-1]
        key = (callee.name, type(error).__name__, where.filename, str(where.lineno))
        if key not in self.found:
            told = "".join(traceback.format_exception(error, limit=-6))
            self.found[key] = f"{callee} ({again}) {said(calls):.2000}\n{told}"
            print(f"FAULT {self.found[key]}", flush=True)


def check(
    rng: random.Random, callees: list[Callee], faults: Faults | None = None, again: str = ""
) -> None:
    """One call. A fault is added to `faults`; without these it is raised.

    `again` says how to have the same call again.
    """
    callee = rng.choice(callees)
    faults_, calls = faults or Faults(), []
    count = faults_.counts.setdefault(callee.name, [0, 0])
    highest, threads = ur.isa(), ur.get_num_threads()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("error")
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            # Of matplotlib, which counts what the plots opened.
            warnings.filterwarnings("ignore", "More than 20 figures")
            if ".reference." in callee.name or ".cells." in callee.name:
                # Plain NumPy, which warns of NaN on its own.
                warnings.simplefilter("ignore", RuntimeWarning)
            call(rng, callee, World(rng, callee.owner), calls)
        count[0] += 1
    except Exception as error:
        # Of names too: x.name of a cell's function.
        named = ".cells." in callee.name
        own = isinstance(error, AttributeError) and "expected" in str(error)
        own = own and (named or not calls)
        # What an argument's own code raises may come out as it is.
        last = traceback.extract_tb(error.__traceback__)[-1]
        own = own or Path(last.filename).name == "odd.py"
        if (isinstance(error, ANSWERS) and not isinstance(error, FAULTS)) or own:
            count[1] += 1
        elif faults is None:
            raise
        else:
            faults.add(callee, error, calls, again)
    except BaseException as error:
        # A panic of the compiled part.
        if faults is None or type(error).__name__ != "PanicException":
            raise
        faults.add(callee, error, calls, again)
    finally:
        if ur.isa() != highest:
            ur.set_max_isa(highest)
        if ur.get_num_threads() != threads:
            ur.set_num_threads(threads)


def limited() -> None:
    """An array of terabytes is a MemoryError, not the end of the machine."""
    size = GIGABYTES << 30
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.getrlimit(resource.RLIMIT_AS)[1]))


def main() -> int:
    """Fuzz for so long; 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", default="", metavar="PATTERN", help="of names, such as flow.plot")
    parser.add_argument("--seed", type=int, help="of the first call; a new one if none is given")
    parser.add_argument(
        "--extras", nargs="*", default=[], metavar="MODULE", help="such as sklearn, onnx, torch"
    )
    parser.add_argument("--calls", type=int, help="as many at most")
    options = parser.parse_args()
    every = CALLEES
    for name in options.extras:
        every = every + list(
            public(importlib.import_module(f"unrolled.{name}"), f"unrolled.{name}")
        )
    callees = [each for each in every if re.search(options.only, each.name)]
    if not callees:
        parser.error(f"--only: nothing is named so: {options.only!r}")
    limited()
    faults, ends = Faults(), time.monotonic() + options.seconds
    first = int.from_bytes(os.urandom(4), "big") if options.seed is None else options.seed
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        for seed in itertools.count(first):
            again = f"--seed {seed} --calls 1"
            faulthandler.dump_traceback_later(HANGS, exit=True, file=sys.__stderr__)
            check(random.Random(seed), callees, faults, again)
            if seed - first + 1 == options.calls or time.monotonic() > ends:
                break
    calls = sum(map(sum, faults.counts.values()))
    never = sorted(name for name, (right, _) in faults.counts.items() if not right)
    print(f"{calls} calls of {len(faults.counts)} callables: {len(faults.found)} faults")
    print(f"never with a result: {', '.join(never) or 'none'}")
    return 1 if faults.found else 0


if __name__ == "__main__":
    sys.exit(main())
