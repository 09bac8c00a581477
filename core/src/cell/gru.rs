//! Gated recurrent unit in PyTorch's form (Keras' `reset_after`).
//!
//! h' = (1 − z) ⊙ n + z ⊙ h, n = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn)); r, z = σ(·) of
//! W_ih x + b_ih + W_hh h + b_hh.

use super::spec::{Cell, Derivatives};
use crate::kernel::layout::Slot;
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// A GRU whose reset gate acts after the product, as PyTorch's.
#[derive(Clone, Copy, Debug)]
pub struct ResetAfter;

impl Cell for ResetAfter {
    // W_hn h + b_hn, r, z, n. The weights have the blocks r, z, n.
    type Slots<A: Copy> = [A; 4];
    type States<A: Copy> = [A; 1];
    type MapsOfX<A: Copy> = [A; 3];
    type MapsOfH<A: Copy> = [A; 3];
    type Parameters<A: Copy> = [A; 0];

    const SLOTS: &'static [Slot] = &[Slot::h(2), Slot::both(0, 0), Slot::both(1, 1), Slot::x(2)];
    const SHORT: bool = true;
    const FINISHED: Option<&'static [usize]> = Some(&[3]);

    #[inline(always)]
    fn forward<T: Real, S: Simd<T>>(
        [hidden, r, z, n]: &mut [Lanes<T, S>; 4],
        _: &mut [Lanes<T, S>; 1],
        _: &[Lanes<T, S>; 0],
    ) {
        (*r, *z) = (r.sigmoid(), z.sigmoid());
        *n = r.mul_add(*hidden, *n);
    }

    #[inline(always)]
    fn finish<T: Real, S: Simd<T>>(
        [_, _, z, n]: &mut [Lanes<T, S>; 4],
        [h]: &mut [Lanes<T, S>; 1],
    ) {
        *n = n.tanh();
        *h = z.mul_add(*h - *n, *n);
    }

    #[inline(always)]
    fn backward<T: Real, S: Simd<T>>(
        &[hidden, r, z, n]: &[Lanes<T, S>; 4],
        &[before]: &[Lanes<T, S>; 1],
        _: &[Lanes<T, S>; 0],
        [d_h]: &mut [Lanes<T, S>; 1],
        d: &mut Derivatives<Self, T, S>,
    ) {
        let one = r.like(1.0);
        let d_z = *d_h * (before - n);
        let d_n = *d_h * (one - z) * n.neg_mul_add(n, one);
        let d_r = d_n * hidden;
        *d_h = *d_h * z;
        d.slots = [d_n * r, d_r * (r * (one - r)), d_z * (z * (one - z)), d_n];
    }
}
