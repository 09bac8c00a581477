//! What a forward pass keeps for the backward one.

use crate::error::Error;
use crate::gates::Config;
use crate::kernel::buffer::{Buffer, size, zeros};
use crate::kernel::layout::Layout;
use crate::kernel::shape::Shape;
use crate::kernel::states::{States, StatesMut};
use crate::network::{Network, Version};
use crate::real::Real;
use crate::sequence::{Pass, Passes, Rows, TapeMut, TapeRef};
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

/// An empty vector with room for `len`.
pub(crate) fn room<T>(len: usize, what: &'static str) -> Result<Vec<T>, Error> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::TooLarge { what })?;
    Ok(values)
}

/// What is kept of one direction of a layer, over some steps.
#[derive(Debug, Default)]
pub(crate) struct Trace<T: Real> {
    /// The gate buffer of every packed row; empty where checkpoints stand in.
    pub slots: Buffer<T>,
    /// The states entering each.
    pub before: Buffer<T>,
    /// What h is projected from in each, if it is.
    pub unprojected: Buffer<T>,
    /// Packed rows of these.
    pub rows: usize,
    /// States that enter no step, but for h: each where a reset cuts it off, in the order of time; rows of all states.
    pub ends: Buffer<T>,
    /// The states after the last step of each row.
    pub last: Buffer<T>,
    /// With checkpoints: the states of all rows entering each window (in the direction's own time).
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
    pub entering: Vec<Buffer<T>>,
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
    /// The net's that recorded it, and its cell's.
    pub(crate) config: Config,
    pub(crate) layout: Layout,
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
    /// A state after each step. The first is h, of `state_size` values; the others have H.
    State(usize),
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
        let direction = |d: &Trace<T>| {
            let kept = d.slots.len() + d.before.len() + d.unprojected.len();
            kept + d.ends.len() + d.last.len() + d.checkpoints.len()
        };
        let layer = |l: &LayerTrace<T>| {
            l.x.len() + l.y.len() + l.directions.iter().map(direction).sum::<usize>()
        };
        let span = |s: &Span<T>| {
            s.x.len()
                + s.entering.iter().map(|state| state.len()).sum::<usize>()
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
    /// Values that [`trace`](Self::trace) gives for a step and a row.
    #[must_use]
    pub fn values(&self, quantity: Quantity) -> usize {
        let config = &self.config;
        match quantity {
            Quantity::State(0) => config.state_size(),
            Quantity::State(_) => config.hidden_size,
            Quantity::Gates => config.hidden_size * config.num_gates(),
        }
    }

    /// What was recorded of one layer in one direction (`cell` = layer · directions + direction), at every step:
    /// (T, B, values), zero past a row's end. The net's parameters may have changed since.
    ///
    /// # Errors
    /// `Invalid` for a tape with checkpoints, which does not hold every step, for a state that the net has not,
    /// and for a `cell` there is not; `TooLarge`.
    pub fn trace(&self, cell: usize, quantity: Quantity) -> Result<Vec<T>, Error> {
        let config = &self.config;
        let directions = config.num_directions();
        let (layer, direction) = (cell / directions, cell % directions);
        let invalid = |argument, expected| Err(Error::Invalid { argument, expected });
        if layer >= config.num_layers {
            return invalid("cell", "less than layers · directions");
        }
        if matches!(quantity, Quantity::State(state) if state >= config.kind.states()) {
            return invalid("quantity", "a state that the cell has: c is an LSTM's alone");
        }
        if self.checkpoint.is_some() {
            return invalid("tape", "recorded without checkpoints, to hold every step");
        }
        let shape = Shape::of::<T>(&self.layout, config, layer);
        let len = self.values(quantity);
        let total = size(&[self.steps, self.batch, len], "trace")?;
        let mut out = zeros(total, "trace")?;
        let spans = self.shards.iter().flat_map(|s| s.spans.iter().map(|span| (&s.shard, span)));
        for (shard, Span { steps, layers, .. }) in spans {
            let trace = &layers[layer].directions[direction];
            let mut put = |t: usize, b: usize, values: &[T]| {
                out[(t * self.batch + b) * len..][..len].copy_from_slice(&values[..len]);
            };
            match quantity {
                Quantity::State(0) => {
                    for (row, t, b) in shard.packed(steps) {
                        let at = row * config.output_size() + direction * shape.state;
                        put(t, b, &layers[layer].y[at..]);
                    }
                }
                Quantity::State(state) => {
                    let pass = shard.pass(&shape, direction == 1, &[]);
                    trace.states(&pass, state, |t, row, values| put(t, shard.rows[row], values));
                }
                Quantity::Gates => {
                    let blocks = shape.layout.maps_of_x();
                    let mut gates = room(len, "trace")?;
                    for (row, t, b) in shard.packed(steps) {
                        let slots = &trace.slots[row * shape.row()..][..shape.row()];
                        gates.clear();
                        for block in 0..blocks {
                            let slot = shape.layout.x_slot(block) * shape.stride;
                            gates.extend_from_slice(&slots[slot..][..shape.hidden]);
                        }
                        put(t, b, &gates);
                    }
                }
            }
        }
        Ok(out)
    }
}

/// A copy of states.
pub(crate) fn copy<T: Real>(from: &Buffer<T>) -> Result<Buffer<T>, Error> {
    let mut to = Buffer::dirty(from.len(), "checkpoints")?;
    to.copy_from_slice(from);
    Ok(to)
}

impl<T: Real> Trace<T> {
    /// Room for `all` packed rows; no memory is asked for where there is enough.
    pub fn make_room(&mut self, shape: &Shape, all: usize) -> Result<(), Error> {
        let projected = if shape.projected { all } else { 0 };
        self.rows = all;
        self.slots.resize(size(&[all, shape.row()], "tape")?, "tape")?;
        self.before.resize(size(&[all, shape.states_len(1)], "tape")?, "tape")?;
        self.unprojected.resize(size(&[projected, shape.stride], "tape")?, "tape")
    }

