"""One process of `test_processes`: the model's parameters sharded over all of them."""

from __future__ import annotations

import sys

import torch
import torch.distributed as dist
import unrolled.torch as ut
from ddp_worker import setup
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


def main(rank: int, world: int, store: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world)
    model, x = setup()
    assert len(ut.accelerate(model).replaced) == 2
    with torch.no_grad():
        model(x)  # what has been computed before must not stand in the way
    mesh = init_device_mesh("cpu", (world,))
    for module in (model.lstm, model.cell, model):
        fully_shard(module, mesh=mesh)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimiser.zero_grad()
        model(x.chunk(world)[rank]).square().mean().backward()
        gradients = {name: p.grad.full_tensor() for name, p in model.named_parameters()}
        optimiser.step()
    state = {name: value.full_tensor() for name, value in model.state_dict().items()}
    torch.save((gradients, state), f"{out}.{rank}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
