//! The hyperbolic tangent.

use super::{constants, reduce};
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// tanh x: odd, never beyond ±1, exact at ±0 and for tiny x; NaN for NaN.
///
/// With a = −|x| and e²ᵃ = s(1 + u)/(1 − u), s = 2ⁿ:
///
/// ```text
/// tanh|x| = (1 − e²ᵃ)/(1 + e²ᵃ) = ((1 − s) − (1 + s)u) / ((1 + s) − (1 − s)u)
/// ```
///
/// For small x, s = 1 and this is −2u/2: no cancellation anywhere.
#[inline(always)]
pub fn tanh<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
    let one = x.like(1.0);
    let a = x.copysign(x.like(-1.0)).at_least(-constants::<T>().tanh_limit);
    let (n, u) = reduce(a, 1.0);
    let s = n.pow2();
    let (more, less) = (one + s, one - s);
    (u.neg_mul_add(more, less) / u.neg_mul_add(less, more)).copysign(x)
}
