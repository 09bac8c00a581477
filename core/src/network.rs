//! Nets of run-time sizes: layers, directions, dropout between layers, batches in parallel.

use crate::batch::{self, Interrupt};
use crate::cell::elementwise::Typed;
use crate::cell::{Cell, MOST_STATES};
use crate::error::Error;
use crate::gates::{CellKind, Config, Counts};
use crate::kernel::buffer::{Buffer, size, zeros};
use crate::kernel::pack::Packed;
use crate::kernel::shape::Shape;
use crate::output::{Share, share};
use crate::real::Real;
use crate::sequence::{Layer, Passes, Run};
use crate::shard::ShardGradients;
use crate::simd::Level;
use crate::tape::{Shard, ShardTrace, Tape, room};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Values by time, row and feature: those of (t, b) start at `data[t * time + b * batch]`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    /// The values.
    pub data: &'a [T],
    /// From a step to the next.
    pub time: usize,
    /// From a row to the next.
    pub batch: usize,
}

impl<'a, T> View<'a, T> {
    /// A contiguous (T, B, `features`) array.
    #[must_use]
    pub fn time_major(data: &'a [T], batch: usize, features: usize) -> Self {
        View { data, time: batch.saturating_mul(features), batch: features }
    }

    pub(crate) fn at(&self, t: usize, b: usize, features: usize) -> &'a [T] {
        &self.data[t * self.time + b * self.batch..][..features]
    }

    pub(crate) fn check(
        &self,
        argument: &'static str,
        steps: usize,
        batch: usize,
        features: usize,
    ) -> Result<(), Error> {
        if steps == 0 || batch == 0 {
            return Ok(());
        }
        let end = (steps - 1)
            .checked_mul(self.time)
            .zip((batch - 1).checked_mul(self.batch))
            .and_then(|(t, b)| t.checked_add(b)?.checked_add(features))
            .ok_or(Error::TooLarge { what: argument })?;
        if end > self.data.len() {
            return Err(Error::Length { argument, expected: end, got: self.data.len() });
        }
        Ok(())
    }
}

/// An array for each state of a cell, h first: of h (layers · directions, B, state size), of the others, such as an
/// LSTM's c, (layers · directions, B, H).
#[derive(Clone, Copy, Debug)]
pub struct StateArrays<'a, T> {
    arrays: [&'a [T]; MOST_STATES],
    count: usize,
}

impl<'a, T> StateArrays<'a, T> {
    /// As many as the cell has states; more than any cell may have count as too many.
    ///
    /// ```
    /// use unrolled::network::StateArrays;
    ///
    /// let (h, c) = (vec![0.0; 8], vec![0.0; 8]);
    /// let states = StateArrays::of(&[h, c]);
    /// ```
    #[must_use]
    pub fn of<A: AsRef<[T]>>(arrays: &'a [A]) -> Self {
        arrays.iter().map(AsRef::as_ref).collect()
    }

    pub(crate) fn get(&self) -> &[&'a [T]] {
        &self.arrays[..self.count.min(MOST_STATES)]
    }
}

impl<'a, T> FromIterator<&'a [T]> for StateArrays<'a, T> {
    fn from_iter<I: IntoIterator<Item = &'a [T]>>(all: I) -> Self {
        let (mut arrays, mut count): ([&[T]; MOST_STATES], _) = ([&[]; MOST_STATES], 0);
        for array in all {
            if let Some(to) = arrays.get_mut(count) {
                *to = array;
            }
            count = count.saturating_add(1);
        }
        StateArrays { arrays, count }
    }
}

/// What a net is run on.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a, T> {
    /// x, (T, B, input size).
    pub x: View<'a, T>,
    /// T.
    pub steps: usize,
    /// B.
    pub batch: usize,
    /// Initial states; zeros if absent.
    pub states: Option<StateArrays<'a, T>>,
    /// Steps of each row; T if absent. x is not read past them.
    pub lengths: Option<&'a [usize]>,
    /// Whether an episode begins at (t, b), where the state is zero.
    pub resets: Option<View<'a, bool>>,
}

