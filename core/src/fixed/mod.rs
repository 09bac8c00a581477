//! Cells of sizes fixed when compiled: no allocator, no `std`, weights in read-only memory.
//!
//! A cell is a `static` made by a `const fn`; a step is a function of it, an input and a state the caller
//! owns. For training the caller owns a [`Tape`] too: fixed arrays for so many steps. The results are those of the
//! run-time networks, bit for bit, though the step forward is another (it sums and activates a few units at a time,
//! without leaving the registers): every sum is in the same order. The way back is theirs, with sizes folded in.
//!
//! Any [`Cell`] will do, also one that is not of this crate: [`Fixed`] needs nothing but it.
//!
//! # Memory
//!
//! All sizes are known when the program is compiled; `size_of` tells them. In numbers, and rounded up to whole cache
//! lines of 64 bytes, with X maps of x and M maps of h, S slots, N states and P parameters a unit (an LSTM has 4, 4, 4, 2,
//! 0, a GRU 3, 3, 4, 1, 0, an RNN 1, 1, 1, 1, 0):
//!
//! * a cell: H · (X · I + M · H) + 2 · S · H + P · H, each of the five parts by itself;
//! * [`Parameters`], or gradients by them: H · (X · (I + 1) + M · (H + 1) + P), not rounded;
//! * a [`State`]: N · H;
//! * a [`Tape`] of L steps: L · ((2 · (S + P) + N) · H + I) + 2 · H · (X · I + M · H) + (S + 2 · P) · H, and a count.
//!
//! In bytes:
//!
//! | | cell | parameters | state | tape of 64 steps |
//! |---|---|---|---|---|
//! | `Lstm<f32, 1, 8>` | 1408 | 1408 | 64 | 23232 |
//! | `Lstm<f32, 1, 16>` | 4864 | 4864 | 128 | 50240 |
//! | `Lstm<f32, 1, 32>` | 17920 | 17920 | 256 | 116544 |
//! | `Lstm<f32, 32, 32>` | 33792 | 33792 | 256 | 156224 |
//! | `Lstm<f32, 1, 64>` | 68608 | 68608 | 512 | 298304 |
//! | `Lstm<f64, 1, 64>` | 137216 | 137216 | 1024 | 596544 |
//! | `Lstm<f32, 1, 128>` | 268288 | 268288 | 1024 | 858432 |
//! | `Gru<f32, 1, 32>` | 13696 | 13440 | 128 | 99904 |
//! | `Gru<f32, 1, 64, ResetBefore>` | 51968 | 51456 | 256 | 248640 |
//! | `Rnn<f32, 1, 64>` | 17152 | 17152 | 256 | 83008 |
//!
//! Beside its arguments a step, or the way back, takes 4 KiB of stack at the most and (S + 1) · H numbers. What is *made*
//! at run time is another matter: a cell made from its parameters takes up to three times its size while it is made,
//! also on the way into a `Box`, and a tape may take its own. A `static` cell takes no stack. Without optimisation, or
//! under a sanitizer, allow several times as much.
//!
//! # Smaller weights
//!
//! The last parameter of a cell's type says how its matrices are stored: `Lstm<f32, 1, 32, Int8>` holds them as [`Int8`], in
//! a quarter of the memory and a scale for each row, `Lstm<f32, 1, 32, Float16>` as [`Float16`], in half of it: 6272 and 9472
//! bytes instead of 17920. Such a cell is made of [`Compressed`] parameters. It steps like any other, with the bits of the
//! cell of the weights that the stored ones stand for; it cannot be trained.
//!
//! # Real time
//!
//! Steps neither allocate nor lock nor wait, nor does the way back. One thing is done once in a process, by the first
//! call, where the feature `std` is on: it asks the environment for a limit to the instruction set. Call
//! [`Level::best`] before time matters.

use crate::cell::elementwise::Typed;
use crate::cell::{self, Cell, ForgetGate, Layout, ResetAfter, Scratch, Step, Tanh};
use crate::error::Error;
use crate::kernel::plan::Static;
use crate::kernel::shape::{Shape, Transposed};
use crate::kernel::states::{States, StatesMut};
use crate::math::{Accurate, Math};
use crate::real::Real;
use crate::simd::flat::{Array, filled, flat};
use crate::simd::{Full, Kernel, Level, Quickly, Rhs, Simd, Weight};
use crate::time::Passes;
use core::ops::Range;
use core::slice::from_ref;

