"""One of four symbols, then a hundred steps of noise: which was it? A cell of 2024 beside the LSTM.

python examples/remember.py

The cell is the real-gated linear recurrent unit of Griffin (De et al. 2024, arXiv:2402.19427), here
as a formula (`ur.cells.rg_lru` is the same); its input is a map of x. At first it keeps 0.97 of its
state at each step, the LSTM about a half.
"""

import numpy as np
import unrolled as ur
from unrolled.cells import exp, log_sigmoid, sigmoid, sqrt

SYMBOLS, STEPS, ROWS, UNITS = 4, 100, 64, 32


@ur.cell(p={"decay": 5.0})
def rg_lru(x, h, *, p):
    a = exp(8 * sigmoid(x.r) * log_sigmoid(p.decay))
    return a * h + sqrt(1 - a * a) * (sigmoid(x.i) * x.u)


def batch(rng):
    """x (T, B, symbols + 1): the symbol at step 0, noise in the last column; and the symbols."""
    symbols = rng.integers(SYMBOLS, size=ROWS)
    x = np.zeros((STEPS + 1, ROWS, SYMBOLS + 1), np.float32)
    x[0, np.arange(ROWS), symbols] = 1
    x[1:, :, SYMBOLS] = rng.normal(size=(STEPS, ROWS))
    return x, symbols


def trained(net, updates=300):
    """The share of symbols that are told right after so many updates."""
    head = ur.Dense(UNITS, SYMBOLS, seed=1)
    optimiser = ur.optim.Adam([net, head], lr=1e-2)
    rng = np.random.default_rng(0)
    for _ in range(updates):
        x, symbols = batch(rng)
        y, _, tape = net.record(x)
        _, d_logits = ur.losses.cross_entropy(head(y[-1]), symbols)
        g_head = head.backward(y[-1], d_logits)
        dy = np.zeros_like(y)
        dy[-1] = g_head.input
        g_net = tape.backward(dy)
        ur.clip_grad_norm([g_net, g_head], 1.0)
        optimiser.step([g_net, g_head])
    x, symbols = batch(rng)
    return np.mean(head(net(x)[0][-1]).argmax(axis=-1) == symbols)


assert ur.cells.check(rg_lru)
print(ur.flow.reach([rg_lru, ur.cells.lstm], STEPS))
nets = {
    "RG-LRU": ur.Recurrent(rg_lru, SYMBOLS + 1, UNITS, seed=0),
    "LSTM": ur.LSTM(SYMBOLS + 1, UNITS, seed=0),
    "LSTM, forget_bias=5": ur.LSTM(SYMBOLS + 1, UNITS, forget_bias=5.0, seed=0),
}
for name, net in nets.items():
    print(f"{name:<20} {net.num_parameters:>6} parameters: {trained(net):.0%} right")
