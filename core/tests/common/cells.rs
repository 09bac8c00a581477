//! Cells as a user would write them.
#![allow(dead_code)] // each test program is compiled with all of it and uses its part

use unrolled::cell::{Cell, Derivatives, Slot};
use unrolled::real::Real;
use unrolled::simd::{Lanes, Simd};

/// An LSTM whose gates see c (Gers & Schmidhuber 2000): three parameters a unit.
#[derive(Clone, Copy, Debug)]
pub struct Peephole;

impl Cell for Peephole {
    // i, f, g, o; the parameters are those of i, f, o.
    type Slots<A: Copy> = [A; 4];
    type States<A: Copy> = [A; 2];
    type MapsOfX<A: Copy> = [A; 4];
    type MapsOfH<A: Copy> = [A; 4];
    type Parameters<A: Copy> = [A; 3];

    const SLOTS: &'static [Slot] =
        &[Slot::both(0, 0), Slot::both(1, 1), Slot::both(2, 2), Slot::both(3, 3)];
    const READS_H: bool = false;

    #[inline(always)]
    fn forward<T: Real, S: Simd<T>>(
        [i, f, g, o]: &mut [Lanes<T, S>; 4],
        [h, c]: &mut [Lanes<T, S>; 2],
        [p_i, p_f, p_o]: &[Lanes<T, S>; 3],
    ) {
        *i = p_i.mul_add(*c, *i).sigmoid();
        *f = p_f.mul_add(*c, *f).sigmoid();
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
        let d_after = *d_c + *d_h * o * tanh_c.neg_mul_add(tanh_c, one) + d_o * p_o;
        let d_i = d_after * g * (i * (one - i));
        let d_f = d_after * before * (f * (one - f));
        let d_g = d_after * i * g.neg_mul_add(g, one);
        *d_c = d_after * f + d_i * p_i + d_f * p_f;
        d.slots = [d_i, d_f, d_g, d_o];
        d.parameters = [d_i * before, d_f * before, d_o * c];
    }
}

/// Six slots, five fed by x and five by h, so that sums are made in groups; the new value is fed by both apart.
/// c' = f c + i tanh(n + r m), h' = o tanh(c') + (1 − o) h.
#[derive(Clone, Copy, Debug)]
pub struct SixSlots;

impl Cell for SixSlots {
    // m, i, f, o, r, n.
    type Slots<A: Copy> = [A; 6];
    type States<A: Copy> = [A; 2];
    type MapsOfX<A: Copy> = [A; 5];
    type MapsOfH<A: Copy> = [A; 5];
    type Parameters<A: Copy> = [A; 0];

    const SLOTS: &'static [Slot] = &[
        Slot::h(1),
        Slot::both(0, 0),
        Slot::both(4, 2),
        Slot::both(2, 3),
        Slot::both(3, 4),
        Slot::x(1),
    ];

    #[inline(always)]
    fn forward<T: Real, S: Simd<T>>(
        [m, i, f, o, r, n]: &mut [Lanes<T, S>; 6],
        [h, c]: &mut [Lanes<T, S>; 2],
        _: &[Lanes<T, S>; 0],
    ) {
        (*i, *f, *o, *r) = (i.sigmoid(), f.sigmoid(), o.sigmoid(), r.sigmoid());
        *n = r.mul_add(*m, *n).tanh();
        *c = f.mul_add(*c, *i * *n);
        *h = o.mul_add(c.tanh() - *h, *h);
    }

    #[inline(always)]
    fn backward<T: Real, S: Simd<T>>(
        &[m, i, f, o, r, n]: &[Lanes<T, S>; 6],
        &[h, before]: &[Lanes<T, S>; 2],
        _: &[Lanes<T, S>; 0],
        [d_h, d_c]: &mut [Lanes<T, S>; 2],
        d: &mut Derivatives<Self, T, S>,
    ) {
        let one = m.like(1.0);
        let tanh_c = f.mul_add(before, i * n).tanh();
        let d_after = *d_c + *d_h * o * tanh_c.neg_mul_add(tanh_c, one);
        let d_n = d_after * i * n.neg_mul_add(n, one);
        d.slots = [
            d_n * r,
            d_after * n * (i * (one - i)),
            d_after * before * (f * (one - f)),
            *d_h * (tanh_c - h) * (o * (one - o)),
            d_n * m * (r * (one - r)),
            d_n,
        ];
        *d_h = *d_h * (one - o);
        *d_c = d_after * f;
    }
}

