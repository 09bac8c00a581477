//! The dense read-out layer.

use crate::array::{Values, to_numpy, zeros};
use crate::compute::{detached, unlocked};
use crate::number::{AnyShared, Float, Number, each, is_double};
use crate::parameters;
use crate::shared::Shared;
use pyo3::prelude::*;
use std::sync::Arc;
use unrolled::dense::Dense as Layer;
use unrolled::rng::Rng;
use unrolled::simd::Level;
use unrolled::train::uniform;

/// y = W x + b.
#[pyclass(frozen, module = "unrolled._native")]
pub struct Dense {
    sizes: (usize, usize),
    bias: bool,
    pub layer: AnyShared<Layer<f32>, Layer<f64>>,
}

impl Dense {
    /// Another that stays as this one is now.
    pub fn snapshot(&self, py: Python<'_>) -> Self {
        let layer = match &self.layer {
            Float::F32(layer) => Float::F32(layer.snapshot(py)),
            Float::F64(layer) => Float::F64(layer.snapshot(py)),
        };
        Dense { sizes: self.sizes, bias: self.bias, layer }
    }
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
            Float::F64(Shared::new(layer))
        } else {
            let layer = detached(py, || Layer::new(in_features, out_features, bias, level))?;
            Float::F32(Shared::new(layer))
        };
        Ok(Dense { sizes: (in_features, out_features), bias, layer })
    }

    /// Draws the parameters anew, uniform within ±`bound`.
    fn initialise(&self, py: Python<'_>, bound: f64, seed: u64) -> PyResult<()> {
        each!(&self.layer, layer => {
            let old = layer.get(py);
            let new = detached(py, || {
                let mut parameters = zeros(old.parameters().len(), "parameters")?;
                uniform(bound, &mut Rng::new(seed), &mut parameters);
                Ok(Arc::new(old.with_parameters(parameters)?))
            })?;
            layer.set(py, new);
        });
        Ok(())
    }

    /// Whether `other` has the very same parameters, and not others however alike.
    fn is_as(&self, py: Python<'_>, other: &Dense) -> bool {
        match (&self.layer, &other.layer) {
            (Float::F32(own), Float::F32(other)) => own.is(py, &other.get(py)),
            (Float::F64(own), Float::F64(other)) => own.is(py, &other.get(py)),
            _ => false,
        }
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
        each!(&self.layer, layer => parameters::get(py, &*layer.get(py), shapes))
    }

    /// y, flat.
    fn forward<'py>(&self, py: Python<'py>, x: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        fn forward<'py, T: Number>(
            py: Python<'py>,
            layer: &Shared<Layer<T>>,
            outputs: usize,
            x: &Bound<'py, PyAny>,
        ) -> PyResult<Bound<'py, PyAny>> {
            let x = Values::<T>::typed("x", x)?;
            let (x, layer) = (x.slice()?, layer.get(py));
            let work = x.len().saturating_mul(outputs);
            let y = unlocked(py, work, || layer.forward(x))?;
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
            layer: &Shared<Layer<T>>,
            outputs: usize,
            x: &Bound<'py, PyAny>,
            dy: &Bound<'py, PyAny>,
        ) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyAny>)> {
            let (x, dy) = (Values::<T>::typed("x", x)?, Values::<T>::typed("dy", dy)?);
            let (x, dy, layer) = (x.slice()?, dy.slice()?, layer.get(py));
            let work = x.len().saturating_mul(outputs).saturating_mul(2);
            let g = unlocked(py, work, || layer.backward(x, dy))?;
            let (n, len) = (g.parameters.len(), g.x.len());
            Ok((to_numpy(py, g.parameters, [n])?, to_numpy(py, g.x, [len])?))
        }
        each!(&self.layer, layer => backward(py, layer, self.sizes.1, x, dy))
    }
}
