//! Work over many rows at once, after the steps: gradients of weights and inputs.

use super::step::product;
use crate::kernel::layout::Slots;
use crate::kernel::plan::{Plan, ROWS, RunTime};
use crate::kernel::product::{Product, Start, Strides};
use crate::kernel::shape::Shape;
use crate::laps::{Part, lap};
use crate::real::Real;
use crate::simd::{Extent, Kernel, Lhs, Rhs, Simd};

/// Where the gradient of a matrix is summed up, in one of two layouts. The sums are the same to the last bit.
pub enum Sum<'a, T> {
    /// A row for each value that multiplies, the gates' units side by side as in the gate buffer.
    ByValue(&'a mut [T]),
    /// As PyTorch has the matrix: a row for each gate and unit.
    ByUnit(&'a mut [T]),
}

/// Gradients of one layer in one direction as they are summed up.
pub struct WeightGradients<'a, T> {
    /// d_w_ih: by value (input, the slots that x feeds).
    pub input: Sum<'a, T>,
    /// d_w_hh: by value (state, the slots that h feeds); by unit all of it, maps of values too.
    pub state: Sum<'a, T>,
    /// Maps of values, where d_w_hh is summed by value: each (hidden, one slot).
    pub maps: &'a mut [T],
    /// d_w_hr: by value (hidden, state stride).
    pub projection: Sum<'a, T>,
    /// Sums of `d_slots`: one row.
    pub bias: &'a mut [T],
}

/// What the derivatives by the pre-activations of a chunk of rows, once all are known, give to the rest:
/// derivatives by x, and gradients by the parameters, which are added up.
pub struct Chunk<'a, T> {
    /// Sizes.
    pub shape: &'a Shape,
    /// Rows.
    pub rows: usize,
    /// x of each row, so far apart.
    pub x: (&'a [T], usize),
    /// h before the step.
    pub h: &'a [T],
    /// The gate buffer.
    pub slots: &'a [T],
    /// Derivatives by the pre-activations, and by the units' own parameters.
    pub d_slots: &'a [T],
    /// Where h is projected: the total derivative by h, and what it is projected from.
    pub projected: Option<(&'a [T], &'a [T])>,
    /// W_ihᵀ; a tile stride of 0 stands for tiles that adjoin.
    pub input: Rhs<'a, T>,
    /// Gets the derivatives by x; nothing if empty.
    pub d_x: &'a mut [T],
    /// Whether to add them to what stands there.
    pub add_d_x: bool,
    /// Gradients, added to.
    pub gradients: WeightGradients<'a, T>,
}

impl<T: Real> Kernel<T> for Chunk<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        self.sum::<S, RunTime>(s);
    }
}

impl<T: Real> Chunk<'_, T> {
    /// The work, of a layer of which so much is known.
    #[inline(always)]
    pub fn sum<S: Simd<T>, P: Plan>(self, s: S) {
        let Chunk { shape, rows, x: (x, x_row), h, slots, d_slots, projected, input, .. } = self;
        let (d_x, mut g) = (self.d_x, self.gradients);
        if rows == 0 {
            return;
        }
        if !d_x.is_empty() {
            d_input::<T, S, P>(
                s,
                shape,
                Rhs { tile: input.tile.max(S::LANES), ..input },
                rows,
                d_slots,
                d_x,
                self.add_d_x,
            );
            lap(Part::DerivativeInput);
        }
        let (stride, row, layout) = (shape.stride, shape.row(), &shape.layout);
        let from = |first: usize, blocks| {
            let from = &d_slots[(first * stride).min(d_slots.len())..];
            Right { from, row, blocks, units: shape.hidden, stride }
        };
        let x = (x, x_row, shape.input);
        weight::<T, S, P>(
            s,
            shape,
            x,
            from(layout.x_slots().first, layout.x_blocks()),
            rows,
            &mut g.input,
        );
        let h = (h, shape.state_stride, shape.state);
        weight::<T, S, P>(
            s,
            shape,
            h,
            from(layout.h_slots().first, layout.h_blocks()),
            rows,
            &mut g.state,
        );
        for (i, map) in layout.maps().iter().enumerate() {
            let value = (&slots[map.value as usize * stride..], row, shape.hidden);
            let right = from(map.to as usize, core::slice::from_ref(&map.block));
            match &mut g.state {
                Sum::ByUnit(_) => weight::<T, S, P>(s, shape, value, right, rows, &mut g.state),
                Sum::ByValue(_) => {
                    let len = shape.hidden * shape.apart(stride);
                    let own = &mut g.maps[i * len..(i + 1) * len];
                    weight::<T, S, P>(s, shape, value, right, rows, &mut Sum::ByValue(own));
                }
            }
        }
        if let Some((d_projected, m)) = projected {
            let m = (m, stride, shape.hidden);
            let (row, stride) = (shape.state_stride, shape.state_stride);
            let d = Right { from: d_projected, row, blocks: &[0], units: shape.state, stride };
            weight::<T, S, P>(s, shape, m, d, rows, &mut g.projection);
        }
        let planes = layout.slots() + layout.parameters();
        outer::<T, S, P>(s, shape, (&[T::ONE], 0, 1), (d_slots, row, planes, stride), rows, g.bias);
        lap(Part::Gradients);
    }
}

