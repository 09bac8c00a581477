//! Losses and clipping on NumPy's memory.

use crate::array::{Changing, Values, to_numpy, truths, zeros};
use crate::compute::{exception, unlocked};
use crate::number::Number;
use numpy::PyArrayDyn;
use pyo3::prelude::*;
use unrolled::error::Error;
use unrolled::train;

/// A loss's value and its flat gradient.
type Loss<'py> = (f64, Bound<'py, PyAny>);

/// What an element of a loss costs, in multiply-adds.
const ELEMENT: usize = 16;

/// Whether an array's numbers are float64; what is neither that nor float32 is refused further on.
fn is_double(array: &Bound<'_, PyAny>) -> bool {
    array.cast::<PyArrayDyn<f64>>().is_ok()
}

/// A loss of elements.
type Elementwise<T> = fn(&[T], &[T], Option<&[bool]>, &mut [T]) -> Result<f64, Error>;

fn elementwise<'py, T: Number>(
    loss: Elementwise<T>,
    prediction: &Bound<'py, PyAny>,
    target: &Bound<'py, PyAny>,
    mask: Option<&Bound<'py, PyAny>>,
) -> PyResult<Loss<'py>> {
    let py = prediction.py();
    let prediction = Values::<T>::typed("prediction", prediction)?;
    let target = Values::<T>::typed("target", target)?;
    let mask = mask.map(|mask| truths("mask", mask)).transpose()?;
    let (prediction, target) = (prediction.slice()?, target.slice()?);
    let (value, gradient) = unlocked(py, prediction.len().saturating_mul(ELEMENT), || {
        let mut gradient = zeros(prediction.len(), "gradient")?;
        Ok((loss(prediction, target, mask.as_deref(), &mut gradient)?, gradient))
    })?;
    let len = gradient.len();
    Ok((value, to_numpy(py, gradient, [len])?))
}

#[pyfunction]
#[pyo3(signature = (prediction, target, mask))]
pub fn mse<'py>(
    prediction: &Bound<'py, PyAny>,
    target: &Bound<'py, PyAny>,
    mask: Option<&Bound<'py, PyAny>>,
) -> PyResult<Loss<'py>> {
    if is_double(prediction) {
        elementwise::<f64>(train::mse, prediction, target, mask)
    } else {
        elementwise::<f32>(train::mse, prediction, target, mask)
    }
}

#[pyfunction]
#[pyo3(signature = (logits, target, mask))]
pub fn binary_cross_entropy_with_logits<'py>(
    logits: &Bound<'py, PyAny>,
    target: &Bound<'py, PyAny>,
    mask: Option<&Bound<'py, PyAny>>,
) -> PyResult<Loss<'py>> {
    if is_double(logits) {
        elementwise::<f64>(train::binary_cross_entropy_with_logits, logits, target, mask)
    } else {
        elementwise::<f32>(train::binary_cross_entropy_with_logits, logits, target, mask)
    }
}

#[pyfunction]
#[pyo3(signature = (logits, classes, target, mask))]
pub fn cross_entropy<'py>(
    logits: &Bound<'py, PyAny>,
    classes: usize,
    target: &Bound<'py, PyAny>,
    mask: Option<&Bound<'py, PyAny>>,
) -> PyResult<Loss<'py>> {
    fn typed<'py, T: Number>(
        logits: &Bound<'py, PyAny>,
        classes: usize,
        target: &Bound<'py, PyAny>,
        mask: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Loss<'py>> {
        let py = logits.py();
        let logits = Values::<T>::typed("logits", logits)?;
        let target = Values::<i64>::typed("target", target)?;
        let mask = mask.map(|mask| truths("mask", mask)).transpose()?;
        let (logits, target) = (logits.slice()?, target.slice()?);
        let (value, gradient) = unlocked(py, logits.len().saturating_mul(ELEMENT), || {
            let mut gradient = zeros(logits.len(), "gradient")?;
            let mask = mask.as_deref();
            Ok((train::cross_entropy(logits, classes, target, mask, &mut gradient)?, gradient))
        })?;
        let len = gradient.len();
        Ok((value, to_numpy(py, gradient, [len])?))
    }
    if is_double(logits) {
        typed::<f64>(logits, classes, target, mask)
    } else {
        typed::<f32>(logits, classes, target, mask)
    }
}

/// The 2-norm of all arrays together; they are of one type.
#[pyfunction]
pub fn global_norm(py: Python<'_>, arrays: Vec<Bound<'_, PyAny>>) -> PyResult<f64> {
    fn norm<T: Number>(py: Python<'_>, arrays: &[Bound<'_, PyAny>]) -> PyResult<f64> {
        let values: Vec<_> =
            arrays.iter().map(|a| Values::<T>::typed("grads", a)).collect::<PyResult<_>>()?;
        let slices: Vec<_> = values.iter().map(Values::slice).collect::<PyResult<_>>()?;
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        unlocked(py, len, || Ok(train::global_norm(slices)))
    }
    match arrays.first() {
        Some(array) if is_double(array) => norm::<f64>(py, &arrays),
        _ => norm::<f32>(py, &arrays),
    }
}

/// What to multiply gradients of that norm by.
#[pyfunction]
pub fn clip_coefficient(norm: f64, max_norm: f64) -> PyResult<f64> {
    train::clip_coefficient(norm, max_norm).map_err(exception)
}

/// Multiplies the arrays by a number, in place: all of them before anything else happens.
#[pyfunction]
pub fn scale(arrays: Vec<Bound<'_, PyAny>>, factor: f64) -> PyResult<()> {
    let (mut singles, mut doubles) = (Vec::new(), Vec::new());
    for array in &arrays {
        if is_double(array) {
            doubles.push(Changing::<f64>::new("grads", array)?);
        } else {
            singles.push(Changing::<f32>::new("grads", array)?);
        }
    }
    singles.iter_mut().try_for_each(|array| array.change(|all| train::scale(factor, all)))?;
    doubles.iter_mut().try_for_each(|array| array.change(|all| train::scale(factor, all)))
}
