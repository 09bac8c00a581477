//! Losses on their way back together, the same number of steps from each.

use super::Recorded;
use super::front::{BLOCK, Front, Route, Work};
use super::scale::{self, NOTHING};
use crate::cell::InputDerivative;
use crate::error::Error;
use crate::kernel::buffer::{Buffer, size};
use crate::kernel::buffer::{dirty_rows, room, rows};
use crate::net::dropout::Dropout;
use crate::net::tape::ShardTrace;
use crate::net::view::View;
use crate::time::Passes;
use alloc::vec::Vec;
use core::ops::Range;

/// Where losses enter the topmost layer of a wave.
pub enum Entry<'a, T: Passes> {
    /// By the net's outputs: (T, B, output size), each at its own step.
    Outputs(View<'a, T>),
    /// By what a layer above with two directions gave, at any step.
    Above(Pairs<T>),
}

/// Derivatives of losses by the outputs of a layer: a row for each pair of a loss and a step.
pub struct Pairs<T: Passes> {
    values: Buffer<T>,
    exponents: Vec<i32>,
    /// Losses times rows.
    losses: usize,
    width: usize,
}

impl<T: Passes> Pairs<T> {
    pub fn new(steps: usize, losses: usize, width: usize) -> Result<Self, Error> {
        let what = "derivatives of every loss at every step";
        let count = size(&[steps, losses], what)?;
        let mut exponents = room(count, what)?;
        exponents.resize(count, NOTHING);
        Ok(Pairs { values: rows(count, width, what)?, exponents, losses, width })
    }

    fn at(&self, k: usize, loss: usize) -> (&[T], i32) {
        let at = k * self.losses + loss;
        (&self.values[at * self.width..][..self.width], self.exponents[at])
    }

    /// Adds a row times a power of two.
    pub fn add(&mut self, k: usize, loss: usize, row: &[T], exponent: i32) {
        let at = k * self.losses + loss;
        let to = &mut self.values[at * self.width..][..self.width];
        scale::add(to, &mut self.exponents[at], &row[..self.width], exponent);
    }
}

/// A row of the batch in a pair of a loss t and a step k.
#[derive(Clone, Copy)]
pub struct LossAndStep {
    pub t: usize,
    pub k: usize,
    /// Row of the shard.
    pub b: usize,
}

/// One layer of the way down.
struct Floor<'a, T: Passes> {
    layer: Recorded<'a, T>,
    front: Front<T>,
    work: Work<T>,
}

/// What a block of rows gave in the lowest layer.
pub struct Block<'s, 'a, T: Passes> {
    pub shard: &'a ShardTrace<T>,
    pub layer: &'s Recorded<'a, T>,
    pub work: &'s mut Work<T>,
    /// Which of the lag's rows it begins with.
    pub first: usize,
    pub pairs: &'s [LossAndStep],
    pub places: &'s [Route],
    /// Of the rows in `work`.
    pub exponents: &'s [i32],
}

/// The losses of some steps in one shard, going back through a layer or several.
///
/// With lag ℓ, loss t is at step k = t − ℓ, in the reverse direction at t + ℓ: that use of a parameter lies so many
/// steps back. Where a layer above has two directions, a loss also reaches steps after it: negative lags.
pub struct Wave<'a, T: Passes> {
    pub shard: &'a ShardTrace<T>,
    pub losses: Range<usize>,
    floors: Vec<Floor<'a, T>>,
    pairs: Vec<LossAndStep>,
    places: Vec<Route>,
    /// For each loss, which of the lag's rows are its own; one more than losses.
    starts: Vec<usize>,
    d_x: Buffer<T>,
    exponents: Vec<i32>,
}

