//! The machine's own limit: the rate at which a core multiplies and adds when nothing else holds it up.
//!
//! The benchmarks give their speeds as shares of it. It is measured rather than computed, for neither the
//! clock under load nor how many vector units there are can be read everywhere.

use crate::real::Real;
use crate::simd::{Element, Kernel, Level, Simd};

/// More than the latency of a multiply-add (4 or 5 cycles) times the units there are (2), so that none ever
/// waits; with the two factors, within the 16 registers of AVX2.
const CHAINS: usize = 12;
/// No narrower than the widest vector.
const MOST_LANES: usize = 16;

/// Runs independent chains of multiply-adds, `rounds` links each, in registers alone.
///
/// Returns how many floating-point operations that was, a multiply-add being two of them; the caller holds the
/// watch. Below 10 000 or so rounds the start shows.
///
/// ```
/// use unrolled::{Level, peak::multiply_adds};
///
/// let start = std::time::Instant::now();
/// let operations = multiply_adds::<f32>(Level::best(), 20_000);
/// let rate = operations as f64 / start.elapsed().as_secs_f64();
/// assert!(rate > 0.0);
/// ```
#[must_use]
pub fn multiply_adds<T: Element>(level: Level, rounds: usize) -> usize {
    // What nobody looks at need not be computed.
    core::hint::black_box(T::dispatch(level, Chains { rounds }));
    2 * CHAINS * level.lanes::<T>() * rounds
}

struct Chains {
    rounds: usize,
}

impl<T: Real> Kernel<T> for Chains {
    /// The chains' sums, lane by lane.
    type Output = [T; MOST_LANES];

    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) -> Self::Output {
        // By small steps: no overflow, and no denormal number to slow it down. The sum is what is added to, for there
        // are instruction sets (NEON) whose multiply-add writes to that operand alone.
        let (a, b) = (s.splat(T::from_f64(0.999)), s.splat(T::from_f64(0.001)));
        let mut sums = [b; CHAINS];
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = s.mul_add(a, b, *sum);
            }
        }
        let mut out = [T::ZERO; MOST_LANES];
        s.store(&mut out, sums.into_iter().fold(s.splat(T::ZERO), |x, y| s.add(x, y)));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_link_is_computed<T: Element>() {
        for level in Level::available() {
            let rounds = 100;
            let lanes = level.lanes::<T>();
            assert_eq!(multiply_adds::<T>(level, rounds), 24 * lanes * rounds);
            // From 0.001, so many times 0.999 · 0.001 more.
            let expected = CHAINS as f64 * 0.001 * (1.0 + 0.999 * rounds as f64);
            let sums = T::dispatch(level, Chains { rounds });
            for (lane, sum) in sums.into_iter().enumerate() {
                let expected = if lane < lanes { expected } else { 0.0 };
                assert!((sum.to_f64() - expected).abs() < 1e-4, "{level:?} {lane}: {sum:?}");
            }
        }
    }

    #[test]
    fn the_links_are_counted_and_computed() {
        every_link_is_computed::<f32>();
        every_link_is_computed::<f64>();
    }
}
