//! What the integration tests share: random problems, small or of any size, and comparisons.
#![allow(dead_code)] // each test program is compiled with all of it and uses its part

pub mod tolerance;

use proptest::prelude::*;
use unrolled::gates::{Activation, CellKind, Config};
use unrolled::reference::{Mask, Problem, Record};

/// splitmix64: eight lines, the same everywhere, good enough to fill arrays.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [−scale, scale), and a number of `f32` too, so that both types compute from
    /// the same values.
    pub fn uniform(&mut self, scale: f64) -> f64 {
        let unit = (self.next() >> 40) as f64 / (1u64 << 23) as f64 - 1.0;
        f64::from((unit * scale) as f32)
    }

    pub fn vector(&mut self, len: usize, scale: f64) -> Vec<f64> {
        (0..len).map(|_| self.uniform(scale)).collect()
    }
}

/// Everything about a problem but its numbers, which follow from the seed.
#[derive(Clone, Debug)]
pub struct Shape {
    pub config: Config,
    pub steps: usize,
    pub batch: usize,
    pub lengths: Option<Vec<usize>>,
    pub resets: Option<Vec<bool>>,
    pub seed: u64,
}

/// A problem and a loss, with everything it owns.
#[derive(Clone, Debug)]
pub struct Case {
    pub config: Config,
    pub steps: usize,
    pub batch: usize,
    pub lengths: Option<Vec<usize>>,
    pub resets: Option<Vec<bool>>,
    pub parameters: Vec<f64>,
    /// NaN past each row's end, where nobody may look.
    pub x: Vec<f64>,
    pub h0: Vec<f64>,
    pub c0: Vec<f64>,
    /// The loss is dy·y + dh·h + dc·c. Not zero past the rows' ends, where it must not matter.
    pub dy: Vec<f64>,
    pub dh: Vec<f64>,
    pub dc: Vec<f64>,
}

impl Shape {
    /// A net over sequences of full length, without resets.
    pub fn new(config: Config, steps: usize, batch: usize, seed: u64) -> Self {
        Shape { config, steps, batch, lengths: None, resets: None, seed }
    }

    /// Draws the numbers.
    pub fn case(&self) -> Case {
        let Shape { config, steps, batch, .. } = *self;
        let mut rng = Rng(self.seed);
        let states = config.num_layers * config.num_directions() * batch;
        let cells = if config.kind.states() > 1 { states * config.hidden_size } else { 0 };
        let outputs = steps * batch * config.output_size();
        let mut case = Case {
            config,
            steps,
            batch,
            lengths: self.lengths.clone(),
            resets: self.resets.clone(),
            parameters: rng.vector(
                config.num_parameters(),
                // PyTorch's range, or that of the inputs where they are more: pre-activations stay of
                // order 1, and their rounding in f32 with them.
                1.0 / (config.hidden_size.max(config.input_size) as f64).sqrt(),
            ),
            x: rng.vector(steps * batch * config.input_size, 2.0),
            h0: rng.vector(states * config.state_size(), 1.0),
            c0: rng.vector(cells, 2.0),
            dy: rng.vector(outputs, 1.0),
            dh: rng.vector(states * config.state_size(), 1.0),
            dc: rng.vector(cells, 1.0),
        };
        for b in 0..batch {
            for t in case.length(b)..steps {
                let start = (t * batch + b) * config.input_size;
                case.x[start..start + config.input_size].fill(f64::NAN);
            }
        }
        case
    }
}

impl Case {
    pub fn problem(&self) -> Problem<'_> {
        Problem {
            config: &self.config,
            parameters: &self.parameters,
            steps: self.steps,
            batch: self.batch,
            x: &self.x,
            h0: &self.h0,
            c0: &self.c0,
            lengths: self.lengths.as_deref(),
            resets: self.resets.as_deref(),
            dropout: None,
        }
    }

    pub fn length(&self, b: usize) -> usize {
        self.lengths.as_ref().map_or(self.steps, |lengths| lengths[b])
    }

    /// dy·y + dh·h + dc·c, without what lies past the rows' ends.
    pub fn loss(&self, r: &Record) -> f64 {
        // y is zero there
        dot(&self.dy, &r.y) + dot(&self.dh, &r.h) + dot(&self.dc, &r.c)
    }
}

pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A mask that keeps about half of everything.
pub fn half() -> Box<Mask<'static>> {
    Box::new(|layer, t, b, unit| {
        let place = ((layer * 1000 + t) * 1000 + b) * 1000 + unit;
        if Rng(place as u64).next().is_multiple_of(2) { 2.0 } else { 0.0 }
    })
}

/// Every cell and variant, as (cell, whether it is to have a projection).
pub const CELLS: [(CellKind, bool); 9] = [
    (CellKind::Rnn(Activation::Tanh), false),
    (CellKind::Rnn(Activation::Relu), false),
    (CellKind::Rnn(Activation::Sigmoid), false),
    (CellKind::Lstm { forget_gate: true }, false),
    (CellKind::Lstm { forget_gate: false }, false),
    (CellKind::Lstm { forget_gate: true }, true),
    (CellKind::Lstm { forget_gate: false }, true),
    (CellKind::Gru { reset_after: true }, false),
    (CellKind::Gru { reset_after: false }, false),
];

/// `config` with every combination of one or two layers, one or both directions, biases or none.
pub fn stackings(config: Config) -> impl Iterator<Item = Config> {
    (0..8).map(move |bits| Config {
        num_layers: 1 + (bits & 1),
        bidirectional: bits & 2 != 0,
        bias: bits & 4 == 0,
        ..config
    })
}

/// Any net of up to 70 inputs and units, two layers and two directions.
pub fn configs() -> impl Strategy<Value = Config> {
    let sizes = (1usize..=70, 1usize..=70, 1usize..=70, 1usize..=2);
    (0..CELLS.len(), sizes, any::<bool>(), any::<bool>()).prop_map(
        |(cell, (input_size, hidden_size, proj_size, num_layers), bidirectional, bias)| {
            let (kind, projected) = CELLS[cell];
            // A projection is smaller than what it projects.
            let hidden_size = if projected { hidden_size.max(2) } else { hidden_size };
            Config {
                kind,
                input_size,
                hidden_size,
                proj_size: if projected { 1 + (proj_size - 1) % (hidden_size - 1) } else { 0 },
                num_layers,
                bidirectional,
                bias,
            }
        },
    )
}

/// Any problem a user may bring, up to 12 steps and 9 rows; no step at all, rows of no step, and
/// resets at any time included.
///
/// A relu's slope jumps at 0: where the type under test and the reference fall on different sides
/// of it, gradients differ by far more than rounding. Leave such cases out with [`same_sides`].
pub fn problems() -> impl Strategy<Value = Shape> {
    (configs(), 0usize..=12, 1usize..=9, any::<u64>()).prop_flat_map(
        |(config, steps, batch, seed)| {
            let lengths = prop::collection::vec(0..=steps, batch);
            let resets = prop::collection::vec(prop::bool::weighted(0.2), steps * batch);
            (prop::option::of(lengths), prop::option::of(resets)).prop_map(
                move |(lengths, resets)| Shape { config, steps, batch, lengths, resets, seed },
            )
        },
    )
}

/// Whether no element is positive in one array and not in the other.
pub fn same_sides(got: &[f64], expected: &[f64]) -> bool {
    got.iter().zip(expected).all(|(got, expected)| (*got > 0.0) == (*expected > 0.0))
}

/// Panics unless every element is within `tolerance` times the largest magnitude expected.
#[track_caller]
pub fn assert_close(what: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    let largest = expected.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    assert_within(what, got, expected, tolerance * largest);
}

/// Panics unless every element is within `most` of the expected one.
#[track_caller]
pub fn assert_within(what: &str, got: &[f64], expected: &[f64], most: f64) {
    assert_eq!(got.len(), expected.len(), "{what}: how many");
    for (at, (got, expected)) in got.iter().zip(expected).enumerate() {
        let error = (got - expected).abs();
        // Written so that NaN fails.
        assert!(
            error <= most,
            "{what}[{at}]: got {got}, expected {expected}; {error:e} apart, {most:e} allowed"
        );
    }
}
