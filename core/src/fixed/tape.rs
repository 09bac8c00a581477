//! The caller's memory of a training pass.

use super::panel::rows;
use super::{Fixed, Parameters};
use crate::cell::{Cell, Chunk, Sum, WeightGradients};
use crate::kernel::panel::{panel, place};
use crate::kernel::plan::Static;
use crate::real::Real;
use crate::simd::flat::{Joined, filled, flat, flat_mut};
use crate::simd::{Kernel, Level, Rhs, Simd};
use crate::time::Passes;
use core::fmt;
use core::hint::black_box;
use core::ops::Range;
use core::slice::{from_mut, from_ref};

/// A row of the gate buffer: slots, and room for the derivatives by the units' own parameters, which follow those by
/// the slots.
pub(super) type Row<C, T, const H: usize> =
    Joined<<C as Cell>::Slots<[T; H]>, <C as Cell>::Parameters<[T; H]>>;

/// What is left to do of some steps once their `d_slots` are known: as in run-time networks, compiled once for all sizes;
/// or, where vectors are numbers by themselves, for these, because to find out sizes takes longer there than the work.
pub(super) struct Rest<'a, C: Cell, T: Real, const I: usize, const H: usize, const N: usize> {
    pub tape: &'a mut Tape<C, T, I, H, N>,
    pub steps: Range<usize>,
    pub d_x: &'a mut [T],
}

impl<C: Cell, T: Passes, const I: usize, const H: usize, const N: usize> Kernel<T>
    for Rest<'_, C, T, I, H, N>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let mut chunk = self.tape.chunk(self.steps, self.d_x);
        if const { S::LANES == 1 } {
            // Addresses of their own: they lie further from that of the tape than a load reaches.
            (chunk.h, chunk.d_slots) = (black_box(chunk.h), black_box(chunk.d_slots));
            chunk.sum::<S, Static<H>>(s);
        } else {
            T::chunk(Level::best(), chunk);
        }
    }
}

/// What up to `N` recorded steps keep, and room for the way back. Its size is fixed: see [Memory](super#memory).
#[derive(Clone)]
#[repr(C, align(64))]
pub struct Tape<C: Cell, T: Real, const I: usize, const H: usize, const N: usize> {
    pub(super) slots: [Row<C, T, H>; N],
    pub(super) d_slots: [Row<C, T, H>; N],
    // State after state.
    pub(super) before: C::States<[[T; H]; N]>,
    pub(super) x: [[T; I]; N],
    // Transposed weights: gate in the slots' order, unit, what multiplies. Maps of values follow.
    w_ih_t: C::MapsOfX<[[T; I]; H]>,
    pub(super) w_hh_t: C::MapsOfH<[[T; H]; H]>,
    pub(super) parameters: C::Parameters<[T; H]>,
    // Sums of gradients: what multiplies, gate, unit. Maps of values follow, each by itself.
    d_w_ih: [C::MapsOfX<[T; H]>; I],
    d_w_hh: [C::MapsOfH<[T; H]>; H],
    d_bias: Row<C, T, H>,
    pub(super) len: usize,
}

impl<C: Cell, T: Real, const I: usize, const H: usize, const N: usize> Tape<C, T, I, H, N> {
    /// An empty tape.
    #[must_use]
    pub const fn new() -> Self {
        let zeros = [T::ZERO; H];
        Tape {
            slots: [filled(zeros); N],
            d_slots: [filled(zeros); N],
            before: filled([zeros; N]),
            x: [[T::ZERO; I]; N],
            w_ih_t: filled([[T::ZERO; I]; H]),
            w_hh_t: filled([zeros; H]),
            parameters: filled(zeros),
            d_w_ih: [filled(zeros); I],
            d_w_hh: [filled(zeros); H],
            d_bias: filled(zeros),
            len: 0,
        }
    }

    /// Steps recorded.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether no step is recorded.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets the steps recorded.
    pub const fn clear(&mut self) {
        self.len = 0;
    }

