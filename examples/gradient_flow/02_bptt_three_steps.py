# %% [markdown]
# # 2. Back-propagation through time, three steps, term by term
#
# $h_t = \tanh(W h_{t-1} + U x_t + b)$ with a loss at every step, $L = L_1 + L_2 + L_3$. The same
# $W$ is used three times. The chain rule gives one term for each pair (loss at $t$, use at
# $k \le t$):
#
# $$\frac{\partial L}{\partial W} = \sum_t \sum_{k \le t}
#   \frac{\partial L_t}{\partial h_t}\,\frac{\partial h_t}{\partial h_k}\,
#   \frac{\partial^+ h_k}{\partial W}$$
#
# where $\partial^+$ holds $h_{k-1}$ fixed: the use at $k$ alone. For $T = 3$ these are six terms.

# %%
import course
import matplotlib.pyplot as plt
import numpy as np
import unrolled as ur

rng = np.random.default_rng(3)
T, H = 3, 2
net = ur.RNN(1, H, dtype="float64", seed=1)
weights = net.state_dict()
weights["weight_hh_l0"] = np.array([[0.9, -0.4], [0.6, 0.7]])
net.load_state_dict(weights)
U, W, b_x, b_h = weights.values()

x = rng.standard_normal((T, 1))
h0 = np.array([0.5, -0.5])  # not zero, or the terms with k = 1 would be zero
target = rng.standard_normal((T, H))


def states(W: np.ndarray) -> list[np.ndarray]:
    """h_0, h_1, h_2, h_3."""
    h = [h0]
    for x_t in x:
        h.append(np.tanh(W @ h[-1] + U @ x_t + b_x + b_h))
    return h


def loss(W: np.ndarray) -> float:
    return 0.5 * np.sum((np.array(states(W)[1:]) - target) ** 2)


# %% [markdown]
# The pieces: the slopes $\sigma'(s_t)$, the Jacobians $J_t = \mathrm{diag}(\sigma'(s_t)) W$, and
# the loss's *immediate* derivative $e_t = \partial L_t / \partial h_t$. Lists are indexed by time
# as in the formulas; entry 0 of the last three is not used.

# %%
h = states(W)
slope = [None] + [1 - h[t] ** 2 for t in (1, 2, 3)]
J = [None] + [np.diag(slope[t]) @ W for t in (1, 2, 3)]
e = [None] + [h[t] - target[t - 1] for t in (1, 2, 3)]


def use(v: np.ndarray, k: int) -> np.ndarray:
    """vᵀ ∂⁺h_k/∂W, as a matrix with the shape of W."""
    return np.outer(v * slope[k], h[k - 1])


# %% [markdown]
# The six terms. Later Jacobians stand on the left: $\partial h_3/\partial h_1 = J_3 J_2$.

# %%
terms = {
    (1, 1): use(e[1], 1),
    (2, 2): use(e[2], 2),
    (2, 1): use(e[2] @ J[2], 1),
    (3, 3): use(e[3], 3),
    (3, 2): use(e[3] @ J[3], 2),
    (3, 1): use(e[3] @ J[3] @ J[2], 1),
}
print("loss at t, use at k: the term, row by row, and its norm")
for (t, k), term in terms.items():
    print(f"  t={t} k={k}  lag {t - k}  {term[0]} {term[1]}  {np.linalg.norm(term):.4f}")
double_sum = sum(terms.values())
print("their sum        ", double_sum[0], double_sum[1])

# %% [markdown]
# The recurrence gives the same in one walk back. $\delta_t$ is the *total* derivative by $h_t$,
# through every later step:
#
# $$\delta_t = \frac{\partial L_t}{\partial h_t} + J_{t+1}^{\top} \delta_{t+1}, \qquad
#   \frac{\partial L}{\partial W} = \sum_t (\delta_t \odot \sigma'(s_t))\, h_{t-1}^{\top}$$

