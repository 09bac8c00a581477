# %% [markdown]
# # 8. Which cells keep gradients, and why
#
# A cell carries its state by some factor and adds something: $s_t = d_t \odot s_{t-1} + \dots$
# The Jacobian of a step is that factor, and what goes through $h$ and the recurrent matrix:
#
# $$J_t = \mathrm{diag}(d_t) + M_t W.$$
#
# Some cells of `ur.cells` have no $W$: the gates of minGRU, minLSTM and RG-LRU see only $x$, and
# IndRNN's $u$ is one number a unit. Their Jacobians are diagonal, the products are products of
# numbers, and theory is exact:
#
# | cell | $d_t$ |
# | --- | --- |
# | minGRU | $1 - z_t$ |
# | minLSTM | $f_t / (f_t + i_t)$ |
# | RG-LRU | $\sigma(\Lambda)^{8 r_t}$ |
# | IndRNN | $u$ where $h_t > 0$, else $0$ |

# %%
import course
import matplotlib.pyplot as plt
import numpy as np
import unrolled as ur

INPUTS, H, LAG = 32, 32, 100
x = np.random.default_rng(0).standard_normal((LAG + 1, 1, INPUTS))


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def maps(net: ur.Recurrent) -> dict[str, np.ndarray]:
    """The maps of x by name, [t, unit]."""
    weights = net.state_dict()
    whole = x[:, 0] @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]
    names = [entry["name"] for entry in net.cell.maps if entry["x"]]
    return dict(zip(names, np.split(whole, len(names), axis=1), strict=True))


factors = {
    "min_gru": lambda m, p, h: 1 - sigmoid(m["z"]),
    "min_lstm": lambda m, p, h: sigmoid(m["f"]) / (sigmoid(m["f"]) + sigmoid(m["i"])),
    "rg_lru": lambda m, p, h: sigmoid(p) ** (8 * sigmoid(m["r"])),
    "ind_rnn": lambda m, p, h: p * (h > 0),
}
diagonal = {}
print("           d of a step, mean   Π d over 100 steps, largest   ∂s_t/∂s_k is diag(Π d)")
for name, factor in factors.items():
    net = ur.Recurrent(getattr(ur.cells, name), INPUTS, H, dtype="float64", seed=0)
    y, _, tape = net.record(x)
    d = factor(maps(net), net.state_dict().get("weight_p_l0"), y[:, 0])
    # [lag]: the product of the last factors, and what the kernels carry back.
    theory = np.vstack([np.ones(H), np.cumprod(d[:0:-1], axis=0)])
    measured = np.stack([ur.flow.transition(tape, LAG, LAG - lag)[0] for lag in range(LAG + 1)])
    diagonal[name] = theory.max(axis=1), np.abs(measured).max(axis=(1, 2))
    error = max(course.relative(m, np.diag(t)) for m, t in zip(measured, theory, strict=True)
                if t.any())  # fmt: skip
    print(f"{name:10s} {d.mean():17.3f}   {theory[-1].max():27.1e}   to 1e-12: {error < 1e-12}")

# %% [markdown]
# The others have a $W$, and what theory says of them is a rate per step. Four of them, each
# knowing more:
#
# * the **direct** factor $d$ alone, by hand: gates without a bias begin at $\sigma(0) = 1/2$, a
#   leak leaves $1 - \alpha$, and a tanh layer carries nothing but through $W$;
# * **at rest**: the spectral radius of the Jacobian without input, $W$ included. Where it is
#   $d + (1-d)W$, as for a leak, its eigenvalues are $d + (1-d)\lambda_i(W)$;
# * **driven**: $e^{\lambda_1}$, $\lambda_1$ the Lyapunov exponent with input, whose slopes are
#   below those at rest;
# * coRNN is an oscillator of two states: without $W$ a step is the matrix below, and the rate is
#   the largest modulus of its eigenvalues.
#
# **Measured** is how fast the gradient of `weight_ih` falls from lag 50 to lag 100, with one loss
# at the last step.

# %%
dt, gamma, epsilon = (ur.cells.co_rnn.constants[name] for name in ("dt", "gamma", "epsilon"))


