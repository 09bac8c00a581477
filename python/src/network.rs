//! Networks: parameters in and out, forward, record, backward.

use crate::arguments::{D_STATE, Run, d_y, in_python, state_arrays, states};
use crate::array::{Steps, copied, still, to_numpy, zeros};
use crate::axes::Axes;
use crate::compute::{detached, interruptible};
use crate::formula::Formula;
use crate::machine::level;
use crate::number::{AnyShared, Float, Number, each, is_double};
use crate::parameters;
use crate::shared::Shared;
use crate::tape::Tape;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use unrolled::error::Error;
use unrolled::gates::{Activation, CellKind, Config};
use unrolled::network::{Losses, Network as Net, Recording, Storage};
use unrolled::rng::derive;
use unrolled::simd::Level;
use unrolled::tape::Tape as CoreTape;
use unrolled::train::{Init, initialise};

/// A network: its parameters and its kernels.
#[pyclass(frozen, module = "unrolled._native")]
pub struct Network {
    pub config: Config,
    pub batch_first: bool,
    pub net: AnyShared<Net<f32>, Net<f64>>,
    num_parameters: usize,
    /// How often dropout has been drawn: each time other masks, the same after the same calls.
    draws: Arc<AtomicU64>,
}

/// What a cell is called on the way from Python.
fn cell_kind(name: &str) -> PyResult<CellKind> {
    Ok(match name {
        "rnn_tanh" => CellKind::Rnn(Activation::Tanh),
        "rnn_relu" => CellKind::Rnn(Activation::Relu),
        "rnn_sigmoid" => CellKind::Rnn(Activation::Sigmoid),
        "lstm" => CellKind::Lstm { forget_gate: true },
        "lstm_without_forget_gate" => CellKind::Lstm { forget_gate: false },
        "gru" => CellKind::Gru { reset_after: true },
        "gru_reset_before" => CellKind::Gru { reset_after: false },
        _ => {
            return Err(PyValueError::new_err(format!(
                "cell: expected a cell's name, got '{name}'"
            )));
        }
    })
}

/// A cell: one of the crate's, or a formula.
#[derive(FromPyObject)]
enum Cell<'py> {
    Named(String),
    Open(Bound<'py, Formula>),
}

/// y and the state.
type Outputs<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>);

/// What a step costs a row beside the products, in multiply-adds.
const STEP: usize = 64;

