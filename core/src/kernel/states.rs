//! Rows of states: h of all rows, then the next state of all rows, and so on.

use super::shape::Shape;
use core::ops::Range;

/// States, or derivatives by them, in padded rows; empty where they are not kept.
#[derive(Clone, Copy)]
pub struct States<'a, T> {
    /// State after state.
    pub data: &'a [T],
    /// Rows of each.
    pub rows: usize,
    /// The row that counts as the first.
    pub first: usize,
}

/// The same, to be written.
pub struct StatesMut<'a, T> {
    /// State after state.
    pub data: &'a mut [T],
    /// Rows of each.
    pub rows: usize,
    /// The row that counts as the first.
    pub first: usize,
}

impl<'a, T> States<'a, T> {
    /// The rows of one state.
    #[inline(always)]
    #[must_use]
    pub fn of(&self, shape: &Shape, state: usize) -> &'a [T] {
        &self.data[place(shape, self.rows, self.first, state)..]
    }

    /// From a later row on.
    #[inline(always)]
    #[must_use]
    pub fn from(&self, row: usize) -> Self {
        States { first: self.first + row, ..*self }
    }
}

impl<T> StatesMut<'_, T> {
    /// Where a row of a state begins in `data`.
    #[inline(always)]
    #[must_use]
    pub fn at(&self, shape: &Shape, state: usize, row: usize) -> usize {
        place(shape, self.rows, self.first + row, state)
    }

    /// Some rows of one state.
    #[inline(always)]
    pub fn of(&mut self, shape: &Shape, state: usize, rows: Range<usize>) -> &mut [T] {
        let (begin, end) = (self.at(shape, state, rows.start), self.at(shape, state, rows.end));
        &mut self.data[begin..end]
    }

    /// The same, for a while.
    #[inline(always)]
    pub fn again(&mut self) -> StatesMut<'_, T> {
        StatesMut { data: self.data, rows: self.rows, first: self.first }
    }

    /// From a later row on.
    #[inline(always)]
    pub fn from(&mut self, row: usize) -> StatesMut<'_, T> {
        StatesMut { data: self.data, rows: self.rows, first: self.first + row }
    }

    /// To be read.
    #[inline(always)]
    #[must_use]
    pub fn view(&self) -> States<'_, T> {
        States { data: self.data, rows: self.rows, first: self.first }
    }
}

#[inline(always)]
const fn place(shape: &Shape, rows: usize, row: usize, state: usize) -> usize {
    shape.state_at(rows, state) + row * shape.state_row(state)
}
