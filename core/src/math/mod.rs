//! exp, tanh and the logistic function on vectors, written once for every instruction
//! set and both float types.
//!
//! All three stand on one reduction (`reduce`): with n the integer nearest to x / ln 2,
//!
//! ```text
//! x = n ln 2 + ρ,   |ρ| ≤ ½ ln 2,   eˣ = 2ⁿ e^ρ,   e^ρ = (1 + u) / (1 − u),   u = tanh(ρ/2)
//! ```
//!
//! u is odd and small, so an odd polynomial of few terms gives it almost correctly rounded
//! and without cancellation, and each function becomes one quotient of terms linear in u.
//! Everything is correctly rounded arithmetic in a fixed order: levels that fuse
//! multiply-add give the same bits.

mod exp;
mod fast;
mod sigmoid;
mod tanh;

pub use exp::exp;
pub use fast::Fast;
pub use sigmoid::sigmoid;
pub use tanh::tanh;

use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// What the functions need to know of a float type. `tools/minimax.py` derives the coefficients and the parts of
/// ln 2; limits are chosen where the error allows, which `tests/math.rs` measures.
struct Constants {
    /// Adding and taking away 1.5 · 2^(mantissa bits) rounds to an integer.
    round: f64,
    /// ln 2 in two parts, the first short: n times it is exact for every n that occurs.
    ln2_short: [f64; 2],
    /// ln 2 in two parts, the first as long as `T` allows.
    ln2_long: [f64; 2],
    /// Up to this n, n times the second part of `ln2_long` shifts ρz(c₀ + c₁z + …) by about
    /// an eighth of the last place at most: 3z|c₀| ≤ 0.03 is its slope.
    eager: f64,
    /// c₀ + c₁z + … with z = ρ²: tanh ρ = ρ + ρz(c₀ + c₁z + …) for |ρ| ≤ ¼ ln 2.
    tanh: &'static [f64],
    /// exp is 0 below the first and infinite above the second.
    exp_range: [f64; 2],
    /// The logistic function is 0 below minus this.
    sigmoid_limit: f64,
    /// tanh is ±1 beyond this.
    tanh_limit: f64,
    /// The least n for which 2ⁿ is normal.
    least_exponent: f64,
    /// The greatest n for which 2ⁿ is finite.
    greatest_exponent: f64,
}

/// Error of the polynomial: 2^−32.0 of the result.
const F32: Constants = Constants {
    round: 12_582_912.0,
    ln2_short: [0.69314575, 1.4286068e-06],
    ln2_long: [core::f32::consts::LN_2 as f64, -1.9046542e-9],
    eager: 151.0,
    tanh: &[-0.33333322, 0.13331176, -0.05272483],
    exp_range: [-104.0, 89.0],
    sigmoid_limit: 104.0,
    tanh_limit: 9.02,
    least_exponent: -126.0,
    greatest_exponent: 127.0,
};

/// Error of the polynomial: 2^−57.6 of the result.
const F64: Constants = Constants {
    round: 6_755_399_441_055_744.0,
    ln2_short: [0.6931471805598903, 5.497923018708371e-14],
    ln2_long: [core::f64::consts::LN_2, 2.3190468138462996e-17],
    eager: 56.0,
    tanh: &[
        -0.33333333333332477,
        0.13333333332778827,
        -0.053968252773533766,
        0.021869370085139856,
        -0.008857287768493496,
        0.0034445793145587975,
    ],
    exp_range: [-746.0, 710.0],
    sigmoid_limit: 746.0,
    tanh_limit: 19.1,
    least_exponent: -1022.0,
    greatest_exponent: 1023.0,
};

/// The constants of `T`: a choice the compiler makes.
#[inline(always)]
const fn constants<T: Real>() -> &'static Constants {
    if size_of::<T>() == 4 { &F32 } else { &F64 }
}