mod compressed;
mod dense;
mod group;
mod make;
mod panel;
mod state;
mod step;
mod tape;

use panel::Aligned;
use step::OneStep;
use tape::Rest;

pub use crate::simd::{Float16, Int8};
pub use compressed::Compressed;
pub use dense::Dense;
pub use state::{Parameters, State};
pub use tape::Tape;

/// Long short-term memory with `I` inputs and `H` units.
///
/// ```
/// use unrolled::Lstm;
///
/// static CELL: Lstm<f32, 1, 2> = Lstm::new(
///     [[[0.1], [0.2]], [[0.3], [0.4]], [[0.5], [0.6]], [[0.7], [0.8]]], // i, f, g, o as in PyTorch
///     [[[0.1, 0.0], [0.0, 0.1]]; 4],
///     [[0.0; 2]; 4],
///     [[0.0; 2]; 4],
/// );
/// let mut state = CELL.zero_state();
/// let h: &[f32; 2] = CELL.step(&[1.0], &mut state);
/// assert!(h[0] > 0.1 && h[1] > h[0]);
/// ```
pub type Lstm<T, const I: usize, const H: usize, W = Full> = Fixed<ForgetGate, T, I, H, W>;
/// Gated recurrent unit with `I` inputs and `H` units.
pub type Gru<T, const I: usize, const H: usize, V = ResetAfter, W = Full> = Fixed<V, T, I, H, W>;
/// Plain recurrent layer with `I` inputs and `H` units.
pub type Rnn<T, const I: usize, const H: usize, V = Tanh, W = Full> = Fixed<V, T, I, H, W>;

/// A [`Cell`] with `I` inputs and `H` units: for those of this crate, see also [`Lstm`], [`Gru`] and [`Rnn`].
///
/// ```
/// use unrolled::cell::NoForgetGate;
/// use unrolled::fixed::Fixed;
///
/// // i, g, o: the LSTM of 1997.
/// static CELL: Fixed<NoForgetGate, f64, 1, 2> =
///     Fixed::new([[[0.5]; 2]; 3], [[[0.0; 2]; 2]; 3], [[0.0; 2]; 3], [[0.0; 2]; 3]);
/// let mut state = CELL.zero_state();
/// (0..100).for_each(|_| _ = CELL.step(&[1.0], &mut state));
/// assert!(state[1][0] > 20.0, "what enters the cell stays");
/// ```
///
/// There are inputs and units, and what a cell says of itself fits together, or it does not compile:
///
/// ```compile_fail,E0080
/// use unrolled::{Lstm, fixed::Parameters};
/// let no_units = Lstm::<f32, 1, 0>::from_parameters(&Parameters::zeros());
/// ```
/// ```compile_fail,E0080
/// use unrolled::{Lstm, fixed::Parameters};
/// let no_inputs = Lstm::<f32, 0, 1>::from_parameters(&Parameters::zeros());
/// ```
/// ```compile_fail,E0080
/// # use unrolled::cell::{Cell, Derivatives, Slot};
/// # use unrolled::real::Real;
/// # use unrolled::simd::{Lanes, Simd};
/// # #[derive(Clone, Copy, Debug)]
/// # struct Odd;
/// impl Cell for Odd {
///     type Slots<A: Copy> = [A; 2];
///     const SLOTS: &'static [Slot] = &[Slot::both(0, 0)]; // one
/// #   type States<A: Copy> = [A; 1];
/// #   type MapsOfX<A: Copy> = [A; 1];
/// #   type MapsOfH<A: Copy> = [A; 1];
/// #   type Parameters<A: Copy> = [A; 0];
/// #   fn forward<T: Real, S: Simd<T>>(
/// #       _: &mut [Lanes<T, S>; 2], _: &mut [Lanes<T, S>; 1], _: &[Lanes<T, S>; 0],
/// #   ) {}
/// #   fn backward<T: Real, S: Simd<T>>(
/// #       _: &[Lanes<T, S>; 2], _: &[Lanes<T, S>; 1], _: &[Lanes<T, S>; 0],
/// #       _: &mut [Lanes<T, S>; 1], _: &mut Derivatives<Self, T, S>,
/// #   ) {}
///     // …
/// }
/// use unrolled::fixed::{Fixed, Parameters};
/// let two_slots_or_one = Fixed::<Odd, f32, 1, 8>::from_parameters(&Parameters::zeros());
/// ```
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Fixed<C: Cell, T: Real, const I: usize, const H: usize, W: Weight<T> = Full> {
    // In panels: by what multiplies, gate in the slots' order, unit. Maps of values follow, each in panels of its own.
    w_ih: Aligned<[C::MapsOfX<[W::Stored; H]>; I]>,
    w_hh: Aligned<[C::MapsOfH<[W::Stored; H]>; H]>,
    // In panels: by gate, unit.
    scale_ih: Aligned<C::MapsOfX<[W::Scale; H]>>,
    scale_hh: Aligned<C::MapsOfH<[W::Scale; H]>>,
    // In panels: by slot, unit. Apart, because floats of a generic type cannot be added in a `const fn`.
    b_ih: Aligned<C::Slots<[T; H]>>,
    b_hh: Aligned<C::Slots<[T; H]>>,
    // In panels: by parameter, unit.
    w_p: Aligned<C::Parameters<[T; H]>>,
}

