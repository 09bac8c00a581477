//! Training on the device: back-propagation through a window of samples, and a step of Adam.

use crate::{data, model};
use unrolled::Lstm;
use unrolled::cell::ForgetGate;
use unrolled::fixed::{Dense, Parameters, State, Tape};
use unrolled::train::Adam;

/// Steps that gradients go back.
pub const WINDOW: usize = 24;
const UNITS: usize = data::READ_OUT.len();

static READ_OUT: Dense<f32, UNITS, 1> = Dense::new([data::READ_OUT], data::BIAS);

type Weights = Parameters<ForgetGate, f32, 1, UNITS>;

/// An LSTM that goes on learning, and what that needs: no allocator, all of it is here.
pub struct Learner {
    pub parameters: Weights,
    /// Whether no call has failed.
    pub sound: bool,
    cell: Lstm<f32, 1, UNITS>,
    tape: Tape<ForgetGate, f32, 1, UNITS, WINDOW>,
    d_h: [[f32; UNITS]; WINDOW],
    gradients: Weights,
    m: Weights,
    v: Weights,
    updates: u64,
}

impl Learner {
    pub fn new() -> Self {
        Learner {
            parameters: model::PARAMETERS_0_0,
            sound: true,
            cell: Lstm::from_parameters(&model::PARAMETERS_0_0),
            tape: Tape::new(),
            d_h: [[0.0; UNITS]; WINDOW],
            gradients: Weights::zeros(),
            m: Weights::zeros(),
            v: Weights::zeros(),
            updates: 0,
        }
    }

    /// The steps of a window of samples, and the derivatives of the squared errors by each h: of what was said of the next
    /// sample. The read-out stays as it is.
    pub fn record(&mut self, samples: &[f32]) {
        let mut state = State::zeros();
        self.tape.clear();
        for ((x, next), d_h) in samples.iter().zip(&samples[1..]).zip(&mut self.d_h) {
            let Ok(h) = self.cell.record(&[*x], &mut state, &mut self.tape) else {
                self.sound = false;
                return;
            };
            let [y] = READ_OUT.forward(h);
            for (d, weight) in d_h.iter_mut().zip(&data::READ_OUT) {
                *d = 2.0 * (y - next) * weight;
            }
        }
    }

    /// The gradients by all parameters.
    pub fn backward(&mut self) {
        let (mut d_state, mut d_x) = (State::zeros(), [[0.0]; WINDOW]);
        self.gradients = Weights::zeros();
        let done = self.cell.backward(
            &mut self.tape,
            &self.d_h,
            &mut d_state,
            &mut d_x,
            &mut self.gradients,
        );
        self.sound &= done.is_ok();
    }

    /// A step along them.
    pub fn update(&mut self) {
        self.updates += 1;
        let Ok(step) = Adam::default().at(self.updates) else {
            self.sound = false;
            return;
        };
        let means = self.m.slices_mut().into_iter().zip(self.v.slices_mut());
        let parameters = self.parameters.slices_mut().into_iter().zip(self.gradients.slices());
        for ((own, gradient), (m, v)) in parameters.zip(means) {
            self.sound &= step.step(own, gradient, m, v).is_ok();
        }
        self.cell = Lstm::from_parameters(&self.parameters);
    }
}
