"""The LSTM's path along c alone, beside everything else that leads from c to c."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from .._arguments import Array
from .._modules import LSTM
from .._tape import Tape
from ._chain import Chain


@dataclass(frozen=True, eq=False)
class CellPath:
    """∂c_t/∂c_{t-lag} of an LSTM, by lag, on the direct path and in full; float64.

    Attributes
    ----------
    direct : array (L + 1, B, H)
        The diagonal of the path along c alone: f_t ⊙ … ⊙ f_{t-lag+1}. Exactly 1 without forget
        gate.
    full : array (L + 1, B, H, H)
        ∂c_t/∂c_{t-lag}: the direct path, and all that lead through h and the gates.
    ratio : array (L + 1, B, H)
        diag(full) / direct: 1 where the other paths add nothing. NaN where direct is 0.
    memory : array (B, H)
        The least lag at which the direct path is below 1/e; inf where it is at none measured.
    """

    direct: Array
    full: Array
    ratio: Array
    memory: Array


def cell_path(
    tape: Tape[Any],
    t: int | None = None,
    max_lag: int | None = None,
    layer: int = 0,
    reverse: bool = False,
) -> CellPath:
    """How an LSTM's cell hands gradients back (Hochreiter & Schmidhuber 1997; Gers et al. 2000).

    Along c alone ∂c_t/∂c_{t-1} = diag(f_t). A forget gate near 1 keeps far gradients; one near 0 is
    the model cutting that path, which is not a fault. The full derivative has the paths through h
    and the gates besides.

    Parameters
    ----------
    tape : Tape
        Of an LSTM.
    others
        As for `singular_values_by_lag`.

    Returns
    -------
    CellPath
        Its arrays without B if there is no batch. Zero where a reset lies between or the row has no
        such time.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, the tape is no longer valid, or it is of another cell.

    Example
    -------
    >>> import numpy as np
    >>> import unrolled as ur
    >>> net = ur.LSTM(3, 4, forget_gate=False, dtype="float64", seed=0)
    >>> _, _, tape = net.record(np.ones((6, 3)))
    >>> path = ur.flow.cell_path(tape)
    >>> path.direct[5], path.memory
    (array([1., 1., 1., 1.]), array([inf, inf, inf, inf]))
    """
    if isinstance(tape, Tape) and not isinstance(tape._net, LSTM):
        name = type(tape._net).__name__
        raise ValueError(
            f"tape: expected the tape of an LSTM, got that of a {name}; step_jacobians is for all"
        )
    chain = Chain(tape, t, max_lag, layer, reverse)
    size = tape._net.hidden_size
    full = np.stack([product[:, -size:, -size:] for product in chain.products()])

    gates = tape.gates[chain.index] if isinstance(tape.gates, tuple) else tape.gates
    gates = chain.inside(gates)
    kept = gates[..., 1, :] if tape._net.forget_gate else np.ones_like(gates[..., 0, :])
    factors = np.where(chain.connected()[..., None], chain.along(kept), 0.0)
    there = chain.reaches()
    first = np.repeat(there[:1, :, None], size, axis=-1).astype(np.float64)
    direct = np.cumprod(np.concatenate([first, factors]), axis=0)

    diagonal = np.diagonal(full, axis1=-2, axis2=-1)
    nowhere = np.full_like(direct, np.nan)
    ratio = np.divide(diagonal, direct, out=nowhere, where=direct != 0)
    # Where a row begins the path has not faded: there is nothing further back to ask about.
    faded = (direct < 1 / math.e) & there[..., None]
    memory = np.where(faded.any(axis=0), faded.argmax(axis=0), np.inf)
    return CellPath(
        chain.outside(direct), chain.outside(full), chain.outside(ratio), chain.outside(memory, 0)
    )
