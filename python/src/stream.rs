//! One time step a call.

use crate::array::{Values, copied, slice, zeros};
use crate::compute::{detached, exception, read};
use crate::network::Network;
use crate::number::{Float, Number};
use numpy::prelude::*;
use numpy::{PyArray1, PyArrayDyn, PyUntypedArray};
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

/// Multiply-adds from which a step lasts longer than letting go of the interpreter's lock and taking it again.
const WORTH_DETACHING: usize = 100_000;

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

    /// x as an array of the right type and shape, contiguous and aligned.
    fn checked<'py, T: Number>(
        &self,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
        let py = x.py();
        let mut array = match x.cast::<PyArrayDyn<T>>() {
            Ok(array) if x.is_exact_instance_of::<PyUntypedArray>() => array.clone(),
            _ => {
                let check = py.import("unrolled._arguments")?.getattr("array")?;
                check.call1(("x", x, T::NAME))?.cast_into::<PyArrayDyn<T>>()?
            }
        };
        let features = self.network.get().config.input_size;
        let fits = match *array.shape() {
            [i] => self.batch == 1 && i == features,
            [b, i] => b == self.batch && i == features,
            _ => false,
        };
        if !fits {
            let alone = if self.batch == 1 { format!("({features},) or ") } else { String::new() };
            let got = array.getattr("shape")?;
            return Err(PyValueError::new_err(format!(
                "x: expected shape {alone}(B, I) = ({}, {features}), got {got}",
                self.batch
            )));
        }
        if !array.is_c_contiguous() || !array.is_aligned() {
            array = array.call_method0("copy")?.cast_into::<PyArrayDyn<T>>()?;
        }
        Ok(array)
    }

    fn step_as<'py, T: Number>(
        &self,
        net: &RwLock<Net<T>>,
        running: &Mutex<Running<T>>,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = x.py();
        let x = self.checked::<T>(x)?;
        let axes = x.ndim();
        let x = x.try_readonly()?;
        let values = x.as_slice()?;
        let step = |running: &mut Running<T>, net: &Net<T>| {
            net.step(&mut running.stream, values, &mut running.y)
        };
        let short = self.network.get().config.num_parameters() * self.batch < WORTH_DETACHING;
        let y = if short
            && let Ok(mut running) = running.try_lock()
            && let Ok(net) = net.try_read()
        {
            step(&mut running, &net).map_err(exception)?;
            PyArray1::from_slice(py, &running.y)
        } else {
            // Locks are waited for without the interpreter's, which their holder may be waiting for.
            let y = detached(py, || {
                let mut running = lock(running);
                step(&mut running, &read(net))?;
                copied(&running.y, "output")
            })?;
            PyArray1::from_vec(py, y)
        };
        if axes == 1 {
            Ok(y.into_any())
        } else {
            Ok(y.reshape([self.batch, y.len() / self.batch.max(1)])?.into_any())
        }
    }

    fn state_as<'py, T: Number>(
        &self,
        py: Python<'py>,
        net: &RwLock<Net<T>>,
        running: &Mutex<Running<T>>,
    ) -> PyResult<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
        let (h, c) = py.detach(|| {
            let running = lock(running);
            read(net).stream_state(&running.stream)
        });
        self.network.get().states(py, self.batch, h, c)
    }

    fn set_state_as<T: Number>(
        &self,
        py: Python<'_>,
        net: &RwLock<Net<T>>,
        running: &Mutex<Running<T>>,
        h: &Bound<'_, PyAny>,
        c: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let (h, c) = (Values::<T>::new("state", h)?, Values::<T>::optional("state", c)?);
        let (h, c) = (h.slice()?, slice(&c)?.unwrap_or_default());
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

    /// h and c, which is None for cells without.
    fn get_state<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(Bound<'py, PyAny>, Option<Bound<'py, PyAny>>)> {
        both!(self, (net, running) => self.state_as(py, net, running))
    }

    #[pyo3(signature = (h, c))]
    fn set_state(
        &self,
        py: Python<'_>,
        h: &Bound<'_, PyAny>,
        c: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        both!(self, (net, running) => self.set_state_as(py, net, running, h, c))
    }
}