/// Two maps of computed values: h' = z tanh(n + W_n (r h)) + (1 − z) tanh(m + W_m (z h)).
#[derive(Clone, Copy, Debug)]
pub struct TwoMaps;

impl Cell for TwoMaps {
    // r, z, n, m, r h, z h.
    type Slots<A: Copy> = [A; 6];
    type States<A: Copy> = [A; 1];
    type MapsOfX<A: Copy> = [A; 4];
    type MapsOfH<A: Copy> = [A; 4];
    type Parameters<A: Copy> = [A; 0];

    const SLOTS: &'static [Slot] = &[
        Slot::both(0, 2),
        Slot::both(1, 0),
        Slot::x(2).and(3, 4),
        Slot::x(3).and(1, 5),
        Slot::value(),
        Slot::value(),
    ];

    #[inline(always)]
    fn value<T: Real, S: Simd<T>>(
        [r, z, _, _, reset, updated]: &mut [Lanes<T, S>; 6],
        &[h]: &[Lanes<T, S>; 1],
        _: &[Lanes<T, S>; 0],
    ) {
        (*r, *z) = (r.sigmoid(), z.sigmoid());
        (*reset, *updated) = (*r * h, *z * h);
    }

    #[inline(always)]
    fn forward<T: Real, S: Simd<T>>(
        [_, z, n, m, ..]: &mut [Lanes<T, S>; 6],
        [h]: &mut [Lanes<T, S>; 1],
        _: &[Lanes<T, S>; 0],
    ) {
        (*n, *m) = (n.tanh(), m.tanh());
        *h = z.mul_add(*n - *m, *m);
    }

    #[inline(always)]
    fn backward<T: Real, S: Simd<T>>(
        &[_, z, n, m, ..]: &[Lanes<T, S>; 6],
        _: &[Lanes<T, S>; 1],
        _: &[Lanes<T, S>; 0],
        [d_h]: &mut [Lanes<T, S>; 1],
        d: &mut Derivatives<Self, T, S>,
    ) {
        let one = z.like(1.0);
        let [_, d_z, d_n, d_m, ..] = &mut d.slots;
        *d_z = *d_h * (n - m) * (z * (one - z));
        *d_n = *d_h * z * n.neg_mul_add(n, one);
        *d_m = *d_h * (one - z) * m.neg_mul_add(m, one);
        *d_h = z.like(0.0);
    }

    #[inline(always)]
    fn backward_value<T: Real, S: Simd<T>>(
        &[r, z, ..]: &[Lanes<T, S>; 6],
        &[h]: &[Lanes<T, S>; 1],
        _: &[Lanes<T, S>; 0],
        [d_h]: &mut [Lanes<T, S>; 1],
        d: &mut Derivatives<Self, T, S>,
    ) {
        let one = r.like(1.0);
        let [d_r, d_z, _, _, d_reset, d_updated] = &mut d.slots;
        *d_r = *d_reset * h * (r * (one - r));
        *d_z = *d_z + *d_updated * h * (z * (one - z));
        *d_h = *d_h + *d_reset * r + *d_updated * z;
    }
}

/// No map of h: h' = a h + (1 − a) tanh(W x + b), a = σ(p).
#[derive(Clone, Copy, Debug)]
pub struct Average;

impl Cell for Average {
    type Slots<A: Copy> = [A; 1];
    type States<A: Copy> = [A; 1];
    type MapsOfX<A: Copy> = [A; 1];
    type MapsOfH<A: Copy> = [A; 0];
    type Parameters<A: Copy> = [A; 1];

    const SLOTS: &'static [Slot] = &[Slot::x(0)];

    #[inline(always)]
    fn forward<T: Real, S: Simd<T>>(
        [n]: &mut [Lanes<T, S>; 1],
        [h]: &mut [Lanes<T, S>; 1],
        [p]: &[Lanes<T, S>; 1],
    ) {
        *n = n.tanh();
        *h = p.sigmoid().mul_add(*h - *n, *n);
    }

    #[inline(always)]
    fn backward<T: Real, S: Simd<T>>(
        &[n]: &[Lanes<T, S>; 1],
        &[h]: &[Lanes<T, S>; 1],
        [p]: &[Lanes<T, S>; 1],
        [d_h]: &mut [Lanes<T, S>; 1],
        d: &mut Derivatives<Self, T, S>,
    ) {
        let (one, a) = (n.like(1.0), p.sigmoid());
        d.slots = [*d_h * (one - a) * n.neg_mul_add(n, one)];
        d.parameters = [*d_h * (h - n) * (a * (one - a))];
        *d_h = *d_h * a;
    }
}
