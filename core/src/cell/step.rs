//! One step forward and one back: products and elementwise work in turn.

use super::elementwise::{Back, Elementwise, Forth};
use crate::kernel::layout::{Map, Slots};
use crate::kernel::plan::{GATES, MOST_GATES, Plan, ROWS, RunTime, SINGLE, group};
use crate::kernel::product::{Product, Start, Strides, chains};
use crate::kernel::shape::{Shape, Transposed, Weights};
use crate::kernel::states::{States, StatesMut};
use crate::laps::{Part, lap};
use crate::real::Real;
use crate::simd::{Extent, Kernel, Lhs, Rhs, Simd};

/// `Product`, with the number of gates and, for fixed sizes, everything else made constant. Weights of fixed
/// sizes are not packed, nor are [`ROWS`]. More gates than a tile has room for are
/// summed in groups, which packed weights hold one after another.
#[inline(always)]
pub fn product<T: Real, S: Simd<T>, P: Plan, const WHICH: u8>(
    s: S,
    gates: usize,
    p: Product<'_, T, 0, false>,
) {
    if gates <= MOST_GATES {
        return some_gates::<T, S, P, WHICH>(s, gates, p);
    }
    let (mut first, steps) = (0, p.extent.steps);
    while first < gates {
        let (own, at) = (group(gates, first), first * p.strides.gate);
        let part = Product {
            rhs: Rhs {
                data: &p.rhs.data[first * steps * p.units..],
                tile: steps * own * S::LANES,
                ..p.rhs
            },
            start: match p.start {
                Start::Row(row) => Start::Row(&row[at..]),
                other => other,
            },
            out: &mut p.out[at..],
            ..p
        };
        some_gates::<T, S, P, WHICH>(s, own, part);
        first += own;
    }
}

/// As many as go together.
#[inline(always)]
fn some_gates<T: Real, S: Simd<T>, P: Plan, const WHICH: u8>(
    s: S,
    gates: usize,
    p: Product<'_, T, 0, false>,
) {
    macro_rules! with {
        ($n:literal) => {
            if const { $n <= MOST_GATES && ($n == 1 || WHICH == GATES) } && gates == $n {
                if const { S::LANES == 1 && P::FIXED.is_some() && WHICH == ROWS } {
                    p.with::<$n, false>().run_in_line(s);
                } else if const { P::FIXED.is_some() && P::PACKED } {
                    p.with::<$n, true>().run_one_row::<S, P, WHICH>(s);
                } else if const { P::FIXED.is_some() } {
                    p.with::<$n, false>().run_one_row::<S, P, WHICH>(s);
                } else if const { WHICH == ROWS } {
                    s.run(p.with::<$n, false>());
                } else {
                    s.run(p.with::<$n, true>());
                }
                return;
            }
        };
    }
    with!(1);
    with!(2);
    with!(3);
    with!(4);
}

/// Fills the gate buffer with b + W_ih x, for any number of rows (of any time steps) at once.
/// Rows of x stand `x_row` apart.
#[inline(always)]
pub fn input<T: Real, S: Simd<T>>(
    s: S,
    shape: &Shape,
    w: &Weights<'_, T>,
    rows: usize,
    x: &[T],
    x_row: usize,
    gates: &mut [T],
) {
    let Slots { first, count } = shape.layout.x_slots();
    // What x does not feed.
    for Slots { first, count } in [Slots { first: 0, count: first }, shape.layout.value_slots()] {
        if count > 0 {
            let own = first * shape.stride..(first + count) * shape.stride;
            for row in gates.chunks_mut(shape.row()).take(rows) {
                row[own.clone()].copy_from_slice(&w.bias[own.clone()]);
            }
        }
    }
    if rows == 0 || count == 0 {
        return;
    }
    product::<T, S, RunTime, GATES>(
        s,
        count,
        Product {
            rows,
            units: shape.stride,
            lhs: Lhs { data: x, row: x_row, step: 1, segment: 0 },
            rhs: w.input,
            extent: Extent { segments: 1, steps: shape.input },
            chains: 1,
            start: Start::Row(&w.bias[first * shape.stride..]),
            turn: false,
            out: &mut gates[first * shape.stride..],
            strides: Strides { row: shape.row(), tile: S::LANES, gate: shape.stride },
        },
    );
}

/// A kernel that is a function of its own for run-time sizes, and part of the caller where they are fixed.
#[inline(always)]
fn run<T: Real, S: Simd<T>, P: Plan, K: Kernel<T>>(s: S, kernel: K) -> K::Output {
    if const { P::FIXED.is_some() } { kernel.run(s) } else { s.run(kernel) }
}

impl<T: Real, E: Elementwise<T>> Kernel<T> for (&E, Forth<'_, T>) {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        self.0.forward(s, self.1);
    }
}

impl<T: Real, E: Elementwise<T>> Kernel<T> for (&E, Back<'_, T>) {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        self.0.backward(s, self.1);
    }
}

