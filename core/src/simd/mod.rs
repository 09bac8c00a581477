//! Vectors of several widths behind one small trait, and the tokens that prove an
//! instruction set may run. This folder alone holds `unsafe`.
//!
//! A kernel is written once, over any [`Simd`], and handed to a token's
//! [`run`](Simd::run), which enters a function compiled for that instruction set;
//! everything the kernel calls is inlined into it. `run` inside a kernel is how a
//! piece of work becomes a function of its own: the same token, one more call.

pub(crate) mod flat;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod intrinsics;
mod level;
#[cfg(target_arch = "aarch64")]
mod neon;
mod pair;
// Where `wide` has vectors, these; else its arrays would be slower than numbers. `--cfg unrolled_scalar` is for tests.
#[cfg_attr(
    any(
        unrolled_scalar,
        not(any(
            target_feature = "sse2",
            all(target_arch = "aarch64", target_feature = "neon"),
            all(target_arch = "wasm32", target_feature = "simd128"),
        ))
    ),
    path = "scalar.rs"
)]
mod portable;
mod quick;
#[cfg(all(test, feature = "std"))]
mod scalar;
#[cfg(all(test, feature = "std"))]
mod tests;
pub(crate) mod tile;
#[cfg(all(target_arch = "arm", target_abi = "eabihf"))]
#[path = "neon/vfp.rs"]
mod vfp;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
#[path = "neon/wasm.rs"]
mod wasm;
mod weight;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use level::{Isa, Level};
#[cfg(all(feature = "std", target_arch = "aarch64"))]
pub(crate) use neon::ticks;
pub(crate) use pair::Pair;
pub(crate) use quick::Quickly;
pub(crate) use tile::{Extent, Lhs, Rhs, Tile, accumulate, accumulate_stored};
pub use weight::{Float16, Full, Int8, Weight};
#[cfg(all(feature = "std", target_arch = "x86_64"))]
pub(crate) use x86::ticks;

use crate::real::Real;
use core::ops::{Add, Div, Mul, Neg, Sub};

/// A float the kernels run on: chooses the code for a [`Level`].
pub trait Element: Real {
    /// Runs `kernel` compiled for `level`.
    fn dispatch<K: Kernel<Self>>(level: Level, kernel: K) -> K::Output;
}

/// A clock that goes evenly.
#[cfg(all(feature = "std", not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
pub(crate) fn ticks() -> u64 {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed().as_nanos() as u64
}

/// Work that can be compiled for any instruction set. `run` must be `#[inline(always)]`.
pub trait Kernel<T: Real> {
    /// What the work returns.
    type Output;
    /// Does the work with the vectors of `s`.
    fn run<S: Simd<T>>(self, s: S) -> Self::Output;
}

mod sealed {
    /// An instruction set of this crate: unsafe code counts on what [`Simd`](super::Simd) says of its vectors.
    pub trait Sealed {}
}

