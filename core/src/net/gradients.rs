//! What a pass back through time works in.

use crate::batch;
use crate::cell::{Scratch, Sum, WeightGradients};
use crate::error::Error;
use crate::gates::{Config, Parameter, Role};
use crate::kernel::buffer::Buffer;
use crate::kernel::buffer::{dirty_rows, rows};
use crate::kernel::shape::Shape;
use crate::net::shard::Shard;
use crate::real::Real;
use crate::time::{PassScratch, Truncation};
use core::ops::{Deref, DerefMut, Range};

/// What goes back through time with one layer in one direction.
pub(crate) struct PassBack<'a, T: Real> {
    /// The derivative by the states; with truncation `lags` + 1 of them.
    pub d_states: Buffer<T>,
    /// By the final states, where it is kept apart for truncation.
    pub d_final: Option<Buffer<T>>,
    pub lags: Option<usize>,
    pub work: PassWork<'a, T>,
}

impl<'a, T: Real> PassBack<'a, T> {
    pub fn new(
        shape: &Shape,
        shard: &Shard,
        d_final: Buffer<T>,
        lags: Option<usize>,
        cell_scratch: usize,
        gradients: Summed<'a, T>,
    ) -> Result<Self, Error> {
        let work = PassWork::new(shape, shard, lags, cell_scratch, gradients)?;
        let Some(lags) = lags else {
            return Ok(PassBack { d_states: d_final, d_final: None, lags, work });
        };
        let cut_off = Truncation::<T>::cut_off(shard.packing(), lags);
        let mut d_states: Buffer<T> = rows(lags + 1, d_final.len(), "truncated derivatives")?;
        for state in 0..shape.layout.states() {
            let others = state_rows(shape, shard.rows.len(), state, cut_off..shard.rows.len());
            d_states[others.clone()].copy_from_slice(&d_final[others]);
        }
        Ok(PassBack { d_states, d_final: Some(d_final), lags: Some(lags), work })
    }

    /// The sums, and the derivative by the initial states.
    pub fn finish(mut self, shape: &Shape, shard: &Shard) -> (Summed<'a, T>, Buffer<T>) {
        if let (Some(d_final), Some(lags)) = (self.d_final, self.lags) {
            let cut_off = Truncation::<T>::cut_off(shard.packing(), lags);
            let (sum, others) = self.d_states.split_at_mut(d_final.len());
            for slot in others.chunks(d_final.len().max(1)) {
                for state in 0..shape.layout.states() {
                    let own = state_rows(shape, shard.rows.len(), state, 0..cut_off);
                    for (sum, &d) in sum[own.clone()].iter_mut().zip(&slot[own]) {
                        *sum += d;
                    }
                }
            }
        }
        (self.work.gradients, self.d_states)
    }
}

/// Where some rows of a state are, of `all` rows of each.
fn state_rows(shape: &Shape, all: usize, state: usize, rows: Range<usize>) -> Range<usize> {
    let (at, row) = (shape.state_at(all, state), shape.state_row(state));
    at + rows.start * row..at + rows.end * row
}

/// Scratch of one layer in one direction, and its sums of gradients.
pub(crate) struct PassWork<'a, T: Real> {
    d_slots: Buffer<T>,
    d_projected: Buffer<T>,
    step: Buffer<T>,
    cell: Buffer<T>,
    lag: Buffer<T>,
    gradients: Summed<'a, T>,
}

impl<'a, T: Real> PassWork<'a, T> {
    fn new(
        shape: &Shape,
        shard: &Shard,
        lags: Option<usize>,
        cell_scratch: usize,
        gradients: Summed<'a, T>,
    ) -> Result<Self, Error> {
        let n = shard.rows.len();
        let chunk = shard.chunk_steps().min(shard.offsets.len() - 1) * n;
        let if_projected = |rows: usize| if shape.projected { rows } else { 0 };
        let lag = if lags.is_some() { shape.row() + shape.state_stride } else { 0 };
        let what = "gradients";
        Ok(PassWork {
            d_slots: dirty_rows(chunk, shape.row(), what)?,
            d_projected: dirty_rows(if_projected(chunk), shape.state_stride, what)?,
            step: dirty_rows(n, shape.stride, what)?,
            cell: dirty_rows(1, cell_scratch, what)?,
            lag: dirty_rows(n, lag, what)?,
            gradients,
        })
    }

