//! What a forward pass keeps for the backward one.

use crate::cell::{CellState, Step};
use crate::error::Error;
use crate::gates::Config;
use crate::kernel::buffer::{Buffer, size, zeros};
use crate::kernel::shape::{Shape, Slots};
use crate::network::{Network, Version};
use crate::real::Real;
use crate::sequence::{Passes, Rows, TapeMut, TapeRef};
use crate::simd::Level;
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

/// An empty vector with room for `len`.
pub(crate) fn room<T>(len: usize, what: &'static str) -> Result<Vec<T>, Error> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::TooLarge { what })?;
    Ok(values)
}

/// What is kept of one direction of a layer, over some steps.
#[derive(Debug, Default)]
pub(crate) struct Trace<T: Real> {
    /// Activated gates of every packed row; empty where checkpoints stand in.
    pub gates: Buffer<T>,
    /// h entering each.
    pub h: Buffer<T>,
    /// c entering each.
    pub c: Buffer<T>,
    /// With checkpoints: h, then c, of all rows entering each window (in the direction's own time).
    pub checkpoints: Buffer<T>,
}

/// What is kept of a layer, over some steps.
#[derive(Debug, Default)]
pub(crate) struct LayerTrace<T: Real> {
    /// The packed output of the layer below after dropout; empty where that was not applied.
    pub x: Buffer<T>,
    /// The packed output, directions side by side.
    pub y: Buffer<T>,
    /// Forward, and reverse if there is one.
    pub directions: Vec<Trace<T>>,
}

/// What is kept of some steps.
#[derive(Debug)]
pub(crate) struct Span<T: Real> {
    pub steps: Range<usize>,
    /// The packed input.
    pub x: Buffer<T>,
    /// The state of every layer before the steps; empty where `layers` are kept.
    pub entering: Vec<State<T>>,
    /// Empty where they are to be run again, from `x` and `entering`.
    pub layers: Vec<LayerTrace<T>>,
}

/// What is kept of a shard: one span, or many where checkpoints stand between them.
#[derive(Debug)]
pub(crate) struct ShardTrace<T: Real> {
    pub shard: Shard,
    pub spans: Vec<Span<T>>,
}

/// What a recorded forward pass keeps for [`Network::backward`](crate::network::Network::backward).
#[derive(Debug)]
pub struct Tape<T: Real> {
    /// The net's that recorded it, and the level it runs on.
    pub(crate) config: Config,
    pub(crate) level: Level,
    pub(crate) steps: usize,
    pub(crate) batch: usize,
    pub(crate) shards: Vec<ShardTrace<T>>,
    /// Steps between checkpoints.
    pub(crate) checkpoint: Option<usize>,
    /// Seed and probability of the dropout applied.
    pub(crate) dropout: Option<(u64, f64)>,
    /// Which parameters it was recorded with.
    pub(crate) version: Version,
}

/// Which quantity of a [`Tape`] to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// h after each step: `state_size` values.
    Hidden,
    /// c after each step: H values.
    Cell,
    /// Activated gates in PyTorch's order: gates × H values.
    Gates,
}

impl<T: Real> Tape<T> {
    /// Steps T.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Rows B.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Memory held, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let direction = |d: &Trace<T>| d.gates.len() + d.h.len() + d.c.len() + d.checkpoints.len();
        let layer = |l: &LayerTrace<T>| {
            l.x.len() + l.y.len() + l.directions.iter().map(direction).sum::<usize>()
        };
        let state = |s: &State<T>| s.h.len() + s.c.len();
        let span = |s: &Span<T>| {
            s.x.len()
                + s.entering.iter().map(state).sum::<usize>()
                + s.layers.iter().map(layer).sum::<usize>()
        };
        self.shards.iter().flat_map(|s| &s.spans).map(span).sum::<usize>() * size_of::<T>()
    }
}

impl<T: Passes> Network<T> {
    /// What a tape of this net, as it is now, recorded: see [`Tape::trace`].
    ///
    /// # Errors
    /// `Invalid` for a tape of other parameters, and as [`Tape::trace`].
    pub fn trace(&self, tape: &Tape<T>, cell: usize, quantity: Quantity) -> Result<Vec<T>, Error> {
        self.check_tape(tape)?;
        tape.trace(cell, quantity)
    }
}

