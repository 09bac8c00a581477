//! One step forward of a cell whose sizes are known when compiled.
//!
//! A step of a few dozen units is over in a hundred nanoseconds, and most of that is waiting: for a sum that goes on
//! from the one before it, for a tanh that ends in a quotient, for h on its way to memory and back. So:
//!
//! *What is kept in registers.* A tile is a vector of units. For a few tiles at a time, a *group*, all slots are summed
//! (bias, x, h, in that order), the cell's function makes them into the new states, and these alone are written. Rows of
//! the gate buffer are written only where a tape wants them, or a second half (below).
//!
//! *Why groups.* One tile of four slots has four sums, each of which waits for itself; the machine could do eight to ten
//! at once. Two tiles fill it, four where a cell has a single slot. More would not fit the registers, and a sum that goes
//! out to memory costs more than it saves. Where the registers of a level do not hold a group's sums, they are made
//! tile by tile; where a cell has more slots than a tile has room for, by [`group`]s of them.
//!
//! *Why pairs.* The same holds for activations, which are long chains of few operations: those of two tiles are computed
//! by turns, as those of a pair of vectors. Single tiles join a group, because alone they would take as long as two.
//!
//! *Why blocks.* Parameters lie in panels of some units, and walks through memory should be along them: a block is whole
//! panels and whole groups. The last block takes from half as many units to half as many again, so that what is left
//! over at the end is a run of tiles, one more tile or a part of one: sizes the compiler knows, written out.
//!
//! *Why in this order.* Every group needs all of the old h, so the new one goes to a row of its own, `next`, and the last
//! group alone may write to h itself. What h is copied from is then old enough to be in the cache. Units that fill no
//! vector are read under a mask and written by narrower whole registers (see [`Simd::store_ptr_partial`]): the next
//! step reads h one by one as soon as it is there. And a group is done before the next one begins ([`black_box`]): the
//! compiler would put off what nothing waits for, and hold sums in registers that the next group's need.
//!
//! *Where vectors are numbers by themselves*, there is nothing to fill by turns: the units of a group are activated one
//! after another. Groups are few units, alike, in one loop: code for the last of them would double the program.
//!
//! *Maps of computed values* need the value of every unit, so such a cell goes in two halves, each over all groups: in the
//! first, sums and [`Cell::value`]; in the second, the products with values, and [`Cell::forward`]. In the second nobody
//! needs the old h of other units.
//!
//! *The order of each sum* is that of run-time networks, a function of sizes alone: hence the same bits.

use super::group::*;
use super::{Fixed, State};
use crate::cell::{Cell, Layout, activate};
use crate::kernel::panel::{panel, place};
use crate::kernel::plan::group;
use crate::kernel::product::chains;
use crate::kernel::sum::{Group, MOST, MapSum, NONE, PART, Scales, TILE, Tiles, together};
use crate::real::Real;
use crate::simd::flat::{Array, flat};
use crate::simd::{Kernel, Lanes, Simd, Weight};
use core::hint::black_box;
use core::marker::PhantomData;

/// A step. What stands in the slots at its end goes to `slots`: one row for each, or none.
pub(super) struct OneStep<'a, C: Cell, T: Real, const I: usize, const H: usize, W: Weight<T>, K> {
    pub cell: &'a Fixed<C, T, I, H, W>,
    pub x: &'a [T; I],
    pub state: &'a mut State<C, T, H>,
    pub slots: &'a mut K,
}

impl<C: Cell, T: Real, const I: usize, const H: usize, W: Weight<T>, K: Array<[T; H]>> Kernel<T>
    for OneStep<'_, C, T, I, H, W, K>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Self { cell, x, state, slots } = self;
        // It is written before it is read. A call would clear it, where there are no vectors; a copy is done in line.
        let mut next = if const { S::LANES == 1 } { state[0] } else { [T::ZERO; H] };
        let (mut b_ih, mut b_hh) = (&cell.b_ih.0, &cell.b_hh.0);
        if const { S::LANES == 1 } {
            // Addresses of their own: they lie further from those of the weights than a load reaches.
            (b_ih, b_hh) = (black_box(b_ih), black_box(b_hh));
        }
        let (b_ih, b_hh) = (b_ih.as_ref().as_flattened(), b_hh.as_ref().as_flattened());
        let mut units = Units::<T, W, Of<C, I, H>> {
            w_ih: flat(&cell.w_ih.0).as_flattened(),
            w_hh: flat(&cell.w_hh.0).as_flattened(),
            scale_ih: cell.scale_ih.0.as_ref().as_flattened(),
            scale_hh: cell.scale_hh.0.as_ref().as_flattened(),
            b_ih,
            b_hh,
            w_p: cell.w_p.0.as_ref().as_flattened(),
            x,
            states: state.as_mut().as_flattened_mut(),
            next: &mut next,
            slots: slots.as_mut().as_flattened_mut(),
            keep: K::LEN > 0,
            size: PhantomData,
        };
        if const { Layout::of::<C>().stages() > 1 } {
            units.all::<S, VALUES>(s);
            units.all::<S, REST>(s);
        } else if const { S::LANES == 1 } {
            units.one_by_one(s);
        } else {
            units.all::<S, WHOLE>(s);
        }
    }
}

