//! Weights from PyTorch's layout to panels: per tile of units, per step, the gates' lanes side by
//! side, padded with zeros to whole tiles.

use super::buffer::Buffer;
use super::layout::Map;
use super::plan::group;
use super::shape::{Shape, Transposed, Weights};
use super::small::{SmallPanels, Storage};
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
    /// Room for so many panels of a step's `gates` lanes side by side, zero but for the tiles full of `units`, which
    /// will be written.
    fn padded(
        lanes: usize,
        panels: usize,
        [steps, units, gates]: [usize; 3],
    ) -> Result<Self, Error> {
        let what = "packed weights";
        let (step, tile) = (gates * lanes, steps * gates * lanes);
        let padded = units.next_multiple_of(T::PAD);
        let all = super::buffer::size(&[steps, padded, gates, panels], what)?;
        let mut data = Buffer::dirty(all, what)?;
        for panel in data.chunks_mut((steps * padded * gates).max(1)) {
            panel[units / lanes * tile..].fill(T::ZERO);
        }
        Ok(Panel { data, step, tile, gate: lanes })
    }

    /// As the kernels read it.
    #[inline]
    #[must_use]
    pub fn view(&self) -> Rhs<'_, T> {
        Rhs { data: &self.data, step: self.step, tile: self.tile, gate: self.gate }
    }

    /// Panels of row blocks of a matrix with `hidden` rows a block and `columns` columns: forward, lanes = units,
    /// and transposed, lanes = columns.
    pub fn both(
        w: &[T],
        lanes: usize,
        hidden: usize,
        columns: usize,
        blocks: &[u8],
    ) -> Result<(Self, Self), Error> {
        let n = blocks.len();
        let mut forward = Panel::padded(lanes, 1, [columns, hidden, n])?;
        let mut transposed = Panel::padded(lanes, 1, [n * hidden, columns, 1])?;
        let (mut first, mut own) = (0, 0);
        for (g, &block) in blocks.iter().enumerate() {
            if g == first + own {
                // Gates that are not summed together follow one another.
                (first, own) = (g, group(n, g));
                (forward.step, forward.tile) = (own * lanes, columns * own * lanes);
                let at = first * columns * hidden.next_multiple_of(T::PAD);
                let panel = &mut forward.data[at..];
                let len = own * columns * hidden.next_multiple_of(T::PAD);
                panel[hidden / lanes * forward.tile..len].fill(T::ZERO);
            }
            let w = &w[block as usize * hidden * columns..][..hidden * columns];
            let at = first * columns * hidden.next_multiple_of(T::PAD) + (g - first) * lanes;
            transpose(w, lanes, columns, &mut forward.data[at..], (forward.tile, forward.step));
            transposed.copy(w, lanes, columns, g * hidden);
        }
        let own = if n > 0 { group(n, 0) } else { 0 };
        (forward.step, forward.tile) = (own * lanes, columns * own * lanes);
        Ok((forward, transposed))
    }

    /// Panels of single row blocks of a square matrix, one after another, and the same transposed.
    fn squares(
        w: &[T],
        lanes: usize,
        hidden: usize,
        blocks: &[Map],
    ) -> Result<(Self, Self), Error> {
        let mut forward = Panel::padded(lanes, blocks.len(), [hidden, hidden, 1])?;
        let mut transposed = Panel::padded(lanes, blocks.len(), [hidden, hidden, 1])?;
        let one = hidden * hidden.next_multiple_of(T::PAD);
        for (i, map) in blocks.iter().enumerate() {
            let w = &w[map.block as usize * hidden * hidden..][..hidden * hidden];
            let strides = (forward.tile, forward.step);
            transpose(w, lanes, hidden, &mut forward.data[i * one..], strides);
            let strides = (transposed.tile, transposed.step);
            copy(w, lanes, hidden, &mut transposed.data[i * one..], strides);
        }
        Ok((forward, transposed))
    }

    /// Fills in rows from step `first` on, lanes = columns.
    fn copy(&mut self, w: &[T], lanes: usize, columns: usize, first: usize) {
        let strides = (self.tile, self.step);
        copy(w, lanes, columns, &mut self.data[first * self.step..], strides);
    }
}

/// Fills in a gate out of rows of `columns` weights, one for each step, which lanes are.
fn copy<T: Real>(
    w: &[T],
    lanes: usize,
    columns: usize,
    to: &mut [T],
    (tile, step): (usize, usize),
) {
    for (u, row) in w.chunks(columns).enumerate() {
        for (t, part) in row.chunks(lanes).enumerate() {
            to[t * tile + u * step..][..part.len()].copy_from_slice(part);
        }
    }
}

