//! One step forward: a few tiles of units at a time, whose gates are summed, activated and made into c and h without
//! leaving the registers.
//!
//! Units that fill no vector are read under a mask and written by narrower whole registers (see
//! [`Simd::store_ptr_partial`]): the next step reads h one by one as soon as it is there.

use super::panel::{panel, place};
use super::{Fixed, State, Variant};
use crate::cell::{gru, lstm, rnn};
use crate::gates::CellKind;
use crate::kernel::product::{chains, fit};
use crate::kernel::shape::{Slots, gru_slots};
use crate::math::Math;
use crate::real::Real;
use crate::simd::{Extent, Kernel, Lanes, Lhs, Pair, Rhs, Simd, accumulate};
use core::hint::black_box;
use core::marker::PhantomData;

/// A step. Activated gates go to `gates`, unless it has no rows: R = S or 0.
pub(super) struct OneStep<
    'a,
    T,
    V,
    M,
    const I: usize,
    const H: usize,
    const G: usize,
    const S: usize,
    const R: usize,
> {
    pub cell: &'a Fixed<T, V, I, H, G, S>,
    pub _math: M,
    pub x: &'a [T; I],
    pub state: &'a mut State<T, H>,
    pub gates: &'a mut [[T; H]; R],
}

/// Tiles that are activated together, by pairs; and summed together, where the registers hold the sums.
const fn together(gates: usize) -> usize {
    if gates == 1 { 4 } else { 2 }
}

/// Units of a block: whole panels, and whole groups of tiles.
const fn block<T: Real, S: Simd<T>>(gates: usize) -> usize {
    let (panel, group) = (panel(gates), together(gates) * S::LANES);
    if panel > group { panel } else { group }
}

/// Blocks before the last, which takes from half as many units to half as many again.
const fn blocks<T: Real, S: Simd<T>>(units: usize, gates: usize) -> usize {
    let block = block::<T, S>(gates);
    units.saturating_sub(block / 2 + 1) / block
}

/// The whole step, or one of the two halves of a GRU that resets before the product.
const WHOLE: u8 = 0;
const GATES: u8 = 1;
const STATE: u8 = 2;

/// What follows a run of tiles in a group: no more, another tile, or a part of one.
const NONE: u8 = 0;
const TILE: u8 = 1;
const PART: u8 = 2;

impl<
    T: Real,
    V: Variant,
    M: Math,
    const I: usize,
    const H: usize,
    const G: usize,
    const S: usize,
    const R: usize,
> Kernel<T> for OneStep<'_, T, V, M, I, H, G, S, R>
{
    type Output = ();
    #[inline(always)]
    fn run<Isa: Simd<T>>(self, s: Isa) {
        let Self { cell, _math: _, x, state, gates } = self;
        let State { h, c } = state;
        let mut next = [T::ZERO; H];
        let mut units = Units { cell, math: PhantomData::<M>, x, h, c, next: &mut next, gates };
        if const { matches!(V::KIND, CellKind::Gru { reset_after: false }) } {
            units.all::<Isa, GATES>(s);
            units.all::<Isa, STATE>(s);
        } else {
            units.all::<Isa, WHOLE>(s);
        }
    }
}

/// What a step reads and writes.
struct Units<
    'a,
    T,
    V,
    M,
    const I: usize,
    const H: usize,
    const G: usize,
    const S: usize,
    const R: usize,
> {
    cell: &'a Fixed<T, V, I, H, G, S>,
    math: PhantomData<M>,
    x: &'a [T; I],
    h: &'a mut [T; H],
    c: &'a mut [T; H],
    /// h after the step, but for the last block: the others need h as it was.
    next: &'a mut [T; H],
    gates: &'a mut [[T; H]; R],
}

impl<
    T: Real,
    V: Variant,
    M: Math,
    const I: usize,
    const H: usize,
    const G: usize,
    const S: usize,
    const R: usize,
