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
    #[inline(always)]
    fn scales<S: Simd<T>, const PART: bool>(s: S, _: &[()]) -> S::V {
        s.zero()
    }
    #[inline(always)]
    fn scaled<S: Simd<T>>(_: S, numbers: S::V, _: S::V) -> S::V {
        numbers
    }
}

/// Numbers that are widened one by one; the compiler makes vectors of the level of it.
macro_rules! widened {
    ($t:ty, $stored:ty, |$number:ident| $widen:expr) => {
        #[inline(always)]
        unsafe fn load_ptr<S: Simd<$t>, const PART: bool>(
            s: S,
            at: *const $stored,
            n: usize,
        ) -> S::V {
            // The longest vector there is.
            const MOST: usize = 16;
            const { assert!(S::LANES <= MOST) };
            let mut lanes = [0.0; MOST];
            let mut i = 0;
            while i < if PART { n } else { S::LANES } {
                // SAFETY: as many numbers are valid for reads.
                let $number = unsafe { *at.add(i) };
                lanes[i] = $widen;
                i += 1;
            }
            s.load(&lanes)
        }
    };
}

macro_rules! weight {
    ($t:ident, $rint:ident) => {
        impl Weight<$t> for Float16 {
            type Stored = u16;
            type Scale = ();
            const ZERO: u16 = 0;
            const UNSCALED: () = ();

            fn store(row: &[$t], to: &mut [u16]) {
                for (to, &weight) in to.iter_mut().zip(row) {
                    *to = half(weight as f32);
                }
            }
            fn weight(stored: u16, (): ()) -> $t {
                float(stored) as $t
            }
            widened!($t, u16, |number| float(number) as $t);
            #[inline(always)]
            fn scales<S: Simd<$t>, const PART: bool>(s: S, _: &[()]) -> S::V {
                s.zero()
            }
            #[inline(always)]
            fn scaled<S: Simd<$t>>(_: S, numbers: S::V, _: S::V) -> S::V {
                numbers
            }
        }

        impl Weight<$t> for Int8 {
            type Stored = i8;
            type Scale = $t;
            const ZERO: i8 = 0;
            const UNSCALED: $t = 0.0;

            fn store(row: &[$t], to: &mut [i8]) -> $t {
                let scale = row.iter().fold(0.0, |most: $t, w| most.max(w.abs())) / 127.0;
                for (to, weight) in to.iter_mut().zip(row) {
                    // Saturates, and NaN becomes 0, as where all are 0.
                    *to = (libm::$rint(weight / scale) as i8).max(-127);
                }
                scale
            }
            fn weight(stored: i8, scale: $t) -> $t {
                stored as $t * scale
            }
            widened!($t, i8, |number| number as $t);
            #[inline(always)]
            fn scales<S: Simd<$t>, const PART: bool>(s: S, from: &[$t]) -> S::V {
                if PART { s.load_partial(from) } else { s.load(from) }
            }
            #[inline(always)]
            fn scaled<S: Simd<$t>>(s: S, numbers: S::V, scales: S::V) -> S::V {
                s.mul(numbers, scales)
            }
        }
    };
}
weight!(f32, rintf);
weight!(f64, rint);

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