impl<C: Cell, T: Real, const I: usize, const H: usize> Fixed<C, T, I, H> {
    const SHAPE: Shape = Shape {
        layout: Layout::of::<C>(),
        input: I,
        hidden: H,
        state: H,
        projected: false,
        stride: H,
        state_stride: H,
        input_stride: I,
        line: 0,
    };

    /// A cell from PyTorch's arrays: weights by block (an LSTM's i, f, g, o, a GRU's r, z, n, one of an RNN), unit and input.
    /// One whose units have parameters of their own is made [from all of them](Self::from_parameters):
    ///
    /// ```compile_fail,E0080
    /// # use unrolled::cell::{Cell, Derivatives, Slot};
    /// # use unrolled::real::Real;
    /// # use unrolled::simd::{Lanes, Simd};
    /// # #[derive(Clone, Copy, Debug)]
    /// # struct Leaky;
    /// impl Cell for Leaky {
    ///     type Parameters<A: Copy> = [A; 1];
    /// #   type Slots<A: Copy> = [A; 1];
    /// #   const SLOTS: &'static [Slot] = &[Slot::both(0, 0)];
    /// #   type States<A: Copy> = [A; 1];
    /// #   type MapsOfX<A: Copy> = [A; 1];
    /// #   type MapsOfH<A: Copy> = [A; 1];
    /// #   fn forward<T: Real, S: Simd<T>>(
    /// #       _: &mut [Lanes<T, S>; 1], _: &mut [Lanes<T, S>; 1], _: &[Lanes<T, S>; 1],
    /// #   ) {}
    /// #   fn backward<T: Real, S: Simd<T>>(
    /// #       _: &[Lanes<T, S>; 1], _: &[Lanes<T, S>; 1], _: &[Lanes<T, S>; 1],
    /// #       _: &mut [Lanes<T, S>; 1], _: &mut Derivatives<Self, T, S>,
    /// #   ) {}
    ///     // …
    /// }
    /// use unrolled::fixed::Fixed;
    /// let incomplete = Fixed::<Leaky, f32, 1, 1>::new([[[0.1]]], [[[0.1]]], [[0.0]], [[0.0]]);
    /// ```
    #[must_use]
    pub const fn new(
        w_ih: C::MapsOfX<[[T; I]; H]>,
        w_hh: C::MapsOfH<[[T; H]; H]>,
        b_ih: C::MapsOfX<[T; H]>,
        b_hh: C::MapsOfH<[T; H]>,
    ) -> Self {
        const { assert!(C::Parameters::<T>::LEN == 0, "this cell has parameters beside these") };
        let w_p = filled([T::ZERO; H]);
        Self::from_parameters(&Parameters { w_ih, w_hh, b_ih, b_hh, w_p })
    }

    /// A cell from parameters in PyTorch's layout.
    #[must_use]
    pub const fn from_parameters(p: &Parameters<C, T, I, H>) -> Self {
        let mut this = Self::zeros();
        this.fill_weights(
            flat(from_ref(&p.w_ih)).as_flattened().as_flattened(),
            flat(from_ref(&p.w_hh)).as_flattened().as_flattened(),
        );
        let [b_ih, b_hh] = [flat(from_ref(&p.b_ih)), flat(from_ref(&p.b_hh))];
        this.fill_rest(b_ih, b_hh, flat(from_ref(&p.w_p)));
        this
    }

