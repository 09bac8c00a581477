//! Time: a layer in one direction, run over a window of steps and back.
//!
//! Rows are *packed*: the rows of the batch stand in order of falling length, so that those still
//! running at step t are the first `count(t)`, and their buffers hold just these, step after step, as
//! in a packed sequence. Nothing is computed for padding, and every product over many steps
//! (the input's part, the gradients of inputs and weights) runs over dense rows.
//!
//! The state of every row is kept in place while time goes on; a row that has ended keeps its
//! state, which is thus the final one, and a row that the reverse direction has not
//! reached still holds the initial one. Going back, the same holds for the derivatives.

mod forward;
mod layer;
mod truncate;

pub use forward::Forward;

#[cfg(feature = "alloc")]
pub use layer::Mirror;
pub use layer::{Layer, Passes};
#[cfg(feature = "alloc")]
pub(crate) use layer::{PullBack, Run};
pub use truncate::Truncation;

use crate::cell::elementwise::{Elementwise, Typed};
use crate::cell::{self, Chunk, Scratch, Step, WeightGradients, lap_of};
use crate::kernel::plan::{Plan, RunTime, Short};
use crate::kernel::shape::{Shape, Transposed};
use crate::kernel::states::{States, StatesMut};
use crate::laps::{Part, lap};
use crate::real::Real;
use crate::simd::{Kernel, Simd};
use core::marker::PhantomData;
use core::ops::Range;

/// How rows are packed: rows of step t are `offsets[t]..offsets[t + 1]`, never more than at t − 1.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// One more than there are steps.
    pub offsets: &'a [usize],
}

impl Rows<'_> {
    /// Steps T.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.offsets.len() - 1
    }
    /// Rows running at step t; none outside the sequence.
    #[must_use]
    pub fn count(&self, t: usize) -> usize {
        if t < self.steps() { self.offsets[t + 1] - self.offsets[t] } else { 0 }
    }
    /// The packed rows of these steps.
    #[must_use]
    pub fn range(&self, steps: &Range<usize>) -> Range<usize> {
        self.offsets[steps.start]..self.offsets[steps.end]
    }
}

/// One layer in one direction over one sequence: what forward and backward both need.
#[derive(Clone, Copy)]
pub struct Pass<'a, T> {
    /// Sizes.
    pub shape: &'a Shape,
    /// Packing.
    pub rows: Rows<'a>,
    /// Whether time runs from the end.
    pub reverse: bool,
    /// For each packed row, whether an episode begins there: the state is zero before it.
    pub resets: Option<&'a [bool]>,
    /// The input's packed rows from the window's first on, `x_row` apart.
    pub x: &'a [T],
    /// From one row of x to the next.
    pub x_row: usize,
}

impl<T: Real> Pass<'_, T> {
    /// Whether the state entering step t of row b is cut to zero. Both directions are cut between the same steps.
    pub(crate) fn is_cut(&self, t: usize, b: usize) -> bool {
        let t = if self.reverse { t + 1 } else { t };
        self.resets.is_some_and(|resets| b < self.rows.count(t) && resets[self.rows.offsets[t] + b])
    }

    /// Whether row b goes no further after step t.
    pub(crate) fn is_last(&self, t: usize, b: usize) -> bool {
        if self.reverse { t == 0 } else { b >= self.rows.count(t + 1) }
    }

    /// The steps of `window` in the order in which time runs, or against it.
    pub(crate) fn steps(
        &self,
        window: &Range<usize>,
        back: bool,
    ) -> impl Iterator<Item = usize> + use<T> {
        let (window, descending) = (window.clone(), self.reverse != back);
        window
            .clone()
            .map(move |t| if descending { window.end - 1 - (t - window.start) } else { t })
    }

    /// Rows cut in the steps of a window.
    #[cfg(feature = "alloc")]
    pub(crate) fn cuts(&self, window: &Range<usize>) -> usize {
        if self.resets.is_none() {
            return 0;
        }
        let of = |t| (0..self.rows.count(t)).filter(|&b| self.is_cut(t, b)).count();
        window.clone().map(of).sum()
    }

    /// Keeps the states of the first `n` rows that are cut before step t, and gives how many numbers these are.
    fn keep_ends(
        &self,
        shape: &Shape,
        t: usize,
        n: usize,
        states: &mut StatesMut<'_, T>,
        to: &mut [T],
    ) -> usize {
        let (mut at, row) = (0, shape.states_len(1));
        for b in (0..n).filter(|&b| self.is_cut(t, b)) {
            for state in 0..shape.layout.states() {
                let from = states.of(shape, state, b..b + 1);
                to[at + shape.state_at(1, state)..][..from.len()].copy_from_slice(from);
            }
            at += row;
        }
        at
    }

    /// Zeroes those of some rows of the states that are cut before step t.
    #[inline(always)]
    fn cut(&self, shape: &Shape, t: usize, mut rows: Range<usize>, states: &mut StatesMut<'_, T>) {
        if self.resets.is_some() {
            while let Some(b) = rows.find(|&b| self.is_cut(t, b)) {
                for state in 0..shape.layout.states() {
                    states.of(shape, state, b..b + 1).fill(T::ZERO);
                }
            }
        }
    }
}

