//! NEON, which every AArch64 with an operating system has: vectors of 128 bits, 32 registers.
//!
//! The target promises it to the compiler, so that nothing is asked at run time. A product by a value of a row
//! becomes a multiply-add by an element, without a vector that repeats the value.

use super::sealed::Sealed;
use super::{Kernel, Simd};
use core::arch::aarch64::*;

/// Proof that NEON is there.
#[derive(Clone, Copy, Debug)]
pub struct Neon(());

impl Sealed for Neon {}

impl Neon {
    /// The token, where the crate is compiled for NEON.
    #[inline]
    pub fn detect() -> Option<Self> {
        cfg!(target_feature = "neon").then_some(Neon(()))
    }
}

/// `impl Simd<$t> for Neon` out of intrinsics; the first in each group is for numbers, the others for their bits.
macro_rules! neon {
    (
        $t:ty, $v:ident, $m:ident, lanes $lanes:literal, mantissa $mantissa:literal, bias $bias:literal,
        $dup:ident $ld1:ident $st1:ident $add:ident $sub:ident $mul:ident $div:ident $sqrt:ident $fma:ident $fms:ident
        $lt:ident $le:ident $eq:ident $select:ident $abs:ident,
        bits $to_bits:ident $of_bits:ident $bits:ident $b_add:ident $b_and:ident $b_or:ident $b_xor:ident $b_test:ident
        $b_left:ident $b_right:ident,
        any |$any:ident| $is_any:expr,
        few |$n:ident, $at:ident, $few:ident| $load:expr, $store:expr $(,)?
    ) => {
        // SAFETY: ("the token", in every block below) `detect` alone makes one, where there is NEON, and that is all an
        // intrinsic asks for that takes no pointer.
        impl Simd<$t> for Neon {
            type V = $v;
            type M = $m;
            const LANES: usize = $lanes;
            const REGISTERS: usize = 32;
            const FUSES: bool = true;

            #[inline(always)]
            fn run<K: Kernel<$t>>(self, kernel: K) -> K::Output {
                // A function of its own, as on the other levels: keeps `run` a way to bound code size.
                #[inline(never)]
                fn inner<K: Kernel<$t>>(token: Neon, kernel: K) -> K::Output {
                    kernel.run(token)
                }
                inner(self, kernel)
            }
            #[inline(always)]
            fn splat(self, x: $t) -> $v {
                // SAFETY: the token.
                unsafe { $dup(x) }
            }
            #[inline(always)]
            unsafe fn load_ptr(self, at: *const $t) -> $v {
                // SAFETY: the token; LANES values are valid for reads.
                unsafe { $ld1(at) }
            }
            #[inline(always)]
            unsafe fn load_ptr_partial(self, $at: *const $t, $n: usize) -> $v {
                // SAFETY: the token; n values are valid for reads, and no more are read.
                unsafe { $load }
            }
            #[inline(always)]
            unsafe fn store_ptr(self, at: *mut $t, v: $v) {
                // SAFETY: the token; LANES values are valid for writes.
                unsafe { $st1(at, v) }
            }
            #[inline(always)]
            unsafe fn store_ptr_partial(self, $at: *mut $t, $few: $v, $n: usize) {
                // SAFETY: the token; n values are valid for writes, and no more are written.
                unsafe { $store }
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
                unsafe { $fma(c, a, b) }
            }
            #[inline(always)]
            fn neg_mul_add(self, a: $v, b: $v, c: $v) -> $v {
                // SAFETY: the token.
                unsafe { $fms(c, a, b) }
            }
            // NEON's own minimum and maximum give NaN where either is.
            #[inline(always)]
            fn min(self, a: $v, b: $v) -> $v {
                // SAFETY: the token.
                unsafe { $select($lt(a, b), a, b) }
            }
            #[inline(always)]
            fn max(self, a: $v, b: $v) -> $v {
                // SAFETY: the token.
                unsafe { $select($lt(b, a), a, b) }
            }
            #[inline(always)]
            fn lt(self, a: $v, b: $v) -> $m {
                // SAFETY: the token.
                unsafe { $lt(a, b) }
            }
            #[inline(always)]
            fn le(self, a: $v, b: $v) -> $m {
                // SAFETY: the token.
                unsafe { $le(a, b) }
            }
            #[inline(always)]
            fn eq(self, a: $v, b: $v) -> $m {
                // SAFETY: the token.
                unsafe { $eq(a, b) }
            }
            #[inline(always)]
            fn any(self, $any: $m) -> bool {
                // SAFETY: the token.
                unsafe { $is_any }
            }
            #[inline(always)]
            fn select(self, m: $m, a: $v, b: $v) -> $v {
                // SAFETY: the token.
                unsafe { $select(m, a, b) }
            }
            #[inline(always)]
            fn abs(self, a: $v) -> $v {
                // SAFETY: the token.
                unsafe { $abs(a) }
            }
            #[inline(always)]
            fn copysign(self, a: $v, sign: $v) -> $v {
                // SAFETY: the token.
                unsafe { $select($bits(<$t>::to_bits(-0.0)), sign, a) }
            }
            #[inline(always)]
            fn pow2(self, n: $v) -> $v {
                // n + (1.5·2^mantissa + bias) leaves n + bias in the low bits; the shift moves it to the exponent field
                // and the rest out.
                // SAFETY: the token.
                unsafe {
                    $of_bits($b_left::<$mantissa>($to_bits($add(
                        n,
                        $dup(1.5 * (1_u64 << $mantissa) as $t + $bias),
                    ))))
                }
            }
            #[inline(always)]
            fn odd(self, n: $v) -> $m {
                // n + 1.5·2^mantissa leaves n in the low bits.
                // SAFETY: the token.
                unsafe {
                    $b_test($to_bits($add(n, $dup(1.5 * (1_u64 << $mantissa) as $t))), $bits(1))
                }
            }
            #[inline(always)]
            fn flip(self, v: $v, n: $v) -> $v {
                // As `odd`; the bit above the lowest becomes a sign.
                // SAFETY: the token.
                unsafe {
                    let sign = $b_left::<{ 8 * size_of::<$t>() as i32 - 2 }>($to_bits($add(
                        n,
                        $dup(1.5 * (1_u64 << $mantissa) as $t),
                    )));
                    $of_bits($b_xor($to_bits(v), $b_and(sign, $bits(<$t>::to_bits(-0.0)))))
                }
            }
            #[inline(always)]
            fn split(self, a: $v) -> ($v, $v) {
                // With 1 − √½ added to the bits, what lies above √2 has carried into the exponent field. An integer in
                // the low bits of 2^mantissa reads as added to it.
                // SAFETY: the token.
                unsafe {
                    let half = <$t>::to_bits(core::f64::consts::FRAC_1_SQRT_2 as $t);
                    let unit = (1_u64 << $mantissa) as $t;
                    let bits = $b_add($to_bits(a), $bits(<$t>::to_bits(1.0) - half));
                    let n = $b_or($b_right::<$mantissa>(bits), $bits(<$t>::to_bits(unit)));
                    let field = $b_and(bits, $bits((1 << $mantissa) - 1));
                    ($sub($of_bits(n), $dup(unit + $bias)), $of_bits($b_add(field, $bits(half))))
                }
            }
        }
    };
}

