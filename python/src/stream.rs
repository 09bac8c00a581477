//! One time step a call.

use crate::arguments::{Layout, STATE, array, shaped, states};
use crate::array::{Values, copied, slice, zeros};
use crate::compute::{WORTH_DETACHING, detached, exception, read};
use crate::network::Network;
use crate::number::{Float, Number};
use numpy::PyArray1;
use numpy::ndarray::{ArrayView, ShapeError};
use numpy::prelude::*;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock};
use unrolled::network::Network as Net;

/// A stream and room for its output. Its lock is taken before the network's, always.
pub struct Running<T: Number> {
    stream: unrolled::stream::Stream<T>,
    y: Vec<T>,
}

/// A network that is fed one step at a time.
#[pyclass(frozen, subclass, module = "unrolled._native")]
pub struct Stream {
    network: Py<Network>,
    batch: usize,
    running: Float<Mutex<Running<f32>>, Mutex<Running<f64>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something with the network and the stream, which are of one type.
macro_rules! both {
    ($this:expr, ($net:ident, $running:ident) => $body:expr) => {
        match (&$this.network.get().net, &$this.running) {
            (Float::F32($net), Float::F32($running)) => $body,
            (Float::F64($net), Float::F64($running)) => $body,
            // They were made together, in `new`.
            _ => Err(PyValueError::new_err("stream: its network has another type")),
        }
    };
}

impl Stream {
    fn start<T: Number>(
        py: Python<'_>,
        net: &RwLock<Net<T>>,
        batch: usize,
    ) -> PyResult<Mutex<Running<T>>> {
        let running = detached(py, || {
            let net = read(net);
            let stream = net.stream(batch)?;
            let y = zeros(batch * net.config().output_size(), "output")?;
            Ok(Running { stream, y })
        })?;
        Ok(Mutex::new(running))
    }

    fn step_as<'py, T: Number>(
        &self,
        net: &RwLock<Net<T>>,
        running: &Mutex<Running<T>>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = x.py();
        let x = array::<T>("x", x)?;
        let network = self.network.get();
        let features = network.config.input_size;
        let alone = match *x.shape() {
            [i] if self.batch == 1 && i == features => true,
            [b, i] if b == self.batch && i == features => false,
            _ => {
                let alone =
                    if self.batch == 1 { format!("({features},) or ") } else { String::new() };
                let axes = format!("{alone}(B, I)");
                shaped("x", x.shape(), &axes, &[self.batch, features])?;
                false
            }
        };
        let x = Values::new("x", &x)?;
        let x = x.slice()?;
        let step = |running: &mut Running<T>, net: &Net<T>| {
            net.step(&mut running.stream, x, &mut running.y)
        };
        if network.work(1, self.batch) < WORTH_DETACHING
            && let Ok(mut running) = running.try_lock()
            && let Ok(net) = net.try_read()
        {
            step(&mut running, &net).map_err(exception)?;
            return self.shown(py, alone, &running.y);
        }
        // Locks are waited for without the interpreter's, which their holder may be waiting for.
        let y = detached(py, || {
            let mut running = lock(running);
            step(&mut running, &read(net))?;
            copied(&running.y, "output")
        })?;
        self.shown(py, alone, &y)
    }

    /// y as (B, H), or as (H,) if x came alone.
    fn shown<'py, T: Number>(
        &self,
        py: Python<'py>,
        alone: bool,
        y: &[T],
    ) -> PyResult<Bound<'py, PyAny>> {
        if alone {
            return Ok(PyArray1::from_slice(py, y).into_any());
        }
        let wrong = |error: ShapeError| PyValueError::new_err(error.to_string());
        let shape = [self.batch, y.len() / self.batch.max(1)];
        Ok(ArrayView::from_shape(shape, y).map_err(wrong)?.to_pyarray(py).into_any())
    }

    fn state_as<'py, T: Number>(
        &self,
        py: Python<'py>,
        net: &RwLock<Net<T>>,
        running: &Mutex<Running<T>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let state = py.detach(|| {
            let running = lock(running);
            read(net).stream_state(&running.stream)
        });
        self.network.get().state(py, state, self.batch, false)
    }

    fn set_state_as<'py, T: Number>(
        &self,
        py: Python<'py>,
        net: &RwLock<Net<T>>,
        running: &Mutex<Running<T>>,
        state: &Bound<'py, PyAny>,
        unbatched: bool,
    ) -> PyResult<()> {
        let layout = Layout { batch_first: false, unbatched };
        let config = &self.network.get().config;
        let (h, c) = states::<T>(config, STATE, Some(state), self.batch, layout)?;
        let h = slice(&h)?.unwrap_or_default();
        let c = slice(&c)?.unwrap_or_default();
        detached(py, || {
            let mut running = lock(running);
            read(net).set_stream_state(&mut running.stream, h, c)
        })
    }
}

#[pymethods]
impl Stream {
    #[new]
    fn new(py: Python<'_>, network: Py<Network>, batch: usize) -> PyResult<Self> {
        let running = match &network.get().net {
            Float::F32(net) => Float::F32(Self::start(py, net, batch)?),
            Float::F64(net) => Float::F64(Self::start(py, net, batch)?),
        };
        Ok(Stream { network, batch, running })
    }

    /// Feed one time step.
    ///
    /// Parameters
    /// ----------
    /// x : array (B, I), or (I,) if B is 1
    ///
    /// Returns
    /// -------
    /// y : array (B, H), or (H,) if x has one axis
    ///     The output at this step, bit for bit what a call on the whole sequence gives.
    fn step<'py>(&self, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        both!(self, (net, running) => self.step_as(net, running, x))
    }

    /// Go back to a state of zeros.
    fn reset(&self, py: Python<'_>) {
        match &self.running {
            Float::F32(running) => py.detach(|| lock(running).stream.reset()),
            Float::F64(running) => py.detach(|| lock(running).stream.reset()),
        }
    }

    /// The number of rows, B.
    #[getter]
    fn batch(&self) -> usize {
        self.batch
    }

    fn get_state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        both!(self, (net, running) => self.state_as(py, net, running))
    }

    /// `unbatched`: whether it has no axis of rows.
    fn set_state<'py>(
        &self,
        py: Python<'py>,
        state: &Bound<'py, PyAny>,
        unbatched: bool,
    ) -> PyResult<()> {
        both!(self, (net, running) => self.set_state_as(py, net, running, state, unbatched))
    }
}
