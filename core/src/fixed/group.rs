//! How a step's units are cut: into blocks, and these into groups of tiles that are summed and activated together.

use crate::cell::{Cell, Layout};
use crate::kernel::panel::panel;
use crate::kernel::sum::{NONE, PART, TILE, together};
use crate::real::Real;
use crate::simd::{Lanes, Simd};
use core::marker::PhantomData;

/// A cell and its sizes, as one type.
pub trait Size {
    type Cell: Cell;
    const LAYOUT: Layout;
    const INPUTS: usize;
    const UNITS: usize;
    const SLOTS: usize = Self::LAYOUT.slots();
}

pub struct Of<C, const I: usize, const H: usize>(PhantomData<C>);

impl<C: Cell, const I: usize, const H: usize> Size for Of<C, I, H> {
    type Cell = C;
    const LAYOUT: Layout = Layout::of::<C>();
    const INPUTS: usize = I;
    const UNITS: usize = H;
}

pub type Slots<Z, T, S> = <<Z as Size>::Cell as Cell>::Slots<Lanes<T, S>>;
pub type States<Z, T, S> = <<Z as Size>::Cell as Cell>::States<Lanes<T, S>>;
pub type Parameters<Z, T, S> = <<Z as Size>::Cell as Cell>::Parameters<Lanes<T, S>>;

/// The whole step; one of the two halves of a cell with maps of values.
pub const WHOLE: u8 = 0;
pub const VALUES: u8 = 1;
pub const REST: u8 = 2;

/// Units of a block: whole panels, and whole groups of tiles.
pub const fn block<T: Real, S: Simd<T>>(slots: usize) -> usize {
    let (panel, group) = (panel(slots), together(slots) * S::LANES);
    if panel > group { panel } else { group }
}

/// Blocks before the last, which takes from half as many units to half as many again.
pub const fn blocks<T: Real, S: Simd<T>>(units: usize, slots: usize) -> usize {
    let block = block::<T, S>(slots);
    units.saturating_sub(block / 2 + 1) / block
}

/// Whole groups before the last group of the last block; the run of tiles in that, and what follows. A single tile
/// does not make a group where it can join one: its activations would take as long as those of two.
pub const fn last<T: Real, S: Simd<T>>(units: usize, slots: usize) -> (usize, usize, u8) {
    let most = together(slots);
    let units = units - blocks::<T, S>(units, slots) * block::<T, S>(slots);
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
