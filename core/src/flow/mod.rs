//! Gradient flow: how far, and how strongly, what happens at one step reaches another. Exact, at the speed of
//! the kernels that train.
//!
//! # The state, and one primitive
//!
//! The state s of a layer in one direction is all that its cell carries, h and for an LSTM c, one after the other: S values. All that is
//! asked of its Jacobians comes from one thing, a step of back-propagation for any rows
//! (`sequence::PullBack`): a row is a cotangent v, and comes back as vᵀ ∂s_t/∂s_{t−1}, each
//! through the step it is given. It is the kernel that trains; so every cell, projection, float type and level is
//! covered, without a formula for any of them here.
//!
//! * [`Network::step_jacobians`]: S unit cotangents a step.
//! * [`Network::pull_back`]: cotangents carried over many steps; the product of Jacobians is never formed.
//! * [`Network::push_forward`], [`Network::lyapunov`]: tangents, over steps' explicit Jacobians.
//! * [`Network::gradient_by_lag`]: the gradient's terms, loss by loss and step by step.
//!
//! Other layers are held fixed in the first three; the last follows every path through the layers above.
//! Nothing crosses a reset or a row's end: what would is exactly zero.
//!
//! # The gradient by lag
//!
//! ∂L/∂W = Σ_t Σ_{k ≤ t} (∂L_t/∂s_t) (∂s_t/∂s_k) (∂⁺s_k/∂W): a term for each pair of a loss t and a use k, T² of them.
//! A pass of back-propagation for each loss would cost T² steps of few rows. Instead *all* losses go back
//! together: at lag ℓ, loss t stands at step k = t − ℓ, so one lag is one kernel call over (T − ℓ) · B rows, whose
//! tape rows are neighbours. The sum of a lag's terms is then the same outer product that gives a gradient in training.
//! Altogether T lags cost about as much as T²/2 steps of training do in a large batch; memory is some tapes' worth.
//!
//! Gradients that vanish leave the range of `f32` long before they leave a plot, and arithmetic on the denormal
//! numbers on the way is many times slower. Every row therefore carries a power of two apart, see `scale`.

#[cfg(feature = "alloc")]
mod front;
#[cfg(feature = "alloc")]
mod jacobian;
#[cfg(feature = "alloc")]
mod lags;
#[cfg(feature = "alloc")]
mod scale;
#[cfg(feature = "alloc")]
mod tangent;
#[cfg(feature = "alloc")]
mod term;
#[cfg(feature = "alloc")]
mod uses;
#[cfg(feature = "alloc")]
mod wave;

#[cfg(feature = "alloc")]
pub use lags::{LagGradients, Terms};

#[cfg(feature = "alloc")]
use crate::{
    error::Error,
    kernel::shape::Shape,
    net::network::Network,
    net::shard::Shard,
    net::tape::{DirectionTrace, ShardTrace, Tape},
    time::{Pass, Passes},
};

/// One layer in one direction of a recorded net.
#[cfg(feature = "alloc")]
#[derive(Clone, Copy)]
struct Recorded<'a, T: Passes> {
    net: &'a Network<T>,
    tape: &'a Tape<T>,
    layer: usize,
    direction: usize,
    shape: Shape,
}

#[cfg(feature = "alloc")]
impl<'a, T: Passes> Recorded<'a, T> {
    /// `cell` counts layers · directions.
    fn new(net: &'a Network<T>, tape: &'a Tape<T>, cell: usize) -> Result<Self, Error> {
        net.check_tape(tape)?;
        let invalid = |argument, expected| Err(Error::Invalid { argument, expected });
        if tape.checkpoint.is_some() {
            return invalid("tape", "recorded without checkpoints, to hold every step");
        }
        let directions = net.config().num_directions();
        let (layer, direction) = (cell / directions, cell % directions);
        if layer >= net.config().num_layers {
            return invalid("cell", "less than layers · directions");
        }
        Ok(Recorded { net, tape, layer, direction, shape: *net.shape(layer) })
    }

    fn cell(&self) -> usize {
        self.layer * self.net.config().num_directions() + self.direction
    }

    fn reverse(&self) -> bool {
        self.direction == 1
    }

    /// Values of the state s.
    fn state(&self) -> usize {
        self.net.config().state_sizes().sum()
    }

    /// Time in one shard, without an input.
    fn pass<'s>(&'s self, shard: &'s Shard) -> Pass<'s, T> {
        Pass { x_row: 0, ..shard.pass(&self.shape, self.reverse(), &[]) }
    }

    /// What was kept of one shard. Only for shards with a step.
    fn trace(&self, shard: &'a ShardTrace<T>) -> &'a DirectionTrace<T> {
        // Without checkpoints all steps are one span.
        &shard.spans[0].layers[self.layer].directions[self.direction]
    }

    /// Refuses a step the tape does not have.
    fn check_step(&self, argument: &'static str, step: usize) -> Result<(), Error> {
        match self.tape.steps().checked_sub(1) {
            None => Err(Error::Invalid { argument, expected: "a step, but the tape has none" }),
            Some(most) if step > most => Err(Error::Range { argument, at: 0, most, got: step }),
            Some(_) => Ok(()),
        }
    }

    /// Refuses other than `k` at or before `t` in the direction's own time.
    fn check_pair(&self, t: usize, k: usize) -> Result<(), Error> {
        self.check_step("t", t)?;
        self.check_step("k", k)?;
        let invalid = |expected| Err(Error::Invalid { argument: "k", expected });
        match self.reverse() {
            false if k > t => invalid("at most t: time runs forward"),
            true if k < t => invalid("at least t: time runs in reverse"),
            _ => Ok(()),
        }
    }
}

/// The steps whose Jacobians make ∂s_t/∂s_k, from t on back towards k.
#[cfg(feature = "alloc")]
fn steps_between(t: usize, k: usize) -> impl DoubleEndedIterator<Item = usize> + use<> {
    let (count, down) = (t.abs_diff(k), k < t);
    (0..count).map(move |i| if down { t - i } else { t + i })
}