> Units<'_, T, V, M, I, H, G, S, R>
{
    /// Every unit, block by block.
    #[inline(always)]
    fn all<Isa: Simd<T>, const HALF: u8>(&mut self, s: Isa) {
        let (block, blocks) = const { (block::<T, Isa>(G), blocks::<T, Isa>(H, G)) };
        let (early, run) = (blocks * block, const { together(G) } * Isa::LANES);
        for i in 0..blocks {
            let mut done = 0;
            while done < block {
                self.run::<Isa, HALF>(s, i * block + done);
                done += run;
            }
        }
        let (before, tiles, extra) = const { last::<T, Isa>(H, G) };
        for i in 0..before {
            self.run::<Isa, HALF>(s, early + i * run);
        }
        let u = early + before * run;
        macro_rules! last {
            ($($n:literal)*) => {
                $(
                    if const { last::<T, Isa>(H, G).1 == $n } && tiles == $n {
                        if const { last::<T, Isa>(H, G).2 == NONE } && extra == NONE {
                            self.group::<Isa, HALF, true, $n, NONE>(s, u);
                        }
                        if const { last::<T, Isa>(H, G).2 == TILE } && extra == TILE {
                            self.group::<Isa, HALF, true, $n, TILE>(s, u);
                        }
                        if const { last::<T, Isa>(H, G).2 == PART } && extra == PART {
                            self.group::<Isa, HALF, true, $n, PART>(s, u);
                        }
                    }
                )*
            };
        }
        last!(0 1 2 3 4);
        if HALF == WHOLE {
            self.h[..u].copy_from_slice(&self.next[..u]);
        }
    }

    /// A group before the last.
    #[inline(always)]
    fn run<Isa: Simd<T>, const HALF: u8>(&mut self, s: Isa, u: usize) {
        match const { together(G) } {
            2 => self.group::<Isa, HALF, false, 2, NONE>(s, u),
            _ => self.group::<Isa, HALF, false, 4, NONE>(s, u),
        }
    }

    /// A run of tiles from unit `u` on, equally far apart, and `EXTRA`. The `LAST` group may overwrite h.
    #[inline(always)]
    fn group<Isa: Simd<T>, const HALF: u8, const LAST: bool, const RUN: usize, const EXTRA: u8>(
        &mut self,
        s: Isa,
        u: usize,
    ) {
        let zero = Lanes::<T, Isa>::new(s, s.zero());
        let mut tiles = [[zero; S]; MOST];
        let count = RUN + if EXTRA == NONE { 0 } else { 1 };
        if HALF == STATE {
            for (t, tile) in tiles[..count].iter_mut().enumerate() {
                for (row, slot) in self.gates.iter().zip(tile) {
                    *slot = read::<T, Isa, RUN, EXTRA>(s, t, &row[u..]);
                }
            }
        } else {
            let b_ih = self.cell.b_ih.0.as_flattened();
            let b_hh = self.cell.b_hh.0.as_flattened();
            for (t, tile) in tiles[..count].iter_mut().enumerate() {
                let own = u + t * Isa::LANES;
                let (at, width) = place([1, S, H], panel(G), own);
                let lanes = if H - own < Isa::LANES { H - own } else { Isa::LANES };
                for (slot, sum) in tile.iter_mut().enumerate() {
                    let from = at + slot * width;
                    let b_ih = &b_ih[from..from + lanes];
                    let b_hh = &b_hh[from..from + lanes];
                    *sum = if EXTRA == PART && t == RUN {
                        Lanes::read::<true>(s, b_ih, 0) + Lanes::read::<true>(s, b_hh, 0)
                    } else {
                        Lanes::read::<false>(s, b_ih, 0) + Lanes::read::<false>(s, b_hh, 0)
                    };
                }
            }
        }
        if HALF != STATE {
            let w = self.cell.w_ih.0.as_flattened().as_flattened();
            let first = const { Fixed::<T, V, I, H, G, S>::SHAPE.input_slots().first };
            let of = Sum { by: &self.x[..], w, skip: 0, first, units: H };
            of.tiles::<Isa, S, RUN, EXTRA, G, G, 1>(s, u, &mut tiles);
        }
        let w = self.cell.w_hh.0.as_flattened().as_flattened();
        let Slots { first, count: fed } = const { Fixed::<T, V, I, H, G, S>::SHAPE.state_slots() };
        macro_rules! sum {
            ($sum:ident, $fed:expr) => {
                match const { chains::<T>(H, $fed) } {
                    1 => $sum.tiles::<Isa, S, RUN, EXTRA, G, $fed, 1>(s, u, &mut tiles),
                    2 => $sum.tiles::<Isa, S, RUN, EXTRA, G, $fed, 2>(s, u, &mut tiles),
                    _ => $sum.tiles::<Isa, S, RUN, EXTRA, G, $fed, 4>(s, u, &mut tiles),
                }
            };
        }
        match HALF {
            // W_hn stands first.
            STATE => {
                if let Some(by) = self.gates.get(gru_slots::HIDDEN) {
                    let of = Sum { by: &by[..], w, skip: 0, first: gru_slots::NEW, units: H };
                    sum!(of, 1);
                }
            }
            GATES => {
                let of = Sum { by: &self.h[..], w, skip: G - fed, first, units: H };
                sum!(of, 2);
            }
            _ => {
                let of = Sum { by: &self.h[..], w, skip: 0, first, units: H };
                sum!(of, G);
            }
        }
        let mut h = [zero; MOST];
        let mut c = [zero; MOST];
        for t in 0..count {
            h[t] = read::<T, Isa, RUN, EXTRA>(s, t, &self.h[u..]);
            if V::KIND.has_cell_state() {
                c[t] = read::<T, Isa, RUN, EXTRA>(s, t, &self.c[u..]);
            }
        }
        let mut t = 0;
        while t + 2 <= RUN {
            let two = Pair(s);
            let pair = |a: Lanes<T, Isa>, b: Lanes<T, Isa>| Lanes::new(two, [a.v, b.v]);
            let mut slots = [pair(zero, zero); S];
            for slot in 0..S {
                slots[slot] = pair(tiles[t][slot], tiles[t + 1][slot]);
            }
            let (mut h_, mut c_) = (pair(h[t], h[t + 1]), pair(c[t], c[t + 1]));
            activate::<T, Pair<Isa>, V, M, S, HALF>(&mut slots, &mut h_, &mut c_);
            for i in 0..2 {
                for slot in 0..S {
                    tiles[t + i][slot] = Lanes::new(s, slots[slot].v[i]);
                }
                (h[t + i], c[t + i]) = (Lanes::new(s, h_.v[i]), Lanes::new(s, c_.v[i]));
            }
            t += 2;
        }
        while t < count {
            activate::<T, Isa, V, M, S, HALF>(&mut tiles[t], &mut h[t], &mut c[t]);
            t += 1;
        }
        for t in 0..count {
            if HALF != GATES {
                let to = if LAST || HALF == STATE { &mut *self.h } else { &mut *self.next };
                write::<T, Isa, RUN, EXTRA>(h[t], t, &mut to[u..]);
                if V::KIND.has_cell_state() {
                    write::<T, Isa, RUN, EXTRA>(c[t], t, &mut self.c[u..]);
                }
            }
            for (row, slot) in self.gates.iter_mut().zip(&tiles[t]) {
                write::<T, Isa, RUN, EXTRA>(*slot, t, &mut row[u..]);
            }
        }
        if !LAST {
            // It is done before the next group begins: the compiler would put off what nothing waits for, and hold sums
            // in registers that the next group's need.
            black_box(&mut *self.next);
        }
    }
}

