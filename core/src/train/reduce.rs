//! Long sums, in an order that no instruction set changes.
//!
//! Product i goes to sum i mod 16, and the sums are added pairwise at the end. Sixteen of
//! them fill two AVX-512 vectors or eight SSE2 ones, and the compiler makes vectors of the
//! plain loops where they are inlined into a [`Kernel`](crate::simd::Kernel). Multiply and
//! add stay apart, as not every level fuses them: all levels agree bit for bit.

use crate::real::Real;

const SUMS: usize = 16;

/// Σ aᵢ bᵢ in f64.
#[inline(always)]
pub fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    let mut sums = [0.0; SUMS];
    let (a, a_rest) = a.as_chunks::<SUMS>();
    let (b, b_rest) = b.as_chunks::<SUMS>();
    for (a, b) in a.iter().zip(b) {
        for i in 0..SUMS {
            sums[i] += a[i].to_f64() * b[i].to_f64();
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum += a.to_f64() * b.to_f64();
    }
    let mut apart = SUMS / 2;
    while apart > 0 {
        for i in 0..apart {
            sums[i] += sums[i + apart];
        }
        apart /= 2;
    }
    sums[0]
}

/// a ← a − factor · b, each element rounded once to `T`.
#[inline(always)]
pub fn subtract_multiple<T: Real>(a: &mut [T], factor: f64, b: &[T]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a = T::from_f64(a.to_f64() - factor * b.to_f64());
    }
}