impl Network {
    /// A state as the user sees it: h, or a tuple that begins with it, each (layers · directions, B, …) or without the B.
    pub fn state<'py, T: Number>(
        &self,
        py: Python<'py>,
        states: Vec<Vec<T>>,
        batch: usize,
        unbatched: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let config = &self.config;
        let cells = config.num_layers * config.num_directions();
        let part = |(values, columns)| {
            if unbatched {
                to_numpy(py, values, [cells, columns])
            } else {
                to_numpy(py, values, [cells, batch, columns])
            }
        };
        let mut parts = states.into_iter().zip(config.state_sizes()).map(part);
        if config.kind.states() == 1
            && let Some(h) = parts.next()
        {
            return h;
        }
        Ok(PyTuple::new(py, parts.collect::<PyResult<Vec<_>>>()?)?.into_any())
    }

    /// Another that stays as this one is now, but that dropout is drawn for both.
    pub fn snapshot(&self, py: Python<'_>) -> Self {
        let net = match &self.net {
            Float::F32(net) => Float::F32(net.snapshot(py)),
            Float::F64(net) => Float::F64(net.snapshot(py)),
        };
        let Network { config, batch_first, num_parameters, .. } = *self;
        Network { config, batch_first, net, num_parameters, draws: self.draws.clone() }
    }

    /// Multiply-adds of one pass.
    pub fn work(&self, steps: usize, batch: usize) -> usize {
        let step = self.num_parameters.saturating_add(STEP);
        steps.saturating_mul(batch).saturating_mul(step)
    }

    /// What it is called with: its sizes, its order of axes, and multiply-adds for each number of x, about.
    fn called(&self) -> (&Config, Axes, usize) {
        let axes = Axes { batch_first: self.batch_first, unbatched: false };
        (&self.config, axes, self.num_parameters / self.config.input_size)
    }

    /// Multiply-adds for each number of dy, about.
    pub fn work_per_gradient(&self) -> usize {
        3 * (self.num_parameters / self.config.output_size())
    }

    fn shapes(&self) -> impl Iterator<Item = (String, Vec<usize>)> + use<> {
        self.config.parameters().map(|p| {
            let shape = if p.is_vector() { vec![p.rows] } else { vec![p.rows, p.columns] };
            (p.to_string(), shape)
        })
    }

    fn forward_as<'py, T: Number>(
        &self,
        py: Python<'py>,
        net: &Shared<Net<T>>,
        run: &Run<'py, T>,
    ) -> PyResult<Outputs<'py>> {
        let (input, axes) = (run.input()?, run.axes);
        let (steps, batch) = (input.steps, input.batch);
        let net = net.get(py);
        let output = interruptible(py, self.work(steps, batch), |interrupt| {
            let mut output = net.forward(&input, interrupt)?;
            axes.order(&mut output.y, steps, batch)?;
            Ok(output)
        })?;
        let y = axes.outside(py, output.y, steps, batch, self.config.output_size())?;
        Ok((y, self.state(py, output.states, batch, axes.unbatched)?))
    }

    fn record_as<'py, T: Number>(
        &self,
        py: Python<'py>,
        net: &Shared<Net<T>>,
        run: &Run<'py, T>,
        recording: Recording,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, Tape)> {
        let (input, axes) = (run.input()?, run.axes);
        let (steps, batch) = (input.steps, input.batch);
        let net = net.get(py);
        let (output, tape) = interruptible(py, self.work(steps, batch), |interrupt| {
            let (mut output, tape) = net.record(&input, recording, interrupt)?;
            axes.order(&mut output.y, steps, batch)?;
            Ok((output, tape))
        })?;
        let y = axes.outside(py, output.y, steps, batch, self.config.output_size())?;
        let state = self.state(py, output.states, batch, axes.unbatched)?;
        Ok((y, state, Tape { tape: T::wrap(tape), unbatched: axes.unbatched }))
    }

    fn backward_as<'py, T: Number>(
        &self,
        py: Python<'py>,
        net: &Shared<Net<T>>,
        tape: &Tape,
        dy: &Bound<'py, PyAny>,
        d_state: Option<&Bound<'py, PyAny>>,
        truncate: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        let axes = Axes { batch_first: self.batch_first, unbatched: tape.unbatched };
        let tape = typed_tape::<T>(tape)?;
        let (steps, batch) = (tape.steps(), tape.batch());
        let dy = d_y::<T>(&self.config, dy, (steps, batch), axes)?;
        let given = d_state.is_some() || truncate.is_some();
        let d_state = states::<T>(&self.config, D_STATE, d_state, batch, axes)?;
        let truncate = truncate.map(|given| in_python(py, "truncate", (given,))?.extract());
        let truncate = truncate.transpose()?.map(|most: usize| most.min(steps));
        // Nothing that runs Python comes between this and the work.
        if given {
            still("dy", &dy)?;
        }
        let dy = Steps::new("dy", &dy, axes, self.work_per_gradient())?;
        let d_state = d_state.values()?;
        let losses = Losses { y: dy.view()?, states: state_arrays(&d_state)? };
        // At most: all steps again from a checkpoint, and twice a pass for each step that a term may be long.
        let passes = truncate.map_or(3, |most| most.saturating_add(2).saturating_mul(2));
        let work = self.work(steps, batch).saturating_mul(passes);
        let net = net.get(py);
        let g = interruptible(py, work, |interrupt| {
            let mut g = net.backward(tape, &losses, truncate, interrupt)?;
            axes.order(&mut g.x, steps, batch)?;
            Ok(g)
        })?;
        let parameters = to_numpy(py, g.parameters, [self.num_parameters])?;
        let x = axes.outside(py, g.x, steps, batch, self.config.input_size)?;
        let state = self.state(py, g.states, batch, axes.unbatched)?;
        Ok((parameters, x, state))
    }
}

