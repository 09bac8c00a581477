//! The mirror of `forward`: back-propagation through all layers of a net.

use super::dropout::Dropout;
use super::forward::{Keep, input_of, of_rows, within};
use super::gradients::{PassBack, Summed};
use super::network::Network;
use super::pieces::{Share, derivative, packed, share};
use super::shard::{Shard, windows};
use super::tape::{DirectionTrace, LayerTrace, ShardTrace, Tape};
use super::view::{Gradients, Losses};
use crate::batch::{self, Interrupt, poll};
use crate::error::Error;
use crate::kernel::buffer::{Buffer, copy, dirty_rows, size, zeros};
use crate::kernel::states::{States, StatesMut};
use crate::laps::{Part, lap};
use crate::real::Real;
use crate::time::{Backward, OutputDerivative, Pass, Passes, Truncation};
use alloc::vec::Vec;
use core::ops::Range;

/// What one shard gives going back.
struct ShardGradients<'a, T: Real> {
    /// By the parameters of every layer and direction.
    sums: Vec<Summed<'a, T>>,
    /// By the initial states of every layer and direction.
    states: Vec<Buffer<T>>,
}

impl<T: Passes> Network<T> {
    /// Back-propagation through time: gradients by the parameters, the input and the initial state.
    /// `truncate`: only terms whose loss is at most so many steps (in the direction's own time, each
    /// layer by itself) after the parameter's use.
    ///
    /// # Errors
    /// Where the derivatives do not fit, the parameters have changed since the recording, there is no memory,
    /// or `interrupt` says so.
    pub fn backward(
        &self,
        tape: &Tape<T>,
        losses: &Losses<'_, T>,
        truncate: Option<usize>,
        interrupt: Interrupt<'_>,
    ) -> Result<Gradients<T>, Error> {
        self.check_tape(tape)?;
        let (steps, batch) = (tape.steps, tape.batch);
        losses.y.check("dy", steps, batch, self.config.output_size())?;
        self.check_states("dstate", losses.states, batch)?;
        let input = self.config.input_size;
        let mut x = zeros(size(&[steps, batch, input], "gradients")?, "gradients")?;
        let mut parameters = zeros(self.parameters.len(), "gradients")?;
        let run = |(trace, to): (&ShardTrace<T>, (Share<'_, T>, Option<_>))| {
            self.backward_shard(tape, trace, losses, truncate, to, interrupt)
        };
        let shards = tape.shards.iter().map(|trace| &trace.shard);
        let mut first = Some(&mut parameters[..]);
        let to = share(&mut x, shards, batch, input)?.into_iter().map(|x| (x, first.take()));
        let items = tape.shards.iter().zip(to).collect();
        let work = self.work(steps, batch).saturating_mul(2);
        let mut done = batch::run(items, work, run)?;

        lap(Part::Rest);
        self.sum_gradients(&mut done);
        lap(Part::Packing);
        let states = tape.shards.iter().zip(&done).map(|(trace, g)| (&trace.shard, &g.states[..]));
        let states = self.gather_states(states, batch)?;
        Ok(Gradients { parameters, x, states })
    }

    /// The parameters' gradients out of the shards' sums, added in the shards' order where the first has its own.
    fn sum_gradients(&self, shards: &mut [ShardGradients<'_, T>]) {
        let Some((first, others)) = shards.split_first_mut() else { return };
        for (cell, sums) in first.sums.iter_mut().enumerate() {
            let layer = cell / self.config.num_directions();
            let others: Vec<_> = others.iter().map(|shard| &shard.sums[cell]).collect();
            sums.add(&others);
            sums.unpack(&self.config, layer, self.shape(layer));
        }
    }

    /// The mirror of `forward_shard`. One of the shards gets the parameters' gradients, zeros, to sum up there.
    fn backward_shard<'a>(
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
                let gradients = Summed::new(config, layer, shape, rows, there)?;
                let cell_scratch = self.cell().scratch(shape.stride);
                PassBack::new(shape, shard, d_final, lags, cell_scratch, gradients)
            })
            .collect::<Result<Vec<_>, _>>()?;
        for span in trace.spans.iter().rev() {
            let again;
            let layers = if span.layers.is_empty() {
                let entering = span.entering.iter().map(|states| copy(states, "checkpoints"));
                let mut states = entering.collect::<Result<Vec<_>, _>>()?;
                let from = (shard, &span.steps, &span.x[..]);
                let keep = Keep::Steps;
                again = self.forward_span(from, keep, dropout, None, &mut states, interrupt)?;
                &again
            } else {
                &span.layers
            };
            lap(Part::Rest);
            let (copied, outputs) = (&mut Default::default(), config.output_size());
            let d_y = match derivative(shard, &span.steps, &losses.y) {
                Some(there) => there,
                None => {
                    *copied = Some(packed(shard, &span.steps, &losses.y, outputs, "gradients")?);
                    let data = copied.as_deref().unwrap_or_default();
                    OutputDerivative { data, row: outputs, time: None, first: 0 }
                }
            };
            lap(Part::Copies);
            let checkpoint = shard.checkpoint_steps(tape.checkpoint);
            let checkpoint = checkpoint.filter(|_| !span.layers.is_empty());
            let span = (shard, &span.steps, &span.x[..]);
            let d =
                self.backward_span(span, layers, checkpoint, dropout, d_y, &mut backs, interrupt)?;
            lap(Part::Rest);
            d_x.put(shard, span.1, &d, self.shape(0).input_stride);
            lap(Part::Copies);
        }
        let (sums, states) = backs
            .into_iter()
            .zip(0..)
            .map(|(back, cell)| {
                let shape = self.shape(cell / config.num_directions());
                back.finish(shape, shard)
            })
            .unzip();
        Ok(ShardGradients { sums, states })
    }

    /// The mirror of `forward_span`: gives the derivative by x, packed padded rows.
    #[allow(clippy::too_many_arguments)]
    fn backward_span(
        &self,
        (shard, steps, x): (&Shard, &Range<usize>, &[T]),
        layers: &[LayerTrace<T>],
        checkpoint: Option<usize>,
        dropout: Option<Dropout>,
        d_y: OutputDerivative<'_, T>,
        backs: &mut [PassBack<'_, T>],
        interrupt: Interrupt<'_>,
    ) -> Result<Buffer<T>, Error> {
        let config = self.config();
        // By the input of the layer above, as wide as there.
        let mut above = (Buffer::default(), 0);
        for layer in (0..config.num_layers).rev() {
            let shape = self.shape(layer);
            let (data, row) = (&above.0[..], above.1);
            let d_y = match layer + 1 {
                last if last == config.num_layers => d_y,
                _ => OutputDerivative { data, row, time: None, first: 0 },
            };
            let kept = &layers[layer];
            let rows = shard.packing().range(steps).len();
            let mut d_x: Buffer<T> = dirty_rows(rows, shape.input_stride, "gradients")?;
            for direction in (0..config.num_directions()).rev() {
                let cell = layer * config.num_directions() + direction;
                let back = BackwardPass {
                    pass: shard.pass(shape, direction == 1, input_of(x, &kept.x, layers, layer)),
                    cell,
                    steps,
                    kept: &kept.directions[direction],
                    checkpoint,
                    d_y: OutputDerivative { first: direction * shape.state, ..d_y },
                    d_x: &mut d_x,
                    add_d_x: direction + 1 < config.num_directions(),
                    back: &mut backs[cell],
                };
                self.backward_pass(back, shard, interrupt)?;
            }
            if let Some(dropout) = dropout.filter(|_| layer > 0) {
                dropout.apply(layer, shard, steps, &mut d_x, shape.input, shape.input_stride);
            }
            above = (d_x, shape.input_stride);
        }
        Ok(above.0)
    }

    /// The mirror of `forward_pass`.
    fn backward_pass(
        &self,
        back: BackwardPass<'_, '_, T>,
        shard: &Shard,
        interrupt: Interrupt<'_>,
    ) -> Result<(), Error> {
        let BackwardPass { pass, cell, steps, kept, checkpoint, d_y, d_x, add_d_x, back } = back;
        let PassBack { d_states, d_final, lags, work } = back;
        let (shape, n, chunk) = (pass.shape, shard.rows.len(), shard.chunk_steps());
        let all = pass.rows.range(steps);
        let truncation = lags.zip(d_final.as_ref()).map(|(lags, d)| Truncation {
            lags,
            batch: n,
            d_final: States { data: d, rows: n, first: 0 },
        });
        let mut again = DirectionTrace::default();
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
                let d_x_rows = rows.start * shape.input_stride..rows.end * shape.input_stride;
                let chunk = Backward {
                    pass: of_rows(&pass, &rows),
                    weights,
                    d_y: d_y.after(window.start - steps.start, rows.start),
                    window,
                    tape: tape.window(shape, within(first, &range)),
                    carry,
                    truncation,
                    scratch,
                    d_x: &mut d_x[d_x_rows],
                    add_d_x,
                    gradients,
                };
                self.back(|cell| cell.backward(self.level(), chunk));
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
        to: &mut DirectionTrace<T>,
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
    kept: &'a DirectionTrace<T>,
    checkpoint: Option<usize>,
    d_y: OutputDerivative<'a, T>,
    d_x: &'a mut [T],
    add_d_x: bool,
    back: &'a mut PassBack<'g, T>,
}
