//! The logistic function σ(x) = 1 / (1 + e⁻ˣ).

use super::{Constants, constants, reduce};
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// σ(x), as exact in the tail towards 0 as elsewhere; NaN for NaN.
///
/// With a = −|x| and eᵃ = s(1 + u)/(1 − u), s = 2ⁿ:
///
/// ```text
/// σ(a) = eᵃ/(1 + eᵃ) = s(1 + u) / ((1 + s) − (1 − s)u)        σ(|x|) = 1 − σ(a)
/// ```
///
/// σ(a) ≤ ½, so the difference never cancels, and it cannot exceed 1.
#[inline(always)]
pub fn sigmoid<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
    let Constants { sigmoid_limit, least_exponent, .. } = *constants::<T>();
    let (one, two) = (x.like(1.0), x.like(2.0));
    let a = x.copysign(x.like(-1.0));
    // v = 2u, so every term below is twice that of the formula.
    let (n, v) = reduce(a, 0.5, sigmoid_limit);
    if S::LANES == 1 && !n.any_below(least_exponent) {
        // What follows below, where `far` is 1. A number by itself takes a branch in half the time.
        let near = n.pow2();
        let rising = v.mul_add(near, near + near);
        let low = rising / v.neg_mul_add(one - near, two.mul_add(near, two));
        return x.if_less(x.like(0.0), low, one - low);
    }
    // 2ⁿ as two factors, as it may be denormal. Beside 1 the first is as good as both.
    let first = n.at_least(least_exponent);
    let (near, far) = (first.pow2(), (n - first).pow2());
    let rising = v.mul_add(near * far, (near + near) * far);
    let low = rising / v.neg_mul_add(one - near, two.mul_add(near, two));
    // Beyond the limit n and `low` may be anything. A choice here delays less than a limit to x there.
    let low = a.if_less(x.like(-sigmoid_limit), x.like(0.0), low);
    x.if_less(x.like(0.0), low, one - low)
}
