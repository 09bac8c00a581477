"""The plain version: recurrent networks and their exact gradients in NumPy.

This package judges the fast kernels, so it is written to be read and believed rather than to be
quick. It needs NumPy alone. Read it in this order:

1. ``_cells``: one time step of each cell, forward, and beside it the same step backward.
2. ``_sequence``: steps in a row. Back-propagation through time is here, in full and truncated.
   Lengths, resets and the reverse direction are only three masks on the same loop.
3. ``_network``: layers and directions, parameters under PyTorch's names, the tape.
4. ``_flow`` (public as ``reference.flow``): the gradient term by term, from the fast tapes.

The gradient in one paragraph. With ``h_t = step(x_t, h_{t-1})`` and a loss ``L = sum_t L_t(h_t)``,
let ``delta_t`` be the derivative of the *whole* loss with respect to ``h_t``, through every later
step. Then ``delta_t = dL_t/dh_t + J_{t+1}^T delta_{t+1}`` where ``J_t = dh_t/dh_{t-1}``, and each
step adds to the parameter gradients as if it stood alone with ``delta_t`` coming in. Using
``dL_t/dh_t`` in place of ``delta_t`` is a common mistake: it keeps only the terms in which the
loss and the use of the weight fall on the same step, which here is ``truncate=0``.

Example
-------
>>> import numpy as np
>>> from unrolled import reference
>>> net = reference.LSTM(3, 4, seed=0)
>>> x = np.ones((5, 2, 3))
>>> y, (h, c), tape = net.record(x)
>>> g = tape.backward(np.ones_like(y))
>>> y.shape, g.input.shape, g.parameters["weight_hh_l0"].shape
((5, 2, 4), (5, 2, 3), (16, 4))
"""

from . import _flow as flow
from ._modules import GRU, LSTM, RNN
from ._network import Gradients, Tape
from ._recurrent import Recurrent

__all__ = ["GRU", "LSTM", "RNN", "Gradients", "Recurrent", "Tape", "flow"]
