"""The gallery against the papers' equations, written here in PyTorch's functions and differentiated
by its autograd: nothing is shared with the cells but the parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import unrolled as ur
from tolerances import assert_close
from torch_support import torch

UNITS, INPUTS, STEPS, BATCH = 4, 3, 6, 2
sig, tanh, relu = torch.sigmoid, torch.tanh, torch.relu


class Parameters:
    """W x + b, U h + b and a unit's own, by the papers' letters."""

    def __init__(self, cell: Any, leaves: dict[str, Any]) -> None:
        self.leaves = leaves
        self.of_x = [entry["name"] for entry in cell.maps if entry["x"]]
        self.of_h = [entry["name"] for entry in cell.maps if entry["h"] is not None]
        self.own = list(cell.parameters)

    def _affine(self, side: str, at: int, value: Any) -> Any:
        rows = slice(at * UNITS, (at + 1) * UNITS)
        weight, bias = self.leaves[f"weight_{side}_l0"][rows], self.leaves[f"bias_{side}_l0"][rows]
        return torch.nn.functional.linear(value, weight, bias)

    def x(self, name: str, value: Any) -> Any:
        return self._affine("ih", self.of_x.index(name), value)

    def h(self, name: str, value: Any) -> Any:
        return self._affine("hh", self.of_h.index(name), value)

    def xh(self, name: str, x: Any, h: Any) -> Any:
        return self.x(name, x) + self.h(name, h)

    def p(self, name: str) -> Any:
        at = self.own.index(name)
        return self.leaves["weight_p_l0"][at * UNITS : (at + 1) * UNITS]


def norm(*values: Any) -> list[Any]:
    """PyTorch's own layer norm of all of them in a row, without gain and bias."""
    row = torch.cat(values, -1)
    return list(torch.nn.functional.layer_norm(row, row.shape[-1:]).chunk(len(values), -1))


def rnn(q: Parameters, x: Any, h: Any) -> Any:
    return (tanh(q.xh("h", x, h)),)


def lstm(q: Parameters, x: Any, h: Any, c: Any) -> Any:
    c = sig(q.xh("f", x, h)) * c + sig(q.xh("i", x, h)) * tanh(q.xh("g", x, h))
    return sig(q.xh("o", x, h)) * tanh(c), c


def lstm_without_forget_gate(q: Parameters, x: Any, h: Any, c: Any) -> Any:
    c = c + sig(q.xh("i", x, h)) * tanh(q.xh("g", x, h))
    return sig(q.xh("o", x, h)) * tanh(c), c


def gru(q: Parameters, x: Any, h: Any) -> Any:
    r, z = sig(q.xh("r", x, h)), sig(q.xh("z", x, h))
    return ((1 - z) * tanh(q.x("n", x) + r * q.h("n", h)) + z * h,)


def gru_original(q: Parameters, x: Any, h: Any) -> Any:
    r, z = sig(q.xh("r", x, h)), sig(q.xh("z", x, h))
    return ((1 - z) * tanh(q.x("n", x) + q.h("n", r * h)) + z * h,)


def peephole_lstm(q: Parameters, x: Any, h: Any, c: Any) -> Any:
    i, f = sig(q.xh("i", x, h) + q.p("i") * c), sig(q.xh("f", x, h) + q.p("f") * c)
    new = f * c + i * tanh(q.xh("g", x, h))
    return sig(q.xh("o", x, h) + q.p("o") * new) * tanh(new), new


def coupled_lstm(q: Parameters, x: Any, h: Any, c: Any) -> Any:
    f = sig(q.xh("f", x, h))
    c = torch.lerp(tanh(q.xh("g", x, h)), c, f)
    return sig(q.xh("o", x, h)) * tanh(c), c


def layer_norm_lstm(q: Parameters, x: Any, h: Any, c: Any) -> Any:
    i, f, g, o = (norm(q.xh(gate, x, h))[0] for gate in "ifgo")
    c = sig(f) * c + sig(i) * tanh(g)
    return sig(o) * tanh((1 + q.p("scale")) * norm(c)[0] + q.p("shift")), c


