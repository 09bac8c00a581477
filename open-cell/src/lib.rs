//! An LSTM whose gates see c (Gers & Schmidhuber 2000), which the crate `unrolled` does not have:
//!
//! c' = f ⊙ c + i ⊙ tanh(g), h' = o ⊙ tanh(c'); i, f = σ(· + p ⊙ c), o = σ(· + p ⊙ c').
#![no_std]

use unrolled::Error;
use unrolled::cell::{Cell, Derivatives, Slot};
use unrolled::fixed::{Fixed, Parameters, Tape};
use unrolled::real::Real;
use unrolled::simd::{Lanes, Simd};

/// The cell.
#[derive(Clone, Copy, Debug)]
pub struct Peephole;

impl Cell for Peephole {
    type Slots<A: Copy> = [A; 4]; // i, f, g, o
    type States<A: Copy> = [A; 2]; // h, c
    type MapsOfX<A: Copy> = [A; 4];
    type MapsOfH<A: Copy> = [A; 4];
    type Parameters<A: Copy> = [A; 3]; // of i, f, o

    const SLOTS: &'static [Slot] =
        &[Slot::both(0, 0), Slot::both(1, 1), Slot::both(2, 2), Slot::both(3, 3)];
    const READS_H: bool = false;

    #[inline(always)]
    fn forward<T: Real, S: Simd<T>>(
        [i, f, g, o]: &mut [Lanes<T, S>; 4],
        [h, c]: &mut [Lanes<T, S>; 2],
        [p_i, p_f, p_o]: &[Lanes<T, S>; 3],
    ) {
        (*i, *f) = (p_i.mul_add(*c, *i).sigmoid(), p_f.mul_add(*c, *f).sigmoid());
        *g = g.tanh();
        *c = f.mul_add(*c, *i * *g);
        *o = p_o.mul_add(*c, *o).sigmoid();
        *h = *o * c.tanh();
    }

    #[inline(always)]
    fn backward<T: Real, S: Simd<T>>(
        &[i, f, g, o]: &[Lanes<T, S>; 4],
        &[_, before]: &[Lanes<T, S>; 2],
        &[p_i, p_f, p_o]: &[Lanes<T, S>; 3],
        [d_h, d_c]: &mut [Lanes<T, S>; 2],
        d: &mut Derivatives<Self, T, S>,
    ) {
        let one = i.like(1.0);
        let c = f.mul_add(before, i * g);
        let tanh_c = c.tanh();
        let d_o = *d_h * tanh_c * (o * (one - o));
        let d_after = *d_c + *d_h * o * (one - tanh_c * tanh_c) + d_o * p_o;
        let d_i = d_after * g * (i * (one - i));
        let d_f = d_after * before * (f * (one - f));
        *d_c = d_after * f + d_i * p_i + d_f * p_f;
        d.slots = [d_i, d_f, d_after * i * (one - g * g), d_o];
        d.parameters = [d_i * before, d_f * before, d_o * c];
    }
}

/// A step of gradient descent on (h − target)² at the end of `x`: the loss before it. Nothing is allocated.
pub fn learn<const H: usize, const N: usize>(
    weights: &mut Parameters<Peephole, f32, 1, H>,
    tape: &mut Tape<Peephole, f32, 1, H, N>,
    (x, target): (&[[f32; 1]; N], f32),
) -> Result<f32, Error> {
    let cell = Fixed::from_parameters(weights);
    let (mut state, mut d_state) = (cell.zero_state(), cell.zero_state());
    tape.clear();
    x.iter().try_for_each(|x| cell.record(x, &mut state, tape).map(|_| ()))?;
    let error = state.h()[0] - target;
    d_state.h_mut()[0] = 2.0 * error;
    let mut d = Parameters::zeros();
    cell.backward(tape, &[[0.0; H]; N], &mut d_state, &mut [[0.0; 1]; N], &mut d)?;
    for (own, d) in weights.slices_mut().into_iter().zip(d.slices()) {
        own.iter_mut().zip(d).for_each(|(w, d)| *w -= 0.05 * d);
    }
    Ok(error * error)
}