impl<T: Passes> Tape<T> {
    /// What was recorded of one layer in one direction (`cell` = layer · directions + direction), at every step:
    /// (T, B, values), zero past a row's end. The net's parameters may have changed since.
    ///
    /// # Errors
    /// `Invalid` for a tape with checkpoints, which does not hold every step, for the cell state of a net that has none,
    /// and for a `cell` there is not; `TooLarge`.
    pub fn trace(&self, cell: usize, quantity: Quantity) -> Result<Vec<T>, Error> {
        let config = &self.config;
        let directions = config.num_directions();
        let (layer, direction) = (cell / directions, cell % directions);
        let invalid = |argument, expected| Err(Error::Invalid { argument, expected });
        if layer >= config.num_layers {
            return invalid("cell", "less than layers · directions");
        }
        if quantity == Quantity::Cell && !config.kind.has_cell_state() {
            return invalid("quantity", "not the cell state, which only an LSTM has");
        }
        if self.checkpoint.is_some() {
            return invalid("tape", "recorded without checkpoints, to hold every step");
        }
        let shape = Shape::of::<T>(config, layer);
        let len = match quantity {
            Quantity::Hidden => shape.state,
            Quantity::Cell => shape.hidden,
            Quantity::Gates => shape.hidden * config.num_gates(),
        };
        let total = size(&[self.steps, self.batch, len], "trace")?;
        let mut out = zeros(total, "trace")?;
        let spans = self.shards.iter().flat_map(|s| s.spans.iter().map(|span| (&s.shard, span)));
        for (shard, Span { steps, layers, .. }) in spans {
            let trace = &layers[layer].directions[direction];
            let mut cells: Buffer<T> = Buffer::default();
            if quantity == Quantity::Cell {
                let rows = shard.packing().range(steps).len();
                cells = dirty_rows(rows, shape.stride, "trace")?;
                let step = Step { gates: &trace.gates, h: &trace.h, c: &trace.c };
                let work = CellState { shape: &shape, rows, step, c: &mut cells };
                T::dispatch(self.level, work);
            }
            for (row, t, b) in shard.packed(steps) {
                let to = &mut out[(t * self.batch + b) * len..][..len];
                match quantity {
                    Quantity::Hidden => {
                        let at = row * config.output_size() + direction * shape.state;
                        to.copy_from_slice(&layers[layer].y[at..][..len]);
                    }
                    Quantity::Cell => to.copy_from_slice(&cells[row * shape.stride..][..len]),
                    Quantity::Gates => {
                        let Slots { first, .. } = shape.input_slots();
                        let gates = &trace.gates[row * shape.row()..][..shape.row()];
                        for (to, slot) in
                            to.chunks_mut(shape.hidden).zip(gates.chunks(shape.stride).skip(first))
                        {
                            to.copy_from_slice(&slot[..shape.hidden]);
                        }
                    }
                }
            }
        }
        Ok(out)
    }
}

/// States of a shard's rows, or derivatives by them, in padded rows.
#[derive(Debug)]
pub(crate) struct State<T: Real> {
    pub h: Buffer<T>,
    /// Empty where the cell has no c.
    pub c: Buffer<T>,
}

impl<T: Real> State<T> {
    pub fn copy(&self) -> Result<Self, Error> {
        let copy = |from: &Buffer<T>| -> Result<Buffer<T>, Error> {
            let mut to = Buffer::dirty(from.len(), "checkpoints")?;
            to.copy_from_slice(from);
            Ok(to)
        };
        Ok(State { h: copy(&self.h)?, c: copy(&self.c)? })
    }
}

impl<T: Real> Trace<T> {
    /// Room for `all` packed rows; no memory is asked for where there is enough.
    pub fn make_room(&mut self, shape: &Shape, all: usize) -> Result<(), Error> {
        let c_rows = if shape.kind.has_cell_state() { all } else { 0 };
        self.gates.resize(size(&[all, shape.row()], "tape")?, "tape")?;
        self.h.resize(size(&[all, shape.state_stride], "tape")?, "tape")?;
        self.c.resize(size(&[c_rows, shape.stride], "tape")?, "tape")
    }

    fn ranges(&self, shape: &Shape, rows: &Range<usize>) -> [Range<usize>; 3] {
        let of = |row: usize| rows.start * row..rows.end * row;
        let c = if self.c.is_empty() { 0..0 } else { of(shape.stride) };
        [of(shape.row()), of(shape.state_stride), c]
    }

    /// The packed rows of a window.
    pub fn window(&self, shape: &Shape, rows: Range<usize>) -> TapeRef<'_, T> {
        let [gates, h, c] = self.ranges(shape, &rows);
        TapeRef { gates: &self.gates[gates], h: &self.h[h], c: &self.c[c] }
    }

    /// The packed rows of a window, to be written.
    pub fn window_mut(&mut self, shape: &Shape, rows: Range<usize>) -> TapeMut<'_, T> {
        let [gates, h, c] = self.ranges(shape, &rows);
        TapeMut { gates: &mut self.gates[gates], h: &mut self.h[h], c: &mut self.c[c] }
    }
}

/// `rows` rows of `row` numbers that will all be written before they are read.
pub(crate) fn dirty_rows<T: Real>(
    rows: usize,
    row: usize,
    what: &'static str,
) -> Result<Buffer<T>, Error> {
    Buffer::dirty(size(&[rows, row], what)?, what)
}

/// `rows` rows of `row` zeros.
pub(crate) fn rows<T: Real>(
    rows: usize,
    row: usize,
    what: &'static str,
) -> Result<Buffer<T>, Error> {
    Buffer::zeros(size(&[rows, row], what)?, what)
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