/// A step's working memory.
pub struct Scratch<'a, T> {
    /// Rows of `stride`: for what h is projected from, for values that maps act on.
    pub row: &'a mut [T],
    /// As many numbers as [`Elementwise::scratch`] says.
    pub cell: &'a mut [T],
}

/// One step: the gate buffer's rows from b + W_ih x to what the tape keeps, if it is to `keep` anything, `states` to the
/// new ones, in place.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn forward<T: Real, S: Simd<T>, E: Elementwise<T>>(
    s: S,
    cell: &E,
    shape: &Shape,
    w: &Weights<'_, T>,
    rows: usize,
    keep: bool,
    slots: &mut [T],
    states: &mut StatesMut<'_, T>,
    scratch: &mut Scratch<'_, T>,
) {
    let layout = &shape.layout;
    let Slots { count, .. } = layout.h_slots();
    if count > 0 {
        product::<T, S, RunTime, GATES>(
            s,
            count,
            Product {
                rows,
                units: shape.stride,
                lhs: Lhs {
                    data: states.of(shape, 0, 0..rows),
                    row: shape.state_stride,
                    step: 1,
                    segment: 0,
                },
                rhs: w.state,
                extent: Extent { segments: 1, steps: shape.state },
                chains: chains::<T>(shape.hidden, count),
                start: Start::Out,
                turn: w.turn,
                out: slots,
                strides: Strides { row: shape.row(), tile: S::LANES, gate: shape.stride },
            },
        );
        lap(Part::State);
    }
    let last = layout.stages() - 1;
    for stage in 0..=last {
        let projected = shape.projected;
        let work = Forth {
            shape,
            stage,
            rows,
            keep,
            slots: &mut *slots,
            states: states.again(),
            unprojected: projected.then_some(&mut *scratch.row),
            parameters: w.parameters,
            scratch: scratch.cell,
        };
        s.run((cell, work));
        lap(Part::Cell);
        if stage == last {
            break;
        }
        for (i, map) in
            layout.maps().iter().enumerate().filter(|(_, map)| map.stage as usize == stage)
        {
            copy_slot(shape, rows, slots, map.value, scratch.row);
            mapped(s, shape, rows, map_weights(shape, w.maps, i), w.turn, map, scratch.row, slots);
        }
        lap(Part::State);
    }
    if shape.projected {
        product::<T, S, RunTime, SINGLE>(
            s,
            1,
            Product {
                rows,
                units: shape.state_stride,
                lhs: Lhs { data: scratch.row, row: shape.stride, step: 1, segment: 0 },
                rhs: w.projection,
                extent: Extent { segments: 1, steps: shape.hidden },
                chains: chains::<T>(shape.state, 1),
                start: Start::Zero,
                turn: w.turn,
                out: states.of(shape, 0, 0..rows),
                strides: Strides { row: shape.state_stride, tile: S::LANES, gate: 0 },
            },
        );
        lap(Part::State);
    }
}

/// The weights of the `i`-th map of a value: all are square, and follow one another.
#[inline(always)]
fn map_weights<'a, T>(shape: &Shape, all: Rhs<'a, T>, i: usize) -> Rhs<'a, T> {
    Rhs { data: &all.data[i * shape.hidden * shape.stride..], ..all }
}

/// A slot of some rows, in rows by itself.
#[inline(always)]
fn copy_slot<T: Real>(shape: &Shape, rows: usize, slots: &[T], slot: u8, to: &mut [T]) {
    let copies = slots.chunks(shape.row()).zip(to.chunks_mut(shape.stride));
    for (row, to) in copies.take(rows) {
        to.copy_from_slice(&row[slot as usize * shape.stride..][..shape.stride]);
    }
}

/// Adds the product with a value to the slot it feeds.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn mapped<T: Real, S: Simd<T>>(
    s: S,
    shape: &Shape,
    rows: usize,
    rhs: Rhs<'_, T>,
    turn: bool,
    map: &Map,
    value: &[T],
    slots: &mut [T],
) {
    product::<T, S, RunTime, SINGLE>(
        s,
        1,
        Product {
            rows,
            units: shape.stride,
            lhs: Lhs { data: value, row: shape.stride, step: 1, segment: 0 },
            rhs,
            extent: Extent { segments: 1, steps: shape.hidden },
            chains: chains::<T>(shape.hidden, 1),
            start: Start::Out,
            turn,
            out: &mut slots[map.to as usize * shape.stride..],
            strides: Strides { row: shape.row(), tile: S::LANES, gate: 0 },
        },
    );
}

/// What a backward step reads of the forward one.
#[derive(Clone, Copy)]
pub struct Step<'a, T> {
    /// The gate buffer as it was left.
    pub slots: &'a [T],
    /// States before the step.
    pub before: States<'a, T>,
    /// The same of the step whose turn is next, to be fetched meanwhile: a tape is seldom in a cache. Cells fetch it row by
    /// row, for all at once would hold up the loads that come after.
    pub ahead: Option<(&'a [T], States<'a, T>)>,
}

