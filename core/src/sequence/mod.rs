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

mod pull_back;
mod truncate;

pub use pull_back::PullBack;
pub use truncate::Truncation;

use crate::cell::{self, Chunk, InputDerivative, Outer, Projection, Step, WeightGradients, input};
use crate::kernel::shape::{Plan, RunTime, Shape, Transposed, Weights, return_if_short};
use crate::math::{Accurate, Math};
use crate::real::Real;
use crate::simd::{Element, Kernel, Level, Simd};
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
    fn is_last(&self, t: usize, b: usize) -> bool {
        if self.reverse { t == 0 } else { b >= self.rows.count(t + 1) }
    }

    /// The steps of `window` in the order in which time runs, or against it.
    fn steps(&self, window: &Range<usize>, back: bool) -> impl Iterator<Item = usize> + use<T> {
        let (window, descending) = (window.clone(), self.reverse != back);
        window
            .clone()
            .map(move |t| if descending { window.end - 1 - (t - window.start) } else { t })
    }

    /// Zeroes those of some rows of a state that are cut before step t.
    #[inline(always)]
    fn cut(&self, t: usize, mut rows: Range<usize>, state: &mut [T], stride: usize) {
        if self.resets.is_some() && !state.is_empty() {
            while let Some(b) = rows.find(|&b| self.is_cut(t, b)) {
                state[b * stride..(b + 1) * stride].fill(T::ZERO);
            }
        }
    }
}

/// What a tape keeps of the steps of a window, packed rows from the window's first on.
pub struct TapeMut<'a, T> {
    /// Activated gates.
    pub gates: &'a mut [T],
    /// h entering each step; empty if not kept.
    pub h: &'a mut [T],
    /// c entering each step; empty if not kept.
    pub c: &'a mut [T],
}

/// Reads what [`TapeMut`] wrote.
#[derive(Clone, Copy)]
pub struct TapeRef<'a, T> {
    /// Activated gates.
    pub gates: &'a [T],
    /// h entering each step.
    pub h: &'a [T],
    /// c entering each step.
    pub c: &'a [T],
}

/// States of all rows of the batch, carried along.
pub struct Carry<'a, T> {
    /// h.
    pub h: &'a mut [T],
    /// c; empty where the cell has none.
    pub c: &'a mut [T],
    /// Scratch, rows as c's.
    pub m: &'a mut [T],
}

/// Runs the steps of a window forward.
pub struct Forward<'a, T, M> {
    /// The layer, the sequence.
    pub pass: Pass<'a, T>,
    /// Packed weights.
    pub weights: Weights<'a, T>,
    /// Which activations.
    pub math: M,
    /// The steps.
    pub window: Range<usize>,
    /// What to keep.
    pub tape: TapeMut<'a, T>,
    /// Gets h after each step, unless empty: packed rows from the window's first on, the first value at `.2` of a
    /// row, rows `.1` apart.
    pub y: (&'a mut [T], usize, usize),
    /// In: the state before the window; out: after it.
    pub carry: Carry<'a, T>,
}

impl<T: Real, M: Math> Kernel<T> for &mut Forward<'_, T, M> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Forward { pass, weights, .. } = self;
        let rows = pass.rows.range(&self.window).len();
        if rows == 0 {
            return;
        }
        input::<T, S>(s, pass.shape, weights, rows, pass.x, pass.x_row, self.tape.gates);
        if pass.rows.count(self.window.start) == 1 {
            return_if_short!(pass.shape, P => s.run(Steps::<_, P>(self, PhantomData)));
        }
        Steps::<_, RunTime>(self, PhantomData).run(s);
    }
}

/// The steps of a pass, in a layer of which `P` is known.
struct Steps<W, P>(W, PhantomData<P>);

