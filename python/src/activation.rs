//! Activations between layers.

use crate::array::{Values, copied, to_numpy};
use crate::compute::unlocked;
use crate::number::{Number, is_double};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use unrolled::activation::Function;
use unrolled::simd::Level;

/// About what a value of these functions costs, in multiply-adds.
const WORK: usize = 16;

fn named(name: &str, alpha: f64, beta: f64) -> PyResult<Function> {
    Ok(match name {
        "tanh" => Function::Tanh,
        "relu" => Function::Relu,
        "sigmoid" => Function::Sigmoid,
        "softmax" => Function::Softmax,
        "elu" => Function::Elu { alpha },
        "leaky_relu" => Function::LeakyRelu { alpha },
        "hard_sigmoid" => Function::HardSigmoid { alpha, beta },
        "softsign" => Function::Softsign,
        "silu" => Function::Silu,
        _ => return Err(PyValueError::new_err(format!("function: no such function, {name:?}"))),
    })
}

/// The function of every value (of every row, for softmax), flat.
#[pyfunction]
pub fn activate<'py>(
    py: Python<'py>,
    dtype: &str,
    function: (&str, f64, f64),
    row: usize,
    x: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    fn run<'py, T: Number>(
        py: Python<'py>,
        function: Function,
        row: usize,
        x: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let x = Values::<T>::typed("x", x)?;
        let x = x.slice()?;
        let y = unlocked(py, x.len().saturating_mul(WORK), || {
            let mut y = copied(x, "outputs")?;
            function.apply(Level::best(), &mut y, row);
            Ok(y)
        })?;
        let len = y.len();
        to_numpy(py, y, [len])
    }
    let function = named(function.0, function.1, function.2)?;
    if is_double(dtype)? {
        run::<f64>(py, function, row, x)
    } else {
        run::<f32>(py, function, row, x)
    }
}

/// The derivative by x, flat, from that by y: `x` and `y` are what went in and came out.
#[pyfunction]
pub fn activate_backward<'py>(
    py: Python<'py>,
    dtype: &str,
    function: (&str, f64, f64),
    row: usize,
    x: &Bound<'py, PyAny>,
    y: &Bound<'py, PyAny>,
    dy: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    fn run<'py, T: Number>(
        py: Python<'py>,
        function: Function,
        row: usize,
        [x, y, dy]: [&Bound<'py, PyAny>; 3],
    ) -> PyResult<Bound<'py, PyAny>> {
        let x = Values::<T>::typed("x", x)?;
        let y = Values::<T>::typed("y", y)?;
        let dy = Values::<T>::typed("dy", dy)?;
        let (x, y, dy) = (x.slice()?, y.slice()?, dy.slice()?);
        let d_x = unlocked(py, x.len().saturating_mul(WORK), || {
            let mut d = copied(dy, "gradients")?;
            function.backward(Level::best(), x, y, &mut d, row);
            Ok(d)
        })?;
        let len = d_x.len();
        to_numpy(py, d_x, [len])
    }
    let function = named(function.0, function.1, function.2)?;
    let arrays = [x, y, dy];
    if is_double(dtype)? {
        run::<f64>(py, function, row, arrays)
    } else {
        run::<f32>(py, function, row, arrays)
    }
}
