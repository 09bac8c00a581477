//! Shorter tanh and logistic function, for streams that count nanoseconds.

use super::{Math, polynomial};
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// One quotient of polynomials and no reduction: within 5 units in the last place for tanh,
/// never beyond ±1, NaN for NaN.
///
/// What it gives up: tanh of a great argument is short of ±1 by up to four units in the last
/// place, and the logistic function is exact only as ½ + ½ tanh(x/2) is, within 2⁻²² (f32) or
/// 2⁻⁵¹ (f64) *absolutely*. Its tail towards 0 ends in a constant of that size.
#[derive(Clone, Copy, Debug)]
pub struct Fast;

/// tanh x ≈ x P(x²) / Q(x²) for |x| ≤ `limit`. `tools/minimax.py` derives the numbers.
struct Quotient {
    /// Near enough to tanh x = 1, and far enough that no rounding lifts the quotient above 1.
    limit: f64,
    p: &'static [f64],
    q: &'static [f64],
}

/// Relative error: 2^−27.0.
static F32: Quotient = Quotient {
    limit: 8.1,
    p: &[1.0, 0.13438953, 0.0035649012, 2.1778194e-05, 1.5051755e-08],
    q: &[1.0, 0.4677228, 0.026139272, 0.00034000972, 8.4533383e-07],
};

/// Relative error: 2^−54.7.
static F64: Quotient = Quotient {
    limit: 18.2,
    p: &[
        1.0,
        0.15189860230112748,
        0.0059886653316959925,
        9.412993615800365e-05,
        6.906513336831953e-07,
        2.488533230932982e-09,
        4.305780044406465e-12,
        3.217715744194304e-15,
        7.9685340859785155e-19,
        2.769386969550087e-23,
    ],
    q: &[
        1.0,
        0.4852319356344604,
        0.0343993105431837,
        0.0008312293342109846,
        8.824156652817866e-06,
        4.5300084491485695e-08,
        1.1393850714387678e-10,
        1.3219323912749852e-13,
        5.978858634281783e-17,
        6.783052557575023e-21,
    ],
};

/// (x, P, Q) with tanh(kx) = kx P / Q, x brought within the limit. `k` is a power of two.
#[inline(always)]
fn quotient<T: Real, S: Simd<T>>(x: Lanes<T, S>, k: f64) -> [Lanes<T, S>; 3] {
    let Quotient { limit, p, q } = if size_of::<T>() == 4 { &F32 } else { &F64 };
    let limit = limit / k;
    // The square has a limit of its own, so as not to wait for that of x.
    let z = (x * x).at_most(limit * limit);
    let x = x.at_least(-limit).at_most(limit);
    [x, polynomial(z, p, k, k * k), polynomial(z, q, 1.0, k * k)]
}

impl Math for Fast {
    #[inline(always)]
    fn tanh<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
        let [x, p, q] = quotient(x, 1.0);
        x * p / q
    }
    #[inline(always)]
    fn sigmoid<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
        let [x, p, q] = quotient(x, 0.5);
        x.mul_add(p, q) / (q + q)
    }
}
