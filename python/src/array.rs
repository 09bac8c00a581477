//! NumPy arrays to slices and back.
//!
//! The Python part hands over arrays of the right type and shape whose memory is contiguous in some order
//! of the first two axes. What does not fit is refused here as well, so that a mistake there can do no harm.

use crate::compute::exception;
use numpy::ndarray::Ix3;
use numpy::prelude::*;
use numpy::{Element, PyArray1, PyArrayDyn, PyReadonlyArray3, PyReadonlyArrayDyn};
use numpy::{PyArray, PyReadwriteArrayDyn, PyUntypedArray};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use unrolled::error::Error;
use unrolled::network::View;

/// The array, if its numbers are of type `T`.
fn typed<'a, 'py, T: Element>(
    argument: &str,
    array: &'a Bound<'py, PyAny>,
) -> PyResult<&'a Bound<'py, PyArrayDyn<T>>> {
    array.cast::<PyArrayDyn<T>>().map_err(|_| {
        let expected = numpy::dtype::<T>(array.py());
        let got = match array.cast::<PyUntypedArray>() {
            Ok(array) => array.dtype().to_string(),
            Err(_) => array.get_type().to_string(),
        };
        PyTypeError::new_err(format!("{argument}: expected a {expected} array, got {got}"))
    })
}

/// A C-contiguous array, to be read.
pub struct Values<'py, T: Element>(PyReadonlyArrayDyn<'py, T>);

impl<'py, T: Element> Values<'py, T> {
    pub fn new(argument: &str, array: &Bound<'py, PyAny>) -> PyResult<Self> {
        let array = typed::<T>(argument, array)?;
        if !array.is_c_contiguous() || !array.is_aligned() {
            return Err(PyValueError::new_err(format!(
                "{argument}: expected a C-contiguous array"
            )));
        }
        Ok(Values(array.try_readonly()?))
    }

    /// None for Python's `None`.
    pub fn optional(argument: &str, array: Option<&Bound<'py, PyAny>>) -> PyResult<Option<Self>> {
        array.map(|array| Self::new(argument, array)).transpose()
    }

    pub fn slice(&self) -> PyResult<&[T]> {
        Ok(self.0.as_slice()?)
    }
}

/// The slice of an optional array.
pub fn slice<'a, T: Element>(values: &'a Option<Values<'_, T>>) -> PyResult<Option<&'a [T]>> {
    values.as_ref().map(Values::slice).transpose()
}

/// Truths, which come as bytes: a NumPy bool may hold any byte, a Rust one may not.
pub fn truths(argument: &str, array: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Vec<bool>>> {
    let Some(bytes) = Values::<u8>::optional(argument, array)? else { return Ok(None) };
    let bytes = bytes.slice()?;
    let mut truths = room(bytes.len(), "truths").map_err(exception)?;
    truths.extend(bytes.iter().map(|&byte| byte != 0));
    Ok(Some(truths))
}

/// (T, B, features), with either of the first two axes the outer one in memory.
pub struct Steps<'py, T: Element> {
    argument: &'static str,
    array: PyReadonlyArray3<'py, T>,
}

impl<'py, T: Element> Steps<'py, T> {
    pub fn new(argument: &'static str, array: &Bound<'py, PyAny>) -> PyResult<Self> {
        let array = typed::<T>(argument, array)?;
        let Ok(array) = array.cast::<PyArray<T, Ix3>>() else {
            let message = format!("{argument}: expected three axes, got {}", array.ndim());
            return Err(PyValueError::new_err(message));
        };
        if !array.is_aligned() {
            return Err(PyValueError::new_err(format!("{argument}: expected an aligned array")));
        }
        Ok(Steps { argument, array: array.try_readonly()? })
    }

    /// T, B and the features.
    pub fn shape(&self) -> [usize; 3] {
        let shape = self.array.shape();
        [shape[0], shape[1], shape[2]]
    }

    pub fn view(&self) -> PyResult<View<'_, T>> {
        let array = self.array.as_array();
        let [steps, batch, features] = self.shape();
        if let Some(data) = array.to_slice() {
            return Ok(View { data, time: batch * features, batch: features });
        }
        match array.permuted_axes([1, 0, 2]).to_slice() {
            Some(data) => Ok(View { data, time: features, batch: steps * features }),
            None => {
                let message = format!("{}: expected contiguous rows or steps", self.argument);
                Err(PyValueError::new_err(message))
            }
        }
    }
}

/// A C-contiguous array, to be written.
pub fn writeable<'py, T: Element>(
    argument: &str,
    array: &Bound<'py, PyAny>,
) -> PyResult<PyReadwriteArrayDyn<'py, T>> {
    let array = typed::<T>(argument, array)?;
    if !array.is_c_contiguous() {
        return Err(PyValueError::new_err(format!("{argument}: expected a C-contiguous array")));
    }
    array.try_readwrite().map_err(|error| PyValueError::new_err(format!("{argument}: {error}")))
}

/// An array that takes over `values`.
pub fn to_numpy<'py, T: Element>(
    py: Python<'py>,
    values: Vec<T>,
    shape: &[usize],
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    PyArray1::from_vec(py, values).reshape(shape.to_vec())
}

/// An empty vector with room for `len`, or an error where there is none.
pub fn room<T>(len: usize, what: &'static str) -> Result<Vec<T>, Error> {
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| Error::TooLarge { what })?;
    Ok(values)
}

/// A copy.
pub fn copied<T: Copy>(values: &[T], what: &'static str) -> Result<Vec<T>, Error> {
    let mut copy = room(values.len(), what)?;
    copy.extend_from_slice(values);
    Ok(copy)
}

/// `len` zeros.
pub fn zeros<T: Copy + Default>(len: usize, what: &'static str) -> Result<Vec<T>, Error> {
    let mut values = room(len, what)?;
    values.resize(len, T::default());
    Ok(values)
}
