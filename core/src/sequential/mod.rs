//! Layers of run-time sizes one after another, as one model that a real-time program plays.
//!
//! ```
//! use std::sync::Arc;
//! use unrolled::activation::Function;
//! use unrolled::dense::Dense;
//! use unrolled::sequential::{Module, Sequential};
//! use unrolled::{CellKind, Config, Error, Level, Network};
//!
//! let level = Level::best();
//! let lstm = Network::<f32>::new(Config::new(CellKind::Lstm { forget_gate: true }, 1, 16), level)?;
//! let dense = Dense::new(16, 1, true, level)?;
//! let model = Sequential::new(vec![
//!     Module::Recurrent(lstm),
//!     Module::Dense(dense),
//!     Module::Activation(Function::Tanh),
//! ])?;
//!
//! // Two channels, each a row of the batch with a state of its own.
//! let mut stream = Sequential::stream(&Arc::new(model), 2)?;
//! let (left, right) = ([0.5; 100], [-0.5; 100]);
//! let (mut y_left, mut y_right) = ([0.0; 100], [0.0; 100]);
//! stream.process_channels(&[&left, &right], &mut [&mut y_left, &mut y_right])?;
//! # Ok::<(), Error>(())
//! ```

mod stream;
mod swap;

pub use stream::Stream;
pub use swap::{Player, Replacer, player};

use crate::activation::Function;
use crate::dense::Dense;
use crate::error::Error;
use crate::network::{Network, StateArrays};
use crate::simd::Level;
use crate::time::Passes;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// What a model is made of.
#[derive(Debug)]
pub enum Module<T: Passes> {
    /// Layers of a cell.
    Recurrent(Network<T>),
    /// y = W x + b
    Dense(Dense<T>),
    /// A function of every value, or of every row.
    Activation(Function),
    /// Adds to what comes the first values of what module `since` reads, as many as come.
    Residual {
        /// Counted from 0, the model's input; less than this module's own place.
        since: usize,
    },
}

/// Modules one after another, each of which reads what the one before it gives.
#[derive(Debug)]
pub struct Sequential<T: Passes> {
    modules: Vec<Module<T>>,
    /// Of its activations.
    level: Level,
    /// Values a row that go into each module, and that come out of the last.
    widths: Vec<usize>,
    /// What a stream's states are at its start, by recurrent module and state; none for zeros.
    initial: Vec<Vec<Vec<T>>>,
}

impl<T: Passes> Sequential<T> {
    /// A model whose streams start from states of zeros.
    ///
    /// # Errors
    /// `Invalid` without a layer that says how many values it reads, or where a residual connection has nothing to
    /// add; `Length` where a module reads another number of values than come.
    pub fn new(modules: Vec<Module<T>>) -> Result<Self, Error> {
        let invalid = |expected| Error::Invalid { argument: "modules", expected };
        let first = modules.iter().find_map(|module| module.sizes().zip(module.level()));
        let ((mut width, _), level) =
            first.ok_or(invalid("at least one recurrent or dense layer"))?;
        let mut widths = Vec::new();
        widths
            .try_reserve_exact(modules.len() + 1)
            .map_err(|_| Error::TooLarge { what: "model" })?;
        for module in &modules {
            widths.push(width);
            if let &Module::Residual { since } = module {
                let own = widths.len() - 1;
                if since >= own {
                    return Err(invalid("residual connections since an earlier module"));
                }
                if widths[since] < width {
                    let (expected, got) = (width, widths[since]);
                    return Err(Error::Length { argument: "residual", expected, got });
                }
            }
            if let Some((inputs, outputs)) = module.sizes() {
                if inputs != width {
                    let (expected, got) = (width, inputs);
                    return Err(Error::Length { argument: "input size", expected, got });
                }
                width = outputs;
            }
        }
        widths.push(width);
        Ok(Sequential { modules, level, widths, initial: Vec::new() })
    }

    /// The same with the states that streams start from: for each recurrent module, in order, an array for each of
    /// its states, (layers, size).
    ///
    /// # Errors
    /// `Length` where these are not as many, or of other sizes.
    pub fn with_initial_state(self, initial: Vec<Vec<Vec<T>>>) -> Result<Self, Error> {
        let argument = "initial state";
        let (expected, got) = (self.networks().count(), initial.len());
        if got != expected {
            return Err(Error::Length { argument, expected, got });
        }
        for (net, states) in self.networks().zip(&initial) {
            net.check_states(argument, Some(StateArrays::of(states)), 1)?;
        }
        Ok(Sequential { initial, ..self })
    }

    /// The modules, in order.
    #[must_use]
    pub fn modules(&self) -> &[Module<T>] {
        &self.modules
    }

    /// Values a row that it reads.
    #[must_use]
    pub fn input_size(&self) -> usize {
        self.widths[0]
    }

    /// Values a row that it gives.
    #[must_use]
    pub fn output_size(&self) -> usize {
        self.widths[self.modules.len()]
    }

    /// The recurrent modules.
    pub fn networks(&self) -> impl Iterator<Item = &Network<T>> {
        self.modules.iter().filter_map(|module| match module {
            Module::Recurrent(net) => Some(net),
            _ => None,
        })
    }

    /// A stream of `batch` rows through the model, which starts from its initial state.
    ///
    /// # Errors
    /// `Invalid` for a bidirectional layer; `TooLarge`.
    pub fn stream(model: &Arc<Self>, batch: usize) -> Result<Stream<T>, Error> {
        Stream::new(Arc::clone(model), batch)
    }
}

impl<T: Passes> Module<T> {
    /// Values a row that go in and come out, where the module says so.
    pub(crate) fn sizes(&self) -> Option<(usize, usize)> {
        match self {
            Module::Recurrent(net) => Some((net.config().input_size, net.config().output_size())),
            Module::Dense(dense) => Some(dense.sizes()),
            Module::Activation(_) | Module::Residual { .. } => None,
        }
    }

    /// The level whose kernels it runs, where it has packed weights.
    fn level(&self) -> Option<Level> {
        match self {
            Module::Recurrent(net) => Some(net.level()),
            Module::Dense(dense) => Some(dense.level()),
            Module::Activation(_) | Module::Residual { .. } => None,
        }
    }
}