impl<T: Real, M: Math, P: Plan> Kernel<T> for Steps<&mut Forward<'_, T, M>, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Forward { pass, weights, math, window, tape, y: (y, y_row, y_first), carry } = self.0;
        let shape = &P::known::<T>(pass.shape);
        let (first_row, row) = (pass.rows.range(window).start, shape.row());
        for t in pass.steps(window, false) {
            let n = pass.rows.count(t);
            if n == 0 {
                continue;
            }
            let n = if const { P::FIXED.is_some() } { 1 } else { n };
            let at = pass.rows.offsets[t] - first_row;
            pass.cut(t, 0..n, carry.h, shape.state_stride);
            pass.cut(t, 0..n, carry.c, shape.stride);
            keep(s, tape.h, carry.h, at, n, shape.state_stride);
            keep(s, tape.c, carry.c, at, n, shape.stride);
            let gates = &mut tape.gates[at * row..][..n * row];
            let weights = Weights { turn: weights.turn != (t % 2 == 1), ..*weights };
            cell::forward::<T, S, M, P>(
                s, *math, shape, &weights, n, gates, carry.h, carry.c, carry.m,
            );
            for b in 0..if y.is_empty() { 0 } else { n } {
                let to = (at + b) * *y_row + *y_first;
                let h = &carry.h[b * shape.state_stride..][..shape.state];
                copy::<T, S>(s, h, &mut y[to..to + shape.state]);
            }
        }
    }
}

#[inline(always)]
fn keep<T: Real, S: Simd<T>>(
    s: S,
    tape: &mut [T],
    state: &[T],
    at: usize,
    n: usize,
    stride: usize,
) {
    if !tape.is_empty() && !state.is_empty() {
        copy::<T, S>(s, &state[..n * stride], &mut tape[at * stride..][..n * stride]);
    }
}

/// `copy_from_slice` without a call: rows are short.
#[inline(always)]
fn copy<T: Real, S: Simd<T>>(s: S, from: &[T], to: &mut [T]) {
    let (from, to) = (&from[..to.len()], to);
    let mut at = 0;
    while at + S::LANES <= from.len() {
        s.store(&mut to[at..], s.load(&from[at..]));
        at += S::LANES;
    }
    if at < from.len() {
        s.store_partial(&mut to[at..], s.load_partial(&from[at..]));
    }
}

/// Derivatives by the state, carried back.
pub struct CarryBack<'a, T> {
    /// By h, all rows. With truncation, `lags` + 1 of these one after another.
    pub d_h: &'a mut [T],
    /// By c.
    pub d_c: &'a mut [T],
}

/// Scratch of a backward pass: rows for a chunk, or for a step.
pub struct Scratch<'a, T> {
    /// Chunk: derivatives by the pre-activations.
    pub d_gates: &'a mut [T],
    /// Chunk: total derivative by h; used with projection.
    pub d_projected: &'a mut [T],
    /// Chunk: o ⊙ tanh(c); used with projection.
    pub m: &'a mut [T],
    /// Step: rows as c's.
    pub step: &'a mut [T],
    /// Step: rows as `d_gates` and then as `d_projected`; used with truncation.
    pub lag: &'a mut [T],
}

/// Runs the steps of a chunk back: the mirror of [`Forward`].
pub struct Backward<'a, T, M> {
    /// The layer, the sequence; its input in packed rows.
    pub pass: Pass<'a, T>,
    /// Packed transposed weights.
    pub weights: Transposed<'a, T>,
    /// Which activations.
    pub math: M,
    /// The steps.
    pub window: Range<usize>,
    /// What the forward pass kept of them.
    pub tape: TapeRef<'a, T>,
    /// Derivative of the loss by h after each step, as `y` of the forward pass.
    pub d_y: (&'a [T], usize, usize),
    /// In: the derivative by the state after the chunk; out: by that before it.
    pub carry: CarryBack<'a, T>,
    /// How to truncate, if so.
    pub truncation: Option<Truncation<'a, T>>,
    /// Scratch.
    pub scratch: Scratch<'a, T>,
    /// Gets the derivative by x: packed rows from the window's first on.
    pub d_x: &'a mut [T],
    /// Whether `d_x` holds the other direction's part already.
    pub add_d_x: bool,
    /// Parameters' gradients, added to.
    pub gradients: WeightGradients<'a, T>,
}

