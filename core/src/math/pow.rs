//! Powers.

use super::exp::exp_sum;
use super::{Constants, constants, log, polynomial};
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// aᵇ, in every special case as C, NumPy and PyTorch have it: a⁰ and 1ᵇ are 1, even for NaN; a negative base takes
/// integral exponents, and is NaN for others; 0ᵇ is 0 or ∞, with the sign of a zero if b is odd.
///
/// It is e^(b ln|a|). A power magnifies the relative error of the logarithm by |b ln a|, so ln|a| and its
/// product with b are sums of two numbers. Of 2s + c₀s³ + … the first term is held to twice the
/// precision, and the second, below 1/100 of it, to the first order of what its roundings take; of the third, below
/// 1/50 of the second, b ln a magnifies some 2⁻¹² of a unit in the last place. That leaves aᵇ within 2 units in the
/// last place; within 8 in f64 where |b ln a| is above 100: there the error of the polynomial shows.
#[inline(always)]
pub fn pow<T: Real, S: Simd<T>>(a: Lanes<T, S>, b: Lanes<T, S>) -> Lanes<T, S> {
    let Constants { bits, exp_range: [least, _], .. } = *constants::<T>();
    let (zero, one, infinity) = (a.like(0.0), a.like(1.0), a.like(f64::INFINITY));
    let magnitude = a.abs();
    let (hi, lo) = log_sum(magnitude);
    // Beyond 2⁶⁴ there are 0, 1 and ∞ alone, and all exponents are even; and ∞ would make NaN of 1^∞.
    let most = two_to(64.0);
    let factor = b.at_least(-most).at_most(most);
    let x = factor * hi;
    let low = factor.mul_add(lo, product_rest(factor, hi, x));
    // Beyond the limit, `low` may be anything.
    let low = x.abs().if_less(a.like(-least), low, zero);
    let y = exp_sum(x, Some(low));

    // Adding and taking away 2^(bits − 1) rounds to an integer what is smaller, 2^bits to an even one; what is
    // larger is either.
    let size = factor.abs();
    let multiple = |unit: f64, yes, no| {
        let unit = a.like(unit);
        unit.if_less_equal(size, yes, ((size + unit) - unit).if_equal(size, yes, no))
    };
    // Even: |a|'s; odd: a's; neither: |a|'s for 0 and ∞, else none.
    let neither = zero.if_less(magnitude, magnitude.if_less(infinity, a.like(f64::NAN), y), y);
    let odd = multiple(two_to(bits - 1.0), y.copysign(a), a.if_less(zero, neither, y));
    let y = multiple(two_to(bits), y, odd);
    let y = b.if_equal(zero, one, y);
    a.if_equal(one, one, y)
}

/// 2ⁿ for a small integral n, as a constant.
#[inline(always)]
const fn two_to(n: f64) -> f64 {
    f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

/// ln x as a sum, the first number the nearest to it.
#[inline(always)]
fn log_sum<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> (Lanes<T, S>, Lanes<T, S>) {
    let Constants { ln2_short: [ln2, ln2_rest], log, log_rest, .. } = *constants::<T>();
    let two = x.like(2.0);
    let (n, f) = log::reduce(x);
    // s + s_rest = f / (d + d_rest)
    let d = f + two;
    let d_rest = f - (d - two);
    let inverse = x.like(1.0) / d;
    let s = f * inverse;
    let p = s * d;
    let missing = (f - p) - product_rest(s, d, p);
    let s_rest = s.neg_mul_add(d_rest, missing) * inverse;
    let z = s * s;
    let (cube, c0) = (s * z, x.like(log[0]));
    let second = cube * c0;
    // (s + s_rest)³ = cube + cube_rest, c₀ likewise.
    let z_rest = product_rest(s, s, z);
    let three_z = z + (z + z);
    let cube_rest = three_z.mul_add(s_rest, s.mul_add(z_rest, product_rest(s, z, cube)));
    let second_rest = cube_rest.mul_add(c0, product_rest(cube, c0, second));
    let later = z.mul_add(polynomial(z, &log[1..], 1.0, 1.0), x.like(log_rest));
    let small = s_rest + s_rest + cube.mul_add(later, second_rest);
    // n ln 2 is 0 or larger than 2s, so this is the rest of the sum; the product is exact.
    let (scale, main) = (n * x.like(ln2), s + s);
    let sum = scale + main;
    let rest = ((main - (sum - scale)) + second) + n.mul_add(x.like(ln2_rest), small);
    let hi = sum + rest;
    (log::edges(x, hi), rest - (hi - sum))
}

/// ab − p, exactly, where p is ab rounded.
#[inline(always)]
fn product_rest<T: Real, S: Simd<T>>(
    a: Lanes<T, S>,
    b: Lanes<T, S>,
    p: Lanes<T, S>,
) -> Lanes<T, S> {
    if S::FUSES {
        return a.mul_add(b, -p);
    }
    // Dekker's product of Veltkamp's halves.
    let by = a.like(two_to(if size_of::<T>() == 4 { 12.0 } else { 27.0 }) + 1.0);
    let halves = |x: Lanes<T, S>| {
        let c = x * by;
        let high = c - (c - x);
        (high, x - high)
    };
    let ((a1, a2), (b1, b2)) = (halves(a), halves(b));
    ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2
}
