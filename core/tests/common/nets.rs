//! Problems of `common`, run on a [`Network`].
#![allow(dead_code)] // each test program is compiled with all of it and uses its part

use super::common::Case;
use unrolled::Passes;
use unrolled::error::Error;
use unrolled::network::{Gradients, Input, Losses, Network, Output, Recording, StateArrays, View};
use unrolled::simd::{Isa, Level};
use unrolled::tape::Tape;

/// Every level this machine has; those it lacks are named as not run.
pub fn levels() -> Vec<Level> {
    let level = |isa| {
        let level = Level::get(isa);
        if level.is_none() {
            println!("not run: {isa} (this machine lacks it)");
        }
        level
    };
    Isa::ALL.into_iter().filter_map(level).collect()
}

/// The levels that give the same bits as one another.
pub fn fusing() -> Vec<Level> {
    levels().into_iter().filter(|l| l.fuses()).collect()
}

pub fn cast<T: Passes>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&v| T::from_f64(v)).collect()
}

pub fn back<T: Passes>(values: &[T]) -> Vec<f64> {
    values.iter().map(|v| v.to_f64()).collect()
}

/// A case's arrays as `T`.
pub struct Arrays<T> {
    pub case: Case,
    pub x: Vec<T>,
    pub h0: Vec<T>,
    pub c0: Vec<T>,
    pub dy: Vec<T>,
    pub dh: Vec<T>,
    pub dc: Vec<T>,
}

impl<T: Passes> Arrays<T> {
    pub fn new(case: Case) -> Self {
        Arrays {
            x: cast(&case.x),
            h0: cast(&case.h0),
            c0: cast(&case.c0),
            dy: cast(&case.dy),
            dh: cast(&case.dh),
            dc: cast(&case.dc),
            case,
        }
    }

    pub fn net(&self, level: Level) -> Network<T> {
        let mut net = Network::new(self.case.config, level).unwrap();
        let fill = |p: &mut [T]| -> Result<(), Error> {
            p.copy_from_slice(&cast(&self.case.parameters));
            Ok(())
        };
        net.update(fill).unwrap();
        net
    }

    pub fn input(&self) -> Input<'_, T> {
        let Case { config, steps, batch, .. } = self.case;
        let resets = self.case.resets.as_deref();
        Input {
            x: View::time_major(&self.x, batch, config.input_size),
            steps,
            batch,
            states: Some(states(config.kind.states(), &self.h0, &self.c0)),
            lengths: self.case.lengths.as_deref(),
            resets: resets.map(|r| View::time_major(r, batch, 1)),
        }
    }

    pub fn losses(&self) -> Losses<'_, T> {
        Losses {
            y: View::time_major(&self.dy, self.case.batch, self.case.config.output_size()),
            states: Some(states(self.case.config.kind.states(), &self.dh, &self.dc)),
        }
    }

    /// Outputs and gradients.
    pub fn run(
        &self,
        net: &Network<T>,
        recording: Recording,
        truncate: Option<usize>,
    ) -> (Output<T>, Tape<T>, Gradients<T>) {
        let (output, tape) = net.record(&self.input(), recording, None).unwrap();
        let gradients = net.backward(&tape, &self.losses(), truncate, None).unwrap();
        (output, tape, gradients)
    }
}

/// h, and c where there is one.
fn states<'a, T>(count: usize, h: &'a [T], c: &'a [T]) -> StateArrays<'a, T> {
    [h, c].into_iter().take(count).collect()
}
