"""One process of `test_processes`: gradients of its part of a batch, averaged with the other's."""

from __future__ import annotations

import sys
from typing import Any

import torch
import torch.distributed as dist
import unrolled.torch as ut
from torch import nn


class Model(nn.Module):
    """Sequences, cells, and a layer of PyTorch's."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 8, 2, bidirectional=True, batch_first=True)
        self.cell = nn.GRUCell(16, 6)
        self.out = nn.Linear(6, 1)

    def forward(self, x: Any) -> Any:
        y, _ = self.lstm(x)
        return self.out(self.cell(y[:, -1]))


def setup() -> tuple[Any, Any]:
    """The same on every process: a model and a whole batch."""
    torch.manual_seed(0)
    return Model().double(), torch.randn(8, 7, 5, dtype=torch.float64)


def main(rank: int, world: int, store: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    model, x = setup()
    assert len(ut.accelerate(model).replaced) == 2
    parallel = nn.parallel.DistributedDataParallel(model)
    optimiser = torch.optim.SGD(parallel.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        parallel(x.chunk(world)[rank]).square().mean().backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
        optimiser.step()
    torch.save((gradients, model.state_dict()), f"{out}.{rank}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
