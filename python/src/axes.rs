//! The order of axes that a user has chosen.

use unrolled::network::View;

/// The user's order of axes. Inside, everything is (T, B, …).
#[derive(Clone, Copy)]
pub struct Axes {
    pub batch_first: bool,
    pub unbatched: bool,
}

impl Axes {
    pub fn written(self) -> &'static str {
        match self {
            Axes { unbatched: true, .. } => "T",
            Axes { batch_first: true, .. } => "B, T",
            Axes { .. } => "T, B",
        }
    }

    /// The strides of a contiguous array of so many steps and rows of `features` numbers.
    pub fn in_time(self, steps: usize, batch: usize, features: usize) -> Strides {
        if self.batch_first && !self.unbatched {
            Strides { time: features, batch: steps * features }
        } else {
            Strides { time: batch * features, batch: features }
        }
    }

    /// Steps and rows of an array of this shape, which has an axis for the features too.
    pub fn sizes(self, shape: &[usize]) -> (usize, usize) {
        match (shape, self.batch_first) {
            (&[steps, _], _) => (steps, 1),
            (&[batch, steps, _], true) | (&[steps, batch, _], false) => (steps, batch),
            _ => (0, 0),
        }
    }

    /// The sizes of these axes.
    pub fn shape(self, steps: usize, batch: usize) -> Vec<usize> {
        match self {
            Axes { unbatched: true, .. } => vec![steps],
            Axes { batch_first: true, .. } => vec![batch, steps],
            Axes { .. } => vec![steps, batch],
        }
    }
}

/// How far it is from a step to the next, and from a row to the next.
#[derive(Clone, Copy)]
pub struct Strides {
    pub time: usize,
    pub batch: usize,
}

impl Strides {
    pub fn view<T>(self, data: &[T]) -> View<'_, T> {
        View { data, time: self.time, batch: self.batch }
    }
}