impl<T: Real, M: Math> Kernel<T> for Backward<'_, T, M> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(mut self, s: S) {
        let pass = self.pass;
        let shape = pass.shape;
        let rows = pass.rows.range(&self.window);
        if rows.is_empty() {
            return;
        }
        self.all_steps(s);
        let scratch = &self.scratch;
        let chunk = Chunk {
            shape,
            rows: rows.len(),
            x: (pass.x, pass.x_row),
            h: self.tape.h,
            gates: self.tape.gates,
            d_gates: scratch.d_gates,
            projected: shape.projected.then_some((&*scratch.d_projected, &*scratch.m)),
            input: self.weights.input,
            d_x: self.d_x,
            add_d_x: self.add_d_x,
            gradients: self.gradients,
        };
        s.run(chunk);
    }
}

impl<T: Real, M: Math, P: Plan> Kernel<T> for Steps<&mut Backward<'_, T, M>, P> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let (pass, window) = (self.0.pass, self.0.window.clone());
        let first_row = pass.rows.range(&window).start;
        for t in pass.steps(&window, true).filter(|&t| pass.rows.count(t) > 0) {
            if const { P::FIXED.is_none() } && self.0.truncation.is_some() {
                self.0.truncated_step(s, t, first_row);
            } else {
                self.0.step::<S, P>(s, t, first_row, 0);
            }
        }
    }
}

impl<T: Real, M: Math> Backward<'_, T, M> {
    #[inline(always)]
    fn all_steps<S: Simd<T>>(&mut self, s: S) {
        if self.truncation.is_none() && self.pass.rows.count(self.window.start) == 1 {
            return_if_short!(self.pass.shape, P => s.run(Steps::<_, P>(self, PhantomData)));
        }
        Steps::<_, RunTime>(self, PhantomData).run(s);
    }

    /// A step of the rows from `first` on.
    #[inline(always)]
    fn step<S: Simd<T>, P: Plan>(&mut self, s: S, t: usize, first_row: usize, first: usize) {
        let (pass, shape) = (self.pass, &P::known::<T>(self.pass.shape));
        let rows = first..if const { P::FIXED.is_some() } { 1 } else { pass.rows.count(t) };
        let (n, at) = (rows.len(), pass.rows.offsets[t] - first_row + first);
        let d_h = &mut self.carry.d_h[first * shape.state_stride..];
        let d_c = self.carry.d_c.get_mut(first * shape.stride..).unwrap_or_default();
        add_d_y(d_h, shape, self.d_y, at, n);
        let scratch = &mut self.scratch;
        let d_gates = &mut scratch.d_gates[at * shape.row()..][..n * shape.row()];
        let projection = shape.projected.then(|| Projection {
            d_projected: &mut scratch.d_projected[at * shape.state_stride..],
            m: &mut scratch.m[at * shape.stride..],
        });
        let step = step_at(self.tape, shape, at);
        let weights = Transposed { turn: t % 2 == 1, ..self.weights };
        cell::backward::<T, S, M, P>(
            s,
            self.math,
            shape,
            &weights,
            n,
            step,
            d_h,
            d_c,
            d_gates,
            scratch.step,
            projection,
        );
        pass.cut(t, rows.clone(), self.carry.d_h, shape.state_stride);
        pass.cut(t, rows, self.carry.d_c, shape.stride);
    }
}

#[inline(always)]
fn step_at<'a, T>(tape: TapeRef<'a, T>, shape: &Shape, at: usize) -> Step<'a, T> {
    let c = if tape.c.is_empty() { tape.c } else { &tape.c[at * shape.stride..] };
    Step { gates: &tape.gates[at * shape.row()..], h: &tape.h[at * shape.state_stride..], c }
}