/// Tiles of a group at most.
const MOST: usize = 5;

/// Whole groups before the last group of the last block; the run of tiles in that, and what follows. A single tile
/// does not make a group where it can join one: its activations would take as long as those of two.
const fn last<T: Real, S: Simd<T>>(units: usize, gates: usize) -> (usize, usize, u8) {
    let most = together(gates);
    let units = units - blocks::<T, S>(units, gates) * block::<T, S>(gates);
    let (tiles, part) = (units.div_ceil(S::LANES), !units.is_multiple_of(S::LANES));
    let before = tiles.saturating_sub(2) / most;
    let rest = tiles - before * most;
    if part {
        (before, rest - 1, PART)
    } else if rest > most {
        (before, rest - 1, TILE)
    } else {
        (before, rest, NONE)
    }
}

/// Tile `t` of a group, from where the group begins.
#[inline(always)]
fn read<T: Real, S: Simd<T>, const RUN: usize, const EXTRA: u8>(
    s: S,
    t: usize,
    from: &[T],
) -> Lanes<T, S> {
    if EXTRA == PART && t == RUN {
        Lanes::read::<true>(s, from, t * S::LANES)
    } else {
        Lanes::read::<false>(s, from, t * S::LANES)
    }
}

/// The mirror of [`read`].
#[inline(always)]
fn write<T: Real, S: Simd<T>, const RUN: usize, const EXTRA: u8>(
    v: Lanes<T, S>,
    t: usize,
    to: &mut [T],
) {
    if EXTRA == PART && t == RUN {
        v.write::<true>(to, t * S::LANES);
    } else {
        v.write::<false>(to, t * S::LANES);
    }
}

