//! A net forward: all layers over one shard of a batch, and the shards side by side.

use super::dropout::Dropout;
use super::network::Network;
use super::pieces::{Share, packed, share};
use super::shard::{Shard, windows};
use super::tape::{DirectionTrace, LayerTrace, Quantity, ShardTrace, Span, Tape};
use super::view::{Input, Output, Recording, StateArrays};
use crate::batch::{self, Interrupt, poll};
use crate::cell::Scratch;
use crate::error::Error;
use crate::kernel::buffer::{Buffer, copy, dirty_rows, room, rows, size, zeros};
use crate::kernel::shape::Shape;
use crate::kernel::states::StatesMut;
use crate::laps::{Part, lap};
use crate::real::Real;
use crate::time::{Forward, Pass, Passes, TapeMut};
use alloc::vec::Vec;
use core::ops::Range;

/// What is kept, and the final states of every layer and direction.
type ShardRun<T> = (Vec<Span<T>>, Vec<Buffer<T>>);

/// What to keep of the steps of a span.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The last layer's outputs alone.
    Outputs,
    /// The layers' outputs, and the states every so many steps.
    Checkpoints(usize),
    /// All that the way back needs.
    Steps,
}

/// Steps that go through all layers together when nothing is kept of them, in chunks.
const FORGOTTEN_CHUNKS: usize = 8;

/// How a net goes through a sequence: `every` so many steps through all layers, each time keeping `keep`.
///
/// With one direction the steps between checkpoints are such a span: of what happens inside, nothing stays but the
/// state before and the input. With two, the layer above begins with what the reverse direction gives last; so the
/// sequence is one span, and the checkpoints lie within each layer.
fn plan(shard: &Shard, checkpoint: Option<Option<usize>>, bidirectional: bool) -> (usize, Keep) {
    let all = shard.steps().max(1);
    match checkpoint.map(|asked| shard.checkpoint_steps(asked)) {
        None if bidirectional => (all, Keep::Outputs),
        None => (FORGOTTEN_CHUNKS * shard.chunk_steps(), Keep::Outputs),
        Some(Some(every)) if bidirectional => (all, Keep::Checkpoints(every)),
        Some(Some(every)) => (every, Keep::Outputs),
        Some(None) => (all, Keep::Steps),
    }
}

impl<T: Passes> Network<T> {
    /// Runs the net and keeps nothing.
    ///
    /// # Errors
    /// Where the input does not fit, there is no memory, or `interrupt` says so.
    pub fn forward(
        &self,
        input: &Input<'_, T>,
        interrupt: Interrupt<'_>,
    ) -> Result<Output<T>, Error> {
        let (output, _) = self.run(input, None, interrupt)?;
        Ok(output)
    }

