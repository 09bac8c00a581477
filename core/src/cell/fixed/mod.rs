//! Cells of sizes fixed when compiled: no allocator, no `std`, weights in read-only memory.
//!
//! A cell is a `static` made by a `const fn`; a step is a function of it, an input and a state the caller
//! owns. For training the caller owns a [`Tape`] too: fixed arrays for so many steps. The results are those of the
//! run-time networks, bit for bit, though the step forward is another (it sums and activates a few units at a time,
//! without leaving the registers): every sum is in the same order. The way back is theirs, with sizes folded in.
//!
//! # Memory
//!
//! All sizes are known when the program is compiled; `size_of` tells them. In numbers, and rounded up to whole cache
//! lines of 64 bytes, with the gates G and slots S of an LSTM (4, 4), a GRU (3, 4) and an RNN (1, 1):
//!
//! * a cell: G · H · (I + H) + 2 · S · H, each of the four parts by itself;
//! * [`Parameters`], or gradients by them: G · H · (I + H + 2), not rounded;
//! * a [`State`]: 2 · H;
//! * a [`Tape`] of N steps: N · (2 · (S + 1) · H + I) + 2 · G · H · (I + H) + S · H, and a count.
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
//! | `Gru<f32, 1, 32>` | 13696 | 13440 | 256 | 108096 |
//! | `Gru<f32, 1, 64, ResetBefore>` | 51968 | 51456 | 512 | 265024 |
//! | `Rnn<f32, 1, 64>` | 17152 | 17152 | 512 | 99392 |
//!
//! Beside its arguments a step, or the way back, takes 4 KiB of stack at the most and (S + 1) · H numbers. What is *made*
//! at run time is another matter: a cell made from its parameters takes up to three times its size while it is made,
//! also on the way into a `Box`, and a tape may take its own. A `static` cell takes no stack. Without optimisation, or
//! under a sanitizer, allow several times as much.
//!
//! # Real time
//!
//! Steps neither allocate nor lock nor wait, nor does the way back. One thing is done once in a process, by the first
//! call, where the feature `std` is on: it asks the environment for a limit to the instruction set. Call
//! [`Level::best`] before time matters.

use super::{Step, backward};
use crate::error::Error;
use crate::gates::{CellKind, Role};
use crate::kernel::shape::{Plan, Shape, Transposed, bias_slot};
use crate::math::{Accurate, Math};
use crate::real::Real;
use crate::time::Passes;
use crate::simd::{Kernel, Level, Rhs, Simd};
use core::marker::PhantomData;
use core::ops::Range;

mod dense;
mod jacobian;
mod panel;
mod step;
mod tape;
mod variant;

use panel::{Aligned, index, panel};
use step::OneStep;

pub use dense::Dense;
pub use jacobian::Jacobian;
pub use tape::Tape;
pub use variant::{ForgetGate, Relu, ResetAfter, ResetBefore, Sigmoid, Tanh, Variant};

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
pub type Lstm<T, const I: usize, const H: usize> = Fixed<T, ForgetGate, I, H, 4, 4>;
/// Gated recurrent unit with `I` inputs and `H` units.
pub type Gru<T, const I: usize, const H: usize, V = ResetAfter> = Fixed<T, V, I, H, 3, 4>;
/// Plain recurrent layer with `I` inputs and `H` units.
pub type Rnn<T, const I: usize, const H: usize, V = Tanh> = Fixed<T, V, I, H, 1, 1>;

/// A cell with `I` inputs, `H` units, `G` gates: see [`Lstm`], [`Gru`], [`Rnn`], which fix `G`
/// and the slots `S` of its gate buffer. Those of another cell than `V` do not compile:
///
/// ```compile_fail,E0080
/// use unrolled::cell::fixed::{Fixed, ForgetGate, Parameters};
/// let gates_of_a_gru: Fixed<f32, ForgetGate, 1, 8, 3, 4> = Fixed::from_parameters(&Parameters::zeros());
/// ```
/// ```compile_fail,E0080
/// use unrolled::cell::fixed::{Fixed, ForgetGate, Parameters};
/// let slots_of_an_rnn: Fixed<f32, ForgetGate, 1, 8, 4, 1> = Fixed::from_parameters(&Parameters::zeros());
/// ```
/// ```compile_fail,E0080
/// use unrolled::{Gru, cell::fixed::Tanh};
/// let an_rnn = Gru::<f32, 1, 1, Tanh>::new([[[0.0]]; 3], [[[0.0]]; 3], [[0.0]; 3], [[0.0]; 3]);
/// ```
/// ```compile_fail,E0080
/// use unrolled::{Lstm, cell::fixed::Parameters};
/// let no_units = Lstm::<f32, 1, 0>::from_parameters(&Parameters::zeros());
/// ```
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Fixed<T, V, const I: usize, const H: usize, const G: usize, const S: usize> {
    // In panels: by what multiplies, gate in the slots' order, unit.
    w_ih: Aligned<[[[T; H]; G]; I]>,
    w_hh: Aligned<[[[T; H]; G]; H]>,
    // In panels: by slot, unit. Apart, because floats of a generic type cannot be added in a `const fn`.
    b_ih: Aligned<[[T; H]; S]>,
    b_hh: Aligned<[[T; H]; S]>,
    variant: PhantomData<V>,
}

