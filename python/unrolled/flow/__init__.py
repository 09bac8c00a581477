"""How gradients flow through time: what vanishes, what explodes, and on which path.

docs/gradient_flow.md says what is computed and why. The plain version of it is
``unrolled.reference.flow``.

Example
-------
>>> import numpy as np
>>> import unrolled as ur
>>> net = ur.RNN(3, 8, dtype="float64", seed=0)
>>> y, _, tape = net.record(np.ones((20, 4, 3)))
>>> dy = np.zeros_like(y)
>>> dy[-1] = 1.0
>>> by_lag = ur.flow.gradient_by_lag(tape, dy).by_lag
>>> bool(by_lag[10] < by_lag[0])
True
"""

from ..reference._flow import layer_jacobian
from ._cell_path import CellPath, cell_path
from ._classify import Classification, classify
from ._gates import GateSaturation, gate_saturation
from ._kernels import (
    LagGradients,
    gradient_by_lag,
    jvp,
    lyapunov_exponents,
    step_jacobians,
    transition,
    vjp,
)
from ._monitor import Monitor
from ._monitor_sample import Sample
from ._plots import (
    plot_bounds,
    plot_by_lag,
    plot_cell_path,
    plot_gates,
    plot_lyapunov,
    plot_power_curve,
    plot_singular_values,
    plot_triangle,
)
from ._reach import Reach, plot_reach, reach
from ._report import report
from ._spectra import Bounds, bounds, singular_values_by_lag
from ._theory import PowerCurve, matrix_power_curve

__all__ = [
    "Bounds",
    "CellPath",
    "Classification",
    "GateSaturation",
    "LagGradients",
    "Monitor",
    "PowerCurve",
    "Reach",
    "Sample",
    "bounds",
    "cell_path",
    "classify",
    "gate_saturation",
    "gradient_by_lag",
    "jvp",
    "layer_jacobian",
    "lyapunov_exponents",
    "matrix_power_curve",
    "plot_bounds",
    "plot_by_lag",
    "plot_cell_path",
    "plot_gates",
    "plot_lyapunov",
    "plot_power_curve",
    "plot_reach",
    "plot_singular_values",
    "plot_triangle",
    "reach",
    "report",
    "singular_values_by_lag",
    "step_jacobians",
    "transition",
    "vjp",
]