    /// A tape for `N` steps.
    #[must_use]
    pub const fn tape<const N: usize>(&self) -> Tape<C, T, I, H, N> {
        Tape::new()
    }
}

impl<C: Cell, T: Real, const I: usize, const H: usize, W: Weight<T>> Fixed<C, T, I, H, W> {
    /// A state of zeros.
    #[must_use]
    pub const fn zero_state(&self) -> State<C, T, H> {
        State::zeros()
    }
}

impl<C: Cell, T: Passes, const I: usize, const H: usize, W: Weight<T>> Fixed<C, T, I, H, W> {
    /// One time step: `state` goes to the next, whose h is also returned.
    #[inline]
    pub fn step<'s>(&self, x: &[T; I], state: &'s mut State<C, T, H>) -> &'s [T; H] {
        self.step_with(Accurate, x, state)
    }

    /// As [`step`](Self::step), with a choice of activations: [`Fast`](crate::math::Fast) trades exactness
    /// for some nanoseconds.
    #[inline]
    pub fn step_with<'s, M: Math>(
        &self,
        _: M,
        x: &[T; I],
        state: &'s mut State<C, T, H>,
    ) -> &'s [T; H] {
        if const { Layout::of::<C>().stages() > 1 } {
            // Its second half needs what the first one made.
            let slots: &mut C::Slots<[T; H]> = &mut filled([T::ZERO; H]);
            dispatch::<T, M, _>(OneStep { cell: self, x, state, slots });
        } else {
            dispatch::<T, M, _>(OneStep { cell: self, x, state, slots: &mut [] });
        }
        state.h()
    }
}

impl<C: Cell, T: Passes, const I: usize, const H: usize> Fixed<C, T, I, H> {
    /// A step whose values `tape` keeps for [`backward`](Self::backward).
    ///
    /// # Errors
    /// `Length` where the tape is full; the state is then as it was.
    pub fn record<'s, const N: usize>(
        &self,
        x: &[T; I],
        state: &'s mut State<C, T, H>,
        tape: &mut Tape<C, T, I, H, N>,
    ) -> Result<&'s [T; H], Error> {
        let at = tape.len;
        if at >= N {
            return Err(Error::Length { argument: "tape", expected: at + 1, got: N });
        }
        tape.x[at] = *x;
        for (before, now) in tape.before.as_mut().iter_mut().zip(state.as_ref()) {
            before[at] = *now;
        }
        let slots = &mut tape.slots[at].0;
        dispatch::<T, Accurate, _>(OneStep { cell: self, x, state, slots });
        tape.len = at + 1;
        Ok(state.h())
    }

    /// Back-propagation through the steps on `tape`. `d_y[t]` is the derivative of the loss by h after step t;
    /// `d_state` goes from that by the final state to that by the initial one; `d_x[t]` becomes that by
    /// the input of step t; gradients are added to `gradients`.
    ///
    /// # Errors
    /// `Length` where `d_y` or `d_x` have not as many steps as the tape; nothing has been changed then.
    pub fn backward<const N: usize>(
        &self,
        tape: &mut Tape<C, T, I, H, N>,
        d_y: &[[T; H]],
        d_state: &mut State<C, T, H>,
        d_x: &mut [[T; I]],
        gradients: &mut Parameters<C, T, I, H>,
    ) -> Result<(), Error> {
        for (argument, got) in [("d_y", d_y.len()), ("d_x", d_x.len())] {
            if got != tape.len {
                return Err(Error::Length { argument, expected: tape.len, got });
            }
        }
        tape.transpose(self);
        let mut end = tape.len;
        while end > 0 {
            let begin = (end - 1) / CHUNK * CHUNK;
            let steps = begin..end;
            dispatch::<T, Accurate, _>(StepsBack { tape, steps: steps.clone(), d_y, d_state });
            let d_x = d_x[steps.clone()].as_flattened_mut();
            dispatch::<T, Accurate, _>(Rest { tape, steps, d_x });
            end = begin;
        }
        tape.add_to(gradients);
        Ok(())
    }

    /// One step of back-propagation through step `t` of `tape`: `d_state` goes from a cotangent v of the state after it to
    /// vᵀ ∂s_t/∂s_{t−1}, which is v times the Jacobian of the step, its input held fixed. Of an LSTM s is (h, c); of a plain
    /// layer it is h, and the Jacobian diag(σ') W_hh:
    ///
    /// ```
    /// use unrolled::Rnn;
    ///
    /// let cell = Rnn::<f64, 1, 2>::new([[[1.0], [0.0]]], [[[0.5, 0.2], [0.0, 0.5]]], [[0.0; 2]], [[0.0; 2]]);
    /// let (mut state, mut tape) = (cell.zero_state(), cell.tape::<1>());
    /// let h = *cell.record(&[0.3], &mut state, &mut tape)?;
    /// let mut row = cell.zero_state();
    /// row[0] = [1.0, 0.0];
    /// cell.pull_back(&mut tape, 0, &mut row)?;
    /// assert!((row[0][1] - (1.0 - h[0] * h[0]) * 0.2).abs() < 1e-15);
    /// # Ok::<(), unrolled::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Length` where the tape has no such step; nothing has been changed then.
    pub fn pull_back<const N: usize>(
        &self,
        tape: &mut Tape<C, T, I, H, N>,
        t: usize,
        d_state: &mut State<C, T, H>,
    ) -> Result<(), Error> {
        if t >= tape.len() {
            let expected = t.saturating_add(1);
            return Err(Error::Length { argument: "tape", expected, got: tape.len() });
        }
        tape.transpose(self);
        dispatch::<T, Accurate, _>(StepsBack { tape, steps: t..t + 1, d_y: &[], d_state });
        Ok(())
    }
}

