//! Elementary functions on vectors, written once for every instruction set and both float types.
//!
//! exp, tanh, the logistic function and softplus stand on one reduction (`reduce`): with n the integer nearest to x / ln 2,
//!
//! ```text
//! x = n ln 2 + ρ,   |ρ| ≤ ½ ln 2,   eˣ = 2ⁿ e^ρ,   e^ρ = (1 + u) / (1 − u),   u = tanh(ρ/2)
//! ```
//!
//! u is odd and small, so an odd polynomial of few terms gives it almost correctly rounded
//! and without cancellation, and each function becomes one quotient of terms linear in u. log, softplus and pow share a second polynomial, that of log((1 + s)/(1 − s)); sin and cos have
//! their own two.
//!
//! Everything is correctly rounded arithmetic in a fixed order: levels that fuse
//! multiply-add give the same bits.

mod exp;
mod fast;
mod log;
mod pow;
mod sigmoid;
mod sin_cos;
mod softplus;
mod tanh;

pub use exp::exp;
pub use fast::Fast;
pub use log::log;
pub use pow::pow;
pub use sigmoid::sigmoid;
pub use sin_cos::{cos, sin, sin_cos};
pub use softplus::{log_sigmoid, softplus};
pub use tanh::tanh;

use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// What the functions need to know of a float type. `tools/minimax.py` derives the coefficients and the parts of
/// ln 2 and π/2; limits are chosen where the error allows, which `tests/math.rs` measures.
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
    /// The logistic function is 0 below the first and 1 above the second.
    sigmoid_range: [f64; 2],
    /// tanh is ±1 beyond this.
    tanh_limit: f64,
    /// The least n for which 2ⁿ is normal.
    least_exponent: f64,
    /// The greatest n for which 2ⁿ is finite: the bias of exponents, too.
    greatest_exponent: f64,
    /// The number of mantissa bits, the implicit one among them.
    bits: f64,
    /// c₀ + c₁z + … with z = s²: log((1 + s)/(1 − s)) = 2s + sz(c₀ + c₁z + …) between the logarithms of √½ and √2.
    log: &'static [f64],
    /// What rounding took from c₀.
    log_rest: f64,
    /// c₀ + c₁z + … with z = r²: sin r = r + rz(c₀ + c₁z + …) for |r| ≤ π/4.
    sin: &'static [f64],
    /// c₀ + c₁z + … with z = r²: cos r = 1 − z/2 + z²(c₀ + c₁z + …) for |r| ≤ π/4.
    cos: &'static [f64],
    /// π/2 in short parts: n times each but the last is exact for every n up to the limit.
    turn_short: &'static [f64],
    /// π/2 in parts as long as `T` allows.
    turn_long: &'static [f64],
    /// Up to this |x|, x − nπ/2 is right to the last place: with the short parts, with the long ones.
    turn_limit: [f64; 2],
}

/// Errors of the polynomials relative to the results: tanh 2^−32.0, log 2^−31.0, sin 2^−26.7, cos 2^−32.8.
const F32: Constants = Constants {
    round: 12_582_912.0,
    ln2_short: [0.69314575, 1.4286068e-06],
    ln2_long: [core::f32::consts::LN_2 as f64, -1.9046542e-9],
    eager: 151.0,
    tanh: &[-0.33333322, 0.13331176, -0.05272483],
    exp_range: [-104.0, 89.0],
    sigmoid_range: [-104.0, 18.0],
    tanh_limit: 9.02,
    least_exponent: -126.0,
    greatest_exponent: 127.0,
    bits: 24.0,
    log: &[0.6666666, 0.40000334, 0.28537348, 0.23581475],
    log_rest: 2.955614e-08,
    sin: &[-0.16666655, 0.008332156, -0.00019514632],
    cos: &[0.041666646, -0.001388731, 2.4432413e-05],
    turn_short: &[1.5708008, -4.454516e-06, 6.077272e-11, -1.7151245e-15],
    turn_long: &[core::f32::consts::FRAC_PI_2 as f64, -4.371139e-08, -1.7151245e-15],
    turn_limit: [512.0, 16384.0],
};

/// Errors of the polynomials relative to the results: tanh 2^−57.6, log 2^−59.2, sin 2^−56.7, cos 2^−59.1.
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
    sigmoid_range: [-746.0, 40.0],
    tanh_limit: 19.1,
    least_exponent: -1022.0,
    greatest_exponent: 1023.0,
    bits: 53.0,
    log: &[
        0.6666666666666734,
        0.3999999999941637,
        0.2857142874201637,
        0.22222198610685034,
        0.18183562410833554,
        0.153140986741126,
        0.14795476933407517,
    ],
    log_rest: 1.3571605787503935e-17,
    sin: &[
        -0.1666666666666663,
        0.008333333333322005,
        -0.00019841269829495476,
        2.7557313587613913e-06,
        -2.505074230714889e-08,
        1.5895904701375098e-10,
    ],
    cos: &[
        0.041666666666666595,
        -0.0013888888888872895,
        2.4801587288748173e-05,
        -2.755731414861907e-07,
        2.0875696571991096e-09,
        -1.1358310460066233e-11,
    ],
    turn_short: &[1.5707963267950618, -1.6513995372428237e-13, 1.6446256936324258e-26],
    turn_long: &[core::f64::consts::FRAC_PI_2, 6.123233995736766e-17, -1.4973849048591698e-33],
    turn_limit: [2048.0, 1_073_741_824.0],
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
    let (_, n, v) = reduce_from(x, k, reach, constants::<T>().round);
    (n, v)
}

/// The same, with 2ⁿ⁺ᵐᵒʳᵉ for the first: for a caller that knows n + `more` to be an exponent of normal numbers.
#[inline(always)]
fn reduce_scaled<T: Real, S: Simd<T>>(
    x: Lanes<T, S>,
    k: f64,
    reach: f64,
    more: f64,
) -> (Lanes<T, S>, Lanes<T, S>) {
    let Constants { round, greatest_exponent: bias, .. } = *constants::<T>();
    let (sum, _, v) = reduce_from(x, k, reach, round + bias + more);
    (sum.exponent(), v)
}

/// The same, with n added to `round`, whose last place is 1, before n itself.
#[inline(always)]
fn reduce_from<T: Real, S: Simd<T>>(
    x: Lanes<T, S>,
    k: f64,
    reach: f64,
    round: f64,
) -> (Lanes<T, S>, Lanes<T, S>, Lanes<T, S>) {
    let Constants { ln2_short, ln2_long, eager, tanh, .. } = *constants::<T>();
    let [hi, lo] = if S::FUSES { ln2_long } else { ln2_short };
    let per = 2.0 * k / core::f64::consts::LN_2;
    let round = x.like(round);
    let sum = x.mul_add(x.like(per), round);
    let n = sum - round;
    let near = n.neg_mul_add(x.like(hi / (2.0 * k)), x);
    let rho = n.neg_mul_add(x.like(lo / (2.0 * k)), near);
    // `near` is exact and, where n is small, so close to ρ that the polynomial need not wait for ρ.
    let base = if S::FUSES && reach * per < eager { near } else { rho };
    let z = base * base;
    (sum, n, (base * z).mul_add(polynomial(z, tanh, k * k, k * k), rho))
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
    /// 2 to the power `self`, an exponent of normal numbers.
    #[inline(always)]
    pub(crate) fn pow2(self) -> Self {
        let Constants { round, greatest_exponent: bias, .. } = *constants::<T>();
        (self + self.like(round + bias)).exponent()
    }
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
