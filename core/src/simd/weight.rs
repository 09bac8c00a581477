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
    /// The same, but that of a row that numbers stand for already come these numbers: what was rounded once stays.
    #[doc(hidden)]
    fn again(row: &[T], to: &mut [Self::Stored]) -> Self::Scale {
        Self::store(row, to)
    }
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
    /// `LANES` scales; where `PART`, as many as there are. Zeros where weights are not scaled.
    #[doc(hidden)]
    #[inline(always)]
    fn scales<S: Simd<T>, const PART: bool>(s: S, _: &[Self::Scale]) -> S::V {
        s.zero()
    }
    /// The weights of numbers with such scales; the numbers where weights are not scaled.
    #[doc(hidden)]
    #[inline(always)]
    fn scaled<S: Simd<T>>(_: S, numbers: S::V, _: S::V) -> S::V {
        numbers
    }
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
/// The scale is the row's largest magnitude, divided by 127.
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
}

/// `LANES` numbers from `at` on, of `n` where `PART`, widened one by one; the compiler makes vectors of the level of it.
///
/// # Safety
/// `at` must be valid for reads of as many numbers.
#[inline(always)]
unsafe fn widened<T: Real, S: Simd<T>, A: Copy, const PART: bool>(
    s: S,
    at: *const A,
    n: usize,
    widen: impl Fn(A) -> f32,
) -> S::V {
    // The longest vector there is.
    const MOST: usize = 16;
    const { assert!(S::LANES <= MOST) };
    let mut lanes = [T::ZERO; MOST];
    let mut i = 0;
    while i < if PART { n } else { S::LANES } {
        // SAFETY: as many numbers are valid for reads.
        lanes[i] = T::from_f32(widen(unsafe { *at.add(i) }));
        i += 1;
    }
    s.load(&lanes)
}

/// [`Simd::load_halves`] of a level that has no instruction for it.
///
/// # Safety
/// As there.
#[inline(always)]
pub(super) unsafe fn load_halves<T: Real, S: Simd<T>, const PART: bool>(
    s: S,
    at: *const u16,
    n: usize,
) -> S::V {
    // SAFETY: the caller's promise is the same.
    unsafe { widened::<T, S, u16, PART>(s, at, n, float) }
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
        unsafe { s.load_halves::<PART>(at, n) }
    }
}

impl Int8 {
    /// The numbers that are nearest to `row` with this scale.
    fn numbers<T: Real>(row: &[T], scale: T, to: &mut [i8]) {
        for (to, &weight) in to.iter_mut().zip(row) {
            // Saturates, and NaN becomes 0, as where all are 0.
            *to = (libm::rint((weight / scale).to_f64()) as i8).max(-127);
        }
    }
}

impl<T: Real> Weight<T> for Int8 {
    type Stored = i8;
    type Scale = T;
    const ZERO: i8 = 0;
    const UNSCALED: T = T::ZERO;

    fn store(row: &[T], to: &mut [i8]) -> T {
        let largest = |most: T, w: &T| if w.abs() > most { w.abs() } else { most };
        let scale = row.iter().fold(T::ZERO, largest) / T::from_f32(127.0);
        Self::numbers(row, scale, to);
        scale
    }
    fn again(row: &[T], to: &mut [i8]) -> T {
        let scale = Self::store(row, to);
        // The largest is 127 times a scale, rounded: the quotient may be that scale's neighbour.
        let (ulp, half) = (T::EPSILON, T::EPSILON * T::from_f32(0.5));
        for by in [T::ZERO, ulp, -ulp, half, -half] {
            let own = scale + scale * by;
            Self::numbers(row, own, to);
            if row.iter().zip(&*to).all(|(&w, &n)| <Self as Weight<T>>::weight(n, own) == w) {
                return own;
            }
        }
        Self::numbers(row, scale, to);
        scale
    }
    fn weight(stored: i8, scale: T) -> T {
        T::from_f32(f32::from(stored)) * scale
    }
    #[inline(always)]
    unsafe fn load_ptr<S: Simd<T>, const PART: bool>(s: S, at: *const i8, n: usize) -> S::V {
        // SAFETY: as many numbers are valid for reads.
        unsafe { widened::<T, S, i8, PART>(s, at, n, f32::from) }
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
