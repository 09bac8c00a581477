# %% [markdown]
# # 4. Why gradients vanish or explode
#
# With the activation, $\partial h_t/\partial h_k = J_t J_{t-1} \cdots J_{k+1}$ is a product of
# *different* matrices, not a power of one. Eigenvalues of $W$ do not bound it; singular values
# do:
#
# $$\Bigl\|\frac{\partial h_t}{\partial h_k}\Bigr\|_2
#   \;\le\; \prod_i \|J_i\|_2
#   \;\le\; \prod_i \|\mathrm{diag}(\sigma'(s_i))\|_2\, \|W\|_2
#   \;\le\; (\gamma \|W\|_2)^{t-k}$$
#
# with $\gamma = 1/4$ for the logistic function and $1$ for tanh. So $\gamma\|W\|_2 < 1$ is
# *sufficient* to vanish, and $\gamma\|W\|_2 > 1$ is *necessary* to explode – necessary, not
# sufficient.
#
# The rate itself is the largest Lyapunov exponent $\lambda_1$ of the driven net: over many steps
# $\|\partial h_t/\partial h_k\|$ goes like $e^{\lambda_1 (t-k)}$.

# %%
import course
import matplotlib.pyplot as plt
import numpy as np
import unrolled as ur

H, T, BURN_IN, LAGS = 32, 600, 100, 80
rng = np.random.default_rng(0)
G = rng.standard_normal((H, H))
G /= np.linalg.norm(G, 2)  # ‖G‖₂ = 1
x = rng.standard_normal((T, 1))


def rnn(kind: str, norm: float, loud: float) -> ur.RNN:
    """An RNN with ‖W‖₂ = norm whose input arrives `loud` times as large.

    The logistic function is centred at 1/2, not 0. The bias -W/2 takes that half away again:
    W h + b = W (h - 1/2). Without it the pre-activations drift off and every unit saturates.
    """
    net = ur.RNN(1, H, nonlinearity=kind, dtype="float64", seed=0)
    weights = net.state_dict()
    weights["weight_hh_l0"] = norm * G
    weights["weight_ih_l0"] = loud * np.random.default_rng(1).standard_normal((H, 1))
    weights["bias_ih_l0"][:] = -norm * G.sum(axis=1) / 2 if kind == "sigmoid" else 0
    weights["bias_hh_l0"][:] = 0
    net.load_state_dict(weights)
    return net


# %% [markdown]
# Five nets with the same $W$ but for its size.

# %%
cases = {
    "logistic, ‖W‖ = 3": ("sigmoid", 3.0, 0.1),
    "logistic, ‖W‖ = 24": ("sigmoid", 24.0, 0.1),
    "tanh, ‖W‖ = 0.9": ("tanh", 0.9, 0.1),
    "tanh, ‖W‖ = 6": ("tanh", 6.0, 0.1),
    "tanh, ‖W‖ = 6, loud input": ("tanh", 6.0, 30.0),
}
results = {}
print("                           γ‖W‖   λ₁ per step   ‖∂h_t/∂h_k‖ after 40   bound (γ‖W‖)^40")
for name, arguments in cases.items():
    net = rnn(*arguments)
    _, _, tape = net.record(x)
    exponents, running = ur.flow.lyapunov_exponents(net, x, 4, discard=BURN_IN, history=True)
    limits = ur.flow.bounds(tape, t=119, max_lag=LAGS)
    results[name] = limits, running[:, 0], exponents[0]
    assert np.all(limits.measured <= limits.jacobians * (1 + 1e-9))
    assert np.all(limits.jacobians <= limits.per_step * (1 + 1e-9))
    assert np.all(limits.per_step <= limits.uniform * (1 + 1e-9))
    print(
        f"{name:26s} {limits.uniform[1]:5.2f}  {exponents[0]:+11.2f}   "
        f"{limits.measured[40]:20.1e}   {limits.uniform[40]:15.1e}"
    )
print("measured ≤ Π‖J‖ ≤ Π‖diag σ'‖‖W‖ ≤ (γ‖W‖)^lag at every lag of every net: True")

# %% [markdown]
# Read the table twice. The first and third net have $\gamma\|W\| < 1$: they vanish, as they must.
# The other three have the *same* kind of bound, far above 1 – and one of them vanishes: its loud
# input drives the units into saturation, $\sigma'$ becomes small, and the bound knows nothing of
# that. Nor is the logistic function condemned to vanish: with $\|W\| = 24$ it explodes.
#
# A golden case: without input and with h = 0, tanh is linear ($\sigma' = 1$), every $J_t$ is $W$,
# and the exponents are the logarithms of $W$'s eigenvalues.

# %%
net = rnn("tanh", 0.9, 0.0)
exponents = ur.flow.lyapunov_exponents(net, np.zeros((2000, 1)), 4)
logarithms = np.sort(np.log(np.abs(np.linalg.eigvals(0.9 * G))))[::-1][:4]
print("exponents     ", exponents)
print("log |eig(W)|  ", logarithms)
print(f"apart by less than 0.01: {np.abs(exponents - logarithms).max() < 0.01}")

# %%
figure, axes = plt.subplots(2, 3, figsize=(10.5, 5.2), layout="constrained")
lags = np.arange(LAGS + 1)
for ax, (name, (limits, _, exponent)) in zip(axes.flat, results.items(), strict=False):
    ax.semilogy(lags, limits.uniform, color=course.GREY, ls=":", label="(γ‖W‖)^lag")
    ax.semilogy(lags, limits.per_step, color=course.GREEN, ls="--", label="Π ‖diag σ'‖ ‖W‖")
    ax.semilogy(lags, limits.jacobians, color=course.ORANGE, label="Π ‖J‖")
    ax.semilogy(lags, limits.measured, color=course.BLUE, lw=2, label="measured")
    ax.semilogy(lags, np.exp(exponent * lags), color="black", lw=0.8, label="exp(λ₁ lag)")
    ax.set(title=name, ylim=(1e-16, 1e16), xlabel="lag t − k")
for ax in axes[:, 0]:
    ax.set_ylabel(r"$\|\partial h_t / \partial h_k\|_2$")
axes[0, 0].legend(fontsize=7.5, loc="upper right")
last = axes[1, 2]
colours = (course.GREY, course.ORANGE, course.BLUE, course.PURPLE, course.GREEN)
for (name, (_, running, _)), colour in zip(results.items(), colours, strict=True):
    last.plot(np.arange(1, len(running) + 1), running, color=colour, label=name)
last.axhline(0, color="black", lw=0.8)
last.set(title="λ₁, running estimate", xlabel="steps", ylim=(-1.6, 1.9))
last.legend(fontsize=7.5, loc="upper right")
course.save(figure, "04_vanish_and_explode")
