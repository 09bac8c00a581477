//! What a layer looks like to the kernels: sizes, how buffers are laid out, views of weights.

use super::layout::Layout;
use crate::real::Real;
use crate::simd::{Float16, Full, Int8, Rhs, Weight};

/// Sizes of one layer in one direction, and how its buffers are laid out.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// The cell.
    pub layout: Layout,
    /// Values of x.
    pub input: usize,
    /// Hidden units H.
    pub hidden: usize,
    /// Values of h: H, or fewer with projection.
    pub state: usize,
    /// Whether h is a projection of what the cell gives.
    pub projected: bool,
    /// From one slot of the gate buffer to the next, and from one row of a state but h: H, padded or not.
    pub stride: usize,
    /// From one row of h to the next.
    pub state_stride: usize,
    /// From one row of the derivative by x to the next.
    pub input_stride: usize,
    /// Values in a cache line, where rows may stand apart from one another: see [`apart`](Self::apart); 0
    /// where they must adjoin.
    pub line: usize,
}

impl Shape {
    /// Of a layer of a run-time network, in numbers of type `T`.
    #[cfg(feature = "alloc")]
    pub(crate) fn of<T: Real>(
        layout: &Layout,
        config: &crate::gates::Config,
        layer: usize,
    ) -> Self {
        let input = config.layer_input_size(layer);
        Shape {
            layout: *layout,
            input,
            hidden: config.hidden_size,
            state: config.state_size(),
            projected: config.proj_size > 0,
            stride: config.hidden_size.next_multiple_of(T::PAD),
            state_stride: config.state_size().next_multiple_of(T::PAD),
            input_stride: input.next_multiple_of(T::PAD),
            line: T::PAD,
        }
    }

    /// From one row of the gate buffer to the next.
    #[inline(always)]
    #[must_use]
    pub const fn row(&self) -> usize {
        self.apart(self.layout.planes() * self.stride)
    }

    /// How far apart rows of `len` values stand: a line more where they would otherwise begin at the same few
    /// places of every page. Values of one column would share a few sets of the caches, and drive one another out.
    #[inline(always)]
    #[must_use]
    pub const fn apart(&self, len: usize) -> usize {
        // A power of two: no division.
        let every = 16 * self.line;
        if every > 0 && len & (every - 1) == 0 { len + self.line } else { len }
    }

    /// From one row of a state to the next.
    #[inline(always)]
    #[must_use]
    pub const fn state_row(&self, state: usize) -> usize {
        if state == 0 { self.state_stride } else { self.stride }
    }

    /// Where the rows of a state begin in a buffer of so many rows of each, state after state.
    #[inline(always)]
    #[must_use]
    pub const fn state_at(&self, rows: usize, state: usize) -> usize {
        match state {
            0 => 0,
            _ => rows * (self.state_stride + (state - 1) * self.stride),
        }
    }

    /// The length of such a buffer.
    #[inline(always)]
    #[must_use]
    pub const fn states_len(&self, rows: usize) -> usize {
        self.state_at(rows, self.layout.states())
    }
}

/// The weights a forward step reads, lanes = units.
#[derive(Clone, Copy)]
pub struct Weights<'a, T: Real> {
    /// W_ih: steps = inputs.
    pub input: Rhs<'a, T>,
    /// W_hh: steps = values of h.
    pub state: Rhs<'a, T>,
    /// The maps of values, one after another.
    pub maps: Rhs<'a, T>,
    /// W_hr: steps = hidden units, lanes = values of h.
    pub projection: Rhs<'a, T>,
    /// A row of the gate buffer to start from.
    pub bias: &'a [T],
    /// The units' own parameters, each a run of units.
    pub parameters: &'a [T],
    /// Which way to walk: see [`Product::turn`](super::product::Product::turn).
    pub turn: bool,
    /// The maps of x and of h, smaller, for a single row, where they are stored so.
    pub small: Small<'a, T>,
}

impl<'a, T: Real> Weights<'a, T> {
    /// The maps of x and of h as they are.
    #[inline(always)]
    #[must_use]
    pub fn full(&self) -> Maps<'a, T, Full> {
        Maps {
            input: Stored { numbers: self.input.data, scales: &[] },
            state: Stored { numbers: self.state.data, scales: &[] },
        }
    }
}

/// Panels of a matrix as it is stored, and of its rows' scales.
#[derive(Clone, Copy)]
pub struct Stored<'a, T: Real, W: Weight<T>> {
    /// Its numbers.
    pub numbers: &'a [W::Stored],
    /// For each gate and unit, laid out as a matrix of one column.
    pub scales: &'a [W::Scale],
}

/// The maps of x and of h, as panels of units.
#[derive(Clone, Copy)]
pub struct Maps<'a, T: Real, W: Weight<T>> {
    /// W_ih.
    pub input: Stored<'a, T, W>,
    /// W_hh.
    pub state: Stored<'a, T, W>,
}

/// Maps that are stored smaller, if they are.
#[derive(Clone, Copy)]
pub enum Small<'a, T: Real> {
    /// They are not.
    None,
    /// In half of the bytes.
    Float16(Maps<'a, T, Float16>),
    /// In a quarter.
    Int8(Maps<'a, T, Int8>),
}

/// The transposed weights a backward step reads: lanes = what the forward steps were.
#[derive(Clone, Copy)]
pub struct Transposed<'a, T> {
    /// W_ihᵀ: steps = gates and units, in the order of the slots.
    pub input: Rhs<'a, T>,
    /// W_hhᵀ.
    pub state: Rhs<'a, T>,
    /// The maps of values, one after another.
    pub maps: Rhs<'a, T>,
    /// W_hrᵀ: steps = values of h, lanes = hidden units.
    pub projection: Rhs<'a, T>,
    /// The units' own parameters, each a run of units.
    pub parameters: &'a [T],
    /// Which way to walk, as [`Weights::turn`].
    pub turn: bool,
}