/// The state between two steps.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub struct State<T, const H: usize> {
    /// h, which is also the output.
    pub h: [T; H],
    /// c; zeros unless an LSTM.
    pub c: [T; H],
}

/// Parameters, or gradients by them, in PyTorch's layout: gate, unit, input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Parameters<T, const I: usize, const H: usize, const G: usize> {
    /// Input to gates.
    pub w_ih: [[[T; I]; H]; G],
    /// State to gates.
    pub w_hh: [[[T; H]; H]; G],
    /// Bias beside `w_ih`.
    pub b_ih: [[T; H]; G],
    /// Bias beside `w_hh`.
    pub b_hh: [[T; H]; G],
}

impl<T: Real, const I: usize, const H: usize, const G: usize> Parameters<T, I, H, G> {
    /// All zero.
    #[must_use]
    pub const fn zeros() -> Self {
        Parameters {
            w_ih: [[[T::ZERO; I]; H]; G],
            w_hh: [[[T::ZERO; H]; H]; G],
            b_ih: [[T::ZERO; H]; G],
            b_hh: [[T::ZERO; H]; G],
        }
    }

    /// `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh` as PyTorch stores them.
    #[must_use]
    pub fn slices(&self) -> [&[T]; 4] {
        [
            self.w_ih.as_flattened().as_flattened(),
            self.w_hh.as_flattened().as_flattened(),
            self.b_ih.as_flattened(),
            self.b_hh.as_flattened(),
        ]
    }

    /// The same, to be changed: by an optimiser, or by copying in what was trained elsewhere.
    pub fn slices_mut(&mut self) -> [&mut [T]; 4] {
        [
            self.w_ih.as_flattened_mut().as_flattened_mut(),
            self.w_hh.as_flattened_mut().as_flattened_mut(),
            self.b_ih.as_flattened_mut(),
            self.b_hh.as_flattened_mut(),
        ]
    }
}

impl<T: Real, const I: usize, const H: usize> Lstm<T, I, H> {
    /// A cell from PyTorch's arrays: weights by gate (i, f, g, o), unit and input.
    #[must_use]
    pub const fn new(
        w_ih: [[[T; I]; H]; 4],
        w_hh: [[[T; H]; H]; 4],
        b_ih: [[T; H]; 4],
        b_hh: [[T; H]; 4],
    ) -> Self {
        Self::from_parameters(&Parameters { w_ih, w_hh, b_ih, b_hh })
    }
}

impl<T: Real, V: Variant, const I: usize, const H: usize> Gru<T, I, H, V> {
    /// A cell from PyTorch's arrays: weights by gate (r, z, n), unit and input.
    #[must_use]
    pub const fn new(
        w_ih: [[[T; I]; H]; 3],
        w_hh: [[[T; H]; H]; 3],
        b_ih: [[T; H]; 3],
        b_hh: [[T; H]; 3],
    ) -> Self {
        Self::from_parameters(&Parameters { w_ih, w_hh, b_ih, b_hh })
    }
}

impl<T: Real, V: Variant, const I: usize, const H: usize> Rnn<T, I, H, V> {
    /// A cell from PyTorch's arrays: weights by unit and input.
    #[must_use]
    pub const fn new(w_ih: [[T; I]; H], w_hh: [[T; H]; H], b_ih: [T; H], b_hh: [T; H]) -> Self {
        Self::from_parameters(&Parameters {
            w_ih: [w_ih],
            w_hh: [w_hh],
            b_ih: [b_ih],
            b_hh: [b_hh],
        })
    }
}

