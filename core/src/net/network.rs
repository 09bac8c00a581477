//! Nets of run-time sizes: layers, directions, dropout between layers, batches in parallel.

use super::tape::Version;
pub use super::view::{Gradients, Input, Losses, Output, Recording, StateArrays, View};
pub use crate::kernel::small::Storage;

use crate::cell::Cell;
use crate::cell::elementwise::Typed;
use crate::cell::formula::{Formula, Program};
use crate::error::Error;
use crate::gates::{CellKind, Config, Counts, Role};
use crate::kernel::buffer::{room, size, zeros};
use crate::kernel::layout::Layout;
use crate::kernel::pack::Packed;
use crate::kernel::shape::Shape;
use crate::laps::{Part, lap};
use crate::real::Real;
use crate::simd::Level;
use crate::time::{Layer, Mirror, Passes, Run};
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A recurrent net: its parameters, and the same packed for one level's kernels.
#[derive(Debug)]
pub struct Network<T: Passes> {
    pub(super) config: Config,
    cell: Cellular<T>,
    /// Of the first layer, and of those above, which are alike.
    shapes: [Shape; 2],
    level: Level,
    storage: Storage,
    pub(super) parameters: Vec<T>,
    pub(crate) packed: Vec<Packed<T>>,
    pub(super) version: Version,
}

/// A net's cell.
#[derive(Clone, Debug)]
enum Cellular<T: Real> {
    /// One of the crate's.
    Own(&'static dyn Layer<T>),
    /// A formula.
    Formula(Arc<Run<Program>>),
    /// Anybody's.
    Open(Arc<dyn Mirror<T>>),
}

impl<T: Passes> Cellular<T> {
    fn forth(&self) -> &dyn Layer<T> {
        match self {
            Cellular::Own(cell) => *cell,
            Cellular::Formula(program) => T::program(program),
            Cellular::Open(cell) => &**cell,
        }
    }
}

/// The kind of a cell that is none of the crate's.
pub(crate) fn open_kind(layout: &Layout) -> CellKind {
    CellKind::Open(Counts {
        maps_of_x: layout.maps_of_x() as u8,
        maps_of_h: layout.maps_of_h() as u8,
        parameters: layout.parameters() as u8,
        states: layout.states() as u8,
        reads_h: layout.reads_h() || !layout.maps().is_empty(),
    })
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
        let cell = Run(Typed::<C>::NEW);
        let config = Config { kind: open_kind(Layer::<T>::layout(&cell)), ..config };
        Self::of(config, Cellular::Open(Arc::new(cell)), level)
    }