def layer_norm_lstm_all(q: Parameters, x: Any, h: Any, c: Any) -> Any:
    of_x, of_h = norm(*(q.x(g, x) for g in "ifgo")), norm(*(q.h(g, h) for g in "ifgo"))
    i, f, g, o = (
        q.p(f"x_{gate}") * a + q.p(f"h_{gate}") * b + q.p(gate)
        for gate, a, b in zip("ifgo", of_x, of_h, strict=True)
    )
    c = sig(f) * c + sig(i) * tanh(g)
    return sig(o) * tanh(q.p("scale") * norm(c)[0] + q.p("shift")), c


def layer_norm_gru(q: Parameters, x: Any, h: Any) -> Any:
    of_x, of_h = norm(q.x("z", x), q.x("r", x)), norm(q.h("z", h), q.h("r", h))
    z, r = (
        sig(q.p(f"x_{gate}") * a + q.p(f"h_{gate}") * b + q.p(gate))
        for gate, a, b in zip("zr", of_x, of_h, strict=True)
    )
    inner = q.p("h_n") * norm(q.h("n", h))[0] + q.p("b")
    new = tanh(q.p("x_n") * norm(q.x("n", x))[0] + q.p("a") + r * inner)
    return (torch.lerp(h, new, z),)


def janet(q: Parameters, x: Any, h: Any) -> Any:
    s = q.xh("f", x, h)
    return (sig(s) * h + (1 - sig(s - 1)) * tanh(q.xh("g", x, h)),)


def mgu(q: Parameters, x: Any, h: Any) -> Any:
    f = sig(q.xh("f", x, h))
    return ((1 - f) * h + f * tanh(q.x("n", x) + q.h("n", f * h)),)


def ugrnn(q: Parameters, x: Any, h: Any) -> Any:
    return (torch.lerp(tanh(q.xh("c", x, h)), h, sig(q.xh("g", x, h))),)


def li_gru(q: Parameters, x: Any, h: Any) -> Any:
    of_z, of_n = norm(q.x("z", x), q.x("n", x))
    z = sig(q.p("z") * of_z + q.h("z", h))
    return (z * h + (1 - z) * relu(q.p("n") * of_n + q.h("n", h)),)


def leaky_rnn(q: Parameters, x: Any, h: Any) -> Any:
    return (torch.lerp(h, tanh(q.xh("h", x, h)), 0.1),)


def adaptive_leaky_rnn(q: Parameters, x: Any, h: Any) -> Any:
    return (torch.lerp(h, tanh(q.xh("h", x, h)), sig(q.p("alpha"))),)


def ind_rnn(q: Parameters, x: Any, h: Any) -> Any:
    return (relu(q.x("h", x) + q.p("u") * h),)


def min_gru(q: Parameters, x: Any, h: Any) -> Any:
    return (torch.lerp(h, q.x("n", x), sig(q.x("z", x))),)


def min_lstm(q: Parameters, x: Any, h: Any) -> Any:
    f, i = sig(q.x("f", x)), sig(q.x("i", x))
    return (f / (f + i) * h + i / (f + i) * q.x("n", x),)


def rg_lru(q: Parameters, x: Any, h: Any) -> Any:
    r, i = sig(q.x("r", x)), sig(q.x("i", x))
    a = sig(q.p("decay")) ** (8 * r)
    return (a * h + torch.sqrt(1 - a**2) * (i * q.x("u", x)),)


def slstm(q: Parameters, x: Any, h: Any, c: Any, n: Any, m: Any) -> Any:
    i, f = torch.exp(q.xh("i", x, h)), sig(q.xh("f", x, h))
    new = torch.maximum(torch.log(f) + m, torch.log(i))
    i, f = torch.exp(torch.log(i) - new), torch.exp(torch.log(f) + m - new)
    c, n = f * c + i * tanh(q.xh("z", x, h)), f * n + i
    return sig(q.xh("o", x, h)) * (c / n), c, n, new


def co_rnn(q: Parameters, x: Any, y: Any, z: Any) -> Any:
    force = tanh(q.xh("y", x, y) + q.h("v", z))
    z = z + 0.042 * (force - 2.7 * y - 4.7 * z)
    return y + 0.042 * z, z


