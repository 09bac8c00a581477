//! Jacobians of recorded steps, and cotangents pulled back through them, without an allocator.

use super::{Back, Fixed, State, Tape, Variant};
use crate::error::Error;
use crate::real::Real;
use crate::time::Passes;
use crate::simd::Level;

/// The Jacobian of a step's state by the state before it, in blocks: row i is the derivative of the i-th value.
/// What concerns c is zero unless an LSTM's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jacobian<T, const H: usize> {
    /// ∂h'/∂h
    pub h_h: [[T; H]; H],
    /// ∂h'/∂c
    pub h_c: [[T; H]; H],
    /// ∂c'/∂h
    pub c_h: [[T; H]; H],
    /// ∂c'/∂c
    pub c_c: [[T; H]; H],
}

impl<T: Real, const H: usize> Jacobian<T, H> {
    /// All zero.
    #[must_use]
    pub const fn zeros() -> Self {
        let zeros = [[T::ZERO; H]; H];
        Jacobian { h_h: zeros, h_c: zeros, c_h: zeros, c_c: zeros }
    }
}

impl<T: Passes, V: Variant, const I: usize, const H: usize, const G: usize, const S: usize>
    Fixed<T, V, I, H, G, S>
{
    /// One step of back-propagation through step `t` of `tape`: `d_state` goes from a cotangent v of the state after it to
    /// vᵀ ∂s_t/∂s_{t−1}.
    ///
    /// # Errors
    /// `Length` where the tape has no such step.
    pub fn pull_back<const N: usize>(
        &self,
        tape: &mut Tape<T, I, H, G, S, N>,
        t: usize,
        d_state: &mut State<T, H>,
    ) -> Result<(), Error> {
        check(tape, t)?;
        tape.transpose(self);
        self.through(tape, t, d_state);
        Ok(())
    }

    /// The Jacobian of step `t` of `tape`, its input held fixed: ∂s_t/∂s_{t−1}, s being h, or an LSTM's (h, c).
    /// For a plain layer that is diag(σ') W_hh:
    ///
    /// ```
    /// use unrolled::Rnn;
    /// use unrolled::cell::fixed::Jacobian;
    ///
    /// let cell = Rnn::<f64, 1, 2>::new([[1.0], [0.0]], [[0.5, 0.2], [0.0, 0.5]], [0.0; 2], [0.0; 2]);
    /// let (mut state, mut tape) = (cell.zero_state(), cell.tape::<1>());
    /// let h = *cell.record(&[0.3], &mut state, &mut tape)?;
    /// let mut j = Jacobian::zeros();
    /// cell.jacobian(&mut tape, 0, &mut j)?;
    /// assert!((j.h_h[0][1] - (1.0 - h[0] * h[0]) * 0.2).abs() < 1e-15);
    /// # Ok::<(), unrolled::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Length` where the tape has no such step; nothing has been changed then.
    pub fn jacobian<const N: usize>(
        &self,
        tape: &mut Tape<T, I, H, G, S, N>,
        t: usize,
        to: &mut Jacobian<T, H>,
    ) -> Result<(), Error> {
        check(tape, t)?;
        tape.transpose(self);
        *to = Jacobian::zeros();
        for (i, (h, c)) in to.h_h.iter_mut().zip(&mut to.h_c).enumerate() {
            let mut unit = self.zero_state();
            unit.h[i] = T::ONE;
            self.through(tape, t, &mut unit);
            (*h, *c) = (unit.h, unit.c);
        }
        if V::KIND.has_cell_state() {
            for (i, (h, c)) in to.c_h.iter_mut().zip(&mut to.c_c).enumerate() {
                let mut unit = self.zero_state();
                unit.c[i] = T::ONE;
                self.through(tape, t, &mut unit);
                (*h, *c) = (unit.h, unit.c);
            }
        }
        Ok(())
    }

    fn through<const N: usize>(
        &self,
        tape: &mut Tape<T, I, H, G, S, N>,
        t: usize,
        d_state: &mut State<T, H>,
    ) {
        let steps = t..t + 1;
        let back = Back { variant: self.variant, tape, steps, d_y: &[], d_state };
        T::dispatch(Level::best(), back);
    }
}

fn check<
    T: Real,
    const I: usize,
    const H: usize,
    const G: usize,
    const S: usize,
    const N: usize,
>(
    tape: &Tape<T, I, H, G, S, N>,
    t: usize,
) -> Result<(), Error> {
    if t < tape.len() {
        return Ok(());
    }
    let expected = t.saturating_add(1);
    Err(Error::Length { argument: "tape", expected, got: tape.len() })
}
