//! The logistic function σ(x) = 1 / (1 + e⁻ˣ).

use super::{Constants, constants, reduce_scaled};
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// σ(x), as exact in the tail towards 0 as elsewhere; NaN for NaN.
///
/// With eˣ = s(1 + u)/(1 − u), s = 2ⁿ:
///
/// ```text
/// σ(x) = eˣ/(1 + eˣ) = s(1 + u) / (s(1 + u) + (1 − u))
/// ```
///
/// Nothing here cancels, and the quotient cannot exceed 1. In the tail s(1 + u) is denormal, and so is σ(x).
#[inline(always)]
pub fn sigmoid<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
    let Constants { sigmoid_range: [least, greatest], bits, .. } = *constants::<T>();
    // NaN passes the limits.
    let x = x.at_least(least).at_most(greatest);
    // 2ⁿ may be denormal, 2ⁿ⁺ᵇⁱᵗˢ is not; v = 2u, so both terms are twice those of the formula.
    let (s, v) = reduce_scaled(x, 0.5, -least, bits);
    let unit = 1.0 / (1_u64 << bits as u32) as f64;
    let rising = s * v.mul_add(x.like(unit), x.like(2.0 * unit));
    rising / (rising + (x.like(2.0) - v))
}
