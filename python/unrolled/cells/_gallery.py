"""Cells of the literature as formulas."""

from __future__ import annotations

from typing import Any

from ._functions import (
    exp,
    linear,
    log_sigmoid,
    maximum,
    normalise,
    relu,
    sigmoid,
    spike,
    sqrt,
    stop_gradient,
    tanh,
)
from ._trace import cell


@cell
def rnn(x: Any, h: Any) -> Any:
    """The simple recurrent cell (Elman 1990)."""
    return tanh(x.h + h.h)


@cell
def lstm(x: Any, h: Any, c: Any) -> Any:
    """Long short-term memory with a forget gate (Gers, Schmidhuber & Cummins 2000)."""
    i = sigmoid(x.i + h.i)
    f = sigmoid(x.f + h.f)
    c = f * c + i * tanh(x.g + h.g)
    o = sigmoid(x.o + h.o)
    return o * tanh(c), c


@cell
def lstm_without_forget_gate(x: Any, h: Any, c: Any) -> Any:
    """Long short-term memory as it was first (Hochreiter & Schmidhuber 1997)."""
    c = c + sigmoid(x.i + h.i) * tanh(x.g + h.g)
    return sigmoid(x.o + h.o) * tanh(c), c


@cell
def gru(x: Any, h: Any) -> Any:
    """Gated recurrent unit, reset after the product, as PyTorch has it (Cho et al. 2014)."""
    r = sigmoid(x.r + h.r)
    z = sigmoid(x.z + h.z)
    n = tanh(x.n + r * h.n)
    return (1 - z) * n + z * h


@cell
def gru_original(x: Any, h: Any) -> Any:
    """Gated recurrent unit, reset before the product (Cho et al. 2014)."""
    r = sigmoid(x.r + h.r)
    z = sigmoid(x.z + h.z)
    n = tanh(x.n + linear("n", r * h))
    return (1 - z) * n + z * h


@cell
def peephole_lstm(x: Any, h: Any, c: Any, *, p: Any) -> Any:
    """LSTM whose gates see c (Gers & Schmidhuber 2000, "Recurrent nets that time and count")."""
    i = sigmoid(x.i + h.i + p.i * c)
    f = sigmoid(x.f + h.f + p.f * c)
    c = f * c + i * tanh(x.g + h.g)
    o = sigmoid(x.o + h.o + p.o * c)
    return o * tanh(c), c


@cell
def coupled_lstm(x: Any, h: Any, c: Any) -> Any:
    """LSTM with i = 1 - f (CIFG in Greff et al. 2017, "LSTM: a search space odyssey")."""
    f = sigmoid(x.f + h.f)
    c = f * c + (1 - f) * tanh(x.g + h.g)
    return sigmoid(x.o + h.o) * tanh(c), c


@cell
def layer_norm_lstm(x: Any, h: Any, c: Any, *, p: Any) -> Any:
    """LSTM, each gate normalised, and c (Ba, Kiros & Hinton 2016, "Layer normalization")."""
    i = sigmoid(normalise(x.i + h.i))
    f = sigmoid(normalise(x.f + h.f))
    c = f * c + i * tanh(normalise(x.g + h.g))
    o = sigmoid(normalise(x.o + h.o))
    return o * tanh((1 + p.scale) * normalise(c) + p.shift), c


@cell(p=dict.fromkeys(("x_i", "x_f", "x_g", "x_o", "h_i", "h_f", "h_g", "h_o", "scale"), 1.0))
def layer_norm_lstm_all(x: Any, h: Any, c: Any, *, p: Any) -> Any:
    """LSTM, the maps of x and those of h normalised over all gates together (Ba et al. 2016).

    Their gains are p.x_i … p.h_o and p.scale; their biases are p.i … p.o and p.shift.
    """
    x_i, x_f, x_g, x_o = normalise(x.i, x.f, x.g, x.o)
    h_i, h_f, h_g, h_o = normalise(h.i, h.f, h.g, h.o)
    i = sigmoid(p.x_i * x_i + p.h_i * h_i + p.i)
    f = sigmoid(p.x_f * x_f + p.h_f * h_f + p.f)
    c = f * c + i * tanh(p.x_g * x_g + p.h_g * h_g + p.g)
    o = sigmoid(p.x_o * x_o + p.h_o * h_o + p.o)
    return o * tanh(p.scale * normalise(c) + p.shift), c


@cell(p=dict.fromkeys(("x_r", "x_z", "x_n", "h_r", "h_z", "h_n"), 1.0))
def layer_norm_gru(x: Any, h: Any, *, p: Any) -> Any:
    """GRU, the maps of its gates normalised together and those of n each (Ba et al. 2016).

    As in the paper's supplement, z is the share of the new value.
    """
    x_z, x_r = normalise(x.z, x.r)
    h_z, h_r = normalise(h.z, h.r)
    z = sigmoid(p.x_z * x_z + p.h_z * h_z + p.z)
    r = sigmoid(p.x_r * x_r + p.h_r * h_r + p.r)
    n = tanh(p.x_n * normalise(x.n) + p.a + r * (p.h_n * normalise(h.n) + p.b))
    return (1 - z) * h + z * n


