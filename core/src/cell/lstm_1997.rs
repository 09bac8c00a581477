//! Long short-term memory as it was at first, without a forget gate (Hochreiter & Schmidhuber 1997).
//!
//! c' = c + i ⊙ g, h' = o ⊙ tanh(c'); i, o = σ(·) and g = tanh(·) of W_ih x + b_ih + W_hh h + b_hh. Along c the
//! gradient passes undiminished.

use super::spec::{Cell, Derivatives};
use crate::kernel::layout::Slot;
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// An LSTM with input and output gate.
#[derive(Clone, Copy, Debug)]
pub struct NoForgetGate;

impl Cell for NoForgetGate {
    // i, g, o.
    type Slots<A: Copy> = [A; 3];
    type States<A: Copy> = [A; 2];
    type MapsOfX<A: Copy> = [A; 3];
    type MapsOfH<A: Copy> = [A; 3];
    type Parameters<A: Copy> = [A; 0];

    const SLOTS: &'static [Slot] = &[Slot::both(0, 0), Slot::both(1, 1), Slot::both(2, 2)];
    const READS_H: bool = false;
    const FINISHED: Option<&'static [usize]> = Some(&[]);

    #[inline(always)]
    fn forward<T: Real, S: Simd<T>>(
        [i, g, o]: &mut [Lanes<T, S>; 3],
        [_, c]: &mut [Lanes<T, S>; 2],
        _: &[Lanes<T, S>; 0],
    ) {
        (*i, *g, *o) = (i.sigmoid(), g.tanh(), o.sigmoid());
        *c = i.mul_add(*g, *c);
    }

    #[inline(always)]
    fn finish<T: Real, S: Simd<T>>([.., o]: &mut [Lanes<T, S>; 3], [h, c]: &mut [Lanes<T, S>; 2]) {
        *h = *o * c.tanh();
    }

    #[inline(always)]
    fn backward<T: Real, S: Simd<T>>(
        &[i, g, o]: &[Lanes<T, S>; 3],
        &[_, before]: &[Lanes<T, S>; 2],
        _: &[Lanes<T, S>; 0],
        [d_h, d_c]: &mut [Lanes<T, S>; 2],
        d: &mut Derivatives<Self, T, S>,
    ) {
        let one = i.like(1.0);
        let tanh_c = i.mul_add(g, before).tanh();
        let d_tanh = *d_h * o;
        *d_c = d_tanh.mul_add(tanh_c.neg_mul_add(tanh_c, one), *d_c);
        let d_o = *d_h * tanh_c;
        d.slots =
            [*d_c * g * (i * (one - i)), *d_c * i * g.neg_mul_add(g, one), d_o * (o * (one - o))];
    }
}
