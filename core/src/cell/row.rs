//! A step of a single row, forward: some units at a time are summed, go through the cell's function and leave as new
//! states, all in registers.
//!
//! What a step costs where there is one row, and few units, is not the products but what lies between them: sums that
//! go to memory and come back, and loops that find out their sizes. As in a [fixed cell](crate::fixed), whose module
//! says more, a group of tiles is done before the next begins, and only states are written; the sums are those of
//! [`super::step`], to the last bit.

use super::elementwise::{gather, places, read};
use super::{Array, Cell, Layout, activate};
use crate::kernel::plan::Plan;
use crate::kernel::product::chains;
use crate::kernel::shape::{Maps, Shape, Stored};
use crate::kernel::states::StatesMut;
use crate::kernel::sum::{Group, MOST, MapSum, NONE, Scales, Tiles, together};
use crate::real::Real;
use crate::simd::{Lanes, Simd, Weight};

/// The row.
pub struct Row<'a, T: Real, W: Weight<T>> {
    /// Sizes.
    pub shape: &'a Shape,
    /// Packed weights.
    pub maps: Maps<'a, T, W>,
    /// A row of slots to start from.
    pub bias: &'a [T],
    /// The units' own parameters.
    pub parameters: &'a [T],
    /// Which way to walk.
    pub turn: bool,
    /// x, if it is to be added here, to the bias; else the sums go on from what stands in the slots.
    pub x: Option<&'a [T]>,
    /// Whether a way back will read the slots.
    pub keep: bool,
    /// A row of the gate buffer.
    pub slots: &'a mut [T],
    /// From the old states to the new; the row is the first.
    pub states: StatesMut<'a, T>,
    /// Room for the new h, while groups of units still need the old.
    pub next: &'a mut [T],
}

/// Whether a cell's steps can be done so: nothing is mapped but x and h, into as many slots as a tile has room for.
pub const fn fits(layout: &Layout) -> bool {
    layout.stages() == 1 && layout.x_slots().count <= 4 && layout.h_slots().count <= 4
}

/// The step. Where no more is known than the cell, sums are made in one run.
#[inline(always)]
pub fn step<C: Cell, T: Real, W: Weight<T>, S: Simd<T>, P: Plan>(s: S, row: Row<'_, T, W>) {
    match const {
        match P::FIXED {
            Some(units) => chains::<T>(units, Layout::of::<C>().h_slots().count),
            None => 1,
        }
    } {
        1 => all::<C, T, W, S, 1>(s, row),
        2 => all::<C, T, W, S, 2>(s, row),
        _ => all::<C, T, W, S, 4>(s, row),
    }
}

#[inline(always)]
fn all<C: Cell, T: Real, W: Weight<T>, S: Simd<T>, const CHAINS: usize>(
    s: S,
    mut row: Row<'_, T, W>,
) {
    let Shape { hidden, stride, state, .. } = *row.shape;
    debug_assert!(state == hidden && hidden <= stride, "a projected h is no function of its unit");
    // Padding is nobody's, but a way back goes over whole rows. That these are not shorter than what they hold is said
    // to the compiler, which then knows how many groups there can be.
    let units = if row.keep { stride } else { hidden.next_multiple_of(S::LANES).min(stride) };
    let run = const { together(C::Slots::<u8>::LEN) } * S::LANES;
    // One group, a pair or a single tile: nobody else needs the old h. Of what is less than four, each tile is a group.
    let alone = stride <= if run == 2 * S::LANES { run } else { S::LANES };
    let at = places::<C>(|k| row.states.at(row.shape, k, 0));
    let whole = units / run;
    for i in 0..whole {
        let u = run * if row.turn { whole - 1 - i } else { i };
        match const { together(C::Slots::<u8>::LEN) } {
            2 => group::<C, T, W, S, Tiles<2, NONE>, CHAINS>(s, &mut row, &at, u, alone),
            _ => group::<C, T, W, S, Tiles<4, NONE>, CHAINS>(s, &mut row, &at, u, alone),
        }
    }
    for u in (whole * run..units).step_by(S::LANES) {
        group::<C, T, W, S, Tiles<1, NONE>, CHAINS>(s, &mut row, &at, u, alone);
    }
    if !alone {
        copy(s, &row.next[..units], &mut row.states.data[at.as_ref()[0]..][..units]);
    }
}

