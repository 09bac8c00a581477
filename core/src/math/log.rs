//! The natural logarithm.

use super::{Constants, constants, polynomial};
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// ln x: −∞ for ±0, NaN below 0, ∞ for ∞, NaN for NaN.
///
/// With x = 2ⁿ(1 + f), √½ ≤ 1 + f ≤ √2, and s = f/(2 + f), so that 2s = f − sf:
///
/// ```text
/// ln(1 + f) = ln((1 + s)/(1 − s)) = 2s + sz(c₀ + c₁z + …) = f − s(f − z(c₀ + …)),   z = s²
/// ```
///
/// f is exact, and what is taken from it is less than a fifth of it: so the roundings of the
/// quotient weigh little, and near 1 nothing cancels. The quotient stands for the 6 (f32) or 14 (f64) terms more that
/// a polynomial in f needs.
#[inline(always)]
pub fn log<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
    let Constants { ln2_short, ln2_long, log, .. } = *constants::<T>();
    let [hi, lo] = if S::FUSES { ln2_long } else { ln2_short };
    let (n, f) = reduce(x);
    let s = f / (f + x.like(2.0));
    let z = s * s;
    let rest = z.neg_mul_add(polynomial(z, log, 1.0, 1.0), f);
    let y = f + s.neg_mul_add(rest, n * x.like(lo));
    edges(x, n.mul_add(x.like(hi), y))
}

/// n and f with x = 2ⁿ(1 + f), for a positive finite x.
#[inline(always)]
pub(super) fn reduce<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> (Lanes<T, S>, Lanes<T, S>) {
    let Constants { least_exponent, bits, .. } = *constants::<T>();
    // A denormal number is made normal first.
    let (zero, up) = (x.like(0.0), x.like(bits));
    let least = x.like(least_exponent).pow2();
    let (n, m) = x.if_less(least, x * up.pow2(), x).split();
    (n - x.if_less(least, up, zero), m - x.like(1.0))
}

/// y, the logarithm of x where x is positive and finite, and what it is elsewhere.
#[inline(always)]
pub(super) fn edges<T: Real, S: Simd<T>>(x: Lanes<T, S>, y: Lanes<T, S>) -> Lanes<T, S> {
    let (zero, infinity) = (x.like(0.0), x.like(f64::INFINITY));
    let not_above = x.if_equal(zero, x.like(f64::NEG_INFINITY), x.like(f64::NAN));
    // ∞ and NaN are their own logarithms.
    zero.if_less(x, x.if_less(infinity, y, x), not_above)
}
