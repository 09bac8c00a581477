//! One time step a call.

use crate::arguments::{STATE, array, shaped, state_arrays, states};
use crate::array::{Values, copied, zeros};
use crate::axes::Axes;
use crate::compute::{detached, exception, is_brief};
use crate::network::Network;
use crate::number::{AnyShared, Float, Number, each};
use crate::shared::Shared;
use numpy::PyArray1;
use numpy::ndarray::{ArrayView, ShapeError};
use numpy::prelude::*;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use std::sync::Arc;
use unrolled::error::Error;
use unrolled::network::Network as Net;

/// A stream and room for its output.
pub struct Running<T: Number> {
    stream: unrolled::stream::NetworkStream<T>,
    y: Vec<T>,
    /// The stream before its last step, if that may have to be undone.
    before: Option<unrolled::stream::NetworkStream<T>>,
    /// Steps taken.
    count: u64,
}

impl<T: Number> Running<T> {
    fn copy(&self) -> Result<Self, Error> {
        Ok(Running {
            stream: self.stream.copy()?,
            y: copied(&self.y, "output")?,
            before: self.before.as_ref().map(|before| before.copy()).transpose()?,
            count: self.count,
        })
    }

    fn step(&mut self, net: &Net<T>, x: &[T]) -> Result<(), Error> {
        if let Some(before) = &mut self.before {
            before.go_to(&self.stream)?;
        }
        net.step(&mut self.stream, x, &mut self.y)?;
        self.count += 1;
        Ok(())
    }

    /// Goes back to where it was after so many steps, if that was one step ago.
    fn undo(&mut self, count: u64) -> Result<(), Error> {
        if let Some(before) = &self.before
            && count + 1 == self.count
        {
            self.stream.go_to(before)?;
            self.count = count;
        }
        Ok(())
    }
}

/// A network that is fed one step at a time.
#[pyclass(frozen, subclass, module = "unrolled._native")]
pub struct Stream {
    network: Py<Network>,
    batch: usize,
    running: AnyShared<Running<f32>, Running<f64>>,
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
        net: &Shared<Net<T>>,
        batch: usize,
        undone: bool,
    ) -> PyResult<Shared<Running<T>>> {
        let net = net.get(py);
        let running = detached(py, || {
            let stream = net.stream(batch)?;
            let y = zeros(batch * net.config().output_size(), "output")?;
            let before = undone.then(|| stream.copy()).transpose()?;
            Ok(Running { stream, y, before, count: 0 })
        })?;
        Ok(Shared::new(running))
    }

    fn step_as<'py, T: Number>(
        &self,
        net: &Shared<Net<T>>,
        running: &Shared<Running<T>>,
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
        let x = Values::new("x", &x, 0)?;
        let x = x.slice()?;
        let net = net.get(py);
        if is_brief(network.work(1, self.batch)) {
            let y = running.change(py, Running::copy, |running| {
                running.step(&net, x)?;
                Ok(self.shown(py, alone, &running.y))
            });
            return y.map_err(exception)?;
        }
        loop {
            let before = running.get(py);
            let after = detached(py, || {
                let mut after = before.copy()?;
                after.step(&net, x)?;
                Ok(Arc::new(after))
            })?;
            // Other threads' steps come before or after this one.
            if running.is(py, &before) {
                running.set(py, after.clone());
                return self.shown(py, alone, &after.y);
            }
            py.check_signals()?;
        }
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
        net: &Shared<Net<T>>,
        running: &Shared<Running<T>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let state = net.get(py).stream_state(&running.get(py).stream);
        self.network.get().state(py, state, self.batch, false)
    }

    fn set_state_as<'py, T: Number>(
        &self,
        py: Python<'py>,
        net: &Shared<Net<T>>,
        running: &Shared<Running<T>>,
        state: &Bound<'py, PyAny>,
        unbatched: bool,
    ) -> PyResult<()> {
        let axes = Axes { batch_first: false, unbatched };
        let config = &self.network.get().config;
        let given = states::<T>(config, STATE, Some(state), self.batch, axes)?.values()?;
        let Some(given) = state_arrays(&given)? else { return Ok(()) };
        let net = net.get(py);
        running
            .change(py, Running::copy, |running| net.set_stream_state(&mut running.stream, given))
            .map_err(exception)
    }
}

#[pymethods]
impl Stream {
    /// `undone`: whether the last step may have to be undone.
    #[new]
    #[pyo3(signature = (network, batch, undone = false))]
    fn new(py: Python<'_>, network: Py<Network>, batch: usize, undone: bool) -> PyResult<Self> {
        let running = match &network.get().net {
            Float::F32(net) => Float::F32(Self::start(py, net, batch, undone)?),
            Float::F64(net) => Float::F64(Self::start(py, net, batch, undone)?),
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
    fn reset(&self, py: Python<'_>) -> PyResult<()> {
        each!(&self.running, running => running.change(py, Running::copy, |running| {
            running.stream.reset();
            Ok(())
        }))
        .map_err(exception)
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

    /// Steps taken.
    #[getter]
    fn count(&self, py: Python<'_>) -> u64 {
        each!(&self.running, running => running.get(py).count)
    }
}

/// Undoes the last step of those streams that have taken more than `count`.
#[pyfunction]
pub fn undo(py: Python<'_>, streams: Vec<Bound<'_, Stream>>, count: u64) -> PyResult<()> {
    streams.iter().try_for_each(|stream| {
        each!(&stream.get().running, running => {
            running.change(py, Running::copy, |running| running.undo(count))
        })
        .map_err(exception)
    })
}
