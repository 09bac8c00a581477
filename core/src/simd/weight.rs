//! Weights as they are stored: as the floats that are computed with, or smaller.

use super::Simd;
use crate::real::Real;

/// How weights of a layer of `T` are stored: in [`Full`], as [`Float16`] or as [`Int8`]. Sealed.
///
/// Whatever they are stored as, they become `T` before anything is done with them, and all sums are of `T`. So a cell of
/// smaller weights gives what the cell of the weights that they stand for gives, bit for bit.
pub trait Weight<T: Real>: sealed::Sealed + Copy + 'static {
    /// A stored number.
    type Stored: Copy + PartialEq + core::fmt::Debug;
    /// What the numbers of a row are multiplied by.
    type Scale: Copy + PartialEq + core::fmt::Debug;
    /// 0.
    const ZERO: Self::Stored;
    /// A scale, of any value.
    const UNSCALED: Self::Scale;

    /// Stores a row of weights as nearly as can be, and says its scale.
    fn store(row: &[T], to: &mut [Self::Stored]) -> Self::Scale;
    /// The weight that a number of a row with this scale stands for.
    fn weight(stored: Self::Stored, scale: Self::Scale) -> T;

    /// `LANES` numbers from `at` on, without their scales; where `PART`, `n`, and zeros in the other lanes.
    ///
    /// # Safety
    /// `at` must be valid for reads of as many numbers, and `n` ≤ `LANES`.
    #[doc(hidden)]
    unsafe fn load_ptr<S: Simd<T>, const PART: bool>(
        s: S,
        at: *const Self::Stored,
        n: usize,
    ) -> S::V;
    /// `LANES` scales; where `PART`, as many as there are.
    #[doc(hidden)]
    fn scales<S: Simd<T>, const PART: bool>(s: S, from: &[Self::Scale]) -> S::V;
    /// The weights of numbers with such scales.
    #[doc(hidden)]
    fn scaled<S: Simd<T>>(s: S, numbers: S::V, scales: S::V) -> S::V;
}

mod sealed {
    /// The ways that the levels can read.
    pub trait Sealed {}
    impl Sealed for super::Full {}
    impl Sealed for super::Float16 {}
    impl Sealed for super::Int8 {}
}

/// Weights as they are.
#[derive(Clone, Copy, Debug)]
pub struct Full;

/// Weights as numbers of 16 bits, eleven of them significant: half the memory. They are stored as the bits of IEEE 754's
/// binary16.
///
/// What is nearer to 0 than 2⁻¹⁴, the least normal number, becomes that or 0; what lies beyond 65504 becomes that.
#[derive(Clone, Copy, Debug)]
pub struct Float16;

/// Weights as integers from −127 to 127, a quarter of the memory, and a scale for each row, of what one unit's gate adds up.
///
/// The scale is the row's largest magnitude, divided by 127 and rounded up to seven significant bits less than the float has.
#[derive(Clone, Copy, Debug)]
pub struct Int8;

impl<T: Real> Weight<T> for Full {
    type Stored = T;
    type Scale = ();
    const ZERO: T = T::ZERO;
    const UNSCALED: () = ();

    fn store(row: &[T], to: &mut [T]) {
        to.copy_from_slice(row);
    }
    fn weight(stored: T, (): ()) -> T {
        stored
    }
    #[inline(always)]
    unsafe fn load_ptr<S: Simd<T>, const PART: bool>(s: S, at: *const T, n: usize) -> S::V {
        // SAFETY: as many values are valid for reads.
        unsafe { if PART { s.load_ptr_partial(at, n) } else { s.load_ptr(at) } }
    }
    #[inline(always)]
    fn scales<S: Simd<T>, const PART: bool>(s: S, _: &[()]) -> S::V {
        s.zero()
    }
    #[inline(always)]
    fn scaled<S: Simd<T>>(_: S, numbers: S::V, _: S::V) -> S::V {
        numbers
    }
}

/// Of a pair of the longest vectors there are.
const MOST_LANES: usize = 32;

/// `n` halves, at most a vector of them, and zeros in the other lanes; the compiler makes vectors of the level of it.
///
/// # Safety
/// `at` must be valid for reads of `n` numbers.
#[inline(always)]
pub(super) unsafe fn halves<T: Real, S: Simd<T>>(s: S, at: *const u16, n: usize) -> S::V {
    let mut lanes = [T::ZERO; MOST_LANES];
    for i in 0..n.min(S::LANES) {
        // SAFETY: as many numbers are valid for reads.
        lanes[i] = T::from_f32(float(unsafe { *at.add(i) }));
    }
    s.load(&lanes)
}

