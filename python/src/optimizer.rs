//! Optimisers: what they keep from step to step, and a step of all their modules.

use crate::array::{Values, copied, room, to_numpy};
use crate::compute::{exception, unlocked};
use crate::modules::{Module, each_module};
use crate::number::Number;
use crate::number::{AnyValues, each};
use crate::parameters::{Change, Parameters, alike, any_values, check_length, joined};
use crate::shared::Shared;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use unrolled::error::Error;
use unrolled::internals::Buffer;
use unrolled::train::{Adam, Sgd};

/// What is kept of a module: running means, each as long as its parameters and of their type.
type Means<T> = Vec<Buffer<T>>;
/// Those of a module of whichever type.
type AnyMeans = Arc<dyn Any + Send + Sync>;

struct Kept {
    /// Steps that have been taken.
    step: u64,
    means: Vec<AnyMeans>,
}

/// What an optimiser keeps. Steps of several threads come one after another.
#[pyclass(frozen, module = "unrolled._native")]
pub struct Optimizer {
    kept: Shared<Kept>,
    /// The learning rate's bits.
    lr: AtomicU64,
}

/// Learning rate, momentum, dampening, weight decay, whether Nesterov's.
type SgdNumbers = (f64, f64, f64, f64, bool);
/// Learning rate, β₁, β₂, ε, weight decay, whether that is decoupled.
type AdamNumbers = (f64, f64, f64, f64, f64, bool);

/// Steps taken, the learning rate, and of each module the means, flat.
type State<'py> = (u64, f64, Vec<Vec<Bound<'py, PyAny>>>);

#[derive(Clone, Copy)]
enum Formula {
    Sgd(Sgd),
    Adam(Adam),
}

impl Formula {
    fn sgd((lr, momentum, dampening, weight_decay, nesterov): SgdNumbers) -> PyResult<Self> {
        let sgd = Sgd { lr, momentum, dampening, weight_decay, nesterov };
        sgd.validate().map_err(exception)?;
        Ok(Formula::Sgd(sgd))
    }

    fn adam((lr, beta1, beta2, eps, weight_decay, decoupled): AdamNumbers) -> PyResult<Self> {
        let adam = Adam { lr, betas: (beta1, beta2), eps, weight_decay, decoupled };
        adam.validate().map_err(exception)?;
        Ok(Formula::Adam(adam))
    }

    fn step<T: Number>(
        self,
        t: u64,
        parameters: &mut [T],
        gradient: &[T],
        means: &mut [&mut [T]],
    ) -> Result<(), Error> {
        match (self, means) {
            (Formula::Sgd(sgd), []) => sgd.step(t, parameters, gradient, &mut []),
            (Formula::Sgd(sgd), [buffer]) => sgd.step(t, parameters, gradient, buffer),
            (Formula::Adam(adam), [m, v]) => adam.step(t, parameters, gradient, m, v),
            _ => Err(Error::Invalid { argument: "optimizer", expected: "its own formula" }),
        }
    }
}

/// A module one step further.
trait Step: Change {
    /// Whether the module still is what the step began with.
    fn is_due(&self, py: Python<'_>) -> bool;
    /// What is to be kept, once it has been made.
    fn kept(&self) -> AnyMeans;
}

struct Stepping<'a, M: Parameters> {
    module: &'a Shared<M>,
    formula: Formula,
    t: u64,
    gradient: Vec<&'a [M::Number]>,
    before: (Arc<M>, Arc<Means<M::Number>>),
    after: Option<Arc<M>>,
    means: Arc<Means<M::Number>>,
}

impl<M: Parameters> Change for Stepping<'_, M> {
    fn make(&mut self) -> Result<(), Error> {
        let (module, means) = &self.before;
        let old = module.all();
        let mut parameters = room(old.len(), "parameters")?;
        let mut kept = Means::new();
        for mean in means.iter() {
            kept.push(Buffer::dirty(mean.len(), "running means")?);
        }
        // Piece by piece: what is copied is still in cache when it is changed.
        for piece in self.gradient.iter().flat_map(|gradient| gradient.chunks(PIECE)) {
            let own = parameters.len()..parameters.len() + piece.len();
            parameters.extend_from_slice(&old[own.clone()]);
            let mut pieces: Vec<_> = kept.iter_mut().map(|mean| &mut mean[own.clone()]).collect();
            for (to, from) in pieces.iter_mut().zip(means.iter()) {
                to.copy_from_slice(&from[own.clone()]);
            }
            self.formula.step(self.t, &mut parameters[own], piece, &mut pieces)?;
        }
        self.after = Some(Arc::new(module.with(parameters)?));
        self.means = Arc::new(kept);
        Ok(())
    }
    fn publish(&mut self, py: Python<'_>) {
        if let Some(after) = self.after.take() {
            self.module.set(py, after);
        }
    }
}