/// What a tape keeps of the steps of a window, packed rows from the window's first on.
pub struct TapeMut<'a, T> {
    /// Gate buffers.
    pub slots: &'a mut [T],
    /// States entering each step; empty if nothing is kept, and the gate buffers are scratch.
    pub before: StatesMut<'a, T>,
    /// What h is projected from; empty if it is not, or not kept.
    pub unprojected: &'a mut [T],
    /// Gets the states that a reset cuts off, in the order of time; empty if not kept.
    pub ends: &'a mut [T],
}

/// Reads what [`TapeMut`] wrote.
#[derive(Clone, Copy)]
pub struct TapeRef<'a, T> {
    /// Gate buffers.
    pub slots: &'a [T],
    /// States entering each step.
    pub before: States<'a, T>,
    /// What h is projected from.
    pub unprojected: &'a [T],
}

/// Work on a layer, and what its cell does.
struct With<'c, W, E>(W, &'c E);

/// Work that goes step by step, in a layer of which `P` may be known.
struct Steps<W, P>(W, PhantomData<P>);

/// The plan of single rows of so many values, where the cell is short.
type ShortRow<E, T, const STRIDE: usize> = Short<Typed<<E as Elementwise<T>>::Cell>, STRIDE>;

/// Scratch of a backward pass: rows for a chunk, or for a step.
pub struct PassScratch<'a, T> {
    /// Chunk: derivatives by the pre-activations.
    pub d_slots: &'a mut [T],
    /// Chunk: total derivative by h; used with projection.
    pub d_projected: &'a mut [T],
    /// Of a step.
    pub step: Scratch<'a, T>,
    /// Step: rows as `d_slots` and then as `d_projected`; used with truncation.
    pub lag: &'a mut [T],
}

/// Where derivatives by outputs are read: packed rows, or an array of time, row and feature.
#[derive(Clone, Copy)]
pub struct OutputDerivative<'a, T> {
    /// From the first of the steps on.
    pub data: &'a [T],
    /// From a row to the next.
    pub row: usize,
    /// From a step to the next, where rows are not packed.
    pub time: Option<usize>,
    /// The first value in a row.
    pub first: usize,
}

impl<'a, T> OutputDerivative<'a, T> {
    /// The same from step `steps` on, before which there are so many packed rows.
    #[inline(always)]
    #[must_use]
    pub fn after(self, steps: usize, rows: usize) -> Self {
        let at = self.time.map_or(rows * self.row, |time| steps * time);
        Self { data: &self.data[at.min(self.data.len())..], ..self }
    }
}

impl<T: Real> OutputDerivative<'_, T> {
    /// Adds those of some rows of step t, of a pass whose steps begin at `start`, to derivatives by h.
    #[inline(always)]
    fn add_to(
        self,
        d_h: &mut [T],
        shape: &Shape,
        offsets: &[usize],
        start: usize,
        t: usize,
        rows: Range<usize>,
    ) {
        let step = self.after(t - start, offsets[t] - offsets[start]);
        for (b, d_h) in rows.zip(d_h.chunks_mut(shape.state_stride)) {
            let from = &step.data[b * self.row + self.first..][..shape.state];
            for (d, &y) in d_h.iter_mut().zip(from) {
                *d += y;
            }
        }
    }
}

/// Runs the steps of a chunk back: the mirror of [`Forward`].
pub struct Backward<'a, T> {
    /// The layer, the sequence; its input in packed rows.
    pub pass: Pass<'a, T>,
    /// Packed transposed weights.
    pub weights: Transposed<'a, T>,
    /// The steps.
    pub window: Range<usize>,
    /// What the forward pass kept of them.
    pub tape: TapeRef<'a, T>,
    /// Derivative of the loss by h after each step.
    pub d_y: OutputDerivative<'a, T>,
    /// In: the derivative by the states after the chunk; out: by those before it. With truncation, `lags` + 1 of
    /// these one after another.
    pub carry: StatesMut<'a, T>,
    /// How to truncate, if so.
    pub truncation: Option<Truncation<'a, T>>,
    /// Scratch.
    pub scratch: PassScratch<'a, T>,
    /// Gets the derivative by x: packed rows from the window's first on.
    pub d_x: &'a mut [T],
    /// Whether `d_x` holds the other direction's part already.
    pub add_d_x: bool,
    /// Parameters' gradients, added to.
    pub gradients: WeightGradients<'a, T>,
}

