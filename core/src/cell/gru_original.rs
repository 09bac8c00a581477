//! Gated recurrent unit in its original form (Cho et al. 2014).
//!
//! h' = (1 − z) ⊙ n + z ⊙ h, n = tanh(W_in x + b_in + W_hn (r ⊙ h) + b_hn); r, z = σ(·) of
//! W_ih x + b_ih + W_hh h + b_hh. Keras calls it `reset_after=False`, ONNX `linear_before_reset=0`.

use super::spec::{Cell, Derivatives};
use crate::kernel::layout::Slot;
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// A GRU whose reset gate acts before the product: the original form.
#[derive(Clone, Copy, Debug)]
pub struct ResetBefore;

impl Cell for ResetBefore {
    // r, z, n, r ⊙ h. The weights have the blocks r, z, n.
    type Slots<A: Copy> = [A; 4];
    type States<A: Copy> = [A; 1];
    type MapsOfX<A: Copy> = [A; 3];
    type MapsOfH<A: Copy> = [A; 3];
    type Parameters<A: Copy> = [A; 0];

    const SLOTS: &'static [Slot] =
        &[Slot::both(0, 0), Slot::both(1, 1), Slot::x(2).and(2, 3), Slot::value()];

    #[inline(always)]
    fn value<T: Real, S: Simd<T>>(
        [r, z, _, reset_h]: &mut [Lanes<T, S>; 4],
        &[h]: &[Lanes<T, S>; 1],
        _: &[Lanes<T, S>; 0],
    ) {
        (*r, *z) = (r.sigmoid(), z.sigmoid());
        *reset_h = *r * h;
    }

    #[inline(always)]
    fn forward<T: Real, S: Simd<T>>(
        [_, z, n, _]: &mut [Lanes<T, S>; 4],
        [h]: &mut [Lanes<T, S>; 1],
        _: &[Lanes<T, S>; 0],
    ) {
        *n = n.tanh();
        *h = z.mul_add(*h - *n, *n);
    }

    #[inline(always)]
    fn backward<T: Real, S: Simd<T>>(
        &[_, z, n, _]: &[Lanes<T, S>; 4],
        &[before]: &[Lanes<T, S>; 1],
        _: &[Lanes<T, S>; 0],
        [d_h]: &mut [Lanes<T, S>; 1],
        d: &mut Derivatives<Self, T, S>,
    ) {
        let one = z.like(1.0);
        let [_, d_z, d_n, _] = &mut d.slots;
        *d_z = *d_h * (before - n) * (z * (one - z));
        *d_n = *d_h * (one - z) * n.neg_mul_add(n, one);
        *d_h = *d_h * z;
    }

    #[inline(always)]
    fn backward_value<T: Real, S: Simd<T>>(
        &[r, ..]: &[Lanes<T, S>; 4],
        &[before]: &[Lanes<T, S>; 1],
        _: &[Lanes<T, S>; 0],
        [d_h]: &mut [Lanes<T, S>; 1],
        d: &mut Derivatives<Self, T, S>,
    ) {
        let [d_r, _, _, d_reset_h] = &mut d.slots;
        let one = r.like(1.0);
        *d_r = *d_reset_h * before * (r * (one - r));
        *d_h = d_reset_h.mul_add(r, *d_h);
    }
}
