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

from .data import Floats, Utterances

HIDDEN, BATCH, LEARNING_RATE, CLIP = 64, 32, 1e-2, 1.0
TORCH_SCRIPT = Path("benches") / "train_vowels_torch.py"


class Recogniser:
    """Reads an utterance in both directions; a dense layer judges the two last hidden states."""

    def __init__(self, channels: int, speakers: int, seed: int) -> None:
        self.lstm = ur.LSTM(channels, HIDDEN, bidirectional=True, seed=seed)
        self.dense = ur.Dense(2 * HIDDEN, speakers, seed=seed + 1)
        self.optimiser = ur.optim.Adam([self.lstm, self.dense], lr=LEARNING_RATE)

    def accuracy(self, data: Utterances) -> float:
        """The share of utterances given to the right speaker."""
        _, (h, _) = self.lstm(data.x, lengths=data.lengths)
        return float(np.mean(self.dense(_side_by_side(h)).argmax(axis=-1) == data.speakers))

    def learn(self, data: Utterances) -> float:
        """One step on these utterances; the loss before it.

        The loss depends on the last hidden states alone, so its gradient enters through them
        (`dstate`) and is zero for every single output.
        """
        y, (h, c), tape = self.lstm.record(data.x, lengths=data.lengths)
        summary = _side_by_side(h)
        loss, d_logits = ur.losses.cross_entropy(self.dense(summary), data.speakers)
        g_dense = self.dense.backward(summary, d_logits)
        d_h = np.ascontiguousarray(np.stack(np.split(g_dense.input, 2, axis=-1)))
        g_lstm = tape.backward(np.zeros_like(y), (d_h, np.zeros_like(c)))
        ur.clip_grad_norm([g_lstm, g_dense], CLIP)
        self.optimiser.step([g_lstm, g_dense])
        return loss


def _side_by_side(h: Floats) -> Floats:
    """(2, B, H), forward and reverse, as (B, 2 H)."""
    return np.concatenate([h[0], h[1]], axis=-1)


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


def torch_seconds(directory: Path, epochs: int, seed: int) -> float | None:
    """How long the same training takes in PyTorch here and now, or None if it is not installed."""
    script = next(
        (p / TORCH_SCRIPT for p in directory.resolve().parents if (p / TORCH_SCRIPT).is_file()),
        None,
    )
    if script is None or importlib.util.find_spec("torch") is None:
        return None
    options: dict[str, float] = {"epochs": epochs, "seed": seed, "hidden": HIDDEN, "batch": BATCH}
    options |= {"lr": LEARNING_RATE, "clip": CLIP, "threads": ur.get_num_threads()}
    command = [sys.executable, str(script), str(directory), "--quiet"]
    command += [part for name, value in options.items() for part in (f"--{name}", str(value))]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"total ([0-9.]+) s", run.stdout)
    if run.returncode != 0 or found is None:
        print(f"  {script} failed:\n{run.stderr}", file=sys.stderr)
        return None
    return float(found[1])
