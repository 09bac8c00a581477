//! Long short-term memory with a forget gate (Gers, Schmidhuber & Cummins 2000).
//!
//! c' = f ⊙ c + i ⊙ g, h' = o ⊙ tanh(c'); i, f, o = σ(·) and g = tanh(·) of W_ih x + b_ih + W_hh h + b_hh.

use super::spec::{Cell, Derivatives};
use crate::kernel::layout::Slot;
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// An LSTM with input, forget and output gate.
#[derive(Clone, Copy, Debug)]
pub struct ForgetGate;

impl Cell for ForgetGate {
    // i, f, g, o, as PyTorch's.
    type Slots<A: Copy> = [A; 4];
    type States<A: Copy> = [A; 2];
    type MapsOfX<A: Copy> = [A; 4];
    type MapsOfH<A: Copy> = [A; 4];
    type Parameters<A: Copy> = [A; 0];

    const SLOTS: &'static [Slot] =
        &[Slot::both(0, 0), Slot::both(1, 1), Slot::both(2, 2), Slot::both(3, 3)];
    const READS_H: bool = false;
    const SHORT: bool = true;
    const FINISHED: Option<&'static [usize]> = Some(&[]);

    #[inline(always)]
    fn forward<T: Real, S: Simd<T>>(
        [i, f, g, o]: &mut [Lanes<T, S>; 4],
        [_, c]: &mut [Lanes<T, S>; 2],
        _: &[Lanes<T, S>; 0],
    ) {
        (*i, *g, *f) = (i.sigmoid(), g.tanh(), f.sigmoid());
        *c = f.mul_add(*c, *i * *g);
        *o = o.sigmoid();
    }

    #[inline(always)]
    fn finish<T: Real, S: Simd<T>>([.., o]: &mut [Lanes<T, S>; 4], [h, c]: &mut [Lanes<T, S>; 2]) {
        *h = *o * c.tanh();
    }

    #[inline(always)]
    fn backward<T: Real, S: Simd<T>>(
        &[i, f, g, o]: &[Lanes<T, S>; 4],
        &[_, before]: &[Lanes<T, S>; 2],
        _: &[Lanes<T, S>; 0],
        [d_h, d_c]: &mut [Lanes<T, S>; 2],
        d: &mut Derivatives<Self, T, S>,
    ) {
        let one = i.like(1.0);
        // Computed again: to keep c or tanh(c) would cost more time, in memory.
        let tanh_c = f.mul_add(before, i * g).tanh();
        let d_tanh = *d_h * o;
        let d_after = d_tanh.mul_add(tanh_c.neg_mul_add(tanh_c, one), *d_c);
        let d_o = *d_h * tanh_c;
        d.slots = [
            d_after * g * (i * (one - i)),
            d_after * before * (f * (one - f)),
            d_after * i * g.neg_mul_add(g, one),
            d_o * (o * (one - o)),
        ];
        *d_c = d_after * f;
    }
}