    fn range(&self, rows: &Range<usize>, row: usize, all: usize) -> Range<usize> {
        if all == 0 { 0..0 } else { rows.start * row..rows.end * row }
    }

    /// The packed rows of a window.
    pub fn window(&self, shape: &Shape, rows: Range<usize>) -> TapeRef<'_, T> {
        let unprojected = self.range(&rows, shape.stride, self.unprojected.len());
        TapeRef {
            slots: &self.slots[rows.start * shape.row()..rows.end * shape.row()],
            before: States { data: &self.before, rows: self.rows, first: rows.start },
            unprojected: &self.unprojected[unprojected],
        }
    }

    /// The packed rows of a window, to be written; its ends begin at the `ends`-th.
    pub fn window_mut(&mut self, shape: &Shape, rows: Range<usize>, ends: usize) -> TapeMut<'_, T> {
        let unprojected = self.range(&rows, shape.stride, self.unprojected.len());
        let ends = (ends * shape.states_len(1)).min(self.ends.len());
        TapeMut {
            slots: &mut self.slots[rows.start * shape.row()..rows.end * shape.row()],
            before: StatesMut { data: &mut self.before, rows: self.rows, first: rows.start },
            unprojected: &mut self.unprojected[unprojected],
            ends: &mut self.ends[ends..],
        }
    }

    /// Gives `put` a state after every step of every row: that which enters the row's next step, unless none follows or
    /// a reset cut it off.
    fn states(&self, pass: &Pass<'_, T>, state: usize, mut put: impl FnMut(usize, usize, &[T])) {
        let (shape, rows) = (pass.shape, pass.rows);
        let before = States { data: &self.before, rows: self.rows, first: 0 };
        let mut ends = self.ends.chunks(shape.states_len(1).max(1));
        for t in pass.steps(&(0..rows.steps()), false) {
            let earlier = if pass.reverse { Some(t + 1) } else { t.checked_sub(1) };
            for b in 0..rows.count(t) {
                let end = if pass.is_cut(t, b) { ends.next() } else { None };
                let values = match end {
                    Some(end) => &end[shape.state_at(1, state)..],
                    None => &before.of(shape, state)[(rows.offsets[t] + b) * shape.stride..],
                };
                if let Some(earlier) = earlier.filter(|&earlier| b < rows.count(earlier)) {
                    put(earlier, b, values);
                }
                if pass.is_last(t, b) {
                    let all = self.last.len() / shape.states_len(1);
                    let last = States { data: &self.last, rows: all, first: b };
                    put(t, b, last.of(shape, state));
                }
            }
        }
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
