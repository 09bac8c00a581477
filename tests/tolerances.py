"""The one table of permitted errors, and the measure they refer to.

An error is the largest absolute difference divided by the largest absolute value expected in
the same array. A bound per entry would punish the entries that are small because large terms
cancelled in them, and those say nothing about the code.
"""

from __future__ import annotations

import numpy as np

TOLERANCES: dict[str, float] = {
    # Both sides round at 1.1e-16, in different orders, over chains of at most nine steps and two
    # layers: errors of some 1e-15 are rounding, and three more digits leave room for that.
    "golden.output.float64": 1e-12,
    "golden.gradient.float64": 1e-12,
    # Judged against float64 numbers, so this is the whole rounding error of float32 (6e-8 per
    # operation). PyTorch's own float32 run is written in every case; its worst is 2.9e-7.
    "golden.output.float32": 1e-6,
    # A gradient is a sum over steps and rows of terms that carry the forward error as well and
    # may cancel. PyTorch's worst in float32 is 4.1e-7 here; the rest is room for another order
    # of summation and for activations that are not correctly rounded.
    "golden.gradient.float32": 1e-5,
    # As the golden ones, against the NumPy reference in float64: the same roundings, over chains
    # of at most some twenty steps and two layers.
    "reference.output.float64": 1e-12,
    "reference.gradient.float64": 1e-12,
    "reference.output.float32": 1e-6,
    "reference.gradient.float32": 1e-5,
    # ONNX nodes, against ONNX Runtime in float32 and the plain loop in float64: rounding, over five
    # steps, through functions that may amplify it.
    "onnx.output.float64": 1e-12,
    "onnx.output.float32": 1e-6,
    # ONNX Runtime's float32 is not the judge but a second defendant: its RNN's tanh alone is off by
    # 1.2e-6 where the kernels keep the line above.
    "onnx.peer.float32": 2e-6,
    # Central differences in float64 with a step of 1e-5: its square times a third derivative of
    # order 1, and 1e-16 over the step.
    "finite differences": 1e-8,
    # Losses and optimisers against the same formula in NumPy: a few roundings each, the logarithm
    # and exponential of another library. Parameters after ten steps of float32 carry ten roundings.
    "formula.float64": 1e-13,
    "formula.float32": 2e-6,
}


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """max |actual - expected| / max |expected|; infinite where zeros were expected and did not
    come, NaN where a NaN came."""
    if expected.size == 0:
        return 0.0
    difference = float(np.max(np.abs(np.asarray(actual, np.float64) - expected)))
    if difference == 0.0:
        return 0.0
    largest = float(np.max(np.abs(expected)))
    return difference / largest if largest > 0.0 else difference * float("inf")


def assert_close(actual: np.ndarray, expected: np.ndarray, entry: str, name: str) -> None:
    """Hold `actual` against `expected` at the table's `entry`; `name` is for the message."""
    assert actual.shape == expected.shape, f"{name}: {actual.shape}, expected {expected.shape}"
    error = relative_error(actual, expected)
    # Not `error > limit`: that would let NaN pass.
    assert error <= TOLERANCES[entry], f"{name}: error {error:.3g}, {entry} {TOLERANCES[entry]:g}"
