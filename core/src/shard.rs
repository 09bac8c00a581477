//! All layers of a net over one shard of a batch, forward and back.

use crate::batch::{Interrupt, poll};
use crate::cell::Scratch;
use crate::dropout::Dropout;
use crate::error::Error;
use crate::kernel::buffer::Buffer;
use crate::kernel::shape::Shape;
use crate::kernel::states::{States, StatesMut};
use crate::network::{Input, Losses, Network, Recording, StateArrays};
use crate::output::{Packed, Share, packed};
use crate::real::Real;
use crate::sequence::{Backward, Forward, Pass, Passes, TapeMut, Truncation};
use crate::tape::{
    LayerTrace, Shard, ShardTrace, Span, Tape, Trace, copy, dirty_rows, rows, windows,
};
use crate::work::{Back, Summed};
use alloc::vec::Vec;
use core::ops::Range;

/// What one shard gives going back.
pub(crate) struct ShardGradients<'a, T: Real> {
    /// By the parameters of every layer and direction.
    pub sums: Vec<Summed<'a, T>>,
    /// By the initial states of every layer and direction.
    pub states: Vec<Buffer<T>>,
}

/// What is kept, and the final states of every layer and direction.
type ShardRun<T> = (Vec<Span<T>>, Vec<Buffer<T>>);

