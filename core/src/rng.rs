//! Random numbers by counting: number `counter` of stream `seed` is a hash of the two.
//!
//! Nothing depends on what was drawn before, so a mask of a given (layer, step, row, unit)
//! can be drawn again in the backward pass, in any order and on any thread, without being
//! stored. The hash is the output function of SplitMix64 (Steele, Lea & Flood, "Fast
//! splittable pseudorandom number generators", OOPSLA 2014, with Stafford's constants
//! "Mix13"), which passes BigCrush on counters. The same numbers come on every machine.
//! Not for secrets.
//!
//! ```
//! use unrolled::rng::{self, Rng};
//! let mut rng = Rng::new(7);
//! assert_eq!(rng.uniform(), rng::uniform_at(7, 0));
//! assert_eq!(rng.uniform(), rng::uniform_at(7, 1));
//! ```

/// 2⁶⁴ over the golden ratio, made odd: SplitMix64's step, which spreads counters over all bits.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// SplitMix64's output function: a bijection in which every input bit sways every output bit.
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Where the stream of `seed` starts. Hashed, for seeds are often small and neighbours,
/// and seeds `STEP` apart would otherwise give one stream shifted by one.
const fn start(seed: u64) -> u64 {
    mix(seed.wrapping_add(STEP))
}

/// 64 random bits: number `counter` of stream `seed`.
#[must_use]
#[inline]
pub const fn bits_at(seed: u64, counter: u64) -> u64 {
    mix(start(seed).wrapping_add(counter.wrapping_add(1).wrapping_mul(STEP)))
}

/// Uniform in [0, 1), a multiple of 2⁻⁵³: number `counter` of stream `seed`.
#[must_use]
#[inline]
pub const fn uniform_at(seed: u64, counter: u64) -> f64 {
    const ULP: f64 = 1.0 / (1_u64 << 53) as f64;
    (bits_at(seed, counter) >> 11) as f64 * ULP
}

/// The seed of stream `index` under `seed`. To draw by several coordinates, derive by
/// each in turn: `uniform_at(derive(derive(seed, layer), step), unit)`.
#[must_use]
#[inline]
pub const fn derive(seed: u64, index: u64) -> u64 {
    // From the complement's stream, so that no seed is also a number drawn from its parent.
    bits_at(!seed, index)
}

/// One stream, read in order.
#[derive(Clone, Debug)]
pub struct Rng {
    seed: u64,
    counter: u64,
}

impl Rng {
    /// Stream `seed`, from its start.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Rng { seed, counter: 0 }
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        let x = uniform_at(self.seed, self.counter);
        self.counter = self.counter.wrapping_add(1);
        x
    }

    /// Normal with mean 0 and variance 1, by Box and Muller's transform of two uniform numbers.
    pub fn normal(&mut self) -> f64 {
        // 1 − u lies in (0, 1]: the logarithm stays finite, and the largest value is 8.57.
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.uniform()));
        radius * libm::cos(core::f64::consts::TAU * self.uniform())
    }
}

#[cfg(test)]
mod tests {
    use super::{STEP, mix};

    #[test]
    fn the_hash_is_splitmix64() {
        // The first outputs for seed 1234567 that the reference implementation
        // (Vigna's splitmix64.c) gives.
        let known =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        for (i, expected) in (1..).zip(known) {
            assert_eq!(mix(1_234_567_u64.wrapping_add(STEP.wrapping_mul(i))), expected);
        }
    }
}