impl<T: Real> Weight<T> for Float16 {
    type Stored = u16;
    type Scale = ();
    const ZERO: u16 = 0;
    const UNSCALED: () = ();

    fn store(row: &[T], to: &mut [u16]) {
        for (to, &weight) in to.iter_mut().zip(row) {
            *to = half(weight.to_f64() as f32);
        }
    }
    fn weight(stored: u16, (): ()) -> T {
        T::from_f32(float(stored))
    }
    #[inline(always)]
    unsafe fn load_ptr<S: Simd<T>, const PART: bool>(s: S, at: *const u16, n: usize) -> S::V {
        // SAFETY: as many numbers are valid for reads.
        unsafe { if PART { halves(s, at, n) } else { s.load_halves_ptr(at) } }
    }
    #[inline(always)]
    fn scales<S: Simd<T>, const PART: bool>(s: S, _: &[()]) -> S::V {
        s.zero()
    }
    #[inline(always)]
    fn scaled<S: Simd<T>>(_: S, numbers: S::V, _: S::V) -> S::V {
        numbers
    }
}

impl<T: Real> Weight<T> for Int8 {
    type Stored = i8;
    type Scale = T;
    const ZERO: i8 = 0;
    const UNSCALED: T = T::ZERO;

    fn store(row: &[T], to: &mut [i8]) -> T {
        let most = row.iter().fold(0.0, |most: f64, w| most.max(w.to_f64().abs()));
        let scale = seven_bits_less(T::from_f64(most) / T::from_i8(127));
        for (to, &weight) in to.iter_mut().zip(row) {
            // Saturates, and NaN becomes 0, as where all are 0.
            *to = (libm::rint((weight / scale).to_f64()) as i8).max(-127);
        }
        scale
    }
    fn weight(stored: i8, scale: T) -> T {
        T::from_i8(stored) * scale
    }
    // One by one; the compiler makes vectors of the level of it.
    #[inline(always)]
    unsafe fn load_ptr<S: Simd<T>, const PART: bool>(s: S, at: *const i8, n: usize) -> S::V {
        let mut lanes = [T::ZERO; MOST_LANES];
        let mut i = 0;
        while i < if PART { n } else { S::LANES } {
            // SAFETY: as many numbers are valid for reads.
            lanes[i] = T::from_i8(unsafe { *at.add(i) });
            i += 1;
        }
        s.load(&lanes)
    }
    #[inline(always)]
    fn scales<S: Simd<T>, const PART: bool>(s: S, from: &[T]) -> S::V {
        if PART { s.load_partial(from) } else { s.load(from) }
    }
    #[inline(always)]
    fn scaled<S: Simd<T>>(s: S, numbers: S::V, scales: S::V) -> S::V {
        s.mul(numbers, scales)
    }
}

/// The next number, `scale` itself or greater, of seven significant bits less than `T` has: a number of seven bits times
/// that is exact, and what is stored of stored weights is what was stored.
fn seven_bits_less<T: Real>(scale: T) -> T {
    let dropped = (1_u64 << if size_of::<T>() == 4 { 29 + 7 } else { 7 }) - 1;
    T::from_f64(f64::from_bits(scale.to_f64().to_bits().wrapping_add(dropped) & !dropped))
}

/// The bits of the nearest number of binary16, of two the even one.
fn half(weight: f32) -> u16 {
    const LEAST: u32 = (127 - 14) << 23;
    let (sign, bits) = (weight.to_bits() & (1 << 31), weight.to_bits() & !(1 << 31));
    let magnitude = if bits < LEAST {
        if bits > LEAST - (1 << 23) { 1 << 10 } else { 0 }
    } else {
        // Thirteen bits less, and another bias of the exponent.
        let rounded = bits + 0xfff + ((bits >> 13) & 1);
        ((rounded - ((127 - 15) << 23)) >> 13).min(0x7bff)
    };
    ((sign >> 16) | magnitude) as u16
}

/// Its value: the exponent's bias is put right by a product, which is exact.
#[inline(always)]
fn float(half: u16) -> f32 {
    let bits = u32::from(half);
    let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits((127 + 112) << 23);
    f32::from_bits(magnitude.to_bits() | ((bits & 0x8000) << 16))
}
