//! Numbers far outside a float's range, as rows times powers of two.
//!
//! A row of values stands for row · 2^exponent. Multiplying by a power of two is exact, and going back through a step
//! is linear: so a row's exponent may be taken out of it at any time, without a rounding. What falls out of range
//! is only what is some 2¹⁰⁰ smaller than its own neighbours.

use crate::real::Real;

/// The exponent of a row of zeros.
pub const NOTHING: i32 = -(1 << 30);

/// Rows whose largest value is within 2^±16 stay as they are.
const ENOUGH: i32 = 16;

/// What is so many powers of two below the number it would be added to, does not show.
const INVISIBLE: i32 = -110;

/// 2ⁿ; 0 where it would not show beside 1.
pub fn power<T: Real>(n: i32) -> T {
    if n < INVISIBLE { T::ZERO } else { T::from_f64(libm::ldexp(1.0, n)) }
}

/// The largest magnitude.
pub fn largest<T: Real>(values: &[T]) -> T {
    let mut most = [T::ZERO; 8];
    let (chunks, rest) = values.as_chunks::<8>();
    for chunk in chunks {
        for (most, x) in most.iter_mut().zip(chunk) {
            let x = x.abs();
            *most = if x > *most { x } else { *most };
        }
    }
    most.iter().chain(rest).fold(T::ZERO, |most, x| if x.abs() > most { x.abs() } else { most })
}

/// By which power of two to multiply values whose largest magnitude is `most` so that it is about 1; 0 if that is
/// near enough, nothing if there is nothing to multiply. What is not finite stays so.
pub fn excess<T: Real>(most: T) -> Option<i32> {
    if most == T::ZERO {
        return None;
    }
    let n = if most.is_finite() { libm::ilogb(most.to_f64()) } else { 0 };
    // In f32, 2¹²⁶ is the most that 2⁻ⁿ may be.
    Some(if n.abs() <= ENOUGH { 0 } else { n.clamp(-100, 100) })
}

/// Multiplies by 2ⁿ.
pub fn shift<T: Real>(values: &mut [T], n: i32) {
    let factor = power::<T>(n);
    for x in values {
        *x *= factor;
    }
}

/// `to`, times 2^`exponent`, becomes the sum of itself and `from` · 2^`other`.
pub fn add<T: Real>(to: &mut [T], exponent: &mut i32, from: &[T], other: i32) {
    if other == NOTHING {
        return;
    }
    if other > *exponent {
        shift(to, exponent.saturating_sub(other));
        *exponent = other;
    }
    if other == *exponent {
        for (to, &from) in to.iter_mut().zip(from) {
            *to += from;
        }
    } else {
        let factor = power::<T>(other - *exponent);
        for (to, &from) in to.iter_mut().zip(from) {
            *to += from * factor;
        }
    }
}