/// What a net gives.
#[derive(Clone, Debug)]
pub struct Output<T> {
    /// (T, B, directions · state size); zero past a row's length.
    pub y: Vec<T>,
    /// Final states: h, (layers · directions, B, state size), then the others, (layers · directions, B, H).
    pub states: Vec<Vec<T>>,
}

/// How to record.
#[derive(Clone, Copy, Debug, Default)]
pub struct Recording {
    /// Store the input, and the state every so many steps (rounded up to whole chunks), and compute the rest
    /// again when going back: less memory, the same gradients to the last bit. `Some(0)` chooses about √T. With
    /// two directions the outputs of the layers below the last are stored too.
    pub checkpoint: Option<usize>,
    /// Seed and probability of dropout between layers.
    pub dropout: Option<(u64, f64)>,
}

/// Derivatives of the loss by what a net gave.
#[derive(Clone, Copy, Debug)]
pub struct Losses<'a, T> {
    /// By y.
    pub y: View<'a, T>,
    /// By the final states; zeros if absent.
    pub states: Option<StateArrays<'a, T>>,
}

/// Gradients of everything.
#[derive(Clone, Debug)]
pub struct Gradients<T> {
    /// By the parameters, flat, in [`Config::parameters`]' order.
    pub parameters: Vec<T>,
    /// By x, (T, B, input size).
    pub x: Vec<T>,
    /// By the initial states.
    pub states: Vec<Vec<T>>,
}

/// A recurrent net: its parameters, and the same packed for one level's kernels.
#[derive(Debug)]
pub struct Network<T: Passes> {
    config: Config,
    cell: Cellular<T>,
    level: Level,
    parameters: Vec<T>,
    pub(crate) packed: Vec<Packed<T>>,
    version: Version,
}

/// A net's cell.
#[derive(Clone, Debug)]
enum Cellular<T: Real> {
    /// One of the crate's.
    Own(&'static dyn Layer<T>),
    /// Anybody's.
    Open(Arc<dyn Layer<T>>),
}

/// Which parameters: no two in a process have the same, whichever nets they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version(usize);

impl Version {
    fn next() -> Self {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        Version(LAST.fetch_add(1, Ordering::Relaxed))
    }
}

impl<T: Passes> Network<T> {
    /// A net with all parameters zero, for the kernels of `level`.
    ///
    /// # Errors
    /// `Invalid` or `TooLarge` where no such net can be.
    pub fn new(config: Config, level: Level) -> Result<Self, Error> {
        let expected = "a cell of this crate; with_cell makes nets of others";
        let cell = T::cell(config.kind).ok_or(Error::Invalid { argument: "kind", expected })?;
        Self::of(config, Cellular::Own(cell), level)
    }

    /// A net of any cell, with all parameters zero. `config`'s own `kind` does not matter: the cell takes its place.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_cell<C: Cell>(config: Config, level: Level) -> Result<Self, Error> {
        Self::with_layer(config, Arc::new(Run(Typed::<C>::NEW)), level)
    }

    /// A net of anything that does a cell's part.
    pub(crate) fn with_layer(
        config: Config,
        cell: Arc<dyn Layer<T>>,
        level: Level,
    ) -> Result<Self, Error> {
        let layout = cell.layout();
        let counts = Counts {
            maps_of_x: layout.maps_of_x() as u8,
            maps_of_h: layout.maps_of_h() as u8,
            parameters: layout.parameters() as u8,
            states: layout.states() as u8,
            reads_h: layout.reads_h() || !layout.maps().is_empty(),
        };
        let config = Config { kind: CellKind::Open(counts), ..config };
        Self::of(config, Cellular::Open(cell), level)
    }

