"""Lyapunov exponents of random tanh networks, held against what is published of them.

    h' = tanh(g J h),  J_ij independent, normal, of variance 1/N, no input

* Sompolinsky, Crisanti & Sommers (1988), "Chaos in random neural networks", Phys. Rev. Lett. 61,
  259: for large N such a network rests below a critical gain and is chaotic above it (theirs runs
  in continuous time; the critical gain, 1, is the same for this map).
* Engelken, Wolf & Abbott (2023), "Lyapunov spectra of chaotic recurrent neural networks", Phys.
  Rev. Research 5, 043044: the spectrum against i/N does not depend on N, and in discrete time
  random matrix theory comes close to all of it.

The theory here is that of large N. The sums g J h are normal of variance q = g² E[tanh(√q z)²], z
standard normal, and the Jacobians g D J, D = diag(tanh'), are taken for independent from step to
step. The largest exponent is then ½ log(g² E[D²]). For the others the limit of
|J_1ᵀ … J_nᵀ J_n … J_1|^(1/2n) is known from free probability (Tucci 2010, "Limits laws for
geometric means of free random variables", Indiana Univ. Math. J. 59, 1): with u the solution of
E[u D² / (1 + u D²)] = i/N the i-th exponent is ½ log(g² (i/N) / u). For D = 1 that is
½ log(g² (1 - i/N)), the triangular law of Newman (1986, Commun. Math. Phys. 103, 121).

    python examples/gradient_flow/published_comparison.py [--neurons 200] [--plot spectra.png]
"""

from __future__ import annotations

import argparse

import numpy as np
import unrolled as ur

GAINS = (0.5, 0.8, 0.9, 1.1, 1.5, 2.0, 3.0, 5.0)
SPECTRUM_GAIN = 3.0


def mean_of_normal(f, variance):
    """E[f(√variance z)], by the trapezoidal rule, exact to rounding for such integrands."""
    z = np.linspace(-12.0, 12.0, 4001)
    weight = np.exp(-z * z / 2)
    return float((weight * f(np.sqrt(variance) * z)).sum() / weight.sum())


def variance_in_theory(gain):
    """The variance of the sums that reproduces itself."""
    variance = gain**2
    for _ in range(2000):
        variance = gain**2 * mean_of_normal(lambda a: np.tanh(a) ** 2, variance)
    return variance


def squared_slope(a):
    return (1 - np.tanh(a) ** 2) ** 2


def exponent_in_theory(gain, fraction):
    """The exponent at i/N = fraction."""
    variance = variance_in_theory(gain)
    if fraction == 0:
        return np.log(gain**2 * mean_of_normal(squared_slope, variance)) / 2
    low, high = -5.0, 60.0
    for _ in range(80):
        log_u = (low + high) / 2
        u = np.exp(log_u)

        def share(a, u=u):
            return u * squared_slope(a) / (1 + u * squared_slope(a))

        met = mean_of_normal(share, variance)
        low, high = (log_u, high) if met < fraction else (low, log_u)
    return (np.log(gain**2 * fraction) - low) / 2


def measured(gain, couplings, n, steps, seed):
    """The first n exponents on the attractor that a random state leads to."""
    neurons = len(couplings)
    net = ur.RNN(1, neurons, bias=False, dtype="float64")
    net.load_state_dict({"weight_ih_l0": np.zeros((neurons, 1)), "weight_hh_l0": gain * couplings})
    state = np.random.default_rng(seed).normal(size=(1, neurons))
    return ur.flow.lyapunov_exponents(net, np.zeros((steps, 1)), n, discard=steps // 3, state=state)


def couplings(neurons, seed):
    return np.random.default_rng(seed).normal(size=(neurons, neurons)) / np.sqrt(neurons)


def main():
    parser = argparse.ArgumentParser(description="Random tanh networks against published theory.")
    parser.add_argument("--neurons", type=int, default=200)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--plot", help="where to draw the spectra (PNG)")
    arguments = parser.parse_args()

    print(f"largest exponent, N = {arguments.neurons}, {arguments.networks} networks")
    print("   g   theory   measured (standard error)   log(g ρ(J))")
    for gain in GAINS:
        found, at_rest = [], []
        for seed in range(arguments.networks):
            j = couplings(arguments.neurons, seed)
            found.append(measured(gain, j, 1, arguments.steps, seed)[0])
            at_rest.append(np.log(gain * np.abs(np.linalg.eigvals(j)).max()))
        error = np.std(found, ddof=1) / np.sqrt(len(found)) if len(found) > 1 else np.nan
        rest = f"{np.mean(at_rest):+.4f}" if gain < 1 else ""
        print(
            f"{gain:4.1f}  {exponent_in_theory(gain, 0):+.4f}  {np.mean(found):+.4f} ({error:.4f})"
            f"            {rest}"
        )

    sizes = (arguments.neurons // 2, arguments.neurons)
    print(f"\nthe spectrum at g = {SPECTRUM_GAIN}, against i/N")
    spectra = {}
    for neurons in sizes:
        spectra[neurons] = measured(
            SPECTRUM_GAIN, couplings(neurons, 0), neurons, arguments.steps, 0
        )
    print("  i/N   theory  " + "  ".join(f"N = {neurons:4d}" for neurons in sizes))
    for fraction in (0.0, 0.1, 0.25, 0.5, 0.75, 0.9):
        law = exponent_in_theory(SPECTRUM_GAIN, fraction)
        row = "  ".join(f"{spectra[n][int(fraction * n)]:+8.4f}" for n in sizes)
        print(f"{fraction:5.2f}  {law:+.4f}  {row}")

    if arguments.plot:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot as plt

        figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
        for neurons, exponents in spectra.items():
            place = (np.arange(neurons) + 0.5) / neurons
            axes.plot(place, exponents, ".", label=f"N = {neurons}")
        place = np.linspace(0, 0.99, 45)
        law = [exponent_in_theory(SPECTRUM_GAIN, fraction) for fraction in place]
        axes.plot(place, law, "k-", label="large N")
        axes.set(xlabel="i / N", ylabel="exponent per step", title=f"g = {SPECTRUM_GAIN}")
        axes.legend()
        figure.savefig(arguments.plot, dpi=150)


if __name__ == "__main__":
    main()
