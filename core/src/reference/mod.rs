//! The plain version: whole nets in scalar `f64`, forward and back-propagation through time.
//!
//! Everything fast in this crate is judged against this module, so it is written to be read
//! beside the formulas and to share nothing with what it judges: no vectors, no tiles, no
//! packing, one row and one step after another. `cell` holds the formulas of one step,
//! `sequence` one layer in one direction over time, this file the layers on top of each other.
//!
//! Arrays are flat and row-major; their shapes stand beside them with T steps, B rows, L layers,
//! D directions, I inputs, H hidden units, S values of h ([`Config::state_size`]) and G gates.
//!
//! It is an oracle for tests and not an interface for users: slices of a wrong length panic.
//!
//! ```
//! use unrolled::gates::{CellKind, Config};
//! use unrolled::reference::{Problem, backward, forward};
//!
//! let config = Config::new(CellKind::Lstm { forget_gate: true }, 2, 1);
//! let parameters = vec![0.1; config.num_parameters()];
//! let problem = Problem {
//!     config: &config,
//!     parameters: &parameters,
//!     steps: 3,
//!     batch: 1,
//!     x: &[1.0, -1.0, 0.5, 0.0, 0.0, 2.0],
//!     h0: &[0.0],
//!     c0: &[0.0],
//!     lengths: None,
//!     resets: None,
//!     dropout: None,
//! };
//! let record = forward(&problem);
//! assert_eq!(record.y.len(), 3);
//! // The gradient of the sum of all outputs:
//! let gradients = backward(&problem, &record, &[1.0; 3], &[0.0], &[0.0], None);
//! assert_eq!(gradients.parameters.len(), parameters.len());
//! ```

mod cell;
mod sequence;

use alloc::vec;
use alloc::vec::Vec;

use crate::gates::{CellKind, Config};
use cell::{WeightGradients, Weights};
use sequence::{Direction, Loss, Received};

/// What dropout multiplies the value of `(layer, t, b, unit)` by: 0, or 1 / (1 − p). `layer` is
/// the one whose output it is, `unit` counts through both directions.
pub type Mask<'a> = dyn Fn(usize, usize, usize, usize) -> f64 + 'a;

/// A net and what it reads.
#[derive(Clone, Copy)]
pub struct Problem<'a> {
    /// The net.
    pub config: &'a Config,
    /// Its parameters, in the order of [`Config::parameters`].
    pub parameters: &'a [f64],
    /// T.
    pub steps: usize,
    /// B.
    pub batch: usize,
    /// Input, (T, B, I).
    pub x: &'a [f64],
    /// The state before the first step, (L·D, B, S).
    pub h0: &'a [f64],
    /// The cell state before the first step, (L·D, B, H); empty unless the cell has one.
    pub c0: &'a [f64],
    /// Where each row ends, (B), each at most T; `None`: all at T. `x` past the end is never read.
    pub lengths: Option<&'a [usize]>,
    /// Whether an episode begins at (t, b), (T, B): nothing crosses between t − 1 and t.
    pub resets: Option<&'a [bool]>,
    /// Applied to the output of every layer but the last.
    pub dropout: Option<&'a Mask<'a>>,
}

/// What [`forward`] returns, with everything [`backward`] needs again.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Output of the last layer, (T, B, D·S); zero past a row's end.
    pub y: Vec<f64>,
    /// The state after each row's last step, (L·D, B, S).
    pub h: Vec<f64>,
    /// The cell state after each row's last step, (L·D, B, H); empty unless the cell has one.
    pub c: Vec<f64>,
    /// Every layer and direction over time; layer · D + direction is the index.
    pub traces: Vec<Trace>,
    /// What each layer after the first reads: the output below it after dropout, (T, B, D·S).
    pub between: Vec<Vec<f64>>,
}

/// One layer in one direction over time, indexed by the time t of the input also when it runs
/// backwards. Zero past a row's end.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// h after step t, (T, B, S).
    pub hidden: Vec<f64>,
    /// c after step t, (T, B, H); empty unless the cell has one.
    pub cell: Vec<f64>,
    /// The gates of step t after their activations, (T, B, G, H), in the order of
    /// [`CellKind::gates`].
    pub gates: Vec<f64>,
}

/// What [`backward`] returns: the gradient of the loss in everything a [`Problem`] is given.
#[derive(Clone, Debug, PartialEq)]
pub struct Gradients {
    /// Like [`Problem::parameters`].
    pub parameters: Vec<f64>,
    /// Like [`Problem::x`]; zero past a row's end.
    pub x: Vec<f64>,
    /// Like [`Problem::h0`].
    pub h0: Vec<f64>,
    /// Like [`Problem::c0`].
    pub c0: Vec<f64>,
}

