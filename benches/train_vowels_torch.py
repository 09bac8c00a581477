"""Tell nine speakers apart with PyTorch: the twin of the speaker demo, for comparison.

    python benches/train_vowels_torch.py [directory] [--epochs 60] [--seed 0] ...

Japanese Vowels (Kudo, Toyama, Shimbo 1999): 270 training and 370 test utterances, 12 channels,
7 to 29 steps. Prints the time of each epoch, the total, and the accuracy on the test set.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

CHANNELS, SPEAKERS = 12, 9


def read(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """The utterances, each (steps, channels), and their speakers counted from 0."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.lower().startswith("@data")) + 1
    utterances, speakers = [], []
    for line in filter(None, lines[start:]):
        *channels, speaker = line.split(":")
        values = np.array([[float(v) for v in c.split(",")] for c in channels], np.float32)
        utterances.append(values.T)
        speakers.append(int(speaker) - 1)
    return utterances, np.array(speakers)


def pad(utterances: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """One (steps, utterances, channels) tensor, zero past each end, and the lengths."""
    lengths = [len(u) for u in utterances]
    x = np.zeros((max(lengths), len(utterances), CHANNELS), np.float32)
    for b, utterance in enumerate(utterances):
        x[: len(utterance), b] = utterance
    return torch.from_numpy(x), torch.tensor(lengths)


class Speakers(torch.nn.Module):
    """A bidirectional LSTM and a linear layer on what it knows of the whole utterance."""

    def __init__(self, hidden: int, pool: str, dropout: float) -> None:
        super().__init__()
        self.pool = pool
        self.lstm = torch.nn.LSTM(CHANNELS, hidden, bidirectional=True)
        self.dropout = torch.nn.Dropout(dropout)
        self.linear = torch.nn.Linear(2 * hidden, SPEAKERS)

    def forward(self, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
        output, (h, _) = self.lstm(packed)
        if self.pool == "final":
            summary = torch.cat([h[0], h[1]], dim=-1)
        else:
            y, _ = pad_packed_sequence(output)
            summary = y.sum(dim=0) / lengths[:, None]
        return self.linear(self.dropout(summary))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(__file__).resolve().parent.parent / "examples" / "data"
    parser.add_argument("directory", nargs="?", type=Path, default=default)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--hidden", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--clip", type=float, default=1.0)
    parser.add_argument("--weight-decay", type=float, default=0.0, help="of AdamW if not 0")
    parser.add_argument("--dropout", type=float, default=0.0, help="before the linear layer")
    parser.add_argument("--noise", type=float, default=0.0, help="added to training inputs")
    parser.add_argument("--pool", choices=["final", "mean"], default="final")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quiet", action="store_true", help="print the last line only")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)

    train, train_speakers = read(options.directory / "JapaneseVowels_TRAIN.ts")
    test, test_speakers = read(options.directory / "JapaneseVowels_TEST.ts")
    steps = np.concatenate(train)
    mean, deviation = steps.mean(axis=0), steps.std(axis=0)
    x, lengths = pad([(u - mean) / deviation for u in train])
    x_test, lengths_test = pad([(u - mean) / deviation for u in test])
    target, target_test = torch.from_numpy(train_speakers), torch.from_numpy(test_speakers)

    net = Speakers(options.hidden, options.pool, options.dropout)
    optimiser: torch.optim.Optimizer
    if options.weight_decay:
        optimiser = torch.optim.AdamW(
            net.parameters(), options.lr, weight_decay=options.weight_decay
        )
    else:
        optimiser = torch.optim.Adam(net.parameters(), options.lr)

    total = 0.0
    for epoch in range(1, options.epochs + 1):
        start = time.perf_counter()
        net.train()
        loss_sum = 0.0
        for rows in torch.randperm(len(train)).split(options.batch):
            longest = int(lengths[rows].max())
            batch = x[:longest, rows]
            if options.noise:
                batch = batch + options.noise * torch.randn_like(batch)
            optimiser.zero_grad()
            logits = net(batch, lengths[rows])
            loss = torch.nn.functional.cross_entropy(logits, target[rows])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), options.clip)
            optimiser.step()
            loss_sum += loss.item() * len(rows)
        seconds = time.perf_counter() - start
        total += seconds
        if not options.quiet:
            print(f"epoch {epoch:3d}  loss {loss_sum / len(train):.4f}  {seconds * 1e3:6.1f} ms")

    net.eval()
    with torch.no_grad():
        correct = int((net(x_test, lengths_test).argmax(dim=-1) == target_test).sum())
    print(
        f"total {total:.2f} s, {total / max(options.epochs, 1) * 1e3:.1f} ms an epoch; "
        f"test accuracy {correct / len(test):.2%} ({correct} of {len(test)})"
    )


if __name__ == "__main__":
    main()
