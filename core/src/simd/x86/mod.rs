//! The levels chosen at run time on x86-64. Both are instances of one macro: the two
//! files name the intrinsics, the logic stands here.

use core::arch::x86_64::*;

mod avx2;
mod avx512;

pub use avx2::Avx2;
pub use avx512::Avx512;

// Parts of a vector are written by ever narrower whole registers, not under a mask: what reads them next need not wait
// until they are in the cache. Where n is a constant nothing is left of the questions.

/// Writes the first n ≤ 8 values of `v`.
///
/// # Safety
/// AVX must be there, and `at` valid for writes of `n` values.
#[inline(always)]
unsafe fn store_few_ps(mut at: *mut f32, v: __m256, n: usize) {
    // SAFETY: AVX is there, and n values are valid for writes: each store is of as many as n's bit stands for, one
    // behind the other.
    unsafe {
        if n >= 8 {
            return _mm256_storeu_ps(at, v);
        }
        let mut v4 = _mm256_castps256_ps128(v);
        if n & 4 != 0 {
            _mm_storeu_ps(at, v4);
            (at, v4) = (at.add(4), _mm256_extractf128_ps::<1>(v));
        }
        if n & 2 != 0 {
            _mm_storel_pd(at.cast(), _mm_castps_pd(v4));
            (at, v4) = (at.add(2), _mm_movehl_ps(v4, v4));
        }
        if n & 1 != 0 {
            _mm_store_ss(at, v4);
        }
    }
}

/// Writes the first n ≤ 4 values of `v`.
///
/// # Safety
/// AVX must be there, and `at` valid for writes of `n` values.
#[inline(always)]
unsafe fn store_few_pd(mut at: *mut f64, v: __m256d, n: usize) {
    // SAFETY: AVX is there, and n values are valid for writes: each store is of as many as n's bit stands for, one
    // behind the other.
    unsafe {
        if n >= 4 {
            return _mm256_storeu_pd(at, v);
        }
        let mut v2 = _mm256_castpd256_pd128(v);
        if n & 2 != 0 {
            _mm_storeu_pd(at, v2);
            (at, v2) = (at.add(2), _mm256_extractf128_pd::<1>(v));
        }
        if n & 1 != 0 {
            _mm_store_sd(at, v2);
        }
    }
}

