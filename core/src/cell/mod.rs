//! One time step of each cell, forward beside backward, over rows of a batch.
//!
//! A [`Cell`] is a file: what feeds its slots, and its function of them beside the mirror of that. A step works on a
//! *gate buffer*: for each row of the batch, a run of units for each slot. Before the step the buffer holds
//! W_ih x + b; `forward` adds W_hh h₋, applies the cell in place and moves the states on. `backward` reads the same
//! buffer, of run-time networks and of [fixed-size cells](crate::fixed) alike: sizes come as plain numbers, and where they are
//! constants the compiler folds them. Going forward, fixed-size cells have a step of their own, which keeps the buffer
//! in registers, and so has a single row of a run-time network (`row`).

mod chunk;
pub(crate) mod elementwise;
#[cfg(feature = "alloc")]
pub mod formula;
mod gru;
mod gru_original;
mod lstm;
mod lstm_1997;
mod pairs;
mod rnn;
pub(crate) mod row;
mod spec;
mod step;

pub use crate::kernel::layout::{Layout, MOST_MAPS, MOST_SLOTS, MOST_STATES, Slot};
pub use crate::simd::flat::Array;
pub use gru::ResetAfter;
pub use gru_original::ResetBefore;
pub use lstm::ForgetGate;
pub use lstm_1997::NoForgetGate;
pub use rnn::{Relu, Sigmoid, Tanh};
pub use spec::{Cell, Derivatives};

pub(crate) use chunk::{Chunk, InputDerivative, Outer, Sum, WeightGradients};
pub(crate) use pairs::activate;
pub(crate) use step::{Scratch, Step, backward, forward, input, lap_of, product};

/// Runs a body over `$n` units, a vector at a time; `PART` is true in the last one if it is not full.
macro_rules! units {
    ($s:ident, $n:expr, |$u:ident, $part:ident| $body:block) => {{
        let n = $n;
        let mut $u = 0;
        while $u + $s::LANES <= n {
            const $part: bool = false;
            $body
            $u += $s::LANES;
        }
        if $u < n {
            const $part: bool = true;
            $body
        }
    }};
}
pub(crate) use units;