neon!(
    f32, float32x4_t, uint32x4_t, lanes 4, mantissa 23, bias 127.0,
    vdupq_n_f32 vld1q_f32 vst1q_f32 vaddq_f32 vsubq_f32 vmulq_f32 vdivq_f32 vsqrtq_f32 vfmaq_f32 vfmsq_f32
    vcltq_f32 vcleq_f32 vceqq_f32 vbslq_f32 vabsq_f32,
    bits vreinterpretq_u32_f32 vreinterpretq_f32_u32 vdupq_n_u32 vaddq_u32 vandq_u32 vorrq_u32 veorq_u32 vtstq_u32
    vshlq_n_u32 vshrq_n_u32,
    any |m| vmaxvq_u32(m) != 0,
    few |n, at, v|
    match n {
        0 => vdupq_n_f32(0.0),
        1 => vld1q_lane_f32::<0>(at, vdupq_n_f32(0.0)),
        2 => vcombine_f32(vld1_f32(at), vdup_n_f32(0.0)),
        3 => vcombine_f32(vld1_f32(at), vld1_lane_f32::<0>(at.add(2), vdup_n_f32(0.0))),
        _ => vld1q_f32(at),
    },
    match n {
        0 => {}
        1 => vst1q_lane_f32::<0>(at, v),
        2 => vst1_f32(at, vget_low_f32(v)),
        3 => {
            vst1_f32(at, vget_low_f32(v));
            vst1q_lane_f32::<2>(at.add(2), v);
        }
        _ => vst1q_f32(at, v),
    },
);

neon!(
    f64, float64x2_t, uint64x2_t, lanes 2, mantissa 52, bias 1023.0,
    vdupq_n_f64 vld1q_f64 vst1q_f64 vaddq_f64 vsubq_f64 vmulq_f64 vdivq_f64 vsqrtq_f64 vfmaq_f64 vfmsq_f64
    vcltq_f64 vcleq_f64 vceqq_f64 vbslq_f64 vabsq_f64,
    bits vreinterpretq_u64_f64 vreinterpretq_f64_u64 vdupq_n_u64 vaddq_u64 vandq_u64 vorrq_u64 veorq_u64 vtstq_u64
    vshlq_n_u64 vshrq_n_u64,
    any |m| vmaxvq_u32(vreinterpretq_u32_u64(m)) != 0,
    few |n, at, v|
    match n {
        0 => vdupq_n_f64(0.0),
        1 => vcombine_f64(vld1_f64(at), vdup_n_f64(0.0)),
        _ => vld1q_f64(at),
    },
    match n {
        0 => {}
        1 => vst1_f64(at, vget_low_f64(v)),
        _ => vst1q_f64(at, v),
    },
);
