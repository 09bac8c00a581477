//! One time step of each cell, forward beside backward, over rows of a batch.
//!
//! A step works on a *gate buffer*: for each row, a few slots of `stride` values, one slot a gate.
//! Before the step the buffer holds W_ih x + b (`input`); `forward` adds W_hh h₋, applies the
//! activations in place and moves h and c on. `backward` reads the same buffer, of run-time networks and of
//! [fixed-size cells](fixed) alike: sizes come as plain numbers, and where they are constants the compiler folds them.
//! Going forward, fixed-size cells have a step of their own, which keeps the buffer in registers.

#[cfg(feature = "alloc")]
mod cell_state;
mod chunk;
pub mod fixed;
mod gru;
mod lstm;
mod rnn;
mod step;

#[cfg(feature = "alloc")]
pub(crate) use cell_state::CellState;
pub(crate) use chunk::{Chunk, InputDerivative, Outer, Sum, WeightGradients};
pub(crate) use step::{Projection, Step, backward, forward, input};

use crate::gates::{CellKind, Gate};

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

/// The place of `gate` among the gates of an RNN or LSTM, whose slots are in that order.
#[inline(always)]
const fn slot(kind: CellKind, gate: Gate) -> usize {
    let gates = kind.gates();
    let mut i = 0;
    while i < gates.len() && gates[i] as u8 != gate as u8 {
        i += 1;
    }
    i
}
