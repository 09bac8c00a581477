"""Writes core/tests/golden/training.rs: what PyTorch's optimisers, losses and clipping give.

Run with PyTorch installed, from the top of the repository:

    python tests/golden/make_optimizer_golden.py

Inputs are dyadic fractions made by formulae that core/tests/train.rs repeats, so both
sides start from the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional

STEPS = 10
SIZE = 5
HERE = Path(__file__).resolve()
OUT = HERE.parents[2] / "core" / "tests" / "golden" / "training.rs"

OPTIMIZERS: dict[str, Callable[[list[torch.Tensor]], torch.optim.Optimizer]] = {
    "SGD": lambda p: torch.optim.SGD(p, lr=0.1, foreach=False),
    "SGD_MOMENTUM": lambda p: torch.optim.SGD(
        p, lr=0.1, momentum=0.9, dampening=0.3, weight_decay=0.05, foreach=False
    ),
    "SGD_NESTEROV": lambda p: torch.optim.SGD(
        p, lr=0.1, momentum=0.9, weight_decay=0.05, nesterov=True, foreach=False
    ),
    "ADAM": lambda p: torch.optim.Adam(p, lr=0.01, foreach=False),
    "ADAM_DECAY": lambda p: torch.optim.Adam(
        p, lr=0.01, betas=(0.3, 0.9), eps=1e-3, weight_decay=0.1, foreach=False
    ),
    "ADAMW": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, foreach=False),
}


def parameter(dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor([(k - 1.5) / 4 for k in range(SIZE)], dtype=dtype, requires_grad=True)


def gradient(t: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.tensor([((7 * k + 3 * t) % 11 - 5) / 8 for k in range(SIZE)], dtype=dtype)


def run(
    make: Callable[[list[torch.Tensor]], torch.optim.Optimizer], dtype: torch.dtype
) -> list[float]:
    p = parameter(dtype)
    optimizer = make([p])
    for t in range(1, STEPS + 1):
        p.grad = gradient(t, dtype)
        optimizer.step()
    return p.tolist()


def logits() -> torch.Tensor:
    values = [[((5 * k + 3 * n) % 13 - 6) / 2 for k in range(4)] for n in range(3)]
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def losses() -> list[tuple[str, list[float]]]:
    """Each loss: its value, then its gradient."""
    found = []
    target = {
        "MSE": (functional.mse_loss, torch.arange(12, dtype=torch.float64).reshape(3, 4) / 8),
        "BCE": (
            functional.binary_cross_entropy_with_logits,
            torch.arange(12, dtype=torch.float64).reshape(3, 4) / 16,
        ),
        "CROSS_ENTROPY": (functional.cross_entropy, torch.tensor([2, 0, 3])),
    }
    for name, (loss, expected) in target.items():
        z = logits()
        value = loss(z, expected)
        value.backward()
        assert z.grad is not None
        found.append((name, [value.item(), *z.grad.flatten().tolist()]))
    return found


def clipped() -> list[float]:
    """The norm of both gradients, then both after clipping to 0.75."""
    p = [parameter(torch.float64), parameter(torch.float64)]
    for t, q in enumerate(p):
        q.grad = gradient(t, torch.float64)
    norm = torch.nn.utils.clip_grad_norm_(p, 0.75, foreach=False)
    return [norm.item(), *(x for q in p if q.grad is not None for x in q.grad.tolist())]


def constant(name: str, values: list[float], kind: str = "f64") -> str:
    body = "".join(f"    {value!r},\n" for value in values)
    return f"pub const {name}: [{kind}; {len(values)}] = [\n{body}];\n"


def main() -> None:
    parts = [
        f"// Written by tests/golden/{HERE.name} with PyTorch {torch.__version__.split('+')[0]}.\n"
    ]
    parts.append(f"pub const STEPS: u64 = {STEPS};\n")
    for name, make in OPTIMIZERS.items():
        for dtype, kind in ((torch.float64, "f64"), (torch.float32, "f32")):
            values = run(make, dtype)
            parts.append(constant(f"{name}_{kind.upper()}", values))
    parts += [constant(name, values) for name, values in losses()]
    parts.append(constant("CLIP", clipped()))
    OUT.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
