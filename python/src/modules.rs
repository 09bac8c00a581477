//! Networks and layers alike: what may be asked of all that have parameters.

use crate::compute::{detached, exception};
use crate::dense::Dense;
use crate::network::Network;
use crate::number::each;
use crate::parameters::{Change, Parameters, alike, check_length, joined};
use crate::shared::Shared;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;
use unrolled::error::Error;

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
pub(crate) use each_module;

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