/// n and v with e^(2kx) = 2ⁿ (1 + kv) / (1 − kv), that is v = tanh(kρ) / k where
/// x = n ln 2 / 2k + ρ, for |x| ≤ `reach`. `k` is a power of two (it scales constants exactly):
/// 1 for e²ˣ, ½ for eˣ.
#[inline(always)]
fn reduce<T: Real, S: Simd<T>>(x: Lanes<T, S>, k: f64, reach: f64) -> (Lanes<T, S>, Lanes<T, S>) {
    let Constants { round, ln2_short, ln2_long, eager, tanh, .. } = *constants::<T>();
    let [hi, lo] = if S::FUSES { ln2_long } else { ln2_short };
    let per = 2.0 * k / core::f64::consts::LN_2;
    let round = x.like(round);
    let n = x.mul_add(x.like(per), round) - round;
    let near = n.neg_mul_add(x.like(hi / (2.0 * k)), x);
    let rho = n.neg_mul_add(x.like(lo / (2.0 * k)), near);
    // `near` is exact and, where n is small, so close to ρ that the polynomial need not wait for ρ.
    let base = if S::FUSES && reach * per < eager { near } else { rho };
    let z = base * base;
    (n, (base * z).mul_add(polynomial(z, tanh, k * k, k * k), rho))
}

/// f(c₀ + c₁(sz) + c₂(sz)² + …) of three to eight terms, by Estrin's scheme: few steps wait for
/// one another. f and s are powers of two and scale the constants exactly.
#[inline(always)]
fn polynomial<T: Real, S: Simd<T>>(z: Lanes<T, S>, c: &[f64], f: f64, s: f64) -> Lanes<T, S> {
    if c.len() == 3 {
        // Horner's scheme is as short for three.
        return z.mul_add(pair(z, c, f, s, 1), term(z, c, f, s, 0));
    }
    let z2 = z * z;
    let low = quartet(z, z2, c, f, s, 0);
    if c.len() <= 4 { low } else { (z2 * z2).mul_add(quartet(z, z2, c, f, s, 4), low) }
}

/// Four terms from cᵢ on, or as many as there are; so `pair`, with two.
#[inline(always)]
fn quartet<T: Real, S: Simd<T>>(
    z: Lanes<T, S>,
    z2: Lanes<T, S>,
    c: &[f64],
    f: f64,
    s: f64,
    i: usize,
) -> Lanes<T, S> {
    let low = pair(z, c, f, s, i);
    if i + 2 < c.len() { z2.mul_add(pair(z, c, f, s, i + 2), low) } else { low }
}

#[inline(always)]
fn pair<T: Real, S: Simd<T>>(z: Lanes<T, S>, c: &[f64], f: f64, s: f64, i: usize) -> Lanes<T, S> {
    let low = term(z, c, f, s, i);
    if i + 1 < c.len() { z.mul_add(term(z, c, f, s, i + 1), low) } else { low }
}

/// f cᵢ sⁱ: a constant once compiled.
#[inline(always)]
fn term<T: Real, S: Simd<T>>(z: Lanes<T, S>, c: &[f64], f: f64, s: f64, i: usize) -> Lanes<T, S> {
    let mut term = f * c[i];
    for _ in 0..i {
        term *= s;
    }
    z.like(term)
}

mod sealed {
    pub trait Sealed {}
}

/// How exact the cells' functions are. Sealed.
pub trait Math: sealed::Sealed + Copy + Send + Sync + 'static {
    /// Whether they may be less exact, to be faster.
    const FAST: bool;
}

/// [`tanh`] and [`sigmoid`]: within 2.5 units in the last place everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Accurate;

impl sealed::Sealed for Accurate {}
impl Math for Accurate {
    const FAST: bool = false;
}

impl<T: Real, S: Simd<T>> Lanes<T, S> {
    /// Hyperbolic tangent, as exact as the level is to be.
    #[inline(always)]
    #[must_use]
    pub fn tanh(self) -> Self {
        if S::FAST { Fast::tanh(self) } else { tanh(self) }
    }
    /// 1 / (1 + e⁻ˣ), as exact as the level is to be.
    #[inline(always)]
    #[must_use]
    pub fn sigmoid(self) -> Self {
        if S::FAST { Fast::sigmoid(self) } else { sigmoid(self) }
    }
}