/// The tape, if it is of the network's float type.
pub fn typed_tape<T: Number>(tape: &Tape) -> PyResult<&CoreTape<T>> {
    let expected = "tape: expected one of the network's own float type";
    T::unwrap(&tape.tape).ok_or_else(|| PyTypeError::new_err(expected))
}

#[pymethods]
impl Network {
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        cell: Cell<'_>,
        input_size: usize,
        hidden_size: usize,
        num_layers: usize,
        bias: bool,
        bidirectional: bool,
        proj_size: usize,
        batch_first: bool,
        dtype: &str,
    ) -> PyResult<Self> {
        let (kind, formula) = match &cell {
            Cell::Named(name) => (cell_kind(name)?, None),
            // A formula's own takes its place.
            Cell::Open(formula) => (CellKind::Rnn(Activation::Tanh), Some(formula.get())),
        };
        let config =
            Config { kind, input_size, hidden_size, proj_size, num_layers, bidirectional, bias };
        fn made<T: Number>(config: Config, formula: Option<&Formula>) -> Result<Net<T>, Error> {
            match formula {
                None => Net::new(config, Level::best()),
                Some(formula) => Net::with_formula(config, &formula.compiled, Level::best()),
            }
        }
        let net = if is_double(dtype)? {
            Float::F64(Shared::new(detached(py, || made(config, formula))?))
        } else {
            Float::F32(Shared::new(detached(py, || made(config, formula))?))
        };
        let config = each!(&net, net => *net.get(py).config());
        let num_parameters = config.num_parameters();
        Ok(Network { config, batch_first, net, num_parameters, draws: Arc::default() })
    }

    /// Draws the parameters anew.
    fn initialise(&self, py: Python<'_>, init: &str, forget_bias: f64, seed: u64) -> PyResult<()> {
        let init = match init {
            "uniform" => Init::Uniform,
            "orthogonal" => Init::Orthogonal,
            "xavier" => Init::Xavier,
            _ => {
                let message =
                    format!("init: expected 'uniform', 'orthogonal' or 'xavier', got '{init}'");
                return Err(PyValueError::new_err(message));
            }
        };
        let config = &self.config;
        each!(&self.net, net => {
            let old = net.get(py);
            let new = detached(py, || {
                let mut parameters = zeros(old.parameters().len(), "parameters")?;
                initialise(config, init, forget_bias, seed, &mut parameters)?;
                Ok(Arc::new(old.with_parameters(parameters)?))
            })?;
            net.set(py, new);
        });
        Ok(())
    }

    /// Names and shapes, in order.
    fn parameter_shapes(&self) -> Vec<(String, Vec<usize>)> {
        self.shapes().collect()
    }

    /// A copy of every parameter, in order.
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let shapes = self.shapes().map(|(_, shape)| shape);
        each!(&self.net, net => parameters::get(py, &*net.get(py), shapes))
    }

    /// Another network with these parameters; this one, and its tapes, stay as they are.
    fn with_parameters(&self, py: Python<'_>, arrays: Vec<Bound<'_, PyAny>>) -> PyResult<Self> {
        fn renewed<T: Number>(
            py: Python<'_>,
            net: &Shared<Net<T>>,
            arrays: &[Bound<'_, PyAny>],
        ) -> PyResult<Shared<Net<T>>> {
            let (net, parameters) = (net.get(py), parameters::joined("parameters", arrays)?);
            Ok(Shared::new(detached(py, || net.with_parameters(parameters))?))
        }
        let net = match &self.net {
            Float::F32(net) => Float::F32(renewed(py, net, &arrays)?),
            Float::F64(net) => Float::F64(renewed(py, net, &arrays)?),
        };
        let Network { config, batch_first, num_parameters, .. } = *self;
        Ok(Network { config, batch_first, net, num_parameters, draws: Arc::default() })
    }

    /// Another network whose steps of a single row read weights that are stored so; this one stays as it is.
    fn compressed(&self, py: Python<'_>, weights: &str) -> PyResult<Self> {
        let storage = match weights {
            "float16" => Storage::Float16,
            "int8" => Storage::Int8,
            _ => {
                let message = format!("weights: expected 'float16' or 'int8', got '{weights}'");
                return Err(PyValueError::new_err(message));
            }
        };
        fn made<T: Number>(
            py: Python<'_>,
            net: &Shared<Net<T>>,
            storage: Storage,
        ) -> PyResult<Shared<Net<T>>> {
            let net = net.get(py);
            Ok(Shared::new(detached(py, || net.compressed(storage))?))
        }
        let net = match &self.net {
            Float::F32(net) => Float::F32(made(py, net, storage)?),
            Float::F64(net) => Float::F64(made(py, net, storage)?),
        };
        let Network { config, batch_first, num_parameters, .. } = *self;
        let draws = Arc::new(AtomicU64::new(self.draws.load(Ordering::Relaxed)));
        Ok(Network { config, batch_first, net, num_parameters, draws })
    }

    /// How the weights are stored that steps of a single row read, where they are smaller.
    #[getter]
    fn weights(&self, py: Python<'_>) -> Option<&'static str> {
        each!(&self.net, net => match net.get(py).storage() {
            Storage::Full => None,
            Storage::Float16 => Some("float16"),
            Storage::Int8 => Some("int8"),
        })
    }

    /// Whether these are its parameters to the last bit; looks at no more than `most` numbers of each array.
    fn has_parameters(
        &self,
        py: Python<'_>,
        arrays: Vec<Bound<'_, PyAny>>,
        most: usize,
    ) -> PyResult<bool> {
        each!(&self.net, net => parameters::same(py, net, &arrays, most))
    }

    /// The instruction set of its kernels.
    #[getter]
    fn isa(&self, py: Python<'_>) -> &'static str {
        each!(&self.net, net => net.get(py).level().isa().name())
    }

    /// Goes over to the kernels of another instruction set.
    fn set_isa(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let level = level(name)?;
        each!(&self.net, net => {
            let old = net.get(py);
            let new = detached(py, || {
                let mut new = old.with_parameters(copied(old.parameters(), "parameters")?)?;
                new.set_level(level)?;
                Ok(Arc::new(new))
            })?;
            net.set(py, new);
        });
        Ok(())
    }

    #[pyo3(signature = (x, state, lengths, resets, /))]
    fn forward<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        state: Option<&Bound<'py, PyAny>>,
        lengths: Option<&Bound<'py, PyAny>>,
        resets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Outputs<'py>> {
        each!(&self.net, net => {
            let run = Run::new(self.called(), x, state, lengths, resets)?;
            self.forward_as(py, net, &run)
        })
    }

    /// `dropout`: seed and probability.
    #[pyo3(signature = (x, state, lengths, resets, checkpoint, dropout, /))]
    #[allow(clippy::too_many_arguments)]
    fn record<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        state: Option<&Bound<'py, PyAny>>,
        lengths: Option<&Bound<'py, PyAny>>,
        resets: Option<&Bound<'py, PyAny>>,
        checkpoint: Option<&Bound<'py, PyAny>>,
        dropout: Option<(u64, f64)>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, Tape)> {
        each!(&self.net, net => {
            let run = Run::new(self.called(), x, state, lengths, resets)?;
            let checkpoint = checkpoint
                .map(|given| in_python(py, "checkpoint", (given,))?.extract::<usize>())
                .transpose()?
                .map(|every| every.min(run.steps().max(1)));
            // Calls that are refused do not count.
            let dropout = dropout.map(|(seed, p)| {
                (derive(seed, self.draws.fetch_add(1, Ordering::Relaxed)), p)
            });
            self.record_as(py, net, &run, Recording { checkpoint, dropout })
        })
    }

    #[getter]
    fn draws(&self) -> u64 {
        self.draws.load(Ordering::Relaxed)
    }

    #[setter]
    fn set_draws(&self, draws: u64) {
        self.draws.store(draws, Ordering::Relaxed);
    }

    /// Gradients by the parameters (flat), x and the state.
    #[pyo3(signature = (tape, dy, d_state, truncate, /))]
    fn backward<'py>(
        &self,
        py: Python<'py>,
        tape: &Tape,
        dy: &Bound<'py, PyAny>,
        d_state: Option<&Bound<'py, PyAny>>,
        truncate: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        each!(&self.net, net => self.backward_as(py, net, tape, dy, d_state, truncate))
    }
}