/// Gates that one operand feeds, of those that are summed together: the slot of the first, how many, where their panels
/// begin, and in how many runs the sum is made.
#[derive(Clone, Copy)]
struct FedSlots {
    slot: usize,
    gates: usize,
    at: usize,
    chains: usize,
    /// Of the gates that the operand feeds, where these begin.
    first: usize,
}

impl FedSlots {
    const NONE: Self = FedSlots { slot: 0, gates: 0, at: 0, chains: 1, first: 0 };

    /// Group `n` of the gates fed by x.
    const fn by_x<Z: Size>(n: usize) -> Self {
        let slots = Z::LAYOUT.x_slots();
        FedSlots { slot: slots.first, gates: slots.count, ..Self::NONE }
            .group(Z::INPUTS * Z::UNITS, n)
    }

    /// Group `n` of the gates fed by h.
    const fn by_h<T: Real, Z: Size>(n: usize) -> Self {
        let gates = Z::LAYOUT.h_slots().count;
        let chains = chains::<T>(Z::UNITS, gates);
        FedSlots { gates, chains, ..Self::NONE }.group(Z::UNITS * Z::UNITS, n)
    }

    /// The gate fed by map `n` of a value.
    const fn by_value<T: Real, Z: Size>(n: usize) -> Self {
        let maps = Z::LAYOUT.maps();
        if n >= maps.len() {
            return Self::NONE;
        }
        let first = Z::LAYOUT.h_slots().count + n;
        let (slot, at) = (maps[n].to as usize, first * Z::UNITS * Z::UNITS);
        FedSlots { slot, gates: 1, at, chains: chains::<T>(Z::UNITS, 1), first }
    }

    /// The n-th of the groups that these are summed in, with so many weights a gate.
    const fn group(self, weights: usize, n: usize) -> Self {
        let (mut first, mut i) = (0, 0);
        while first < self.gates {
            let own = group(self.gates, first);
            if i == n {
                let (slot, at) = (self.slot + first, self.at + first * weights);
                return FedSlots { slot, gates: own, at, first, ..self };
            }
            (first, i) = (first + own, i + 1);
        }
        Self::NONE
    }
}

/// What feeds gates.
const BY_X: u8 = 0;
const BY_H: u8 = 1;
const BY_VALUE: u8 = 2;

/// The slots fed by one of these, by number. A constant of a type that knows no more than it needs is made once, not
/// for each level and group of tiles: a third of the time in which cells compiled went into that.
struct Fed<T, Z, const BY: u8, const N: usize>(PhantomData<(T, Z)>);

impl<T: Real, Z: Size, const BY: u8, const N: usize> Fed<T, Z, BY, N> {
    const SLOTS: FedSlots = match BY {
        BY_X => FedSlots::by_x::<Z>(N),
        BY_H => FedSlots::by_h::<T, Z>(N),
        _ => FedSlots::by_value::<T, Z>(N),
    };
    /// How they are summed, as a number to be matched: in the tens how many gates, in the ones in how many runs.
    const SUMMED: usize = 10 * Self::SLOTS.gates + Self::SLOTS.chains;
}

/// What a step reads and writes.
struct Units<'a, T: Real, W: Weight<T>, Z> {
    w_ih: &'a [W::Stored],
    w_hh: &'a [W::Stored],
    scale_ih: &'a [W::Scale],
    scale_hh: &'a [W::Scale],
    b_ih: &'a [T],
    b_hh: &'a [T],
    w_p: &'a [T],
    x: &'a [T],
    /// h, and the other states.
    states: &'a mut [T],
    /// h after the step, but for the last group: the others need h as it was.
    next: &'a mut [T],
    /// Rows of the gate buffer; none where nobody wants them.
    slots: &'a mut [T],
    /// Whether anybody wants what stands there at the end.
    keep: bool,
    size: PhantomData<Z>,
}

