//! AVX-512 F and DQ: vectors of 512 bits, 32 registers, masks of their own.

use super::{simd_impl, store_few_pd, store_few_ps};
use crate::simd::sealed::Sealed;
use crate::simd::{Kernel, Simd};
use core::arch::x86_64::*;

/// Proof that AVX-512 F and DQ, AVX2 and FMA are there.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

cpufeatures::new!(has_avx512, "avx512f", "avx512dq", "avx2", "fma");

impl Sealed for Avx512 {}

impl Avx512 {
    /// The token, where the machine has all four.
    #[inline]
    pub fn detect() -> Option<Self> {
        has_avx512::get().then_some(Avx512(()))
    }
}

simd_impl!(
    Avx512, "avx512f,avx512dq,avx2,fma", f32, __m512, __mmask16, lanes 16, registers 32,
    _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_add_ps _mm512_sub_ps _mm512_mul_ps _mm512_div_ps
    _mm512_sqrt_ps _mm512_fmadd_ps _mm512_fnmadd_ps _mm512_min_ps _mm512_max_ps,
    lt |a, b| _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b),
    select |m, a, b| _mm512_mask_blend_ps(m, b, a),
    mask |n| if n < 16 { (1_u16 << n) - 1 } else { u16::MAX },
    maskload |p, m| _mm512_maskz_loadu_ps(m, p),
    storefew |p, v| {
        let low = _mm512_castps512_ps256(v);
        if n < 8 {
            store_few_ps(p, low, n);
        } else if n < 16 {
            _mm256_storeu_ps(p, low);
            store_few_ps(p.add(8), _mm512_extractf32x8_ps::<1>(v), n - 8);
        } else {
            _mm512_storeu_ps(p, v);
        }
    },
    abs |a| _mm512_andnot_ps(_mm512_set1_ps(-0.0), a),
    copysign |a, sign| {
        let minus = _mm512_set1_ps(-0.0);
        _mm512_or_ps(_mm512_andnot_ps(minus, a), _mm512_and_ps(minus, sign))
    },
    pow2 |n| _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(_mm512_add_ps(
        n,
        _mm512_set1_ps(12_582_912.0 + 127.0),
    )))),
    le |a, b| _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b),
    eq |a, b| _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b),
    any |m| _cvtmask16_u32(m) != 0,
    odd |n| _mm512_test_epi32_mask(_mm512_castps_si512(_mm512_add_ps(n, _mm512_set1_ps(12_582_912.0))), _mm512_set1_epi32(1)),
    flip |v, n| {
        let sign = _mm512_castsi512_ps(_mm512_slli_epi32::<30>(_mm512_castps_si512(_mm512_add_ps(n, _mm512_set1_ps(12_582_912.0)))));
        _mm512_xor_ps(v, _mm512_and_ps(sign, _mm512_set1_ps(-0.0)))
    },
    split |a| {
        const ONE: i32 = 1.0_f32.to_bits() as i32;
        const ROOT: i32 = core::f32::consts::FRAC_1_SQRT_2.to_bits() as i32;
        let bits = _mm512_add_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(ONE - ROOT));
        let n = _mm512_or_si512(_mm512_srli_epi32::<23>(bits), _mm512_castps_si512(_mm512_set1_ps(8_388_608.0)));
        let m = _mm512_add_epi32(_mm512_and_si512(bits, _mm512_set1_epi32((1 << 23) - 1)), _mm512_set1_epi32(ROOT));
        (_mm512_sub_ps(_mm512_castsi512_ps(n), _mm512_set1_ps(8_388_608.0 + 127.0)), _mm512_castsi512_ps(m))
    },
);

simd_impl!(
    Avx512, "avx512f,avx512dq,avx2,fma", f64, __m512d, __mmask8, lanes 8, registers 32,
    _mm512_set1_pd _mm512_loadu_pd _mm512_storeu_pd _mm512_add_pd _mm512_sub_pd _mm512_mul_pd _mm512_div_pd
    _mm512_sqrt_pd _mm512_fmadd_pd _mm512_fnmadd_pd _mm512_min_pd _mm512_max_pd,
    lt |a, b| _mm512_cmp_pd_mask::<_CMP_LT_OQ>(a, b),
    select |m, a, b| _mm512_mask_blend_pd(m, b, a),
    mask |n| if n < 8 { (1_u8 << n) - 1 } else { u8::MAX },
    maskload |p, m| _mm512_maskz_loadu_pd(m, p),
    storefew |p, v| {
        let low = _mm512_castpd512_pd256(v);
        if n < 4 {
            store_few_pd(p, low, n);
        } else if n < 8 {
            _mm256_storeu_pd(p, low);
            store_few_pd(p.add(4), _mm512_extractf64x4_pd::<1>(v), n - 4);
        } else {
            _mm512_storeu_pd(p, v);
        }
    },
    abs |a| _mm512_andnot_pd(_mm512_set1_pd(-0.0), a),
    copysign |a, sign| {
        let minus = _mm512_set1_pd(-0.0);
        _mm512_or_pd(_mm512_andnot_pd(minus, a), _mm512_and_pd(minus, sign))
    },
    pow2 |n| _mm512_castsi512_pd(_mm512_slli_epi64::<52>(_mm512_castpd_si512(_mm512_add_pd(
        n,
        _mm512_set1_pd(6_755_399_441_055_744.0 + 1023.0),
    )))),
    le |a, b| _mm512_cmp_pd_mask::<_CMP_LE_OQ>(a, b),
    eq |a, b| _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(a, b),
    any |m| _cvtmask8_u32(m) != 0,
    odd |n| _mm512_test_epi64_mask(_mm512_castpd_si512(_mm512_add_pd(n, _mm512_set1_pd(6_755_399_441_055_744.0))), _mm512_set1_epi64(1)),
    flip |v, n| {
        let sign = _mm512_castsi512_pd(_mm512_slli_epi64::<62>(_mm512_castpd_si512(_mm512_add_pd(n, _mm512_set1_pd(6_755_399_441_055_744.0)))));
        _mm512_xor_pd(v, _mm512_and_pd(sign, _mm512_set1_pd(-0.0)))
    },
    split |a| {
        const ONE: i64 = 1.0_f64.to_bits() as i64;
        const ROOT: i64 = core::f64::consts::FRAC_1_SQRT_2.to_bits() as i64;
        let bits = _mm512_add_epi64(_mm512_castpd_si512(a), _mm512_set1_epi64(ONE - ROOT));
        let n = _mm512_or_si512(_mm512_srli_epi64::<52>(bits), _mm512_castpd_si512(_mm512_set1_pd(4_503_599_627_370_496.0)));
        let m = _mm512_add_epi64(_mm512_and_si512(bits, _mm512_set1_epi64((1 << 52) - 1)), _mm512_set1_epi64(ROOT));
        (_mm512_sub_pd(_mm512_castsi512_pd(n), _mm512_set1_pd(4_503_599_627_370_496.0 + 1023.0)), _mm512_castsi512_pd(m))
    },
);