impl<T: Real, V: Variant, const I: usize, const H: usize, const G: usize, const S: usize>
    Fixed<T, V, I, H, G, S>
{
    const SHAPE: Shape = {
        assert!(I > 0 && H > 0, "a cell has inputs and units");
        let shape = Shape {
            kind: V::KIND,
            input: I,
            hidden: H,
            state: H,
            projected: false,
            stride: H,
            state_stride: H,
            input_stride: I,
            line: 0,
        };
        assert!(
            G == V::KIND.gates().len() && S == shape.slots(),
            "G and S are those of another cell than V"
        );
        shape
    };

    /// Which of PyTorch's gates stands at place `g` of `w_hh`: a GRU's new value comes first.
    const fn state_gate(g: usize) -> usize {
        match V::KIND {
            CellKind::Gru { .. } => (g + 2) % 3,
            _ => g,
        }
    }

    /// A cell from parameters in PyTorch's layout.
    #[must_use]
    pub const fn from_parameters(p: &Parameters<T, I, H, G>) -> Self {
        const { _ = Self::SHAPE };
        let mut this = Fixed {
            w_ih: Aligned([[[T::ZERO; H]; G]; I]),
            w_hh: Aligned([[[T::ZERO; H]; G]; H]),
            b_ih: Aligned([[T::ZERO; H]; S]),
            b_hh: Aligned([[T::ZERO; H]; S]),
            variant: PhantomData,
        };
        let w_ih = this.w_ih.0.as_flattened_mut().as_flattened_mut();
        let w_hh = this.w_hh.0.as_flattened_mut().as_flattened_mut();
        let b_ih = this.b_ih.0.as_flattened_mut();
        let b_hh = this.b_hh.0.as_flattened_mut();
        let mut g = 0;
        while g < G {
            let (at_ih, at_hh) =
                (bias_slot(V::KIND, Role::BiasIh, g), bias_slot(V::KIND, Role::BiasHh, g));
            let mut u = 0;
            while u < H {
                let mut k = 0;
                while k < I {
                    w_ih[index([I, G, H], panel(G), [k, g, u])] = p.w_ih[g][u][k];
                    k += 1;
                }
                let mut k = 0;
                while k < H {
                    w_hh[index([H, G, H], panel(G), [k, g, u])] = p.w_hh[Self::state_gate(g)][u][k];
                    k += 1;
                }
                b_ih[index([1, S, H], panel(G), [0, at_ih, u])] = p.b_ih[g][u];
                b_hh[index([1, S, H], panel(G), [0, at_hh, u])] = p.b_hh[g][u];
                u += 1;
            }
            g += 1;
        }
        this
    }

    /// A state of zeros.
    #[must_use]
    pub const fn zero_state(&self) -> State<T, H> {
        State { h: [T::ZERO; H], c: [T::ZERO; H] }
    }

    /// A tape for `N` steps.
    #[must_use]
    pub const fn tape<const N: usize>(&self) -> Tape<T, I, H, G, S, N> {
        Tape::new()
    }
}

/// The plan of a cell with `H` units.
#[derive(Clone, Copy)]
struct Static<V, const H: usize>(PhantomData<V>);

impl<V: Variant, const H: usize> Plan for Static<V, H> {
    const FIXED: Option<(CellKind, usize)> = Some((V::KIND, H));
    const PACKED: bool = false;
}