def lem(q: Parameters, x: Any, y: Any, z: Any) -> Any:
    z = torch.lerp(z, tanh(q.xh("z", x, y)), sig(q.xh("a", x, y)))
    return torch.lerp(y, tanh(q.x("y", x) + q.h("y", z)), sig(q.xh("b", x, y))), z


class Heaviside(torch.autograd.Function):
    """A step whose derivative is 1 / (1 + 25 |v|)² (Zenke & Ganguli 2018)."""

    @staticmethod
    def forward(ctx: Any, v: Any) -> Any:
        ctx.save_for_backward(v)
        return (v > 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, d: Any) -> Any:
        (v,) = ctx.saved_tensors
        return d / (1 + 25 * v.abs()) ** 2


def lif(q: Parameters, x: Any, h: Any, v: Any) -> Any:
    v = 0.9 * v + q.xh("i", x, h) - h.detach()
    return Heaviside.apply(v - 1), v


PAPERS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        *(rnn, lstm, lstm_without_forget_gate, gru, gru_original, peephole_lstm, coupled_lstm),
        *(layer_norm_lstm, layer_norm_lstm_all, layer_norm_gru, janet, mgu, ugrnn, li_gru),
        *(leaky_rnn, adaptive_leaky_rnn, ind_rnn, min_gru, min_lstm, rg_lru, slstm, co_rnn, lem),
        lif,
    )
}
GALLERY = [cell for cell in vars(ur.cells).values() if isinstance(cell, ur.cells.Cell)]


def test_every_cell_has_its_paper() -> None:
    assert sorted(PAPERS) == sorted(cell.name for cell in GALLERY)
    assert all(cell.__doc__ for cell in GALLERY)


@pytest.mark.parametrize("cell", GALLERY, ids=lambda cell: cell.name)
def test_the_papers_equations(cell: Any) -> None:
    rng = np.random.default_rng(5)
    net = ur.Recurrent(cell, INPUTS, UNITS, dtype="float64", seed=3)
    values = {n: a + 0.3 * rng.normal(size=a.shape) for n, a in net.state_dict().items()}
    net.load_state_dict(values)
    x = rng.normal(size=(STEPS, BATCH, INPUTS))
    states = tuple(0.5 + rng.random((1, BATCH, UNITS)) for _ in cell.states)
    y, final, tape = net.record(x, states if len(states) > 1 else states[0])
    dy = rng.normal(size=y.shape)
    ended = final if isinstance(final, tuple) else (final,)
    d_ended = tuple(rng.normal(size=s.shape) for s in ended)
    g = tape.backward(dy, d_ended if len(d_ended) > 1 else d_ended[0])

    leaves = {name: torch.tensor(a, requires_grad=True) for name, a in values.items()}
    given = torch.tensor(x, requires_grad=True)
    begun = [torch.tensor(s, requires_grad=True) for s in states]
    q, now, outputs = Parameters(cell, leaves), tuple(s[0] for s in begun), []
    for x_t in given.unbind(0):
        now = PAPERS[cell.name](q, x_t, *now)
        outputs.append(now[0])
    expected = torch.stack(outputs)
    loss = (expected * torch.tensor(dy)).sum()
    for state, d in zip(now, d_ended, strict=True):
        loss = loss + (state * torch.tensor(d[0])).sum()
    loss.backward()

    assert_close(y, expected.detach().numpy(), "reference.output.float64", "y")
    for name, got, right in zip(cell.states, ended, now, strict=True):
        assert_close(got[0], right.detach().numpy(), "reference.output.float64", name)
    d_states = g.state if isinstance(g.state, tuple) else (g.state,)
    pairs = {"x": (g.input, given)}
    pairs |= {f"d {n}": (d, b) for n, d, b in zip(cell.states, d_states, begun, strict=True)}
    pairs |= {name: (g.parameters[name], leaf) for name, leaf in leaves.items()}
    for name, (got, leaf) in pairs.items():
        right = np.zeros(leaf.shape) if leaf.grad is None else leaf.grad.numpy()
        assert_close(got, right, "reference.gradient.float64", name)
