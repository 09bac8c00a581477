"""Where the demo's records lie, and how to read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
TRAIN, TEST, SUNSPOTS = "JapaneseVowels_TRAIN.ts", "JapaneseVowels_TEST.ts", "sunspots_monthly.dat"


class DataNotFoundError(Exception):
    """The records are not where they were looked for; the message says where that was."""


def find(given: Path | None) -> Path:
    """The directory of the records: the one given, or examples/data here or further up."""
    if given is not None:
        candidates = [given]
    else:
        starts = [Path.cwd(), Path(__file__).resolve().parent]
        candidates = [p / "examples" / "data" for s in starts for p in (s, *s.parents)]
    for directory in candidates:
        if all((directory / name).is_file() for name in (TRAIN, TEST, SUNSPOTS)):
            return directory
    looked = given if given is not None else f"{candidates[0]} and every directory above"
    raise DataNotFoundError(
        f"{TRAIN}, {TEST} and {SUNSPOTS} are not in {looked}. They are in the repository under "
        "examples/data: run this from there, or give the directory as the argument."
    )


@dataclass(frozen=True)
class Utterances:
    """x is (T, B, channels), zero past each end; lengths and speakers (from 0) are (B,)."""

    x: Floats
    lengths: NDArray[np.int64]
    speakers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lengths)

    def rows(self, chosen: NDArray[Any]) -> Utterances:
        """Some of the utterances, no longer than the longest of them."""
        longest = int(self.lengths[chosen].max())
        return Utterances(self.x[:longest, chosen], self.lengths[chosen], self.speakers[chosen])


def speakers(directory: Path) -> tuple[Utterances, Utterances]:
    """The utterances to train on and to test on, each channel standardised.

    Mean and deviation are those of the training frames; the test set has no part in them.
    """
    train, test = _read_utterances(directory / TRAIN), _read_utterances(directory / TEST)
    frames = np.concatenate(train[0])
    mean, deviation = frames.mean(axis=0), frames.std(axis=0)

    def pack(utterances: list[Floats], who: list[int]) -> Utterances:
        lengths = np.array([len(u) for u in utterances])
        x = np.zeros((lengths.max(), len(utterances), frames.shape[1]), np.float32)
        for row, utterance in enumerate(utterances):
            x[: len(utterance), row] = (utterance - mean) / deviation
        return Utterances(x, lengths, np.array(who))

    return pack(*train), pack(*test)


def _read_utterances(path: Path) -> tuple[list[Floats], list[int]]:
    """A header that ends in @data, then a line each: channels and the speaker, parted by colons."""
    lines = path.read_text(encoding="utf-8").splitlines()
    start = next(n for n, line in enumerate(lines) if line.lower().startswith("@data")) + 1
    utterances, who = [], []
    for line in filter(None, lines[start:]):
        *channels, speaker = line.split(":")
        values = np.array([[float(v) for v in c.split(",")] for c in channels], np.float32)
        utterances.append(values.T)
        who.append(int(speaker) - 1)
    return utterances, who


@dataclass(frozen=True)
class Monthly:
    """A value a month, from January of the first year on."""

    first_year: int
    values: Floats

    def month(self, year: int) -> int:
        """Where January of that year stands."""
        return 12 * (year - self.first_year)

    @property
    def years(self) -> Floats:
        """The middle of each month as a year with a fraction, for plots."""
        months = np.arange(len(self.values), dtype=np.float32)
        return np.asarray(self.first_year + (months + 0.5) / 12, np.float32)


def sunspots(directory: Path, last_year: int = 2008) -> Monthly:
    """The monthly mean sunspot numbers up to and with `last_year`: a line a year in the file."""
    rows = []
    for line in (directory / SUNSPOTS).read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if len(fields) == 13 and fields[0].isdigit() and int(fields[0]) <= last_year:
            rows.append([float(field) for field in fields])
    table = np.array(rows)
    if not np.array_equal(table[:, 0], np.arange(table[0, 0], table[0, 0] + len(table))):
        raise ValueError(f"{directory / SUNSPOTS}: the years do not follow one another")
    return Monthly(int(table[0, 0]), table[:, 1:].astype(np.float32).reshape(-1))
