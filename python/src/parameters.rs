//! Parameters into and out of networks and layers, whose crate keeps them flat.

use crate::array::{Values, copied, room, to_numpy};
use crate::compute::{detached, exception, unlocked};
use crate::dense::Dense;
use crate::network::Network;
use crate::number::Number;
use crate::shared::Shared;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;
use unrolled::error::Error;

/// Something that has parameters.
pub trait Parameters: Send + Sync + Sized {
    type Number: Number;
    /// All of them, flat.
    fn all(&self) -> &[Self::Number];
    /// Another such thing with these.
    fn with(&self, parameters: Vec<Self::Number>) -> Result<Self, Error>;
}

impl<T: Number> Parameters for unrolled::network::Network<T> {
    type Number = T;
    fn all(&self) -> &[T] {
        self.parameters()
    }
    fn with(&self, parameters: Vec<T>) -> Result<Self, Error> {
        self.with_parameters(parameters)
    }
}

impl<T: Number> Parameters for unrolled::dense::Dense<T> {
    type Number = T;
    fn all(&self) -> &[T] {
        self.parameters()
    }
    fn with(&self, parameters: Vec<T>) -> Result<Self, Error> {
        self.with_parameters(parameters)
    }
}

/// What has parameters in Python.
pub enum Module<'py> {
    Network(Bound<'py, Network>),
    Dense(Bound<'py, Dense>),
}

// By hand: what is derived takes a microsecond for the second kind.
impl<'py> FromPyObject<'_, 'py> for Module<'py> {
    type Error = PyErr;
    fn extract(module: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(network) = module.cast::<Network>() {
            return Ok(Module::Network(network.to_owned()));
        }
        Ok(Module::Dense(module.cast::<Dense>()?.to_owned()))
    }
}

/// Does the same for either kind and float type, of which the name is bound to what is [`Shared`].
macro_rules! each_module {
    ($module:expr, $shared:ident => $body:expr) => {
        match $module {
            Module::Network(network) => each!(&network.get().net, $shared => $body),
            Module::Dense(dense) => each!(&dense.get().layer, $shared => $body),
        }
    };
}
pub(crate) use {crate::number::each, each_module};

/// A module on the way to other parameters. Several of them are made one after another, where one may fail, and
/// then published, where none does and nothing else happens in between.
pub trait Change: Send {
    /// Makes the parameters that the module is to have.
    fn make(&mut self) -> Result<(), Error>;
    /// Gives them to the module, if they have been made.
    fn publish(&mut self, py: Python<'_>);
}

struct Load<'a, M: Parameters> {
    module: &'a Shared<M>,
    before: Arc<M>,
    parameters: Vec<M::Number>,
    after: Option<Arc<M>>,
}

impl<M: Parameters> Change for Load<'_, M> {
    fn make(&mut self) -> Result<(), Error> {
        let parameters = std::mem::take(&mut self.parameters);
        self.after = Some(Arc::new(self.before.with(parameters)?));
        Ok(())
    }
    fn publish(&mut self, py: Python<'_>) {
        if let Some(after) = self.after.take() {
            self.module.set(py, after);
        }
    }
}

fn loading<'a, M: Parameters + 'a>(
    py: Python<'_>,
    module: &'a Shared<M>,
    arrays: &[Bound<'_, PyAny>],
) -> PyResult<Box<dyn Change + 'a>> {
    let before = module.get(py);
    let parameters = joined("mapping", arrays)?;
    check_length("mapping", before.all().len(), parameters.len()).map_err(exception)?;
    Ok(Box::new(Load { module, before, parameters, after: None }))
}

/// Replaces every parameter of every module, or none; and with them the entries of a dict, all of which it has.
#[pyfunction]
#[pyo3(signature = (modules, arrays, entries = None))]
pub fn load(
    py: Python<'_>,
    modules: Vec<Module<'_>>,
    arrays: Vec<Vec<Bound<'_, PyAny>>>,
    entries: Option<(Bound<'_, PyDict>, Bound<'_, PyDict>)>,
) -> PyResult<()> {
    alike("arrays", modules.len(), arrays.len())?;
    let mut changes = modules
        .iter()
        .zip(&arrays)
        .map(|(module, arrays)| each_module!(module, shared => loading(py, shared, arrays)))
        .collect::<PyResult<Vec<_>>>()?;
    detached(py, || changes.iter_mut().try_for_each(|change| change.make()))?;
    if let Some((entries, with)) = entries {
        entries.update(with.as_mapping())?;
    }
    changes.iter_mut().for_each(|change| change.publish(py));
    Ok(())
}