    fn of(config: Config, cell: Cellular<T>, level: Level) -> Result<Self, Error> {
        let invalid = |argument, expected| Err(Error::Invalid { argument, expected });
        if config.input_size == 0 || config.hidden_size == 0 || config.num_layers == 0 {
            return invalid("input_size, hidden_size, num_layers", "at least 1");
        }
        if config.proj_size > 0 && config.kind.counts().reads_h {
            return invalid(
                "proj_size",
                "0, except for an LSTM and others that use h only through their weights",
            );
        }
        if config.proj_size >= config.hidden_size {
            return invalid("proj_size", "less than hidden_size");
        }
        let what = "parameters";
        let largest = config.layer_input_size(1).max(config.layer_input_size(0));
        let columns = size(&[largest.max(config.hidden_size), config.hidden_size, 16], what)?;
        size(&[columns, config.num_layers, config.num_directions(), 4], what)?;
        Self::packed(config, cell, level, zeros(config.num_parameters(), what)?)
    }

    fn packed(
        config: Config,
        cell: Cellular<T>,
        level: Level,
        parameters: Vec<T>,
    ) -> Result<Self, Error> {
        let packed = Vec::new();
        let mut this =
            Network { config, cell, level, parameters, packed, version: Version::next() };
        this.packed = this.pack(level)?;
        Ok(this)
    }

    /// Another such net with these parameters, ordered as [`Config::parameters`]. This one stays as it is, and
    /// with it the tapes recorded with it.
    ///
    /// # Errors
    /// `Length` where they are not as many; `TooLarge` if there is no memory.
    pub fn with_parameters(&self, parameters: Vec<T>) -> Result<Self, Error> {
        let (expected, got) = (self.parameters.len(), parameters.len());
        if got != expected {
            return Err(Error::Length { argument: "parameters", expected, got });
        }
        Self::packed(self.config, self.cell.clone(), self.level, parameters)
    }

    /// What it is made of.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What its cell does.
    pub(crate) fn cell(&self) -> &dyn Layer<T> {
        match &self.cell {
            Cellular::Own(cell) => *cell,
            Cellular::Open(cell) => &**cell,
        }
    }

    /// The level whose kernels it runs.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// The parameters, flat, in [`Config::parameters`]' order.
    #[must_use]
    pub fn parameters(&self) -> &[T] {
        &self.parameters
    }