impl<T: Passes, V: Variant, const I: usize, const H: usize, const G: usize, const S: usize>
    Fixed<T, V, I, H, G, S>
{
    /// One time step: `state` goes to the next, whose h is also returned.
    #[inline]
    pub fn step<'s>(&self, x: &[T; I], state: &'s mut State<T, H>) -> &'s [T; H] {
        self.step_with(Accurate, x, state)
    }

    /// As [`step`](Self::step), with a choice of activations: [`Fast`](crate::math::Fast) trades exactness
    /// for some nanoseconds.
    #[inline]
    pub fn step_with<'s, M: Math>(
        &self,
        math: M,
        x: &[T; I],
        state: &'s mut State<T, H>,
    ) -> &'s [T; H] {
        let level = Level::best();
        if const { matches!(V::KIND, CellKind::Gru { reset_after: false }) } {
            // Its second half needs what the first one made.
            let gates = &mut [[T::ZERO; H]; S];
            T::dispatch(level, OneStep { cell: self, _math: math, x, state, gates });
        } else {
            T::dispatch(level, OneStep { cell: self, _math: math, x, state, gates: &mut [] });
        }
        &state.h
    }

    /// A step whose values `tape` keeps for [`backward`](Self::backward).
    ///
    /// # Errors
    /// `Length` where the tape is full; the state is then as it was.
    pub fn record<'s, const N: usize>(
        &self,
        x: &[T; I],
        state: &'s mut State<T, H>,
        tape: &mut Tape<T, I, H, G, S, N>,
    ) -> Result<&'s [T; H], Error> {
        let at = tape.len;
        if at >= N {
            return Err(Error::Length { argument: "tape", expected: at + 1, got: N });
        }
        tape.x[at] = *x;
        tape.h[at] = state.h;
        tape.c[at] = state.c;
        let gates = &mut tape.gates[at];
        T::dispatch(Level::best(), OneStep { cell: self, _math: Accurate, x, state, gates });
        tape.len = at + 1;
        Ok(&state.h)
    }

    /// Back-propagation through the steps on `tape`. `d_y[t]` is the derivative of the loss by h after step t;
    /// `d_state` goes from that by the final state to that by the initial one; `d_x[t]` becomes that by
    /// the input of step t; gradients are added to `gradients`.
    ///
    /// # Errors
    /// `Length` where `d_y` or `d_x` have not as many steps as the tape; nothing has been changed then.
    pub fn backward<const N: usize>(
        &self,
        tape: &mut Tape<T, I, H, G, S, N>,
        d_y: &[[T; H]],
        d_state: &mut State<T, H>,
        d_x: &mut [[T; I]],
        gradients: &mut Parameters<T, I, H, G>,
    ) -> Result<(), Error> {
        for (argument, got) in [("d_y", d_y.len()), ("d_x", d_x.len())] {
            if got != tape.len {
                return Err(Error::Length { argument, expected: tape.len, got });
            }
        }
        tape.transpose(self);
        let level = Level::best();
        let mut end = tape.len;
        while end > 0 {
            let begin = (end - 1) / CHUNK * CHUNK;
            let steps = begin..end;
            T::dispatch(
                level,
                Back { variant: self.variant, tape, steps: steps.clone(), d_y, d_state },
            );
            T::chunk(level, tape.chunk::<V>(steps.clone(), d_x[steps].as_flattened_mut()));
            end = begin;
        }
        tape.add_to::<V>(gradients);
        Ok(())
    }
}

/// Steps whose weight gradients are summed before they are added to the rest, as a single row's are elsewhere.
const CHUNK: usize = 64;

/// Steps back, but for what [`Chunk`] does.
struct Back<
    'a,
    T,
    V,
    const I: usize,
    const H: usize,
    const G: usize,
    const S: usize,
    const N: usize,
> {
    variant: PhantomData<V>,
    tape: &'a mut Tape<T, I, H, G, S, N>,
    steps: Range<usize>,
    /// Empty where no loss enters on the way.
    d_y: &'a [[T; H]],
    d_state: &'a mut State<T, H>,
}

impl<
    T: Real,
    V: Variant,
    const I: usize,
    const H: usize,
    const G: usize,
    const S: usize,
    const N: usize,
> Kernel<T> for Back<'_, T, V, I, H, G, S, N>
{
    type Output = ();
    #[inline(always)]
    fn run<Isa: Simd<T>>(self, s: Isa) {
        let Self { variant: _, tape, steps, d_y, d_state } = self;
        let shape = Fixed::<T, V, I, H, G, S>::SHAPE;
        let w_hh_t = tape.w_hh_t.as_flattened().as_flattened();
        let before = shape.resets_before();
        let rhs = |data| Rhs { data, step: H, tile: Isa::LANES, gate: 0 };
        let w = Transposed {
            input: rhs(&[]),
            state: rhs(if before { &w_hh_t[H * H..] } else { w_hh_t }),
            new: rhs(w_hh_t),
            projection: rhs(&[]),
            turn: false,
        };
        let mut scratch = [T::ZERO; H];
        for t in steps.rev() {
            for (d, &y) in d_state.h.iter_mut().zip(d_y.get(t).into_iter().flatten()) {
                *d += y;
            }
            let step = Step { gates: tape.gates[t].as_flattened(), h: &tape.h[t], c: &tape.c[t] };
            let d_gates = tape.d_gates[t].as_flattened_mut();
            let State { h: d_h, c: d_c } = &mut *d_state;
            backward::<T, Isa, Accurate, Static<V, H>>(
                s,
                Accurate,
                &shape,
                &w,
                1,
                step,
                d_h,
                d_c,
                d_gates,
                &mut scratch,
                None,
            );
        }
    }
}