/// Refuses other than one for each module.
pub fn alike(argument: &str, modules: usize, got: usize) -> PyResult<()> {
    if got == modules {
        return Ok(());
    }
    let message = format!("{argument}: expected {modules}, one for each module, got {got}");
    Err(PyValueError::new_err(message))
}

pub fn check_length(argument: &'static str, expected: usize, got: usize) -> Result<(), Error> {
    if got == expected { Ok(()) } else { Err(Error::Length { argument, expected, got }) }
}

/// A copy of every parameter, as arrays of these shapes.
pub fn get<'py, M: Parameters>(
    py: Python<'py>,
    module: &M,
    shapes: impl Iterator<Item = Vec<usize>>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let mut rest = module.all();
    let mut arrays = Vec::new();
    for shape in shapes {
        let own;
        (own, rest) = rest.split_at(shape.iter().product());
        let own = unlocked(py, own.len(), || copied(own, "parameters"))?;
        arrays.push(to_numpy(py, own, shape)?);
    }
    Ok(arrays)
}

/// Others that stay as these modules are now, all of them at one time.
#[pyfunction]
pub fn snapshots<'py>(py: Python<'py>, modules: Vec<Module<'py>>) -> PyResult<Vec<Snapshot>> {
    let snapshot = |module: &Module<'py>| match module {
        Module::Network(network) => Snapshot::Network(network.get().snapshot(py)),
        Module::Dense(dense) => Snapshot::Dense(dense.get().snapshot(py)),
    };
    Ok(modules.iter().map(snapshot).collect())
}

/// What [`snapshots`] gives.
#[derive(IntoPyObject)]
pub enum Snapshot {
    Network(Network),
    Dense(Dense),
}

/// The numbers of arrays of either type.
pub enum AnyValues<'py> {
    F32(Vec<Values<'py, f32>>),
    F64(Vec<Values<'py, f64>>),
}

/// Those of a module's parameters, or something as long.
pub fn any_values<'py, M: Parameters>(
    py: Python<'py>,
    argument: &'static str,
    module: &Shared<M>,
    arrays: &[Bound<'py, PyAny>],
) -> PyResult<AnyValues<'py>> {
    let values = values::<M::Number>(argument, arrays)?;
    let slices: Vec<_> = values.iter().map(Values::slice).collect::<PyResult<_>>()?;
    let got = slices.iter().map(|own| own.len()).sum();
    check_length(argument, module.get(py).all().len(), got).map_err(exception)?;
    Ok(M::Number::any(values))
}

fn values<'py, T: Number>(
    argument: &str,
    arrays: &[Bound<'py, PyAny>],
) -> PyResult<Vec<Values<'py, T>>> {
    arrays.iter().map(|array| Values::typed(argument, array)).collect()
}

/// All of `arrays` in a row: a copy.
pub fn joined<T: Number>(argument: &str, arrays: &[Bound<'_, PyAny>]) -> PyResult<Vec<T>> {
    let values = values::<T>(argument, arrays)?;
    let slices: Vec<_> = values.iter().map(Values::slice).collect::<PyResult<_>>()?;
    let len = slices.iter().map(|own| own.len()).sum();
    let mut all = room(len, "parameters").map_err(exception)?;
    for own in slices {
        all.extend_from_slice(own);
    }
    Ok(all)
}

/// Whether `arrays` hold the parameters to the last bit, looking at `most` numbers, spread evenly, of each.
pub fn same<M: Parameters>(
    py: Python<'_>,
    net: &Shared<M>,
    arrays: &[Bound<'_, PyAny>],
    most: usize,
) -> PyResult<bool> {
    let values = values::<M::Number>("mapping", arrays)?;
    let slices: Vec<_> = values.iter().map(Values::slice).collect::<PyResult<_>>()?;
    let looked_at = slices.iter().map(|own| own.len().min(most)).sum();
    let net = net.get(py);
    unlocked(py, looked_at, || {
        let mut rest = net.all();
        let lengths = slices.iter().map(|own| own.len()).sum();
        check_length("parameters", rest.len(), lengths)?;
        for given in slices {
            let own;
            (own, rest) = rest.split_at(given.len());
            let every = own.len().div_ceil(most.max(1)).max(1);
            // One step apart, the compiler compares many at once.
            let same = if every == 1 {
                all_same(own, given)
            } else {
                own.iter().zip(given).step_by(every).all(|(a, b)| a.same_bits(*b))
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// Without a branch for each number, block by block.
fn all_same<T: Number>(a: &[T], b: &[T]) -> bool {
    a.chunks(1024)
        .zip(b.chunks(1024))
        .all(|(a, b)| a.iter().zip(b).fold(true, |same, (a, b)| same & a.same_bits(*b)))
}
