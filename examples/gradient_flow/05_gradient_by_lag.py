# %% [markdown]
# # 5. The total gradient does not vanish; its far part does
#
# Say "the gradient vanishes" and one looks for a small gradient. There is none: the terms with a
# small lag $t-k$ are always there, and they make up the sum. What vanishes is the part that could
# teach the net anything about the distant past. So look at the gradient *by lag*.

# %%
import course
import matplotlib.pyplot as plt
import numpy as np
import unrolled as ur

H, T, B = 32, 100, 4
rng = np.random.default_rng(0)
x = rng.standard_normal((T, B, 2))
target = rng.standard_normal((T, B, H)) / 4
vanishing = ur.RNN(2, H, dtype="float64", seed=0)  # the usual start: uniform in ±1/√H
kept = ur.RNN(2, H, dtype="float64", seed=0)
kept.initialise("orthogonal")
weights = kept.state_dict()
weights["weight_ih_l0"] *= 0.1  # small pre-activations: σ' stays near 1
kept.load_state_dict(weights)
nets = {"usual start": vanishing, "orthogonal start": kept}

# %% [markdown]
# With a loss at every step. All terms together are what `tape.backward` returns.

# %%
results = {}
for name, net in nets.items():
    y, _, tape = net.record(x)
    dy = (y - target) / (T * B)
    full = tape.backward(dy).parameters["weight_hh_l0"]
    lags = ur.flow.gradient_by_lag(tape, dy)
    errors = []
    for K in range(60):
        near = tape.backward(dy, truncate=K).parameters["weight_hh_l0"]
        errors.append(course.relative(near, full))
    results[name] = lags, errors
    share = lags.by_lag / np.linalg.norm(full)
    print(f"{name}: norm of the whole gradient {np.linalg.norm(full):.4f}; of the part with")
    print("   lag " + "".join(f"{lag:10d}" for lag in (0, 1, 5, 10, 20, 50)))
    print("       " + "".join(f"{share[lag]:10.1e}" for lag in (0, 1, 5, 10, 20, 50)))
    first = int(np.argmax(np.array(errors) < 0.01))
    enough = f"with {first} steps" if errors[first] < 0.01 else "not with 59 steps"
    print(f"   the gradient to 1 %: {enough}")

# %% [markdown]
# Longer sequences: the whole gradient keeps its size, while the term that joins the last loss to
# the second step goes to zero. (That of the first step is zero: there W meets no state yet.)

# %%
lengths = (10, 20, 40, 80)
grown = []
print("usual start     T   whole gradient   term from the last loss to the second step")
for steps in lengths:
    y, _, tape = vanishing.record(x[:steps])
    dy = (y - target[:steps]) / (steps * B)
    whole = np.linalg.norm(tape.backward(dy).parameters["weight_hh_l0"])
    # The first use of W meets h_0 = 0, which makes that term zero; the second is the earliest.
    far = ur.flow.gradient_by_lag(tape, dy).norms[steps - 1, 1]
    grown.append((whole, far))
    print(f"            {steps:5d} {whole:16.4f}   {far:.1e}")

# %%
figure, axes = plt.subplots(1, 4, figsize=(12, 3.1), layout="constrained")
for ax, (name, (lags, _)) in zip(axes, results.items(), strict=False):
    ur.flow.plot_triangle(lags, ax=ax)
    ax.set(title=f"Terms, {name}")
for (name, (lags, errors)), colour in zip(
    results.items(), (course.ORANGE, course.BLUE), strict=True
):
    seen = lags.by_lag > 0
    axes[2].semilogy(np.flatnonzero(seen), lags.by_lag[seen], color=colour, label=name)
    axes[3].semilogy(errors, color=colour, label=name)
axes[2].set(title="Gradient by lag", xlabel="lag t − k")
axes[3].set(title="Error of truncation at K steps", xlabel="K", ylim=(1e-12, 3))
axes[2].legend()
course.save(figure, "05_gradient_by_lag")