    /// Changes the parameters by `update`, and packs them anew. Tapes recorded before are of no more use.
    ///
    /// # Errors
    /// What `update` returns; `TooLarge` if there is no memory. The net is then as it was.
    pub fn update<E: From<Error>>(
        &mut self,
        update: impl FnOnce(&mut [T]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut parameters = room(self.parameters.len(), "parameters")?;
        parameters.extend_from_slice(&self.parameters);
        update(&mut parameters)?;
        *self = self.with_parameters(parameters)?;
        Ok(())
    }

    /// Goes over to the kernels of another level. Tapes recorded before stay of use.
    ///
    /// # Errors
    /// `TooLarge` if there is no memory; the net is then as it was.
    pub fn set_level(&mut self, level: Level) -> Result<(), Error> {
        self.packed = self.pack(level)?;
        self.level = level;
        Ok(())
    }

    /// The parameters as the kernels of `level` read them.
    fn pack(&self, level: Level) -> Result<Vec<Packed<T>>, Error> {
        let lanes = level.lanes::<T>();
        let mut rest = &self.parameters[..];
        let mut packed =
            room(self.config.num_layers * self.config.num_directions(), "packed weights")?;
        for layer in 0..self.config.num_layers {
            for direction in 0..self.config.num_directions() {
                let parameters = self.config.layer_parameters(layer, direction == 1);
                let own;
                (own, rest) = rest.split_at(parameters.map(|p| p.len()).sum());
                packed.push(Packed::new(&self.config, layer, &self.shape(layer), own, lanes)?);
            }
        }
        Ok(packed)
    }

    /// The sizes and the layout of one layer.
    pub(crate) fn shape(&self, layer: usize) -> Shape {
        Shape::of::<T>(self.cell().layout(), &self.config, layer)
    }

    pub(crate) fn work(&self, steps: usize, batch: usize) -> usize {
        steps.saturating_mul(batch).saturating_mul(self.parameters.len())
    }

    fn check(&self, input: &Input<'_, T>) -> Result<(), Error> {
        let c = &self.config;
        input.x.check("x", input.steps, input.batch, c.input_size)?;
        if let Some(resets) = &input.resets {
            resets.check("resets", input.steps, input.batch, 1)?;
        }
        self.check_states("states", input.states, input.batch)?;
        if let Some(lengths) = input.lengths {
            if lengths.len() != input.batch {
                let (expected, got) = (input.batch, lengths.len());
                return Err(Error::Length { argument: "lengths", expected, got });
            }
            if let Some(at) = lengths.iter().position(|&l| l > input.steps) {
                let (most, got) = (input.steps, lengths[at]);
                return Err(Error::Range { argument: "lengths", at, most, got });
            }
        }
        Ok(())
    }

    fn check_states(
        &self,
        argument: &'static str,
        states: Option<StateArrays<'_, T>>,
        batch: usize,
    ) -> Result<(), Error> {
        let cells = self.config.num_layers * self.config.num_directions();
        let (expected, got) = (self.config.kind.states(), states.map(|states| states.count));
        for (state, row) in self.config.state_sizes().enumerate() {
            let expected = size(&[cells, batch, row], argument)?;
            if let Some(state) = states.as_ref().and_then(|states| states.get().get(state))
                && state.len() != expected
            {
                return Err(Error::Length { argument, expected, got: state.len() });
            }
        }
        match got {
            Some(got) if got != expected => Err(Error::Length { argument, expected, got }),
            _ => Ok(()),
        }
    }

    /// Runs the net and keeps nothing.
    ///
    /// # Errors
    /// Where the input does not fit, there is no memory, or `interrupt` says so.
    pub fn forward(
        &self,
        input: &Input<'_, T>,
        interrupt: Interrupt<'_>,
    ) -> Result<Output<T>, Error> {
        let (output, _) = self.run(input, None, interrupt)?;
        Ok(output)
    }

    /// Runs the net and keeps what [`backward`](Self::backward) needs.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn record(
        &self,
        input: &Input<'_, T>,
        recording: Recording,
        interrupt: Interrupt<'_>,
    ) -> Result<(Output<T>, Tape<T>), Error> {
        if recording.dropout.is_some_and(|(_, p)| !(0.0..1.0).contains(&p)) {
            return Err(Error::Invalid { argument: "dropout", expected: "0 ≤ dropout < 1" });
        }
        let (output, shards) = self.run(input, Some(recording), interrupt)?;
        let tape = Tape {
            config: self.config,
            layout: *self.cell().layout(),
            steps: input.steps,
            batch: input.batch,
            shards,
            checkpoint: recording.checkpoint,
            dropout: recording.dropout.filter(|&(_, p)| p > 0.0),
            version: self.version,
        };
        Ok((output, tape))
    }

    fn run(
        &self,
        input: &Input<'_, T>,
        recording: Option<Recording>,
        interrupt: Interrupt<'_>,
    ) -> Result<(Output<T>, Vec<ShardTrace<T>>), Error> {
        self.check(input)?;
        let (steps, batch, out) = (input.steps, input.batch, self.config.output_size());
        let reset = |t, b| input.resets.is_some_and(|r| r.at(t, b, 1)[0]);
        let reset = input.resets.is_some().then_some(&reset as &dyn Fn(usize, usize) -> bool);
        let shards = Shard::cut(steps, batch, input.lengths, reset)?;
        let mut y = zeros(size(&[steps, batch, out], "output")?, "output")?;
        let run = |(shard, y): (&Shard, Share<'_, T>)| {
            self.forward_shard(shard, input, recording, y, interrupt)
        };
        let items = shards.iter().zip(share(&mut y, &shards, batch, out)?).collect();
        let done = batch::run(items, self.work(steps, batch), run)?;

        let states = shards.iter().zip(&done).map(|(shard, (_, states))| (shard, &states[..]));
        let states = self.gather_states(states, batch)?;
        let traces = shards.into_iter().zip(done);
        let traces = traces.map(|(shard, (spans, _))| ShardTrace { shard, spans }).collect();
        Ok((Output { y, states }, traces))
    }

