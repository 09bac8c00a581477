//! The hyperbolic tangent.

use super::{constants, reduce_scaled};
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// tanh x: odd, never beyond ±1, exact at ±0 and for tiny x; NaN for NaN.
///
/// With e²ᵃ = s(1 + u)/(1 − u), a = |x|, s = 2ⁿ:
///
/// ```text
/// tanh a = (e²ᵃ − 1)/(e²ᵃ + 1) = ((s − 1) + (s + 1)u) / ((s + 1) + (s − 1)u)
/// ```
///
/// For small x, s = 1 and this is 2u/2: no cancellation anywhere.
#[inline(always)]
pub fn tanh<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
    let limit = constants::<T>().tanh_limit;
    let one = x.like(1.0);
    // Beyond the limit the quotient is 1. NaN passes it.
    let (s, u) = reduce_scaled(x.abs().at_most(limit), 1.0, limit, 0.0);
    let (more, less) = (s + one, s - one);
    (u.mul_add(more, less) / u.mul_add(less, more)).copysign(x)
}