/// Fills in a gate out of rows of `columns` weights, one for each unit; columns are steps.
pub fn transpose<A: Copy>(
    w: &[A],
    lanes: usize,
    columns: usize,
    to: &mut [A],
    (tile_stride, step): (usize, usize),
) {
    for (tile, rows) in w.chunks(lanes * columns).enumerate() {
        // Few columns at a time: the lines written to then stay in the first cache until all lanes are in them.
        for first in (0..columns).step_by(COLUMNS) {
            let to = &mut to[tile * tile_stride + first * step..];
            let last = columns.min(first + COLUMNS);
            for (lane, row) in rows.chunks(columns).enumerate() {
                for (to, &w) in to.chunks_mut(step).zip(&row[first..last]) {
                    to[lane] = w;
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
    maps: Panel<T>,
    projection: Panel<T>,
    bias: Buffer<T>,
    parameters: Buffer<T>,
    input_t: Panel<T>,
    state_t: Panel<T>,
    maps_t: Panel<T>,
    projection_t: Panel<T>,
    small: SmallPanels<T>,
}

impl<T: Real> Packed<T> {
    /// Packs `parameters`, those of one layer and direction, in [`Config::layer_parameters`]' order; the maps of x and h so
    /// as well.
    pub fn new(
        config: &Config,
        layer: usize,
        shape: &Shape,
        parameters: &[T],
        lanes: usize,
        storage: Storage,
    ) -> Result<Self, Error> {
        let (hidden, stride, layout) = (shape.hidden, shape.stride, &shape.layout);
        let mut packed = Packed {
            bias: Buffer::zeros(shape.row(), "biases")?,
            parameters: Buffer::zeros(layout.parameters() * stride, "parameters")?,
            ..Default::default()
        };
        let (mut rest, mut maps) = (parameters, [&[][..]; 2]);
        for parameter in config.layer_parameters(layer, false) {
            let w;
            (w, rest) = rest.split_at(parameter.len());
            let columns = parameter.columns;
            match parameter.role {
                Role::WeightIh => {
                    maps[0] = w;
                    (packed.input, packed.input_t) =
                        Panel::both(w, lanes, hidden, columns, layout.x_blocks())?;
                }
                Role::WeightHh => {
                    maps[1] = w;
                    (packed.state, packed.state_t) =
                        Panel::both(w, lanes, hidden, columns, layout.h_blocks())?;
                    if !layout.maps().is_empty() {
                        (packed.maps, packed.maps_t) =
                            Panel::squares(w, lanes, hidden, layout.maps())?;
                    }
                }
                Role::WeightHr => {
                    (packed.projection, packed.projection_t) =
                        Panel::both(w, lanes, parameter.rows, hidden, &[0])?;
                }
                Role::BiasIh => add(w, shape, |block| layout.x_slot(block), &mut packed.bias),
                Role::BiasHh => add(w, shape, |block| layout.h_slot(block), &mut packed.bias),
                Role::WeightP => add(w, shape, |block| block, &mut packed.parameters),
            }
        }
        packed.small = SmallPanels::new(storage, shape, maps, lanes)?;
        Ok(packed)
    }

    /// What a forward step reads.
    #[inline]
    #[must_use]
    pub fn weights(&self) -> Weights<'_, T> {
        Weights {
            input: self.input.view(),
            state: self.state.view(),
            maps: self.maps.view(),
            projection: self.projection.view(),
            bias: &self.bias,
            parameters: &self.parameters,
            turn: false,
            small: self.small.view(),
        }
    }

    /// What a backward step reads.
    #[must_use]
    pub fn transposed(&self) -> Transposed<'_, T> {
        Transposed {
            input: self.input_t.view(),
            state: self.state_t.view(),
            maps: self.maps_t.view(),
            projection: self.projection_t.view(),
            parameters: &self.parameters,
            turn: false,
        }
    }
}

/// Adds blocks of H numbers to their places among runs of padded units.
fn add<T: Real>(w: &[T], shape: &Shape, place: impl Fn(usize) -> usize, to: &mut [T]) {
    for (block, w) in w.chunks(shape.hidden).enumerate() {
        for (sum, &w) in to[place(block) * shape.stride..].iter_mut().zip(w) {
            *sum += w;
        }
    }
}
