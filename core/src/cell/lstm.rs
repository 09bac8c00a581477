//! Long short-term memory with a forget gate (Gers et al. 2000) or without
//! (Hochreiter & Schmidhuber 1997, f ≡ 1).
//!
//! c = f ⊙ c₋ + i ⊙ g, h = o ⊙ tanh(c); i, f, o = σ(·), g = tanh(·) of what the buffer holds.

use super::{slot, units};
use crate::gates::{CellKind, Gate};
use crate::math::Math;
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// A vector of units: `gates` from pre-activations, in place; `c` from c₋ to c; returns h.
#[inline(always)]
pub fn forward_units<T: Real, S: Simd<T>, M: Math, const FORGET: bool>(
    gates: &mut [Lanes<T, S>],
    c: &mut Lanes<T, S>,
) -> Lanes<T, S> {
    let at = |gate| slot(CellKind::Lstm { forget_gate: FORGET }, gate);
    let i = M::sigmoid(gates[at(Gate::Input)]);
    let g = M::tanh(gates[at(Gate::Candidate)]);
    *c = if FORGET {
        let f = M::sigmoid(gates[at(Gate::Forget)]);
        gates[at(Gate::Forget)] = f;
        f.mul_add(*c, i * g)
    } else {
        i.mul_add(g, *c)
    };
    // o last: c need not wait for it, and it is done while tanh(c) waits for c.
    let tanh_c = M::tanh(*c);
    let o = M::sigmoid(gates[at(Gate::Output)]);
    gates[at(Gate::Input)] = i;
    gates[at(Gate::Candidate)] = g;
    gates[at(Gate::Output)] = o;
    o * tanh_c
}

/// Gates of a row from their pre-activations, in place; `c` from c₋ to c, in place; `h`.
#[inline(always)]
pub fn forward_row<T: Real, S: Simd<T>, M: Math, const FORGET: bool>(
    s: S,
    n: usize,
    gates: &mut [T],
    stride: usize,
    c: &mut [T],
    h: &mut [T],
) {
    let slots = if FORGET { 4 } else { 3 };
    units!(S, n, |u, PART| {
        let mut own = [Lanes::new(s, s.zero()); 4];
        for (slot, own) in own[..slots].iter_mut().enumerate() {
            *own = Lanes::<T, S>::read::<PART>(s, &gates[slot * stride..][..n], u);
        }
        let mut c_own = Lanes::read::<PART>(s, &c[..n], u);
        let h_own = forward_units::<T, S, M, FORGET>(&mut own[..slots], &mut c_own);
        for (slot, own) in own[..slots].iter().enumerate() {
            own.write::<PART>(&mut gates[slot * stride..][..n], u);
        }
        c_own.write::<PART>(&mut c[..n], u);
        h_own.write::<PART>(&mut h[..n], u);
    });
}

/// The mirror: from the gates, c₋ and the total derivatives by h and c to those by the
/// pre-activations (`d_gates`) and by c₋ (`d_c`, in place). c is computed again, as
/// `forward_row` did; o ⊙ tanh(c) goes to `m` unless that is empty.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn backward_row<T: Real, S: Simd<T>, M: Math, const FORGET: bool>(
    s: S,
    n: usize,
    gates: &[T],
    stride: usize,
    c_before: &[T],
    d_h: &[T],
    d_c: &mut [T],
    d_gates: &mut [T],
    m: &mut [T],
) {
    let kind = CellKind::Lstm { forget_gate: FORGET };
    let at = |gate| slot(kind, gate) * stride;
    let (i_at, g_at, o_at) = (at(Gate::Input), at(Gate::Candidate), at(Gate::Output));
    let (c_before, d_h, d_c) = (&c_before[..n], &d_h[..n], &mut d_c[..n]);
    units!(S, n, |u, PART| {
        let i = Lanes::<T, S>::read::<PART>(s, &gates[i_at..i_at + n], u);
        let g = Lanes::read::<PART>(s, &gates[g_at..g_at + n], u);
        let o = Lanes::read::<PART>(s, &gates[o_at..o_at + n], u);
        let before = Lanes::read::<PART>(s, c_before, u);
        let one = i.like(1.0);
        let f_at = if FORGET { at(Gate::Forget) } else { 0 };
        let f = if FORGET { Lanes::read::<PART>(s, &gates[f_at..f_at + n], u) } else { one };
        let c = if FORGET { f.mul_add(before, i * g) } else { i.mul_add(g, before) };
        let tanh_c = M::tanh(c);
        if !m.is_empty() {
            (o * tanh_c).write::<PART>(&mut m[..n], u);
        }

        let d_h = Lanes::read::<PART>(s, d_h, u);
        let d_tanh = d_h * o;
        let d_c_total =
            d_tanh.mul_add(tanh_c.neg_mul_add(tanh_c, one), Lanes::read::<PART>(s, d_c, u));
        let d_o = d_h * tanh_c;
        let d_i = d_c_total * g;
        let d_g = d_c_total * i;
        (d_i * (i * (one - i))).write::<PART>(&mut d_gates[i_at..i_at + n], u);
        (d_g * g.neg_mul_add(g, one)).write::<PART>(&mut d_gates[g_at..g_at + n], u);
        (d_o * (o * (one - o))).write::<PART>(&mut d_gates[o_at..o_at + n], u);
        if FORGET {
            let d_f = d_c_total * before;
            (d_f * (f * (one - f))).write::<PART>(&mut d_gates[f_at..f_at + n], u);
            (d_c_total * f).write::<PART>(d_c, u);
        } else {
            d_c_total.write::<PART>(d_c, u);
        }
    });
}

/// c of a row out of its gates and c₋, as `forward_row` computed it.
#[cfg(feature = "alloc")]
#[inline(always)]
pub fn cell_row<T: Real, S: Simd<T>, const FORGET: bool>(
    s: S,
    n: usize,
    gates: &[T],
    stride: usize,
    c_before: &[T],
    c: &mut [T],
) {
    let kind = CellKind::Lstm { forget_gate: FORGET };
    let at = |gate| slot(kind, gate) * stride;
    let (i_at, g_at) = (at(Gate::Input), at(Gate::Candidate));
    units!(S, n, |u, PART| {
        let i = Lanes::<T, S>::read::<PART>(s, &gates[i_at..i_at + n], u);
        let g = Lanes::read::<PART>(s, &gates[g_at..g_at + n], u);
        let before = Lanes::read::<PART>(s, &c_before[..n], u);
        let new = if FORGET {
            let f_at = at(Gate::Forget);
            Lanes::read::<PART>(s, &gates[f_at..f_at + n], u).mul_add(before, i * g)
        } else {
            i.mul_add(g, before)
        };
        new.write::<PART>(&mut c[..n], u);
    });
}
