# %% [markdown]
# # 1. One layer and its Jacobian
#
# A layer is $t = W x + b$, $y = \sigma(t)$ with $\sigma$ applied to each element. Its derivative,
# row by row, is $\partial y_i/\partial x_j = \sigma'(t_i)\, W_{ij}$, as a matrix
#
# $$\frac{\partial y}{\partial x} = \mathrm{diag}(\sigma'(t))\, W .$$
#
# The diagonal matrix stands on the *left*: it scales rows of $W$, one factor for each output.

# %%
import course
import matplotlib.pyplot as plt
import numpy as np
import unrolled as ur

# %% [markdown]
# By hand, for two outputs and three inputs, and by central differences.

# %%
W = np.array([[1.0, -2.0, 0.5], [0.5, 1.0, -1.0]])
x = np.array([0.5, -0.25, 1.0])

t = W @ x
slope = 1 - np.tanh(t) ** 2
by_hand = np.diag(slope) @ W
measured = course.differences(lambda x: np.tanh(W @ x), x)

print("t = W x       ", t)
print("tanh'(t)      ", slope)
print("diag(tanh') W ", by_hand[0], by_hand[1])
print("differences   ", measured[0], measured[1])
print(f"largest deviation below 1e-9: {np.abs(by_hand - measured).max() < 1e-9}")

# %% [markdown]
# `ur.flow.layer_jacobian` is this formula, for every activation there is.

# %%
logistic = lambda t: 1 / (1 + np.exp(-t))  # noqa: E731
functions = {"tanh": np.tanh, "sigmoid": logistic, "relu": lambda t: np.maximum(t, 0)}
for name, function in functions.items():
    exact = ur.flow.layer_jacobian(W, x, activation=name)
    measured = course.differences(lambda x, f=function: f(W @ x), x)
    print(f"{name:8s} agrees with differences: {np.abs(exact - measured).max() < 1e-9}")

# %% [markdown]
# What matters for everything that follows is how large $\sigma'$ can be. Call its maximum
# $\gamma$.

# %%
grid = np.linspace(-6, 6, 1201)
slopes = {
    "tanh": 1 - np.tanh(grid) ** 2,
    "sigmoid": logistic(grid) * (1 - logistic(grid)),
    "relu": (grid > 0).astype(float),
}
for name, values in slopes.items():
    print(f"gamma of {name:8s} {values.max():.2f}")

# %% [markdown]
# One step of an RNN, $h_t = \tanh(W h_{t-1} + U x_t + b)$, is such a layer in $h_{t-1}$. The
# wider the pre-activations scatter, the more rows of the Jacobian are scaled towards zero: the
# units saturate.

# %%
rng = np.random.default_rng(0)
net = ur.RNN(4, 16, dtype="float64", seed=0)
net.initialise("orthogonal")  # every singular value of W is 1
norms, drawn = [], {}
for loud in (0.1, 1.0, 10.0):
    h, _, tape = net.record(loud * rng.standard_normal((1, 4)))
    J = ur.flow.step_jacobians(tape)[0]
    by_hand = np.diag(1 - h[0] ** 2) @ net.state_dict()["weight_hh_l0"]
    assert np.allclose(J, by_hand, atol=1e-14)
    drawn[loud] = J
    sizes = np.linalg.svd(J, compute_uv=False)
    print(f"input × {loud:4.1f}: singular values of J from {sizes[0]:.3f} to {sizes[-1]:.2g}")

# %%
figure, axes = plt.subplots(
    1, 4, figsize=(10, 2.7), layout="constrained", width_ratios=(1.6, 1, 1, 1)
)
colours = (course.BLUE, course.ORANGE, course.GREY)
for (name, values), colour in zip(slopes.items(), colours, strict=True):
    axes[0].plot(grid, values, color=colour, label=name)
axes[0].set(title="Slope of the activation", xlabel="pre-activation t", ylabel="σ'(t)")
axes[0].legend(loc="upper left")
for ax, (loud, J) in zip(axes[1:], drawn.items(), strict=True):
    image = ax.imshow(J, cmap="RdBu_r", vmin=-0.8, vmax=0.8)
    ax.set(title=f"J, input × {loud:g}", xticks=[], yticks=[], xlabel="h before", ylabel="h after")
    ax.grid(False)
figure.colorbar(image, ax=axes[1:], shrink=0.8)
course.save(figure, "01_layer_jacobian")
