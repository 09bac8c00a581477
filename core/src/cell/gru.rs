//! Gated recurrent unit in PyTorch's form (Keras' `reset_after`) and the original one (Cho et al. 2014).
//!
//! h' = (1 − z) ⊙ n + z ⊙ h, with n = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn)), or, in the
//! original form, n = tanh(W_in x + b_in + W_hn (r ⊙ h) + b_hn).
//!
//! A row of the buffer has four slots, see [`gru_slots`](crate::kernel::shape::gru_slots).

use super::units;
use crate::kernel::shape::gru_slots::{HIDDEN, NEW, RESET, UPDATE};
use crate::math::Math;
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// PyTorch's form, a vector of units: `gates` from pre-activations, in place; from `h`, the new one.
#[inline(always)]
pub fn forward_units<T: Real, S: Simd<T>, M: Math>(
    gates: &mut [Lanes<T, S>],
    h: Lanes<T, S>,
) -> Lanes<T, S> {
    let r = M::sigmoid(gates[RESET]);
    let new = M::tanh(r.mul_add(gates[HIDDEN], gates[NEW]));
    // z last: it is done while the new value waits for r.
    let z = M::sigmoid(gates[UPDATE]);
    (gates[RESET], gates[UPDATE], gates[NEW]) = (r, z, new);
    z.mul_add(h - new, new)
}

/// PyTorch's form: gates of a row from their pre-activations, in place; `h` from old to new, in place.
#[inline(always)]
pub fn forward_row<T: Real, S: Simd<T>, M: Math>(
    s: S,
    n: usize,
    gates: &mut [T],
    stride: usize,
    h: &mut [T],
) {
    units!(S, n, |u, PART| {
        let mut own = [Lanes::new(s, s.zero()); 4];
        for (slot, own) in own.iter_mut().enumerate() {
            *own = Lanes::<T, S>::read::<PART>(s, &gates[slot * stride..][..n], u);
        }
        let before = Lanes::read::<PART>(s, &h[..n], u);
        forward_units::<T, S, M>(&mut own, before).write::<PART>(&mut h[..n], u);
        for slot in [RESET, UPDATE, NEW] {
            own[slot].write::<PART>(&mut gates[slot * stride..][..n], u);
        }
    });
}

/// The mirror: derivatives by the pre-activations (`d_gates`); `d_h` from the total
/// derivative by h' to the part of that by h that does not pass the gates, in place.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn backward_row<T: Real, S: Simd<T>>(
    s: S,
    n: usize,
    gates: &[T],
    stride: usize,
    h_before: &[T],
    d_h: &mut [T],
    d_gates: &mut [T],
) {
    units!(S, n, |u, PART| {
        let hidden = Lanes::<T, S>::read::<PART>(s, &gates[HIDDEN * stride..][..n], u);
        let r = Lanes::read::<PART>(s, &gates[RESET * stride..][..n], u);
        let z = Lanes::read::<PART>(s, &gates[UPDATE * stride..][..n], u);
        let new = Lanes::read::<PART>(s, &gates[NEW * stride..][..n], u);
        let before = Lanes::read::<PART>(s, &h_before[..n], u);
        let d = Lanes::read::<PART>(s, &d_h[..n], u);
        let one = r.like(1.0);

        let d_z = d * (before - new);
        let d_new = d * (one - z) * new.neg_mul_add(new, one);
        let d_r = d_new * hidden;
        (d * z).write::<PART>(&mut d_h[..n], u);
        (d_new * r).write::<PART>(&mut d_gates[HIDDEN * stride..][..n], u);
        (d_r * (r * (one - r))).write::<PART>(&mut d_gates[RESET * stride..][..n], u);
        (d_z * (z * (one - z))).write::<PART>(&mut d_gates[UPDATE * stride..][..n], u);
        d_new.write::<PART>(&mut d_gates[NEW * stride..][..n], u);
    });
}

/// The original form, first half, a vector of units: r and z in place; r ⊙ h, which the product with W_hn then takes.
#[inline(always)]
pub fn forward_units_gates<T: Real, S: Simd<T>, M: Math>(
    gates: &mut [Lanes<T, S>],
    h: Lanes<T, S>,
) {
    gates[RESET] = M::sigmoid(gates[RESET]);
    gates[UPDATE] = M::sigmoid(gates[UPDATE]);
    gates[HIDDEN] = gates[RESET] * h;
}

