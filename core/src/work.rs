//! What a pass back through time works in.

use crate::batch;
use crate::cell::WeightGradients;
use crate::error::Error;
use crate::gates::{Config, Parameter, Role};
use crate::kernel::buffer::Buffer;
use crate::kernel::shape::{Shape, bias_slot};
use crate::real::Real;
use crate::sequence::Scratch;
use crate::tape::{Shard, State, dirty_rows, rows};
use core::ops::Range;

/// What goes back through time with one layer in one direction.
pub(crate) struct Back<T: Real> {
    /// The derivative by the state; with truncation `lags` + 1 of them.
    pub d_state: State<T>,
    /// By the final state, where it is kept apart for truncation.
    pub d_final: Option<State<T>>,
    pub lags: Option<usize>,
    pub work: Work<T>,
}

impl<T: Real> Back<T> {
    pub fn new(
        shape: &Shape,
        shard: &Shard,
        d_final: State<T>,
        lags: Option<usize>,
    ) -> Result<Self, Error> {
        let work = Work::new(shape, shard, lags)?;
        let (d_state, d_final) = match lags {
            None => (d_final, None),
            Some(lags) => {
                let slots = |one: &Buffer<T>| rows(lags + 1, one.len(), "truncated derivatives");
                (State { h: slots(&d_final.h)?, c: slots(&d_final.c)? }, Some(d_final))
            }
        };
        Ok(Back { d_state, d_final, lags, work })
    }

    /// The sums, and the derivative by the initial state.
    pub fn finish(mut self, shape: &Shape, shard: &Shard) -> (Sums<T>, State<T>) {
        if let Some(d_final) = self.d_final {
            let never_ran = shard.packing().count(0)..shard.rows.len();
            add_slots(&mut self.d_state.h, &d_final.h, shape.state_stride, &never_ran);
            add_slots(&mut self.d_state.c, &d_final.c, shape.stride, &never_ran);
        }
        (self.work.sums, self.d_state)
    }
}

/// Scratch of one layer in one direction, and its sums of gradients.
pub(crate) struct Work<T: Real> {
    d_gates: Buffer<T>,
    d_projected: Buffer<T>,
    m: Buffer<T>,
    step: Buffer<T>,
    lag: Buffer<T>,
    pub sums: Sums<T>,
}

/// Sums of gradients as the kernels make them: see [`WeightGradients`].
pub(crate) struct Sums<T: Real> {
    pub input: Buffer<T>,
    pub state: Buffer<T>,
    pub new: Buffer<T>,
    pub projection: Buffer<T>,
    pub bias: Buffer<T>,
}

impl<T: Real> Work<T> {
    pub fn new(shape: &Shape, shard: &Shard, lags: Option<usize>) -> Result<Self, Error> {
        let n = shard.rows.len();
        let chunk = shard.chunk_steps().min(shard.offsets.len() - 1) * n;
        let if_projected = |rows: usize| if shape.projected { rows } else { 0 };
        let lag = if lags.is_some() { shape.row() + shape.state_stride } else { 0 };
        let what = "gradients";
        Ok(Work {
            d_gates: dirty_rows(chunk, shape.row(), what)?,
            d_projected: dirty_rows(if_projected(chunk), shape.state_stride, what)?,
            m: dirty_rows(if_projected(chunk), shape.stride, what)?,
            step: dirty_rows(n, shape.stride, what)?,
            lag: dirty_rows(n, lag, what)?,
            sums: Sums::new(shape)?,
        })
    }

    pub fn split(&mut self) -> (Scratch<'_, T>, WeightGradients<'_, T>) {
        let scratch = Scratch {
            d_gates: &mut self.d_gates,
            d_projected: &mut self.d_projected,
            m: &mut self.m,
            step: &mut self.step,
            lag: &mut self.lag,
        };
        let gradients = WeightGradients {
            input: &mut self.sums.input,
            state: &mut self.sums.state,
            new: &mut self.sums.new,
            projection: &mut self.sums.projection,
            bias: &mut self.sums.bias,
        };
        (scratch, gradients)
    }
}

