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
    let limit = constants::<T>().tanh_limit;
    let one = x.like(1.0);
    let a = x.copysign(x.like(-1.0));
    let (n, u) = reduce(a, 1.0, limit);
    let s = n.pow2();
    let (more, less) = (one + s, one - s);
    let y = u.neg_mul_add(more, less) / u.neg_mul_add(less, more);
    // Beyond the limit n and y may be anything. A choice here delays less than a limit to x there.
    a.if_less(x.like(-limit), one, y).copysign(x)
}
