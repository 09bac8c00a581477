//! Sine and cosine.

use super::{Constants, constants, polynomial};
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// sin x: never beyond ±1, −0 for −0; NaN for ±∞ and NaN.
#[inline(always)]
pub fn sin<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
    sin_cos(x).0
}

/// cos x: never beyond ±1; NaN for ±∞ and NaN.
#[inline(always)]
pub fn cos<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> Lanes<T, S> {
    sin_cos(x).1
}

/// (sin x, cos x), for little more than either.
///
/// With n the integer nearest to x / (π/2) and r = x − nπ/2, |r| ≤ π/4, both are ± sin r or ± cos r.
/// r counts where it is small beside x, so π/2 is taken away in three or four parts. The first two differences
/// are exact where much cancels (the product is: by fusing, or as the parts are short), and together the
/// parts reach far below the least |r| there is up to the limit: r is wrong by less than one unit in the last place.
///
/// Beyond the limit, and it is rare to be there, a lane is computed by itself, with as many digits of π as it takes:
/// so its result does not depend on the other lanes.
#[inline(always)]
pub fn sin_cos<T: Real, S: Simd<T>>(x: Lanes<T, S>) -> (Lanes<T, S>, Lanes<T, S>) {
    let Constants { round, sin, cos, turn_short, turn_long, turn_limit, .. } = *constants::<T>();
    let (parts, limit) =
        if S::FUSES { (turn_long, turn_limit[1]) } else { (turn_short, turn_limit[0]) };
    let (zero, one, round) = (x.like(0.0), x.like(1.0), x.like(round));
    let n = x.mul_add(x.like(core::f64::consts::FRAC_2_PI), round) - round;
    let mut r = x;
    for &part in parts {
        r = n.neg_mul_add(x.like(part), r);
    }
    let z = r * r;
    // Of −0 and its product the sum would be 0.
    let s = x.if_equal(zero, x, (r * z).mul_add(polynomial(z, sin, 1.0, 1.0), r));
    let c = (z * z).mul_add(polynomial(z, cos, 1.0, 1.0), z.neg_mul_add(x.like(0.5), one));
    let y = (n.if_odd(c, s).flip(n), n.if_odd(s, c).flip(n + one));
    if x.abs().any_above(limit) {
        (far(x, y.0, limit, T::sin), far(x, y.1, limit, T::cos))
    } else {
        y
    }
}

/// y, and f(x) in the lanes where |x| is above the limit.
#[inline(always)]
fn far<T: Real, S: Simd<T>>(
    x: Lanes<T, S>,
    y: Lanes<T, S>,
    limit: f64,
    f: impl Fn(T) -> T,
) -> Lanes<T, S> {
    #[cold]
    #[inline(never)]
    fn each<T: Real>(x: &[T], y: &mut [T], limit: T, f: impl Fn(T) -> T) {
        for (x, y) in x.iter().zip(y) {
            if x.abs() > limit {
                *y = f(*x);
            }
        }
    }
    x.by_lane(y, |x, y| each(x, y, T::from_f64(limit), f))
}