/// The elementwise part of a step, or of half of one.
#[inline(always)]
fn activate<T: Real, Isa: Simd<T>, V: Variant, M: Math, const S: usize, const HALF: u8>(
    slots: &mut [Lanes<T, Isa>; S],
    h: &mut Lanes<T, Isa>,
    c: &mut Lanes<T, Isa>,
) {
    match (V::KIND, HALF) {
        (CellKind::Lstm { .. }, _) => *h = lstm::forward_units::<T, Isa, M, true>(slots, c),
        (CellKind::Gru { .. }, GATES) => gru::forward_units_gates::<T, Isa, M>(slots, *h),
        (CellKind::Gru { .. }, STATE) => *h = gru::forward_units_state::<T, Isa, M>(slots, *h),
        (CellKind::Gru { .. }, _) => *h = gru::forward_units::<T, Isa, M>(slots, *h),
        (CellKind::Rnn(activation), _) => {
            slots[0] = rnn::forward_units::<T, Isa, M>(activation, slots[0]);
            *h = slots[0];
        }
    }
}

/// Σ_k by(k) · w(k, unit, gate), to be added to slots.
#[derive(Clone, Copy)]
struct Sum<'a, T> {
    by: &'a [T],
    w: &'a [T],
    /// Gates of `w` to leave out.
    skip: usize,
    /// The slot of the next one.
    first: usize,
    /// Units in all.
    units: usize,
}

impl<T: Real> Sum<'_, T> {
    #[inline(always)]
    fn tiles<
        Isa: Simd<T>,
        const S: usize,
        const RUN: usize,
        const EXTRA: u8,
        const G: usize,
        const GATES: usize,
        const CHAINS: usize,
    >(
        self,
        s: Isa,
        u: usize,
        tiles: &mut [[Lanes<T, Isa>; S]; MOST],
    ) {
        if const { RUN > 1 && RUN <= fit::<T, Isa>(GATES, CHAINS) } {
            self.run::<Isa, S, RUN, G, GATES, CHAINS, false>(s, u, &mut tiles[..RUN]);
        } else if const { RUN == 4 && fit::<T, Isa>(GATES, CHAINS) > 1 } {
            // Not a loop: places that are known need no check.
            self.run::<Isa, S, 2, G, GATES, CHAINS, false>(s, u, &mut tiles[..2]);
            let u = u + 2 * Isa::LANES;
            self.run::<Isa, S, 2, G, GATES, CHAINS, false>(s, u, &mut tiles[2..4]);
        } else {
            for t in 0..RUN {
                let (u, tile) = (u + t * Isa::LANES, &mut tiles[t..=t]);
                self.run::<Isa, S, 1, G, GATES, CHAINS, false>(s, u, tile);
            }
        }
        let (u, tile) = (u + RUN * Isa::LANES, &mut tiles[RUN..=RUN]);
        if const { EXTRA == TILE } {
            self.run::<Isa, S, 1, G, GATES, CHAINS, false>(s, u, tile);
        } else if const { EXTRA == PART } {
            self.run::<Isa, S, 1, G, GATES, CHAINS, true>(s, u, tile);
        }
    }

    #[inline(always)]
    fn run<
        Isa: Simd<T>,
        const S: usize,
        const TILES: usize,
        const G: usize,
        const GATES: usize,
        const CHAINS: usize,
        const PART: bool,
    >(
        self,
        s: Isa,
        u: usize,
        tiles: &mut [[Lanes<T, Isa>; S]],
    ) {
        let Self { by, w, skip, first, units } = self;
        let sizes = [by.len(), G, units];
        let (at, width) = place(sizes, panel(G), u);
        let apart = if TILES > 1 { place(sizes, panel(G), u + Isa::LANES).0 - at } else { 0 };
        let mut sums = [[[s.zero(); GATES]; TILES]; 1];
        for t in 0..TILES {
            for g in 0..GATES {
                sums[0][t][g] = tiles[t][first + g].v;
            }
        }
        let sums = accumulate::<T, Isa, 1, TILES, GATES, CHAINS, PART>(
            s,
            sums,
            Lhs { data: by, row: 0, step: 1, segment: 0 },
            Rhs { data: &w[at + skip * width..], step: G * width, tile: apart, gate: width },
            Extent { segments: 1, steps: by.len() },
            units - u,
        );
        for t in 0..TILES {
            for g in 0..GATES {
                tiles[t][first + g] = Lanes::new(s, sums[0][t][g]);
            }
        }
    }
}