/// An instruction set, as a token that exists only where it may run, and its vectors of `T`. Sealed.
///
/// Every operation but [`mul_add`](Simd::mul_add) is correctly rounded on every level;
/// `mul_add` is fused except on a portable build for a target without the instruction; with WebAssembly's relaxed SIMD
/// the engine chooses.
pub trait Simd<T: Real>: sealed::Sealed + Copy + Send + Sync + 'static {
    /// A vector of `LANES` values.
    type V: Copy;
    /// A truth value per lane.
    type M: Copy;
    /// Values in a vector.
    const LANES: usize;
    /// Vector registers.
    const REGISTERS: usize;
    /// Whether [`mul_add`](Simd::mul_add) rounds once.
    const FUSES: bool;
    /// Whether [`Lanes::tanh`] and [`Lanes::sigmoid`] may be less exact, to be faster.
    const FAST: bool = false;
    /// Whether [`prefetch`](Simd::prefetch) does anything.
    const PREFETCHES: bool = false;
    /// Whether [`load_halves`](Simd::load_halves) is the level's own, and so takes hardly longer than to load.
    const HALVES: bool = false;

    /// Enters a function compiled for this instruction set and runs `kernel` in it.
    fn run<K: Kernel<T>>(self, kernel: K) -> K::Output;

    /// `x` in every lane.
    fn splat(self, x: T) -> Self::V;
    /// `LANES` values from `at` on.
    ///
    /// # Safety
    /// `at` must be valid for reads of `LANES` values.
    unsafe fn load_ptr(self, at: *const T) -> Self::V;
    /// `n` values from `at` on, zeros in the other lanes.
    ///
    /// # Safety
    /// `at` must be valid for reads of `n` ≤ `LANES` values.
    unsafe fn load_ptr_partial(self, at: *const T, n: usize) -> Self::V;
    /// `LANES` numbers from `at` on that are stored as [`Float16`]; where `PART`, `n`, and zeros in the other lanes.
    ///
    /// # Safety
    /// `at` must be valid for reads of as many numbers, and `n` ≤ `LANES`.
    #[inline(always)]
    unsafe fn load_halves<const PART: bool>(self, at: *const u16, n: usize) -> Self::V {
        // SAFETY: the caller's promise is the same.
        unsafe { weight::load_halves::<T, Self, PART>(self, at, n) }
    }
    /// Writes all lanes from `at` on.
    ///
    /// # Safety
    /// `at` must be valid for writes of `LANES` values.
    unsafe fn store_ptr(self, at: *mut T, v: Self::V);
    /// Writes the first `n` lanes from `at` on.
    ///
    /// # Safety
    /// `at` must be valid for writes of `n` ≤ `LANES` values.
    unsafe fn store_ptr_partial(self, at: *mut T, v: Self::V, n: usize);

    /// a + b
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a − b
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a · b
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a / b
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// √a; NaN for a < 0.
    fn sqrt(self, a: Self::V) -> Self::V;
    /// a · b + c
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// c − a · b
    fn neg_mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller; `b` where either is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger; `b` where either is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// a < b; false where either is NaN.
    fn lt(self, a: Self::V, b: Self::V) -> Self::M;
    /// a ≤ b; false where either is NaN.
    fn le(self, a: Self::V, b: Self::V) -> Self::M;
    /// a = b; false where either is NaN.
    fn eq(self, a: Self::V, b: Self::V) -> Self::M;
    /// Whether `m` is true in any lane.
    fn any(self, m: Self::M) -> bool;
    /// `a` where `m`, else `b`.
    fn select(self, m: Self::M, a: Self::V, b: Self::V) -> Self::V;
    /// |a|
    fn abs(self, a: Self::V) -> Self::V;
    /// |a| with the sign of `sign`.
    fn copysign(self, a: Self::V, sign: Self::V) -> Self::V;
    /// 2ⁿ of the sum 1.5 · 2²³ + 127 + n (f32), 1.5 · 2⁵² + 1023 + n (f64), for an integral n from −126 to 127 (f32),
    /// −1022 to 1023 (f64); 0 for the n before these. The sum has n + bias in its low bits.
    fn exponent(self, sum: Self::V) -> Self::V;
    /// Where an integral n, of magnitude 2²² (f32) or 2⁵¹ (f64) at most, is odd.
    fn odd(self, n: Self::V) -> Self::M;
    /// v (−1)^⌊n/2⌋ for an n that [`odd`](Simd::odd) takes: v negated where n mod 4 is 2 or 3.
    fn flip(self, v: Self::V, n: Self::V) -> Self::V;
    /// (n, m) with a = 2ⁿ m, n integral and m between √½ and √2, for a positive normal a. For any other a both may
    /// be anything.
    fn split(self, a: Self::V) -> (Self::V, Self::V);

    /// A hint that the cache line of `at`'s first value is about to be read and written.
    #[inline(always)]
    fn prefetch(self, at: &[T]) {
        let _ = at;
    }
    /// Zero in every lane.
    #[inline(always)]
    fn zero(self) -> Self::V {
        self.splat(T::ZERO)
    }
    /// The first `LANES` values of `from`. Panics on a shorter slice.
    #[inline(always)]
    fn load(self, from: &[T]) -> Self::V {
        let from = &from[..Self::LANES];
        // SAFETY: the slice is of LANES values.
        unsafe { self.load_ptr(from.as_ptr()) }
    }
    /// Up to `LANES` values of `from`; zeros in the lanes it does not reach.
    #[inline(always)]
    fn load_partial(self, from: &[T]) -> Self::V {
        // SAFETY: n is neither more than the slice holds nor than LANES.
        unsafe { self.load_ptr_partial(from.as_ptr(), from.len().min(Self::LANES)) }
    }
    /// Writes the first `LANES` values of `to`. Panics on a shorter slice.
    #[inline(always)]
    fn store(self, to: &mut [T], v: Self::V) {
        let to = &mut to[..Self::LANES];
        // SAFETY: the slice is of LANES values.
        unsafe { self.store_ptr(to.as_mut_ptr(), v) }
    }
    /// Writes as many lanes as `to` holds, `LANES` at most.
    #[inline(always)]
    fn store_partial(self, to: &mut [T], v: Self::V) {
        // SAFETY: n is neither more than the slice holds nor than LANES.
        unsafe { self.store_ptr_partial(to.as_mut_ptr(), v, to.len().min(Self::LANES)) }
    }
}