def oscillator(epsilon: float) -> np.ndarray:
    """A step of v' = v + dt (force - gamma h - epsilon v), h' = h + dt v', for (h, v)."""
    of_v = [-dt * gamma, 1 - dt * epsilon]
    return np.array([[1 + dt * of_v[0], dt * of_v[1]], of_v])


def radius(matrix: np.ndarray) -> float:
    """The largest modulus of an eigenvalue."""
    return float(np.abs(np.linalg.eigvals(matrix)).max())


direct = {
    "lstm_without_forget_gate": 1.0,
    "co_rnn": radius(oscillator(epsilon)),
    "ind_rnn": 1.0,
    "rg_lru": float(sigmoid(np.array(5.0)) ** 4),
    "leaky_rnn": 0.9,
    "janet": 0.5,
    "ugrnn": 0.5,
    "lem": 0.5,
    "slstm": 0.5,
    "gru": 0.5,
    "lstm": 0.5,
    "mgu": 0.5,
    "coupled_lstm": 0.5,
    "min_gru": 0.5,
    "rnn": 0.0,
}
reach = ur.flow.reach(lag=LAG)
drive = np.random.default_rng(1).standard_normal((600, 1, INPUTS))
rates = {}
for n, name in enumerate(reach.names):
    net = ur.Recurrent(getattr(ur.cells, name), INPUTS, H, dtype="float64", seed=0)
    _, _, tape = net.record(np.zeros((50, 1, INPUTS)))
    at_rest = radius(ur.flow.step_jacobians(tape)[-1, 0])
    driven = np.exp(ur.flow.lyapunov_exponents(net, drive, 1, discard=50)[0, 0])
    measured = (reach.by_lag[n, LAG] / reach.by_lag[n, LAG // 2]) ** (2 / LAG)
    rates[name] = at_rest, driven, measured

print("rate per step              direct  at rest   driven   measured   lag 100")
for name, d in direct.items():
    at_rest, driven, measured = rates[name]
    share = reach.by_lag[reach.names.index(name), LAG]
    print(f"{name:26s} {d:6.3f} {at_rest:8.3f} {driven:8.3f} {measured:10.3f}   {share:.1e}")
apart = {name: abs(driven - measured) for name, (_, driven, measured) in rates.items()}
close = max(apart.values()) < 0.05
print(f"all {len(apart)} cells, driven and measured apart by less than 0.05: {close}")

# %% [markdown]
# Small differences of a rate are large ones of a gradient: $0.63^{100}$ is $10^{-20}$ and
# $0.97^{100}$ is $0.05$. What is kept is kept by the direct factor. $W$ adds to it, from 0.5 to
# 0.63 for the LSTM, but as it begins it does not carry a gradient over 100 steps by itself.
#
# So the rate of a cell is a number that one can set. By theory $d^{100}$ is left at lag 100. For
# coRNN it is how $h$ answers, 100 steps later, to a push of $v$, over the answer at once, which is
# small: a push of the speed moves the place only with time.
#
# With forget bias 0 the LSTM keeps less than above, and so does minGRU: above the biases are drawn,
# and the units that happen to forget least carry what arrives; here all units have the same.

# %%
settings, answers = {}, {}
for bias in (0.0, 3.0, 5.0):
    d = float(sigmoid(np.array(bias)))
    settings[f"lstm, forget bias {bias:g}"] = ur.cells.lstm.with_first_values(x={"f": bias}), d
for alpha in (0.1, 0.01):
    settings[f"leaky_rnn, alpha {alpha:g}"] = (
        ur.cells.leaky_rnn.with_constants(alpha=alpha),
        (1 - alpha),
    )
for small in (1.0, 0.02):
    settings[f"lem, dt {small:g}"] = ur.cells.lem.with_constants(dt=small), 1 - small / 2
for bias in (0.0, -5.0):
    d = float(sigmoid(np.array(-bias)))
    settings[f"min_gru, bias of z {bias:g}"] = ur.cells.min_gru.with_first_values(x={"z": bias}), d
for u in (0.95, 1.0, 1.02):
    settings[f"ind_rnn, u {u:g}"] = ur.cells.ind_rnn.with_first_values(p={"u": u}), u
for friction in (4.7, 1.0):
    step = oscillator(friction)
    settings[f"co_rnn, epsilon {friction:g}"] = (
        ur.cells.co_rnn.with_constants(epsilon=friction),
        radius(step),
    )
    answer = np.linalg.matrix_power(step, LAG) @ [dt * dt, dt]
    answers[f"co_rnn, epsilon {friction:g}"] = abs(answer[0]) / dt**2
found = ur.flow.reach({name: cell for name, (cell, _) in settings.items()}, LAG)
left = {}
print("                                d  predicted   measured")
for name, (_, d), lags in zip(settings, settings.values(), found.by_lag, strict=True):
    left[name] = answers.get(name, d**LAG), lags[LAG]
    print(f"{name:26s} {d:8.4f} {left[name][0]:10.1e} {left[name][1]:10.1e}")

# %%
figure, axes = plt.subplots(2, 2, figsize=(10.5, 7.2), layout="constrained")
shown = {"lstm_without_forget_gate": course.GREY, "co_rnn": course.GREEN, "rg_lru": course.PURPLE,
         "leaky_rnn": course.SKY, "lstm": course.BLUE, "rnn": course.ORANGE}  # fmt: skip
for name, colour in shown.items():
    axes[0, 0].semilogy(reach.by_lag[reach.names.index(name)], color=colour, label=name)
    # The direct factor, from where the measured line is at lag 20.
    begin = reach.by_lag[reach.names.index(name), 20]
    line = begin * direct[name] ** np.arange(81.0)
    if direct[name]:
        axes[0, 0].semilogy(np.arange(20, 101), line, color=colour, ls=":", lw=1)
axes[0, 0].set(title="Gradient by lag, and the direct factor (dotted)", xlabel="lag",
               ylim=(1e-34, 1e4))  # fmt: skip
axes[0, 0].legend(fontsize=7.5, loc="lower left")
for name, colour in zip(diagonal, (course.BLUE, course.SKY, course.PURPLE, course.ORANGE),
                        strict=True):  # fmt: skip
    theory, measured = diagonal[name]
    axes[0, 1].semilogy(theory, color=colour, lw=1, label=name)
    axes[0, 1].semilogy(np.arange(0, 101, 10), measured[::10], "o", color=colour, ms=4)
axes[0, 1].set(title="No W: Π d (lines) and measured (dots)", xlabel="lag", ylim=(1e-34, 1e4))
axes[0, 1].legend(fontsize=7.5, loc="lower left")
axes[1, 0].plot([0.4, 1.1], [0.4, 1.1], color=course.GREY, lw=0.8)
at_rest, driven, measured = np.array(list(rates.values())).T
axes[1, 0].plot(at_rest, measured, "x", color=course.ORANGE, ms=5, label="at rest, ρ(J)")
axes[1, 0].plot(driven, measured, "o", color=course.BLUE, ms=4, label="driven, exp(λ₁)")
axes[1, 0].set(title="Rates per step of all cells", xlabel="predicted", ylabel="measured")
axes[1, 0].legend()
axes[1, 1].loglog([1e-32, 1e2], [1e-32, 1e2], color=course.GREY, lw=0.8)
for kind, colour, mark in (
    ("lstm", course.BLUE, "o"),
    ("leaky_rnn", course.SKY, "s"),
    ("lem", course.PURPLE, "^"),
    ("min_gru", course.GREEN, "v"),
    ("ind_rnn", course.ORANGE, "D"),
    ("co_rnn", course.GREY, "P"),
):
    points = [both for name, both in left.items() if name.startswith(kind)]
    axes[1, 1].loglog(*np.array(points).T, mark, color=colour, ms=5, label=kind)
axes[1, 1].set(title="One number sets what is left at lag 100", xlabel="predicted",
               ylabel="measured")  # fmt: skip
axes[1, 1].legend(fontsize=7.5)
course.save(figure, "08_which_cells_keep")
