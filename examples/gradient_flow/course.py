"""What all parts of the course share: the options, the looks, where pictures go."""

import argparse
import io
import sys
from pathlib import Path

import matplotlib

NOTEBOOK = "ipykernel" in sys.modules
if not NOTEBOOK:
    matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402 (comes with matplotlib)
from unrolled._style import STYLE  # noqa: E402

HERE = Path(__file__).resolve().parent
# Okabe & Ito (2008), as in ur.flow's own pictures.
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
PURPLE, SKY, GREY = "#cc79a7", "#56b4e9", "#7f7f7f"

plt.rcParams.update(STYLE)
if NOTEBOOK:
    plt.rcParams["figure.dpi"] = 80  # the pictures lie in the notebook: no more than can be seen
np.set_printoptions(precision=4, suppress=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="train less: only shows that it runs")
    parser.add_argument("--output", type=Path, help="for the pictures (figures/, quick: none)")
    parser.add_argument("--seed", type=int, default=0, help="of the training in part 7 (0)")
    return parser.parse_args([] if NOTEBOOK else None)


OPTIONS = _options()
QUICK: bool = OPTIONS.quick


def save(figure: plt.Figure, name: str) -> None:
    """Write the picture as figures/NAME.png; a notebook shows it below the cell instead."""
    if NOTEBOOK:
        return
    directory = OPTIONS.output or (None if QUICK else HERE / "figures")
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        drawn = io.BytesIO()
        figure.savefig(drawn, dpi=100)
        # 128 colours are enough for lines and letters, and a third of the bytes.
        image = Image.open(drawn).convert("RGB").quantize(128, dither=Image.Dither.NONE)
        image.save(directory / f"{name}.png", optimize=True)
    plt.close(figure)


def relative(a: np.ndarray, b: np.ndarray) -> float:
    """How far a is from b: ‖a - b‖ / ‖b‖."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def differences(function, at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """Central differences: [..., j] is the derivative of function(at) by the j-th entry of at."""
    columns = []
    for j in range(at.size):
        nudge = np.zeros(at.size)
        nudge[j] = step
        nudge = nudge.reshape(at.shape)
        columns.append((function(at + nudge) - function(at - nudge)) / (2 * step))
    return np.stack(columns, axis=-1)
