//! Shorter tanh and logistic function, for streams that count nanoseconds.

use super::{Math, pair, polynomial, sealed, sigmoid, tanh};
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// In f32 one quotient of polynomials and no reduction: tanh within 5 units in the last place
/// (5.5 where multiply-add is not fused), never beyond ±1, NaN for NaN. In f64 the quotient
/// would be too long to be worth its error: there this is [`Accurate`](super::Accurate).
///
/// What it gives up: the logistic function is exact only as ½ + ½ tanh(x/2) is, within 2⁻²²
/// *absolutely*. Towards 0 it has no tail: it is 0 below −15.8 and 1 above 15.8.
#[derive(Clone, Copy, Debug)]
pub struct Fast;

/// tanh x ≈ x P(x²) / Q(x²) up to here, and 1 beyond: near enough for that to be within the
/// error, and far enough that no fused rounding lifts the quotient above 1 before.
const LIMIT: f64 = 7.9;

// The coefficients of P and Q: relative error 2^−27.4, by `tools/minimax.py`.
const P: [f64; 5] = [1.0, 0.13450658, 0.003579037, 2.202398e-05, 1.5428965e-08];
const Q: [f64; 5] = [1.0, 0.46783987, 0.02619241, 0.0003423724, 8.599192e-07];

/// (x P, Q) with tanh(kx) = k x P / Q. `k` is a power of two.
#[inline(always)]
fn quotient<T: Real, S: Simd<T>>(x: Lanes<T, S>, k: f64) -> (Lanes<T, S>, Lanes<T, S>) {
    let s = k * k;
    let z = x * x;
    let z2 = z * z;
    let (p_low, p_high) = halves(z, &P, s);
    let (q_low, q_high) = halves(z, &Q, s);
    // x goes into both parts of P apart: multiplying the whole would round it once more.
    ((x * z2).mul_add(p_high, x * p_low), z2.mul_add(q_high, q_low))
}

/// c₀ + c₁(sz) and s²(c₂ + c₃(sz) + c₄(sz)²)
#[inline(always)]
fn halves<T: Real, S: Simd<T>>(z: Lanes<T, S>, c: &[f64; 5], s: f64) -> (Lanes<T, S>, Lanes<T, S>) {
    (pair(z, c, 1.0, s, 0), polynomial(z, &c[2..], s * s, s))
}

impl sealed::Sealed for Fast {}
impl Math for Fast {
    const FAST: bool = true;
}

impl Fast {
    /// tanh x
    #[inline(always)]
    pub fn tanh<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
        if size_of::<T>() == 8 {
            return tanh(x);
        }
        let (p, q) = quotient(x, 1.0);
        let y = guard(p / q, -1.0);
        x.like(LIMIT).if_less(x.abs(), x.like(1.0).copysign(x), y)
    }

    /// ½ + ½ tanh(x/2) = (Q + xP/2) / 2Q
    #[inline(always)]
    pub fn sigmoid<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
        if size_of::<T>() == 8 {
            return sigmoid(x);
        }
        let (p, q) = quotient(x, 0.5);
        let y = guard(p.mul_add(x.like(0.5), q) / (q + q), 0.0);
        let (zero, one) = (x.like(0.0), x.like(1.0));
        x.like(2.0 * LIMIT).if_less(x.abs(), x.if_less(zero, zero, one), y)
    }
}

/// Holds y between `least` and 1 where rounding may take it beyond: fused, it does not.
#[inline(always)]
fn guard<T: Real, S: Simd<T>>(y: Lanes<T, S>, least: f64) -> Lanes<T, S> {
    if S::FUSES { y } else { y.at_least(least).at_most(1.0) }
}