#[inline(always)]
fn add_d_y<T: Real>(
    d_h: &mut [T],
    shape: &Shape,
    d_y: (&[T], usize, usize),
    first: usize,
    n: usize,
) {
    let (d_y, d_y_row, d_y_first) = d_y;
    for b in 0..n {
        let from = &d_y[(first + b) * d_y_row + d_y_first..][..shape.state];
        for (d, &y) in d_h[b * shape.state_stride..].iter_mut().zip(from) {
            *d += y;
        }
    }
}

/// A step of one layer by itself: the state goes on, in place.
pub struct OneStep<'a, T, M> {
    /// Sizes.
    pub shape: &'a Shape,
    /// Packed weights.
    pub weights: Weights<'a, T>,
    /// Which activations.
    pub math: M,
    /// Rows of the batch.
    pub rows: usize,
    /// Their inputs, contiguous.
    pub x: &'a [T],
    /// Gets the new h, contiguous.
    pub y: &'a mut [T],
    /// The state.
    pub carry: Carry<'a, T>,
    /// A gate buffer for the rows.
    pub gates: &'a mut [T],
}

impl<T: Real, M: Math> OneStep<'_, T, M> {
    /// Gives `run` the sequence of this step alone.
    fn in_sequence(self, run: impl FnOnce(&mut Forward<'_, T, M>)) {
        let Self { shape, weights, math, rows, x, y, carry, gates } = self;
        let rows = Rows { offsets: &[0, rows] };
        let pass = Pass { shape, rows, reverse: false, resets: None, x, x_row: shape.input };
        let (window, tape) = (0..1, TapeMut { gates, h: &mut [], c: &mut [] });
        run(&mut Forward { pass, weights, math, window, tape, y: (y, shape.state, 0), carry });
    }
}

/// The work on run-time sizes, compiled for each float type and level in this crate, once, and not again in
/// every crate that uses it.
pub trait Passes: Element {
    /// Runs `Forward`.
    #[doc(hidden)]
    fn forward(level: Level, pass: Forward<'_, Self, Accurate>);
    /// Runs `Backward`.
    #[doc(hidden)]
    fn backward(level: Level, pass: Backward<'_, Self, Accurate>);
    /// Runs `OneStep`.
    #[doc(hidden)]
    fn step(level: Level, step: OneStep<'_, Self, Accurate>);
    /// Runs `Chunk`.
    #[doc(hidden)]
    fn chunk(level: Level, chunk: Chunk<'_, Self>);
    /// Runs `PullBack`.
    #[doc(hidden)]
    fn pull_back(level: Level, rows: PullBack<'_, Self, Accurate>);
    /// Runs `InputDerivative`.
    #[doc(hidden)]
    fn input_derivative(level: Level, rows: InputDerivative<'_, Self>);
    /// Runs `Outer`.
    #[doc(hidden)]
    fn outer(level: Level, sum: Outer<'_, Self>);
}

macro_rules! passes {
    ($t:ty) => {
        impl Passes for $t {
            fn forward(level: Level, mut pass: Forward<'_, Self, Accurate>) {
                Self::dispatch(level, &mut pass);
            }
            fn backward(level: Level, pass: Backward<'_, Self, Accurate>) {
                Self::dispatch(level, pass);
            }
            fn step(level: Level, step: OneStep<'_, Self, Accurate>) {
                step.in_sequence(|pass| Self::dispatch(level, pass));
            }
            fn chunk(level: Level, chunk: Chunk<'_, Self>) {
                Self::dispatch(level, chunk);
            }
            fn pull_back(level: Level, rows: PullBack<'_, Self, Accurate>) {
                Self::dispatch(level, rows);
            }
            fn input_derivative(level: Level, rows: InputDerivative<'_, Self>) {
                Self::dispatch(level, rows);
            }
            fn outer(level: Level, sum: Outer<'_, Self>) {
                Self::dispatch(level, sum);
            }
        }
    };
}
passes!(f32);
passes!(f64);
