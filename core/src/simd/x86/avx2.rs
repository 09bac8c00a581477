//! AVX2 with FMA: vectors of 256 bits, 16 registers.

use super::{simd_impl, store_few_pd, store_few_ps};
use crate::simd::sealed::Sealed;
use crate::simd::{Kernel, Simd};
use core::arch::x86_64::*;

/// Proof that AVX2 and FMA are there.
#[derive(Clone, Copy, Debug)]
pub struct Avx2(());

cpufeatures::new!(has_avx2, "avx2", "fma");

impl Sealed for Avx2 {}

impl Avx2 {
    /// The token, where the machine has both.
    #[inline]
    pub fn detect() -> Option<Self> {
        has_avx2::get().then_some(Avx2(()))
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
    Avx2, "avx2,fma", f32, __m256, __m256, lanes 8, registers 16,
    _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_add_ps _mm256_sub_ps _mm256_mul_ps _mm256_div_ps
    _mm256_sqrt_ps _mm256_fmadd_ps _mm256_fnmadd_ps _mm256_min_ps _mm256_max_ps,
    lt |a, b| _mm256_cmp_ps::<_CMP_LT_OQ>(a, b),
    select |m, a, b| _mm256_blendv_ps(b, a, m),
    mask |n| _mm256_loadu_si256(MASKS32[if n < 8 { n } else { 8 }].as_ptr().cast()),
    maskload |p, m| _mm256_maskload_ps(p, m),
    storefew |p, v| store_few_ps(p, v, n),
    abs |a| _mm256_andnot_ps(_mm256_set1_ps(-0.0), a),
    copysign |a, sign| {
        let minus = _mm256_set1_ps(-0.0);
        _mm256_or_ps(_mm256_andnot_ps(minus, a), _mm256_and_ps(minus, sign))
    },
    pow2 |n| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(_mm256_add_ps(
        n,
        _mm256_set1_ps(12_582_912.0 + 127.0),
    )))),
    le |a, b| _mm256_cmp_ps::<_CMP_LE_OQ>(a, b),
    eq |a, b| _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b),
    any |m| _mm256_movemask_ps(m) != 0,
    odd |n| { let n = _mm256_castps_si256(_mm256_add_ps(n, _mm256_set1_ps(12_582_912.0))); let odd = _mm256_and_si256(n, _mm256_set1_epi32(1)); _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_setzero_si256(), odd)) },
    flip |v, n| {
        let sign = _mm256_castsi256_ps(_mm256_slli_epi32::<30>(_mm256_castps_si256(_mm256_add_ps(n, _mm256_set1_ps(12_582_912.0)))));
        _mm256_xor_ps(v, _mm256_and_ps(sign, _mm256_set1_ps(-0.0)))
    },
    split |a| {
        const ONE: i32 = 1.0_f32.to_bits() as i32;
        const ROOT: i32 = core::f32::consts::FRAC_1_SQRT_2.to_bits() as i32;
        let bits = _mm256_add_epi32(_mm256_castps_si256(a), _mm256_set1_epi32(ONE - ROOT));
        let n = _mm256_or_si256(_mm256_srli_epi32::<23>(bits), _mm256_castps_si256(_mm256_set1_ps(8_388_608.0)));
        let m = _mm256_add_epi32(_mm256_and_si256(bits, _mm256_set1_epi32((1 << 23) - 1)), _mm256_set1_epi32(ROOT));
        (_mm256_sub_ps(_mm256_castsi256_ps(n), _mm256_set1_ps(8_388_608.0 + 127.0)), _mm256_castsi256_ps(m))
    },
);

simd_impl!(
    Avx2, "avx2,fma", f64, __m256d, __m256d, lanes 4, registers 16,
    _mm256_set1_pd _mm256_loadu_pd _mm256_storeu_pd _mm256_add_pd _mm256_sub_pd _mm256_mul_pd _mm256_div_pd
    _mm256_sqrt_pd _mm256_fmadd_pd _mm256_fnmadd_pd _mm256_min_pd _mm256_max_pd,
    lt |a, b| _mm256_cmp_pd::<_CMP_LT_OQ>(a, b),
    select |m, a, b| _mm256_blendv_pd(b, a, m),
    mask |n| _mm256_loadu_si256(MASKS64[if n < 4 { n } else { 4 }].as_ptr().cast()),
    maskload |p, m| _mm256_maskload_pd(p, m),
    storefew |p, v| store_few_pd(p, v, n),
    abs |a| _mm256_andnot_pd(_mm256_set1_pd(-0.0), a),
    copysign |a, sign| {
        let minus = _mm256_set1_pd(-0.0);
        _mm256_or_pd(_mm256_andnot_pd(minus, a), _mm256_and_pd(minus, sign))
    },
    pow2 |n| _mm256_castsi256_pd(_mm256_slli_epi64::<52>(_mm256_castpd_si256(_mm256_add_pd(
        n,
        _mm256_set1_pd(6_755_399_441_055_744.0 + 1023.0),
    )))),
    le |a, b| _mm256_cmp_pd::<_CMP_LE_OQ>(a, b),
    eq |a, b| _mm256_cmp_pd::<_CMP_EQ_OQ>(a, b),
    any |m| _mm256_movemask_pd(m) != 0,
    odd |n| { let n = _mm256_castpd_si256(_mm256_add_pd(n, _mm256_set1_pd(6_755_399_441_055_744.0))); let odd = _mm256_and_si256(n, _mm256_set1_epi64x(1)); _mm256_castsi256_pd(_mm256_sub_epi64(_mm256_setzero_si256(), odd)) },
    flip |v, n| {
        let sign = _mm256_castsi256_pd(_mm256_slli_epi64::<62>(_mm256_castpd_si256(_mm256_add_pd(n, _mm256_set1_pd(6_755_399_441_055_744.0)))));
        _mm256_xor_pd(v, _mm256_and_pd(sign, _mm256_set1_pd(-0.0)))
    },
    split |a| {
        const ONE: i64 = 1.0_f64.to_bits() as i64;
        const ROOT: i64 = core::f64::consts::FRAC_1_SQRT_2.to_bits() as i64;
        let bits = _mm256_add_epi64(_mm256_castpd_si256(a), _mm256_set1_epi64x(ONE - ROOT));
        let n = _mm256_or_si256(_mm256_srli_epi64::<52>(bits), _mm256_castpd_si256(_mm256_set1_pd(4_503_599_627_370_496.0)));
        let m = _mm256_add_epi64(_mm256_and_si256(bits, _mm256_set1_epi64x((1 << 52) - 1)), _mm256_set1_epi64x(ROOT));
        (_mm256_sub_pd(_mm256_castsi256_pd(n), _mm256_set1_pd(4_503_599_627_370_496.0 + 1023.0)), _mm256_castsi256_pd(m))
    },
);
