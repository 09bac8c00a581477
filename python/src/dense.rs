//! The dense read-out layer.

use crate::array::{Values, to_numpy};
use crate::compute::{briefly, detached, write};
use crate::number::{Float, Number, each, is_double};
use crate::parameters;
use crate::train::{AdamStep, SgdStep, adam_step, sgd_step};
use pyo3::prelude::*;
use std::sync::RwLock;
use unrolled::dense::Dense as Layer;
use unrolled::rng::Rng;
use unrolled::simd::Level;
use unrolled::train::uniform;

/// y = W x + b.
#[pyclass(frozen, module = "unrolled._native")]
pub struct Dense {
    sizes: (usize, usize),
    bias: bool,
    layer: Float<RwLock<Layer<f32>>, RwLock<Layer<f64>>>,
}

#[pymethods]
impl Dense {
    #[new]
    fn new(
        py: Python<'_>,
        in_features: usize,
        out_features: usize,
        bias: bool,
        dtype: &str,
    ) -> PyResult<Self> {
        let level = Level::best();
        let layer = if is_double(dtype)? {
            let layer = detached(py, || Layer::new(in_features, out_features, bias, level))?;
            Float::F64(RwLock::new(layer))
        } else {
            let layer = detached(py, || Layer::new(in_features, out_features, bias, level))?;
            Float::F32(RwLock::new(layer))
        };
        Ok(Dense { sizes: (in_features, out_features), bias, layer })
    }

    /// Draws the parameters anew, uniform within ±`bound`.
    fn initialise(&self, py: Python<'_>, bound: f64, seed: u64) -> PyResult<()> {
        each!(&self.layer, layer => detached(py, || write(layer).update(|parameters| {
            uniform(bound, &mut Rng::new(seed), parameters);
            Ok(())
        })))
    }

    /// Names and shapes, in order.
    fn parameter_shapes(&self) -> Vec<(&'static str, Vec<usize>)> {
        let (inputs, outputs) = self.sizes;
        let bias = self.bias.then(|| ("bias", vec![outputs]));
        [("weight", vec![outputs, inputs])].into_iter().chain(bias).collect()
    }

    /// A copy of every parameter, in order.
    fn parameters<'py>(&self, py: Python<'py>) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let shapes = self.parameter_shapes().into_iter().map(|(_, shape)| shape);
        each!(&self.layer, layer => parameters::get(py, layer, shapes))
    }

    /// Replaces every parameter.
    fn load(&self, py: Python<'_>, arrays: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        each!(&self.layer, layer => parameters::set(py, layer, &arrays))
    }

    /// y, flat.
    fn forward<'py>(&self, py: Python<'py>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        fn forward<'py, T: Number>(
            py: Python<'py>,
            layer: &RwLock<Layer<T>>,
            outputs: usize,
            x: &Bound<'py, PyAny>,
        ) -> PyResult<Bound<'py, PyAny>> {
            let x = Values::<T>::typed("x", x)?;
            let x = x.slice()?;
            let work = x.len().saturating_mul(outputs);
            let y = briefly(py, layer, work, |layer| layer.forward(x))?;
            let len = y.len();
            to_numpy(py, y, [len])
        }
        each!(&self.layer, layer => forward(py, layer, self.sizes.1, x))
    }

    /// Gradients by the parameters and by x, both flat.
    fn backward<'py>(
        &self,
        py: Python<'py>,
        x: &Bound<'py, PyAny>,
        dy: &Bound<'py, PyAny>,
    ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
        fn backward<'py, T: Number>(
            py: Python<'py>,
            layer: &RwLock<Layer<T>>,
            outputs: usize,
            x: &Bound<'py, PyAny>,
            dy: &Bound<'py, PyAny>,
        ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
            let (x, dy) = (Values::<T>::typed("x", x)?, Values::<T>::typed("dy", dy)?);
            let (x, dy) = (x.slice()?, dy.slice()?);
            let work = x.len().saturating_mul(outputs).saturating_mul(2);
            let g = briefly(py, layer, work, |layer| layer.backward(x, dy))?;
            let (n, len) = (g.parameters.len(), g.x.len());
            Ok((to_numpy(py, g.parameters, [n])?, to_numpy(py, g.x, [len])?))
        }
        each!(&self.layer, layer => backward(py, layer, self.sizes.1, x, dy))
    }

    /// One step of SGD on all parameters; see `unrolled.optim.SGD`.
    fn sgd_step(
        &self,
        py: Python<'_>,
        step: SgdStep,
        gradients: Vec<Bound<'_, PyAny>>,
        buffer: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        each!(&self.layer, layer => sgd_step(py, layer, step, &gradients, buffer))
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
        each!(&self.layer, layer => adam_step(py, layer, step, &gradients, m, v))
    }
}