    /// Runs the net and keeps what [`backward`](Self::backward) needs.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn record(
        &self,
        input: &Input<'_, T>,
        recording: Recording,
        interrupt: Interrupt<'_>,
    ) -> Result<(Output<T>, Tape<T>), Error> {
        if recording.dropout.is_some_and(|(_, p)| !(0.0..1.0).contains(&p)) {
            return Err(Error::Invalid { argument: "dropout", expected: "0 ≤ dropout < 1" });
        }
        let (output, shards) = self.run(input, Some(recording), interrupt)?;
        let tape = Tape {
            config: self.config,
            layout: *self.cell().layout(),
            steps: input.steps,
            batch: input.batch,
            shards,
            checkpoint: recording.checkpoint,
            dropout: recording.dropout.filter(|&(_, p)| p > 0.0),
            version: self.version,
        };
        Ok((output, tape))
    }

    fn run(
        &self,
        input: &Input<'_, T>,
        recording: Option<Recording>,
        interrupt: Interrupt<'_>,
    ) -> Result<(Output<T>, Vec<ShardTrace<T>>), Error> {
        self.check(input)?;
        let (steps, batch, out) = (input.steps, input.batch, self.config.output_size());
        let reset = |t, b| input.resets.is_some_and(|r| r.at(t, b, 1)[0]);
        let reset = input.resets.is_some().then_some(&reset as &dyn Fn(usize, usize) -> bool);
        let shards = Shard::cut(steps, batch, input.lengths, reset)?;
        let mut y = zeros(size(&[steps, batch, out], "output")?, "output")?;
        let run = |(shard, y): (&Shard, Share<'_, T>)| {
            self.forward_shard(shard, input, recording, y, interrupt)
        };
        let items = shards.iter().zip(share(&mut y, &shards, batch, out)?).collect();
        let done = batch::run(items, self.work(steps, batch), run)?;

        let states = shards.iter().zip(&done).map(|(shard, (_, states))| (shard, &states[..]));
        let states = self.gather_states(states, batch)?;
        let traces = shards.into_iter().zip(done);
        let traces = traces.map(|(shard, (spans, _))| ShardTrace { shard, spans }).collect();
        Ok((Output { y, states }, traces))
    }

    fn check(&self, input: &Input<'_, T>) -> Result<(), Error> {
        let c = &self.config;
        input.x.check("x", input.steps, input.batch, c.input_size)?;
        if let Some(resets) = &input.resets {
            resets.check("resets", input.steps, input.batch, 1)?;
        }
        self.check_states("states", input.states, input.batch)?;
        if let Some(lengths) = input.lengths {
            if lengths.len() != input.batch {
                let (expected, got) = (input.batch, lengths.len());
                return Err(Error::Length { argument: "lengths", expected, got });
            }
            if let Some(at) = lengths.iter().position(|&l| l > input.steps) {
                let (most, got) = (input.steps, lengths[at]);
                return Err(Error::Range { argument: "lengths", at, most, got });
            }
        }
        Ok(())
    }

    pub(crate) fn check_states(
        &self,
        argument: &'static str,
        states: Option<StateArrays<'_, T>>,
        batch: usize,
    ) -> Result<(), Error> {
        let cells = self.config.num_layers * self.config.num_directions();
        let (expected, got) = (self.config.kind.states(), states.map(|states| states.count));
        for (state, row) in self.config.state_sizes().enumerate() {
            let expected = size(&[cells, batch, row], argument)?;
            if let Some(state) = states.as_ref().and_then(|states| states.get().get(state))
                && state.len() != expected
            {
                return Err(Error::Length { argument, expected, got: state.len() });
            }
        }
        match got {
            Some(got) if got != expected => Err(Error::Length { argument, expected, got }),
            _ => Ok(()),
        }
    }

    /// Refuses a tape of other parameters.
    pub(crate) fn check_tape(&self, tape: &Tape<T>) -> Result<(), Error> {
        if tape.version == self.version {
            return Ok(());
        }
        let expected = "parameters as they were, but the parameters have changed since the tape was recorded; \
                        record again";
        Err(Error::Invalid { argument: "tape", expected })
    }

    /// What a tape of this net, as it is now, recorded: see [`Tape::trace`].
    ///
    /// # Errors
    /// `Invalid` for a tape of other parameters, and as [`Tape::trace`].
    pub fn trace(&self, tape: &Tape<T>, cell: usize, quantity: Quantity) -> Result<Vec<T>, Error> {
        self.check_tape(tape)?;
        tape.trace(cell, quantity)
    }

    /// Runs all layers over all steps: what is kept, and the final states of every layer and direction.
    pub(crate) fn forward_shard(
        &self,
        shard: &Shard,
        input: &Input<'_, T>,
        recording: Option<Recording>,
        mut y: Share<'_, T>,
        interrupt: Interrupt<'_>,
    ) -> Result<ShardRun<T>, Error> {
        let config = self.config();
        let (last, cells) = (config.num_layers - 1, config.num_layers * config.num_directions());
        let (every, keep) = plan(shard, recording.map(|r| r.checkpoint), config.bidirectional);
        let dropout = recording.and_then(|r| Dropout::new(r.dropout, input.steps, input.batch));
        let mut states = (0..cells)
            .map(|cell| self.states(cell, shard, input.states, input.batch))
            .collect::<Result<Vec<_>, _>>()?;
        let mut spans = Vec::new();
        for steps in windows(0..shard.steps(), every, false) {
            lap(Part::Rest);
            let x = packed(shard, &steps, &input.x, config.input_size, "inputs")?;
            lap(Part::Copies);
            let mut entering = Vec::new();
            if recording.is_some() && keep == Keep::Outputs {
                entering = states
                    .iter()
                    .map(|states| copy(states, "checkpoints"))
                    .collect::<Result<_, _>>()?;
            }
            let out = if keep == Keep::Steps { None } else { y.rows(shard, &steps) };
            let there = out.is_some();
            let span = (shard, &steps, &x[..]);
            let mut layers = self.forward_span(span, keep, dropout, out, &mut states, interrupt)?;
            lap(Part::Rest);
            if !there {
                y.put(shard, &steps, &layers[last].y, config.output_size());
            }
            lap(Part::Copies);
            if recording.is_some() {
                match keep {
                    Keep::Outputs => layers.clear(),
                    // No layer reads it.
                    Keep::Checkpoints(_) => layers[last].y = Buffer::default(),
                    Keep::Steps => {}
                }
                // The caller's may change.
                let x = x.into_copy("inputs")?;
                lap(Part::Copies);
                spans.push(Span { steps, x, entering, layers });
            }
        }
        Ok((spans, states))
    }

    /// Runs all layers over some steps, of which `x` are the packed inputs; `states` go along. The last layer's
    /// outputs are in `out`, if that is given.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn forward_span(
        &self,
        (shard, steps, x): (&Shard, &Range<usize>, &[T]),
        keep: Keep,
        dropout: Option<Dropout>,
        mut out: Option<&mut [T]>,
        states: &mut [Buffer<T>],
        interrupt: Interrupt<'_>,
    ) -> Result<Vec<LayerTrace<T>>, Error> {
        let (config, rows) = (self.config(), shard.packing().range(steps).len());
        let mut layers: Vec<LayerTrace<T>> = Vec::new();
        for layer in 0..config.num_layers {
            let shape = self.shape(layer);
            let mut trace = LayerTrace::default();
            let mut out = if layer + 1 == config.num_layers { out.take() } else { None };
            if out.is_none() {
                trace.y = dirty_rows(rows, config.output_size(), "outputs")?;
            }
            if let Some(dropout) = dropout.filter(|_| layer > 0) {
                trace.x = dirty_rows(rows, shape.input, "inputs")?;
                trace.x.copy_from_slice(&layers[layer - 1].y);
                dropout.apply(layer, shard, steps, &mut trace.x, shape.input, shape.input);
            }
            for direction in 0..config.num_directions() {
                let cell = layer * config.num_directions() + direction;
                let LayerTrace { x: own, y, directions } = &mut trace;
                let x = input_of(x, own, &layers, layer);
                let pass = shard.pass(shape, direction == 1, x);
                let state = &mut states[cell];
                let y = out.as_deref_mut().unwrap_or(y);
                let kept =
                    self.forward_pass(&pass, cell, shard, steps, keep, state, y, interrupt)?;
                directions.push(kept);
            }
            if keep == Keep::Outputs {
                layers.iter_mut().for_each(|below| *below = LayerTrace::default());
            }
            layers.push(trace);
        }
        Ok(layers)
    }

    /// One layer in one direction over some steps, whose packed rows x and y are.
    #[allow(clippy::too_many_arguments)]
    fn forward_pass(
        &self,
        pass: &Pass<'_, T>,
        cell: usize,
        shard: &Shard,
        steps: &Range<usize>,
        keep: Keep,
        states: &mut Buffer<T>,
        y: &mut [T],
        interrupt: Interrupt<'_>,
    ) -> Result<DirectionTrace<T>, Error> {
        let shape = pass.shape;
        let (n, chunk, out) = (shard.rows.len(), shard.chunk_steps(), self.config().output_size());
        let all = pass.rows.range(steps);
        let mut kept = DirectionTrace::default();
        let mut scratch = Buffer::default();
        let several = shape.layout.states() > 1;
        if keep == Keep::Steps {
            kept.make_room(shape, all.len())?;
            let cuts = if several { pass.cuts(steps) } else { 0 };
            kept.ends = dirty_rows(cuts, shape.states_len(1), "tape")?;
        } else {
            scratch = dirty_rows(chunk.min(steps.len()) * n, shape.row(), "scratch")?;
        }
        let mut every = steps.len();
        if let Keep::Checkpoints(steps_between) = keep {
            every = steps_between;
            let count = steps.len().div_ceil(every);
            kept.checkpoints = dirty_rows(count, states.len(), "checkpoints")?;
        }
        let mut of_step = self.scratch(shape, n)?;
        let mut ends = 0;
        for (i, window) in windows(steps.clone(), every, pass.reverse).enumerate() {
            if !kept.checkpoints.is_empty() {
                kept.checkpoints[i * states.len()..][..states.len()].copy_from_slice(states);
            }
            for window in windows(window, chunk, pass.reverse) {
                poll(interrupt)?;
                let rows = within(&all, &pass.rows.range(&window));
                let first = if pass.reverse { shape.state } else { 0 };
                let y = (&mut y[rows.start * out..rows.end * out], out, first);
                let pass = of_rows(pass, &rows);
                let tape = if keep == Keep::Steps {
                    let begin = ends;
                    ends += if several { pass.cuts(&window) } else { 0 };
                    kept.window_mut(shape, rows, begin)
                } else {
                    let before = StatesMut { data: &mut [], rows: 0, first: 0 };
                    TapeMut { slots: &mut scratch, before, unprojected: &mut [], ends: &mut [] }
                };
                self.forward_window(&pass, cell, window, tape, y, states, &mut of_step);
            }
        }
        if keep == Keep::Steps && several {
            kept.last = copy(states, "tape")?;
        }
        Ok(kept)
    }

    #[allow(clippy::too_many_arguments)]
    pub(super) fn forward_window(
        &self,
        pass: &Pass<'_, T>,
        cell: usize,
        window: Range<usize>,
        tape: TapeMut<'_, T>,
        y: (&mut [T], usize, usize),
        states: &mut Buffer<T>,
        [row, cell_scratch]: &mut [Buffer<T>; 2],
    ) {
        let (pass, weights) = (*pass, self.packed[cell].weights());
        // Rows without a step have states too.
        let rows = states.len() / pass.shape.states_len(1);
        let carry = StatesMut { data: states, rows, first: 0 };
        let scratch = Scratch { row, cell: cell_scratch };
        let mut forward = Forward { pass, weights, window, tape, y, carry, scratch };
        self.cell().forward(self.level(), &mut forward);
    }

    /// Working memory of a step of so many rows.
    pub(crate) fn scratch(&self, shape: &Shape, rows: usize) -> Result<[Buffer<T>; 2], Error> {
        let what = "scratch";
        let cell = self.cell().scratch(shape.stride);
        Ok([dirty_rows(rows, shape.stride, what)?, dirty_rows(1, cell, what)?])
    }

    /// A shard's rows of the states of one layer and direction, or of derivatives by them, padded.
    pub(super) fn states(
        &self,
        cell: usize,
        shard: &Shard,
        states: Option<StateArrays<'_, T>>,
        batch: usize,
    ) -> Result<Buffer<T>, Error> {
        let shape = self.shape(cell / self.config().num_directions());
        let n = shard.rows.len();
        let mut buffer: Buffer<T> = rows(n, shape.states_len(1), "states")?;
        for (state, (values, len)) in
            states.iter().flat_map(StateArrays::get).zip(self.config().state_sizes()).enumerate()
        {
            let own = &mut buffer[shape.state_at(n, state)..];
            for (row, &b) in own.chunks_mut(shape.state_row(state)).zip(&shard.rows) {
                row[..len].copy_from_slice(&values[(cell * batch + b) * len..][..len]);
            }
        }
        Ok(buffer)
    }

    /// (layers · directions, B, …) arrays of the states (or of derivatives by them) out of the shards' rows.
    pub(super) fn gather_states<'s>(
        &self,
        shards: impl Iterator<Item = (&'s Shard, &'s [Buffer<T>])>,
        batch: usize,
    ) -> Result<Vec<Vec<T>>, Error> {
        let cells = self.config.num_layers * self.config.num_directions();
        let mut out = room(self.config.kind.states(), "states")?;
        for row in self.config.state_sizes() {
            out.push(zeros(size(&[cells, batch, row], "states")?, "states")?);
        }
        for (shard, states) in shards {
            let shape = self.shape(0);
            for (cell, own) in states.iter().enumerate() {
                for (state, (out, row)) in out.iter_mut().zip(self.config.state_sizes()).enumerate()
                {
                    let own = &own[shape.state_at(shard.rows.len(), state)..];
                    spread(own, &shard.rows, &mut out[cell * batch * row..], row);
                }
            }
        }
        Ok(out)
    }
}

/// Writes a shard's padded rows to their places among the batch's rows of `len` values.
fn spread<T: Real>(from: &[T], rows: &[usize], to: &mut [T], len: usize) {
    for (row, &b) in from.chunks(len.next_multiple_of(T::PAD)).zip(rows) {
        to[b * len..][..len].copy_from_slice(&row[..len]);
    }
}

/// What enters a layer: x, or what came out of dropout, or out of the layer below.
pub(crate) fn input_of<'a, T: Real>(
    x: &'a [T],
    own: &'a Buffer<T>,
    layers: &'a [LayerTrace<T>],
    layer: usize,
) -> &'a [T] {
    match layer {
        0 => x,
        _ if own.is_empty() => &layers[layer - 1].y,
        _ => own,
    }
}

/// `rows` counted from the first of `all`.
pub(super) fn within(all: &Range<usize>, rows: &Range<usize>) -> Range<usize> {
    rows.start - all.start..rows.end - all.start
}

/// A pass over these rows of its x.
pub(super) fn of_rows<'a, T>(pass: &Pass<'a, T>, rows: &Range<usize>) -> Pass<'a, T> {
    Pass { x: &pass.x[rows.start * pass.x_row..rows.end * pass.x_row], ..*pass }
}