    /// A net of a formula, with all parameters zero. `config`'s own `kind` does not matter.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_formula(config: Config, formula: &Formula, level: Level) -> Result<Self, Error> {
        let program = formula.program().clone();
        let config = Config { kind: open_kind(formula.layout()), ..config };
        Self::of(config, Cellular::Formula(Arc::new(Run(program))), level)
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
        Self::packed(config, cell, level, Storage::Full, zeros(config.num_parameters(), what)?)
    }

    fn packed(
        config: Config,
        cell: Cellular<T>,
        level: Level,
        storage: Storage,
        mut parameters: Vec<T>,
    ) -> Result<Self, Error> {
        round(storage, &config, &mut parameters)?;
        let layout = cell.forth().layout();
        let shapes = [0, 1].map(|layer| Shape::of::<T>(layout, &config, layer));
        let (packed, version) = (Vec::new(), Version::next());
        let mut this =
            Network { config, cell, shapes, level, storage, parameters, packed, version };
        this.packed = this.pack(level)?;
        Ok(this)
    }

    /// Another such net with these parameters, ordered as [`Config::parameters`]. This one stays as it is, and
    /// with it the tapes recorded with it. A [compressed](Self::compressed) net's is compressed too: these are rounded first.
    ///
    /// # Errors
    /// `Length` where they are not as many; `Invalid` where weights to round are not finite; `TooLarge` if there is no memory.
    pub fn with_parameters(&self, parameters: Vec<T>) -> Result<Self, Error> {
        let (expected, got) = (self.parameters.len(), parameters.len());
        if got != expected {
            return Err(Error::Length { argument: "parameters", expected, got });
        }
        Self::packed(self.config, self.cell.clone(), self.level, self.storage, parameters)
    }

    /// Another such net that stores the weights of steps of a single row so: `weight_ih` and `weight_hh` of all layers
    /// are rounded to what can be stored; other parameters are the same. So it does the same for one row as for
    /// many, forward and back: what the net of the rounded weights does, to the last bit.
    ///
    /// A single row reads them so where that is faster: in LSTM, GRU and RNN without projection, by AVX-512, and halves by
    /// AVX2, where they are too many for the first cache. Weights stay rounded: `Storage::Full` gives them as they are now.
    ///
    /// # Errors
    /// `Invalid` where a weight to round is not finite; `TooLarge` if there is no memory.
    pub fn compressed(&self, storage: Storage) -> Result<Self, Error> {
        let mut parameters = room(self.parameters.len(), "parameters")?;
        parameters.extend_from_slice(&self.parameters);
        Self::packed(self.config, self.cell.clone(), self.level, storage, parameters)
    }

    /// How it stores the weights of steps of a single row.
    #[must_use]
    pub fn storage(&self) -> Storage {
        self.storage
    }

    /// What it is made of.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What its cell does.
    pub(crate) fn cell(&self) -> &dyn Layer<T> {
        self.cell.forth()
    }

    /// Does what its cell does on the way back. It is looked up here, so that going forward does not name it.
    pub(crate) fn back(&self, work: impl FnOnce(&dyn Mirror<T>)) {
        let cell = match &self.cell {
            Cellular::Own(_) => T::mirror(self.config.kind).map(|cell| cell as &dyn Mirror<T>),
            Cellular::Formula(program) => Some(T::program_mirror(program)),
            Cellular::Open(cell) => Some(&**cell),
        };
        debug_assert!(cell.is_some(), "a net of its own kind has a cell of that kind");
        if let Some(cell) = cell {
            work(cell);
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

    /// Changes the parameters by `update`, and packs them anew; a [compressed](Self::compressed) net's are rounded again. Tapes recorded before are of no more use.
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
        lap(Part::Rest);
        let lanes = level.lanes::<T>();
        let mut rest = &self.parameters[..];
        let mut packed =
            room(self.config.num_layers * self.config.num_directions(), "packed weights")?;
        for layer in 0..self.config.num_layers {
            for direction in 0..self.config.num_directions() {
                let parameters = self.config.layer_parameters(layer, direction == 1);
                let own;
                (own, rest) = rest.split_at(parameters.map(|p| p.len()).sum());
                let shape = self.shape(layer);
                let serves = self.cell().short() && self.storage.serves::<T>(shape, level);
                let storage = if serves { self.storage } else { Storage::Full };
                packed.push(Packed::new(&self.config, layer, shape, own, lanes, storage)?);
            }
        }
        lap(Part::Packing);
        Ok(packed)
    }

    /// The sizes and the layout of one layer.
    pub(crate) fn shape(&self, layer: usize) -> &Shape {
        &self.shapes[layer.min(1)]
    }

    pub(crate) fn work(&self, steps: usize, batch: usize) -> usize {
        steps.saturating_mul(batch).saturating_mul(self.parameters.len())
    }
}

/// Rounds the weights of a net that stores them so.
fn round<T: Real>(storage: Storage, config: &Config, parameters: &mut [T]) -> Result<(), Error> {
    let mut rest = if storage == Storage::Full { &mut [] } else { parameters };
    for parameter in config.parameters() {
        if rest.is_empty() {
            break;
        }
        let own;
        (own, rest) = rest.split_at_mut(parameter.len());
        if matches!(parameter.role, Role::WeightIh | Role::WeightHh) {
            if !own.iter().all(|w| w.is_finite()) {
                let expected = "finite numbers, to be stored smaller";
                return Err(Error::Invalid { argument: "weights", expected });
            }
            storage.round(own, parameter.columns)?;
        }
    }
    Ok(())
}