/// What to keep of the steps of a span.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
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
            let x = packed(shard, &steps, &input.x, config.input_size, "inputs")?;
            let mut entering = Vec::new();
            if recording.is_some() && keep == Keep::Outputs {
                entering = states.iter().map(copy).collect::<Result<_, _>>()?;
            }
            let out = if keep == Keep::Steps { None } else { y.rows(shard, &steps) };
            let there = out.is_some();
            let span = (shard, &steps, &x[..]);
            let mut layers = self.forward_span(span, keep, dropout, out, &mut states, interrupt)?;
            if !there {
                y.put(shard, &steps, &layers[last].y, config.output_size());
            }
            if recording.is_some() {
                match keep {
                    Keep::Outputs => layers.clear(),
                    // No layer reads it.
                    Keep::Checkpoints(_) => layers[last].y = Buffer::default(),
                    Keep::Steps => {}
                }
                // The caller's may change.
                let x = x.into_copy("inputs")?;
                spans.push(Span { steps, x, entering, layers });
            }
        }
        Ok((spans, states))
    }

    /// Runs all layers over some steps, of which `x` are the packed inputs; `states` go along. The last layer's
    /// outputs are in `out`, if that is given.
    #[allow(clippy::too_many_arguments)]
    fn forward_span(
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
                let pass = shard.pass(&shape, direction == 1, x);
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
    ) -> Result<Trace<T>, Error> {
        let shape = pass.shape;
        let (n, chunk, out) = (shard.rows.len(), shard.chunk_steps(), self.config().output_size());
        let all = pass.rows.range(steps);
        let mut kept = Trace::default();
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
            kept.last = copy(states)?;
        }
        Ok(kept)
    }

    #[allow(clippy::too_many_arguments)]
    fn forward_window(
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
    fn states(
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

    /// The mirror of `forward_shard`. One of the shards gets the parameters' gradients, zeros, to sum up there.
    pub(crate) fn backward_shard<'a>(
        &self,
        tape: &Tape<T>,
        trace: &ShardTrace<T>,
        losses: &Losses<'_, T>,
        truncate: Option<usize>,
        (mut d_x, mut parameters): (Share<'_, T>, Option<&'a mut [T]>),
        interrupt: Interrupt<'_>,
    ) -> Result<ShardGradients<'a, T>, Error> {
        let (config, shard) = (self.config(), &trace.shard);
        let dropout = Dropout::new(tape.dropout, tape.steps, tape.batch);
        let lags = truncate.filter(|&lags| Truncation::<T>::cut_off(shard.packing(), lags) > 0);
        let mut backs = (0..config.num_layers * config.num_directions())
            .map(|cell| {
                let layer = cell / config.num_directions();
                let shape = self.shape(layer);
                let d_final = self.states(cell, shard, losses.states, tape.batch)?;
                let there = parameters.take().map(|all| {
                    let own = config.layer_parameters(layer, false).map(|p| p.len()).sum();
                    let (own, rest) = all.split_at_mut(own);
                    parameters = Some(rest);
                    own
                });
                let rows = tape.steps.saturating_mul(tape.batch);
                let gradients = Summed::new(config, layer, &shape, rows, there)?;
                let cell_scratch = self.cell().scratch(shape.stride);
                Back::new(&shape, shard, d_final, lags, cell_scratch, gradients)
            })
            .collect::<Result<Vec<_>, _>>()?;
        for span in trace.spans.iter().rev() {
            let again;
            let layers = if span.layers.is_empty() {
                let entering = span.entering.iter().map(copy);
                let mut states = entering.collect::<Result<Vec<_>, _>>()?;
                let from = (shard, &span.steps, &span.x[..]);
                let keep = Keep::Steps;
                again = self.forward_span(from, keep, dropout, None, &mut states, interrupt)?;
                &again
            } else {
                &span.layers
            };
            let d_y = packed(shard, &span.steps, &losses.y, config.output_size(), "gradients")?;
            let checkpoint = shard.checkpoint_steps(tape.checkpoint);
            let checkpoint = checkpoint.filter(|_| !span.layers.is_empty());
            let span = (shard, &span.steps, &span.x[..]);
            let d =
                self.backward_span(span, layers, checkpoint, dropout, d_y, &mut backs, interrupt)?;
            d_x.put(shard, span.1, &d, self.shape(0).input_stride);
        }
        let (sums, states) = backs
            .into_iter()
            .zip(0..)
            .map(|(back, cell)| {
                let shape = self.shape(cell / config.num_directions());
                back.finish(&shape, shard)
            })
            .unzip();
        Ok(ShardGradients { sums, states })
    }

    /// The mirror of `forward_span`: gives the derivative by x, packed padded rows.
    #[allow(clippy::too_many_arguments)]
    fn backward_span<'a>(
        &self,
        (shard, steps, x): (&Shard, &Range<usize>, &[T]),
        layers: &[LayerTrace<T>],
        checkpoint: Option<usize>,
        dropout: Option<Dropout>,
        mut d_y: Packed<'a, T>,
        backs: &mut [Back<'_, T>],
        interrupt: Interrupt<'_>,
    ) -> Result<Packed<'a, T>, Error> {
        let config = self.config();
        let mut d_y_row = config.output_size();
        for layer in (0..config.num_layers).rev() {
            let shape = self.shape(layer);
            let kept = &layers[layer];
            let rows = shard.packing().range(steps).len();
            let mut d_x: Buffer<T> = dirty_rows(rows, shape.input_stride, "gradients")?;
            for direction in (0..config.num_directions()).rev() {
                let cell = layer * config.num_directions() + direction;
                let back = BackwardPass {
                    pass: shard.pass(&shape, direction == 1, input_of(x, &kept.x, layers, layer)),
                    cell,
                    steps,
                    kept: &kept.directions[direction],
                    checkpoint,
                    d_y: (&d_y, d_y_row, direction * shape.state),
                    d_x: &mut d_x,
                    add_d_x: direction + 1 < config.num_directions(),
                    back: &mut backs[cell],
                };
                self.backward_pass(back, shard, interrupt)?;
            }
            if let Some(dropout) = dropout.filter(|_| layer > 0) {
                dropout.apply(layer, shard, steps, &mut d_x, shape.input, shape.input_stride);
            }
            (d_y, d_y_row) = (Packed::Copied(d_x), shape.input_stride);
        }
        Ok(d_y)
    }

    /// The mirror of `forward_pass`.
    fn backward_pass(
        &self,
        back: BackwardPass<'_, '_, T>,
        shard: &Shard,
        interrupt: Interrupt<'_>,
    ) -> Result<(), Error> {
        let BackwardPass { pass, cell, steps, kept, checkpoint, d_y, d_x, add_d_x, back } = back;
        let Back { d_states, d_final, lags, work } = back;
        let (shape, n, chunk) = (pass.shape, shard.rows.len(), shard.chunk_steps());
        let all = pass.rows.range(steps);
        let truncation = lags.zip(d_final.as_ref()).map(|(lags, d)| Truncation {
            lags,
            batch: n,
            d_final: States { data: d, rows: n, first: 0 },
        });
        let mut again = Trace::default();
        let every = checkpoint.unwrap_or(steps.len());
        for (i, window) in windows(steps.clone(), every, pass.reverse).enumerate().rev() {
            let own = pass.rows.range(&window);
            let (tape, first) = if checkpoint.is_some() {
                let pass = of_rows(&pass, &within(&all, &own));
                self.run_again(&pass, cell, shard, &kept.checkpoints, i, &window, &mut again)?;
                (&again, &own)
            } else {
                (kept, &all)
            };
            for window in windows(window, chunk, pass.reverse).rev() {
                poll(interrupt)?;
                let range = pass.rows.range(&window);
                let rows = within(&all, &range);
                let (scratch, gradients) = work.split(shape);
                let weights = self.packed[cell].transposed();
                let carry = StatesMut { data: d_states, rows: n, first: 0 };
                let (d_y, d_y_row, d_y_first) = d_y;
                let d_x_rows = rows.start * shape.input_stride..rows.end * shape.input_stride;
                let chunk = Backward {
                    pass: of_rows(&pass, &rows),
                    weights,
                    window,
                    tape: tape.window(shape, within(first, &range)),
                    d_y: (&d_y[rows.start * d_y_row..rows.end * d_y_row], d_y_row, d_y_first),
                    carry,
                    truncation,
                    scratch,
                    d_x: &mut d_x[d_x_rows],
                    add_d_x,
                    gradients,
                };
                self.cell().backward(self.level(), chunk);
            }
        }
        Ok(())
    }

    /// Runs window `i`, whose rows x are, forward again from its checkpoint.
    #[allow(clippy::too_many_arguments)]
    fn run_again(
        &self,
        pass: &Pass<'_, T>,
        cell: usize,
        shard: &Shard,
        checkpoints: &[T],
        i: usize,
        window: &Range<usize>,
        to: &mut Trace<T>,
    ) -> Result<(), Error> {
        let (shape, n) = (pass.shape, shard.rows.len());
        let mut states = self.states(cell, shard, None, n)?;
        let saved = states.len();
        states.copy_from_slice(&checkpoints[i * saved..][..saved]);
        let mut of_step = self.scratch(shape, n)?;
        let range = pass.rows.range(window);
        to.make_room(shape, range.len())?;
        for window in windows(window.clone(), shard.chunk_steps(), pass.reverse) {
            let rows = within(&range, &pass.rows.range(&window));
            let pass = of_rows(pass, &rows);
            let tape = to.window_mut(shape, rows, 0);
            let y = (&mut [][..], 0, 0);
            self.forward_window(&pass, cell, window, tape, y, &mut states, &mut of_step);
        }
        Ok(())
    }
}

/// What going back through one layer in one direction works on; x, d_y and d_x are the packed rows of `steps`.
struct BackwardPass<'a, 'g, T: Real> {
    pass: Pass<'a, T>,
    cell: usize,
    steps: &'a Range<usize>,
    kept: &'a Trace<T>,
    checkpoint: Option<usize>,
    d_y: (&'a [T], usize, usize),
    d_x: &'a mut [T],
    add_d_x: bool,
    back: &'a mut Back<'g, T>,
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
fn within(all: &Range<usize>, rows: &Range<usize>) -> Range<usize> {
    rows.start - all.start..rows.end - all.start
}

/// A pass over these rows of its x.
fn of_rows<'a, T>(pass: &Pass<'a, T>, rows: &Range<usize>) -> Pass<'a, T> {
    Pass { x: &pass.x[rows.start * pass.x_row..rows.end * pass.x_row], ..*pass }
}
