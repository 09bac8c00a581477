//! One model, compiled in: no allocator, one stream of up to two channels at a time.

use crate::{BLOCK, NO_MODEL, NO_STREAM, TOO_LONG};
use core::array::from_fn;

include!(concat!(env!("OUT_DIR"), "/model.rs"));

use model::{INPUTS, OUTPUTS, State};

/// Rows at most.
const ROWS: usize = 2;

/// Why something failed.
pub type Text = &'static str;
/// Before anything has.
pub const NOTHING: Text = "";

/// The model's stream.
pub struct Player {
    /// Its rows; none where it is not made.
    batch: usize,
    states: [State; ROWS],
    x: [[[f32; BLOCK]; INPUTS]; ROWS],
    y: [[[f32; BLOCK]; OUTPUTS]; ROWS],
}

impl Player {
    pub const fn new() -> Self {
        Player {
            batch: 0,
            states: [const { State::new() }; ROWS],
            x: [[[0.0; BLOCK]; INPUTS]; ROWS],
            y: [[[0.0; BLOCK]; OUTPUTS]; ROWS],
        }
    }

    pub fn file(&mut self, _: usize) -> Result<&mut [u8], Text> {
        Err("file: expected none, for this module has its model compiled in")
    }

    /// The model.
    pub fn load(&mut self) -> Result<usize, Text> {
        Ok(0)
    }

    pub fn sizes(&self, model: u32) -> Result<[usize; 2], Text> {
        if model == 0 { Ok([INPUTS, OUTPUTS]) } else { Err(NO_MODEL) }
    }

    pub fn stream(&mut self, model: u32, batch: usize) -> Result<usize, Text> {
        self.sizes(model)?;
        if !(1..=ROWS).contains(&batch) {
            return Err("channels: expected 1 or 2 of a model that is compiled in");
        }
        if self.batch > 0 {
            return Err("stream: expected none before, of a model that is compiled in");
        }
        self.batch = batch;
        self.reset(0).map(|()| 0)
    }

    pub fn blocks(&mut self, stream: u32) -> Result<[&mut [f32]; 2], Text> {
        self.has(stream)?;
        let [x, y] = [self.x.as_flattened_mut(), self.y.as_flattened_mut()];
        Ok([x.as_flattened_mut(), y.as_flattened_mut()])
    }

    // Of a model in f64 too.
    #[allow(clippy::useless_conversion, clippy::unnecessary_cast)]
    pub fn process(&mut self, stream: u32, steps: usize) -> Result<(), Text> {
        self.has(stream)?;
        if steps > BLOCK {
            return Err(TOO_LONG);
        }
        let rows = self.states.iter_mut().zip(&self.x).zip(&mut self.y);
        for ((state, x), y) in rows.take(self.batch) {
            for t in 0..steps {
                let outputs = model::step(&from_fn(|n| x[n][t].into()), state);
                for (y, output) in y.iter_mut().zip(outputs) {
                    y[t] = output as f32;
                }
            }
        }
        Ok(())
    }

    pub fn reset(&mut self, stream: u32) -> Result<(), Text> {
        self.has(stream)?;
        self.states.fill(State::new());
        Ok(())
    }

    pub fn free_model(&mut self, model: u32) -> Result<(), Text> {
        self.sizes(model).map(|_| ())
    }

    pub fn free_stream(&mut self, stream: u32) -> Result<(), Text> {
        self.has(stream)?;
        self.batch = 0;
        Ok(())
    }

    fn has(&self, stream: u32) -> Result<(), Text> {
        if stream == 0 && self.batch > 0 { Ok(()) } else { Err(NO_STREAM) }
    }
}
