//! What a cell carries from step to step, and what it is made of.

use crate::cell::Cell;
use crate::real::Real;
use crate::simd::flat::filled;
use core::fmt;
use core::ops::{Index, IndexMut};

/// The state between two steps: an array of the cell's states, `H` values each. The first is h, which is also the
/// output; an LSTM's second is c.
///
/// ```
/// use unrolled::cell::ForgetGate;
/// use unrolled::fixed::State;
///
/// let mut state = State::<ForgetGate, f32, 2>::new([[0.1, 0.2], [0.0, 0.0]]);
/// state[1] = [0.3, 0.4];
/// assert_eq!(state.h(), &state[0]);
/// ```
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct State<C: Cell, T: Real, const H: usize> {
    states: C::States<[T; H]>,
}

impl<C: Cell, T: Real, const H: usize> State<C, T, H> {
    /// Of the states, h first.
    #[must_use]
    pub const fn new(states: C::States<[T; H]>) -> Self {
        State { states }
    }

    /// All zero.
    #[must_use]
    pub const fn zeros() -> Self {
        State { states: filled([T::ZERO; H]) }
    }

    /// h.
    #[inline]
    #[must_use]
    pub fn h(&self) -> &[T; H] {
        &self[0]
    }

    /// h, to be written.
    #[inline]
    pub fn h_mut(&mut self) -> &mut [T; H] {
        &mut self[0]
    }
}

impl<C: Cell, T: Real, const H: usize> Index<usize> for State<C, T, H> {
    type Output = [T; H];
    #[inline]
    fn index(&self, state: usize) -> &[T; H] {
        &self.states.as_ref()[state]
    }
}

impl<C: Cell, T: Real, const H: usize> IndexMut<usize> for State<C, T, H> {
    #[inline]
    fn index_mut(&mut self, state: usize) -> &mut [T; H] {
        &mut self.states.as_mut()[state]
    }
}

impl<C: Cell, T: Real, const H: usize> AsRef<[[T; H]]> for State<C, T, H> {
    #[inline]
    fn as_ref(&self) -> &[[T; H]] {
        self.states.as_ref()
    }
}

impl<C: Cell, T: Real, const H: usize> AsMut<[[T; H]]> for State<C, T, H> {
    #[inline]
    fn as_mut(&mut self) -> &mut [[T; H]] {
        self.states.as_mut()
    }
}

impl<C: Cell, T: Real, const H: usize> fmt::Debug for State<C, T, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("State").field(&self.as_ref()).finish()
    }
}

impl<C: Cell, T: Real, const H: usize> PartialEq for State<C, T, H> {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

/// Parameters, or gradients by them, in PyTorch's layout: block, unit, input.
///
/// A block is what one map has of a matrix: `H` rows. An LSTM's are i, f, g, o, a GRU's r, z, n; an RNN has one.
#[derive(Clone, Copy)]
pub struct Parameters<C: Cell, T: Real, const I: usize, const H: usize> {
    /// Maps of x.
    pub w_ih: C::MapsOfX<[[T; I]; H]>,
    /// Maps of h, and of computed values.
    pub w_hh: C::MapsOfH<[[T; H]; H]>,
    /// Biases beside `w_ih`.
    pub b_ih: C::MapsOfX<[T; H]>,
    /// Biases beside `w_hh`.
    pub b_hh: C::MapsOfH<[T; H]>,
    /// What each unit has for itself.
    pub w_p: C::Parameters<[T; H]>,
}

impl<C: Cell, T: Real, const I: usize, const H: usize> Parameters<C, T, I, H> {
    /// All zero.
    #[must_use]
    pub const fn zeros() -> Self {
        let zeros = [T::ZERO; H];
        Parameters {
            w_ih: filled([[T::ZERO; I]; H]),
            w_hh: filled([zeros; H]),
            b_ih: filled(zeros),
            b_hh: filled(zeros),
            w_p: filled(zeros),
        }
    }

    /// `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`, `weight_p` as PyTorch would store them; empty where the cell has
    /// none.
    #[must_use]
    pub fn slices(&self) -> [&[T]; 5] {
        [
            self.w_ih.as_ref().as_flattened().as_flattened(),
            self.w_hh.as_ref().as_flattened().as_flattened(),
            self.b_ih.as_ref().as_flattened(),
            self.b_hh.as_ref().as_flattened(),
            self.w_p.as_ref().as_flattened(),
        ]
    }

    /// The same, to be changed: by an optimiser, or by copying in what was trained elsewhere.
    pub fn slices_mut(&mut self) -> [&mut [T]; 5] {
        [
            self.w_ih.as_mut().as_flattened_mut().as_flattened_mut(),
            self.w_hh.as_mut().as_flattened_mut().as_flattened_mut(),
            self.b_ih.as_mut().as_flattened_mut(),
            self.b_hh.as_mut().as_flattened_mut(),
            self.w_p.as_mut().as_flattened_mut(),
        ]
    }
}

impl<C: Cell, T: Real, const I: usize, const H: usize> fmt::Debug for Parameters<C, T, I, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parameters")
            .field("w_ih", &self.w_ih.as_ref())
            .field("w_hh", &self.w_hh.as_ref())
            .field("b_ih", &self.b_ih.as_ref())
            .field("b_hh", &self.b_hh.as_ref())
            .field("w_p", &self.w_p.as_ref())
            .finish()
    }
}

impl<C: Cell, T: Real, const I: usize, const H: usize> PartialEq for Parameters<C, T, I, H> {
    fn eq(&self, other: &Self) -> bool {
        self.slices() == other.slices()
    }
}
