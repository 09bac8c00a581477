//! Networks: parameters in and out, forward, record, backward.

use crate::array::{Steps, Values, room, slice, to_numpy, truths};
use crate::compute::{detached, exception, interruptible, read, write};
use crate::machine::level;
use crate::number::{AnyNetwork, Float, Number, each, is_double};
use crate::parameters;
use crate::tape::Tape;
use crate::train::{AdamStep, SgdStep, adam_step, sgd_step};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::sync::RwLock;
use unrolled::gates::{Activation, CellKind, Config};
use unrolled::network::{Input, Losses, Network as Net, Recording};
use unrolled::rng::derive;
use unrolled::simd::Level;
use unrolled::tape::{Quantity, Tape as CoreTape};
use unrolled::train::{Init, initialise};

/// A network: its parameters and its kernels.
#[pyclass(frozen, module = "unrolled._native")]
pub struct Network {
    pub config: Config,
    pub net: AnyNetwork,
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

/// What comes out of a run: y (T, B, F), h, and c or None.
type Outputs<'py> = (Bound<'py, PyAny>, Bound<'py, PyAny>, Option<Bound<'py, PyAny>>);

/// The arguments of a run, borrowed from Python.
struct Arguments<'py, T: Number> {
    x: Steps<'py, T>,
    h: Option<Values<'py, T>>,
    c: Option<Values<'py, T>>,
    lengths: Option<Vec<usize>>,
    resets: Option<Vec<bool>>,
}

impl<'py, T: Number> Arguments<'py, T> {
    fn new(
        x: &Bound<'py, PyAny>,
        h: Option<&Bound<'py, PyAny>>,
        c: Option<&Bound<'py, PyAny>>,
        lengths: Option<&Bound<'py, PyAny>>,
        resets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let lengths = match Values::<i64>::optional("lengths", lengths)? {
            None => None,
            Some(values) => {
                let values = values.slice()?;
                let mut lengths = room(values.len(), "lengths").map_err(exception)?;
                for &length in values {
                    lengths.push(usize::try_from(length).map_err(|_| {
                        PyValueError::new_err(format!("lengths: expected 0 or more, got {length}"))
                    })?);
                }
                Some(lengths)
            }
        };
        Ok(Arguments {
            x: Steps::new("x", x)?,
            h: Values::optional("state", h)?,
            c: Values::optional("state", c)?,
            lengths,
            resets: truths("resets", resets)?,
        })
    }

    fn input(&self, config: &Config) -> PyResult<Input<'_, T>> {
        let [steps, batch, features] = self.x.shape();
        if features != config.input_size {
            let message = format!("x: expected {} features, got {features}", config.input_size);
            return Err(PyValueError::new_err(message));
        }
        Ok(Input {
            x: self.x.view()?,
            steps,
            batch,
            h: slice(&self.h)?,
            c: slice(&self.c)?,
            lengths: self.lengths.as_deref(),
            resets: self.resets.as_deref().map(|data| unrolled::network::View {
                data,
                time: batch,
                batch: 1,
            }),
        })
    }
}