    pub fn split(&mut self, shape: &Shape) -> (PassScratch<'_, T>, WeightGradients<'_, T>) {
        let scratch = PassScratch {
            d_slots: &mut self.d_slots,
            d_projected: &mut self.d_projected,
            step: Scratch { row: &mut self.step, cell: &mut self.cell },
            lag: &mut self.lag,
        };
        (scratch, self.gradients.split(shape))
    }
}

/// Numbers in their last place, or apart.
enum Flat<'a, T: Real> {
    There(&'a mut [T]),
    Apart(Buffer<T>),
}

impl<T: Real> Deref for Flat<'_, T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            Flat::There(numbers) => numbers,
            Flat::Apart(numbers) => numbers,
        }
    }
}

impl<T: Real> DerefMut for Flat<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Flat::There(numbers) => numbers,
            Flat::Apart(numbers) => numbers,
        }
    }
}

/// Gradients of the parameters of one layer in one direction, summed over the rows of a shard.
///
/// A matrix is summed either by value, in `sums`, or by unit, in `flat`: then it need not be transposed at the end,
/// which for few rows took half the time of their way back.
pub(crate) struct Summed<'a, T: Real> {
    sums: Sums<T>,
    /// All parameters in PyTorch's layout; empty where nobody needs them.
    flat: Flat<'a, T>,
}

/// Steps times rows of the batch up to which matrices are summed by unit. Many rows sum as fast by value or
/// faster (512 × 512: 102 GFLOP/s, not 90), and what happens once at the end does not tell then.
const FEW_ROWS: usize = 256;

/// Whether a matrix of so many columns is summed by unit.
///
/// Columns are lanes then. What is left over of them is summed row by row: that must not take longer than the
/// transposition.
fn by_unit<T: Real>(columns: usize, rows: usize) -> bool {
    columns >= T::PAD && (columns.is_multiple_of(T::PAD) && rows <= FEW_ROWS || 4 * rows <= columns)
}

impl<'a, T: Real> Summed<'a, T> {
    /// No sums yet. `rows` are those of the whole batch at all steps, for all shards must choose alike; `there` is where
    /// the gradients go, zeros in PyTorch's layout, for the shard that may write there.
    pub fn new(
        config: &Config,
        layer: usize,
        shape: &Shape,
        rows: usize,
        there: Option<&'a mut [T]>,
    ) -> Result<Self, Error> {
        let by_value = |columns| if by_unit::<T>(columns, rows) { 0 } else { columns };
        let sums = Sums::new(shape, by_value)?;
        let flat = match there {
            Some(there) => Flat::There(there),
            None => {
                let all: usize = config.layer_parameters(layer, false).map(|p| p.len()).sum();
                let any = sums.input.is_empty() || sums.state.is_empty();
                let any = any || shape.projected && sums.projection.is_empty();
                Flat::Apart(Buffer::zeros(if any { all } else { 0 }, "gradients")?)
            }
        };
        Ok(Summed { sums, flat })
    }

    fn split(&mut self, shape: &Shape) -> WeightGradients<'_, T> {
        let Sums { input, state, maps, projection, bias } = &mut self.sums;
        let blocks = |count: usize| if self.flat.is_empty() { 0 } else { count * shape.hidden };
        let (ih, hh) = (blocks(shape.layout.maps_of_x()), blocks(shape.layout.maps_of_h()));
        let (w_ih, rest) = self.flat.split_at_mut(ih * shape.input);
        let (w_hh, rest) = rest.split_at_mut(hh * shape.state);
        // W_hr stands behind all others.
        let w_hr = if shape.projected { shape.state * shape.hidden } else { 0 };
        let (_, w_hr) = rest.split_at_mut(rest.len().saturating_sub(w_hr));
        WeightGradients {
            input: sum(input, w_ih),
            state: if maps.is_empty() { sum(state, w_hh) } else { Sum::ByValue(state) },
            maps,
            projection: sum(projection, w_hr),
            bias,
        }
    }

    /// Adds `others`, one after another.
    pub fn add(&mut self, others: &[&Self]) {
        let Summed { sums, flat } = self;
        macro_rules! add {
            ($($sum:expr, $($part:ident).*;)*) => {$(
                batch::fill($sum, PIECE, |i, sum| {
                    for other in others {
                        for (sum, &g) in sum.iter_mut().zip(&other.$($part).*[i * PIECE..]) {
                            *sum += g;
                        }
                    }
                });
            )*};
        }
        add! {
            &mut sums.input, sums.input;
            &mut sums.state, sums.state;
            &mut sums.maps, sums.maps;
            &mut sums.projection, sums.projection;
            &mut sums.bias, sums.bias;
        }
        if others.iter().any(|other| !other.flat.is_empty()) {
            add! { flat, flat; }
        }
    }

    /// Fills in what was summed by value.
    pub fn unpack(&mut self, config: &Config, layer: usize, shape: &Shape) {
        let mut to = &mut *self.flat;
        for parameter in config.layer_parameters(layer, false) {
            let own;
            (own, to) = to.split_at_mut(parameter.len());
            let sums = match parameter.role {
                Role::WeightIh => &self.sums.input,
                Role::WeightHh => &self.sums.state,
                Role::WeightHr => &self.sums.projection,
                Role::BiasIh | Role::BiasHh | Role::WeightP => &self.sums.bias,
            };
            if !sums.is_empty() || parameter.role == Role::WeightHh && !self.sums.maps.is_empty() {
                self.sums.unpack_one(&parameter, shape, own);
            }
        }
    }
}