impl<M: Parameters> Step for Stepping<'_, M> {
    fn is_due(&self, py: Python<'_>) -> bool {
        self.module.is(py, &self.before.0)
    }
    fn kept(&self) -> AnyMeans {
        self.means.clone()
    }
}

fn stepping<'a, M: Parameters + 'a>(
    py: Python<'_>,
    module: &'a Shared<M>,
    means: &AnyMeans,
    gradient: &'a AnyValues<'_>,
    (t, formula): (u64, Formula),
) -> PyResult<Box<dyn Step + 'a>> {
    let means = means.clone().downcast::<Means<M::Number>>().ok();
    let (Some(means), Some(gradient)) = (means, M::Number::of(gradient)) else {
        return Err(PyTypeError::new_err("modules: expected those the optimizer was made for"));
    };
    let gradient = gradient.iter().map(Values::slice).collect::<PyResult<_>>()?;
    let before = (module.get(py), means.clone());
    Ok(Box::new(Stepping { module, formula, t, gradient, before, after: None, means }))
}

/// Numbers that are changed at a time.
const PIECE: usize = 8192;

/// What a parameter's step costs, in multiply-adds: mostly that it is packed.
const WORK: usize = 32;

impl Optimizer {
    /// Everything is made first, and then published at once: no thread, signal handler or fork sees a part of it.
    fn step(
        &self,
        py: Python<'_>,
        modules: &[Module<'_>],
        grads: &[Vec<Bound<'_, PyAny>>],
        formula: Formula,
    ) -> PyResult<()> {
        alike("grads", modules.len(), grads.len())?;
        let gradients = modules
            .iter()
            .zip(grads)
            .map(|(module, own)| each_module!(module, shared => any_values(py, "grads", shared, own)))
            .collect::<PyResult<Vec<_>>>()?;
        let lengths = modules.iter().map(|m| each_module!(m, shared => shared.get(py).all().len()));
        let work = lengths.sum::<usize>().saturating_mul(WORK);
        loop {
            let before = self.kept.get(py);
            alike("modules", before.means.len(), modules.len())?;
            let t = before.step.saturating_add(1);
            let mut steps = modules
                .iter()
                .zip(&before.means)
                .zip(&gradients)
                .map(|((module, means), gradient)| {
                    let how = (t, formula);
                    each_module!(module, shared => stepping(py, shared, means, gradient, how))
                })
                .collect::<PyResult<Vec<_>>>()?;
            unlocked(py, work, || steps.iter_mut().try_for_each(|step| step.make()))?;
            let means = steps.iter().map(|step| step.kept()).collect();
            let after = Arc::new(Kept { step: t, means });
            if self.kept.is(py, &before) && steps.iter().all(|step| step.is_due(py)) {
                steps.iter_mut().for_each(|step| step.publish(py));
                self.kept.set(py, after);
                return Ok(());
            }
            // Another thread was faster: once more, from what it left.
            py.check_signals()?;
        }
    }
}

#[pymethods]
impl Optimizer {
    /// `count`: running means that are kept of each parameter.
    #[new]
    fn new(py: Python<'_>, modules: Vec<Module<'_>>, count: usize, lr: f64) -> PyResult<Self> {
        fn none<M: Parameters>(
            py: Python<'_>,
            module: &Shared<M>,
            count: usize,
        ) -> PyResult<AnyMeans> {
            let len = module.get(py).all().len();
            let means: Means<M::Number> = (0..count)
                .map(|_| Buffer::zeros(len, "running means"))
                .collect::<Result<_, _>>()
                .map_err(exception)?;
            Ok(Arc::new(means))
        }
        let means = modules
            .iter()
            .map(|module| each_module!(module, shared => none(py, shared, count)))
            .collect::<PyResult<_>>()?;
        let kept = Shared::new(Kept { step: 0, means });
        Ok(Optimizer { kept, lr: AtomicU64::new(lr.to_bits()) })
    }

    #[getter]
    fn lr(&self) -> f64 {
        f64::from_bits(self.lr.load(Ordering::Relaxed))
    }

    #[setter]
    fn set_lr(&self, lr: f64) {
        self.lr.store(lr.to_bits(), Ordering::Relaxed);
    }

    /// Copies.
    fn state<'py>(&self, py: Python<'py>) -> PyResult<State<'py>> {
        fn arrays<'py, T: Number>(
            py: Python<'py>,
            means: &Means<T>,
        ) -> PyResult<Vec<Bound<'py, PyAny>>> {
            let array = |mean: &Buffer<T>| {
                let copy = copied(mean, "running means").map_err(exception)?;
                to_numpy(py, copy, [mean.len()])
            };
            means.iter().map(array).collect()
        }
        let (kept, lr) = (self.kept.get(py), self.lr());
        let means = kept.means.iter().map(|means| {
            match (means.downcast_ref::<Means<f32>>(), means.downcast_ref::<Means<f64>>()) {
                (Some(means), _) => arrays(py, means),
                (_, Some(means)) => arrays(py, means),
                _ => Ok(Vec::new()),
            }
        });
        Ok((kept.step, lr, means.collect::<PyResult<_>>()?))
    }

    /// Goes on from what `state` gave; each mean may come in several arrays.
    fn load(
        &self,
        py: Python<'_>,
        modules: Vec<Module<'_>>,
        step: u64,
        lr: f64,
        means: Vec<Vec<Vec<Bound<'_, PyAny>>>>,
    ) -> PyResult<()> {
        fn loaded<M: Parameters>(
            py: Python<'_>,
            module: &Shared<M>,
            means: &[Vec<Bound<'_, PyAny>>],
        ) -> PyResult<AnyMeans> {
            let expected = module.get(py).all().len();
            let mean = |arrays: &Vec<Bound<'_, PyAny>>| {
                let given: Vec<M::Number> = joined("mapping", arrays)?;
                check_length("mapping", expected, given.len()).map_err(exception)?;
                let mut mean = Buffer::dirty(expected, "running means").map_err(exception)?;
                mean.copy_from_slice(&given);
                Ok(mean)
            };
            let means: Means<M::Number> = means.iter().map(mean).collect::<PyResult<_>>()?;
            Ok(Arc::new(means))
        }
        alike("mapping['state']", modules.len(), means.len())?;
        if self.kept.get(py).means.len() != modules.len() {
            return Err(PyValueError::new_err("modules: expected those it was made for"));
        }
        let means = modules
            .iter()
            .zip(&means)
            .map(|(module, means)| each_module!(module, shared => loaded(py, shared, means)))
            .collect::<PyResult<_>>()?;
        self.kept.set(py, Arc::new(Kept { step, means }));
        self.set_lr(lr);
        Ok(())
    }

    /// One step of SGD; of each module the gradients by its parameters in order.
    fn sgd(
        &self,
        py: Python<'_>,
        modules: Vec<Module<'_>>,
        grads: Vec<Vec<Bound<'_, PyAny>>>,
        numbers: SgdNumbers,
    ) -> PyResult<()> {
        self.step(py, &modules, &grads, Formula::sgd(numbers)?)
    }

    /// One step of Adam or AdamW.
    fn adam(
        &self,
        py: Python<'_>,
        modules: Vec<Module<'_>>,
        grads: Vec<Vec<Bound<'_, PyAny>>>,
        numbers: AdamNumbers,
    ) -> PyResult<()> {
        self.step(py, &modules, &grads, Formula::adam(numbers)?)
    }
}

/// Refuses hyper-parameters that make no sense.
#[pyfunction]
pub fn check_sgd(numbers: SgdNumbers) -> PyResult<()> {
    Formula::sgd(numbers).map(|_| ())
}

/// Refuses hyper-parameters that make no sense.
#[pyfunction]
pub fn check_adam(numbers: AdamNumbers) -> PyResult<()> {
    Formula::adam(numbers).map(|_| ())
}
