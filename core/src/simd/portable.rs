//! The level every machine has: `wide`'s vectors of 128 bits, which are SSE2, NEON,
//! SIMD128 or arrays, as the crate is compiled.

#[cfg(target_arch = "wasm32")]
use super::wasm::Wasm;
use super::{Kernel, Simd};
use wide::{bytemuck, f32x4, f64x2, u32x4, u64x2};

/// The token of the portable level; it needs no proof.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Portable {
    /// Whether `wide`'s `mul_add` compiles to one instruction here. Of WebAssembly's relaxed SIMD it is not known: the
    /// engine chooses. Code for those who do not fuse is right in either case.
    pub const FUSES: bool = cfg!(any(
        all(target_arch = "x86_64", target_feature = "fma"),
        all(target_arch = "aarch64", target_feature = "neon")
    ));
}

impl super::sealed::Sealed for Portable {}

macro_rules! portable {
    ($t:ty, $v:ident, $bits:ident, $lanes:literal, $mantissa:literal, $magic:expr, $bias:expr, $unit:expr) => {
        impl Simd<$t> for Portable {
            type V = $v;
            type M = $v;
            const LANES: usize = $lanes;
            const REGISTERS: usize = 16;
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
            fn splat(self, x: $t) -> $v {
                $v::splat(x)
            }
            #[inline(always)]
            unsafe fn load_ptr(self, at: *const $t) -> $v {
                // SAFETY: LANES values are valid for reads: an array of as many, read without alignment.
                $v::from(unsafe { at.cast::<[$t; $lanes]>().read_unaligned() })
            }
            #[inline(always)]
            unsafe fn load_ptr_partial(self, at: *const $t, n: usize) -> $v {
                let mut lanes = [0.0; $lanes];
                for (i, lane) in lanes.iter_mut().enumerate().take(n) {
                    // SAFETY: n values are valid for reads, and i < n.
                    *lane = unsafe { *at.add(i) };
                }
                $v::from(lanes)
            }
            #[inline(always)]
            unsafe fn store_ptr(self, at: *mut $t, v: $v) {
                // SAFETY: LANES values are valid for writes: an array of as many, written without alignment.
                unsafe { at.cast::<[$t; $lanes]>().write_unaligned(v.to_array()) }
            }
            #[inline(always)]
            unsafe fn store_ptr_partial(self, at: *mut $t, v: $v, n: usize) {
                for (i, lane) in v.to_array().into_iter().enumerate().take(n) {
                    // SAFETY: n values are valid for writes, and i < n.
                    unsafe { *at.add(i) = lane };
                }
            }
            #[inline(always)]
            fn add(self, a: $v, b: $v) -> $v {
                a + b
            }
            #[inline(always)]
            fn sub(self, a: $v, b: $v) -> $v {
                a - b
            }
            #[inline(always)]
            fn mul(self, a: $v, b: $v) -> $v {
                a * b
            }
            #[inline(always)]
            fn div(self, a: $v, b: $v) -> $v {
                a / b
            }
            #[inline(always)]
            fn sqrt(self, a: $v) -> $v {
                a.sqrt()
            }
            #[inline(always)]
            fn mul_add(self, a: $v, b: $v, c: $v) -> $v {
                #[cfg(target_feature = "relaxed-simd")]
                return <$t as Wasm>::mul_add(a.into(), b.into(), c.into()).into();
                #[cfg(not(target_feature = "relaxed-simd"))]
                return a.mul_add(b, c);
            }
            #[inline(always)]
            fn neg_mul_add(self, a: $v, b: $v, c: $v) -> $v {
                #[cfg(target_feature = "relaxed-simd")]
                return <$t as Wasm>::neg_mul_add(a.into(), b.into(), c.into()).into();
                #[cfg(not(target_feature = "relaxed-simd"))]
                return a.mul_neg_add(b, c);
            }
            #[inline(always)]
            fn min(self, a: $v, b: $v) -> $v {
                #[cfg(target_arch = "wasm32")]
                return <$t as Wasm>::min(a.into(), b.into()).into();
                #[cfg(not(target_arch = "wasm32"))]
                return a.simd_lt(b).bitselect(a, b);
            }
            #[inline(always)]
            fn max(self, a: $v, b: $v) -> $v {
                #[cfg(target_arch = "wasm32")]
                return <$t as Wasm>::max(a.into(), b.into()).into();
                #[cfg(not(target_arch = "wasm32"))]
                return b.simd_lt(a).bitselect(a, b);
            }
            #[inline(always)]
            fn lt(self, a: $v, b: $v) -> $v {
                a.simd_lt(b)
            }
            #[inline(always)]
            fn select(self, m: $v, a: $v, b: $v) -> $v {
                m.bitselect(a, b)
            }
            #[inline(always)]
            fn abs(self, a: $v) -> $v {
                a & $v::splat(<$t>::from_bits(!0 >> 1))
            }
            #[inline(always)]
            fn copysign(self, a: $v, sign: $v) -> $v {
                Simd::<$t>::abs(self, a) | (sign & $v::splat(-0.0))
            }
            #[inline(always)]
            fn exponent(self, sum: $v) -> $v {
                // The shift moves the low bits to the exponent field and the rest out.
                let bits: $bits = bytemuck::cast(sum);
                bytemuck::cast(bits << $mantissa)
            }
            #[inline(always)]
            fn le(self, a: $v, b: $v) -> $v {
                a.simd_le(b)
            }
            #[inline(always)]
            fn eq(self, a: $v, b: $v) -> $v {
                a.simd_eq(b)
            }
            #[inline(always)]
            fn any(self, m: $v) -> bool {
                m.any()
            }
            #[inline(always)]
            fn odd(self, n: $v) -> $v {
                // n + 1.5·2^mantissa leaves n in the low bits.
                let bits: $bits = bytemuck::cast(n + $v::splat($magic));
                bytemuck::cast($bits::splat(0) - (bits & $bits::splat(1)))
            }
            #[inline(always)]
            fn flip(self, v: $v, n: $v) -> $v {
                let bits: $bits = bytemuck::cast(n + $v::splat($magic));
                v ^ (bytemuck::cast::<_, $v>(bits << (8 * size_of::<$t>() as u32 - 2))
                    & $v::splat(-0.0))
            }
            #[inline(always)]
            fn split(self, a: $v) -> ($v, $v) {
                // With 1 − √½ added to the bits, what lies above √2 has carried into the exponent field.
                let half: $bits =
                    $bits::splat(<$t>::to_bits(core::f64::consts::FRAC_1_SQRT_2 as $t));
                let one = $bits::splat(<$t>::to_bits(1.0));
                let bits = bytemuck::cast::<_, $bits>(a) + (one - half);
                let field = bits & $bits::splat((1 << $mantissa) - 1);
                // An integer in the low bits of 2^mantissa reads as added to it.
                let n = (bits >> $mantissa) | $bits::splat(<$t>::to_bits($unit));
                (
                    bytemuck::cast::<_, $v>(n) - $v::splat($unit + $bias),
                    bytemuck::cast(field + half),
                )
            }
        }
    };
}

portable!(f32, f32x4, u32x4, 4, 23_u32, 12_582_912.0, 127.0, 8_388_608.0);
portable!(f64, f64x2, u64x2, 2, 52_u32, 6_755_399_441_055_744.0, 1023.0, 4_503_599_627_370_496.0);
