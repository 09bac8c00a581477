//! eˣ.

use super::{Constants, constants, reduce};
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// eˣ: 0 and ∞ where it under- and overflows, NaN for NaN.
#[inline(always)]
pub fn exp<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
    exp_sum(x, None)
}

/// e^(x + low), where |low| is a few units in the last place of x at most.
#[inline(always)]
pub(super) fn exp_sum<T: Real, S: Simd<T>>(
    x: Lanes<T, S>,
    low: Option<Lanes<T, S>>,
) -> Lanes<T, S> {
    let Constants { exp_range: [least, greatest], greatest_exponent, .. } = *constants::<T>();
    let (n, v) = reduce(x.at_least(least).at_most(greatest), 0.5, -least);
    // e^ρ − 1 is the smaller number: the roundings of its quotient weigh less than those of e^ρ.
    let p = v / v.neg_mul_add(x.like(0.5), x.like(1.0));
    // e^(ρ + low) − 1 = p + low (1 + p), but for low².
    let p = low.map_or(p, |low| p + p.mul_add(low, low));
    // 2ⁿ may lie beyond the exponents on either side. The first factor keeps e^ρ normal, the
    // second is exact unless the result is denormal: then it rounds, once.
    let first = n.at_least(-64.0).at_most(greatest_exponent);
    let scale = first.pow2();
    p.mul_add(scale, scale) * (n - first).pow2()
}
