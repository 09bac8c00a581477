//! Arrays by time, row and feature, between the caller's order and the shards' packed rows.

use crate::error::Error;
use crate::kernel::buffer::Buffer;
use crate::kernel::buffer::{dirty_rows, room};
use crate::net::shard::Shard;
use crate::net::view::View;
use crate::real::Real;
use crate::time::OutputDerivative;
use alloc::vec::Vec;
use core::ops::{Deref, Range};

/// Packed rows of the caller's array.
pub(crate) enum PackedRows<'a, T: Real> {
    /// That lie so already.
    There(&'a [T]),
    Copied(Buffer<T>),
}

impl<T: Real> PackedRows<'_, T> {
    /// A copy, unless it is one.
    pub fn into_copy(self, what: &'static str) -> Result<Buffer<T>, Error> {
        match self {
            PackedRows::There(rows) => {
                let mut copy = Buffer::dirty(rows.len(), what)?;
                copy.copy_from_slice(rows);
                Ok(copy)
            }
            PackedRows::Copied(rows) => Ok(rows),
        }
    }
}

impl<T: Real> Deref for PackedRows<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            PackedRows::There(rows) => rows,
            PackedRows::Copied(rows) => rows,
        }
    }
}

/// The packed rows of some steps, copied unless they lie so already.
pub(crate) fn packed<'a, T: Real>(
    shard: &Shard,
    steps: &Range<usize>,
    from: &View<'a, T>,
    features: usize,
    what: &'static str,
) -> Result<PackedRows<'a, T>, Error> {
    let n = shard.rows.len();
    if let Some(&first) = shard.rows.first()
        && shard.is_block()
        && (n == 1 || from.batch == features)
        && (steps.len() == 1 || from.time == n * features)
    {
        let first = steps.start * from.time + first * from.batch;
        return Ok(PackedRows::There(&from.data[first..][..steps.len() * n * features]));
    }
    let mut to = dirty_rows(shard.packing().range(steps).len(), features, what)?;
    for (row, t, b) in shard.packed(steps) {
        to[row * features..][..features].copy_from_slice(from.at(t, b, features));
    }
    Ok(PackedRows::Copied(to))
}

/// Derivatives by the outputs of some steps where the caller has them, if a shard's rows are neighbours there.
pub(crate) fn derivative<'a, T: Real>(
    shard: &Shard,
    steps: &Range<usize>,
    from: &View<'a, T>,
) -> Option<OutputDerivative<'a, T>> {
    let first = steps.start * from.time + shard.rows.first()? * from.batch;
    let data = shard.is_block().then(|| from.data.get(first..))??;
    Some(OutputDerivative { data, row: from.batch, time: Some(from.time), first: 0 })
}

/// A shard's part of a (T, B, features) array that the shards fill side by side.
pub(crate) struct Share<'a, T> {
    /// Step after step: the shard's rows in one piece if they are neighbours, else one by one, in the batch's order.
    /// If the shard is the whole batch at all steps, all is one piece.
    pieces: Vec<&'a mut [T]>,
    /// Pieces of a step; 0 where all is one.
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
    let mut shards = shards.into_iter().peekable();
    if shards.next_if(|shard| shard.rows.len() == batch && shard.is_block()).is_some() {
        let places = Vec::new();
        let mut pieces = room(1, what)?;
        pieces.push(out);
        return Ok([Share { pieces, each: 0, places, features }].into());
    }
    // The first row of each piece, its shard, and how many rows it has.
    let mut cuts = room(batch, what)?;
    for (i, Shard { rows, .. }) in shards.enumerate() {
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
    /// The packed rows of some steps, if they lie so in the array.
    pub fn rows(&mut self, shard: &Shard, steps: &Range<usize>) -> Option<&mut [T]> {
        let rows = shard.packing().range(steps);
        (self.each == 0)
            .then(|| &mut self.pieces[0][rows.start * self.features..rows.end * self.features])
    }

    /// Fills in some steps from packed rows that are `row` apart.
    pub fn put(&mut self, shard: &Shard, steps: &Range<usize>, values: &[T], row: usize) {
        let (rows, features) = (shard.packing(), self.features);
        if let Some(to) = self.rows(shard, steps) {
            if row == features {
                return to.copy_from_slice(values);
            }
            for (to, values) in to.chunks_mut(features).zip(values.chunks(row)) {
                to.copy_from_slice(&values[..features]);
            }
            return;
        }
        let first = rows.range(steps).start;
        for t in steps.clone() {
            let values = &values[(rows.range(&(t..t)).start - first) * row..];
            let n = rows.count(t);
            for (r, &(piece, at)) in self.places[..n].iter().enumerate() {
                self.pieces[t * self.each + piece][at..][..features]
                    .copy_from_slice(&values[r * row..][..features]);
            }
        }
    }
}