impl<T: Real, W: Weight<T>, Z: Size> Units<'_, T, W, Z> {
    /// Every unit, block by block.
    #[inline(always)]
    fn all<S: Simd<T>, const HALF: u8>(&mut self, s: S) {
        let block = const { block::<T, S>(Z::SLOTS) };
        let blocks = const { blocks::<T, S>(Z::UNITS, Z::SLOTS) };
        let (early, run) = (blocks * block, const { together(Z::SLOTS) } * S::LANES);
        for i in 0..blocks {
            let mut done = 0;
            while done < block {
                self.run::<S, HALF>(s, i * block + done);
                done += run;
            }
        }
        let (before, tiles, extra) = const { last::<T, S>(Z::UNITS, Z::SLOTS) };
        for i in 0..before {
            self.run::<S, HALF>(s, early + i * run);
        }
        let u = early + before * run;
        macro_rules! last {
            ($($n:literal)*) => { $(last!($n, NONE); last!($n, TILE); last!($n, PART);)* };
            ($n:literal, $extra:ident) => {
                if const {
                    let (_, tiles, extra) = last::<T, S>(Z::UNITS, Z::SLOTS);
                    tiles == $n && extra == $extra
                } && tiles == $n && extra == $extra {
                    self.group::<S, Tiles<$n, $extra>, HALF, true>(s, u);
                }
            };
        }
        last!(0 1 2 3 4);
        if HALF == WHOLE {
            self.states[..u].copy_from_slice(&self.next[..u]);
        }
    }

    /// Every unit, a few together: where the vectors are numbers by themselves.
    #[inline(always)]
    fn one_by_one<S: Simd<T>>(&mut self, s: S) {
        let run = const { together(Z::SLOTS) };
        let mut u = 0;
        while u + run <= Z::UNITS {
            self.run::<S, WHOLE>(s, u);
            u += run;
        }
        for u in u..Z::UNITS {
            self.group::<S, Tiles<1, NONE>, WHOLE, false>(s, u);
        }
        self.states[..Z::UNITS].copy_from_slice(self.next);
    }

    /// A group before the last.
    #[inline(always)]
    fn run<S: Simd<T>, const HALF: u8>(&mut self, s: S, u: usize) {
        match const { together(Z::SLOTS) } {
            2 => self.group::<S, Tiles<2, NONE>, HALF, false>(s, u),
            _ => self.group::<S, Tiles<4, NONE>, HALF, false>(s, u),
        }
    }

    /// The tiles of a group, from unit `u` on: in this half of the step, and maybe as the last, which may overwrite h.
    #[inline(always)]
    fn group<S: Simd<T>, R: Group, const HALF: u8, const LAST: bool>(&mut self, s: S, u: usize) {
        let zero = Lanes::<T, S>::new(s, s.zero());
        let units = Z::UNITS;
        let mut tiles = [Slots::<Z, T, S>::filled(zero); MOST];
        for (t, tile) in tiles[..R::COUNT].iter_mut().enumerate() {
            for (k, sum) in tile.as_mut().iter_mut().enumerate() {
                *sum = if HALF == REST {
                    read::<T, S, R>(s, t, &self.slots[k * units..][..units][u..])
                } else {
                    let own = u + t * S::LANES;
                    own_of::<T, S, Z, R>(s, t, self.b_ih, Z::SLOTS, k, own)
                        + own_of::<T, S, Z, R>(s, t, self.b_hh, Z::SLOTS, k, own)
                };
            }
        }
        macro_rules! sum {
            ($by:expr, $w:expr, $scales:expr, $steps:expr, $fed:ident; $($n:literal)*) => {
                $(sum!(
                    $by, $w, $scales, $steps, $fed, $n;
                    (11: 1, 1) (21: 2, 1) (31: 3, 1) (41: 4, 1) (12: 1, 2) (22: 2, 2) (32: 3, 2) (42: 4, 2)
                    (14: 1, 4) (24: 2, 4) (34: 3, 4)
                );)*
            };
            (
                $by:expr, $w:expr, $scales:expr, $steps:expr, $fed:ident, $n:literal;
                $(($summed:literal: $gates:literal, $chains:literal))*
            ) => {
                match Fed::<T, Z, $fed, $n>::SUMMED {
                    $($summed => {
                        let FedSlots { slot, at, first, .. } = Fed::<T, Z, $fed, $n>::SLOTS;
                        let (w, panel) = (&$w[at..at + $gates * $steps * units], const { panel(Z::SLOTS) });
                        let scales = Scales { data: $scales, gates: $scales.len() / units, first };
                        let of = MapSum::<T, W> { by: &$by[..$steps], w, scales, slot, units, panel };
                        of.tiles::<S, R, _, $gates, $chains>(s, u, &mut tiles);
                    })*
                    _ => {}
                }
            };
        }
        macro_rules! maps {
            ($($n:literal)*) => {
                $(
                    if const { Z::LAYOUT.maps().len() > $n } {
                        let value = const { Z::LAYOUT.maps() }[$n].value as usize;
                        let value = &self.slots[value * units..];
                        sum!(value, self.w_hh, self.scale_hh, units, BY_VALUE, $n; (11: 1, 1) (12: 1, 2) (14: 1, 4));
                    }
                )*
            };
        }
        if HALF == REST {
            maps!(0 1 2 3);
        } else {
            sum!(self.x, self.w_ih, self.scale_ih, Z::INPUTS, BY_X; 0 1 2 3);
            sum!(self.states, self.w_hh, self.scale_hh, units, BY_H; 0 1 2 3);
        }

        let mut states = [States::<Z, T, S>::filled(zero); MOST];
        let mut own = [Parameters::<Z, T, S>::filled(zero); MOST];
        for t in 0..R::COUNT {
            for (k, state) in states[t].as_mut().iter_mut().enumerate() {
                if k > 0 || Z::Cell::READS_H {
                    *state = read::<T, S, R>(s, t, &self.states[k * units..][..units][u..]);
                }
            }
            for (k, p) in own[t].as_mut().iter_mut().enumerate() {
                let all = Z::LAYOUT.parameters();
                *p = own_of::<T, S, Z, R>(s, t, self.w_p, all, k, u + t * S::LANES);
            }
        }
        if const { HALF == VALUES } {
            activate::<Z::Cell, T, S, R, true>(s, &mut tiles, &mut states, &own);
        } else {
            activate::<Z::Cell, T, S, R, false>(s, &mut tiles, &mut states, &own);
        }
        for t in 0..R::COUNT {
            if HALF != VALUES {
                for (k, &state) in states[t].as_ref().iter().enumerate() {
                    let in_place = k > 0 || LAST || HALF == REST;
                    let to = if in_place { &mut *self.states } else { &mut *self.next };
                    write::<T, S, R>(state, t, &mut to[k * units..][..units][u..]);
                }
            }
            if self.keep || HALF == VALUES {
                self.put::<S, R>(t, u, &tiles[t]);
            }
        }
        if !LAST {
            // It is done before the next group begins.
            black_box(self.next.as_mut_ptr());
        }
    }

    /// What stands in the slots of tile `t` of a group, to the gate buffer.
    #[inline(always)]
    fn put<S: Simd<T>, R: Group>(&mut self, t: usize, u: usize, tile: &Slots<Z, T, S>) {
        for (row, &slot) in self.slots.chunks_exact_mut(Z::UNITS).zip(tile.as_ref()) {
            write::<T, S, R>(slot, t, &mut row[u..]);
        }
    }
}

