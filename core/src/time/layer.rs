//! A layer's work over time with any cell: compiled cell by cell, and called by the cell that a net has.

use super::{Backward, Forward, With};
use crate::cell::elementwise::{Elementwise, Typed};
#[cfg(feature = "alloc")]
use crate::cell::formula::Program;
use crate::cell::{
    self, Cell, Chunk, ForgetGate, InputDerivative, NoForgetGate, Outer, Relu, ResetAfter,
    ResetBefore, Scratch, Sigmoid, Step, Tanh,
};
use crate::gates::{Activation, CellKind};
use crate::kernel::layout::Layout;
use crate::kernel::plan::RunTime;
use crate::kernel::shape::{Shape, Transposed};
use crate::kernel::states::StatesMut;
use crate::real::Real;
use crate::simd::{Element, Kernel, Level, Simd};
use core::fmt::Debug;

/// What a net asks of its cell. Every [`Cell`] does it, and so does every formula.
pub trait Layer<T: Real>: Debug + Send + Sync {
    /// The layout.
    fn layout(&self) -> &Layout;
    /// Numbers of scratch that a step needs for rows of so many units.
    fn scratch(&self, stride: usize) -> usize;
    /// Whether steps of a single row have a kernel of their own.
    fn short(&self) -> bool;
    /// Runs the steps of a window forward.
    fn forward(&self, level: Level, pass: &mut Forward<'_, T>);
}

/// What it asks on the way back: a trait of its own, so that a program that never goes back does not hold it.
pub trait Mirror<T: Real>: Layer<T> {
    /// The mirror of [`forward`](Layer::forward).
    fn backward(&self, level: Level, pass: Backward<'_, T>);
    /// Runs one step back for any rows.
    fn pull_back(&self, level: Level, rows: PullBack<'_, T>);
}

/// An [`Elementwise`] with the products around it.
#[derive(Clone, Copy, Debug)]
pub struct Run<E>(pub E);

impl<T: Element, E: Elementwise<T>> Layer<T> for Run<E> {
    fn layout(&self) -> &Layout {
        self.0.layout()
    }
    fn scratch(&self, stride: usize) -> usize {
        self.0.scratch(stride)
    }
    fn short(&self) -> bool {
        E::SHORT
    }
    fn forward(&self, level: Level, pass: &mut Forward<'_, T>) {
        T::dispatch(level, With(pass, &self.0));
    }
}

impl<T: Element, E: Elementwise<T>> Mirror<T> for Run<E> {
    fn backward(&self, level: Level, pass: Backward<'_, T>) {
        T::dispatch(level, With(pass, &self.0));
    }
    fn pull_back(&self, level: Level, rows: PullBack<'_, T>) {
        T::dispatch(level, With(rows, &self.0));
    }
}

/// Cotangents of states, each pulled back through a step of its own: the product with that step's Jacobian from the
/// left. Rows know nothing of one another; which step a row belongs to is a matter of what stands in `step`.
pub struct PullBack<'a, T> {
    /// Sizes.
    pub shape: &'a Shape,
    /// Packed transposed weights.
    pub weights: Transposed<'a, T>,
    /// Rows.
    pub rows: usize,
    /// What the tape holds of each row's step.
    pub step: Step<'a, T>,
    /// From the cotangents of the states after the step to those of the states before it.
    pub d_states: StatesMut<'a, T>,
    /// Gets the derivatives by the pre-activations.
    pub d_slots: &'a mut [T],
    /// Of a step.
    pub scratch: Scratch<'a, T>,
    /// Gets the total derivative by h, where that is projected.
    pub d_projected: &'a mut [T],
}

impl<T: Real, E: Elementwise<T>> Kernel<T> for With<'_, PullBack<'_, T>, E> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let With(PullBack { shape, weights, rows, step, mut d_states, d_slots, .. }, cell) = self;
        let PullBack { mut scratch, d_projected, .. } = self.0;
        if rows > 0 {
            cell::backward::<T, S, E, RunTime>(
                s,
                cell,
                shape,
                &weights,
                rows,
                step,
                &mut d_states,
                d_slots,
                &mut scratch,
                d_projected,
            );
        }
    }
}

/// The cells that come with the crate, by name.
macro_rules! of_kind {
    ($kind:expr) => {{
        const fn run<C: Cell>() -> &'static Run<Typed<C>> {
            &Run(Typed::NEW)
        }
        Some(match $kind {
            CellKind::Rnn(Activation::Tanh) => run::<Tanh>(),
            CellKind::Rnn(Activation::Relu) => run::<Relu>(),
            CellKind::Rnn(Activation::Sigmoid) => run::<Sigmoid>(),
            CellKind::Lstm { forget_gate: true } => run::<ForgetGate>(),
            CellKind::Lstm { forget_gate: false } => run::<NoForgetGate>(),
            CellKind::Gru { reset_after: true } => run::<ResetAfter>(),
            CellKind::Gru { reset_after: false } => run::<ResetBefore>(),
            CellKind::Open(_) => return None,
        })
    }};
}

/// The work on run-time sizes, compiled for each float type and level in this crate, once, and not again in
/// every crate that uses it.
pub trait Passes: Element {
    /// The cell of a kind.
    #[doc(hidden)]
    fn cell(kind: CellKind) -> Option<&'static dyn Layer<Self>>;
    /// The same for the way back.
    #[doc(hidden)]
    fn mirror(kind: CellKind) -> Option<&'static dyn Mirror<Self>>;
    /// The cell of a formula.
    #[cfg(feature = "alloc")]
    #[doc(hidden)]
    fn program(program: &Run<Program>) -> &dyn Layer<Self>;
    /// The same for the way back.
    #[cfg(feature = "alloc")]
    #[doc(hidden)]
    fn program_mirror(program: &Run<Program>) -> &dyn Mirror<Self>;
    /// Runs `Chunk`.
    #[doc(hidden)]
    fn chunk(level: Level, chunk: Chunk<'_, Self>);
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
            // Inlined into other crates, it would have all that it names compiled again there.
            #[inline(never)]
            fn cell(kind: CellKind) -> Option<&'static dyn Layer<Self>> {
                of_kind!(kind)
            }
            #[inline(never)]
            fn mirror(kind: CellKind) -> Option<&'static dyn Mirror<Self>> {
                of_kind!(kind)
            }
            #[cfg(feature = "alloc")]
            #[inline(never)]
            fn program(program: &Run<Program>) -> &dyn Layer<Self> {
                program
            }
            #[cfg(feature = "alloc")]
            #[inline(never)]
            fn program_mirror(program: &Run<Program>) -> &dyn Mirror<Self> {
                program
            }
            fn chunk(level: Level, chunk: Chunk<'_, Self>) {
                Self::dispatch(level, chunk);
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
