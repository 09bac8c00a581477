//! Work over many rows at once, after the steps: gradients of weights and inputs.

use super::step::product;
use crate::kernel::product::{Product, Start, Strides};
use crate::kernel::shape::{OUTER, RunTime, Shape, Slots, gru_slots};
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
    /// d_w_ih: by value (input, slots of `input_slots`).
    pub input: Sum<'a, T>,
    /// d_w_hh: by value (state, slots of `state_slots`); where the GRU resets before the product, without d_w_hn.
    pub state: Sum<'a, T>,
    /// d_w_hn there: by value (hidden, one slot).
    pub new: Sum<'a, T>,
    /// d_w_hr: by value (hidden, state stride).
    pub projection: Sum<'a, T>,
    /// Sums of `d_gates`: one row.
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
    /// Activated gates.
    pub gates: &'a [T],
    /// Derivatives by the pre-activations.
    pub d_gates: &'a [T],
    /// Where h is projected: total derivative by h, and o ⊙ tanh(c).
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
        let Chunk { shape, rows, x: (x, x_row), h, gates, d_gates, projected, input, .. } = self;
        let (d_x, g) = (self.d_x, self.gradients);
        if rows == 0 {
            return;
        }
        if !d_x.is_empty() {
            d_input(
                s,
                shape,
                Rhs { tile: input.tile.max(S::LANES), ..input },
                rows,
                d_gates,
                d_x,
                self.add_d_x,
            );
        }
        let (stride, row) = (shape.stride, shape.row());
        let from_slot = |slot: usize| &d_gates[(slot * stride).min(d_gates.len())..];
        let from = |slots: Slots, order| (from_slot(slots.first), row, order, shape.hidden, stride);
        let x = (x, x_row, shape.input);
        weight(s, shape, x, from(shape.input_slots(), shape.input_gates()), rows, g.input);
        let h = (h, shape.state_stride, shape.state);
        weight(s, shape, h, from(shape.state_slots(), shape.state_gates()), rows, g.state);
        if shape.resets_before() {
            let reset_h = (gates, row, shape.hidden);
            let slot = Slots { first: gru_slots::NEW, count: 1 };
            weight(s, shape, reset_h, from(slot, &[0]), rows, g.new);
        }
        if let Some((d_projected, m)) = projected {
            let m = (m, stride, shape.hidden);
            let d = (d_projected, shape.state_stride, &[0][..], shape.state, shape.state_stride);
            weight(s, shape, m, d, rows, g.projection);
        }
        outer(s, shape, (&[T::ONE], 0, 1), (d_gates, row, shape.slots(), stride), rows, g.bias);
    }
}

/// Adds Σ_rows left ⊗ right to `out`. `order` tells which rows of PyTorch's matrix (in gates) each slot's are.
#[inline(always)]
#[allow(clippy::type_complexity)]
fn weight<T: Real, S: Simd<T>>(
    s: S,
    shape: &Shape,
    left: (&[T], usize, usize),
    (right, right_row, order, units, stride): (&[T], usize, &[usize], usize, usize),
    rows: usize,
    out: Sum<'_, T>,
) {
    let out = match out {
        Sum::ByValue(out) => {
            return outer(s, shape, left, (right, right_row, order.len(), stride), rows, out);
        }
        Sum::ByUnit(out) => out,
    };
    let (left, left_row, values) = left;
    for (slot, &gate) in order.iter().enumerate() {
        product::<T, S, RunTime, OUTER>(
            s,
            1,
            Product {
                rows: units,
                units: values,
                lhs: Lhs { data: &right[slot * stride..], row: 1, step: right_row, segment: 0 },
                rhs: Rhs { data: left, step: left_row, tile: S::LANES, gate: 0 },
                extent: Extent { segments: 1, steps: rows },
                chains: 1,
                start: Start::Added,
                turn: false,
                out: &mut out[gate * units * values..],
                strides: Strides { row: values, tile: S::LANES, gate: 0 },
            },
        );
    }
}

/// Adds Σ_rows left ⊗ right to `out`: (values of left, slots of right).
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn outer<T: Real, S: Simd<T>>(
    s: S,
    shape: &Shape,
    (left, left_row, values): (&[T], usize, usize),
    (right, right_row, slots, stride): (&[T], usize, usize, usize),
    rows: usize,
    out: &mut [T],
) {
    if rows == 0 {
        return;
    }
    // A constant as left operand (the biases) does not move from value to value.
    let row = usize::from(left_row > 0);
    // All slots are one run of units: a tile's vectors then adjoin in memory. As one vector of each gate they
    // would lie in as many lines, of which AVX2 uses half at a time (ran at 59 GFLOP/s instead of 77).
    let units = slots * stride;
    product::<T, S, RunTime, OUTER>(
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

/// The derivative by x of any number of rows at once: W_ihᵀ d_gates, added to `d_x` where `add`.
#[inline(always)]
fn d_input<T: Real, S: Simd<T>>(
    s: S,
    shape: &Shape,
    rhs: Rhs<'_, T>,
    rows: usize,
    d_gates: &[T],
    d_x: &mut [T],
    add: bool,
) {
    let Slots { first, count } = shape.input_slots();
    product::<T, S, RunTime, OUTER>(
        s,
        1,
        Product {
            rows,
            units: shape.input_stride,
            lhs: Lhs {
                data: &d_gates[first * shape.stride..],
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
    pub d_gates: &'a [T],
    /// W_ihᵀ.
    pub input: Rhs<'a, T>,
    /// Gets the derivatives by x, rows of the shape's `input_stride`.
    pub d_x: &'a mut [T],
}

impl<T: Real> Kernel<T> for InputDerivative<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Self { shape, rows, d_gates, input, d_x } = self;
        if rows > 0 {
            let input = Rhs { tile: input.tile.max(S::LANES), ..input };
            d_input(s, shape, input, rows, d_gates, d_x, false);
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
        outer(s, shape, left, right, rows, out);
    }
}