impl<'a, T: Passes> Wave<'a, T> {
    /// Losses that enter the first of `layers`, the topmost; nets of two directions go layer by layer.
    pub fn new(
        layers: &[Recorded<'a, T>],
        shard: &'a ShardTrace<T>,
        losses: Range<usize>,
    ) -> Result<Self, Error> {
        let what = "cotangents";
        let count = shard.shard.packing().range(&losses).len();
        let at_once = count.min(BLOCK);
        let mut floors = room(layers.len(), "layers")?;
        for layer in layers {
            let (front, work) = (Front::new(&layer.shape, count)?, Work::new(layer, at_once)?);
            floors.push(Floor { layer: *layer, front, work });
        }
        let widest = layers.iter().map(|layer| layer.shape.input_stride).max().unwrap_or(0);
        let mut exponents = room(at_once, what)?;
        exponents.resize(at_once, NOTHING);
        Ok(Wave {
            shard,
            starts: room(losses.len() + 1, what)?,
            losses,
            floors,
            pairs: room(count, what)?,
            places: room(count, what)?,
            d_x: dirty_rows(at_once, widest, what)?,
            exponents,
        })
    }

    /// Losses times rows.
    pub fn count(&self) -> usize {
        self.shard.shard.packing().range(&self.losses).len()
    }

    /// The rows of the lag that belong to loss t, and the step where they are.
    pub fn rows(&self, t: usize) -> Option<(Range<usize>, usize)> {
        let at = t - self.losses.start;
        let rows = *self.starts.get(at)?..*self.starts.get(at + 1)?;
        let first = self.pairs.get(rows.start).filter(|_| !rows.is_empty())?;
        Some((rows, first.k))
    }

    /// Finds the rows that are `lag` steps back.
    fn list(&mut self, lag: isize) {
        let Some(Floor { layer, .. }) = self.floors.first() else { return };
        let pass = layer.pass(&self.shard.shard);
        let first = pass.rows.offsets[self.losses.start];
        self.pairs.clear();
        self.places.clear();
        self.starts.clear();
        for t in self.losses.clone() {
            self.starts.push(self.pairs.len());
            let back = if layer.reverse() { -lag } else { lag };
            let k = t.checked_add_signed(-back).filter(|&k| k < pass.rows.steps());
            let Some(k) = k else { continue };
            let (loss, tape) = (pass.rows.offsets[t] - first, pass.rows.offsets[k]);
            for b in 0..pass.rows.count(t.max(k)) {
                let cut = pass.is_cut(k, b);
                self.pairs.push(LossAndStep { t, k, b });
                self.places.push(Route { cotangent: loss + b, tape: tape + b, cut });
            }
        }
        self.starts.push(self.pairs.len());
    }

    /// A step back for every loss, to `lag` steps from it. `each` gets what the lowest layer gave, block by block.
    pub fn step(
        &mut self,
        lag: isize,
        source: &Entry<'_, T>,
        dropout: Option<Dropout>,
        mut each: impl FnMut(Block<'_, 'a, T>),
    ) {
        self.list(lag);
        let Wave { shard, floors, pairs, places, d_x, exponents, .. } = self;
        let last = floors.len() - 1;
        for (at, (pairs, places)) in pairs.chunks(BLOCK).zip(places.chunks(BLOCK)).enumerate() {
            let mut d_x_row = 0;
            for (i, Floor { layer, front, work }) in floors.iter_mut().enumerate() {
                if i > 0 {
                    let rows = d_x.chunks(d_x_row).zip(&*exponents);
                    for (place, (row, &exponent)) in places.iter().zip(rows) {
                        front.add(layer, place.cotangent, row, exponent);
                    }
                } else {
                    enter(layer, front, shard, source, (pairs, places), lag);
                }
                work.pull(layer, layer.trace(shard), front, places);
                for (exponent, place) in exponents.iter_mut().zip(places) {
                    *exponent = front.exponents[place.cotangent];
                }
                if i < last {
                    d_x_row = layer.shape.input_stride;
                    input_derivative(layer, work, places.len(), d_x);
                    drop_out(layer, dropout, shard, pairs, d_x);
                } else {
                    let (first, exponents) = (at * BLOCK, &exponents[..places.len()]);
                    each(Block { shard, layer, work, first, pairs, places, exponents });
                }
                front.settle(&layer.shape, places);
            }
        }
    }
}

/// Adds the losses where they enter.
fn enter<T: Passes>(
    layer: &Recorded<'_, T>,
    front: &mut Front<T>,
    shard: &ShardTrace<T>,
    source: &Entry<'_, T>,
    (pairs, places): (&[LossAndStep], &[Route]),
    lag: isize,
) {
    for (pair, place) in pairs.iter().zip(places) {
        match source {
            Entry::Above(above) => {
                let (row, exponent) = above.at(pair.k, place.cotangent);
                front.add(layer, place.cotangent, row, exponent);
            }
            Entry::Outputs(d_y) if lag == 0 => {
                let outputs = layer.net.config().output_size();
                let row = d_y.at(pair.t, shard.shard.rows[pair.b], outputs);
                front.add(layer, place.cotangent, row, 0);
            }
            Entry::Outputs(_) => {}
        }
    }
}

/// The derivatives by what the layer read, rows of its shape's `input_stride`.
pub fn input_derivative<T: Passes>(
    layer: &Recorded<'_, T>,
    work: &Work<T>,
    rows: usize,
    d_x: &mut [T],
) {
    let derivative = InputDerivative {
        shape: &layer.shape,
        rows,
        d_slots: &work.d_slots,
        input: layer.net.packed[layer.cell()].transposed().input,
        d_x,
    };
    T::input_derivative(layer.net.level(), derivative);
}

/// The same, through the dropout below the layer.
pub fn drop_out<T: Passes>(
    layer: &Recorded<'_, T>,
    dropout: Option<Dropout>,
    shard: &ShardTrace<T>,
    pairs: &[LossAndStep],
    d_x: &mut [T],
) {
    let Some(dropout) = dropout else { return };
    for (pair, row) in pairs.iter().zip(d_x.chunks_mut(layer.shape.input_stride)) {
        let place = (pair.k, shard.shard.rows[pair.b]);
        dropout.apply_row(layer.layer, place, &mut row[..layer.shape.input]);
    }
}
