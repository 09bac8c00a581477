//! Where a unit's values stand in panels of a few units.

/// Units in a panel, of a cell with so many slots: as many as fill the registers with sums.
#[inline(always)]
pub const fn panel(slots: usize) -> usize {
    if slots == 1 { 64 } else { 16 }
}

/// A unit's place in panels of so many steps, gates and units in all: where its value of the first step and gate
/// stands, and how far apart the gates are. Steps are as many times further apart as there are gates.
#[inline(always)]
pub const fn place([steps, gates, units]: [usize; 3], panel: usize, unit: usize) -> (usize, usize) {
    // Where there is one panel, or all are alike, no unit needs to be known for that to be.
    let first = if units <= panel { 0 } else { unit / panel * panel };
    let rest = if units / panel * panel == units { panel } else { units - first };
    let width = if rest < panel { rest } else { panel };
    (first * gates * steps + unit - first, width)
}
