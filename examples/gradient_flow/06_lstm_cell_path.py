# %% [markdown]
# # 6. The LSTM's direct path, and the rest
#
# $c_t = f_t \odot c_{t-1} + i_t \odot g_t$, $\;h_t = o_t \odot \tanh(c_t)$. Along $c$ alone one
# step has the Jacobian $\mathrm{diag}(f_t)$, so the **direct path** from $k$ to $t$ is
# $f_t \odot \cdots \odot f_{k+1}$. The **full** Jacobian $\partial c_t/\partial c_k$ has more:
# $c_k$ also acts through $h_k$ on all gates, and these paths behave like an RNN's.
#
# Four cells with the same weights otherwise: the cell of 1997, which has no forget gate
# ($f \equiv 1$), and forget gates whose bias starts at 0, 1 and 3.

# %%
import course
import matplotlib.pyplot as plt
import numpy as np
import unrolled as ur

H, T, B, LAGS = 32, 120, 4, 80
x = np.random.default_rng(0).standard_normal((T, B, 3))
cells = {
    "f ≡ 1 (1997)": ur.LSTM(3, H, forget_gate=False, dtype="float64", seed=0),
    "forget bias 0": ur.LSTM(3, H, dtype="float64", seed=0),
    "forget bias 1": ur.LSTM(3, H, forget_bias=1.0, dtype="float64", seed=0),
    "forget bias 3": ur.LSTM(3, H, forget_bias=3.0, dtype="float64", seed=0),
}

# %%
paths = {}
print("                  direct path, mean over units, after        remembers   ‖full‖₂ after")
print("                        1        10        40                (steps)         40")
for name, net in cells.items():
    _, _, tape = net.record(x)
    path = ur.flow.cell_path(tape, max_lag=LAGS)
    paths[name] = path
    direct = path.direct.mean(axis=(1, 2))
    full = np.linalg.norm(path.full, ord=2, axis=(-2, -1)).mean(axis=1)
    print(
        f"{name:14s} {direct[1]:12.3f} {direct[10]:9.1e} {direct[40]:9.1e} "
        f"{np.median(path.memory):18.0f} {full[40]:16.1e}"
    )

# %% [markdown]
# "Remembers" is the lag at which the direct path falls below $1/e$, the median over units. A
# constant gate $f = \sigma(b)$ would give $-1/\ln \sigma(b)$ steps: 1.4, 3.2 and 20.6 for
# $b = 0, 1, 3$.
#
# Where $f \equiv 1$ the direct path is exactly 1. The full Jacobian is not the identity, though:
# what goes through $h$ and the gates is added to it. And with forget bias 1 most of what still
# arrives after 40 steps has *not* come along the direct path.

# %%
for bias in (0, 1, 3):
    print(f"sigma({bias}) = {1 / (1 + np.exp(-bias)):.3f}: {1 / np.log1p(np.exp(-bias)):.1f} steps")
constant = paths["f ≡ 1 (1997)"]
print(f"f = 1: direct path exactly 1 at every lag: {np.all(constant.direct == 1)}")
ratio = constant.ratio
print(f"f = 1: full / direct at lag 40 from {ratio[40].min():.2f} to {ratio[40].max():.2f}")
one = paths["forget bias 1"]
# Of both the 2-norm: of a diagonal matrix that is its largest element.
direct = one.direct[40].max(axis=-1).mean()
full = np.linalg.norm(one.full[40], ord=2, axis=(-2, -1)).mean()
print(f"forget bias 1, lag 40: the full Jacobian is {full / direct:.0f} times the direct path")

# %% [markdown]
# A gate near 0 is not a fault. It is how the net cuts the path on purpose. Below, the second
# input is a sign "forget now", which by weights set by hand shuts the forget gate for one step.

# %%
net = ur.LSTM(2, 8, forget_bias=5.0, dtype="float64", seed=0)
weights = net.state_dict()
weights["weight_ih_l0"][8:16, 1] = -20.0  # the forget gate's rows, the second input
net.load_state_dict(weights)
signal = np.random.default_rng(1).standard_normal((60, 2))
signal[:, 1] = 0
signal[40, 1] = 1
_, _, tape = net.record(signal)
cut = ur.flow.cell_path(tape)
direct = cut.direct.mean(axis=-1)  # [lag]: from step 59 back to step 59 - lag
print(f"forget sign at step 40: direct path from 59 to 40 {direct[19]:.2f}, to 39 {direct[20]:.1e}")

# %%
figure, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained")
lags = np.arange(LAGS + 1)
colours = (course.GREY, course.PURPLE, course.ORANGE, course.BLUE)
for (name, path), colour in zip(paths.items(), colours, strict=True):
    axes[0].semilogy(lags, path.direct.mean(axis=(1, 2)), color=colour, label=name)
    full = np.linalg.norm(path.full, ord=2, axis=(-2, -1)).mean(axis=1)
    axes[1].semilogy(lags, full, color=colour)
    ratio = np.median(np.abs(path.ratio), axis=(1, 2))
    axes[2].semilogy(lags, ratio, color=colour)
axes[0].set(title="Direct path Π f", xlabel="lag", ylim=(1e-20, 1e2))
axes[1].set(title=r"Full $\|\partial c_t / \partial c_k\|_2$", xlabel="lag", ylim=(1e-20, 1e2))
axes[2].set(title="|Full / direct|, median of the diagonal", xlabel="lag")
axes[0].legend(fontsize=8, loc="lower left")
axes[3].semilogy(59 - np.arange(60), direct, color=course.BLUE)
axes[3].axvline(40, color=course.GREY, ls="--", lw=1)
axes[3].text(39, 0.3, "forget\nnow", ha="right", va="center")
axes[3].set(title="A path cut on purpose", xlabel="k (t = 59)", ylabel="Π f")
course.save(figure, "06_lstm_cell_path")
