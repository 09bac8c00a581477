//! Parameters into and out of networks and layers, whose crate keeps them flat.

use crate::array::{Values, copied, to_numpy};
use crate::compute::{briefly, detached, exception, read, write};
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

fn slices<'py, T: Number>(arrays: &[Bound<'py, PyAny>]) -> PyResult<Vec<Values<'py, T>>> {
    arrays.iter().map(|a| Values::<T>::typed("mapping", a)).collect()
}

/// Replaces every parameter.
pub fn set<T: Number>(
    py: Python<'_>,
    module: &impl Parameters<T>,
    arrays: &[Bound<'_, PyAny>],
) -> PyResult<()> {
    let values = slices::<T>(arrays)?;
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

/// All of `arrays` in a row.
pub fn joined<T: Number>(arrays: &[Bound<'_, PyAny>]) -> PyResult<Vec<T>> {
    let values = slices::<T>(arrays)?;
    let mut all = Vec::new();
    for own in &values {
        all.try_reserve(own.slice()?.len())
            .map_err(|_| exception(Error::TooLarge { what: "parameters" }))?;
        all.extend_from_slice(own.slice()?);
    }
    Ok(all)
}

/// Whether `arrays` hold the parameters to the last bit, looking at `most` numbers, spread evenly, of each.
pub fn same<T: Number>(
    py: Python<'_>,
    net: &RwLock<Network<T>>,
    arrays: &[Bound<'_, PyAny>],
    most: usize,
) -> PyResult<bool> {
    let values = slices::<T>(arrays)?;
    let slices: Vec<_> = values.iter().map(Values::slice).collect::<PyResult<_>>()?;
    let looked_at = slices.iter().map(|own| own.len().min(most)).sum();
    briefly(py, net, looked_at, |net| {
        let mut rest = net.parameters();
        let lengths = slices.iter().map(|own| own.len()).sum();
        check_length("parameters", rest.len(), lengths)?;
        for given in slices {
            let own;
            (own, rest) = rest.split_at(given.len());
            let every = own.len().div_ceil(most.max(1)).max(1);
            // One step apart, the compiler compares many at once.
            let same = if every == 1 {
                all_same(own, given)
            } else {
                own.iter().zip(given).step_by(every).all(|(a, b)| a.same_bits(*b))
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

/// Without a branch for each number, block by block.
fn all_same<T: Number>(a: &[T], b: &[T]) -> bool {
    a.chunks(1024)
        .zip(b.chunks(1024))
        .all(|(a, b)| a.iter().zip(b).fold(true, |same, (a, b)| same & a.same_bits(*b)))
}
