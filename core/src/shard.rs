//! All layers of a net over one shard of a batch, forward and back.

use crate::batch::Interrupt;
use crate::error::Error;
use crate::kernel::buffer::{Buffer, size};
use crate::kernel::shape::Shape;
use crate::math::Accurate;
use crate::network::{Input, Losses, Network, Recording, View};
use crate::real::Real;
use crate::rng;
use crate::sequence::{
    Backward, Carry, CarryBack, Forward, Pass, Passes, Source, TapeMut, Truncation,
};
use crate::tape::{LayerTrace, Shard, ShardTrace, State, Tape, Trace, dirty_rows, rows, windows};
use crate::work::{Sums, Work};
use alloc::vec::Vec;
use core::ops::Range;

/// What one shard gives going back.
pub(crate) struct ShardGradients<T: Real> {
    /// By the parameters of every layer and direction.
    pub sums: Vec<Sums<T>>,
    /// By x, packed padded rows.
    pub x: Buffer<T>,
    /// By the initial states of every layer and direction.
    pub states: Vec<State<T>>,
}

/// What is kept of every layer, and the final states of every layer and direction.
type ShardRun<T> = (Vec<LayerTrace<T>>, Vec<State<T>>);

fn poll(interrupt: Interrupt<'_>) -> Result<(), Error> {
    if interrupt.is_some_and(|stop| stop()) { Err(Error::Interrupted) } else { Ok(()) }
}

impl<T: Passes> Network<T> {
    /// Runs all layers; what is kept, and the final states of every layer and direction.
    pub(crate) fn forward_shard(
        &self,
        shard: &Shard,
        input: &Input<'_, T>,
        recording: Option<Recording>,
        interrupt: Interrupt<'_>,
    ) -> Result<ShardRun<T>, Error> {
        let dropout = recording.and_then(|r| r.dropout).filter(|&(_, p)| p > 0.0);
        let mut layers: Vec<LayerTrace<T>> = Vec::new();
        let mut finals = Vec::new();
        for layer in 0..self.config().num_layers {
            let shape = self.shape(layer);
            let y = size(&[shard.len(), self.config().output_size()], "outputs")?;
            let y = Buffer::to_hand_out(y, "outputs")?;
            let mut trace = LayerTrace { x: Buffer::default(), y, directions: Vec::new() };
            let in_place = layer == 0 && recording.is_none() && input.lengths.is_none();
            if in_place {
                // Read where it lies: nothing is kept.
            } else if layer == 0 {
                trace.x = dirty_rows(shard.len(), shape.input, "inputs")?;
                for (row, t, b) in shard.packed() {
                    let to = &mut trace.x[row * shape.input..][..shape.input];
                    to.copy_from_slice(input.x.at(t, b, shape.input));
                }
            } else if let Some(dropout) = dropout {
                trace.x = dirty_rows(shard.len(), shape.input, "inputs")?;
                trace.x.copy_from_slice(&layers[layer - 1].y);
                let sizes = (input.steps, input.batch, shape.input);
                drop_out(dropout, layer, shard, sizes, &mut trace.x, shape.input);
            }
            for direction in 0..self.config().num_directions() {
                let cell = layer * self.config().num_directions() + direction;
                let LayerTrace { x, y, directions } = &mut trace;
                let x = if layer > 0 && dropout.is_none() { &layers[layer - 1].y } else { &*x };
                let mut pass = pass(&shape, shard, direction, x);
                if in_place && let Some(&first) = shard.rows.first() {
                    let View { data, time, batch: row } = input.x;
                    let data = &data[(first * row).min(data.len())..];
                    pass.x = Source { data, row, time: Some(time) };
                }
                let mut state =
                    self.states(cell, &shape, shard, (input.h, input.c), input.batch)?;
                let kept =
                    self.forward_pass(&pass, cell, shard, recording, &mut state, y, interrupt)?;
                directions.push(kept);
                finals.push(state);
            }
            layers.push(trace);
        }
        Ok((layers, finals))
    }

