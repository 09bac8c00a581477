//! The float types the crate works in.

use core::fmt::{Debug, Display};
use core::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `f32` or `f64`: what a scalar loop needs of a float, without `std`. Sealed.
pub trait Real:
    sealed::Sealed
    + Copy
    + Default
    + PartialEq
    + PartialOrd
    + Debug
    + Display
    + Send
    + Sync
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// From 1 to the next greater number.
    const EPSILON: Self;
    /// Elements in 64 bytes: every run-time buffer pads its rows to a multiple of
    /// this, so one layout serves all levels.
    const PAD: usize;
    /// The name users know the type by: `"float32"` or `"float64"`.
    const NAME: &'static str;

    /// Nearest value to `x`.
    fn from_f64(x: f64) -> Self;
    /// `x`, exactly.
    fn from_f32(x: f32) -> Self;
    /// `self`, exactly.
    fn to_f64(self) -> f64;
    /// √`self`, correctly rounded.
    fn sqrt(self) -> Self;
    /// e to the power `self` (libm; the vector kernels have their own).
    fn exp(self) -> Self;
    /// Natural logarithm (libm).
    fn ln(self) -> Self;
    /// ln(1 + `self`), exact near 0 (libm).
    fn ln_1p(self) -> Self;
    /// Sine (libm).
    fn sin(self) -> Self;
    /// Cosine (libm).
    fn cos(self) -> Self;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// The magnitude.
    fn abs(self) -> Self;
}

macro_rules! real {
    ($t:ident, $name:literal, $sqrt:ident, $exp:ident, $ln:ident, $ln_1p:ident, $sin:ident, $cos:ident) => {
        impl Real for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const EPSILON: Self = $t::EPSILON;
            const PAD: usize = 64 / size_of::<$t>();
            const NAME: &'static str = $name;

            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $t
            }
            #[inline(always)]
            fn from_f32(x: f32) -> Self {
                x.into()
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                libm::$sqrt(self)
            }
            fn exp(self) -> Self {
                libm::$exp(self)
            }
            fn ln(self) -> Self {
                libm::$ln(self)
            }
            fn ln_1p(self) -> Self {
                libm::$ln_1p(self)
            }
            fn sin(self) -> Self {
                libm::$sin(self)
            }
            fn cos(self) -> Self {
                libm::$cos(self)
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                $t::is_finite(self)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $t::abs(self)
            }
        }
    };
}
real!(f32, "float32", sqrtf, expf, logf, log1pf, sinf, cosf);
real!(f64, "float64", sqrt, exp, log, log1p, sin, cos);