/// A vector with operators, so that a formula in the code reads like the formula.
#[derive(Clone, Copy)]
pub struct Lanes<T: Real, S: Simd<T>> {
    /// The values.
    pub v: S::V,
    s: S,
}

impl<T: Real, S: Simd<T>> Lanes<T, S> {
    /// Wraps a vector of `s`.
    #[inline(always)]
    pub fn new(s: S, v: S::V) -> Self {
        Self { v, s }
    }
    /// `x`, rounded to `T`, in every lane.
    #[inline(always)]
    pub fn splat(s: S, x: f64) -> Self {
        Self::new(s, s.splat(T::from_f64(x)))
    }
    /// `x`, rounded to `T`, in every lane, in the instruction set of `self`.
    #[inline(always)]
    pub fn like(self, x: f64) -> Self {
        Self::splat(self.s, x)
    }
    /// `LANES` values of `from` starting at `at`; where `PART`, as many as there are.
    #[inline(always)]
    pub fn read<const PART: bool>(s: S, from: &[T], at: usize) -> Self {
        let from = &from[at..];
        Self::new(s, if PART { s.load_partial(from) } else { s.load(from) })
    }
    /// Writes the lanes to `to` starting at `at`; where `PART`, as many as fit.
    #[inline(always)]
    pub fn write<const PART: bool>(self, to: &mut [T], at: usize) {
        let to = &mut to[at..];
        if PART { self.s.store_partial(to, self.v) } else { self.s.store(to, self.v) }
    }
    /// `self` · `a` + `b`
    #[inline(always)]
    pub fn mul_add(self, a: Self, b: Self) -> Self {
        Self::new(self.s, self.s.mul_add(self.v, a.v, b.v))
    }
    /// `b` − `self` · `a`
    #[inline(always)]
    pub fn neg_mul_add(self, a: Self, b: Self) -> Self {
        Self::new(self.s, self.s.neg_mul_add(self.v, a.v, b.v))
    }
    /// The smaller of `self` and `limit`; NaN stays.
    #[inline(always)]
    pub fn at_most(self, limit: f64) -> Self {
        Self::new(self.s, self.s.min(self.like(limit).v, self.v))
    }
    /// The larger of `self` and `limit`; NaN stays.
    #[inline(always)]
    pub fn at_least(self, limit: f64) -> Self {
        Self::new(self.s, self.s.max(self.like(limit).v, self.v))
    }
    /// `a` where `self` < `limit`, else `b`.
    #[inline(always)]
    pub fn if_less(self, limit: Self, a: Self, b: Self) -> Self {
        Self::new(self.s, self.s.select(self.s.lt(self.v, limit.v), a.v, b.v))
    }
    /// `a` where `self` ≤ `limit`, else `b`.
    #[inline(always)]
    pub fn if_less_equal(self, limit: Self, a: Self, b: Self) -> Self {
        Self::new(self.s, self.s.select(self.s.le(self.v, limit.v), a.v, b.v))
    }
    /// `a` where `self` = `other`, else `b`.
    #[inline(always)]
    pub fn if_equal(self, other: Self, a: Self, b: Self) -> Self {
        Self::new(self.s, self.s.select(self.s.eq(self.v, other.v), a.v, b.v))
    }
    /// `a` where `self`, integral and within the bounds of [`Simd::odd`], is odd, else `b`.
    #[inline(always)]
    pub fn if_odd(self, a: Self, b: Self) -> Self {
        Self::new(self.s, self.s.select(self.s.odd(self.v), a.v, b.v))
    }
    /// The smaller of both, NaN where either is, as NumPy's `minimum`. Of two zeros `other`.
    #[inline(always)]
    pub fn minimum(self, other: Self) -> Self {
        // `min` gives `other` where either is NaN.
        self.if_equal(self, Self::new(self.s, self.s.min(self.v, other.v)), self)
    }
    /// The larger of both, NaN where either is, as NumPy's `maximum`. Of two zeros `other`.
    #[inline(always)]
    pub fn maximum(self, other: Self) -> Self {
        self.if_equal(self, Self::new(self.s, self.s.max(self.v, other.v)), self)
    }
    /// Whether `self` > `limit` in any lane.
    #[inline(always)]
    pub(crate) fn any_above(self, limit: f64) -> bool {
        self.s.any(self.s.lt(self.like(limit).v, self.v))
    }
    /// What `f` makes of the values of `self` and of `y`, in place, in those of `y`.
    #[inline(always)]
    pub(crate) fn by_lane(self, y: Self, f: impl FnOnce(&[T], &mut [T])) -> Self {
        // A pair of the longest vectors there are.
        const MOST: usize = 32;
        const { assert!(S::LANES <= MOST) };
        let mut values = [[T::ZERO; MOST]; 2];
        let [x, out] = &mut values;
        self.s.store(x, self.v);
        self.s.store(out, y.v);
        f(&x[..S::LANES], &mut out[..S::LANES]);
        Self::new(self.s, self.s.load(out))
    }
    /// Square root.
    #[inline(always)]
    pub fn sqrt(self) -> Self {
        Self::new(self.s, self.s.sqrt(self.v))
    }
    /// Magnitude.
    #[inline(always)]
    pub fn abs(self) -> Self {
        Self::new(self.s, self.s.abs(self.v))
    }
    /// |`self`| with the sign of `sign`.
    #[inline(always)]
    pub fn copysign(self, sign: Self) -> Self {
        Self::new(self.s, self.s.copysign(self.v, sign.v))
    }
    /// 2ⁿ of a sum with n: see [`Simd::exponent`].
    #[inline(always)]
    pub(crate) fn exponent(self) -> Self {
        Self::new(self.s, self.s.exponent(self.v))
    }
    /// `self`, negated where ⌊`n`/2⌋ is odd: see [`Simd::flip`] for the range.
    #[inline(always)]
    pub fn flip(self, n: Self) -> Self {
        Self::new(self.s, self.s.flip(self.v, n.v))
    }
    /// Exponent and mantissa of a positive normal number: see [`Simd::split`].
    #[inline(always)]
    pub fn split(self) -> (Self, Self) {
        let (n, m) = self.s.split(self.v);
        (Self::new(self.s, n), Self::new(self.s, m))
    }
}

macro_rules! operator {
    ($op:ident, $name:ident) => {
        impl<T: Real, S: Simd<T>> $op for Lanes<T, S> {
            type Output = Self;
            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                Self::new(self.s, self.s.$name(self.v, other.v))
            }
        }
    };
}
operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);

impl<T: Real, S: Simd<T>> Neg for Lanes<T, S> {
    type Output = Self;
    #[inline(always)]
    fn neg(self) -> Self {
        // 0 − x would turn −0 into 0.
        self * self.like(-1.0)
    }
}
