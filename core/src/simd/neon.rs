//! NEON, which every AArch64 with an operating system has: vectors of 128 bits, 32 registers.
//!
//! The target promises it to the compiler, so that nothing is asked at run time. A product by a value of a row
//! becomes a multiply-add by an element, without a vector that repeats the value.

use super::intrinsics::simd_impl;
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

simd_impl!(
    Neon, f32, float32x4_t, uint32x4_t, lanes 4, registers 32, mantissa 23, bias 127.0,
    // A function of its own, as on the other levels: keeps `run` a way to bound code size.
    run #[inline(never)],
    vdupq_n_f32 vld1q_f32 vst1q_f32 vaddq_f32 vsubq_f32 vmulq_f32 vdivq_f32 vsqrtq_f32,
    abs |a| vabsq_f32(a),
    few |at, v, n|
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
    mul_add |a, b, c| vfmaq_f32(c, a, b), vfmsq_f32(c, a, b),
    // NEON's own minimum and maximum give NaN where either is.
    min_max |a, b| vbslq_f32(vcltq_f32(a, b), a, b), vbslq_f32(vcltq_f32(b, a), a, b),
    compare vcltq_f32, vcleq_f32, vceqq_f32,
    any |m| vmaxvq_u32(m) != 0,
    select |m, a, b| vbslq_f32(m, a, b),
    sign |v, sign, minus|
    vbslq_f32(vreinterpretq_u32_f32(minus), sign, v),
    vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(v), vandq_u32(vreinterpretq_u32_f32(sign), vreinterpretq_u32_f32(minus)))),
    bits vreinterpretq_u32_f32 vreinterpretq_f32_u32 vdupq_n_u32 vaddq_u32 vandq_u32 vorrq_u32
    vshlq_n_u32 vshrq_n_u32,
    test |a, b| vtstq_u32(a, b),
);

simd_impl!(
    Neon, f64, float64x2_t, uint64x2_t, lanes 2, registers 32, mantissa 52, bias 1023.0,
    // A function of its own, as on the other levels: keeps `run` a way to bound code size.
    run #[inline(never)],
    vdupq_n_f64 vld1q_f64 vst1q_f64 vaddq_f64 vsubq_f64 vmulq_f64 vdivq_f64 vsqrtq_f64,
    abs |a| vabsq_f64(a),
    few |at, v, n|
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
    mul_add |a, b, c| vfmaq_f64(c, a, b), vfmsq_f64(c, a, b),
    // NEON's own minimum and maximum give NaN where either is.
    min_max |a, b| vbslq_f64(vcltq_f64(a, b), a, b), vbslq_f64(vcltq_f64(b, a), a, b),
    compare vcltq_f64, vcleq_f64, vceqq_f64,
    any |m| vmaxvq_u32(vreinterpretq_u32_u64(m)) != 0,
    select |m, a, b| vbslq_f64(m, a, b),
    sign |v, sign, minus|
    vbslq_f64(vreinterpretq_u64_f64(minus), sign, v),
    vreinterpretq_f64_u64(veorq_u64(vreinterpretq_u64_f64(v), vandq_u64(vreinterpretq_u64_f64(sign), vreinterpretq_u64_f64(minus)))),
    bits vreinterpretq_u64_f64 vreinterpretq_f64_u64 vdupq_n_u64 vaddq_u64 vandq_u64 vorrq_u64
    vshlq_n_u64 vshrq_n_u64,
    test |a, b| vtstq_u64(a, b),
);

/// The processor's clock, which goes evenly on whatever else it does.
#[cfg(feature = "std")]
pub fn ticks() -> u64 {
    let ticks;
    // SAFETY: the counter may be read by every program, and the instruction does nothing else.
    unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
    ticks
}
