//! The uses of a parameter at one lag from their losses: what they give to its gradient.

use super::Recorded;
use super::front::{BLOCK, Route, gather};
use super::scale::{self, NOTHING};
use super::term::{MOST_PARTS, Row, Source, Target, buffers};
use super::wave::{Block, Entry, Wave};
use crate::error::Error;
use crate::kernel::buffer::Buffer;
use crate::kernel::buffer::{dirty_rows, room, rows};
use crate::net::dropout::Dropout;
use crate::net::forward::input_of;
use crate::net::gradients::Sums;
use crate::net::tape::ShardTrace;
use crate::real::Real;
use crate::time::Passes;
use alloc::vec::Vec;
use core::ops::Range;

/// Some losses of a shard at one lag, and the terms of the gradient there.
pub struct Uses<'a, T: Passes> {
    target: Target,
    wave: Wave<'a, T>,
    source: Entry<'a, T>,
    layer: Recorded<'a, T>,
    /// Derivatives of every row of the lag.
    derivatives: Buffer<T>,
    one: [T; 1],
    exponents: Vec<i32>,
    /// The sum of the lag's terms, divided by 2^`exponent`.
    pub sums: Sums<T>,
    pub exponent: i32,
    scratch: RowsScratch<T>,
}

/// For a block of rows.
struct RowsScratch<T: Real> {
    derivatives: Buffer<T>,
    values: Buffer<T>,
}

impl<'a, T: Passes> Uses<'a, T> {
    /// The last of `layers` is the parameter's.
    pub fn new(
        target: Target,
        layers: &[Recorded<'a, T>],
        shard: &'a ShardTrace<T>,
        losses: Range<usize>,
        source: Entry<'a, T>,
    ) -> Result<Self, Error> {
        let what = "terms";
        let wave = Wave::new(layers, shard, losses)?;
        let count = wave.count();
        let widest = target.parts().iter().map(|part| target.values(part.source)).max();
        let mut exponents = room(count, what)?;
        exponents.resize(count, NOTHING);
        Ok(Uses {
            target,
            wave,
            source,
            layer: layers[layers.len() - 1],
            derivatives: rows(count, target.row(), what)?,
            one: [T::ONE],
            exponents,
            sums: target.sums()?,
            exponent: NOTHING,
            scratch: RowsScratch {
                derivatives: rows(count.min(BLOCK), target.row(), what)?,
                values: dirty_rows(
                    count.min(BLOCK),
                    widest.unwrap_or(0).max(target.shape.row()),
                    what,
                )?,
            },
        })
    }

    pub fn losses(&self) -> Range<usize> {
        self.wave.losses.clone()
    }

    /// On to `lag`.
    pub fn step(&mut self, lag: isize, dropout: Option<Dropout>) {
        let Uses { target, wave, source, derivatives, exponents, .. } = self;
        let (sums, exponent, scratch) = (&mut self.sums, &mut self.exponent, &mut self.scratch);
        buffers(sums).into_iter().for_each(|sum| sum.fill(T::ZERO));
        *exponent = NOTHING;
        wave.step(lag, source, dropout, |block| {
            let (first, count, row) = (block.first, block.places.len(), target.row());
            let from =
                if target.is_projection() { &block.work.d_projected } else { &block.work.d_slots };
            let own = &mut derivatives[first * row..(first + count) * row];
            own.copy_from_slice(&from[..count * row]);
            exponents[first..first + count].copy_from_slice(block.exponents);
            add(target, &block, own, sums, exponent, scratch);
        });
    }

    /// Appends the rows of loss t's term, and gives its step k. None where there is no such pair.
    pub fn rows<'s>(&'s self, t: usize, to: &mut Vec<Row<'s, T>>) -> Option<usize> {
        let (rows, k) = self.wave.rows(t)?;
        let target = &self.target;
        let tape = self.wave.shard.shard.offsets[k];
        for (b, at) in rows.enumerate() {
            let derivatives = &self.derivatives[at * target.row()..][..target.row()];
            let mut parts = [(&[][..], &[][..]); MOST_PARTS];
            for (to, part) in parts.iter_mut().zip(target.parts()) {
                let values = match part.source {
                    Source::One => &self.one,
                    source => {
                        let (all, row) = multiplied(&self.layer, self.wave.shard, source);
                        &all[(tape + b) * row..]
                    }
                };
                let values = &values[..target.values(part.source)];
                *to = (target.derivatives(part, derivatives), values);
            }
            to.push(Row { parts, exponent: self.exponents[at] });
        }
        Some(k)
    }
}

/// What the weights of a source multiply, where the tape has it: rows, and how far they are apart.
fn multiplied<'a, T: Passes>(
    layer: &Recorded<'a, T>,
    shard: &'a ShardTrace<T>,
    source: Source,
) -> (&'a [T], usize) {
    let (trace, shape) = (layer.trace(shard), &layer.shape);
    match source {
        Source::Input => {
            let span = &shard.spans[0];
            let own = &span.layers[layer.layer].x;
            (input_of(&span.x, own, &span.layers, layer.layer), shape.input)
        }
        Source::State => (&trace.before, shape.state_stride),
        Source::Value(slot) => (&trace.slots[slot as usize * shape.stride..], shape.row()),
        Source::Unprojected => (&trace.unprojected, shape.stride),
        Source::One => (&[], 0),
    }
}

/// Adds the terms of a block.
fn add<T: Passes>(
    target: &Target,
    block: &Block<'_, '_, T>,
    derivatives: &[T],
    sums: &mut Sums<T>,
    exponent: &mut i32,
    scratch: &mut RowsScratch<T>,
) {
    let count = block.places.len();
    let most = block.exponents.iter().copied().max().unwrap_or(NOTHING);
    if most == NOTHING {
        return;
    }
    if most > *exponent {
        let less = exponent.saturating_sub(most);
        buffers(sums).into_iter().for_each(|sum| scale::shift(sum, less));
        *exponent = most;
    }
    // Rows times the power of two that they have in common.
    let alike = block.exponents.iter().all(|own| *own == *exponent || *own == NOTHING);
    let derivatives = if alike {
        derivatives
    } else {
        let row = target.row();
        let to = &mut scratch.derivatives;
        for ((to, from), own) in
            to.chunks_mut(row).zip(derivatives.chunks(row)).zip(block.exponents)
        {
            let factor = scale::power::<T>(own.saturating_sub(*exponent));
            to.iter_mut().zip(from).for_each(|(to, &d)| *to = d * factor);
        }
        to
    };
    let tape: fn(&Route) -> usize = |place| place.tape;
    for part in target.parts() {
        let values = match part.source {
            Source::One => (&[T::ONE][..], 0),
            source => {
                let (all, row) = multiplied(block.layer, block.shard, source);
                (gather(all, &mut scratch.values, row, block.places, tape), row)
            }
        };
        target.add(block.layer.net.level(), part, count, derivatives, values, sums);
    }
}
