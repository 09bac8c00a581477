//! Steps forward.

use super::{Pass, ShortRow, Steps, TapeMut, With};
use crate::cell::elementwise::Elementwise;
use crate::cell::row::{self, Row, copy};
use crate::cell::{self, Scratch, input};
use crate::kernel::plan::{Plan, RunTime};
use crate::kernel::product::chains;
use crate::kernel::shape::{Maps, Shape, Small, Weights};
use crate::kernel::states::StatesMut;
use crate::laps::{Part, lap};
use crate::real::Real;
use crate::simd::{Kernel, Simd, Weight};
use core::marker::PhantomData;
use core::ops::Range;

/// Runs the steps of a window forward.
pub struct Forward<'a, T: Real> {
    /// The layer, the sequence.
    pub pass: Pass<'a, T>,
    /// Packed weights.
    pub weights: Weights<'a, T>,
    /// The steps.
    pub window: Range<usize>,
    /// What to keep.
    pub tape: TapeMut<'a, T>,
    /// Gets h after each step, unless empty: packed rows from the window's first on, the first value at `.2` of a
    /// row, rows `.1` apart.
    pub y: (&'a mut [T], usize, usize),
    /// In: the states of all rows of the batch before the window; out: after it.
    pub carry: StatesMut<'a, T>,
    /// Of a step.
    pub scratch: Scratch<'a, T>,
}

impl<T: Real, E: Elementwise<T>> Kernel<T> for With<'_, &mut Forward<'_, T>, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let (pass, window) = (&self.0.pass, &self.0.window);
        match pass.rows.range(window).len() {
            0 => {}
            rows if const { E::SHORT }
                && rows == window.len()
                && pass.rows.count(window.start) == 1 =>
            {
                let (shape, full) = (pass.shape, self.0.weights.full());
                match shape.stride {
                    _ if shape.projected => self.all(s),
                    16 => s.run(self.steps::<_, ShortRow<E, T, 16>>(full)),
                    32 => s.run(self.steps::<_, ShortRow<E, T, 32>>(full)),
                    // Those that are stored smaller have sums in one run, and more units.
                    stride => match self.0.weights.small {
                        Small::Float16(maps) if const { S::HALVES } => {
                            s.run(self.steps::<_, RunTime>(maps))
                        }
                        // By vectors of whole lines alone: see `Storage::serves`.
                        Small::Int8(maps) if const { S::HALVES && S::LANES == T::PAD } => {
                            s.run(self.steps::<_, RunTime>(maps))
                        }
                        _ if chains::<T>(stride, shape.layout.h_slots().count) == 1 => {
                            s.run(self.steps::<_, RunTime>(full))
                        }
                        _ => self.all(s),
                    },
                }
            }
            _ => self.all(s),
        }
    }
}

/// Steps of a single row, which reads these weights.
struct Rowwise<'f, 'a, T: Real, W: Weight<T>>(&'f mut Forward<'a, T>, Maps<'f, T, W>);

impl<'c, 'f, 'a: 'f, T: Real, E: Elementwise<T>> With<'c, &'f mut Forward<'a, T>, E> {
    #[inline(always)]
    fn steps<W: Weight<T>, P: Plan>(
        self,
        maps: Maps<'f, T, W>,
    ) -> Steps<With<'c, Rowwise<'f, 'a, T, W>, E>, P> {
        Steps(With(Rowwise(self.0, maps), self.1), PhantomData)
    }
}

/// Values of x at most that are added step by step: a product over all steps would take as long to begin.
const FEW_INPUTS: usize = 8;