    /// Fills in the transposed weights and clears the sums.
    pub(super) fn transpose(&mut self, cell: &Fixed<C, T, I, H>) {
        let layout = const { &Fixed::<C, T, I, H>::SHAPE.layout };
        let (slots, fed) = (layout.slots(), layout.h_slots().count);
        let w_ih = flat(&cell.w_ih.0).as_flattened();
        let to = self.w_ih_t.as_mut().as_flattened_mut().as_flattened_mut();
        rows(w_ih, to, [I, layout.maps_of_x(), H], panel(slots));
        let (w_hh, maps) = flat(&cell.w_hh.0).as_flattened().split_at(fed * H * H);
        let to = self.w_hh_t.as_mut().as_flattened_mut().as_flattened_mut();
        let (to, to_maps) = to.split_at_mut(fed * H * H);
        rows(w_hh, to, [H, fed, H], panel(slots));
        for (w, to) in maps.chunks_exact(H * H).zip(to_maps.chunks_exact_mut(H * H)) {
            rows(w, to, [H, 1, H], panel(slots));
        }
        let p = cell.w_p.0.as_ref().as_flattened();
        for (own, to) in self.parameters.as_mut().iter_mut().enumerate() {
            for (u, to) in to.iter_mut().enumerate() {
                let (at, width) = place([1, layout.parameters(), H], panel(slots), u);
                *to = p[at + own * width];
            }
        }
        flat_mut(&mut self.d_w_ih).as_flattened_mut().fill(T::ZERO);
        flat_mut(&mut self.d_w_hh).as_flattened_mut().fill(T::ZERO);
        self.d_bias.as_mut().as_flattened_mut().fill(T::ZERO);
    }

    /// It, in numbers.
    #[inline(always)]
    fn chunk<'a>(&'a mut self, steps: Range<usize>, d_x: &'a mut [T]) -> Chunk<'a, T> {
        let shape = const { &Fixed::<C, T, I, H>::SHAPE };
        let d_w_hh = flat_mut(&mut self.d_w_hh).as_flattened_mut();
        let (state, maps) = d_w_hh.split_at_mut(shape.layout.h_slots().count * H * H);
        Chunk {
            shape,
            rows: steps.len(),
            x: (self.x[steps.clone()].as_flattened(), I),
            h: self.before.as_ref()[0][steps.clone()].as_flattened(),
            slots: flat(&self.slots[steps.clone()]).as_flattened(),
            d_slots: flat(&self.d_slots[steps]).as_flattened(),
            projected: None,
            input: Rhs {
                data: self.w_ih_t.as_ref().as_flattened().as_flattened(),
                step: I,
                tile: 0,
                gate: 0,
            },
            d_x,
            add_d_x: false,
            gradients: WeightGradients {
                input: Sum::ByValue(flat_mut(&mut self.d_w_ih).as_flattened_mut()),
                state: Sum::ByValue(state),
                maps,
                projection: Sum::ByValue(&mut []),
                bias: flat_mut(from_mut(&mut self.d_bias)).as_flattened_mut(),
            },
        }
    }

    /// Adds the sums to gradients in PyTorch's layout.
    pub(super) fn add_to(&self, to: &mut Parameters<C, T, I, H>) {
        let layout = const { &Fixed::<C, T, I, H>::SHAPE.layout };
        let d_w_ih = flat(&self.d_w_ih).as_flattened();
        for (g, &block) in layout.x_blocks().iter().enumerate() {
            add(d_w_ih, &mut to.w_ih.as_mut()[block as usize], layout.maps_of_x(), g);
        }
        let fed = layout.h_slots().count;
        let (d_w_hh, maps) = flat(&self.d_w_hh).as_flattened().split_at(fed * H * H);
        for (g, &block) in layout.h_blocks().iter().enumerate() {
            add(d_w_hh, &mut to.w_hh.as_mut()[block as usize], fed, g);
        }
        for (map, d) in layout.maps().iter().zip(maps.chunks_exact(H * H)) {
            add(d, &mut to.w_hh.as_mut()[map.block as usize], 1, 0);
        }
        let d_bias: &[[T; H]] = flat(from_ref(&self.d_bias));
        let sum = |to: &mut [T; H], from: usize| {
            to.iter_mut().zip(&d_bias[from]).for_each(|(to, &d)| *to += d);
        };
        for (block, to) in to.b_ih.as_mut().iter_mut().enumerate() {
            sum(to, layout.x_slot(block));
        }
        for (block, to) in to.b_hh.as_mut().iter_mut().enumerate() {
            sum(to, layout.h_slot(block));
        }
        for (own, to) in to.w_p.as_mut().iter_mut().enumerate() {
            sum(to, layout.slots() + own);
        }
    }
}

/// Adds gate `g` of `gates` of sums by value to a block of a matrix.
fn add<T: Real, const K: usize, const H: usize>(
    from: &[T],
    to: &mut [[T; K]; H],
    gates: usize,
    g: usize,
) {
    for (u, row) in to.iter_mut().enumerate() {
        for (k, to) in row.iter_mut().enumerate() {
            *to += from[(k * gates + g) * H + u];
        }
    }
}

impl<C: Cell, T: Real, const I: usize, const H: usize, const N: usize> Default
    for Tape<C, T, I, H, N>
{
    fn default() -> Self {
        Self::new()
    }
}

impl<C: Cell, T: Real, const I: usize, const H: usize, const N: usize> fmt::Debug
    for Tape<C, T, I, H, N>
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape").field("len", &self.len).finish_non_exhaustive()
    }
}
