//! Weights from PyTorch's layout to panels: per tile of units, per step, the gates' lanes side by
//! side, padded with zeros to whole tiles.

use super::buffer::Buffer;
use super::shape::{Shape, Transposed, Weights, bias_slot};
use crate::error::Error;
use crate::gates::{Config, Role};
use crate::real::Real;
use crate::simd::Rhs;

/// A packed matrix.
#[derive(Debug, Default)]
pub struct Panel<T: Real> {
    data: Buffer<T>,
    step: usize,
    tile: usize,
    gate: usize,
}

impl<T: Real> Panel<T> {
    /// A panel that is zero but for the tiles full of `units`, which will be written.
    fn padded(lanes: usize, steps: usize, units: usize, gates: usize) -> Result<Self, Error> {
        let what = "packed weights";
        let (step, tile) = (gates * lanes, steps * gates * lanes);
        let all = super::buffer::size(&[steps, units.next_multiple_of(T::PAD), gates], what)?;
        let mut data = Buffer::dirty(all, what)?;
        data[units / lanes * tile..].fill(T::ZERO);
        Ok(Panel { data, step, tile, gate: lanes })
    }

    /// As the kernels read it.
    #[inline]
    #[must_use]
    pub fn view(&self) -> Rhs<'_, T> {
        Rhs { data: &self.data, step: self.step, tile: self.tile, gate: self.gate }
    }

    /// Panels of `gates` (in PyTorch's numbering) of a matrix with `hidden` rows a gate and `columns` columns:
    /// forward, lanes = units, and transposed, lanes = columns.
    pub fn both(
        w: &[T],
        lanes: usize,
        hidden: usize,
        columns: usize,
        gates: &[usize],
    ) -> Result<(Self, Self), Error> {
        let n = gates.len();
        let mut forward = Panel::padded(lanes, columns, hidden, n)?;
        let mut transposed = Panel::padded(lanes, n * hidden, columns, 1)?;
        for (g, &gate) in gates.iter().enumerate() {
            let w = &w[gate * hidden * columns..][..hidden * columns];
            forward.transpose(w, lanes, columns, g);
            for (u, row) in w.chunks(columns).enumerate() {
                for (tile, part) in row.chunks(lanes).enumerate() {
                    let at = tile * transposed.tile + (g * hidden + u) * transposed.step;
                    transposed.data[at..at + part.len()].copy_from_slice(part);
                }
            }
        }
        Ok((forward, transposed))
    }

    /// Fills in the `g`-th gate out of rows of `columns` weights, one for each unit.
    fn transpose(&mut self, w: &[T], lanes: usize, columns: usize, g: usize) {
        for (tile, rows) in w.chunks(lanes * columns).enumerate() {
            // Few columns at a time: the lines written to then stay in the first cache until all lanes are in them.
            for first in (0..columns).step_by(COLUMNS) {
                let to = &mut self.data[tile * self.tile + first * self.step + g * self.gate..];
                let last = columns.min(first + COLUMNS);
                for (lane, row) in rows.chunks(columns).enumerate() {
                    for (to, &w) in to.chunks_mut(self.step).zip(&row[first..last]) {
                        to[lane] = w;
                    }
                }
            }
        }
    }
}

/// Columns transposed at a time.
const COLUMNS: usize = 16;

/// One layer's weights in one direction, as the kernels of a level with `lanes` lanes read them.
#[derive(Debug, Default)]
pub struct Packed<T: Real> {
    input: Panel<T>,
    state: Panel<T>,
    new: Panel<T>,
    projection: Panel<T>,
    bias: Buffer<T>,
    input_t: Panel<T>,
    state_t: Panel<T>,
    new_t: Panel<T>,
    projection_t: Panel<T>,
}

impl<T: Real> Packed<T> {
    /// Packs `parameters`, those of one layer and direction, in [`Config::layer_parameters`]' order.
    pub fn new(
        config: &Config,
        layer: usize,
        shape: &Shape,
        parameters: &[T],
        lanes: usize,
    ) -> Result<Self, Error> {
        let mut packed =
            Packed { bias: Buffer::zeros(shape.row(), "biases")?, ..Default::default() };
        let mut rest = parameters;
        let hidden = shape.hidden;
        for parameter in config.layer_parameters(layer, false) {
            let w;
            (w, rest) = rest.split_at(parameter.len());
            let columns = parameter.columns;
            match parameter.role {
                Role::WeightIh => {
                    (packed.input, packed.input_t) =
                        Panel::both(w, lanes, hidden, columns, shape.input_gates())?;
                }
                Role::WeightHh => {
                    (packed.state, packed.state_t) =
                        Panel::both(w, lanes, hidden, columns, shape.state_gates())?;
                    if shape.resets_before() {
                        (packed.new, packed.new_t) = Panel::both(w, lanes, hidden, columns, &[2])?;
                    }
                }
                Role::WeightHr => {
                    (packed.projection, packed.projection_t) =
                        Panel::both(w, lanes, parameter.rows, hidden, &[0])?;
                }
                Role::BiasIh | Role::BiasHh => {
                    for (gate, b) in w.chunks(hidden).enumerate() {
                        let slot = bias_slot(shape.kind, parameter.role, gate);
                        for (sum, &b) in packed.bias[slot * shape.stride..].iter_mut().zip(b) {
                            *sum += b;
                        }
                    }
                }
            }
        }
        Ok(packed)
    }

    /// What a forward step reads.
    #[inline]
    #[must_use]
    pub fn weights(&self) -> Weights<'_, T> {
        Weights {
            input: self.input.view(),
            state: self.state.view(),
            new: self.new.view(),
            projection: self.projection.view(),
            bias: &self.bias,
            turn: false,
        }
    }

    /// What a backward step reads.
    #[must_use]
    pub fn transposed(&self) -> Transposed<'_, T> {
        Transposed {
            input: self.input_t.view(),
            state: self.state_t.view(),
            new: self.new_t.view(),
            projection: self.projection_t.view(),
            turn: false,
        }
    }
}