    /// Back-propagation through time: gradients by the parameters, the input and the initial state.
    /// `truncate`: only terms whose loss is at most so many steps (in the direction's own time, each
    /// layer by itself) after the parameter's use.
    ///
    /// # Errors
    /// Where the derivatives do not fit, the parameters have changed since the recording, there is no memory,
    /// or `interrupt` says so.
    pub fn backward(
        &self,
        tape: &Tape<T>,
        losses: &Losses<'_, T>,
        truncate: Option<usize>,
        interrupt: Interrupt<'_>,
    ) -> Result<Gradients<T>, Error> {
        self.check_tape(tape)?;
        let (steps, batch) = (tape.steps, tape.batch);
        losses.y.check("dy", steps, batch, self.config.output_size())?;
        self.check_states("dstate", losses.states, batch)?;
        let input = self.config.input_size;
        let mut x = zeros(size(&[steps, batch, input], "gradients")?, "gradients")?;
        let mut parameters = zeros(self.parameters.len(), "gradients")?;
        let run = |(trace, to): (&ShardTrace<T>, (Share<'_, T>, Option<_>))| {
            self.backward_shard(tape, trace, losses, truncate, to, interrupt)
        };
        let shards = tape.shards.iter().map(|trace| &trace.shard);
        let mut first = Some(&mut parameters[..]);
        let to = share(&mut x, shards, batch, input)?.into_iter().map(|x| (x, first.take()));
        let items = tape.shards.iter().zip(to).collect();
        let work = self.work(steps, batch).saturating_mul(2);
        let mut done = batch::run(items, work, run)?;

        self.sum_gradients(&mut done);
        let states = tape.shards.iter().zip(&done).map(|(trace, g)| (&trace.shard, &g.states[..]));
        let states = self.gather_states(states, batch)?;
        Ok(Gradients { parameters, x, states })
    }

    /// Refuses a tape of other parameters.
    pub(crate) fn check_tape(&self, tape: &Tape<T>) -> Result<(), Error> {
        if tape.version == self.version {
            return Ok(());
        }
        let expected = "parameters as they were, but the parameters have changed since the tape was recorded; \
                        record again";
        Err(Error::Invalid { argument: "tape", expected })
    }

    /// The parameters' gradients out of the shards' sums, added in the shards' order where the first has its own.
    fn sum_gradients(&self, shards: &mut [ShardGradients<'_, T>]) {
        let Some((first, others)) = shards.split_first_mut() else { return };
        for (cell, sums) in first.sums.iter_mut().enumerate() {
            let layer = cell / self.config.num_directions();
            let others: Vec<_> = others.iter().map(|shard| &shard.sums[cell]).collect();
            sums.add(&others);
            sums.unpack(&self.config, layer, &self.shape(layer));
        }
    }

    /// (layers · directions, B, …) arrays of the states (or of derivatives by them) out of the shards' rows.
    fn gather_states<'s>(
        &self,
        shards: impl Iterator<Item = (&'s Shard, &'s [Buffer<T>])>,
        batch: usize,
    ) -> Result<Vec<Vec<T>>, Error> {
        let cells = self.config.num_layers * self.config.num_directions();
        let mut out = room(self.config.kind.states(), "states")?;
        for row in self.config.state_sizes() {
            out.push(zeros(size(&[cells, batch, row], "states")?, "states")?);
        }
        for (shard, states) in shards {
            let shape = self.shape(0);
            for (cell, own) in states.iter().enumerate() {
                for (state, (out, row)) in out.iter_mut().zip(self.config.state_sizes()).enumerate()
                {
                    let own = &own[shape.state_at(shard.rows.len(), state)..];
                    spread(own, &shard.rows, &mut out[cell * batch * row..], row);
                }
            }
        }
        Ok(out)
    }
}

/// Writes a shard's padded rows to their places among the batch's rows of `len` values.
fn spread<T: Real>(from: &[T], rows: &[usize], to: &mut [T], len: usize) {
    for (row, &b) in from.chunks(len.next_multiple_of(T::PAD)).zip(rows) {
        to[b * len..][..len].copy_from_slice(&row[..len]);
    }
}
