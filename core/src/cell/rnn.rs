//! The plain recurrent layer (Elman 1990): h' = σ(W_ih x + b_ih + W_hh h + b_hh).

use super::units;
use crate::gates::Activation;
use crate::math::Math;
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// The activation of a vector of units.
#[inline(always)]
pub fn forward_units<T: Real, S: Simd<T>, M: Math>(
    activation: Activation,
    x: Lanes<T, S>,
) -> Lanes<T, S> {
    match activation {
        Activation::Tanh => M::tanh(x),
        Activation::Relu => x.at_least(0.0),
        Activation::Sigmoid => M::sigmoid(x),
    }
}

/// The activation of a row, in place, and as the new `h`.
#[inline(always)]
pub fn forward_row<T: Real, S: Simd<T>, M: Math>(
    s: S,
    n: usize,
    activation: Activation,
    gates: &mut [T],
    h: &mut [T],
) {
    units!(S, n, |u, PART| {
        let x = Lanes::<T, S>::read::<PART>(s, &gates[..n], u);
        let y = forward_units::<T, S, M>(activation, x);
        y.write::<PART>(&mut gates[..n], u);
        y.write::<PART>(&mut h[..n], u);
    });
}

/// The mirror: the derivative by the pre-activation, out of the activation itself.
#[inline(always)]
pub fn backward_row<T: Real, S: Simd<T>>(
    s: S,
    n: usize,
    activation: Activation,
    gates: &[T],
    d_h: &[T],
    d_gates: &mut [T],
) {
    units!(S, n, |u, PART| {
        let y = Lanes::<T, S>::read::<PART>(s, &gates[..n], u);
        let d = Lanes::read::<PART>(s, &d_h[..n], u);
        let (zero, one) = (y.like(0.0), y.like(1.0));
        let d = match activation {
            Activation::Tanh => d * y.neg_mul_add(y, one),
            Activation::Relu => zero.if_less(y, d, zero),
            Activation::Sigmoid => d * (y * (one - y)),
        };
        d.write::<PART>(&mut d_gates[..n], u);
    });
}
