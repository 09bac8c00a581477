//! c after a step, which a tape does not hold.

use super::{Step, lstm};
use crate::gates::CellKind;
use crate::kernel::shape::Shape;
use crate::real::Real;
use crate::simd::{Kernel, Simd};

/// c after the steps of any number of rows, out of what their tape holds.
pub struct CellState<'a, T> {
    /// Sizes of an LSTM.
    pub shape: &'a Shape,
    /// Rows.
    pub rows: usize,
    /// Their gates, and c before the step.
    pub step: Step<'a, T>,
    /// Gets c, rows of `shape.stride`.
    pub c: &'a mut [T],
}

impl<T: Real> Kernel<T> for CellState<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Self { shape, rows, step, c } = self;
        let (n, row) = (shape.stride, shape.row());
        for r in 0..rows {
            let (gates, before) = (&step.gates[r * row..][..row], &step.c[r * n..][..n]);
            let c = &mut c[r * n..][..n];
            if let CellKind::Lstm { forget_gate: false } = shape.kind {
                lstm::cell_row::<T, S, false>(s, n, gates, n, before, c);
            } else {
                lstm::cell_row::<T, S, true>(s, n, gates, n, before, c);
            }
        }
    }
}