# %%
delta = [None, None, None, e[3]]
for t in (2, 1):
    delta[t] = e[t] + J[t + 1].T @ delta[t + 1]
recurrence = sum(use(delta[t], t) for t in (1, 2, 3))
differences = course.differences(lambda W: np.array(loss(W)), W).reshape(H, H)
print("the recurrence   ", recurrence[0], recurrence[1])
print("differences      ", differences[0], differences[1])

# %% [markdown]
# The common mistake is to put $\delta_t = e_t$, the immediate derivative alone. What comes out is
# three of the six terms, those with $k = t$: truncation at lag 0. It looks like a gradient, and
# is not one.

# %%
mistake = sum(use(e[t], t) for t in (1, 2, 3))
three = terms[1, 1] + terms[2, 2] + terms[3, 3]
print("the mistake      ", mistake[0], mistake[1])
cosine = np.sum(mistake * double_sum) / np.linalg.norm(mistake) / np.linalg.norm(double_sum)
print(f"off by {course.relative(mistake, double_sum):.0%} of the gradient, cosine {cosine:.3f}")
print(f"the three terms with k = t: {np.allclose(mistake, three, rtol=1e-12)}")

# %% [markdown]
# `unrolled` computes all of it: the gradient, the gradient truncated at so many steps, each term.
# Its times count from 0.

# %%
y, _, tape = net.record(x, h0[None])
dy = y - target
full = tape.backward(dy).parameters["weight_hh_l0"]
truncated = [tape.backward(dy, truncate=K).parameters["weight_hh_l0"] for K in (0, 1, 2)]
lags = ur.flow.gradient_by_lag(tape, dy, terms="all")

same = {
    "recurrence = double sum": course.relative(recurrence, double_sum) < 1e-12,
    "tape.backward = double sum": course.relative(full, double_sum) < 1e-12,
    "truncate=0 = the mistake": course.relative(truncated[0], mistake) < 1e-12,
    "truncate=2 = double sum": course.relative(truncated[2], double_sum) < 1e-12,
    "gradient_by_lag = the six terms": all(
        np.allclose(lags.terms[t - 1, k - 1], term, rtol=1e-12) for (t, k), term in terms.items()
    ),
    "differences = double sum, to 1e-8": course.relative(differences, double_sum) < 1e-8,
}
for what, true in same.items():
    print(f"{what}: {true}")

# %%
figure, (left, right) = plt.subplots(
    1, 2, figsize=(8.5, 3), layout="constrained", width_ratios=(1, 1.7)
)
shown = np.full((T, T), np.nan)
for t, k in terms:
    shown[t - 1, k - 1] = lags.norms[t - 1, k - 1]
    left.text(k, t, f"{shown[t - 1, k - 1]:.3f}", ha="center", va="center")
left.imshow(shown, cmap="Blues", vmin=0, vmax=1.5 * np.nanmax(shown), extent=(0.5, 3.5, 3.5, 0.5))
left.set(title="Norm of each term", xlabel="use of W at k", ylabel="loss at t")
left.set(xticks=(1, 2, 3), yticks=(1, 2, 3))
left.grid(False)

names = ["$W_{11}$", "$W_{12}$", "$W_{21}$", "$W_{22}$"]
place = np.arange(4)
shown = {
    "lag 0 only: the mistake": (truncated[0], course.ORANGE),
    "lags 0 and 1": (truncated[1], course.GREY),
    "all lags: the gradient": (full, course.BLUE),
}
for n, (label, (gradient, colour)) in enumerate(shown.items()):
    right.bar(place + 0.27 * (n - 1), gradient.ravel(), 0.25, color=colour, label=label)
right.axhline(0, color="black", lw=0.8)
right.set(title="Entries of the gradient", xticks=place, xticklabels=names)
right.grid(visible=False, axis="x")
right.legend()
course.save(figure, "02_bptt_three_steps")
