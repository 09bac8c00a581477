//! One time step a call, for sequences that come while they are computed.

use crate::error::Error;
use crate::kernel::buffer::Buffer;
use crate::kernel::shape::Weights;
use crate::math::Accurate;
use crate::network::Network;
use crate::real::Real;
use crate::sequence::{Carry, OneStep, Passes};
use crate::tape::{State, rows};
use alloc::vec::Vec;

/// The state of a net that is fed step by step: what [`Network::forward`] would give for the whole
/// sequence, bit for bit. Made by [`Network::stream`]; a step asks for no memory.
#[derive(Debug)]
pub struct Stream<T: Real> {
    batch: usize,
    states: Vec<State<T>>,
    gates: Buffer<T>,
    m: Buffer<T>,
    /// h of the layer below and of the one at work, unpadded rows, in turn.
    between: [Buffer<T>; 2],
    /// Which way the next step walks the weights.
    turn: bool,
}

impl<T: Real> Stream<T> {
    /// Rows B.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Another in the same state.
    ///
    /// # Errors
    /// `TooLarge` if there is no memory.
    pub fn copy(&self) -> Result<Self, Error> {
        let states = self.states.iter().map(State::copy).collect::<Result<_, _>>()?;
        // What the others hold is written before it is read.
        let scratch = |like: &Buffer<T>| Buffer::zeros(like.len(), "scratch");
        let [below, above] = &self.between;
        Ok(Stream {
            batch: self.batch,
            states,
            gates: scratch(&self.gates)?,
            m: scratch(&self.m)?,
            between: [scratch(below)?, scratch(above)?],
            turn: self.turn,
        })
    }

    /// Goes over to the state of `other`, a stream of the same net and as many rows.
    ///
    /// # Errors
    /// `Invalid` if it is not; the stream is then as it was.
    pub fn go_to(&mut self, other: &Self) -> Result<(), Error> {
        let sizes = |state: &State<T>| (state.h.len(), state.c.len());
        if !self.states.iter().map(sizes).eq(other.states.iter().map(sizes)) {
            return Err(Error::Invalid { argument: "other", expected: "a stream of the same net" });
        }
        for (to, from) in self.states.iter_mut().zip(&other.states) {
            to.h.copy_from_slice(&from.h);
            to.c.copy_from_slice(&from.c);
        }
        self.turn = other.turn;
        Ok(())
    }

    /// Goes back to a state of zeros.
    pub fn reset(&mut self) {
        for state in &mut self.states {
            state.h.fill(T::ZERO);
            state.c.fill(T::ZERO);
        }
    }
}

impl<T: Passes> Network<T> {
    /// A stream of `batch` rows, its state zero.
    ///
    /// # Errors
    /// `Invalid` for a bidirectional net, whose reverse direction begins at the end; `TooLarge`.
    pub fn stream(&self, batch: usize) -> Result<Stream<T>, Error> {
        let config = self.config();
        if config.bidirectional {
            let expected =
                "one direction: the reverse one would begin at the end, which is not there yet";
            return Err(Error::Invalid { argument: "bidirectional", expected });
        }
        let has_c = config.kind.has_cell_state();
        let mut states = Vec::new();
        for layer in 0..config.num_layers {
            let shape = self.shape(layer);
            let h = rows(batch, shape.state_stride, "state")?;
            let c = rows(if has_c { batch } else { 0 }, shape.stride, "state")?;
            states.push(State { h, c });
        }
        let shape = self.shape(0);
        let between = || rows(batch, config.output_size(), "scratch");
        Ok(Stream {
            batch,
            states,
            gates: rows(batch, shape.row(), "scratch")?,
            m: rows(batch, shape.stride, "scratch")?,
            between: [between()?, between()?],
            turn: false,
        })
    }

    /// One step: x is (B, input size), y gets (B, output size).
    ///
    /// # Errors
    /// `Length` where x or y does not fit; the stream is then as it was.
    pub fn step(&self, stream: &mut Stream<T>, x: &[T], y: &mut [T]) -> Result<(), Error> {
        let config = self.config();
        let own = [("x", x.len(), config.input_size), ("y", y.len(), config.output_size())];
        for (argument, got, row) in own {
            let expected = stream.batch * row;
            if got != expected {
                return Err(Error::Length { argument, expected, got });
            }
        }
        let Stream { batch, states, gates, m, between, turn } = stream;
        let [mut below, mut above] = between.each_mut();
        *turn = !*turn;
        for (layer, (state, packed)) in states.iter_mut().zip(&self.packed).enumerate() {
            let shape = &self.shape(layer);
            let carry = Carry { h: &mut state.h, c: &mut state.c, m };
            let weights = Weights { turn: *turn, ..packed.weights() };
            let (math, rows) = (Accurate, *batch);
            let x = if layer == 0 { x } else { &below[..] };
            let y = if layer + 1 == config.num_layers { &mut *y } else { &mut above[..] };
            T::step(self.level(), OneStep { shape, weights, math, rows, x, y, carry, gates });
            core::mem::swap(&mut below, &mut above);
        }
        Ok(())
    }

    /// The state, (layers, B, state size) and (layers, B, H), as [`Input`](crate::network::Input) takes it.
    #[must_use]
    pub fn stream_state(&self, stream: &Stream<T>) -> (Vec<T>, Vec<T>) {
        let (mut h, mut c) = (Vec::new(), Vec::new());
        for (layer, state) in stream.states.iter().enumerate() {
            let shape = self.shape(layer);
            for row in state.h.chunks(shape.state_stride) {
                h.extend_from_slice(&row[..shape.state]);
            }
            for row in state.c.chunks(shape.stride) {
                c.extend_from_slice(&row[..shape.hidden]);
            }
        }
        (h, c)
    }

    /// Sets the state to what [`stream_state`](Self::stream_state) gave; c is empty unless an LSTM.
    ///
    /// # Errors
    /// `Length` where it does not fit; the stream is then as it was.
    pub fn set_stream_state(&self, stream: &mut Stream<T>, h: &[T], c: &[T]) -> Result<(), Error> {
        let config = self.config();
        let c_len = if config.kind.has_cell_state() { config.hidden_size } else { 0 };
        for (argument, values, row) in [("h", h, config.state_size()), ("c", c, c_len)] {
            let expected = config.num_layers * stream.batch * row;
            if values.len() != expected {
                return Err(Error::Length { argument, expected, got: values.len() });
            }
        }
        let batch = stream.batch;
        for (layer, state) in stream.states.iter_mut().enumerate() {
            let shape = self.shape(layer);
            let h = &h[layer * batch * shape.state..][..batch * shape.state];
            for (row, h) in state.h.chunks_mut(shape.state_stride).zip(h.chunks(shape.state)) {
                row[..shape.state].copy_from_slice(h);
            }
            if c_len > 0 {
                let c = &c[layer * batch * shape.hidden..][..batch * shape.hidden];
                for (row, c) in state.c.chunks_mut(shape.stride).zip(c.chunks(shape.hidden)) {
                    row[..shape.hidden].copy_from_slice(c);
                }
            }
        }
        Ok(())
    }
}
