//! How a cell's parameters lie in memory: in panels of a few units, within them by step, gate and unit.
//!
//! What a tile reads of a panel adjoins, so that it takes whole cache lines and they follow one another. In rows of
//! all units it would take a line here and there, of the same few sets of the caches. Gates that are not summed
//! together (see [`group`]) follow one another, each group in panels of its own.

use crate::kernel::panel::place;
use crate::kernel::plan::group;
use crate::real::Real;

/// Values that begin with a cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Aligned<A>(pub A);

/// Where a gate's values of a unit begin, and how far apart their steps are, where gates stand in groups.
#[inline(always)]
const fn column(
    [steps, gates, units]: [usize; 3],
    panel: usize,
    gate: usize,
    unit: usize,
) -> (usize, usize) {
    let (mut first, mut own) = (0, group(gates, 0));
    while first + own <= gate {
        first += own;
        own = group(gates, first);
    }
    let (at, width) = place([steps, own, units], panel, unit);
    (first * steps * units + at + (gate - first) * width, own * width)
}

/// Fills panels out of row blocks of a matrix of `from`, each with a row of so many steps for each unit: gate g is block
/// `blocks[g]`.
pub(super) const fn fill<A: Copy>(
    from: &[A],
    to: &mut [A],
    [steps, units]: [usize; 2],
    panel: usize,
    blocks: &[u8],
) {
    let mut g = 0;
    while g < blocks.len() {
        let mut u = 0;
        while u < units {
            let (at, apart) = column([steps, blocks.len(), units], panel, g, u);
            let row = (blocks[g] as usize * units + u) * steps;
            let mut k = 0;
            while k < steps {
                to[at + k * apart] = from[row + k];
                k += 1;
            }
            u += 1;
        }
        g += 1;
    }
}

/// Fills one slot of panels of a single step with a run of units.
pub(super) const fn fill_slot<A: Copy>(
    from: &[A],
    to: &mut [A],
    [slots, units]: [usize; 2],
    panel: usize,
    slot: usize,
) {
    let mut u = 0;
    while u < units {
        let (at, width) = place([1, slots, units], panel, u);
        to[at + slot * width] = from[u];
        u += 1;
    }
}

/// The mirror of [`fill`], where the blocks stand in the order of the gates.
#[inline(always)]
pub(super) fn rows<T: Real>(
    from: &[T],
    to: &mut [T],
    [steps, gates, units]: [usize; 3],
    panel: usize,
) {
    for (row, to) in to.chunks_exact_mut(steps).enumerate() {
        let (at, apart) = column([steps, gates, units], panel, row / units, row % units);
        for (k, to) in to.iter_mut().enumerate() {
            *to = from[at + k * apart];
        }
    }
}