/// `impl Simd<$t> for $token` out of intrinsics. `$lt`, `$select`, partial access and the
/// sign operations differ in kind between AVX2 and AVX-512 and come as closures-like blocks.
macro_rules! simd_impl {
    (
        $token:ident, $features:literal, $t:ty, $v:ty, $m:ty, lanes $lanes:literal, registers $registers:literal,
        $set1:ident $loadu:ident $storeu:ident $add:ident $sub:ident $mul:ident $div:ident
        $sqrt:ident $fma:ident $fnma:ident $min:ident $max:ident,
        lt |$la:ident, $lb:ident| $lt:expr,
        select |$sm:ident, $sa:ident, $sb:ident| $select:expr,
        mask |$n:ident| $mask:expr,
        maskload |$mp:ident, $mm:ident| $maskload:expr,
        storefew |$sp:ident, $sv:ident| $storefew:expr,
        abs |$aa:ident| $abs:expr,
        copysign |$ca:ident, $cs:ident| $copysign:expr,
        pow2 |$pn:ident| $pow2:expr,
        le |$lea:ident, $leb:ident| $le:expr,
        eq |$eqa:ident, $eqb:ident| $eq:expr,
        any |$am:ident| $any:expr,
        odd |$on:ident| $odd:expr,
        flip |$fv:ident, $fn:ident| $flip:expr,
        split |$pa:ident| $split:expr $(,)?
    ) => {
        // SAFETY: ("the token", in every block below) `detect` alone makes a $token, where processor and system have
        // $features, and that is all an intrinsic asks for that takes no pointer.
        impl Simd<$t> for $token {
            type V = $v;
            type M = $m;
            const LANES: usize = $lanes;
            const REGISTERS: usize = $registers;
            const FUSES: bool = true;
            const PREFETCHES: bool = true;

            #[inline(always)]
            fn run<K: Kernel<$t>>(self, kernel: K) -> K::Output {
                #[target_feature(enable = $features)]
                fn inner<K: Kernel<$t>>(token: $token, kernel: K) -> K::Output {
                    kernel.run(token)
                }
                // SAFETY: the token is the proof of the features of `inner`.
                unsafe { inner(self, kernel) }
            }
            #[inline(always)]
            fn prefetch(self, at: &[$t]) {
                // SAFETY: the token; a prefetch of any address has no effect that shows.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.as_ptr().cast()) }
            }
            #[inline(always)]
            fn splat(self, x: $t) -> $v {
                // SAFETY: the token.
                unsafe { $set1(x) }
            }
            #[inline(always)]
            unsafe fn load_ptr(self, at: *const $t) -> $v {
                // SAFETY: the token; LANES values are valid for reads.
                unsafe { $loadu(at) }
            }
            #[inline(always)]
            unsafe fn load_ptr_partial(self, at: *const $t, $n: usize) -> $v {
                // SAFETY: the token; n values are valid for reads, and lanes from n on are masked and not read.
                unsafe {
                    let ($mp, $mm) = (at, $mask);
                    $maskload
                }
            }
            #[inline(always)]
            unsafe fn store_ptr(self, at: *mut $t, v: $v) {
                // SAFETY: the token; LANES values are valid for writes.
                unsafe { $storeu(at, v) }
            }
            #[inline(always)]
            unsafe fn store_ptr_partial(self, at: *mut $t, v: $v, $n: usize) {
                // SAFETY: the token; n values are valid for writes, and no more are written.
                unsafe {
                    let ($sp, $sv) = (at, v);
                    $storefew
                }
            }
            #[inline(always)]
            fn add(self, a: $v, b: $v) -> $v {
                // SAFETY: the token.
                unsafe { $add(a, b) }
            }
            #[inline(always)]
            fn sub(self, a: $v, b: $v) -> $v {
                // SAFETY: the token.
                unsafe { $sub(a, b) }
            }
            #[inline(always)]
            fn mul(self, a: $v, b: $v) -> $v {
                // SAFETY: the token.
                unsafe { $mul(a, b) }
            }
            #[inline(always)]
            fn div(self, a: $v, b: $v) -> $v {
                // SAFETY: the token.
                unsafe { $div(a, b) }
            }
            #[inline(always)]
            fn sqrt(self, a: $v) -> $v {
                // SAFETY: the token.
                unsafe { $sqrt(a) }
            }
            #[inline(always)]
            fn mul_add(self, a: $v, b: $v, c: $v) -> $v {
                // SAFETY: the token.
                unsafe { $fma(a, b, c) }
            }
            #[inline(always)]
            fn neg_mul_add(self, a: $v, b: $v, c: $v) -> $v {
                // SAFETY: the token.
                unsafe { $fnma(a, b, c) }
            }
            #[inline(always)]
            fn min(self, a: $v, b: $v) -> $v {
                // SAFETY: the token.
                unsafe { $min(a, b) }
            }
            #[inline(always)]
            fn max(self, a: $v, b: $v) -> $v {
                // SAFETY: the token.
                unsafe { $max(a, b) }
            }
            #[inline(always)]
            fn lt(self, $la: $v, $lb: $v) -> $m {
                // SAFETY: the token.
                unsafe { $lt }
            }
            #[inline(always)]
            fn select(self, $sm: $m, $sa: $v, $sb: $v) -> $v {
                // SAFETY: the token.
                unsafe { $select }
            }
            #[inline(always)]
            fn abs(self, $aa: $v) -> $v {
                // SAFETY: the token.
                unsafe { $abs }
            }
            #[inline(always)]
            fn copysign(self, $ca: $v, $cs: $v) -> $v {
                // SAFETY: the token.
                unsafe { $copysign }
            }
            #[inline(always)]
            fn pow2(self, $pn: $v) -> $v {
                // n + (1.5·2^mantissa + bias) leaves n + bias in the low bits; the shift
                // moves it to the exponent field and the rest out.
                // SAFETY: the token.
                unsafe { $pow2 }
            }
            #[inline(always)]
            fn le(self, $lea: $v, $leb: $v) -> $m {
                // SAFETY: the token.
                unsafe { $le }
            }
            #[inline(always)]
            fn eq(self, $eqa: $v, $eqb: $v) -> $m {
                // SAFETY: the token.
                unsafe { $eq }
            }
            #[inline(always)]
            fn any(self, $am: $m) -> bool {
                // SAFETY: the token.
                unsafe { $any }
            }
            #[inline(always)]
            fn odd(self, $on: $v) -> $m {
                // n + 1.5·2^mantissa leaves n in the low bits.
                // SAFETY: the token.
                unsafe { $odd }
            }
            #[inline(always)]
            fn flip(self, $fv: $v, $fn: $v) -> $v {
                // As `odd`; the bit above the lowest becomes a sign.
                // SAFETY: the token.
                unsafe { $flip }
            }
            #[inline(always)]
            fn split(self, $pa: $v) -> ($v, $v) {
                // With 1 − √½ added to the bits, what lies above √2 has carried into the exponent field. An integer in
                // the low bits of 2^mantissa reads as added to it.
                // SAFETY: the token.
                unsafe { $split }
            }
        }
    };
}
use simd_impl;