/// Runs a kernel at the best level, with functions as exact as `M` is.
#[inline]
fn dispatch<T: Passes, M: Math, K: Kernel<T>>(kernel: K) -> K::Output {
    let level = Level::best();
    if const { M::FAST } { T::dispatch(level, Quickly(kernel)) } else { T::dispatch(level, kernel) }
}

/// Steps whose weight gradients are summed before they are added to the rest, as a single row's are elsewhere.
const CHUNK: usize = 64;

/// Steps back, but for what [`Chunk`](cell::Chunk) does.
struct StepsBack<'a, C: Cell, T: Real, const I: usize, const H: usize, const N: usize> {
    tape: &'a mut Tape<C, T, I, H, N>,
    steps: Range<usize>,
    /// Empty where no loss enters on the way.
    d_y: &'a [[T; H]],
    d_state: &'a mut State<C, T, H>,
}

impl<C: Cell, T: Real, const I: usize, const H: usize, const N: usize> Kernel<T>
    for StepsBack<'_, C, T, I, H, N>
{
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Self { tape, steps, d_y, d_state } = self;
        let shape = const { &Fixed::<C, T, I, H>::SHAPE };
        let w_hh_t = tape.w_hh_t.as_ref().as_flattened().as_flattened();
        let (state, maps) = w_hh_t.split_at(shape.layout.h_slots().count * H * H);
        let rhs = |data| Rhs { data, step: H, tile: S::LANES, gate: 0 };
        let w = Transposed {
            input: rhs(&[]),
            state: rhs(state),
            maps: rhs(maps),
            projection: rhs(&[]),
            parameters: tape.parameters.as_ref().as_flattened(),
            turn: false,
        };
        let before = tape.before.as_ref().as_flattened().as_flattened();
        let mut row = [T::ZERO; H];
        for t in steps.rev() {
            for (d, &y) in d_state.h_mut().iter_mut().zip(d_y.get(t).into_iter().flatten()) {
                *d += y;
            }
            let step = Step {
                slots: tape.slots[t].as_ref().as_flattened(),
                before: States { data: before, rows: N, first: t },
                ahead: None,
            };
            let mut d_states =
                StatesMut { data: d_state.as_mut().as_flattened_mut(), rows: 1, first: 0 };
            cell::backward::<T, S, Typed<C>, Static<H>>(
                s,
                &Typed::NEW,
                shape,
                &w,
                1,
                step,
                &mut d_states,
                tape.d_slots[t].as_mut().as_flattened_mut(),
                &mut Scratch { row: &mut row, cell: &mut [] },
                &mut [],
            );
        }
    }
}