impl Network {
    /// A run's outputs as arrays.
    fn outputs<'py, T: Number>(
        &self,
        py: Python<'py>,
        steps: usize,
        batch: usize,
        output: unrolled::network::Output<T>,
    ) -> PyResult<Outputs<'py>> {
        let y = to_numpy(py, output.y, &[steps, batch, self.config.output_size()])?;
        let (h, c) = self.states(py, batch, output.h, output.c)?;
        Ok((y.into_any(), h, c))
    }

    /// (layers · directions, B, …) arrays.
    pub fn states<'py, T: Number>(
        &self,
        py: Python<'py>,
        batch: usize,
        h: Vec<T>,
        c: Vec<T>,
    ) -> PyResult<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
        let config = &self.config;
        let cells = config.num_layers * config.num_directions();
        let h = to_numpy(py, h, &[cells, batch, config.state_size()])?.into_any();
        if !config.kind.has_cell_state() {
            return Ok((h, None));
        }
        let c = to_numpy(py, c, &[cells, batch, config.hidden_size])?.into_any();
        Ok((h, Some(c)))
    }

    fn shapes(&self) -> impl Iterator<Item = (String, Vec<usize>)> + use<> {
        self.config.parameters().map(|p| {
            let shape = if p.is_bias() { vec![p.rows] } else { vec![p.rows, p.columns] };
            (p.to_string(), shape)
        })
    }

    fn forward_as<'py, T: Number>(
        &self,
        py: Python<'py>,
        net: &RwLock<Net<T>>,
        arguments: &Arguments<'py, T>,
    ) -> PyResult<Outputs<'py>> {
        let input = arguments.input(&self.config)?;
        let output = interruptible(py, |interrupt| read(net).forward(&input, interrupt))?;
        self.outputs(py, input.steps, input.batch, output)
    }

    fn record_as<'py, T: Number>(
        &self,
        py: Python<'py>,
        net: &RwLock<Net<T>>,
        arguments: &Arguments<'py, T>,
        recording: Recording,
    ) -> PyResult<(Outputs<'py>, Tape)> {
        let input = arguments.input(&self.config)?;
        let (output, tape) =
            interruptible(py, |interrupt| read(net).record(&input, recording, interrupt))?;
        Ok((self.outputs(py, input.steps, input.batch, output)?, Tape(T::wrap(tape))))
    }

    #[allow(clippy::too_many_arguments)]
    fn backward_as<'py, T: Number>(
        &self,
        py: Python<'py>,
        net: &RwLock<Net<T>>,
        tape: &Tape,
        dy: &Bound<'py, PyAny>,
        dh: Option<&Bound<'py, PyAny>>,
        dc: Option<&Bound<'py, PyAny>>,
        truncate: Option<usize>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        let tape = typed_tape::<T>(tape)?;
        let dy = Steps::<T>::new("dy", dy)?;
        let (steps, batch) = (tape.steps(), tape.batch());
        let expected = [steps, batch, self.config.output_size()];
        if dy.shape() != expected {
            let message = format!("dy: expected shape {expected:?}, got {:?}", dy.shape());
            return Err(PyValueError::new_err(message));
        }
        let (dh, dc) = (Values::<T>::optional("dstate", dh)?, Values::<T>::optional("dstate", dc)?);
        let losses = Losses { y: dy.view()?, h: slice(&dh)?, c: slice(&dc)? };
        let g =
            interruptible(py, |interrupt| read(net).backward(tape, &losses, truncate, interrupt))?;
        let n = g.parameters.len();
        let parameters = to_numpy(py, g.parameters, &[n])?;
        let x = to_numpy(py, g.x, &[steps, batch, self.config.input_size])?;
        let (h, c) = self.states(py, batch, g.h, g.c)?;
        (parameters, x, h, c).into_pyobject(py)
    }
}

fn trace<'py, T: Number>(
    py: Python<'py>,
    net: &RwLock<Net<T>>,
    tape: &Tape,
    cell: usize,
    quantity: Quantity,
    len: usize,
) -> PyResult<Bound<'py, PyAny>> {
    let tape = typed_tape::<T>(tape)?;
    let values = detached(py, || read(net).trace(tape, cell, quantity))?;
    Ok(to_numpy(py, values, &[tape.steps(), tape.batch(), len])?.into_any())
}

fn typed_tape<T: Number>(tape: &Tape) -> PyResult<&CoreTape<T>> {
    let expected = "tape: expected one of the network's own float type";
    T::unwrap(&tape.0).ok_or_else(|| PyTypeError::new_err(expected))
}