/// The same for a row.
#[inline(always)]
pub fn forward_row_gates<T: Real, S: Simd<T>, M: Math>(
    s: S,
    n: usize,
    gates: &mut [T],
    stride: usize,
    h: &[T],
) {
    units!(S, n, |u, PART| {
        let mut own = [Lanes::new(s, s.zero()); 4];
        for slot in [RESET, UPDATE] {
            own[slot] = Lanes::<T, S>::read::<PART>(s, &gates[slot * stride..][..n], u);
        }
        forward_units_gates::<T, S, M>(&mut own, Lanes::read::<PART>(s, &h[..n], u));
        for slot in [HIDDEN, RESET, UPDATE] {
            own[slot].write::<PART>(&mut gates[slot * stride..][..n], u);
        }
    });
}

/// The original form, second half, a vector of units: n in place; from `h`, the new one.
#[inline(always)]
pub fn forward_units_state<T: Real, S: Simd<T>, M: Math>(
    gates: &mut [Lanes<T, S>],
    h: Lanes<T, S>,
) -> Lanes<T, S> {
    gates[NEW] = M::tanh(gates[NEW]);
    gates[UPDATE].mul_add(h - gates[NEW], gates[NEW])
}

/// The same for a row, `h` in place.
#[inline(always)]
pub fn forward_row_state<T: Real, S: Simd<T>, M: Math>(
    s: S,
    n: usize,
    gates: &mut [T],
    stride: usize,
    h: &mut [T],
) {
    units!(S, n, |u, PART| {
        let mut own = [Lanes::new(s, s.zero()); 4];
        for slot in [UPDATE, NEW] {
            own[slot] = Lanes::<T, S>::read::<PART>(s, &gates[slot * stride..][..n], u);
        }
        let before = Lanes::read::<PART>(s, &h[..n], u);
        forward_units_state::<T, S, M>(&mut own, before).write::<PART>(&mut h[..n], u);
        own[NEW].write::<PART>(&mut gates[NEW * stride..][..n], u);
    });
}

/// The mirror of `forward_row_state`: derivatives by the pre-activations of z and n;
/// `d_h` becomes d_h ⊙ z.
#[inline(always)]
pub fn backward_row_state<T: Real, S: Simd<T>>(
    s: S,
    n: usize,
    gates: &[T],
    stride: usize,
    h_before: &[T],
    d_h: &mut [T],
    d_gates: &mut [T],
) {
    units!(S, n, |u, PART| {
        let z = Lanes::<T, S>::read::<PART>(s, &gates[UPDATE * stride..][..n], u);
        let new = Lanes::read::<PART>(s, &gates[NEW * stride..][..n], u);
        let before = Lanes::read::<PART>(s, &h_before[..n], u);
        let d = Lanes::read::<PART>(s, &d_h[..n], u);
        let one = z.like(1.0);

        let d_z = d * (before - new);
        (d * z).write::<PART>(&mut d_h[..n], u);
        (d_z * (z * (one - z))).write::<PART>(&mut d_gates[UPDATE * stride..][..n], u);
        (d * (one - z) * new.neg_mul_add(new, one))
            .write::<PART>(&mut d_gates[NEW * stride..][..n], u);
    });
}

/// The mirror of `forward_row_gates`: the slot `HIDDEN` of `d_gates` holds the derivative by
/// r ⊙ h; from it that by the pre-activation of r, and its share of `d_h`, added there.
#[inline(always)]
pub fn backward_row_gates<T: Real, S: Simd<T>>(
    s: S,
    n: usize,
    gates: &[T],
    stride: usize,
    h_before: &[T],
    d_h: &mut [T],
    d_gates: &mut [T],
) {
    units!(S, n, |u, PART| {
        let r = Lanes::<T, S>::read::<PART>(s, &gates[RESET * stride..][..n], u);
        let before = Lanes::read::<PART>(s, &h_before[..n], u);
        let d_rh = Lanes::read::<PART>(s, &d_gates[HIDDEN * stride..][..n], u);
        let d = Lanes::read::<PART>(s, &d_h[..n], u);
        let one = r.like(1.0);

        let d_r = d_rh * before;
        d_rh.mul_add(r, d).write::<PART>(&mut d_h[..n], u);
        (d_r * (r * (one - r))).write::<PART>(&mut d_gates[RESET * stride..][..n], u);
    });
}
