//! Back-propagation cut off at exactly K lags: the mirror of a step, once for every loss still carried.

use super::{Backward, Rows, add_d_y, step_at};
use crate::cell::{self, Projection};
use crate::kernel::shape::RunTime;
use crate::math::Math;
use crate::real::Real;
use crate::simd::Simd;

/// Truncation at K lags: the derivative of each step's loss is carried apart from the others'.
#[derive(Clone, Copy)]
pub struct Truncation<'a, T> {
    /// K.
    pub lags: usize,
    /// Rows of the batch.
    pub batch: usize,
    /// Derivative by the final h, all rows; it enters at each row's last step.
    pub d_final_h: &'a [T],
    /// By the final c.
    pub d_final_c: &'a [T],
}

impl<T: Real> Truncation<'_, T> {
    /// How many rows have losses that are dropped: those of more than K + 1 steps, which stand first. For the others
    /// nothing is cut off, whatever the batch; they go back as without truncation, in the first slot.
    #[must_use]
    pub fn cut_off(rows: Rows<'_>, lags: usize) -> usize {
        rows.count(lags.saturating_add(1))
    }
}

impl<T: Real, M: Math> Backward<'_, T, M> {
    /// A step with the losses' derivatives apart: the loss of step t is carried in slot t mod (K + 1), from
    /// which it is dropped after K more steps back. A step's derivatives by the pre-activations are the sum over the
    /// slots, the latest loss last.
    #[inline(always)]
    pub(super) fn truncated_step<S: Simd<T>>(&mut self, s: S, t: usize, first_row: usize) {
        let Some(Truncation { lags, batch, d_final_h, d_final_c }) = self.truncation else {
            return;
        };
        let (pass, shape) = (self.pass, self.pass.shape);
        let at = pass.rows.offsets[t] - first_row;
        let row = shape.row();
        let cut_off = Truncation::<T>::cut_off(pass.rows, lags).min(pass.rows.count(t));
        for lag in 0..=lags {
            let loss = if pass.reverse { t.checked_sub(lag) } else { t.checked_add(lag) };
            // A row that has ended has no such loss.
            let n = loss.map_or(0, |loss| cut_off.min(pass.rows.count(loss)));
            let Some(loss) = loss.filter(|_| n > 0) else { break };
            let slot = loss % (lags + 1);
            let step = step_at(self.tape, shape, at);
            let scratch = &mut self.scratch;
            let d_h =
                &mut self.carry.d_h[slot * batch * shape.state_stride..][..n * shape.state_stride];
            let c_len = if self.carry.d_c.is_empty() { 0 } else { shape.stride };
            let d_c = &mut self.carry.d_c[slot * batch * c_len..][..n * c_len];
            if lag == 0 {
                for b in 0..n {
                    let last = pass.is_last(t, b);
                    enter(d_h, d_final_h, b, shape.state_stride, last);
                    enter(d_c, d_final_c, b, c_len, last);
                }
                add_d_y(d_h, shape, self.d_y, at, n);
            }
            let (lag_gates, lag_projected) = scratch.lag.split_at_mut(batch * row);
            let projection = shape.projected.then(|| Projection {
                d_projected: lag_projected,
                m: &mut scratch.m[at * shape.stride..],
            });
            cell::backward::<T, S, M, RunTime>(
                s,
                self.math,
                shape,
                &self.weights,
                n,
                step,
                d_h,
                d_c,
                lag_gates,
                scratch.step,
                projection,
            );
            sum(&mut scratch.d_gates[at * row..][..n * row], lag_gates, lag == 0);
            if shape.projected {
                let values = n * shape.state_stride;
                let d_projected = &mut scratch.d_projected[at * shape.state_stride..][..values];
                sum(d_projected, lag_projected, lag == 0);
            }
            pass.cut(t, 0..n, d_h, shape.state_stride);
            pass.cut(t, 0..n, d_c, shape.stride);
        }
        if cut_off < pass.rows.count(t) {
            self.step::<S, RunTime>(s, t, first_row, cut_off);
        }
    }
}

/// A new loss enters its slot: nothing but, at the row's last step, the derivative by the final state.
#[inline(always)]
fn enter<T: Real>(slot: &mut [T], d_final: &[T], b: usize, stride: usize, last: bool) {
    let range = b * stride..(b + 1) * stride;
    if last {
        slot[range.clone()].copy_from_slice(&d_final[range]);
    } else {
        slot[range].fill(T::ZERO);
    }
}

#[inline(always)]
fn sum<T: Real>(to: &mut [T], from: &[T], first: bool) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = if first { from } else { *to + from };
    }
}