fn sum<'a, T: Real>(by_value: &'a mut Buffer<T>, by_unit: &'a mut [T]) -> Sum<'a, T> {
    if by_value.is_empty() { Sum::ByUnit(by_unit) } else { Sum::ByValue(by_value) }
}

/// Sums of gradients by value: see [`Sum`].
pub(crate) struct Sums<T: Real> {
    pub input: Buffer<T>,
    pub state: Buffer<T>,
    /// Maps of values, one after another.
    pub maps: Buffer<T>,
    pub projection: Buffer<T>,
    pub bias: Buffer<T>,
}

impl<T: Real> Sums<T> {
    /// `by_value`: which of so many columns of a matrix are to be there, all or none.
    fn new(shape: &Shape, by_value: impl Fn(usize) -> usize) -> Result<Self, Error> {
        let layout = &shape.layout;
        let gates = |count: usize| shape.apart(count * shape.stride);
        let maps = layout.maps().len() * by_value(shape.hidden);
        let projected = if shape.projected { by_value(shape.hidden) } else { 0 };
        let what = "gradients";
        Ok(Sums {
            input: rows(by_value(shape.input), gates(layout.x_slots().count), what)?,
            state: rows(by_value(shape.state), gates(layout.h_slots().count), what)?,
            maps: rows(maps, gates(1), what)?,
            projection: rows(projected, shape.apart(shape.state_stride), what)?,
            bias: rows(1, shape.row(), what)?,
        })
    }

    /// The sum of one parameter in PyTorch's layout.
    pub fn unpack_one(&self, parameter: &Parameter, shape: &Shape, own: &mut [T]) {
        let (hidden, columns, layout) = (shape.hidden, parameter.columns, &shape.layout);
        let of_slot = |slot: usize| &self.bias[slot * shape.stride..][..hidden];
        let fed = layout.slots();
        let (sums, blocks) = match parameter.role {
            Role::WeightIh => (&self.input, layout.x_blocks()),
            Role::WeightHh => (&self.state, layout.h_blocks()),
            Role::WeightHr => {
                let row = shape.apart(shape.state_stride);
                transpose(own, columns, parameter.rows, &self.projection, row, 0);
                return;
            }
            Role::BiasIh | Role::BiasHh | Role::WeightP => {
                for (block, own) in own.chunks_mut(hidden).enumerate() {
                    own.copy_from_slice(of_slot(match parameter.role {
                        Role::BiasIh => layout.x_slot(block),
                        Role::BiasHh => layout.h_slot(block),
                        _ => fed + block,
                    }));
                }
                return;
            }
        };
        let size = hidden * columns;
        for (slot, &block) in blocks.iter().enumerate() {
            let row = shape.apart(blocks.len() * shape.stride);
            transpose(
                &mut own[block as usize * size..][..size],
                columns,
                hidden,
                sums,
                row,
                slot * shape.stride,
            );
        }
        if parameter.role == Role::WeightHh {
            let row = shape.apart(shape.stride);
            for (i, map) in layout.maps().iter().enumerate() {
                let sums = &self.maps[i * hidden * row..];
                transpose(
                    &mut own[map.block as usize * size..][..size],
                    columns,
                    hidden,
                    sums,
                    row,
                    0,
                );
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