/// What a single row goes through from the first step to the last.
impl<T: Real, W: Weight<T>, E: Elementwise<T>, P: Plan> Kernel<T>
    for Steps<With<'_, Rowwise<'_, '_, T, W>, E>, P>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let With(Rowwise(forward, maps), _) = self.0;
        let Forward { pass, weights, window, tape, y, carry, scratch } = forward;
        // By themselves: behind a reference they might be what is written, and would be read anew in every step.
        let (pass, weights, window) = (*pass, *weights, window.clone());
        let TapeMut { slots, before, ends, .. } = tape;
        let (slots, mut before, ends) = (&mut **slots, before.again(), &mut **ends);
        let (y, y_row, y_first) = (&mut *y.0, y.1, y.2);
        let (mut carry, next) = (carry.again(), &mut scratch.row[..pass.shape.stride]);

        let shape = &P::known::<T>(pass.shape);
        let (slots_row, Pass { x, x_row, .. }) = (shape.row(), pass);
        // Of one step the product is not worth more than its weights cost: these are read smaller.
        let smaller = const { size_of::<W::Stored>() < size_of::<T>() };
        let few = shape.input <= FEW_INPUTS || (smaller && window.len() == 1);
        lap(Part::Rest);
        if !few {
            input(s, shape, &weights, window.len(), x, x_row, slots);
            lap(Part::Input);
        }
        let keep = !before.data.is_empty();
        let mut cuts = 0;
        for t in pass.steps(&window, false) {
            let at = t - window.start;
            if !ends.is_empty() {
                cuts += pass.keep_ends(shape, t, 1, &mut carry, &mut ends[cuts..]);
            }
            pass.cut(shape, t, 0..1, &mut carry);
            if keep {
                keep_states(s, shape, at, 1, &mut carry, &mut before);
            }
            let step = Row {
                shape,
                maps,
                bias: weights.bias,
                parameters: weights.parameters,
                turn: weights.turn != (t % 2 == 1),
                x: few.then(|| &x[at * x_row..][..shape.input]),
                keep,
                slots: &mut slots[at * slots_row..][..slots_row],
                states: carry.again(),
                next,
            };
            row::step::<E::Cell, T, W, S, P>(s, step);
            if !y.is_empty() {
                let to = at * y_row + y_first;
                copy(s, carry.of(shape, 0, 0..1), &mut y[to..to + shape.state]);
            }
        }
        lap(Part::Steps);
    }
}

/// The states entering a step, for the tape.
#[inline(always)]
fn keep_states<T: Real, S: Simd<T>>(
    s: S,
    shape: &Shape,
    at: usize,
    rows: usize,
    states: &mut StatesMut<'_, T>,
    before: &mut StatesMut<'_, T>,
) {
    for state in 0..shape.layout.states() {
        let to = before.of(shape, state, at..at + rows);
        copy::<T, S>(s, states.of(shape, state, 0..rows), to);
    }
}

impl<T: Real, E: Elementwise<T>> With<'_, &mut Forward<'_, T>, E> {
    #[inline(always)]
    fn all<S: Simd<T>>(self, s: S) {
        let With(Forward { pass, weights, window, tape, y, carry, scratch }, cell) = self;
        let (y, y_row, y_first) = (&mut *y.0, y.1, y.2);
        let shape = pass.shape;
        let Range { start: first_row, end } = pass.rows.range(window);
        let (rows, row) = (end - first_row, shape.row());
        let Pass { x, x_row, .. } = *pass;
        lap(Part::Rest);
        input(s, shape, weights, rows, x, x_row, tape.slots);
        lap(Part::Input);
        let mut ends = 0;
        for t in pass.steps(window, false) {
            let n = pass.rows.count(t);
            if n == 0 {
                continue;
            }
            let at = pass.rows.offsets[t] - first_row;
            if !tape.ends.is_empty() {
                ends += pass.keep_ends(shape, t, n, carry, &mut tape.ends[ends..]);
            }
            pass.cut(shape, t, 0..n, carry);
            let keep = !tape.before.data.is_empty();
            if keep {
                keep_states(s, shape, at, n, carry, &mut tape.before);
            }
            lap(Part::Copies);
            let slots = &mut tape.slots[at * row..][..n * row];
            let weights = Weights { turn: weights.turn != (t % 2 == 1), ..*weights };
            let kept = shape.projected && !tape.unprojected.is_empty();
            let own =
                if kept { &mut tape.unprojected[at * shape.stride..] } else { &mut *scratch.row };
            let mut scratch = Scratch { row: own, cell: scratch.cell };
            cell::forward(s, cell, shape, &weights, n, keep, slots, carry, &mut scratch);
            for b in 0..if y.is_empty() { 0 } else { n } {
                let to = (at + b) * y_row + y_first;
                let h = &carry.of(shape, 0, b..b + 1)[..shape.state];
                copy::<T, S>(s, h, &mut y[to..to + shape.state]);
            }
            lap(Part::Copies);
        }
    }
}