impl<T: Real, E: Elementwise<T>> Kernel<T> for With<'_, Backward<'_, T>, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let With(mut this, cell) = self;
        let pass = this.pass;
        let (shape, rows) = (pass.shape, pass.rows.range(&this.window));
        if rows.is_empty() {
            return;
        }
        let one_row = this.truncation.is_none()
            && !shape.projected
            && pass.rows.count(this.window.start) == 1;
        let work = With(&mut this, cell);
        lap(Part::Rest);
        match shape.stride {
            16 if const { E::SHORT } && one_row => {
                s.run(Steps(work, PhantomData::<ShortRow<E, T, 16>>));
            }
            32 if const { E::SHORT } && one_row => {
                s.run(Steps(work, PhantomData::<ShortRow<E, T, 32>>));
            }
            _ => Steps(work, PhantomData::<RunTime>).run(s),
        }
        let scratch = &this.scratch;
        let chunk = Chunk {
            shape,
            rows: rows.len(),
            x: (pass.x, pass.x_row),
            h: this.tape.before.of(shape, 0),
            slots: this.tape.slots,
            d_slots: scratch.d_slots,
            projected: shape.projected.then_some((&*scratch.d_projected, this.tape.unprojected)),
            input: this.weights.input,
            d_x: this.d_x,
            add_d_x: this.add_d_x,
            gradients: this.gradients,
        };
        s.run(chunk);
    }
}

impl<T: Real, E: Elementwise<T>, P: Plan> Kernel<T>
    for Steps<With<'_, &mut Backward<'_, T>, E>, P>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let With(this, cell) = self.0;
        let (pass, window) = (this.pass, this.window.clone());
        let shape = &P::known::<T>(pass.shape);
        let mut steps = pass.steps(&window, true).filter(|&t| pass.rows.count(t) > 0).peekable();
        while let Some(t) = steps.next() {
            if const { P::FIXED.is_none() } && this.truncation.is_some() {
                this.truncated_step(s, cell, t);
            } else {
                this.step::<S, E, P>(s, cell, shape, t, 0, steps.peek().copied());
            }
        }
        lap(if const { P::FIXED.is_some() } { Part::Steps } else { Part::Copies });
    }
}

impl<T: Real> Backward<'_, T> {
    /// A step of the rows from `first` on; whose turn is next.
    #[inline(always)]
    fn step<S: Simd<T>, E: Elementwise<T>, P: Plan>(
        &mut self,
        s: S,
        cell: &E,
        shape: &Shape,
        t: usize,
        first: usize,
        next: Option<usize>,
    ) {
        let pass = self.pass;
        let rows = first..if const { P::FIXED.is_some() } { 1 } else { pass.rows.count(t) };
        let first_row = pass.rows.range(&self.window).start;
        let (n, at) = (rows.len(), pass.rows.offsets[t] - first_row + first);
        let mut d_states = self.carry.from(first);
        let (offsets, start) = (pass.rows.offsets, self.window.start);
        self.d_y.add_to(d_states.of(shape, 0, 0..n), shape, offsets, start, t, rows.clone());
        lap_of::<P>(Part::Copies);
        let scratch = &mut self.scratch;
        let d_slots = &mut scratch.d_slots[at * shape.row()..][..n * shape.row()];
        let d_projected = if shape.projected {
            &mut scratch.d_projected[at * shape.state_stride..]
        } else {
            &mut []
        };
        let weights = Transposed { turn: t % 2 == 1, ..self.weights };
        let mut step = self.tape.step(shape, at);
        if const { P::FIXED.is_none() } {
            step.ahead = next.map(|t| {
                let Step { slots, before, .. } =
                    self.tape.step(shape, pass.rows.offsets[t] - first_row);
                (slots, before)
            });
        }
        cell::backward::<T, S, E, P>(
            s,
            cell,
            shape,
            &weights,
            n,
            step,
            &mut d_states,
            d_slots,
            &mut scratch.step,
            d_projected,
        );
        pass.cut(shape, t, rows, &mut self.carry);
    }
}

impl<'a, T> TapeRef<'a, T> {
    /// The step whose rows begin at `at`.
    #[inline(always)]
    fn step(&self, shape: &Shape, at: usize) -> Step<'a, T> {
        let slots = &self.slots[at * shape.row()..];
        Step { slots, before: self.before.from(at), ahead: None }
    }
}
