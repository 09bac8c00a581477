//! The portable level where a target has no vectors that `wide` knows: numbers by themselves.
//!
//! `wide` would keep such a machine's vectors in arrays, that is in memory. Results are those of a portable level that
//! does not fuse multiply-add, bit for bit; with the feature `nightly-fma`, those of the levels that do.

#[cfg(all(target_arch = "arm", target_abi = "eabihf"))]
use super::vfp::sqrt_f32;
use super::{Kernel, Simd};

/// The token of the portable level; it needs no proof.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Portable {
    /// Stable Rust reaches no instruction for it without `std`, and a function would take a hundred.
    pub const FUSES: bool = cfg!(feature = "nightly-fma");
}

impl super::sealed::Sealed for Portable {}

#[cfg(not(all(target_arch = "arm", target_abi = "eabihf")))]
#[inline(always)]
fn sqrt_f32(a: f32) -> f32 {
    libm::sqrtf(a)
}

#[inline(always)]
fn sqrt_f64(a: f64) -> f64 {
    libm::sqrt(a)
}

macro_rules! scalar {
    ($t:ident, $sqrt:ident, $bits:ident, $mantissa:literal, $magic:literal, $bias:literal, $unit:literal) => {
        impl Simd<$t> for Portable {
            type V = $t;
            type M = bool;
            const LANES: usize = 1;
            // A VFP's s0 to s31, RISC-V's f0 to f31.
            const REGISTERS: usize = 32;
            const FUSES: bool = Portable::FUSES;

            #[inline(always)]
            fn run<K: Kernel<$t>>(self, kernel: K) -> K::Output {
                // A function of its own, as on the other levels: keeps `run` a way to bound code size.
                #[inline(never)]
                fn inner<K: Kernel<$t>>(kernel: K) -> K::Output {
                    kernel.run(Portable)
                }
                inner(kernel)
            }
            #[inline(always)]
            fn splat(self, x: $t) -> $t {
                x
            }
            #[inline(always)]
            unsafe fn load_ptr(self, at: *const $t) -> $t {
                // SAFETY: one value is valid for reads.
                unsafe { *at }
            }
            #[inline(always)]
            unsafe fn load_ptr_partial(self, at: *const $t, n: usize) -> $t {
                // SAFETY: n values are valid for reads.
                if n > 0 { unsafe { *at } } else { 0.0 }
            }
            #[inline(always)]
            unsafe fn store_ptr(self, at: *mut $t, v: $t) {
                // SAFETY: one value is valid for writes.
                unsafe { *at = v }
            }
            #[inline(always)]
            unsafe fn store_ptr_partial(self, at: *mut $t, v: $t, n: usize) {
                if n > 0 {
                    // SAFETY: n values are valid for writes.
                    unsafe { *at = v }
                }
            }
            #[inline(always)]
            fn add(self, a: $t, b: $t) -> $t {
                a + b
            }
            #[inline(always)]
            fn sub(self, a: $t, b: $t) -> $t {
                a - b
            }
            #[inline(always)]
            fn mul(self, a: $t, b: $t) -> $t {
                a * b
            }
            #[inline(always)]
            fn div(self, a: $t, b: $t) -> $t {
                a / b
            }
            #[inline(always)]
            fn sqrt(self, a: $t) -> $t {
                $sqrt(a)
            }
            #[inline(always)]
            fn mul_add(self, a: $t, b: $t, c: $t) -> $t {
                #[cfg(feature = "nightly-fma")]
                return core::$t::math::mul_add(a, b, c);
                #[cfg(not(feature = "nightly-fma"))]
                return a * b + c;
            }
            #[inline(always)]
            fn neg_mul_add(self, a: $t, b: $t, c: $t) -> $t {
                Simd::<$t>::mul_add(self, -a, b, c)
            }
            #[inline(always)]
            fn min(self, a: $t, b: $t) -> $t {
                if a < b { a } else { b }
            }
            #[inline(always)]
            fn max(self, a: $t, b: $t) -> $t {
                if b < a { a } else { b }
            }
            #[inline(always)]
            fn lt(self, a: $t, b: $t) -> bool {
                a < b
            }
            #[inline(always)]
            fn le(self, a: $t, b: $t) -> bool {
                a <= b
            }
            #[inline(always)]
            fn eq(self, a: $t, b: $t) -> bool {
                a == b
            }
            #[inline(always)]
            fn any(self, m: bool) -> bool {
                m
            }
            #[inline(always)]
            fn select(self, m: bool, a: $t, b: $t) -> $t {
                if m { a } else { b }
            }
            #[inline(always)]
            fn abs(self, a: $t) -> $t {
                a.abs()
            }
            #[inline(always)]
            fn copysign(self, a: $t, sign: $t) -> $t {
                a.copysign(sign)
            }
            #[inline(always)]
            fn exponent(self, sum: $t) -> $t {
                // The shift moves the low bits to the exponent field and the rest out.
                $t::from_bits(sum.to_bits() << $mantissa)
            }
            #[inline(always)]
            fn odd(self, n: $t) -> bool {
                // n + 1.5·2^mantissa leaves n in the low bits.
                (n + $magic).to_bits() & 1 != 0
            }
            #[inline(always)]
            fn flip(self, v: $t, n: $t) -> $t {
                // As `odd`; the bit above the lowest becomes a sign.
                let sign = (n + $magic).to_bits() << ($bits::BITS - 2) & (-0.0 as $t).to_bits();
                $t::from_bits(v.to_bits() ^ sign)
            }
            #[inline(always)]
            fn split(self, a: $t) -> ($t, $t) {
                // With 1 − √½ added to the bits, what lies above √2 has carried into the exponent field. An integer in
                // the low bits of 2^mantissa reads as added to it.
                let half = (core::f64::consts::FRAC_1_SQRT_2 as $t).to_bits();
                let bits = a.to_bits().wrapping_add((1.0 as $t).to_bits() - half);
                let n = (bits >> $mantissa) | ($unit as $t).to_bits();
                let field = bits & ((1 << $mantissa) - 1);
                ($t::from_bits(n) - ($unit + $bias), $t::from_bits(field + half))
            }
        }
    };
}

scalar!(f32, sqrt_f32, u32, 23, 12_582_912.0, 127.0, 8_388_608.0);
scalar!(f64, sqrt_f64, u64, 52, 6_755_399_441_055_744.0, 1023.0, 4_503_599_627_370_496.0);
