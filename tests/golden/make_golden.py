"""Make the golden numbers with PyTorch: outputs, final states and every gradient.

    python tests/golden/make_golden.py [directory]

Needs torch and NumPy; reading the files needs NumPy alone (see cases.py beside this file).
"""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

SEED = 20240607

# The loss weighs each result with a stored array: sum(y * dy) + sum(hn * dhn) + sum(cn * dcn).
# So dy, dhn and dcn are exactly what a user hands to `backward`.


@dataclass(frozen=True)
class Plan:
    """What one case runs. `module` is the name in torch.nn; the *Cell ones run one step."""

    name: str
    module: str
    input_size: int = 5
    hidden_size: int = 7
    num_layers: int = 1
    bidirectional: bool = False
    proj_size: int = 0
    bias: bool = True
    nonlinearity: str | None = None
    layout: str = "time_major"  # or "batch_first", "unbatched"
    steps: int = 6
    batch: int = 3
    lengths: tuple[int, ...] | None = None
    # False: the user gives no initial state and no gradient of the final one.
    with_state: bool = True

    @property
    def cell(self) -> str:
        return self.module.removesuffix("Cell")

    @property
    def is_step(self) -> bool:
        return self.module.endswith("Cell")

    @property
    def chains(self) -> int:
        return self.num_layers * (2 if self.bidirectional else 1)

    def torch_kwargs(self) -> dict[str, object]:
        kwargs: dict[str, object] = {
            "input_size": self.input_size,
            "hidden_size": self.hidden_size,
            "bias": self.bias,
        }
        if self.nonlinearity is not None:
            kwargs["nonlinearity"] = self.nonlinearity
        if not self.is_step:
            kwargs |= {
                "num_layers": self.num_layers,
                "bidirectional": self.bidirectional,
                "batch_first": self.layout == "batch_first",
            }
            if self.cell == "LSTM":
                kwargs["proj_size"] = self.proj_size
        return kwargs


def kinds() -> Iterator[tuple[str, str, str | None]]:
    yield "lstm", "LSTM", None
    yield "gru", "GRU", None
    yield "rnn_tanh", "RNN", "tanh"
    yield "rnn_relu", "RNN", "relu"


def plans() -> Iterator[Plan]:
    for prefix, module, nonlinearity in kinds():
        for projection in (0, 3) if module == "LSTM" else (0,):
            for layers in (1, 2):
                for bidirectional in (False, True):
                    for ragged in (False, True):
                        name = f"{prefix}_layers{layers}"
                        name += "_bidirectional" * bidirectional + "_ragged" * ragged
                        name += "_projection" * (projection > 0)
                        # One list reaches the end of the array, the other does not: the
                        # reverse direction must start at the row's end in both. Unsorted.
                        lengths = (7, 2, 6) if bidirectional else (5, 8, 1)
                        yield Plan(
                            name,
                            module,
                            num_layers=layers,
                            bidirectional=bidirectional,
                            proj_size=projection,
                            nonlinearity=nonlinearity,
                            steps=(9 if bidirectional else 8) if ragged else 6,
                            lengths=lengths if ragged else None,
                        )
        base = Plan(prefix, module, nonlinearity=nonlinearity)

        def other(suffix: str, base: Plan = base, **changes: Any) -> Plan:
            return replace(base, name=f"{base.name}_{suffix}", **changes)

        yield other("no_bias", bias=False, num_layers=2, bidirectional=True)
        # Just past a whole number of SIMD lanes, and exactly one.
        yield other("hidden17", hidden_size=17)
        yield other("input1_hidden16", input_size=1, hidden_size=16, steps=9)
        yield other("no_state", with_state=False, bidirectional=True)
        yield other(
            "batch_first", layout="batch_first", bidirectional=True, steps=8, lengths=(3, 8, 5)
        )
        yield other("unbatched", layout="unbatched", num_layers=2, batch=1)
        yield other("cell", module=f"{module}Cell", steps=1)
        yield other("cell_no_bias", module=f"{module}Cell", steps=1, bias=False)


Arrays = dict[str, np.ndarray]


def draw(plan: Plan) -> Arrays:
    """Weights, inputs and loss weights. Multiples of 2^-12 of small size: exact in float32,
    and they compress. Each case has a stream of its own, so a new case changes no other."""
    rng = np.random.default_rng([SEED, zlib.crc32(plan.name.encode())])

    def uniform(bound: float, shape: tuple[int, ...]) -> np.ndarray:
        return (np.round(rng.uniform(-bound, bound, shape) * 4096) / 4096).astype(np.float32)

    module = getattr(torch.nn, plan.module)(**plan.torch_kwargs())
    # Wider than the usual initialisation, to leave the part where gates are nearly linear.
    bound = 1.5 / plan.hidden_size**0.5
    arrays = {
        f"parameter.{key}": uniform(bound, tuple(value.shape))
        for key, value in module.state_dict().items()
    }

    def sequence(width: int) -> tuple[int, ...]:
        return {
            "time_major": (plan.steps, plan.batch, width),
            "batch_first": (plan.batch, plan.steps, width),
            "unbatched": (plan.steps, width),
        }[plan.layout]

    def state(width: int) -> tuple[int, ...]:
        middle = () if plan.layout == "unbatched" else (plan.batch,)
        return (plan.chains, *middle, width)

    out = plan.proj_size or plan.hidden_size
    arrays["x"] = uniform(2.0, sequence(plan.input_size))
    if plan.lengths is not None:
        rows = arrays["x"] if plan.layout == "batch_first" else arrays["x"].swapaxes(0, 1)
        for row, length in zip(rows, plan.lengths, strict=True):
            row[length:] = np.nan  # nothing may read these
    arrays["dy"] = uniform(1.0, sequence(out * (2 if plan.bidirectional else 1)))
    if plan.with_state:
        arrays["h0"], arrays["dhn"] = uniform(1.0, state(out)), uniform(1.0, state(out))
        if plan.cell == "LSTM":
            arrays["c0"] = uniform(2.0, state(plan.hidden_size))
            arrays["dcn"] = uniform(1.0, state(plan.hidden_size))
    return arrays


