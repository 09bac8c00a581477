"""The demo: `unrolled demo`, or `make demo` in the repository.

Checks the kernels against the reference, tells nine speakers apart, forecasts the sunspots of years
it never saw, and draws both.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import unrolled as ur
from unrolled import _check

from .._extras import missing
from . import data, speakers, sunspots

TARGET = 0.97
STEPS = 300


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the demo; 0 if the kernels pass and most seeds reach the target, else 1."""
    options = _arguments(argv)
    try:
        from tqdm import tqdm

        from . import plots
    except ImportError as error:
        print(missing(error, "unrolled demo", "tqdm and matplotlib", "demo"), file=sys.stderr)
        return 2
    try:
        directory = data.find(options.data)
    except data.DataNotFoundError as error:
        print(error, file=sys.stderr)
        return 2

    def progress(total: int, what: str) -> Any:
        return tqdm(total=total, desc=f"  {what}", leave=False, disable=not sys.stderr.isatty())

    began = time.perf_counter()
    _title("1. The kernels against the reference")
    kernels_pass = _check.main([]) == 0
    curves = _tell_speakers_apart(directory, options.seeds, options.epochs, progress)
    record, result = _forecast_sunspots(directory, options.steps, progress)

    options.output.mkdir(parents=True, exist_ok=True)
    learning, forecast = options.output / "learning.png", options.output / "forecast.png"
    plots.learning(learning, curves, TARGET, result)
    plots.forecast(forecast, record, result)
    _title("4. Pictures")
    print(f"  learning curves   {learning}\n  forecast          {forecast}")
    print(f"\nThe whole demo took {time.perf_counter() - began:.0f} s.")

    reached = sum(curve.accuracy[-1] >= TARGET for curve in curves)
    return 0 if kernels_pass and (options.quick or 2 * reached > len(curves)) else 1


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="unrolled demo",
        description="Check the kernels, tell nine speakers apart, forecast the sunspots.",
    )
    parser.add_argument(
        "data", nargs="?", type=Path, help="directory of the records (examples/data here or above)"
    )
    parser.add_argument("--seeds", type=_positive, help="speakers: train from so many seeds (3)")
    parser.add_argument("--epochs", type=_positive, help="speakers: epochs of each (60)")
    parser.add_argument("--quick", action="store_true", help="one seed, ten epochs, fewer steps")
    parser.add_argument(
        "--output", type=Path, default=Path("demo-output"), help="for the pictures (demo-output)"
    )
    options = parser.parse_args(argv)
    options.seeds = options.seeds or (1 if options.quick else 3)
    options.epochs = options.epochs or (10 if options.quick else 60)
    options.steps = STEPS // 5 if options.quick else STEPS
    return options


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {value}")
    return value


def _title(text: str) -> None:
    print(f"\n{text}\n", flush=True)


def _tell_speakers_apart(
    directory: Path,
    seeds: int,
    epochs: int,
    progress: Callable[[int, str], AbstractContextManager[Any]],
) -> list[speakers.Curve]:
    _title("2. Which of nine speakers? A bidirectional LSTM on Japanese Vowels")
    train, test = data.speakers(directory)
    lengths = [*train.lengths, *test.lengths]
    print(
        f"  {len(train)} utterances to train on, {len(test)} to test on, "
        f"{min(lengths)} to {max(lengths)} frames of {train.x.shape[-1]} "
        f"coefficients;\n  hidden size {speakers.HIDDEN} in each direction, {epochs} epochs, "
        f"{ur.get_num_threads()} threads."
    )
    curves = []
    for seed in range(seeds):
        with progress(epochs, f"seed {seed}") as bar:
            curve = speakers.train(train, test, seed, epochs, bar.update)
        right = round(curve.accuracy[-1] * len(test))
        print(
            f"  seed {seed}: test accuracy {curve.accuracy[-1]:.2%} ({right} of {len(test)}), "
            f"trained in {curve.seconds:.2f} s",
            flush=True,
        )
        curves.append(curve)
    reached = sum(curve.accuracy[-1] >= TARGET for curve in curves)
    print(f"  {reached} of {seeds} seeds reach {TARGET:.0%}.")
    _compare(directory, curves[0], epochs)
    return curves


def _compare(directory: Path, curve: speakers.Curve, epochs: int) -> None:
    torch = speakers.torch_seconds(directory, epochs, curve.seed)
    if not torch:
        print(
            f"  The same training in PyTorch is {speakers.TORCH_SCRIPT} in the repository.\n"
            "  It was not run. To compare, install torch beside this package (into .venv after\n"
            "  `make demo`) and run this again in the repository."
        )
        return
    each = ", ".join(f"{seconds:.2f} s on {n} threads" for n, seconds in torch.items())
    print(
        f"  The same training in PyTorch just now, {speakers.TORCH_SCRIPT}:\n"
        f"  {each.replace('on 1 threads', 'on 1 thread')}. "
        f"Its better time is {min(torch.values()) / curve.seconds:.1f} times that of seed "
        f"{curve.seed} above."
    )


def _forecast_sunspots(
    directory: Path, steps: int, progress: Callable[[int, str], AbstractContextManager[Any]]
) -> tuple[data.Monthly, sunspots.Result]:
    _title("3. Sunspots: a GRU trained on earlier years forecasts later ones")
    record = data.sunspots(directory)
    last_year = record.first_year + len(record.values) // 12 - 1
    with progress(steps, "training") as bar:
        start = time.perf_counter()
        result = sunspots.run(record, steps, seed=0, tick=bar.update)
        seconds = time.perf_counter() - start
    print(
        f"  Trained on {record.first_year}–{sunspots.FIRST_TEST_YEAR - 1} in {seconds:.1f} s. "
        f"Root mean square error over {sunspots.FIRST_TEST_YEAR}–{last_year},\n"
        "  every month forecast from what was known so many months before:\n"
    )
    print(sunspots.table(result))
    return record, result