/// Derivatives by slots: rows, how far they are apart; which row block of PyTorch's matrix each slot's are; the units of a
/// slot, and from one slot to the next.
struct Right<'a, T> {
    from: &'a [T],
    row: usize,
    blocks: &'a [u8],
    units: usize,
    stride: usize,
}

/// Adds Σ_rows left ⊗ right to `out`.
#[inline(always)]
fn weight<T: Real, S: Simd<T>, P: Plan>(
    s: S,
    shape: &Shape,
    left: (&[T], usize, usize),
    right: Right<'_, T>,
    rows: usize,
    out: &mut Sum<'_, T>,
) {
    let Right { from, row: right_row, blocks, units, stride } = right;
    let out = match out {
        Sum::ByValue(out) => {
            return outer::<T, S, P>(
                s,
                shape,
                left,
                (from, right_row, blocks.len(), stride),
                rows,
                out,
            );
        }
        Sum::ByUnit(out) => out,
    };
    let (left, left_row, values) = left;
    for (slot, &block) in blocks.iter().enumerate() {
        product::<T, S, P, ROWS>(
            s,
            1,
            Product {
                rows: units,
                units: values,
                lhs: Lhs { data: &from[slot * stride..], row: 1, step: right_row, segment: 0 },
                rhs: Rhs { data: left, step: left_row, tile: S::LANES, gate: 0 },
                extent: Extent { segments: 1, steps: rows },
                chains: 1,
                start: Start::Added,
                turn: false,
                out: &mut out[block as usize * units * values..],
                strides: Strides { row: values, tile: S::LANES, gate: 0 },
            },
        );
    }
}

/// Adds Σ_rows left ⊗ right to `out`: (values of left, slots of right).
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn outer<T: Real, S: Simd<T>, P: Plan>(
    s: S,
    shape: &Shape,
    (left, left_row, values): (&[T], usize, usize),
    (right, right_row, slots, stride): (&[T], usize, usize, usize),
    rows: usize,
    out: &mut [T],
) {
    if rows == 0 || slots == 0 {
        return;
    }
    // A constant as left operand (the biases) does not move from value to value.
    let row = usize::from(left_row > 0);
    // All slots are one run of units: a tile's vectors then adjoin in memory. As one vector of each gate they
    // would lie in as many lines, of which AVX2 uses half at a time (ran at 59 GFLOP/s instead of 77).
    let units = slots * stride;
    product::<T, S, P, ROWS>(
        s,
        1,
        Product {
            rows: values,
            units,
            lhs: Lhs { data: left, row, step: left_row, segment: 0 },
            rhs: Rhs { data: right, step: right_row, tile: S::LANES, gate: 0 },
            extent: Extent { segments: 1, steps: rows },
            chains: 1,
            start: Start::Added,
            turn: false,
            out,
            strides: Strides { row: shape.apart(units), tile: S::LANES, gate: 0 },
        },
    );
}

/// The derivative by x of any number of rows at once: W_ihᵀ d_slots, added to `d_x` where `add`.
#[inline(always)]
fn d_input<T: Real, S: Simd<T>, P: Plan>(
    s: S,
    shape: &Shape,
    rhs: Rhs<'_, T>,
    rows: usize,
    d_slots: &[T],
    d_x: &mut [T],
    add: bool,
) {
    let Slots { first, count } = shape.layout.x_slots();
    product::<T, S, P, ROWS>(
        s,
        1,
        Product {
            rows,
            units: shape.input_stride,
            lhs: Lhs {
                data: &d_slots[first * shape.stride..],
                row: shape.row(),
                step: 1,
                segment: shape.stride,
            },
            rhs,
            extent: Extent { segments: count, steps: shape.hidden },
            chains: 1,
            start: if add { Start::Added } else { Start::Zero },
            turn: false,
            out: d_x,
            strides: Strides { row: shape.input_stride, tile: S::LANES, gate: 0 },
        },
    );
}

/// The derivative by x of any number of rows at once, alone.
pub struct InputDerivative<'a, T> {
    /// Sizes.
    pub shape: &'a Shape,
    /// Rows.
    pub rows: usize,
    /// Derivatives by the pre-activations.
    pub d_slots: &'a [T],
    /// W_ihᵀ.
    pub input: Rhs<'a, T>,
    /// Gets the derivatives by x, rows of the shape's `input_stride`.
    pub d_x: &'a mut [T],
}

impl<T: Real> Kernel<T> for InputDerivative<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Self { shape, rows, d_slots, input, d_x } = self;
        if rows > 0 {
            let input = Rhs { tile: input.tile.max(S::LANES), ..input };
            d_input::<T, S, RunTime>(s, shape, input, rows, d_slots, d_x, false);
        }
    }
}

/// A sum of outer products over rows, alone: of what multiplies a weight and the derivatives by the
/// pre-activations it goes into.
pub struct Outer<'a, T> {
    /// Sizes.
    pub shape: &'a Shape,
    /// Rows.
    pub rows: usize,
    /// What multiplies: rows, how far they are apart (0: one row for all), how many values of each.
    pub left: (&'a [T], usize, usize),
    /// Derivatives: rows, how far they are apart, slots, and from one slot to the next.
    pub right: (&'a [T], usize, usize, usize),
    /// Gets the sum, added, as in [`Sum::ByValue`].
    pub out: &'a mut [T],
}

impl<T: Real> Kernel<T> for Outer<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Self { shape, rows, left, right, out } = self;
        outer::<T, S, RunTime>(s, shape, left, right, rows, out);
    }
}
