//! One step back for any rows: what [`Backward`](super::Backward) does in time, without the time.

use crate::cell::{self, Projection, Step};
use crate::kernel::shape::{RunTime, Shape, Transposed};
use crate::math::Math;
use crate::real::Real;
use crate::simd::{Kernel, Simd};

/// Cotangents of states, each pulled back through a step of its own: the product with that step's Jacobian from the
/// left. Rows know nothing of one another; which step a row belongs to is a matter of what stands in `step`.
pub struct PullBack<'a, T, M> {
    /// Sizes.
    pub shape: &'a Shape,
    /// Packed transposed weights.
    pub weights: Transposed<'a, T>,
    /// Which activations.
    pub math: M,
    /// Rows.
    pub rows: usize,
    /// What the tape holds of each row's step.
    pub step: Step<'a, T>,
    /// From the cotangents of h after the step to those of h before it.
    pub d_h: &'a mut [T],
    /// Of c.
    pub d_c: &'a mut [T],
    /// Gets the derivatives by the pre-activations.
    pub d_gates: &'a mut [T],
    /// Rows as c's.
    pub scratch: &'a mut [T],
    /// Where h is projected: what the projection's gradient needs.
    pub projection: Option<Projection<'a, T>>,
}

impl<T: Real, M: Math> Kernel<T> for PullBack<'_, T, M> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Self { shape, weights, math, rows, step, d_h, d_c, d_gates, scratch, .. } = self;
        if rows > 0 {
            cell::backward::<T, S, M, RunTime>(
                s,
                math,
                shape,
                &weights,
                rows,
                step,
                d_h,
                d_c,
                d_gates,
                scratch,
                self.projection,
            );
        }
    }
}
