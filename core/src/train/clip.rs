//! Gradient clipping by the norm of all gradients together (Pascanu, Mikolov & Bengio, "On
//! the difficulty of training recurrent neural networks", 2013), as PyTorch's
//! `clip_grad_norm_`: norm, coefficient, scale.

use super::each::{Each, OfElements};
use super::{check, reduce::dot};
use crate::error::Error;
use crate::simd::{Element, Kernel, Lanes, Level, Simd};

/// The 2-norm of all numbers in `slices`, as one vector.
///
/// Computed in f64, so gradients in f32 neither overflow nor underflow (in f64, squares
/// beyond 1.8e308 give an infinite norm). Depends on the slices and their order, not on
/// the instruction set. Infinite or NaN where a gradient is.
#[must_use]
pub fn global_norm<'a, T: Element>(slices: impl IntoIterator<Item = &'a [T]>) -> f64 {
    let level = Level::best();
    let squares = slices.into_iter().fold(0.0, |sum, s| sum + T::dispatch(level, SquareSum(s)));
    libm::sqrt(squares)
}

struct SquareSum<'a, T>(&'a [T]);

impl<T: Element> Kernel<T> for SquareSum<'_, T> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd<T>>(self, _: S) -> f64 {
        dot(self.0, self.0)
    }
}

/// What to [`scale`] gradients of norm `norm` by to bring it to `max_norm` at most:
/// min(1, `max_norm` / (`norm` + 10⁻⁶)).
///
/// As in PyTorch, an infinite norm gives 0 (which turns infinite gradients into NaN and the
/// others into 0) and a NaN norm gives NaN: no gradient passes for sound that is not. To
/// skip such a step, look at the norm first.
///
/// # Errors
/// [`Error::Invalid`] where `max_norm` is negative or NaN; infinity is allowed.
pub fn clip_coefficient(norm: f64, max_norm: f64) -> Result<f64, Error> {
    check("max_norm", max_norm >= 0.0, "a number, 0 or more")?;
    let coefficient = max_norm / (norm + 1e-6);
    // Not f64::min, which would turn NaN into 1.
    Ok(if coefficient > 1.0 { 1.0 } else { coefficient })
}

/// Multiplies every number of `slice` by `factor`, rounded to `T`.
pub fn scale<T: Element>(factor: f64, slice: &mut [T]) {
    if factor != 1.0 {
        T::dispatch(Level::best(), Each(Scale { factor, slice }));
    }
}

struct Scale<'a, T> {
    factor: f64,
    slice: &'a mut [T],
}

impl<T: Element> OfElements<T> for Scale<'_, T> {
    fn len(&self) -> usize {
        self.slice.len()
    }
    #[inline(always)]
    fn vector<S: Simd<T>, const PART: bool>(&mut self, s: S, at: usize) {
        let x = Lanes::read::<PART>(s, self.slice, at);
        (x * x.like(self.factor)).write::<PART>(self.slice, at);
    }
}
