"""Which of nine men is speaking? A bidirectional LSTM on utterances of unequal length."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import unrolled as ur

from .._arguments import Array
from .._training import Reader
from .data import Utterances

HIDDEN, BATCH, LEARNING_RATE, CLIP = 64, 32, 1e-2, 1.0
TORCH_SCRIPT = Path("benches") / "train_vowels_torch.py"


class Recogniser:
    """Reads an utterance in both directions; a dense layer judges the two last hidden states."""

    def __init__(self, channels: int, speakers: int, seed: int) -> None:
        lstm = ur.LSTM(channels, HIDDEN, bidirectional=True, seed=seed)
        dense = ur.Dense(2 * HIDDEN, speakers, seed=seed + 1)
        self.reader = Reader(lstm, dense, "last")
        self.optimiser = ur.optim.Adam([lstm, dense], lr=LEARNING_RATE)

    def accuracy(self, data: Utterances) -> float:
        """The share of utterances given to the right speaker."""
        said = self.reader(data.x, data.lengths).argmax(axis=-1)
        return float(np.mean(said == data.speakers))

    def learn(self, data: Utterances) -> float:
        """One step on these utterances; the loss before it."""

        def loss(logits: Array) -> tuple[float, Array]:
            return ur.losses.cross_entropy(logits, data.speakers)

        return self.reader.learn(data.x, data.lengths, loss, self.optimiser, CLIP)


@dataclass
class Curve:
    """What one seed's training came to."""

    seed: int
    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    seconds: float = 0.0


def train(
    data: Utterances, test: Utterances, seed: int, epochs: int, tick: Callable[[], object]
) -> Curve:
    """Trains from one seed. The clock runs while learning, not while the test set is scored."""
    recogniser = Recogniser(data.x.shape[-1], int(data.speakers.max()) + 1, seed)
    random = np.random.default_rng(seed)
    curve = Curve(seed)
    for _ in range(epochs):
        start = time.perf_counter()
        total = 0.0
        order = random.permutation(len(data))
        for first in range(0, len(data), BATCH):
            rows = order[first : first + BATCH]
            total += recogniser.learn(data.rows(rows)) * len(rows)
        curve.seconds += time.perf_counter() - start
        curve.loss.append(total / len(data))
        curve.accuracy.append(recogniser.accuracy(test))
        tick()
    return curve


def torch_seconds(directory: Path, epochs: int, seed: int) -> dict[int, float]:
    """How long the same training takes in PyTorch here and now, by threads; empty without it.

    On one thread and on as many as here: nets this small may lose by sharing the work.
    """
    script = next(
        (p / TORCH_SCRIPT for p in directory.resolve().parents if (p / TORCH_SCRIPT).is_file()),
        None,
    )
    if script is None or importlib.util.find_spec("torch") is None:
        return {}
    options: dict[str, float] = {"epochs": epochs, "seed": seed, "hidden": HIDDEN, "batch": BATCH}
    options |= {"lr": LEARNING_RATE, "clip": CLIP}
    command = [sys.executable, str(script), str(directory), "--quiet"]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    seconds = {}
    for threads in sorted({1, ur.get_num_threads()}):
        run = subprocess.run(
            [*command, "--threads", str(threads)], capture_output=True, text=True, check=False
        )
        found = re.search(r"total ([0-9.]+) s", run.stdout)
        if run.returncode != 0 or found is None:
            print(f"  {script} failed:\n{run.stderr}", file=sys.stderr)
            return {}
        seconds[threads] = float(found[1])
    return seconds
