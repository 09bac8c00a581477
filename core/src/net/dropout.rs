//! Dropout.

use crate::net::shard::Shard;
use crate::real::Real;
use crate::rng;
use core::ops::Range;

/// Dropout between layers. The mask is a function of the seed and the place alone, so that it needs no storing
/// and no thread's or shard's order shows in it.
#[derive(Clone, Copy)]
pub(crate) struct Dropout {
    seed: u64,
    p: f64,
    steps: usize,
    batch: usize,
}

impl Dropout {
    pub fn new(dropout: Option<(u64, f64)>, steps: usize, batch: usize) -> Option<Self> {
        dropout.filter(|&(_, p)| p > 0.0).map(|(seed, p)| Dropout { seed, p, steps, batch })
    }

    /// Multiplies rows that enter `layer` at these steps by their mask: 0, or 1 / (1 − p).
    pub fn apply<T: Real>(
        &self,
        layer: usize,
        shard: &Shard,
        steps: &Range<usize>,
        rows: &mut [T],
        values: usize,
        row: usize,
    ) {
        for (at, t, b) in shard.packed(steps) {
            self.apply_row(layer, (t, b), &mut rows[at * row..][..values]);
        }
    }

    /// Multiplies one row that enters `layer` at step t of row b of the batch.
    pub fn apply_row<T: Real>(&self, layer: usize, (t, b): (usize, usize), row: &mut [T]) {
        let kept = T::from_f64(1.0 / (1.0 - self.p));
        let first = ((layer * self.steps + t) * self.batch + b) * row.len();
        for (unit, value) in row.iter_mut().enumerate() {
            let drawn = rng::uniform_at(self.seed, (first + unit) as u64);
            *value = if drawn < self.p { T::ZERO } else { *value * kept };
        }
    }
}
