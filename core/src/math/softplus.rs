//! Softplus, log(1 + eˣ), and the logarithm of the logistic function.

use super::{Constants, constants, polynomial, reduce};
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// ln(1 + eˣ) within 3 units in the last place, in the tail towards 0 as elsewhere; NaN for NaN.
///
/// It is max(x, 0) + ln(1 + eᵃ) with a = −|x|. With eᵃ = 2ⁿ(1 + u)/(1 − u) as ever:
///
/// ```text
/// ln(1 + eᵃ) = ln((1 + s)/(1 − s)),          s = eᵃ/(2 + eᵃ)          where eᵃ < √2 − 1
///            = ln 2 + ln((1 + s)/(1 − s)),   s = (eᵃ − 1)/(eᵃ + 3)    elsewhere
/// ```
///
/// so that |s| ≤ 0.172, as for the logarithm, and s is one quotient of terms linear in u. In the tail s is eᵃ/2, and
/// nothing is added to it that would drown it.
#[inline(always)]
pub fn softplus<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
    let Constants { sigmoid_range: [least, _], least_exponent, log, .. } = *constants::<T>();
    let (zero, one, two) = (x.like(0.0), x.like(1.0), x.like(2.0));
    let a = x.copysign(x.like(-1.0));
    // v = 2u, and both terms are twice those of the formula.
    let (n, v) = reduce(a, 0.5, -least);
    // 2ⁿ as two factors, as it may be denormal.
    let first = n.at_least(least_exponent);
    let (near, far) = (first.pow2(), (n - first).pow2());
    let rising = v.mul_add(near * far, (near + near) * far);
    let falling = two - v;
    // ln(√2 − 1)
    let close = x.like(-0.881_373_587_019_543).if_less(a, one, zero);
    let s = close.neg_mul_add(falling, rising) / falling.mul_add(close + two, rising);
    let z = s * s;
    let y = s.mul_add(z * polynomial(z, log, 1.0, 1.0), s + s);
    let y = close.mul_add(x.like(core::f64::consts::LN_2), y);
    // Beyond the limit n and y may be anything.
    a.if_less(x.like(least), zero, y) + x.at_least(0.0)
}

/// The logarithm of the logistic function, ln σ(x) = −softplus(−x).
#[inline(always)]
pub fn log_sigmoid<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
    -softplus(-x)
}
