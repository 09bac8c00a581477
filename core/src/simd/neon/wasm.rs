//! What WebAssembly has and `wide` has no name for, on vectors of 128 bits.

use core::arch::wasm32::{f32x4_pmax, f32x4_pmin, f64x2_pmax, f64x2_pmin, v128};
#[cfg(target_feature = "relaxed-simd")]
use core::arch::wasm32::{
    f32x4_relaxed_madd, f32x4_relaxed_nmadd, f64x2_relaxed_madd, f64x2_relaxed_nmadd,
};

/// A float, and operations on vectors of it.
pub trait Wasm {
    /// a where a < b, else b: where either is NaN too.
    fn min(a: v128, b: v128) -> v128;
    /// a where b < a, else b.
    fn max(a: v128, b: v128) -> v128;
    /// a · b + c, fused or not: the engine chooses.
    #[cfg(target_feature = "relaxed-simd")]
    fn mul_add(a: v128, b: v128, c: v128) -> v128;
    /// c − a · b, likewise.
    #[cfg(target_feature = "relaxed-simd")]
    fn neg_mul_add(a: v128, b: v128, c: v128) -> v128;
}

macro_rules! wasm {
    ($t:ty, $pmin:ident, $pmax:ident, $madd:ident, $nmadd:ident) => {
        impl Wasm for $t {
            #[inline(always)]
            fn min(a: v128, b: v128) -> v128 {
                // Of its operands, the second where that is smaller.
                $pmin(b, a)
            }
            #[inline(always)]
            fn max(a: v128, b: v128) -> v128 {
                $pmax(b, a)
            }
            #[cfg(target_feature = "relaxed-simd")]
            #[inline(always)]
            fn mul_add(a: v128, b: v128, c: v128) -> v128 {
                $madd(a, b, c)
            }
            #[cfg(target_feature = "relaxed-simd")]
            #[inline(always)]
            fn neg_mul_add(a: v128, b: v128, c: v128) -> v128 {
                $nmadd(a, b, c)
            }
        }
    };
}

wasm!(f32, f32x4_pmin, f32x4_pmax, f32x4_relaxed_madd, f32x4_relaxed_nmadd);
wasm!(f64, f64x2_pmin, f64x2_pmax, f64x2_relaxed_madd, f64x2_relaxed_nmadd);
