//! The levels chosen at run time on x86-64, and what they share.

use core::arch::x86_64::*;
use core::sync::atomic::{AtomicU8, Ordering};

mod avx2;
mod avx512;

pub use avx2::Avx2;
pub use avx512::Avx512;

/// The processor's clock, which goes evenly on whatever else it does.
#[cfg(feature = "std")]
pub fn ticks() -> u64 {
    // SAFETY: every x86-64 has the instruction.
    unsafe { _rdtsc() }
}

/// Whether the machine has F16C, which `cpufeatures` knows nothing of. Asked for only where AVX2 is there.
#[inline]
fn has_f16c() -> bool {
    // 0: not asked yet; 1: no; 2: yes. Whoever asks twice gets the same answer.
    static KNOWN: AtomicU8 = AtomicU8::new(0);
    match KNOWN.load(Ordering::Relaxed) {
        0 => {
            // SAFETY: every x86-64 has the instruction. (Newer compilers know that.)
            #[allow(unused_unsafe)]
            let leaf = unsafe { __cpuid(1) };
            let has = cfg!(target_feature = "f16c") || leaf.ecx & (1 << 29) != 0;
            KNOWN.store(1 + u8::from(has), Ordering::Relaxed);
            has
        }
        known => known == 2,
    }
}

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