impl<T: Real> Sums<T> {
    fn new(shape: &Shape) -> Result<Self, Error> {
        let gates = |count: usize| shape.apart(count * shape.stride);
        let new = if shape.resets_before() { shape.hidden } else { 0 };
        let projected = if shape.projected { shape.hidden } else { 0 };
        let what = "gradients";
        Ok(Sums {
            input: rows(shape.input, gates(shape.from_input().count), what)?,
            state: rows(shape.state, gates(shape.from_state().count), what)?,
            new: rows(new, gates(1), what)?,
            projection: rows(projected, shape.apart(shape.state_stride), what)?,
            bias: rows(1, shape.row(), what)?,
        })
    }

    /// Adds `others`, one after another.
    pub fn add(&mut self, others: &[&Self]) {
        macro_rules! add {
            ($($part:ident)*) => {$(
                batch::fill(&mut self.$part, PIECE, |i, sum| {
                    for other in others {
                        for (sum, &g) in sum.iter_mut().zip(&other.$part[i * PIECE..]) {
                            *sum += g;
                        }
                    }
                });
            )*};
        }
        add!(input state new projection bias);
    }

    /// The sums in PyTorch's layout: `to` holds the layer's parameters in one direction.
    pub fn unpack(&self, config: &Config, layer: usize, shape: &Shape, mut to: &mut [T]) {
        for parameter in config.layer_parameters(layer, false) {
            let own;
            (own, to) = to.split_at_mut(parameter.len());
            self.unpack_one(&parameter, shape, own);
        }
    }

    /// The sum of one parameter in PyTorch's layout.
    pub fn unpack_one(&self, parameter: &Parameter, shape: &Shape, own: &mut [T]) {
        let (hidden, columns) = (shape.hidden, parameter.columns);
        let (sums, order) = match parameter.role {
            Role::WeightIh => (&self.input, shape.input_gates()),
            Role::WeightHh => (&self.state, shape.state_gates()),
            Role::WeightHr => {
                let row = shape.apart(shape.state_stride);
                transpose(own, columns, parameter.rows, &self.projection, row, 0);
                return;
            }
            Role::BiasIh | Role::BiasHh => {
                for (gate, own) in own.chunks_mut(hidden).enumerate() {
                    let slot = bias_slot(shape.kind, parameter.role, gate);
                    own.copy_from_slice(&self.bias[slot * shape.stride..][..hidden]);
                }
                return;
            }
        };
        for (gate, own) in own.chunks_mut(hidden * columns).enumerate() {
            match order.iter().position(|&g| g == gate) {
                Some(slot) => {
                    let row = shape.apart(order.len() * shape.stride);
                    transpose(own, columns, hidden, sums, row, slot * shape.stride);
                }
                // The original GRU's W_hn, summed apart.
                None => {
                    let row = shape.apart(shape.stride);
                    transpose(own, columns, hidden, &self.new, row, 0);
                }
            }
        }
    }
}

/// Values added up by one thread at a time.
const PIECE: usize = 4096;
/// Rows and columns transposed at a time.
const SQUARE: usize = 16;

/// to\[r, c\] = from\[c * row + first + r\], for `rows` × `columns`.
fn transpose<T: Real>(
    to: &mut [T],
    columns: usize,
    rows: usize,
    from: &[T],
    row: usize,
    first: usize,
) {
    // In squares of a line's width: each line is read once and written once.
    for (first_row, first_column) in
        (0..rows).step_by(SQUARE).flat_map(|r| (0..columns).step_by(SQUARE).map(move |c| (r, c)))
    {
        let height = (rows - first_row).min(SQUARE);
        let width = (columns - first_column).min(SQUARE);
        let from = &from[first_column * row + first + first_row..];
        let to = &mut to[first_row * columns + first_column..];
        if height == SQUARE && width == SQUARE {
            // Of known size, so without a check and without a loop for each value.
            let mut square = [[T::ZERO; SQUARE]; SQUARE];
            for c in 0..SQUARE {
                square[c].copy_from_slice(&from[c * row..][..SQUARE]);
            }
            for r in 0..SQUARE {
                let to = &mut to[r * columns..][..SQUARE];
                for c in 0..SQUARE {
                    to[c] = square[c][r];
                }
            }
            continue;
        }
        for r in 0..height {
            for c in 0..width {
                to[r * columns + c] = from[c * row + r];
            }
        }
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
