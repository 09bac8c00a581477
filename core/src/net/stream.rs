//! A few time steps a call, for sequences that come while they are computed.

use crate::cell::Scratch;
use crate::error::Error;
use crate::kernel::buffer::Buffer;
use crate::kernel::buffer::{copy, room, rows, size};
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
pub struct NetworkStream<T: Real> {
    batch: usize,
    /// How the rows of as many steps are packed as there is room for.
    offsets: Vec<usize>,
    states: Vec<Buffer<T>>,
    slots: Buffer<T>,
    of_step: [Buffer<T>; 2],
    /// h of the layer below and of the one at work, unpadded rows, in turn.
    between: [Buffer<T>; 2],
    /// Which way the next step walks the weights.
    turn: bool,
}

impl<T: Real> NetworkStream<T> {
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
        let mut offsets = room(self.offsets.len(), "state")?;
        offsets.extend_from_slice(&self.offsets);
        Ok(NetworkStream {
            batch: self.batch,
            offsets,
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
    pub fn stream(&self, batch: usize) -> Result<NetworkStream<T>, Error> {
        self.stream_of_blocks(batch, 1)
    }

    /// The same, with room for that many steps at a time, at least one: [`block`](Self::block) takes longer blocks in
    /// pieces of so many.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub fn stream_of_blocks(&self, batch: usize, steps: usize) -> Result<NetworkStream<T>, Error> {
        let config = self.config();
        if config.bidirectional {
            let expected =
                "one direction: the reverse one would begin at the end, which is not there yet";
            return Err(Error::Invalid { argument: "bidirectional", expected });
        }
        let steps = steps.max(1);
        let all = size(&[steps, batch], "scratch")?;
        let mut offsets = room(steps.saturating_add(1), "state")?;
        offsets.extend((0..=steps).map(|t| t * batch));
        let mut states = room(config.num_layers, "state")?;
        for layer in 0..config.num_layers {
            states.push(rows(batch, self.shape(layer).states_len(1), "state")?);
        }
        let shape = self.shape(0);
        let between = || rows(all, config.output_size(), "scratch");
        Ok(NetworkStream {
            batch,
            offsets,
            states,
            slots: rows(all, shape.row(), "scratch")?,
            of_step: self.scratch(shape, batch)?,
            between: [between()?, between()?],
            turn: false,
        })
    }

    /// One step: x is (B, input size), y gets (B, output size).
    ///
    /// # Errors
    /// `Length` where x or y does not fit; the stream is then as it was.
    pub fn step(&self, stream: &mut NetworkStream<T>, x: &[T], y: &mut [T]) -> Result<(), Error> {
        self.check_block(stream, 1, x, y)?;
        self.piece(stream, 1, x, y);
        Ok(())
    }

    /// Any number of steps: x is (T, B, input size), y gets (T, B, output size).
    ///
    /// # Errors
    /// `Length` where x or y does not fit; the stream is then as it was.
    pub fn block(&self, stream: &mut NetworkStream<T>, x: &[T], y: &mut [T]) -> Result<(), Error> {
        let config = self.config();
        let of_step = (stream.batch * config.input_size, stream.batch * config.output_size());
        if of_step.0 == 0 {
            return self.check_block(stream, 0, x, y);
        }
        let steps = x.len() / of_step.0;
        self.check_block(stream, steps, x, y)?;
        // Not `chunks`: to count them takes two divisions, as long as a good part of a step.
        let (most, mut done) = (stream.offsets.len() - 1, 0);
        while done < steps {
            let own = most.min(steps - done);
            let x = &x[done * of_step.0..][..own * of_step.0];
            let y = &mut y[done * of_step.1..][..own * of_step.1];
            self.piece(stream, own, x, y);
            done += own;
        }
        Ok(())
    }

    fn check_block(
        &self,
        stream: &NetworkStream<T>,
        steps: usize,
        x: &[T],
        y: &[T],
    ) -> Result<(), Error> {
        let config = self.config();
        let own = [("x", x.len(), config.input_size), ("y", y.len(), config.output_size())];
        for (argument, got, row) in own {
            let expected = steps.saturating_mul(stream.batch).saturating_mul(row);
            if got != expected {
                return Err(Error::Length { argument, expected, got });
            }
        }
        Ok(())
    }

    /// [`block`](Self::block) of as many steps as there is room for, at most, where x and y fit.
    pub(crate) fn piece(&self, stream: &mut NetworkStream<T>, steps: usize, x: &[T], y: &mut [T]) {
        let config = self.config();
        let NetworkStream { batch, offsets, states, slots, of_step, between, turn } = stream;
        let ([row, cell], [mut below, mut above]) = (of_step, between.each_mut());
        // Of the first step; the others go by turns.
        let first = !*turn;
        *turn = first == (steps % 2 == 1);
        for (layer, (states, packed)) in states.iter_mut().zip(&self.packed).enumerate() {
            let shape = self.shape(layer);
            let carry = StatesMut { data: states, rows: *batch, first: 0 };
            let scratch = Scratch { row, cell };
            let weights = Weights { turn: first, ..packed.weights() };
            let x = if layer == 0 { x } else { &below[..] };
            let y = if layer + 1 == config.num_layers { &mut *y } else { &mut above[..] };
            // As a sequence of these steps alone: the state goes on, in place.
            let rows = Rows { offsets: &offsets[..=steps] };
            let pass = Pass { shape, rows, reverse: false, resets: None, x, x_row: shape.input };
            let before = StatesMut { data: &mut [], rows: 0, first: 0 };
            let tape = TapeMut { slots, before, unprojected: &mut [], ends: &mut [] };
            let (window, y) = (0..steps, (y, shape.state, 0));
            let mut steps = Forward { pass, weights, window, tape, y, carry, scratch };
            self.cell().forward(self.level(), &mut steps);
            core::mem::swap(&mut below, &mut above);
        }
    }

    /// The states: h, (layers, B, state size), then the others, (layers, B, H), as
    /// [`Input`](crate::net::network::Input) takes them.
    #[must_use]
    pub fn stream_state(&self, stream: &NetworkStream<T>) -> Vec<Vec<T>> {
        let (shape, rows) = (self.shape(0), stream.batch);
        let of_state = |(state, len): (usize, usize)| {
            let mut values = Vec::new();
            for states in &stream.states {
                let all = States { data: states, rows, first: 0 }.of(shape, state);
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
        stream: &mut NetworkStream<T>,
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
                let to = own.of(shape, state, 0..batch);
                for (row, values) in to.chunks_mut(shape.state_row(state)).zip(values.chunks(len)) {
                    row[..len].copy_from_slice(values);
                }
            }
        }
        Ok(())
    }
}
