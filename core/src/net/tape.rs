//! What a forward pass keeps for the backward one.

use super::shard::Shard;
use crate::error::Error;
use crate::gates::Config;
use crate::kernel::buffer::{Buffer, room, size, zeros};
use crate::kernel::layout::Layout;
use crate::kernel::shape::Shape;
use crate::kernel::states::{States, StatesMut};
use crate::real::Real;
use crate::time::{Pass, Passes, TapeMut, TapeRef};
use alloc::vec::Vec;
use core::ops::Range;
use core::sync::atomic::{AtomicUsize, Ordering};

/// What is kept of one direction of a layer, over some steps.
#[derive(Debug, Default)]
pub(crate) struct DirectionTrace<T: Real> {
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
    pub directions: Vec<DirectionTrace<T>>,
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

/// What a recorded forward pass keeps for [`Network::backward`](crate::net::network::Network::backward).
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

/// Which parameters: no two in a process have the same, whichever nets they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version(usize);

impl Version {
    pub fn next() -> Self {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        Version(LAST.fetch_add(1, Ordering::Relaxed))
    }
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
        let direction = |d: &DirectionTrace<T>| {
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

impl<T: Real> DirectionTrace<T> {
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
