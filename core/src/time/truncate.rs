//! Back-propagation cut off at exactly K lags: the mirror of a step, once for every loss still carried.

use super::{Backward, Rows};
use crate::cell;
use crate::cell::elementwise::Elementwise;
use crate::kernel::plan::RunTime;
use crate::kernel::states::{States, StatesMut};
use crate::real::Real;
use crate::simd::Simd;

/// Truncation at K lags: the derivative of each step's loss is carried apart from the others'.
#[derive(Clone, Copy)]
pub struct Truncation<'a, T> {
    /// K.
    pub lags: usize,
    /// Rows of the batch.
    pub batch: usize,
    /// Derivative by the final states, all rows; it enters at each row's last step.
    pub d_final: States<'a, T>,
}

impl<T: Real> Truncation<'_, T> {
    /// How many rows have losses that are dropped: those of more than K + 1 steps, which stand first. For the others
    /// nothing is cut off, whatever the batch; they go back as without truncation, in the first slot.
    #[must_use]
    pub fn cut_off(rows: Rows<'_>, lags: usize) -> usize {
        rows.count(lags.saturating_add(1))
    }
}

impl<T: Real> Backward<'_, T> {
    /// A step with the losses' derivatives apart: the loss of step t is carried in slot t mod (K + 1), from
    /// which it is dropped after K more steps back. A step's derivatives by the pre-activations are the sum over the
    /// slots, the latest loss last.
    #[inline(always)]
    pub(super) fn truncated_step<S: Simd<T>, E: Elementwise<T>>(
        &mut self,
        s: S,
        cell: &E,
        t: usize,
    ) {
        let Some(Truncation { lags, batch, d_final }) = self.truncation else { return };
        let (pass, shape) = (self.pass, self.pass.shape);
        let at = pass.rows.offsets[t] - pass.rows.range(&self.window).start;
        let (row, len) = (shape.row(), shape.states_len(batch));
        let cut_off = Truncation::<T>::cut_off(pass.rows, lags).min(pass.rows.count(t));
        for lag in 0..=lags {
            let loss = if pass.reverse { t.checked_sub(lag) } else { t.checked_add(lag) };
            // A row that has ended has no such loss.
            let n = loss.map_or(0, |loss| cut_off.min(pass.rows.count(loss)));
            let Some(loss) = loss.filter(|_| n > 0) else { break };
            let scratch = &mut self.scratch;
            let data = &mut self.carry.data[loss % (lags + 1) * len..][..len];
            let mut d_states = StatesMut { data, rows: batch, first: 0 };
            if lag == 0 {
                for b in 0..n {
                    let last = pass.is_last(t, b);
                    for state in 0..shape.layout.states() {
                        let own = d_states.of(shape, state, b..b + 1);
                        // A new loss enters its slot: nothing but, at the row's last step, the derivative by the
                        // final state.
                        if last {
                            own.copy_from_slice(&d_final.from(b).of(shape, state)[..own.len()]);
                        } else {
                            own.fill(T::ZERO);
                        }
                    }
                }
                let (offsets, start) = (pass.rows.offsets, self.window.start);
                self.d_y.add_to(d_states.of(shape, 0, 0..n), shape, offsets, start, t, 0..n);
            }
            let (lag_slots, lag_projected) = scratch.lag.split_at_mut(batch * row);
            cell::backward::<T, S, E, RunTime>(
                s,
                cell,
                shape,
                &self.weights,
                n,
                self.tape.step(shape, at),
                &mut d_states,
                lag_slots,
                &mut scratch.step,
                lag_projected,
            );
            sum(&mut scratch.d_slots[at * row..][..n * row], lag_slots, lag == 0);
            if shape.projected {
                let values = n * shape.state_stride;
                let d_projected = &mut scratch.d_projected[at * shape.state_stride..][..values];
                sum(d_projected, lag_projected, lag == 0);
            }
            pass.cut(shape, t, 0..n, &mut d_states);
        }
        if cut_off < pass.rows.count(t) {
            self.step::<S, E, RunTime>(s, cell, shape, t, cut_off, None);
        }
    }
}

#[inline(always)]
fn sum<T: Real>(to: &mut [T], from: &[T], first: bool) {
    for (to, &from) in to.iter_mut().zip(from) {
        *to = if first { from } else { *to + from };
    }
}
