//! What is known of a layer when the code is compiled.

use super::layout::Layout;
use super::shape::Shape;
use crate::real::Real;
use core::marker::PhantomData;

/// What is known when the code is compiled. Constants of a [`Shape`] fold by themselves, but only after
/// the compiler has had all the code before it; what a `const` here rules out, it never sees.
pub trait Plan: Copy + Send + Sync + 'static {
    /// The cell and its units (padded, where weights are packed), if they are fixed: for steps of a single row.
    const FIXED: Option<(Layout, usize)>;
    /// Whether weights are [`pack`](super::pack)ed.
    const PACKED: bool;

    /// A shape that it fits, with what is known made constant.
    #[inline(always)]
    fn known<T: Real>(shape: &Shape) -> Shape {
        match Self::FIXED {
            None => *shape,
            Some((layout, units)) => Shape {
                layout,
                projected: false,
                stride: units,
                state_stride: units,
                line: T::PAD,
                ..*shape
            },
        }
    }
}

/// Nothing is known: run-time sizes.
#[derive(Clone, Copy, Debug)]
pub struct RunTime;

impl Plan for RunTime {
    const FIXED: Option<(Layout, usize)> = None;
    const PACKED: bool = true;
}

/// Something whose [`Layout`] is known when compiled.
pub trait Known: Copy + Send + Sync + 'static {
    /// That.
    const LAYOUT: Layout;
}

/// A layer of a run-time network that a single row goes through, in rows of `STRIDE` values: few enough that what it takes
/// to find out sizes, and on the way back to call products and activations, takes as long as the work itself. All of a
/// step is then inlined into the loop over the steps.
#[derive(Clone, Copy, Debug)]
pub struct Short<C, const STRIDE: usize>(PhantomData<C>);

impl<C: Known, const STRIDE: usize> Plan for Short<C, STRIDE> {
    const FIXED: Option<(Layout, usize)> = Some((C::LAYOUT, STRIDE));
    const PACKED: bool = true;
}

/// The plan of a cell with `H` units whose weights lie as a cell of fixed size has them.
#[derive(Clone, Copy, Debug)]
pub struct Static<C, const H: usize>(PhantomData<C>);

impl<C: Known, const H: usize> Plan for Static<C, H> {
    const FIXED: Option<(Layout, usize)> = Some((C::LAYOUT, H));
    const PACKED: bool = false;
}

/// The product with W_ih.
pub(crate) const INPUT: u8 = 0;
/// The product with W_hh.
pub(crate) const STATE: u8 = 1;
/// Any other, which has one gate.
pub(crate) const SINGLE: u8 = 2;
/// A product of one run of units whose right operand may be rows as they come.
pub(crate) const OUTER: u8 = 3;

/// Gates whose sums a tile holds at the most.
pub(crate) const MOST_GATES: usize = 4;

/// The first of a group of gates that are summed together, and how many they are: as even groups of at most
/// [`MOST_GATES`] as can be.
pub(crate) const fn group(gates: usize, first: usize) -> usize {
    let groups = (gates - first).div_ceil(MOST_GATES);
    (gates - first).div_ceil(groups)
}

/// Whether a product may be of so many gates at a time.
pub(crate) const fn may_have(fixed: Option<(Layout, usize)>, which: u8, gates: usize) -> bool {
    match (which, fixed) {
        (OUTER | SINGLE, _) => gates == 1,
        (_, None) => true,
        (_, Some((layout, _))) => {
            let all = if which == INPUT { layout.x_slots().count } else { layout.h_slots().count };
            let mut first = 0;
            while first < all {
                let own = group(all, first);
                if own == gates {
                    return true;
                }
                first += own;
            }
            false
        }
    }
}
