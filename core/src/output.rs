//! Arrays by time, row and feature, between the caller's order and the shards' packed rows.

use crate::error::Error;
use crate::kernel::buffer::Buffer;
use crate::network::View;
use crate::real::Real;
use crate::tape::{Shard, dirty_rows, room};
use alloc::vec::Vec;
use core::ops::Range;

/// The packed rows of some steps, out of the caller's array.
pub(crate) fn pack<T: Real>(
    shard: &Shard,
    steps: &Range<usize>,
    from: &View<'_, T>,
    features: usize,
    what: &'static str,
) -> Result<Buffer<T>, Error> {
    let mut to = dirty_rows(shard.packing().range(steps).len(), features, what)?;
    for (row, t, b) in shard.packed(steps) {
        to[row * features..][..features].copy_from_slice(from.at(t, b, features));
    }
    Ok(to)
}

/// A shard's part of a (T, B, features) array that the shards fill side by side.
pub(crate) struct Share<'a, T> {
    /// Step after step: the shard's rows in one piece if they are neighbours, else one by one, in the batch's order.
    pieces: Vec<&'a mut [T]>,
    /// How many of a step.
    each: usize,
    /// Of each of the shard's rows: which piece, and where in it.
    places: Vec<(usize, usize)>,
    features: usize,
}

/// Cuts `out` among shards that together have all the rows of the batch.
pub(crate) fn share<'a, 's, T>(
    out: &'a mut [T],
    shards: impl IntoIterator<Item = &'s Shard>,
    batch: usize,
    features: usize,
) -> Result<Vec<Share<'a, T>>, Error> {
    let what = "output";
    let steps = out.len() / (batch * features).max(1);
    let mut shares = Vec::new();
    // The first row of each piece, its shard, and how many rows it has.
    let mut cuts = room(batch, what)?;
    for (i, Shard { rows, .. }) in shards.into_iter().enumerate() {
        let n = rows.len();
        let mut places = room(n, what)?;
        let neighbours = rows.is_sorted_by(|a, b| a + 1 == *b);
        if neighbours {
            cuts.extend(rows.first().map(|&b| (b, i, n)));
            places.extend((0..n).map(|row| (0, row * features)));
        } else {
            cuts.extend(rows.iter().map(|&b| (b, i, 1)));
            let mut order: Vec<usize> = room(n, what)?;
            order.extend(0..n);
            order.sort_unstable_by_key(|&row| rows[row]);
            places.resize(n, (0, 0));
            order.iter().enumerate().for_each(|(piece, &row)| places[row] = (piece, 0));
        }
        let each = if neighbours { 1 } else { n };
        let pieces = room(steps.saturating_mul(each), what)?;
        shares.push(Share { pieces, each, places, features });
    }
    cuts.sort_unstable();
    for mut step in out.chunks_mut((batch * features).max(1)) {
        for &(_, shard, rows) in &cuts {
            let piece;
            (piece, step) = step.split_at_mut(rows * features);
            shares[shard].pieces.push(piece);
        }
    }
    Ok(shares)
}

impl<T: Real> Share<'_, T> {
    /// Fills in some steps from packed rows that are `row` apart.
    pub fn put(&mut self, shard: &Shard, steps: &Range<usize>, values: &[T], row: usize) {
        let (rows, features) = (shard.packing(), self.features);
        let first = rows.range(steps).start;
        for t in steps.clone() {
            let values = &values[(rows.range(&(t..t)).start - first) * row..];
            let n = rows.count(t);
            if self.each == 1 && row == features {
                self.pieces[t][..n * features].copy_from_slice(&values[..n * features]);
                continue;
            }
            for (r, &(piece, at)) in self.places[..n].iter().enumerate() {
                self.pieces[t * self.each + piece][at..][..features]
                    .copy_from_slice(&values[r * row..][..features]);
            }
        }
    }
}
