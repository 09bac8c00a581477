//! Parameters of a cell, its weights stored smaller.

use super::Parameters;
use crate::cell::Cell;
use crate::error::Error;
use crate::real::Real;
use crate::simd::Weight;
use crate::simd::flat::filled;
use core::fmt;

/// [`Parameters`] whose weights are stored as [`Float16`](super::Float16) or [`Int8`](super::Int8), for a cell that is
/// [made of them](super::Fixed::from_compressed); biases, of which there are few, are not. For training there is no such
/// cell.
///
/// ```
/// use unrolled::Lstm;
/// use unrolled::fixed::{Compressed, Int8, Parameters};
///
/// # let mut parameters = Parameters::zeros();
/// # parameters.w_ih = [[[0.1], [0.2]], [[0.3], [0.4]], [[0.5], [0.6]], [[0.7], [0.8]]];
/// # parameters.w_hh = [[[0.1, -0.02], [0.03, 0.1]]; 4];
/// // … parameters of an LSTM of one input and two units
/// let compressed = Compressed::<_, f32, 1, 2, Int8>::of(&parameters)?;
/// let small: Lstm<f32, 1, 2, Int8> = Lstm::from_compressed(&compressed);
/// let (mut state, mut other) = (small.zero_state(), small.zero_state());
/// // It gives what the cell of the weights that the stored ones stand for gives, bit for bit.
/// let same = Lstm::from_parameters(&compressed.parameters());
/// assert_eq!(small.step(&[1.0], &mut state), same.step(&[1.0], &mut other));
/// # Ok::<(), unrolled::Error>(())
/// ```
#[derive(Clone, Copy)]
pub struct Compressed<C: Cell, T: Real, const I: usize, const H: usize, W: Weight<T>> {
    /// Maps of x, by block, unit and input.
    pub w_ih: C::MapsOfX<[[W::Stored; I]; H]>,
    /// Maps of h, and of computed values.
    pub w_hh: C::MapsOfH<[[W::Stored; H]; H]>,
    /// The scale of each row of `w_ih`.
    pub scale_ih: C::MapsOfX<[W::Scale; H]>,
    /// The scale of each row of `w_hh`.
    pub scale_hh: C::MapsOfH<[W::Scale; H]>,
    /// Biases beside `w_ih`.
    pub b_ih: C::MapsOfX<[T; H]>,
    /// Biases beside `w_hh`.
    pub b_hh: C::MapsOfH<[T; H]>,
    /// What each unit has for itself.
    pub w_p: C::Parameters<[T; H]>,
}

impl<C: Cell, T: Real, const I: usize, const H: usize, W: Weight<T>> Compressed<C, T, I, H, W> {
    /// The nearest that there is to `parameters`.
    ///
    /// # Errors
    /// `Invalid` where a weight is infinite or not a number.
    pub fn of(parameters: &Parameters<C, T, I, H>) -> Result<Self, Error> {
        let [w_ih, w_hh, ..] = parameters.slices();
        for (argument, weights) in [("w_ih", w_ih), ("w_hh", w_hh)] {
            if !weights.iter().all(|w| w.is_finite()) {
                return Err(Error::Invalid { argument, expected: "finite numbers" });
            }
        }
        let mut this: Self = Compressed {
            w_ih: filled([[W::ZERO; I]; H]),
            w_hh: filled([[W::ZERO; H]; H]),
            scale_ih: filled([W::UNSCALED; H]),
            scale_hh: filled([W::UNSCALED; H]),
            b_ih: parameters.b_ih,
            b_hh: parameters.b_hh,
            w_p: parameters.w_p,
        };
        let to: &mut [[[W::Stored; I]; H]] = this.w_ih.as_mut();
        let scales = this.scale_ih.as_mut().as_flattened_mut();
        store::<T, W, I>(parameters.w_ih.as_ref().as_flattened(), to.as_flattened_mut(), scales);
        let to: &mut [[[W::Stored; H]; H]] = this.w_hh.as_mut();
        let scales = this.scale_hh.as_mut().as_flattened_mut();
        store::<T, W, H>(parameters.w_hh.as_ref().as_flattened(), to.as_flattened_mut(), scales);
        Ok(this)
    }

    /// The parameters that these stand for.
    #[must_use]
    pub fn parameters(&self) -> Parameters<C, T, I, H> {
        let mut parameters: Parameters<C, T, I, H> =
            Parameters { b_ih: self.b_ih, b_hh: self.b_hh, w_p: self.w_p, ..Parameters::zeros() };
        let from: &[[[W::Stored; I]; H]] = self.w_ih.as_ref();
        let (scales, to) = (self.scale_ih.as_ref().as_flattened(), parameters.w_ih.as_mut());
        weights::<T, W, I>(from.as_flattened(), scales, to.as_flattened_mut());
        let from: &[[[W::Stored; H]; H]] = self.w_hh.as_ref();
        let (scales, to) = (self.scale_hh.as_ref().as_flattened(), parameters.w_hh.as_mut());
        weights::<T, W, H>(from.as_flattened(), scales, to.as_flattened_mut());
        parameters
    }
}

/// Stores rows of weights.
fn store<T: Real, W: Weight<T>, const K: usize>(
    from: &[[T; K]],
    to: &mut [[W::Stored; K]],
    scales: &mut [W::Scale],
) {
    for ((from, to), scale) in from.iter().zip(to).zip(scales) {
        *scale = W::store(from, to);
    }
}

/// The mirror of [`store`].
fn weights<T: Real, W: Weight<T>, const K: usize>(
    from: &[[W::Stored; K]],
    scales: &[W::Scale],
    to: &mut [[T; K]],
) {
    for ((from, &scale), to) in from.iter().zip(scales).zip(to) {
        for (&stored, to) in from.iter().zip(to) {
            *to = W::weight(stored, scale);
        }
    }
}

impl<C: Cell, T: Real, const I: usize, const H: usize, W: Weight<T>> fmt::Debug
    for Compressed<C, T, I, H, W>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compressed")
            .field("w_ih", &self.w_ih.as_ref())
            .field("w_hh", &self.w_hh.as_ref())
            .field("scale_ih", &self.scale_ih.as_ref())
            .field("scale_hh", &self.scale_hh.as_ref())
            .field("b_ih", &self.b_ih.as_ref())
            .field("b_hh", &self.b_hh.as_ref())
            .field("w_p", &self.w_p.as_ref())
            .finish()
    }
}
