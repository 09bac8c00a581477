//! How a batch is cut among threads, and packed.

use crate::error::Error;
use crate::kernel::buffer::{room, size};
use crate::kernel::shape::Shape;
use crate::time::{Pass, Rows};
use alloc::vec::Vec;
use core::ops::Range;

/// Rows of a batch that are worked on together, from beginning to end, by one thread.
///
/// The cut into shards is a function of the batch alone: each shard sums the parameters' gradients
/// of its rows, and the shards' sums are added in order, so that the sum does not depend on the threads.
#[derive(Debug)]
pub(crate) struct Shard {
    /// Which rows of the batch, longest first.
    pub rows: Vec<usize>,
    /// As in [`Rows`].
    pub offsets: Vec<usize>,
    /// For each packed row, whether an episode begins there.
    pub resets: Option<Vec<bool>>,
}

/// Rows of a shard: enough for the products over rows to run well …
const SHARD_ROWS: usize = 16;
/// … and shards: enough for many threads, few enough that their sums of gradients stay small.
const MOST_SHARDS: usize = 16;
/// Packed rows of a chunk of steps, whose derivatives are kept in cache between their making and use.
const CHUNK_ROWS: usize = 256;

impl Shard {
    /// Cuts a batch. Lengths must not exceed `steps`; `reset(t, b)` is asked once for each running row.
    pub fn cut(
        steps: usize,
        batch: usize,
        lengths: Option<&[usize]>,
        reset: Option<&dyn Fn(usize, usize) -> bool>,
    ) -> Result<Vec<Shard>, Error> {
        let count = batch.div_ceil(SHARD_ROWS).clamp(1, MOST_SHARDS);
        let length = |b: usize| lengths.map_or(steps, |l| l[b]);
        let mut order = room(batch, "rows")?;
        order.extend(0..batch);
        if lengths.is_some() {
            // Unstable, for a stable sort asks for memory; rows of one length stay in order by themselves.
            order.sort_unstable_by_key(|&b| (core::cmp::Reverse(length(b)), b));
        }
        (0..count)
            .map(|i| {
                // Ragged rows are dealt out, so that shards take alike long; even ones stay neighbours.
                let mut rows: Vec<usize> = room(batch.div_ceil(count), "rows")?;
                match lengths {
                    Some(_) => rows.extend(order.iter().skip(i).step_by(count)),
                    None => rows.extend(&order[i * batch / count..(i + 1) * batch / count]),
                }
                let mut offsets = room(steps.saturating_add(1), "time steps")?;
                let (mut n, mut at) = (rows.len(), 0);
                size(&[n, steps], "time steps")?;
                if lengths.is_none() {
                    offsets.extend((0..=steps).map(|t| t * n));
                } else {
                    offsets.push(0);
                    for t in 0..steps {
                        while n > 0 && length(rows[n - 1]) <= t {
                            n -= 1;
                        }
                        at += n;
                        offsets.push(at);
                    }
                }
                let at = offsets[steps];
                let mut shard = Shard { rows, offsets, resets: None };
                if let Some(reset) = reset {
                    let mut flags = room(at, "resets")?;
                    flags.extend(shard.packed(&(0..steps)).map(|(_, t, b)| reset(t, b)));
                    shard.resets = flags.contains(&true).then_some(flags);
                }
                Ok(shard)
            })
            .collect()
    }

    pub fn packing(&self) -> Rows<'_> {
        Rows { offsets: &self.offsets }
    }

    /// Time in one layer and direction, whose packed input is `x`.
    pub fn pass<'a, T>(&'a self, shape: &'a Shape, reverse: bool, x: &'a [T]) -> Pass<'a, T> {
        let (rows, resets) = (self.packing(), self.resets.as_deref());
        Pass { shape, rows, reverse, resets, x, x_row: shape.input }
    }

    /// Steps T.
    pub fn steps(&self) -> usize {
        self.offsets.len() - 1
    }

    /// Whether its rows are neighbours in the batch, in order, and run at all steps.
    pub fn is_block(&self) -> bool {
        let n = self.rows.len();
        self.rows.is_sorted_by(|a, b| a + 1 == *b) && self.offsets[self.steps()] == n * self.steps()
    }

    /// Every packed row of these steps, counted from the first, with its step and its row of the batch.
    pub fn packed(&self, steps: &Range<usize>) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let first = self.offsets[steps.start];
        steps.clone().flat_map(move |t| {
            let rows = self.offsets[t] - first..self.offsets[t + 1] - first;
            rows.zip(&self.rows).map(move |(row, &b)| (row, t, b))
        })
    }

    /// Steps between checkpoints: as asked for, in whole chunks; for 0, so that what is stored and what
    /// is computed again (six times as large for each step) take alike much memory.
    pub fn checkpoint_steps(&self, asked: Option<usize>) -> Option<usize> {
        let steps = self.steps();
        let every = match asked? {
            0 => (steps / 3).isqrt(),
            n => n,
        };
        Some(every.clamp(1, steps.max(1)).next_multiple_of(self.chunk_steps()))
    }

    /// Steps of a chunk: a function of the shard's size, for weight gradients are summed chunk by chunk.
    pub fn chunk_steps(&self) -> usize {
        (CHUNK_ROWS / self.rows.len().max(1)).clamp(16, 64)
    }
}

/// The steps of `range` in windows of `len`, in the order in which time runs. Windows begin at multiples of
/// `len` from the range's start, in both directions.
pub(crate) fn windows(
    range: Range<usize>,
    len: usize,
    reverse: bool,
) -> impl DoubleEndedIterator<Item = Range<usize>> + ExactSizeIterator {
    let count = range.len().div_ceil(len.max(1));
    (0..count).map(move |i| {
        let i = if reverse { count - 1 - i } else { i };
        let start = range.start + i * len;
        start..(start + len).min(range.end)
    })
}
