//! One time step a call, for sequences that come while they are computed.

use crate::cell::Scratch;
use crate::error::Error;
use crate::kernel::buffer::Buffer;
use crate::kernel::buffer::{copy, rows};
use crate::kernel::shape::Weights;
use crate::kernel::states::{States, StatesMut};
use crate::net::network::Network;
use crate::net::view::StateArrays;
use crate::real::Real;
use crate::time::{Forward, Pass, Passes, Rows, TapeMut};
use alloc::vec::Vec;

/// The state of a net that is fed step by step: what [`Network::forward`] would give for the whole
/// sequence, bit for bit. Made by [`Network::stream`]; a step asks for no memory.
#[derive(Debug)]
pub struct Stream<T: Real> {
    batch: usize,
    states: Vec<Buffer<T>>,
    slots: Buffer<T>,
    of_step: [Buffer<T>; 2],
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
        let states =
            self.states.iter().map(|states| copy(states, "state")).collect::<Result<_, _>>()?;
        // What the others hold is written before it is read.
        let scratch = |like: &Buffer<T>| Buffer::zeros(like.len(), "scratch");
        let [below, above] = &self.between;
        Ok(Stream {
            batch: self.batch,
            states,
            slots: scratch(&self.slots)?,
            of_step: [scratch(&self.of_step[0])?, scratch(&self.of_step[1])?],
            between: [scratch(below)?, scratch(above)?],
            turn: self.turn,
        })
    }

    /// Goes over to the state of `other`, a stream of the same net and as many rows.
    ///
    /// # Errors
    /// `Invalid` if it is not; the stream is then as it was.
    pub fn go_to(&mut self, other: &Self) -> Result<(), Error> {
        let sizes = |states: &Buffer<T>| states.len();
        if !self.states.iter().map(sizes).eq(other.states.iter().map(sizes)) {
            return Err(Error::Invalid { argument: "other", expected: "a stream of the same net" });
        }
        for (to, from) in self.states.iter_mut().zip(&other.states) {
            to.copy_from_slice(from);
        }
        self.turn = other.turn;
        Ok(())
    }

    /// Goes back to a state of zeros.
    pub fn reset(&mut self) {
        self.states.iter_mut().for_each(|states| states.fill(T::ZERO));
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
        let mut states = Vec::new();
        for layer in 0..config.num_layers {
            states.push(rows(batch, self.shape(layer).states_len(1), "state")?);
        }
        let shape = self.shape(0);
        let between = || rows(batch, config.output_size(), "scratch");
        Ok(Stream {
            batch,
            states,
            slots: rows(batch, shape.row(), "scratch")?,
            of_step: self.scratch(&shape, batch)?,
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
        let Stream { batch, states, slots, of_step: [row, cell], between, turn } = stream;
        let [mut below, mut above] = between.each_mut();
        *turn = !*turn;
        for (layer, (states, packed)) in states.iter_mut().zip(&self.packed).enumerate() {
            let shape = &self.shape(layer);
            let carry = StatesMut { data: states, rows: *batch, first: 0 };
            let scratch = Scratch { row, cell };
            let weights = Weights { turn: *turn, ..packed.weights() };
            let x = if layer == 0 { x } else { &below[..] };
            let y = if layer + 1 == config.num_layers { &mut *y } else { &mut above[..] };
            // As a sequence of this step alone: the state goes on, in place.
            let rows = Rows { offsets: &[0, *batch] };
            let pass = Pass { shape, rows, reverse: false, resets: None, x, x_row: shape.input };
            let before = StatesMut { data: &mut [], rows: 0, first: 0 };
            let tape = TapeMut { slots, before, unprojected: &mut [], ends: &mut [] };
            let (window, y) = (0..1, (y, shape.state, 0));
            let mut step = Forward { pass, weights, window, tape, y, carry, scratch };
            self.cell().forward(self.level(), &mut step);
            core::mem::swap(&mut below, &mut above);
        }
        Ok(())
    }

    /// The states: h, (layers, B, state size), then the others, (layers, B, H), as
    /// [`Input`](crate::net::network::Input) takes them.
    #[must_use]
    pub fn stream_state(&self, stream: &Stream<T>) -> Vec<Vec<T>> {
        let (shape, rows) = (self.shape(0), stream.batch);
        let of_state = |(state, len): (usize, usize)| {
            let mut values = Vec::new();
            for states in &stream.states {
                let all = States { data: states, rows, first: 0 }.of(&shape, state);
                for row in all.chunks(shape.state_row(state)).take(rows) {
                    values.extend_from_slice(&row[..len]);
                }
            }
            values
        };
        self.config().state_sizes().enumerate().map(of_state).collect()
    }

    /// Sets the states to what [`stream_state`](Self::stream_state) gave.
    ///
    /// # Errors
    /// `Length` where they do not fit; the stream is then as it was.
    pub fn set_stream_state(
        &self,
        stream: &mut Stream<T>,
        states: StateArrays<'_, T>,
    ) -> Result<(), Error> {
        let (config, argument, batch) = (self.config(), "states", stream.batch);
        let (states, expected) = (states.get(), config.kind.states());
        let got = states.len();
        if got != expected {
            return Err(Error::Length { argument, expected, got });
        }
        for (values, row) in states.iter().zip(config.state_sizes()) {
            let (expected, got) = (config.num_layers * batch * row, values.len());
            if got != expected {
                return Err(Error::Length { argument, expected, got });
            }
        }
        for (layer, own) in stream.states.iter_mut().enumerate() {
            let shape = self.shape(layer);
            let mut own = StatesMut { data: own, rows: batch, first: 0 };
            for (state, (values, len)) in states.iter().zip(config.state_sizes()).enumerate() {
                let values = &values[layer * batch * len..][..batch * len];
                let to = own.of(&shape, state, 0..batch);
                for (row, values) in to.chunks_mut(shape.state_row(state)).zip(values.chunks(len)) {
                    row[..len].copy_from_slice(values);
                }
            }
        }
        Ok(())
    }
}
