//! AVX-512 F and DQ: vectors of 512 bits, 32 registers, masks of their own.

use super::{has_f16c, store_few_pd, store_few_ps};
use crate::simd::intrinsics::simd_impl;
use crate::simd::sealed::Sealed;
use crate::simd::weight::load_halves;
use crate::simd::{Kernel, Simd};
use core::arch::x86_64::*;

/// Proof that AVX-512 F and DQ, AVX2, FMA and F16C are there.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

cpufeatures::new!(has_avx512, "avx512f", "avx512dq", "avx2", "fma");

impl Sealed for Avx512 {}

impl Avx512 {
    /// The token, where the machine has all five.
    #[inline]
    pub fn detect() -> Option<Self> {
        (has_avx512::get() && has_f16c()).then_some(Avx512(()))
    }
}

simd_impl!(
    Avx512, f32, __m512, __mmask16, lanes 16, registers 32, mantissa 23, bias 127.0,
    run #[target_feature(enable = "avx512f,avx512dq,avx2,fma,f16c")],
    _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_add_ps _mm512_sub_ps _mm512_mul_ps _mm512_div_ps
    _mm512_sqrt_ps,
    abs |a| _mm512_andnot_ps(_mm512_set1_ps(-0.0), a),
    prefetch |at| _mm_prefetch::<_MM_HINT_T0>(at.cast()),
    // Not `_mm512_cvtph_ps`, which asks for no exceptions, and so cannot take what it converts from memory.
    halves |at| _mm512_cvt_roundph_ps::<_MM_FROUND_CUR_DIRECTION>(_mm256_loadu_si256(at.cast())),
    few |at, v, n|
    _mm512_maskz_loadu_ps(if n < 16 { (1_u16 << n) - 1 } else { u16::MAX }, at),
    {
        let low = _mm512_castps512_ps256(v);
        if n < 8 {
            store_few_ps(at, low, n);
        } else if n < 16 {
            _mm256_storeu_ps(at, low);
            store_few_ps(at.add(8), _mm512_extractf32x8_ps::<1>(v), n - 8);
        } else {
            _mm512_storeu_ps(at, v);
        }
    },
    mul_add |a, b, c| _mm512_fmadd_ps(a, b, c), _mm512_fnmadd_ps(a, b, c),
    min_max |a, b| _mm512_min_ps(a, b), _mm512_max_ps(a, b),
    compare _mm512_cmp_ps_mask::<_CMP_LT_OQ>, _mm512_cmp_ps_mask::<_CMP_LE_OQ>, _mm512_cmp_ps_mask::<_CMP_EQ_OQ>,
    any |m| _cvtmask16_u32(m) != 0,
    select |m, a, b| _mm512_mask_blend_ps(m, b, a),
    sign |v, sign, minus|
    _mm512_or_ps(_mm512_andnot_ps(minus, v), _mm512_and_ps(minus, sign)),
    _mm512_xor_ps(v, _mm512_and_ps(sign, minus)),
    bits _mm512_castps_si512 _mm512_castsi512_ps _mm512_set1_epi32 _mm512_add_epi32 _mm512_and_si512 _mm512_or_si512
    _mm512_slli_epi32 _mm512_srli_epi32,
    test |a, b| _mm512_test_epi32_mask(a, b),
);

simd_impl!(
    Avx512, f64, __m512d, __mmask8, lanes 8, registers 32, mantissa 52, bias 1023.0,
    run #[target_feature(enable = "avx512f,avx512dq,avx2,fma,f16c")],
    _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_add_pd _mm512_sub_pd _mm512_mul_pd _mm512_div_pd
    _mm512_sqrt_pd,
    abs |a| _mm512_andnot_pd(_mm512_set1_pd(-0.0), a),
    prefetch |at| _mm_prefetch::<_MM_HINT_T0>(at.cast()),
    halves |at| _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128(at.cast()))),
    few |at, v, n|
    _mm512_maskz_loadu_pd(if n < 8 { (1_u8 << n) - 1 } else { u8::MAX }, at),
    {
        let low = _mm512_castpd512_pd256(v);
        if n < 4 {
            store_few_pd(at, low, n);
        } else if n < 8 {
            _mm256_storeu_pd(at, low);
            store_few_pd(at.add(4), _mm512_extractf64x4_pd::<1>(v), n - 4);
        } else {
            _mm512_storeu_pd(at, v);
        }
    },
    mul_add |a, b, c| _mm512_fmadd_pd(a, b, c), _mm512_fnmadd_pd(a, b, c),
    min_max |a, b| _mm512_min_pd(a, b), _mm512_max_pd(a, b),
    compare _mm512_cmp_pd_mask::<_CMP_LT_OQ>, _mm512_cmp_pd_mask::<_CMP_LE_OQ>, _mm512_cmp_pd_mask::<_CMP_EQ_OQ>,
    any |m| _cvtmask8_u32(m) != 0,
    select |m, a, b| _mm512_mask_blend_pd(m, b, a),
    sign |v, sign, minus|
    _mm512_or_pd(_mm512_andnot_pd(minus, v), _mm512_and_pd(minus, sign)),
    _mm512_xor_pd(v, _mm512_and_pd(sign, minus)),
    bits _mm512_castpd_si512 _mm512_castsi512_pd _mm512_set1_epi64 _mm512_add_epi64 _mm512_and_si512 _mm512_or_si512
    _mm512_slli_epi64 _mm512_srli_epi64,
    test |a, b| _mm512_test_epi64_mask(a, b),
);