    /// One layer in one direction: `state` goes from the initial to the final one.
    #[allow(clippy::too_many_arguments)]
    fn forward_pass(
        &self,
        pass: &Pass<'_, T>,
        cell: usize,
        shard: &Shard,
        recording: Option<Recording>,
        state: &mut State<T>,
        y: &mut [T],
        interrupt: Interrupt<'_>,
    ) -> Result<Trace<T>, Error> {
        let shape = pass.shape;
        let (steps, n, chunk) = (pass.rows.steps(), shard.rows.len(), shard.chunk_steps());
        let checkpoint = recording.and_then(|r| shard.checkpoint_steps(r.checkpoint));
        let mut kept = Trace::default();
        let mut scratch = Buffer::default();
        if recording.is_some() && checkpoint.is_none() {
            kept.make_room(shape, shard.len())?;
        } else {
            scratch = dirty_rows(chunk.min(steps) * n, shape.row(), "scratch")?;
        }
        let every = checkpoint.unwrap_or(steps.max(1));
        let saved = state.h.len() + state.c.len();
        if checkpoint.is_some() {
            kept.checkpoints = dirty_rows(steps.div_ceil(every), saved, "checkpoints")?;
        }
        let mut m = dirty_rows(n, shape.stride, "scratch")?;
        for (i, window) in windows(0..steps, every, pass.reverse).enumerate() {
            if checkpoint.is_some() {
                let (h, c) = kept.checkpoints[i * saved..][..saved].split_at_mut(state.h.len());
                h.copy_from_slice(&state.h);
                c.copy_from_slice(&state.c);
            }
            for window in windows(window, chunk, pass.reverse) {
                poll(interrupt)?;
                let range = pass.rows.range(&window);
                let tape = if scratch.is_empty() {
                    kept.window_mut(shape, range)
                } else {
                    TapeMut { gates: &mut scratch, h: &mut [], c: &mut [] }
                };
                let first = if pass.reverse { shape.state } else { 0 };
                let y = (&mut *y, self.config().output_size(), first);
                self.forward_window(pass, cell, window, tape, y, state, &mut m);
            }
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
        state: &mut State<T>,
        m: &mut [T],
    ) {
        let (pass, weights) = (*pass, self.packed[cell].weights());
        let carry = Carry { h: &mut state.h, c: &mut state.c, m };
        T::forward(self.level(), Forward { pass, weights, math: Accurate, window, tape, y, carry });
    }

    /// A shard's rows of the states of one layer and direction, or of derivatives by them, padded.
    fn states(
        &self,
        cell: usize,
        shape: &Shape,
        shard: &Shard,
        (h, c): (Option<&[T]>, Option<&[T]>),
        batch: usize,
    ) -> Result<State<T>, Error> {
        let gather = |state: Option<&[T]>, len: usize, stride: usize| -> Result<Buffer<T>, Error> {
            let mut buffer: Buffer<T> = rows(shard.rows.len(), stride, "states")?;
            if let Some(state) = state {
                for (row, &b) in buffer.chunks_mut(stride).zip(&shard.rows) {
                    row[..len].copy_from_slice(&state[(cell * batch + b) * len..][..len]);
                }
            }
            Ok(buffer)
        };
        let has_c = shape.kind.has_cell_state();
        Ok(State {
            h: gather(h, shape.state, shape.state_stride)?,
            c: if has_c { gather(c, shape.hidden, shape.stride)? } else { Buffer::default() },
        })
    }

    /// The mirror of `forward_shard`.
    pub(crate) fn backward_shard(
        &self,
        tape: &Tape<T>,
        trace: &ShardTrace<T>,
        losses: &Losses<'_, T>,
        truncate: Option<usize>,
        interrupt: Interrupt<'_>,
    ) -> Result<ShardGradients<T>, Error> {
        let (config, shard) = (self.config(), &trace.shard);
        let mut sums = Vec::new();
        let mut states = Vec::new();

        let out = config.output_size();
        let mut d_y: Buffer<T> = dirty_rows(shard.len(), out, "gradients")?;
        for (row, t, b) in shard.packed() {
            d_y[row * out..][..out].copy_from_slice(losses.y.at(t, b, out));
        }
        let mut d_y_row = out;
        for layer in (0..config.num_layers).rev() {
            let shape = self.shape(layer);
            let kept = &trace.layers[layer];
            let x =
                if kept.x.is_empty() && layer > 0 { &trace.layers[layer - 1].y } else { &kept.x };
            let mut d_x: Buffer<T> = dirty_rows(shard.len(), shape.input_stride, "gradients")?;
            for direction in (0..config.num_directions()).rev() {
                let cell = layer * config.num_directions() + direction;
                let pass = pass(&shape, shard, direction, x);
                let d_final = self.states(cell, &shape, shard, (losses.h, losses.c), tape.batch)?;
                // From T − 1 lags on nothing is cut off.
                let lags = truncate.filter(|&lags| lags < tape.steps.saturating_sub(1));
                let mut work = Work::new(&shape, shard, lags)?;
                let back = BackwardPass {
                    pass,
                    cell,
                    kept: &kept.directions[direction],
                    d_y: (&d_y, d_y_row, direction * shape.state),
                    d_x: &mut d_x,
                    add_d_x: direction + 1 < config.num_directions(),
                    work: &mut work,
                    lags,
                };
                states.push(self.backward_pass(back, shard, tape, d_final, interrupt)?);
                sums.push(work.sums);
            }
            if let Some(dropout) = tape.dropout.filter(|_| layer > 0) {
                let sizes = (tape.steps, tape.batch, shape.input);
                drop_out(dropout, layer, shard, sizes, &mut d_x, shape.input_stride);
            }
            (d_y, d_y_row) = (d_x, shape.input_stride);
        }
        states.reverse();
        sums.reverse();
        Ok(ShardGradients { sums, x: d_y, states })
    }

    /// The mirror of `forward_pass`: gives the derivative by the initial state.
    fn backward_pass(
        &self,
        back: BackwardPass<'_, T>,
        shard: &Shard,
        tape: &Tape<T>,
        d_final: State<T>,
        interrupt: Interrupt<'_>,
    ) -> Result<State<T>, Error> {
        let BackwardPass { pass, cell, kept, d_y, d_x, add_d_x, work, lags } = back;
        let shape = pass.shape;
        let (steps, n, chunk) = (pass.rows.steps(), shard.rows.len(), shard.chunk_steps());
        let checkpoint = shard.checkpoint_steps(tape.checkpoint);
        let (mut d_state, d_final) = match lags {
            None => (d_final, None),
            Some(lags) => {
                let slots = |one: &Buffer<T>| rows(lags + 1, one.len(), "truncated derivatives");
                (State { h: slots(&d_final.h)?, c: slots(&d_final.c)? }, Some(d_final))
            }
        };
        let truncation = lags.zip(d_final.as_ref()).map(|(lags, d)| Truncation {
            lags,
            batch: n,
            d_final_h: &d.h,
            d_final_c: &d.c,
        });
        let mut again = Trace::default();
        let every = checkpoint.unwrap_or(steps.max(1));
        for (i, window) in windows(0..steps, every, pass.reverse).enumerate().rev() {
            let (tape, first_row) = if checkpoint.is_some() {
                self.run_again(&pass, cell, shard, &kept.checkpoints, i, &window, &mut again)?;
                (&again, pass.rows.range(&window).start)
            } else {
                (kept, 0)
            };
            for window in windows(window, chunk, pass.reverse).rev() {
                poll(interrupt)?;
                let range = pass.rows.range(&window);
                let tape = tape.window(shape, range.start - first_row..range.end - first_row);
                let (scratch, gradients) = work.split();
                let weights = self.packed[cell].transposed();
                let carry = CarryBack { d_h: &mut d_state.h, d_c: &mut d_state.c };
                let chunk = Backward {
                    pass,
                    weights,
                    math: Accurate,
                    window,
                    tape,
                    d_y,
                    carry,
                    truncation,
                    scratch,
                    d_x: &mut *d_x,
                    add_d_x,
                    gradients,
                };
                T::backward(self.level(), chunk);
            }
        }
        if let Some(d_final) = d_final {
            let never_ran = pass.rows.count(0)..n;
            add_slots(&mut d_state.h, &d_final.h, shape.state_stride, &never_ran);
            add_slots(&mut d_state.c, &d_final.c, shape.stride, &never_ran);
        }
        Ok(d_state)
    }

    /// Runs window `i` forward again from its checkpoint.
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
        let mut state = self.states(cell, shape, shard, (None, None), n)?;
        let saved = state.h.len() + state.c.len();
        let (h, c) = checkpoints[i * saved..][..saved].split_at(state.h.len());
        state.h.copy_from_slice(h);
        state.c.copy_from_slice(c);
        let mut m = dirty_rows(n, shape.stride, "scratch")?;
        let range = pass.rows.range(window);
        to.make_room(shape, range.len())?;
        for window in windows(window.clone(), shard.chunk_steps(), pass.reverse) {
            let own = pass.rows.range(&window);
            let tape = to.window_mut(shape, own.start - range.start..own.end - range.start);
            self.forward_window(pass, cell, window, tape, (&mut [], 0, 0), &mut state, &mut m);
        }
        Ok(())
    }
}

