# %% [markdown]
# # 3. Powers of the recurrent matrix
#
# Without the activation, $h_t = W h_{t-1}$, the Jacobian over $n$ steps is $W^n$. If
# $W = Q \Lambda Q^{-1}$ then $W^n = Q \Lambda^n Q^{-1}$: every eigenvalue goes its own way.

# %%
import course
import matplotlib.pyplot as plt
import numpy as np
import unrolled as ur

Q = np.array([[-0.6, -0.8], [-0.8, 0.6]])
W = Q @ np.diag([0.9, 0.4]) @ np.linalg.inv(Q)
curve = ur.flow.matrix_power_curve(W, 100)
W30 = curve.power(30)
print("W^30 =", W30[0], W30[1])
print(f"0.9^30 = {0.9**30:.4f}   0.4^30 = {0.4**30:.3e}")
print(f"by multiplying thirty times the same: {np.allclose(np.linalg.matrix_power(W, 30), W30)}")

# %% [markdown]
# Nothing but the direction of the eigenvalue 0.9 is left. This $W$ is symmetric, hence *normal*
# ($W^\top W = W W^\top$), and for a normal matrix $\|W^n\|_2 = \rho^n$ exactly, with $\rho$ the
# largest $|\text{eigenvalue}|$. For other matrices that is so if, and only if, $\|W\|_2 = \rho$
# too, as of $\mathrm{diag}(1, N)$ with a small $N$ that is not normal. Most do not keep to it.
#
# * **Non-normal**: the eigenvectors are not orthogonal. With $\rho < 1$ the norm may still grow
#   for many steps before it decays.
# * **Defective**, and so non-normal: there are not enough eigenvectors.
#   $\begin{pmatrix}1&1\\0&1\end{pmatrix}$ has all eigenvalues 1, and its powers grow linearly.
#   "All eigenvalues 1 leaves things unchanged" is true of matrices that can be diagonalised, only.

# %%
turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
matrices = {
    "symmetric, 0.9 and 0.4": W,
    "rotation": turn,
    "rotation × 1.05": 1.05 * turn,
    "non-normal, 0.9 and 0.8": np.array([[0.9, 5.0], [0.0, 0.8]]),
    "defective, 1 and 1": np.array([[1.0, 1.0], [0.0, 1.0]]),
}
curves = {name: ur.flow.matrix_power_curve(M, 100) for name, M in matrices.items()}
print("                          radius  normal  diagonalisable  norms at n = 1, 10, 100   peak at")
for name, c in curves.items():
    norms = "  ".join(f"{c.norms[n]:8.2e}" for n in (1, 10, 100))
    peak = np.flatnonzero(c.norms > 0.999999 * c.norms.max())[0]
    print(
        f"{name:24s}  {c.spectral_radius:6.2f}  {c.normal!s:6s}  {c.diagonalisable!s:14s}  {norms}"
        f"  {peak:4d}"
    )

# %% [markdown]
# The recurrent matrices of nets are non-normal: almost every random matrix is. Here is one of
# Gaussian numbers, scaled to spectral radius 0.95, and an orthogonal one scaled likewise.

# %%
rng = np.random.default_rng(0)
G = rng.standard_normal((64, 64))
gaussian = 0.95 * G / np.abs(np.linalg.eigvals(G)).max()
orthogonal = 0.95 * np.linalg.qr(rng.standard_normal((64, 64)))[0]
random = {
    "Gaussian": ur.flow.matrix_power_curve(gaussian, 100),
    "orthogonal": ur.flow.matrix_power_curve(orthogonal, 100),
}
for name, c in random.items():
    print(
        f"{name:10s} 64 x 64, radius {c.spectral_radius:.2f}: "
        f"norm {c.norms[1]:.2f} after one step, {c.norms[20]:.3f} after 20"
    )

# %%
figure, (left, right) = plt.subplots(
    1, 2, figsize=(10, 3.5), layout="constrained", width_ratios=(1.5, 1)
)
steps = np.arange(101)
colours = (course.BLUE, course.GREY, course.SKY, course.ORANGE, course.PURPLE)
for (name, c), colour in zip(curves.items(), colours, strict=True):
    left.semilogy(steps, c.norms, color=colour, lw=2, label=name)
for (_, c), colour in zip(curves.items(), colours, strict=True):
    left.semilogy(steps, c.spectral_radius**steps, color=colour, ls=(0, (1, 2)), lw=2.5)
left.set(title="‖Mⁿ‖₂; dotted: ρⁿ in the same colour", xlabel="n", ylim=(1e-4, 1e6))
left.legend(fontsize=8, loc="upper left", ncols=2)
for (name, c), colour in zip(random.items(), (course.ORANGE, course.BLUE), strict=True):
    right.semilogy(steps, c.norms, color=colour, lw=2, label=name)
right.semilogy(steps, 0.95**steps, color="black", ls=":", label="ρⁿ")
right.set(title="Random 64 × 64 matrices, ρ = 0.95", xlabel="n")
right.legend()
course.save(figure, "03_matrix_powers")
