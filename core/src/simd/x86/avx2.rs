//! AVX2 with FMA and F16C: vectors of 256 bits, 16 registers.

use super::{has_f16c, store_few_pd, store_few_ps};
use crate::simd::intrinsics::simd_impl;
use crate::simd::sealed::Sealed;
use crate::simd::weight::load_halves;
use crate::simd::{Kernel, Simd};
use core::arch::x86_64::*;

/// Proof that AVX2, FMA and F16C are there.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

cpufeatures::new!(has_avx2, "avx2", "fma");

impl Sealed for Avx2 {}

impl Avx2 {
    /// The token, where the machine has all three.
    #[inline]
    pub fn detect() -> Option<Self> {
        (has_avx2::get() && has_f16c()).then_some(Avx2(()))
    }
}

/// Row n has its first n lanes on: one load gives the mask of any partial vector.
const MASKS32: [[i32; 8]; 9] = {
    let mut masks = [[0; 8]; 9];
    let mut n = 0;
    while n <= 8 {
        let mut i = 0;
        while i < n {
            masks[n][i] = -1;
            i += 1;
        }
        n += 1;
    }
    masks
};

const MASKS64: [[i64; 4]; 5] = {
    let mut masks = [[0; 4]; 5];
    let mut n = 0;
    while n <= 4 {
        let mut i = 0;
        while i < n {
            masks[n][i] = -1;
            i += 1;
        }
        n += 1;
    }
    masks
};

simd_impl!(
    Avx2, f32, __m256, __m256, lanes 8, registers 16, mantissa 23, bias 127.0,
    run #[target_feature(enable = "avx2,fma,f16c")],
    _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_div_ps
    _mm256_sqrt_ps,
    abs |a| _mm256_andnot_ps(_mm256_set1_ps(-0.0), a),
    prefetch |at| _mm_prefetch::<_MM_HINT_T0>(at.cast()),
    halves |at| _mm256_cvtph_ps(_mm_loadu_si128(at.cast())),
    few |at, v, n|
    _mm256_maskload_ps(at, _mm256_loadu_si256(MASKS32[if n < 8 { n } else { 8 }].as_ptr().cast())),
    store_few_ps(at, v, n),
    mul_add |a, b, c| _mm256_fmadd_ps(a, b, c), _mm256_fnmadd_ps(a, b, c),
    min_max |a, b| _mm256_min_ps(a, b), _mm256_max_ps(a, b),
    compare _mm256_cmp_ps::<_CMP_LT_OQ>, _mm256_cmp_ps::<_CMP_LE_OQ>, _mm256_cmp_ps::<_CMP_EQ_OQ>,
    any |m| _mm256_movemask_ps(m) != 0,
    select |m, a, b| _mm256_blendv_ps(b, a, m),
    sign |v, sign, minus|
    _mm256_or_ps(_mm256_andnot_ps(minus, v), _mm256_and_ps(minus, sign)),
    _mm256_xor_ps(v, _mm256_and_ps(sign, minus)),
    bits _mm256_castps_si256 _mm256_castsi256_ps _mm256_set1_epi32 _mm256_add_epi32 _mm256_and_si256 _mm256_or_si256
    _mm256_slli_epi32 _mm256_srli_epi32,
    test |a, b| _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_setzero_si256(), _mm256_and_si256(a, b))),
);

simd_impl!(
    Avx2, f64, __m256d, __m256d, lanes 4, registers 16, mantissa 52, bias 1023.0,
    run #[target_feature(enable = "avx2,fma,f16c")],
    _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_add_pd _mm256_sub_pd _mm256_mul_pd _mm256_div_pd
    _mm256_sqrt_pd,
    abs |a| _mm256_andnot_pd(_mm256_set1_pd(-0.0), a),
    prefetch |at| _mm_prefetch::<_MM_HINT_T0>(at.cast()),
    halves |at| _mm256_cvtps_pd(_mm_cvtph_ps(_mm_loadl_epi64(at.cast()))),
    few |at, v, n|
    _mm256_maskload_pd(at, _mm256_loadu_si256(MASKS64[if n < 4 { n } else { 4 }].as_ptr().cast())),
    store_few_pd(at, v, n),
    mul_add |a, b, c| _mm256_fmadd_pd(a, b, c), _mm256_fnmadd_pd(a, b, c),
    min_max |a, b| _mm256_min_pd(a, b), _mm256_max_pd(a, b),
    compare _mm256_cmp_pd::<_CMP_LT_OQ>, _mm256_cmp_pd::<_CMP_LE_OQ>, _mm256_cmp_pd::<_CMP_EQ_OQ>,
    any |m| _mm256_movemask_pd(m) != 0,
    select |m, a, b| _mm256_blendv_pd(b, a, m),
    sign |v, sign, minus|
    _mm256_or_pd(_mm256_andnot_pd(minus, v), _mm256_and_pd(minus, sign)),
    _mm256_xor_pd(v, _mm256_and_pd(sign, minus)),
    bits _mm256_castpd_si256 _mm256_castsi256_pd _mm256_set1_epi64x _mm256_add_epi64 _mm256_and_si256 _mm256_or_si256
    _mm256_slli_epi64 _mm256_srli_epi64,
    test |a, b| _mm256_castsi256_pd(_mm256_sub_epi64(_mm256_setzero_si256(), _mm256_and_si256(a, b))),
);
