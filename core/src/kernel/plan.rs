//! What is known of a layer when the code is compiled.

use super::layout::Layout;
use super::shape::Shape;
use crate::real::Real;
use core::marker::PhantomData;

/// What is known when the code is compiled. Constants of a [`Shape`] fold by themselves, but only after
/// the compiler has had all the code before it; what a `const` here rules out, it never sees.
pub trait Plan: Copy + Send + Sync + 'static {
    /// Units (padded, where weights are packed), if they are fixed: for steps of a single row.
    const FIXED: Option<usize>;
    /// Whether weights are [`pack`](super::pack)ed.
    const PACKED: bool;

    /// A shape that it fits, with what is known made constant.
    #[inline(always)]
    fn known<T: Real>(shape: &Shape) -> Shape {
        *shape
    }
}

/// Nothing is known: run-time sizes.
#[derive(Clone, Copy, Debug)]
pub struct RunTime;

impl Plan for RunTime {
    const FIXED: Option<usize> = None;
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
    const FIXED: Option<usize> = Some(STRIDE);
    const PACKED: bool = true;

    #[inline(always)]
    fn known<T: Real>(shape: &Shape) -> Shape {
        Shape {
            layout: C::LAYOUT,
            projected: false,
            stride: STRIDE,
            state_stride: STRIDE,
            line: T::PAD,
            ..*shape
        }
    }
}

/// `H` units whose weights lie as a cell of fixed size has them.
#[derive(Clone, Copy, Debug)]
pub struct Static<const H: usize>;

impl<const H: usize> Plan for Static<H> {
    const FIXED: Option<usize> = Some(H);
    const PACKED: bool = false;
}

/// A product of any number of gates, of run-time sizes.
pub(crate) const GATES: u8 = 0;
/// Any other, which has one gate.
pub(crate) const SINGLE: u8 = 1;
/// One of these in one run, whose right operand may be rows as they come.
pub(crate) const ROWS: u8 = 2;

/// Gates whose sums a tile holds at the most.
pub(crate) const MOST_GATES: usize = 4;

/// The first of a group of gates that are summed together, and how many they are: as even groups of at most
/// [`MOST_GATES`] as can be.
pub(crate) const fn group(gates: usize, first: usize) -> usize {
    let groups = (gates - first).div_ceil(MOST_GATES);
    (gates - first).div_ceil(groups)
}
