//! What goes into a net and what comes out of it.

use crate::error::Error;
use crate::kernel::layout::MOST_STATES;
use alloc::vec::Vec;

/// Values by time, row and feature: those of (t, b) start at `data[t * time + b * batch]`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    /// The values.
    pub data: &'a [T],
    /// From a step to the next.
    pub time: usize,
    /// From a row to the next.
    pub batch: usize,
}

impl<'a, T> View<'a, T> {
    /// A contiguous (T, B, `features`) array.
    #[must_use]
    pub fn time_major(data: &'a [T], batch: usize, features: usize) -> Self {
        View { data, time: batch.saturating_mul(features), batch: features }
    }

    pub(crate) fn at(&self, t: usize, b: usize, features: usize) -> &'a [T] {
        &self.data[t * self.time + b * self.batch..][..features]
    }

    pub(crate) fn check(
        &self,
        argument: &'static str,
        steps: usize,
        batch: usize,
        features: usize,
    ) -> Result<(), Error> {
        if steps == 0 || batch == 0 {
            return Ok(());
        }
        let end = (steps - 1)
            .checked_mul(self.time)
            .zip((batch - 1).checked_mul(self.batch))
            .and_then(|(t, b)| t.checked_add(b)?.checked_add(features))
            .ok_or(Error::TooLarge { what: argument })?;
        if end > self.data.len() {
            return Err(Error::Length { argument, expected: end, got: self.data.len() });
        }
        Ok(())
    }
}

/// An array for each state of a cell, h first: of h (layers · directions, B, state size), of the others, such as an
/// LSTM's c, (layers · directions, B, H).
#[derive(Clone, Copy, Debug)]
pub struct StateArrays<'a, T> {
    arrays: [&'a [T]; MOST_STATES],
    pub(crate) count: usize,
}

impl<'a, T> StateArrays<'a, T> {
    /// As many as the cell has states; more than any cell may have count as too many.
    ///
    /// ```
    /// use unrolled::network::StateArrays;
    ///
    /// let (h, c) = (vec![0.0; 8], vec![0.0; 8]);
    /// let states = StateArrays::of(&[h, c]);
    /// ```
    #[must_use]
    pub fn of<A: AsRef<[T]>>(arrays: &'a [A]) -> Self {
        arrays.iter().map(AsRef::as_ref).collect()
    }

    pub(crate) fn get(&self) -> &[&'a [T]] {
        &self.arrays[..self.count.min(MOST_STATES)]
    }
}

impl<'a, T> FromIterator<&'a [T]> for StateArrays<'a, T> {
    fn from_iter<I: IntoIterator<Item = &'a [T]>>(all: I) -> Self {
        let (mut arrays, mut count): ([&[T]; MOST_STATES], _) = ([&[]; MOST_STATES], 0);
        for array in all {
            if let Some(to) = arrays.get_mut(count) {
                *to = array;
            }
            count = count.saturating_add(1);
        }
        StateArrays { arrays, count }
    }
}

/// What a net is run on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a, T> {
    /// x, (T, B, input size).
    pub x: View<'a, T>,
    /// T.
    pub steps: usize,
    /// B.
    pub batch: usize,
    /// Initial states; zeros if absent.
    pub states: Option<StateArrays<'a, T>>,
    /// Steps of each row; T if absent. x is not read past them.
    pub lengths: Option<&'a [usize]>,
    /// Whether an episode begins at (t, b), where the state is zero.
    pub resets: Option<View<'a, bool>>,
}

/// What a net gives.
#[derive(Clone, Debug)]
pub struct Output<T> {
    /// (T, B, directions · state size); zero past a row's length.
    pub y: Vec<T>,
    /// Final states: h, (layers · directions, B, state size), then the others, (layers · directions, B, H).
    pub states: Vec<Vec<T>>,
}

/// How to record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recording {
    /// Store the input, and the state every so many steps (rounded up to whole chunks), and compute the rest
    /// again when going back: less memory, the same gradients to the last bit. `Some(0)` chooses about √T. With
    /// two directions the outputs of the layers below the last are stored too.
    pub checkpoint: Option<usize>,
    /// Seed and probability of dropout between layers.
    pub dropout: Option<(u64, f64)>,
}

/// Derivatives of the loss by what a net gave.
#[derive(Clone, Copy, Debug)]
pub struct Losses<'a, T> {
    /// By y.
    pub y: View<'a, T>,
    /// By the final states; zeros if absent.
    pub states: Option<StateArrays<'a, T>>,
}

/// Gradients of everything.
#[derive(Clone, Debug)]
pub struct Gradients<T> {
    /// By the parameters, flat, in [`Config::parameters`](crate::Config::parameters)' order.
    pub parameters: Vec<T>,
    /// By x, (T, B, input size).
    pub x: Vec<T>,
    /// By the initial states.
    pub states: Vec<Vec<T>>,
}
