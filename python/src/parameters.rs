//! Parameters into and out of networks and layers, whose crate keeps them flat.

use crate::array::{Values, copied, to_numpy};
use crate::compute::{detached, exception, read, write};
use crate::number::Number;
use pyo3::prelude::*;
use std::sync::RwLock;
use unrolled::dense::Dense;
use unrolled::error::Error;
use unrolled::network::Network;

/// Something that has parameters.
pub trait Parameters<T>: Sync {
    /// All of them, flat.
    fn copy(&self) -> Result<Vec<T>, Error>;
    /// Calls `change` with all of them.
    fn update(&self, change: impl FnOnce(&mut [T]) -> Result<(), Error>) -> Result<(), Error>;
}

impl<T: Number> Parameters<T> for RwLock<Network<T>> {
    fn copy(&self) -> Result<Vec<T>, Error> {
        copied(read(self).parameters(), "parameters")
    }
    fn update(&self, change: impl FnOnce(&mut [T]) -> Result<(), Error>) -> Result<(), Error> {
        write(self).update(change)
    }
}

impl<T: Number> Parameters<T> for RwLock<Dense<T>> {
    fn copy(&self) -> Result<Vec<T>, Error> {
        copied(read(self).parameters(), "parameters")
    }
    fn update(&self, change: impl FnOnce(&mut [T]) -> Result<(), Error>) -> Result<(), Error> {
        write(self).update(change)
    }
}

pub fn check_length(argument: &'static str, expected: usize, got: usize) -> Result<(), Error> {
    if got == expected { Ok(()) } else { Err(Error::Length { argument, expected, got }) }
}

/// A copy of every parameter, as arrays of these shapes.
pub fn get<'py, T: Number>(
    py: Python<'py>,
    module: &impl Parameters<T>,
    shapes: impl Iterator<Item = Vec<usize>>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let all = detached(py, || module.copy())?;
    let mut rest = &all[..];
    let mut arrays = Vec::new();
    for shape in shapes {
        let own;
        (own, rest) = rest.split_at(shape.iter().product());
        let own = copied(own, "parameters").map_err(exception)?;
        arrays.push(to_numpy(py, own, shape)?);
    }
    Ok(arrays)
}

/// Replaces every parameter.
pub fn set<T: Number>(
    py: Python<'_>,
    module: &impl Parameters<T>,
    arrays: &[Bound<'_, PyAny>],
) -> PyResult<()> {
    let values: Vec<_> =
        arrays.iter().map(|a| Values::<T>::typed("mapping", a)).collect::<PyResult<_>>()?;
    let slices: Vec<_> = values.iter().map(Values::slice).collect::<PyResult<_>>()?;
    detached(py, || {
        module.update(|parameters| {
            check_length("mapping", parameters.len(), slices.iter().map(|s| s.len()).sum())?;
            let mut rest = parameters;
            for from in slices {
                let (to, after) = rest.split_at_mut(from.len());
                to.copy_from_slice(from);
                rest = after;
            }
            Ok(())
        })
    })
}