#[pymethods]
impl Network {
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        cell: &str,
        input_size: usize,
        hidden_size: usize,
        num_layers: usize,
        bias: bool,
        bidirectional: bool,
        proj_size: usize,
        dtype: &str,
    ) -> PyResult<Self> {
        let kind = cell_kind(cell)?;
        let config =
            Config { kind, input_size, hidden_size, proj_size, num_layers, bidirectional, bias };
        let level = Level::best();
        let net = if is_double(dtype)? {
            Float::F64(RwLock::new(detached(py, || Net::new(config, level))?))
        } else {
            Float::F32(RwLock::new(detached(py, || Net::new(config, level))?))
        };
        Ok(Network { config, net })
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
        let config = self.config;
        each!(&self.net, net => detached(py, || {
            write(net).update(|p| initialise(&config, init, forget_bias, seed, p))
        }))
    }

    /// Names and shapes, in order.
    fn parameter_shapes(&self) -> Vec<(String, Vec<usize>)> {
        self.shapes().collect()
    }

    /// A copy of every parameter, in order.
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let shapes = self.shapes().map(|(_, shape)| shape);
        each!(&self.net, net => parameters::get(py, net, shapes))
    }

    /// Replaces every parameter.
    fn load(&self, py: Python<'_>, arrays: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        each!(&self.net, net => parameters::set(py, net, &arrays))
    }

    /// The instruction set of its kernels.
    #[getter]
    fn isa(&self, py: Python<'_>) -> &'static str {
        each!(&self.net, net => py.detach(|| read(net).level().isa().name()))
    }

    /// Goes over to the kernels of another instruction set.
    fn set_isa(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        let level = level(name)?;
        each!(&self.net, net => detached(py, || write(net).set_level(level)))
    }

    #[pyo3(signature = (x, h, c, lengths, resets))]
    fn forward<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        h: Option<&Bound<'py, PyAny>>,
        c: Option<&Bound<'py, PyAny>>,
        lengths: Option<&Bound<'py, PyAny>>,
        resets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Outputs<'py>> {
        each!(&self.net, net => {
            self.forward_as(py, net, &Arguments::new(x, h, c, lengths, resets)?)
        })
    }

    /// `checkpoint`: 0 for "auto". `dropout`: seed, number of the call, probability.
    #[pyo3(signature = (x, h, c, lengths, resets, checkpoint, dropout))]
    #[allow(clippy::too_many_arguments)]
    fn record<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        h: Option<&Bound<'py, PyAny>>,
        c: Option<&Bound<'py, PyAny>>,
        lengths: Option<&Bound<'py, PyAny>>,
        resets: Option<&Bound<'py, PyAny>>,
        checkpoint: Option<usize>,
        dropout: Option<(u64, u64, f64)>,
    ) -> PyResult<(Outputs<'py>, Tape)> {
        let dropout = dropout.map(|(seed, call, p)| (derive(seed, call), p));
        let recording = Recording { checkpoint, dropout };
        each!(&self.net, net => {
            self.record_as(py, net, &Arguments::new(x, h, c, lengths, resets)?, recording)
        })
    }

    /// Gradients by the parameters (flat), x, h and c.
    #[pyo3(signature = (tape, dy, dh, dc, truncate))]
    fn backward<'py>(
        &self,
        py: Python<'py>,
        tape: &Tape,
        dy: &Bound<'py, PyAny>,
        dh: Option<&Bound<'py, PyAny>>,
        dc: Option<&Bound<'py, PyAny>>,
        truncate: Option<usize>,
    ) -> PyResult<Bound<'py, PyTuple>> {
        each!(&self.net, net => self.backward_as(py, net, tape, dy, dh, dc, truncate))
    }

    /// What a tape recorded: (T, B, values). `cell` counts layers · directions; `quantity` is "hidden", "cell"
    /// or "gates".
    fn trace<'py>(
        &self,
        py: Python<'py>,
        tape: &Tape,
        cell: usize,
        quantity: &str,
    ) -> PyResult<Bound<'py, PyAny>> {
        let config = &self.config;
        let (quantity, len) = match quantity {
            "hidden" => (Quantity::Hidden, config.state_size()),
            "cell" => (Quantity::Cell, config.hidden_size),
            "gates" => (Quantity::Gates, config.num_gates() * config.hidden_size),
            _ => {
                let message =
                    format!("quantity: expected 'hidden', 'cell' or 'gates', got '{quantity}'");
                return Err(PyValueError::new_err(message));
            }
        };
        each!(&self.net, net => trace(py, net, tape, cell, quantity, len))
    }

    /// One step of SGD on all parameters; see `unrolled.optim.SGD`.
    fn sgd_step(
        &self,
        py: Python<'_>,
        step: SgdStep,
        gradients: Vec<Bound<'_, PyAny>>,
        buffer: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        each!(&self.net, net => sgd_step(py, net, step, &gradients, buffer))
    }

    /// One step of Adam on all parameters; see `unrolled.optim.Adam`.
    fn adam_step(
        &self,
        py: Python<'_>,
        step: AdamStep,
        gradients: Vec<Bound<'_, PyAny>>,
        m: &Bound<'_, PyAny>,
        v: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        each!(&self.net, net => adam_step(py, net, step, &gradients, m, v))
    }
}
