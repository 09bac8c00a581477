//! The vectors of a level, with functions that are less exact and faster.

use super::sealed::Sealed;
use super::{Kernel, Simd};
use crate::real::Real;

/// A level whose [`FAST`](Simd::FAST) is true.
#[derive(Clone, Copy, Debug)]
pub struct Quick<S>(pub S);

/// A kernel that runs so.
pub struct Quickly<K>(pub K);

impl<T: Real, K: Kernel<T>> Kernel<T> for Quickly<K> {
    type Output = K::Output;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> K::Output {
        self.0.run(Quick(s))
    }
}

/// What is the level's own.
macro_rules! same {
    ($($name:ident($($of:ident: $t:ty),*) -> $out:ty),* $(,)?) => {
        $(
            #[inline(always)]
            fn $name(self, $($of: $t),*) -> $out {
                self.0.$name($($of),*)
            }
        )*
    };
}

impl<S: Sealed> Sealed for Quick<S> {}

impl<T: Real, S: Simd<T>> Simd<T> for Quick<S> {
    type V = S::V;
    type M = S::M;
    const LANES: usize = S::LANES;
    const REGISTERS: usize = S::REGISTERS;
    const FUSES: bool = S::FUSES;
    const FAST: bool = true;
    const PREFETCHES: bool = S::PREFETCHES;
    const HALVES: bool = S::HALVES;

    #[inline(always)]
    fn run<K: Kernel<T>>(self, kernel: K) -> K::Output {
        self.0.run(Quickly(kernel))
    }
    #[inline(always)]
    unsafe fn load_ptr(self, at: *const T) -> Self::V {
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.load_ptr(at) }
    }
    #[inline(always)]
    unsafe fn load_ptr_partial(self, at: *const T, n: usize) -> Self::V {
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.load_ptr_partial(at, n) }
    }
    #[inline(always)]
    unsafe fn load_halves<const PART: bool>(self, at: *const u16, n: usize) -> Self::V {
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.load_halves::<PART>(at, n) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, at: *mut T, v: Self::V) {
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.store_ptr(at, v) }
    }
    #[inline(always)]
    unsafe fn store_ptr_partial(self, at: *mut T, v: Self::V, n: usize) {
        // SAFETY: the caller's promise is the same.
        unsafe { self.0.store_ptr_partial(at, v, n) }
    }
    same!(
        splat(x: T) -> Self::V,
        add(a: Self::V, b: Self::V) -> Self::V,
        sub(a: Self::V, b: Self::V) -> Self::V,
        mul(a: Self::V, b: Self::V) -> Self::V,
        div(a: Self::V, b: Self::V) -> Self::V,
        sqrt(a: Self::V) -> Self::V,
        mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V,
        neg_mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V,
        min(a: Self::V, b: Self::V) -> Self::V,
        max(a: Self::V, b: Self::V) -> Self::V,
        lt(a: Self::V, b: Self::V) -> Self::M,
        le(a: Self::V, b: Self::V) -> Self::M,
        eq(a: Self::V, b: Self::V) -> Self::M,
        any(m: Self::M) -> bool,
        odd(n: Self::V) -> Self::M,
        flip(v: Self::V, n: Self::V) -> Self::V,
        split(a: Self::V) -> (Self::V, Self::V),
        select(m: Self::M, a: Self::V, b: Self::V) -> Self::V,
        abs(a: Self::V) -> Self::V,
        copysign(a: Self::V, sign: Self::V) -> Self::V,
        exponent(sum: Self::V) -> Self::V,
        prefetch(at: &[T]) -> (),
    );
}