def run(plan: Plan, arrays: Arrays, dtype: torch.dtype) -> Arrays:
    """The results and gradients of one case, as PyTorch computes them in `dtype`."""

    def leaf(array: np.ndarray) -> torch.Tensor:
        return torch.tensor(array, dtype=dtype, requires_grad=True)

    module = getattr(torch.nn, plan.module)(**plan.torch_kwargs(), dtype=dtype)
    module.load_state_dict(
        {
            key.removeprefix("parameter."): torch.tensor(value, dtype=dtype)
            for key, value in arrays.items()
            if key.startswith("parameter.")
        }
    )
    names = ("h", "c") if plan.cell == "LSTM" else ("h",)
    widths = {"h": plan.proj_size or plan.hidden_size, "c": plan.hidden_size}
    middle = () if plan.layout == "unbatched" else (plan.batch,)
    x = leaf(arrays["x"])
    initial = [
        leaf(arrays.get(f"{n}0", np.zeros((plan.chains, *middle, widths[n])))) for n in names
    ]

    if plan.is_step:
        first = [s[0] for s in initial]
        after = module(x[0], first[0] if len(first) == 1 else tuple(first))
        final = [s[None] for s in ((after,) if len(first) == 1 else after)]
        y = final[0]
    else:
        feed: torch.Tensor | torch.nn.utils.rnn.PackedSequence = x
        first_axis = plan.layout == "batch_first"
        if plan.lengths is not None:
            feed = pack_padded_sequence(
                x, torch.tensor(plan.lengths), batch_first=first_axis, enforce_sorted=False
            )
        y, after = module(feed, initial[0] if len(initial) == 1 else tuple(initial))
        if plan.lengths is not None:
            y, _ = pad_packed_sequence(y, batch_first=first_axis, total_length=plan.steps)
        final = [after] if len(initial) == 1 else list(after)

    loss = (y * torch.tensor(arrays["dy"], dtype=dtype)).sum()
    for name, value in zip(names, final, strict=True):
        if plan.with_state:
            loss = loss + (value * torch.tensor(arrays[f"d{name}n"], dtype=dtype)).sum()
    loss.backward()

    results = {"y": y}
    results |= {f"{n}n": value for n, value in zip(names, final, strict=True)}
    results |= {f"grad.parameter.{key}": p.grad for key, p in module.named_parameters()}
    results["grad.x"] = x.grad
    results |= {f"grad.{n}0": value.grad for n, value in zip(names, initial, strict=True)}
    return {key: value.detach().numpy() for key, value in results.items()}


def as_sequence(plan: Plan, arrays: Arrays) -> Arrays:
    """A single step is a sequence of length one: give its parameters a layer's names."""
    if not plan.is_step:
        return arrays
    return {f"{k}_l0" if "parameter." in k else k: v for k, v in arrays.items()}


def float32_error(single: Arrays, double: Arrays) -> dict[str, float]:
    """PyTorch's own float32 error in the measure of tests/tolerances.py, for comparison."""
    worst = {"output": 0.0, "gradient": 0.0}
    for key, expected in double.items():
        kind = "gradient" if key.startswith("grad.") else "output"
        error = float(np.abs(single[key] - expected).max() / np.abs(expected).max())
        worst[kind] = max(worst[kind], error)
    return {kind: float(f"{error:.2e}") for kind, error in worst.items()}


def flatten(arrays: Arrays, dtype: type) -> tuple[list[list[object]], np.ndarray]:
    """Names with shapes, and all values in that order: a zip entry per array would cost more
    than the numbers in it."""
    layout: list[list[object]] = [[key, list(value.shape)] for key, value in arrays.items()]
    return layout, np.concatenate([v.ravel() for v in arrays.values()]).astype(dtype)


def kwargs_for_unrolled(plan: Plan) -> dict[str, object]:
    return plan.torch_kwargs() | {"batch_first": plan.layout == "batch_first"}


def main() -> None:
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    torch.set_num_threads(1)
    files: dict[str, dict[str, Any]] = {}
    for plan in plans():
        arrays = draw(plan)
        double = run(plan, arrays, torch.float64)
        error = float32_error(run(plan, arrays, torch.float32), double)
        # In float32 a relu may fall on the other side of zero; such a draw is no test.
        assert error["output"] < 1e-6 and error["gradient"] < 5e-6, (plan.name, error)
        inputs_layout, inputs = flatten(as_sequence(plan, arrays), np.float32)
        expected_layout, expected = flatten(as_sequence(plan, double), np.float64)
        config = {
            "cell": plan.cell,
            "kwargs": kwargs_for_unrolled(plan),
            "layout": plan.layout,
            "lengths": plan.lengths,
            "torch_module": plan.module,
            "torch_version": torch.__version__,
            "torch_float32_error": error,
            "seed": SEED,
            "inputs": inputs_layout,
            "expected": expected_layout,
        }
        entry = files.setdefault(plan.cell.lower(), {})
        entry[f"{plan.name}/config"] = np.frombuffer(json.dumps(config).encode(), np.uint8)
        entry[f"{plan.name}/inputs"] = inputs
        entry[f"{plan.name}/expected"] = expected
    for name, content in files.items():
        np.savez_compressed(directory / f"{name}.npz", **content)


if __name__ == "__main__":
    main()
