//! What a pass back through one layer works in.

use crate::cell::WeightGradients;
use crate::error::Error;
use crate::gates::{Config, Role};
use crate::kernel::buffer::Buffer;
use crate::kernel::shape::{Shape, bias_slot};
use crate::real::Real;
use crate::sequence::Scratch;
use crate::tape::{Shard, dirty_rows, rows};

/// Scratch and sums of gradients of one layer in one direction.
pub(crate) struct Work<T: Real> {
    d_gates: Buffer<T>,
    d_projected: Buffer<T>,
    m: Buffer<T>,
    step: Buffer<T>,
    lag: Buffer<T>,
    input: Buffer<T>,
    state: Buffer<T>,
    new: Buffer<T>,
    projection: Buffer<T>,
    bias: Buffer<T>,
}

impl<T: Real> Work<T> {
    pub fn new(shape: &Shape, shard: &Shard, lags: Option<usize>) -> Result<Self, Error> {
        let n = shard.rows.len();
        let chunk = shard.chunk_steps().min(shard.offsets.len() - 1) * n;
        let if_projected = |rows: usize| if shape.projected { rows } else { 0 };
        let lag = if lags.is_some() { shape.row() + shape.state_stride } else { 0 };
        let new = if shape.resets_before() { shape.hidden } else { 0 };
        let what = "gradients";
        Ok(Work {
            d_gates: dirty_rows(chunk, shape.row(), what)?,
            d_projected: dirty_rows(if_projected(chunk), shape.state_stride, what)?,
            m: dirty_rows(if_projected(chunk), shape.stride, what)?,
            step: dirty_rows(n, shape.stride, what)?,
            lag: dirty_rows(n, lag, what)?,
            input: rows(shape.input, shape.from_input().count * shape.stride, what)?,
            state: rows(shape.state, shape.from_state().count * shape.stride, what)?,
            new: rows(new, shape.stride, what)?,
            projection: rows(if_projected(shape.hidden), shape.state_stride, what)?,
            bias: rows(1, shape.row(), what)?,
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
            input: &mut self.input,
            state: &mut self.state,
            new: &mut self.new,
            projection: &mut self.projection,
            bias: &mut self.bias,
        };
        (scratch, gradients)
    }

    /// The sums in PyTorch's layout: `to` holds the layer's parameters in one direction.
    pub fn unpack(&self, config: &Config, layer: usize, shape: &Shape, mut to: &mut [T]) {
        let hidden = shape.hidden;
        for parameter in config.layer_parameters(layer, false) {
            let own;
            (own, to) = to.split_at_mut(parameter.len());
            let columns = parameter.columns;
            let (sums, order) = match parameter.role {
                Role::WeightIh => (&self.input, shape.input_gates()),
                Role::WeightHh => (&self.state, shape.state_gates()),
                Role::WeightHr => {
                    transpose(
                        own,
                        columns,
                        parameter.rows,
                        &self.projection,
                        shape.state_stride,
                        0,
                    );
                    continue;
                }
                Role::BiasIh | Role::BiasHh => {
                    for (gate, own) in own.chunks_mut(hidden).enumerate() {
                        let slot = bias_slot(shape.kind, parameter.role, gate);
                        own.copy_from_slice(&self.bias[slot * shape.stride..][..hidden]);
                    }
                    continue;
                }
            };
            for (gate, own) in own.chunks_mut(hidden * columns).enumerate() {
                match order.iter().position(|&g| g == gate) {
                    Some(slot) => {
                        let row = order.len() * shape.stride;
                        transpose(own, columns, hidden, sums, row, slot * shape.stride);
                    }
                    // The original GRU's W_hn, summed apart.
                    None => transpose(own, columns, hidden, &self.new, shape.stride, 0),
                }
            }
        }
    }
}

/// to\[r, c\] = from\[c * row + first + r\], for `rows` × `columns`.
fn transpose<T: Copy>(
    to: &mut [T],
    columns: usize,
    rows: usize,
    from: &[T],
    row: usize,
    first: usize,
) {
    for r in 0..rows {
        for c in 0..columns {
            to[r * columns + c] = from[c * row + first + r];
        }
    }
}