/// The mirror of [`forward`]: `d_states` goes from the total derivatives by the new states to those by
/// the old ones, in place; `d_slots` gets the derivatives by the pre-activations. Where h is projected, the total
/// derivative by h goes to `d_projected`.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
pub fn backward<T: Real, S: Simd<T>, E: Elementwise<T>, P: Plan>(
    s: S,
    cell: &E,
    shape: &Shape,
    w: &Transposed<'_, T>,
    rows: usize,
    step: Step<'_, T>,
    d_states: &mut StatesMut<'_, T>,
    d_slots: &mut [T],
    scratch: &mut Scratch<'_, T>,
    d_projected: &mut [T],
) {
    let layout = &shape.layout;
    let projected = const { P::FIXED.is_none() } && shape.projected;
    if projected {
        let d_h = states_of_h(shape, d_states, rows);
        d_projected[..d_h.len()].copy_from_slice(d_h);
        product::<T, S, P, SINGLE>(
            s,
            1,
            Product {
                rows,
                units: shape.stride,
                lhs: Lhs { data: d_h, row: shape.state_stride, step: 1, segment: 0 },
                rhs: w.projection,
                extent: Extent { segments: 1, steps: shape.state },
                chains: chains::<T>(shape.hidden, 1),
                start: Start::Zero,
                turn: w.turn,
                out: scratch.row,
                strides: Strides { row: shape.stride, tile: S::LANES, gate: 0 },
            },
        );
    }
    for stage in (0..layout.stages()).rev() {
        for (i, map) in
            layout.maps().iter().enumerate().filter(|(_, map)| map.stage as usize == stage)
        {
            d_value::<T, S, P>(
                s,
                shape,
                rows,
                map_weights(shape, w.maps, i),
                w.turn,
                map,
                scratch.row,
                d_slots,
            );
        }
        let work = Back {
            shape,
            stage,
            rows,
            slots: step.slots,
            before: step.before,
            ahead: step.ahead,
            d_states: d_states.again(),
            d_unprojected: projected.then_some(&*scratch.row),
            d_slots: &mut *d_slots,
            parameters: w.parameters,
            scratch: scratch.cell,
        };
        lap_of::<P>(Part::DerivativeState);
        run::<T, S, P, _>(s, (cell, work));
        lap_of::<P>(Part::DerivativeCell);
    }
    let Slots { first, count } = layout.h_slots();
    let d_h = d_states.of(shape, 0, 0..rows);
    if count == 0 {
        if !layout.reads_h() {
            d_h.fill(T::ZERO);
        }
        return;
    }
    product::<T, S, P, SINGLE>(
        s,
        1,
        Product {
            rows,
            units: shape.state_stride,
            lhs: Lhs {
                data: &d_slots[first * shape.stride..],
                row: shape.row(),
                step: 1,
                segment: shape.stride,
            },
            rhs: w.state,
            extent: Extent { segments: count, steps: shape.hidden },
            chains: chains::<T>(shape.state, 1),
            start: if layout.reads_h() { Start::Out } else { Start::Zero },
            turn: w.turn,
            out: d_h,
            strides: Strides { row: shape.state_stride, tile: S::LANES, gate: 0 },
        },
    );
    lap_of::<P>(Part::DerivativeState);
}

/// A lap, but within steps so short that it would weigh.
#[inline(always)]
pub fn lap_of<P: Plan>(part: Part) {
    if const { P::FIXED.is_none() } {
        lap(part);
    }
}

/// The rows of h among derivatives by states.
#[inline(always)]
fn states_of_h<'a, T>(shape: &Shape, d_states: &'a mut StatesMut<'_, T>, rows: usize) -> &'a [T] {
    d_states.of(shape, 0, 0..rows)
}

/// The mirror of [`mapped`]: the derivative by a value, in its slot.
#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn d_value<T: Real, S: Simd<T>, P: Plan>(
    s: S,
    shape: &Shape,
    rows: usize,
    rhs: Rhs<'_, T>,
    turn: bool,
    map: &Map,
    scratch: &mut [T],
    d_slots: &mut [T],
) {
    product::<T, S, P, SINGLE>(
        s,
        1,
        Product {
            rows,
            units: shape.stride,
            lhs: Lhs {
                data: &d_slots[map.to as usize * shape.stride..],
                row: shape.row(),
                step: 1,
                segment: 0,
            },
            rhs,
            extent: Extent { segments: 1, steps: shape.hidden },
            chains: chains::<T>(shape.hidden, 1),
            start: Start::Zero,
            turn,
            out: scratch,
            strides: Strides { row: shape.stride, tile: S::LANES, gate: 0 },
        },
    );
    let copies = d_slots.chunks_mut(shape.row()).zip(scratch.chunks(shape.stride));
    for (row, d) in copies.take(rows) {
        row[map.value as usize * shape.stride..][..shape.stride].copy_from_slice(d);
    }
}