/// Tile `t` of a group, from where the group begins.
#[inline(always)]
fn read<T: Real, S: Simd<T>, R: Group>(s: S, t: usize, from: &[T]) -> Lanes<T, S> {
    if R::EXTRA == PART && t == R::RUN {
        Lanes::read::<true>(s, from, t * S::LANES)
    } else {
        Lanes::read::<false>(s, from, t * S::LANES)
    }
}

/// The mirror of [`read`].
#[inline(always)]
fn write<T: Real, S: Simd<T>, R: Group>(v: Lanes<T, S>, t: usize, to: &mut [T]) {
    if R::EXTRA == PART && t == R::RUN {
        v.write::<true>(to, t * S::LANES);
    } else {
        v.write::<false>(to, t * S::LANES);
    }
}

/// Tile `t` of a group, which begins with unit `own`, of row `k` of panels of so many rows.
#[inline(always)]
fn own_of<T: Real, S: Simd<T>, Z: Size, R: Group>(
    s: S,
    t: usize,
    panels: &[T],
    rows: usize,
    k: usize,
    own: usize,
) -> Lanes<T, S> {
    let (at, width) = place([1, rows, Z::UNITS], const { panel(Z::SLOTS) }, own);
    let lanes = if Z::UNITS - own < S::LANES { Z::UNITS - own } else { S::LANES };
    let from = &panels[at..][k * width..][..lanes];
    if R::EXTRA == PART && t == R::RUN {
        Lanes::read::<true>(s, from, 0)
    } else {
        Lanes::read::<false>(s, from, 0)
    }
}
