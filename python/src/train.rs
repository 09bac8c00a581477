//! Losses, optimisers and clipping on NumPy's memory.

use crate::array::{Values, to_numpy, truths, writeable, zeros};
use crate::compute::{detached, exception, unlocked};
use crate::number::Number;
use crate::parameters::{Parameters, check_length};
use numpy::PyArrayDyn;
use pyo3::prelude::*;
use unrolled::error::Error;
use unrolled::train::{self, Adam, Sgd};

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

/// Multiplies the arrays, which are of one type, by a number, in place.
#[pyfunction]
pub fn scale(py: Python<'_>, arrays: Vec<Bound<'_, PyAny>>, factor: f64) -> PyResult<()> {
    fn scale<T: Number>(py: Python<'_>, arrays: &[Bound<'_, PyAny>], factor: f64) -> PyResult<()> {
        let mut values: Vec<_> =
            arrays.iter().map(|a| writeable::<T>("grads", a)).collect::<PyResult<_>>()?;
        let slices: Vec<_> =
            values.iter_mut().map(|v| v.as_slice_mut()).collect::<Result<_, _>>()?;
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        unlocked(py, len, || {
            for slice in slices {
                train::scale(factor, slice);
            }
            Ok(())
        })
    }
    match arrays.first() {
        Some(array) if is_double(array) => scale::<f64>(py, &arrays, factor),
        _ => scale::<f32>(py, &arrays, factor),
    }
}

/// Gradients, one array for each parameter.
fn gradients<'py, T: Number>(arrays: &[Bound<'py, PyAny>]) -> PyResult<Vec<Values<'py, T>>> {
    arrays.iter().map(|array| Values::typed("grads", array)).collect()
}

/// Step (from 1), learning rate, momentum, dampening, weight decay, whether Nesterov's.
pub type SgdStep = (u64, f64, f64, f64, f64, bool);

fn sgd(step: SgdStep) -> PyResult<(u64, Sgd)> {
    let (t, lr, momentum, dampening, weight_decay, nesterov) = step;
    let sgd = Sgd { lr, momentum, dampening, weight_decay, nesterov };
    sgd.validate().map_err(exception)?;
    Ok((t, sgd))
}

/// Refuses hyper-parameters that make no sense.
#[pyfunction]
pub fn check_sgd(step: SgdStep) -> PyResult<()> {
    sgd(step).map(|_| ())
}

/// One step of SGD; the buffer is as long as the parameters, or empty without momentum.
pub fn sgd_step<T: Number>(
    py: Python<'_>,
    module: &impl Parameters<T>,
    step: SgdStep,
    arrays: &[Bound<'_, PyAny>],
    buffer: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (t, sgd) = sgd(step)?;
    let values = gradients::<T>(arrays)?;
    let slices: Vec<_> = values.iter().map(Values::slice).collect::<PyResult<_>>()?;
    let mut buffer = writeable::<T>("buffer", buffer)?;
    let buffer = buffer.as_slice_mut()?;
    detached(py, || {
        module.update(|parameters| {
            check_length("grads", parameters.len(), slices.iter().map(|s| s.len()).sum())?;
            if sgd.momentum != 0.0 {
                check_length("buffer", parameters.len(), buffer.len())?;
            }
            let mut at = 0;
            for gradient in slices {
                let own = at..at + gradient.len();
                let buffer =
                    if sgd.momentum == 0.0 { &mut [][..] } else { &mut buffer[own.clone()] };
                at = own.end;
                sgd.step(t, &mut parameters[own], gradient, buffer)?;
            }
            Ok(())
        })
    })
}

/// Step (from 1), learning rate, β₁, β₂, ε, weight decay, whether that is decoupled.
pub type AdamStep = (u64, f64, f64, f64, f64, f64, bool);

fn adam(step: AdamStep) -> PyResult<(u64, Adam)> {
    let (t, lr, beta1, beta2, eps, weight_decay, decoupled) = step;
    let adam = Adam { lr, betas: (beta1, beta2), eps, weight_decay, decoupled };
    adam.validate().map_err(exception)?;
    Ok((t, adam))
}

/// Refuses hyper-parameters that make no sense.
#[pyfunction]
pub fn check_adam(step: AdamStep) -> PyResult<()> {
    adam(step).map(|_| ())
}

/// One step of Adam or AdamW; m and v are as long as the parameters.
pub fn adam_step<T: Number>(
    py: Python<'_>,
    module: &impl Parameters<T>,
    step: AdamStep,
    arrays: &[Bound<'_, PyAny>],
    m: &Bound<'_, PyAny>,
    v: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (t, adam) = adam(step)?;
    let values = gradients::<T>(arrays)?;
    let slices: Vec<_> = values.iter().map(Values::slice).collect::<PyResult<_>>()?;
    let (mut m, mut v) = (writeable::<T>("m", m)?, writeable::<T>("v", v)?);
    let (m, v) = (m.as_slice_mut()?, v.as_slice_mut()?);
    detached(py, || {
        module.update(|parameters| {
            check_length("grads", parameters.len(), slices.iter().map(|s| s.len()).sum())?;
            check_length("m", parameters.len(), m.len())?;
            check_length("v", parameters.len(), v.len())?;
            let mut at = 0;
            for gradient in slices {
                let own = at..at + gradient.len();
                at = own.end;
                let (m, v) = (&mut m[own.clone()], &mut v[own.clone()]);
                adam.step(t, &mut parameters[own], gradient, m, v)?;
            }
            Ok(())
        })
    })
}
