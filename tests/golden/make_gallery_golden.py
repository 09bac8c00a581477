"""Make golden numbers for cells of the gallery with others' implementations of them.

    python tests/golden/make_gallery_golden.py [file]

Needs torch, xlstm, minGRU-pytorch, snntorch, speechbrain (with hyperpyyaml), torchrecurrent and
recurrentgemma (with einops and jaxtyping); reading the file needs nothing. Everything is float64.

Each package's module runs on weights that are views of leaves named as in our cells, so that its
autograd tells the derivative by each of these leaves.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import json
import sys
import types
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch.func import functional_call

SEED, STEPS, BATCH, UNITS = 20240607, 4, 2, 3
Leaves = dict[str, torch.Tensor]
# The outputs of every step, and the last states where the package gives them.
Found = tuple[torch.Tensor, tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class Source:
    """A cell of ours, who else has it, and what the numbers must be like for both to agree."""

    cell: str
    package: str
    run: Callable[[Leaves, torch.Tensor, tuple[torch.Tensor, ...]], Found]
    maps: str  # by x, then "|", by h or a computed value
    units: str = ""
    states: int = 1
    given: dict[str, Any] = field(default_factory=dict)  # leaves that are not drawn
    positive: bool = False


def cat(leaves: Leaves, side: str, names: str, suffix: str = "") -> torch.Tensor:
    return torch.cat([leaves[f"{side}.{name}{suffix}"] for name in names.split()])


def zoo(
    name: str, gates: str, carried: int, extra: Any = lambda leaves: {}, **options: Any
) -> Callable[..., Found]:
    """A cell of torchrecurrent, whose gates stand in this order in its matrices.

    It carries so many states; JANET's two are the same.
    """

    def run(leaves: Leaves, x: torch.Tensor, begun: tuple[torch.Tensor, ...]) -> Found:
        kind = getattr(importlib.import_module("torchrecurrent"), name)
        module = kind(x.shape[-1], UNITS, dtype=torch.float64, **options)
        weights = {"weight_ih": cat(leaves, "x", gates), "bias_ih": cat(leaves, "x", gates, ".b")}
        if f"h.{gates.split()[0]}" in leaves:
            weights["weight_hh"] = cat(leaves, "h", gates)
            weights["bias_hh"] = cat(leaves, "h", gates, ".b")
        weights |= extra(leaves)
        now, y = begun * (carried // len(begun)), []
        for step in x:
            found = functional_call(module, weights, (step, now if len(now) > 1 else now[0]))
            now = found if isinstance(found, tuple) else (found,)
            y.append(now[0])
        return torch.stack(y), now[: len(begun)]

    return run


def slstm(leaves: Leaves, x: torch.Tensor, begun: tuple[torch.Tensor, ...]) -> Found:
    vanilla = importlib.import_module("xlstm.blocks.slstm.src.vanilla")
    gates = "i f z o"
    states, last, _ = vanilla.slstm_forward(
        x @ cat(leaves, "x", gates).T + cat(leaves, "x", gates, ".b"),
        torch.stack(begun),
        cat(leaves, "h", gates)[None],
        cat(leaves, "h", gates, ".b"),
        vanilla.slstm_pointwise_function_registry["slstm"],
    )
    return states[0, 1:], tuple(last)


def minimal(name: str, gates: str, weight: str, shift: float) -> Callable[..., Found]:
    """In log space: the candidate is g(v), v + 1/2 for v >= 0; and so is, with `shift`, h0."""

    def run(leaves: Leaves, x: torch.Tensor, begun: tuple[torch.Tensor, ...]) -> Found:
        module = getattr(importlib.import_module(f"minGRU_pytorch.{name}"), name)(UNITS)
        before = begun[0][:, None] - shift
        rows = x.transpose(0, 1)
        y = functional_call(module, {weight: cat(leaves, "x", gates)}, (rows, before))
        return y.transpose(0, 1), (y[:, -1],)

    return run


def lif(leaves: Leaves, x: torch.Tensor, begun: tuple[torch.Tensor, ...]) -> Found:
    snntorch = importlib.import_module("snntorch")
    surrogate = importlib.import_module("snntorch.surrogate").fast_sigmoid(slope=25)
    module = snntorch.RLeaky(beta=0.9, linear_features=UNITS, spike_grad=surrogate)
    weights = {"recurrent.weight": leaves["h.i"], "recurrent.bias": leaves["h.i.b"]}
    (spikes, v), y = begun, []
    # It makes spikes by `.float()`, which would round their derivatives to float32.
    with mock.patch.object(torch.Tensor, "float", torch.Tensor.double):
        for step in x:
            current = step @ leaves["x.i"].T + leaves["x.i.b"]
            spikes, v = functional_call(module, weights, (current, spikes, v))
            assert (v - 1).abs().min() > 1e-2, "too near the threshold for float32"
            y.append(spikes)
    return torch.stack(y), (spikes, v)


def li_gru(leaves: Leaves, x: torch.Tensor, begun: tuple[torch.Tensor, ...]) -> Found:
    # It is imported only for what reads sound files.
    sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))
    layers = importlib.import_module("speechbrain.nnet.RNN")
    module = layers.LiGRU_Layer(x.shape[-1], UNITS, 1, BATCH, normalization="layernorm").eval()
    weights = {
        "w.weight": cat(leaves, "x", "n z"),
        "u.weight": cat(leaves, "h", "n z"),
        "norm.weight": cat(leaves, "p", "n z"),
        "norm.bias": cat(leaves, "h", "n z", ".b"),
    }
    y = functional_call(module, weights, (x.transpose(0, 1), begun[0]))
    return y.transpose(0, 1), (y[:, -1],)


def rg_lru(leaves: Leaves, x: torch.Tensor, begun: tuple[torch.Tensor, ...]) -> Found:
    # The package itself would import JAX; its part in PyTorch does not need it.
    root = Path(str(importlib.metadata.distribution("recurrentgemma").locate_file("")))
    for name in ("recurrentgemma", "recurrentgemma.torch"):
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")))]
        sys.modules.setdefault(name, package)
    layers = importlib.import_module("recurrentgemma.torch.layers")
    # It would sum in float32.
    layers.rnn_scan = functools.partial(layers.rnn_scan, acc_dtype=torch.float64)
    module = layers.RGLRU(UNITS, num_heads=1)
    weights = {
        "a_param": -leaves["p.decay"],
        "input_gate.w": leaves["x.i"].T[None],
        "input_gate.b": leaves["x.i.b"][None],
        "a_gate.w": leaves["x.r"].T[None],
        "a_gate.b": leaves["x.r.b"][None],
    }
    after_begin = torch.ones(BATCH, len(x), dtype=torch.int64)
    y, last = functional_call(module, weights, (x.transpose(0, 1), after_begin, begun[0]))
    return y.transpose(0, 1), (last,)


def of_units(theirs: str, ours: str) -> Callable[[Leaves], Leaves]:
    return lambda leaves: {theirs: cat(leaves, "p", ours)}


def of_v(leaves: Leaves) -> Leaves:
    return {"weight_ch": leaves["h.v"], "bias_ch": leaves["h.v.b"]}


def of_u(leaves: Leaves) -> Leaves:
    return {"vector_u": leaves["p.u"], "bias_hh": torch.zeros(UNITS, dtype=torch.float64)}


IDENTITY = {"x.u": np.eye(UNITS), "x.u.b": np.zeros(UNITS)}
HALF = {"x.n.b": np.full(UNITS, 0.5), "x.z.b": np.zeros(UNITS)}
HALVES = {"x.n.b": np.full(UNITS, 0.5), "x.f.b": np.zeros(UNITS), "x.i.b": np.zeros(UNITS)}
PEEPHOLES = of_units("weight_ph", "i f o")
OSCILLATOR = {"dt": 0.042, "gamma": 2.7, "epsilon": 4.7}
SOURCES = (
    Source("lstm_without_forget_gate", "torchrecurrent", zoo("OriginalLSTMCell", "i g o", 2),
           "i g o|i g o", states=2),
    Source("peephole_lstm", "torchrecurrent", zoo("PeepholeLSTMCell", "i f g o", 2, PEEPHOLES),
           "i f g o|i f g o", "i f o", states=2),
    Source("janet", "torchrecurrent", zoo("JANETCell", "f g", 2), "f g|f g"),
    Source("mgu", "torchrecurrent", zoo("MGUCell", "f n", 1), "f n|f n"),
    Source("ugrnn", "torchrecurrent", zoo("UGRNNCell", "c g", 1), "g c|g c"),
    Source("ind_rnn", "torchrecurrent",
           zoo("IndRNNCell", "h", 1, of_u, nonlinearity="relu"), "h|", "u"),
    Source("co_rnn", "torchrecurrent", zoo("coRNNCell", "y", 2, of_v, **OSCILLATOR),
           "y|y v", states=2),
    Source("slstm", "xlstm", slstm, "i f z o|i f z o", states=4),
    Source("min_gru", "minGRU-pytorch", minimal("minGRU", "n z", "to_hidden_and_gate.weight", 0.0),
           "z n|", given=HALF, positive=True),
    Source("min_lstm", "minGRU-pytorch",
           minimal("minLSTM", "n f i", "to_hidden_and_f_i_gate.weight", 0.5),
           "f i n|", given=HALVES, positive=True),
    Source("lif", "snntorch", lif, "i|i", states=2),
    Source("li_gru", "speechbrain", li_gru, "z n|z n", "z n",
           given={"x.z.b": np.zeros(UNITS), "x.n.b": np.zeros(UNITS)}),
    Source("rg_lru", "recurrentgemma", rg_lru, "r i u|", "decay", given=IDENTITY),
)  # fmt: skip


def draw(source: Source) -> dict[str, np.ndarray]:
    """Inputs, weights and weights of the loss: multiples of 1/256, exact in float32 and short."""
    rng = np.random.default_rng([SEED, zlib.crc32(source.cell.encode())])

    def uniform(bound: float, *shape: int, positive: bool = source.positive) -> np.ndarray:
        low = 0 if positive else -bound
        return np.round(rng.uniform(low, bound, shape) * 256) / 256

    arrays: dict[str, np.ndarray] = {}
    for side, names in zip("xh", source.maps.split("|"), strict=True):
        for name in names.split():
            arrays[f"{side}.{name}"] = uniform(1.0, UNITS, UNITS)
            arrays[f"{side}.{name}.b"] = uniform(1.0, UNITS)
    for name in source.units.split():
        arrays[f"p.{name}"] = uniform(1.0, UNITS)
    arrays |= source.given
    arrays["x"] = uniform(2.0, STEPS, BATCH, UNITS)
    for n in range(source.states):
        # Positive: sLSTM's n, and what minGRU takes the logarithm of.
        arrays[f"state {n}"] = 0.5 + uniform(1.0, BATCH, UNITS, positive=True)
        arrays[f"d_after {n}"] = uniform(1.0, BATCH, UNITS, positive=False)
    if source.cell == "lif":  # Its spikes are those of its v.
        arrays["state 0"] = (arrays["state 1"] > 1).astype(float)
    arrays["dy"] = uniform(1.0, STEPS, BATCH, UNITS, positive=False)
    return arrays


def expected(source: Source, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the package gives: values, and derivatives by everything it knows."""
    leaves = {n: torch.tensor(a, requires_grad=True) for n, a in arrays.items() if n[0] != "d"}
    begun = tuple(leaves[f"state {n}"] for n in range(source.states))
    y, after = source.run(leaves, leaves["x"], begun)
    loss = (y * torch.tensor(arrays["dy"])).sum()
    for n, state in enumerate(after):
        loss = loss + (state * torch.tensor(arrays[f"d_after {n}"])).sum()
    loss.backward()
    found = {"y": y} | {f"after {n}": state for n, state in enumerate(after)}
    found |= {f"d {n}": leaf.grad for n, leaf in leaves.items() if leaf.grad is not None}
    assert all(value.dtype == torch.float64 for value in found.values())
    return {name: value.detach().numpy() for name, value in found.items()}


def main() -> None:
    default = Path(__file__).with_name("gallery.json")
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    lines = []
    for source in SOURCES:
        arrays = draw(source)
        config = {
            "cell": source.cell,
            "package": f"{source.package} {importlib.metadata.version(source.package)}",
            "states": source.states,
            "inputs": {name: a.tolist() for name, a in arrays.items()},
            "expected": {name: a.tolist() for name, a in expected(source, arrays).items()},
        }
        lines.append(json.dumps(config, separators=(",", ":")))
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