/// The tiles of a group, from unit `u` on; of one that is `alone` the new h goes where the old one was.
#[inline(always)]
fn group<C: Cell, T: Real, W: Weight<T>, S: Simd<T>, R: Group, const CHAINS: usize>(
    s: S,
    row: &mut Row<'_, T, W>,
    at: &C::States<usize>,
    u: usize,
    alone: bool,
) {
    let stride = row.shape.stride;
    // Whole tiles, as the compiler sees here: then it knows how far apart weights are.
    let units = stride / S::LANES * S::LANES;
    let own = u + R::RUN * S::LANES;
    let zero = Lanes::<T, S>::new(s, s.zero());
    let mut tiles = [C::Slots::filled(zero); MOST];
    let begin = if row.x.is_some() { row.bias } else { &*row.slots };
    let begin = &begin[..C::Slots::<u8>::LEN * stride];
    for t in 0..R::RUN {
        tiles[t] = read::<_, _, _, false>(s, begin, stride, own, u + t * S::LANES);
    }
    macro_rules! sum {
        ($by:expr, $w:expr, $slots:ident, $chains:expr) => {{
            let slots = const { Layout::of::<C>().$slots() };
            let (by, Stored { numbers: w, scales }, slot) = ($by, $w, slots.first);
            let scales = Scales { data: scales, gates: slots.count, first: 0 };
            let of = MapSum::<T, W> { by, w, scales, slot, units, panel: S::LANES };
            match const { Layout::of::<C>().$slots().count } {
                0 => {}
                1 => of.tiles::<S, R, _, 1, $chains>(s, u, &mut tiles),
                2 => of.tiles::<S, R, _, 2, $chains>(s, u, &mut tiles),
                3 => of.tiles::<S, R, _, 3, $chains>(s, u, &mut tiles),
                _ => of.tiles::<S, R, _, 4, $chains>(s, u, &mut tiles),
            }
        }};
    }
    let Maps { input: w_ih, state: w_hh } = row.maps;
    match row.x {
        None => {}
        // A signal: without a loop.
        Some(&[x]) => sum!(&[x], w_ih, x_slots, 1),
        Some(x) => sum!(x, w_ih, x_slots, 1),
    }
    let h = &row.states.data[at.as_ref()[0]..][..row.shape.state];
    sum!(h, w_hh, h_slots, CHAINS);

    let mut states = [C::States::filled(zero); MOST];
    let mut parameters = [C::Parameters::filled(zero); MOST];
    for t in 0..R::RUN {
        let u = u + t * S::LANES;
        states[t] = gather::<C, _, _, false>(s, row.states.data, at, own, u);
        parameters[t] = read::<_, _, _, false>(s, row.parameters, stride, own, u);
    }
    activate::<C, T, S, R, false>(s, &mut tiles, &mut states, &parameters);
    for t in 0..R::RUN {
        let u = u + t * S::LANES;
        for (k, state) in states[t].as_ref().iter().enumerate() {
            let to = match k {
                0 if !alone => &mut *row.next,
                _ => &mut row.states.data[at.as_ref()[k]..],
            };
            state.write::<false>(&mut to[..own], u);
        }
        if row.keep {
            for (k, slot) in tiles[t].as_ref().iter().enumerate() {
                slot.write::<false>(&mut row.slots[k * stride..][..own], u);
            }
        }
    }
}

/// `copy_from_slice` without a call: rows are short.
#[inline(always)]
pub fn copy<T: Real, S: Simd<T>>(s: S, from: &[T], to: &mut [T]) {
    let (from, to) = (&from[..to.len()], to);
    let mut at = 0;
    while at + S::LANES <= from.len() {
        s.store(&mut to[at..], s.load(&from[at..]));
        at += S::LANES;
    }
    if at < from.len() {
        s.store_partial(&mut to[at..], s.load_partial(&from[at..]));
    }
}