@cell
def janet(x: Any, h: Any, *, beta: float = 1.0) -> Any:
    """A forget gate alone, beta off the input's share (van der Westhuizen & Lasenby 2018)."""
    s = x.f + h.f
    return sigmoid(s) * h + (1 - sigmoid(s - beta)) * tanh(x.g + h.g)


@cell
def mgu(x: Any, h: Any) -> Any:
    """Minimal gated unit (Zhou et al. 2016)."""
    f = sigmoid(x.f + h.f)
    return (1 - f) * h + f * tanh(x.n + linear("n", f * h))


@cell
def ugrnn(x: Any, h: Any) -> Any:
    """Update gate RNN (Collins, Sohl-Dickstein & Sussillo 2017)."""
    g = sigmoid(x.g + h.g)
    return g * h + (1 - g) * tanh(x.c + h.c)


@cell(p={"z": 1.0, "n": 1.0})
def li_gru(x: Any, h: Any, *, p: Any) -> Any:
    """Light GRU: relu, and the maps of x normalised (Ravanelli et al. 2018).

    The paper normalises over the batch; here it is both maps together over the units, as
    SpeechBrain's ``normalization="layernorm"`` has it, with the gains p.z and p.n.
    """
    x_z, x_n = normalise(x.z, x.n)
    z = sigmoid(p.z * x_z + h.z)
    return z * h + (1 - z) * relu(p.n * x_n + h.n)


@cell
def leaky_rnn(x: Any, h: Any, *, alpha: float = 0.1) -> Any:
    """Leaky integrator, a rate network in steps of alpha (Jaeger et al. 2007)."""
    return (1 - alpha) * h + alpha * tanh(x.h + h.h)


@cell(p={"alpha": -2.2})
def adaptive_leaky_rnn(x: Any, h: Any, *, p: Any) -> Any:
    """A leaky integrator whose units learn their rates sigmoid(p.alpha) (Quax et al. 2020)."""
    alpha = sigmoid(p.alpha)
    return (1 - alpha) * h + alpha * tanh(x.h + h.h)


@cell(p={"u": 1.0})
def ind_rnn(x: Any, h: Any, *, p: Any) -> Any:
    """Independently recurrent units (Li et al. 2018)."""
    return relu(x.h + p.u * h)


@cell
def min_gru(x: Any, h: Any) -> Any:
    """minGRU, gates of x alone (Feng et al. 2024, "Were RNNs all we needed?")."""
    z = sigmoid(x.z)
    return (1 - z) * h + z * x.n


@cell
def min_lstm(x: Any, h: Any) -> Any:
    """minLSTM, gates of x alone that sum to 1 (Feng et al. 2024)."""
    f, i = sigmoid(x.f), sigmoid(x.i)
    return (f * h + i * x.n) / (f + i)


@cell(p={"decay": 5.0})
def rg_lru(x: Any, h: Any, *, p: Any) -> Any:
    """Real-gated linear recurrent unit of Griffin (De et al. 2024); its input is a map of x here.

    a is sigmoid(p.decay)**(8 r): at first 0.97 where r is a half.
    """
    a = exp(8 * sigmoid(x.r) * log_sigmoid(p.decay))
    return a * h + sqrt(1 - a * a) * (sigmoid(x.i) * x.u)


@cell
def slstm(x: Any, h: Any, c: Any, n: Any, m: Any) -> Any:
    """sLSTM with exponential input gate and stabiliser m (Beck et al. 2024, "xLSTM").

    n begins at 0, as every state; after one step it is at least exp(i - m) > 0.
    """
    i, f = x.i + h.i, log_sigmoid(x.f + h.f) + m
    m = maximum(i, f)
    i, f = exp(i - m), exp(f - m)
    c = f * c + i * tanh(x.z + h.z)
    n = f * n + i
    return sigmoid(x.o + h.o) * c / n, c, n, m


@cell
def co_rnn(
    x: Any, h: Any, v: Any, *, dt: float = 0.042, gamma: float = 2.7, epsilon: float = 4.7
) -> Any:
    """Coupled oscillators, h their place and v their speed (Rusch & Mishra 2021)."""
    v = v + dt * (tanh(x.y + h.y + linear("v", v)) - gamma * h - epsilon * v)
    return h + dt * v, v


@cell
def lem(x: Any, h: Any, z: Any, *, dt: float = 1.0) -> Any:
    """Long expressive memory, h the paper's y (Rusch et al. 2022)."""
    fast, slow = dt * sigmoid(x.a + h.a), dt * sigmoid(x.b + h.b)
    z = (1 - fast) * z + fast * tanh(x.z + h.z)
    return (1 - slow) * h + slow * tanh(x.y + linear("y", z)), z


@cell
def lif(x: Any, h: Any, v: Any, *, beta: float = 0.9, threshold: float = 1.0) -> Any:
    """Leaky integrate and fire, h the spikes, reset by subtraction (Neftci et al. 2019)."""
    v = beta * v + x.i + h.i - threshold * stop_gradient(h)
    return spike(v - threshold), v
