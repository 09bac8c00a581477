//! A model that is fed block by block.

use super::{Module, Sequential};
use crate::error::Error;
use crate::kernel::buffer::{Buffer, room, rows, size};
use crate::network::StateArrays;
use crate::real::Real;
use crate::stream::NetworkStream;
use crate::time::Passes;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

/// A model, the states of its rows, and all memory that processing takes: prepared once, after which a call neither
/// asks for memory nor waits for anything. Made by [`Sequential::stream`].
///
/// What comes out is, bit for bit, what the whole sequence at once would give, whatever blocks it comes in.
#[derive(Debug)]
pub struct Stream<T: Passes> {
    model: Arc<Sequential<T>>,
    batch: usize,
    networks: Vec<NetworkStream<T>>,
    /// What goes into a module and what comes out of it, in turn.
    values: [Buffer<T>; 2],
    /// What residual connections add: by module, what went into it, if one wants that.
    kept: Vec<Buffer<T>>,
    /// What the states go back to, by recurrent module and state; none for zeros.
    start: Vec<Vec<Vec<T>>>,
}

/// Steps that go through all modules together.
const STEPS: usize = 32;

impl<T: Passes> Stream<T> {
    pub(super) fn new(model: Arc<Sequential<T>>, batch: usize) -> Result<Self, Error> {
        if batch == 0 {
            return Err(Error::Invalid { argument: "batch", expected: "at least 1" });
        }
        let what = "stream";
        let steps = size(&[STEPS, batch], what)?;
        let widest = model.widths.iter().fold(0, |most, &width| most.max(width));
        let mut kept = Vec::new();
        for (n, &width) in model.widths.iter().enumerate() {
            let wanted = model.modules.iter().any(|module| module.adds(n));
            kept.push(rows(if wanted { steps } else { 0 }, width, what)?);
        }
        let networks = model.networks().map(|net| net.stream_of_blocks(batch, STEPS));
        let mut start = Vec::new();
        for (net, states) in model.networks().zip(&model.initial) {
            let sizes = net.config().state_sizes();
            let states =
                states.iter().zip(sizes).map(|(state, size)| of_all_rows(state, size, batch));
            start.push(states.collect::<Result<_, _>>()?);
        }
        let mut this = Stream {
            batch,
            networks: networks.collect::<Result<_, _>>()?,
            values: [rows(steps, widest, what)?, rows(steps, widest, what)?],
            kept,
            start,
            model,
        };
        this.reset();
        Ok(this)
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<Sequential<T>> {
        &self.model
    }

    /// Rows B, each a sequence of its own.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Goes back to the model's initial state.
    pub fn reset(&mut self) {
        self.networks.iter_mut().for_each(NetworkStream::reset);
        for ((net, stream), start) in self.model.networks().zip(&mut self.networks).zip(&self.start)
        {
            let set = net.set_stream_state(stream, StateArrays::of(start));
            debug_assert!(set.is_ok(), "sizes were checked with the model");
        }
    }

    /// The states of each recurrent module: see [`Network::stream_state`](crate::Network::stream_state).
    #[must_use]
    pub fn state(&self) -> Vec<Vec<Vec<T>>> {
        self.model.networks().zip(&self.networks).map(|(net, s)| net.stream_state(s)).collect()
    }

    /// Sets the states to what [`state`](Self::state) gave.
    ///
    /// # Errors
    /// `Length` where they do not fit; the stream is then as it was.
    pub fn set_state(&mut self, states: &[Vec<Vec<T>>]) -> Result<(), Error> {
        let (argument, expected, got) = ("states", self.networks.len(), states.len());
        if got != expected {
            return Err(Error::Length { argument, expected, got });
        }
        for (net, own) in self.model.networks().zip(states) {
            net.check_states(argument, Some(StateArrays::of(own)), self.batch)?;
        }
        for ((net, stream), own) in self.model.networks().zip(&mut self.networks).zip(states) {
            net.set_stream_state(stream, StateArrays::of(own))?;
        }
        Ok(())
    }

    /// Any number of steps: `x` is (T, B, input size), `y` gets (T, B, output size).
    ///
    /// # Errors
    /// `Length` where x is no whole number of steps, or y does not have as many; the stream is then as it was.
    pub fn process(&mut self, x: &[T], y: &mut [T]) -> Result<(), Error> {
        let (inputs, outputs) = self.sizes_of_step();
        let steps = whole_steps("x", x.len(), inputs)?;
        let (expected, got) = (steps.saturating_mul(outputs), y.len());
        if got != expected {
            return Err(Error::Length { argument: "y", expected, got });
        }
        let read = |steps: Range<usize>, to: &mut [T]| {
            to.copy_from_slice(&x[steps.start * inputs..steps.end * inputs]);
        };
        let write = |steps: Range<usize>, from: &[T]| {
            y[steps.start * outputs..steps.end * outputs].copy_from_slice(from);
        };
        self.process_with(steps, read, write);
        Ok(())
    }

    /// The same in place, where as many values come out as go in.
    ///
    /// # Errors
    /// `Length` where that is not so, or these are no whole number of steps; the stream is then as it was.
    pub fn process_in_place(&mut self, values: &mut [T]) -> Result<(), Error> {
        let (inputs, outputs) = self.sizes_of_step();
        if inputs != outputs {
            let (expected, got) = (inputs, outputs);
            return Err(Error::Length { argument: "outputs of a step", expected, got });
        }
        let steps = whole_steps("values", values.len(), inputs)?;
        let values = core::cell::RefCell::new(values);
        let read = |steps: Range<usize>, to: &mut [T]| {
            to.copy_from_slice(&values.borrow()[steps.start * inputs..steps.end * inputs]);
        };
        let write = |steps: Range<usize>, from: &[T]| {
            let values = &mut values.borrow_mut();
            values[steps.start * inputs..steps.end * inputs].copy_from_slice(from);
        };
        self.process_with(steps, read, write);
        Ok(())
    }

    /// Any number of steps of audio channels as hosts hold them, each of which is a row: `x` has a slice for each of
    /// a row's values, row after row, B · input size of them, and so has `y`; all are of one length, the steps.
    ///
    /// # Errors
    /// `Length` where they are not as many, or not as long; the stream is then as it was.
    pub fn process_channels(&mut self, x: &[&[T]], y: &mut [&mut [T]]) -> Result<(), Error> {
        let (inputs, outputs) = self.sizes_of_step();
        for (argument, expected, got) in
            [("channels of x", inputs, x.len()), ("channels of y", outputs, y.len())]
        {
            if got != expected {
                return Err(Error::Length { argument, expected, got });
            }
        }
        let steps = x.first().map_or(0, |channel| channel.len());
        let others = x.iter().map(|channel| ("x", channel.len()));
        for (argument, got) in others.chain(y.iter().map(|channel| ("y", channel.len()))) {
            if got != steps {
                return Err(Error::Length { argument, expected: steps, got });
            }
        }
        let read = |steps: Range<usize>, to: &mut [T]| {
            for (n, channel) in x.iter().enumerate() {
                let to = to.iter_mut().skip(n).step_by(inputs);
                to.zip(&channel[steps.clone()]).for_each(|(to, &x)| *to = x);
            }
        };
        let write = |steps: Range<usize>, from: &[T]| {
            for (n, channel) in y.iter_mut().enumerate() {
                let from = from.iter().skip(n).step_by(outputs);
                channel[steps.clone()].iter_mut().zip(from).for_each(|(y, &from)| *y = from);
            }
        };
        self.process_with(steps, read, write);
        Ok(())
    }

    /// Any number of steps, wherever they lie: some at a time, `read` fills in the values of these steps,
    /// (steps, B, input size), and `write` takes what comes out of them, (steps, B, output size).
    pub fn process_with(
        &mut self,
        steps: usize,
        mut read: impl FnMut(Range<usize>, &mut [T]),
        mut write: impl FnMut(Range<usize>, &[T]),
    ) {
        let (inputs, outputs) = self.sizes_of_step();
        let mut first = 0;
        while first < steps {
            let end = steps.min(first + STEPS);
            let own = end - first;
            read(first..end, &mut self.values[0][..own * inputs]);
            write(first..end, &self.run(own)[..own * outputs]);
            first = end;
        }
    }

    /// Values of a step that go in, and that come out.
    fn sizes_of_step(&self) -> (usize, usize) {
        (self.batch * self.model.input_size(), self.batch * self.model.output_size())
    }

    /// A few steps of what stands in the first of `values`: gives what comes out.
    fn run(&mut self, steps: usize) -> &[T] {
        let Stream { model, batch, networks, values: [x, y], kept, .. } = self;
        let (all, mut networks) = (steps * *batch, networks.iter_mut());
        let (mut before, mut after) = (&mut x[..], &mut y[..]);
        for (n, module) in model.modules.iter().enumerate() {
            let (inputs, outputs) = (model.widths[n], model.widths[n + 1]);
            let (x, y) = (&mut before[..all * inputs], &mut after[..all * outputs]);
            if !kept[n].is_empty() {
                kept[n][..x.len()].copy_from_slice(x);
            }
            // Sizes were checked with the model.
            match module {
                Module::Recurrent(net) => {
                    if let Some(stream) = networks.next() {
                        net.piece(stream, steps, x, y);
                    }
                }
                Module::Dense(dense) => dense.rows_into(all, x, y),
                Module::Activation(function) => {
                    function.apply(model.level, x, inputs);
                    continue;
                }
                &Module::Residual { since } => {
                    let (width, added) = (model.widths[since], &kept[since]);
                    for (x, added) in x.chunks_mut(inputs).zip(added.chunks(width)) {
                        x.iter_mut().zip(added).for_each(|(x, &added)| *x += added);
                    }
                    continue;
                }
            }
            core::mem::swap(&mut before, &mut after);
        }
        before
    }
}

impl<T: Passes> Module<T> {
    /// Whether it adds what module `n` reads.
    fn adds(&self, n: usize) -> bool {
        matches!(self, Module::Residual { since } if *since == n)
    }
}

/// The same state for every row: of (layers, size) values, (layers, B, size).
fn of_all_rows<T: Real>(values: &[T], size: usize, batch: usize) -> Result<Vec<T>, Error> {
    let mut all = room(values.len().saturating_mul(batch), "initial state")?;
    for layer in values.chunks(size) {
        (0..batch).for_each(|_| all.extend_from_slice(layer));
    }
    Ok(all)
}

fn whole_steps(argument: &'static str, len: usize, of_step: usize) -> Result<usize, Error> {
    if len.is_multiple_of(of_step) {
        Ok(len / of_step)
    } else {
        Err(Error::Length { argument, expected: len.next_multiple_of(of_step), got: len })
    }
}