/// Runs the net.
///
/// # Panics
/// If a slice has not the length its shape says.
#[must_use]
pub fn forward(p: &Problem) -> Record {
    check(p);
    let config = p.config;
    let mut record = Record {
        y: Vec::new(),
        h: Vec::new(),
        c: Vec::new(),
        traces: Vec::new(),
        between: Vec::new(),
    };
    for layer in 0..config.num_layers {
        let mut output = vec![0.0; p.steps * p.batch * config.output_size()];
        for direction in 0..config.num_directions() {
            let pass = pass(p, &record.between, layer, direction);
            let trace = pass.forward();
            for b in 0..p.batch {
                for t in 0..p.length(b) {
                    let to = at(p, t, b, config.output_size(), direction * config.state_size());
                    let from = at(p, t, b, config.state_size(), 0);
                    output[to..to + config.state_size()]
                        .copy_from_slice(&trace.hidden[from..from + config.state_size()]);
                }
                let last = pass.after(&trace, b, p.length(b));
                record.h.extend(last.h);
                record.c.extend(last.c);
            }
            record.traces.push(trace);
        }
        if layer + 1 < config.num_layers {
            mask(p, layer, &mut output);
            record.between.push(output);
        } else {
            record.y = output;
        }
    }
    record
}

/// The gradients of a loss of which `dy` (T, B, D·S) is the derivative in the output, `dh`
/// (L·D, B, S) and `dc` (L·D, B, H; empty unless the cell has one) those in the final state.
///
/// With `truncate` only the terms remain that use a parameter, an input or the initial state at
/// most so many steps before the step whose loss they carry, counted in the order each direction
/// runs, in each layer on its own; the final state counts as part of a row's last step. `dy` past
/// a row's end is never read.
///
/// # Panics
/// If a slice has not the length its shape says, or `r` does not come from `p`.
#[must_use]
pub fn backward(
    p: &Problem,
    r: &Record,
    dy: &[f64],
    dh: &[f64],
    dc: &[f64],
    truncate: Option<usize>,
) -> Gradients {
    check(p);
    assert_eq!(dy.len(), r.y.len(), "dy");
    assert_eq!(dh.len(), r.h.len(), "dh");
    assert_eq!(dc.len(), r.c.len(), "dc");
    let config = p.config;
    let mut gradients = Gradients {
        parameters: vec![0.0; p.parameters.len()],
        x: Vec::new(),
        h0: vec![0.0; p.h0.len()],
        c0: vec![0.0; p.c0.len()],
    };
    let mut d_output = dy.to_vec();
    for layer in (0..config.num_layers).rev() {
        if layer + 1 < config.num_layers {
            mask(p, layer, &mut d_output);
        }
        let mut d_input = vec![0.0; p.steps * p.batch * config.layer_input_size(layer)];
        for direction in 0..config.num_directions() {
            let pass = pass(p, &r.between, layer, direction);
            let loss = Loss { d_output: &d_output, dh, dc, truncate };
            let mut received = Received {
                d_input: &mut d_input,
                d_h0: &mut gradients.h0,
                d_c0: &mut gradients.c0,
                d_weights: WeightGradients::of(
                    config,
                    &mut gradients.parameters,
                    layer,
                    direction == 1,
                ),
            };
            pass.backward(&r.traces[pass.index], &loss, &mut received);
        }
        d_output = d_input;
    }
    gradients.x = d_output;
    gradients
}

impl Problem<'_> {
    /// Steps of row `b`.
    fn length(&self, b: usize) -> usize {
        self.lengths.map_or(self.steps, |lengths| lengths[b])
    }
}

/// `layer` in one direction, reading what `between` (or `x`) holds for it.
fn pass<'a>(
    p: &'a Problem<'a>,
    between: &'a [Vec<f64>],
    layer: usize,
    direction: usize,
) -> Direction<'a> {
    Direction {
        problem: p,
        weights: Weights::of(p.config, p.parameters, layer, direction == 1),
        input: if layer == 0 { p.x } else { &between[layer - 1] },
        index: layer * p.config.num_directions() + direction,
        reverse: direction == 1,
        offset: direction * p.config.state_size(),
    }
}

/// Where value `i` of the `size` at (t, b) lies in an array (T, B, `size`).
fn at(p: &Problem, t: usize, b: usize, size: usize, i: usize) -> usize {
    (t * p.batch + b) * size + i
}

/// Dropout of the output of `layer`, and of the gradient in it: the mask is its own transpose.
fn mask(p: &Problem, layer: usize, output: &mut [f64]) {
    let Some(dropout) = p.dropout else { return };
    let size = p.config.output_size();
    for b in 0..p.batch {
        for t in 0..p.length(b) {
            for unit in 0..size {
                output[at(p, t, b, size, unit)] *= dropout(layer, t, b, unit);
            }
        }
    }
}

fn check(p: &Problem) {
    let config = p.config;
    let states = config.num_layers * config.num_directions() * p.batch;
    let cells = if config.kind.states() > 1 { states * config.hidden_size } else { 0 };
    assert!(config.num_layers > 0, "num_layers");
    assert!(!matches!(config.kind, CellKind::Open(_)), "kind: one of this crate's cells");
    assert!(config.proj_size == 0 || matches!(config.kind, CellKind::Lstm { .. }), "proj_size");
    assert_eq!(p.parameters.len(), config.num_parameters(), "parameters");
    assert_eq!(p.x.len(), p.steps * p.batch * config.input_size, "x");
    assert_eq!(p.h0.len(), states * config.state_size(), "h0");
    assert_eq!(p.c0.len(), cells, "c0");
    if let Some(lengths) = p.lengths {
        assert_eq!(lengths.len(), p.batch, "lengths");
        assert!(lengths.iter().all(|&length| length <= p.steps), "lengths");
    }
    if let Some(resets) = p.resets {
        assert_eq!(resets.len(), p.steps * p.batch, "resets");
    }
}
