//! How a cell's parameters lie in memory: in panels of a few units, within them by step, gate and unit.
//!
//! What a tile reads of a panel adjoins, so that it takes whole cache lines and they follow one another. In rows of
//! all units it would take a line here and there, of the same few sets of the caches.

/// Values that begin with a cache line.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub(super) struct Aligned<A>(pub A);

/// Units in a panel of `gates` gates: as many as fill the registers with sums.
pub(super) const fn panel(gates: usize) -> usize {
    if gates == 1 { 64 } else { 16 }
}

/// A unit's place in panels of so many steps, gates and units in all: where its value of the first step and gate
/// stands, and how far apart the gates are. Steps are as many times further apart as there are gates.
#[inline(always)]
pub(super) const fn place(
    [steps, gates, units]: [usize; 3],
    panel: usize,
    unit: usize,
) -> (usize, usize) {
    let first = unit / panel * panel;
    let width = if units - first < panel { units - first } else { panel };
    (first * gates * steps + unit - first, width)
}

/// Where the value of step `k`, gate `g` and unit `u` stands.
pub(super) const fn index(sizes: [usize; 3], panel: usize, [k, g, u]: [usize; 3]) -> usize {
    let (at, width) = place(sizes, panel, u);
    at + (k * sizes[1] + g) * width
}
