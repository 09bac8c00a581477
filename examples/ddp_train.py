"""A model with an accelerated LSTM under DistributedDataParallel, on one machine or several.

    torchrun --nproc-per-node 2 examples/ddp_train.py
    torchrun --nnodes 2 --nproc-per-node 1 --rdzv-backend c10d --rdzv-endpoint HOST:29500 \
        examples/ddp_train.py

Learns to tell which of two places of a sequence holds the larger number. The whole batch has the
same number of rows however many processes share it, so that every number of processes learns the
same. At the end it prints how many rows a second they all did, and how many one of them does alone.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import torch
import torch.distributed as dist
import unrolled.torch
from torch import nn

ROWS, STEPS, UNITS = 256, 60, 96


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(2, UNITS, batch_first=True)
        self.out = nn.Linear(UNITS, 1)

    def forward(self, x):
        y, _ = self.lstm(x)
        return self.out(y[:, -1]).squeeze(-1)


def batch(rows, generator):
    """Noise, and two marked places; 1 where the second number is larger."""
    x = torch.zeros(rows, STEPS, 2)
    x[..., 0] = torch.rand(rows, STEPS, generator=generator)
    half = STEPS // 2
    places = torch.randint(half, (rows, 2), generator=generator) + torch.tensor([0, half])
    x[torch.arange(rows)[:, None], places, 1] = 1
    marked = x[..., 0].gather(1, places)
    return x, (marked[:, 1] > marked[:, 0]).float()


def train(model, optimiser, rows, steps, generator, show):
    """Rows a second of this process, and the last loss."""
    loss_of = nn.BCEWithLogitsLoss()
    start = time.perf_counter()
    for step in range(steps):
        x, target = batch(rows, generator)
        optimiser.zero_grad()
        loss = loss_of(model(x), target)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if show and sys.stderr.isatty():
            done = 30 * (step + 1) // steps
            bar = "#" * done + "." * (30 - done)
            print(f"\r[{bar}] {step + 1}/{steps}  loss {loss:.4f} ", end="", file=sys.stderr)
    if show and sys.stderr.isatty():
        print(file=sys.stderr)
    return rows * steps / (time.perf_counter() - start), loss.item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # Without torchrun: one process.
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "1"), ("MASTER_ADDR", "127.0.0.1")):
        os.environ.setdefault(name, value)
    os.environ.setdefault("MASTER_PORT", "29500")
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()

    torch.manual_seed(0)
    model = Model()
    summary = unrolled.torch.accelerate(model)
    if rank == 0:
        print(summary)
    parallel = nn.parallel.DistributedDataParallel(model)
    optimiser = torch.optim.Adam(parallel.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(rank)

    rows = ROWS // world
    train(parallel, optimiser, rows, 5, generator, False)
    dist.barrier()
    speed, loss = train(parallel, optimiser, rows, options.steps, generator, rank == 0)
    total = torch.tensor([speed, loss])
    dist.all_reduce(total)
    if rank == 0:
        print(f"{world} process(es): {total[0]:.0f} rows/s, loss {total[1] / world:.4f}")

    # Alone, with the whole batch, while the others wait.
    if world > 1:
        if rank == 0:
            alone = Model()
            unrolled.torch.accelerate(alone)
            optimiser = torch.optim.Adam(alone.parameters(), lr=3e-3)
            train(alone, optimiser, ROWS, 3, generator, False)
            single, _ = train(alone, optimiser, ROWS, max(10, options.steps // 5), generator, False)
            print(f"1 process alone: {single:.0f} rows/s; scaling {total[0] / single:.2f}")
        dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