/// What going back through one layer in one direction works on.
struct BackwardPass<'a, T: Real> {
    pass: Pass<'a, T>,
    cell: usize,
    kept: &'a Trace<T>,
    d_y: (&'a [T], usize, usize),
    d_x: &'a mut [T],
    add_d_x: bool,
    work: &'a mut Work<T>,
    lags: Option<usize>,
}

fn pass<'a, T>(shape: &'a Shape, shard: &'a Shard, direction: usize, x: &'a [T]) -> Pass<'a, T> {
    Pass {
        shape,
        rows: shard.packing(),
        reverse: direction == 1,
        resets: shard.resets.as_deref(),
        x: Source { data: x, row: shape.input, time: None },
    }
}

/// Sums the slots of a truncated derivative into the first; rows that never ran get `d_final`.
fn add_slots<T: Real>(slots: &mut [T], d_final: &[T], stride: usize, never_ran: &Range<usize>) {
    let (sum, others) = slots.split_at_mut(d_final.len());
    for slot in others.chunks(d_final.len().max(1)) {
        for (sum, &d) in sum.iter_mut().zip(slot) {
            *sum += d;
        }
    }
    if !d_final.is_empty() {
        let own = never_ran.start * stride..never_ran.end * stride;
        sum[own.clone()].copy_from_slice(&d_final[own]);
    }
}

/// Multiplies rows that enter `layer` by their dropout mask: 0, or 1 / (1 − p). The mask is a function of the
/// seed and the place alone, so that it needs no storing and no thread's or shard's order shows in it.
fn drop_out<T: Real>(
    (seed, p): (u64, f64),
    layer: usize,
    shard: &Shard,
    (steps, batch, values): (usize, usize, usize),
    rows: &mut [T],
    row: usize,
) {
    let kept = T::from_f64(1.0 / (1.0 - p));
    for (at, t, b) in shard.packed() {
        let first = (((layer * steps) + t) * batch + b) * values;
        for (unit, value) in rows[at * row..][..values].iter_mut().enumerate() {
            let drawn = rng::uniform_at(seed, (first + unit) as u64);
            *value = if drawn < p { T::ZERO } else { *value * kept };
        }
    }
}
