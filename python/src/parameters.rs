//! Parameters into and out of networks and layers, whose crate keeps them flat.

use crate::array::{Values, copied, room, to_numpy};
use crate::compute::{exception, unlocked};
use crate::number::{AnyValues, Number};
use crate::shared::Shared;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use unrolled::error::Error;

/// Something that has parameters.
pub trait Parameters: Send + Sync + Sized {
    type Number: Number;
    /// All of them, flat.
    fn all(&self) -> &[Self::Number];
    /// Another such thing with these.
    fn with(&self, parameters: Vec<Self::Number>) -> Result<Self, Error>;
}

impl<T: Number> Parameters for unrolled::network::Network<T> {
    type Number = T;
    fn all(&self) -> &[T] {
        self.parameters()
    }
    fn with(&self, parameters: Vec<T>) -> Result<Self, Error> {
        self.with_parameters(parameters)
    }
}

impl<T: Number> Parameters for unrolled::dense::Dense<T> {
    type Number = T;
    fn all(&self) -> &[T] {
        self.parameters()
    }
    fn with(&self, parameters: Vec<T>) -> Result<Self, Error> {
        self.with_parameters(parameters)
    }
}

/// A module on the way to other parameters. Several of them are made one after another, where one may fail, and
/// then published, where none does and nothing else happens in between.
pub trait Change: Send {
    /// Makes the parameters that the module is to have.
    fn make(&mut self) -> Result<(), Error>;
    /// Gives them to the module, if they have been made.
    fn publish(&mut self, py: Python<'_>);
}

/// Refuses other than one for each module.
pub fn alike(argument: &str, modules: usize, got: usize) -> PyResult<()> {
    if got == modules {
        return Ok(());
    }
    let message = format!("{argument}: expected {modules}, one for each module, got {got}");
    Err(PyValueError::new_err(message))
}

pub fn check_length(argument: &'static str, expected: usize, got: usize) -> Result<(), Error> {
    if got == expected { Ok(()) } else { Err(Error::Length { argument, expected, got }) }
}

/// A copy of every parameter, as arrays of these shapes.
pub fn get<'py, M: Parameters>(
    py: Python<'py>,
    module: &M,
    shapes: impl Iterator<Item = Vec<usize>>,
) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let mut rest = module.all();
    let mut arrays = Vec::new();
    for shape in shapes {
        let own;
        (own, rest) = rest.split_at(shape.iter().product());
        let own = unlocked(py, own.len(), || copied(own, "parameters"))?;
        arrays.push(to_numpy(py, own, shape)?);
    }
    Ok(arrays)
}

/// Those of a module's parameters, or something as long.
pub fn any_values<'py, M: Parameters>(
    py: Python<'py>,
    argument: &'static str,
    module: &Shared<M>,
    arrays: &[Bound<'py, PyAny>],
) -> PyResult<AnyValues<'py>> {
    let values = values::<M::Number>(argument, arrays)?;
    let slices: Vec<_> = values.iter().map(Values::slice).collect::<PyResult<_>>()?;
    let got = slices.iter().map(|own| own.len()).sum();
    check_length(argument, module.get(py).all().len(), got).map_err(exception)?;
    Ok(M::Number::any(values))
}

fn values<'py, T: Number>(
    argument: &str,
    arrays: &[Bound<'py, PyAny>],
) -> PyResult<Vec<Values<'py, T>>> {
    arrays.iter().map(|array| Values::typed(argument, array)).collect()
}

/// All of `arrays` in a row: a copy.
pub fn joined<T: Number>(argument: &str, arrays: &[Bound<'_, PyAny>]) -> PyResult<Vec<T>> {
    let values = values::<T>(argument, arrays)?;
    let slices: Vec<_> = values.iter().map(Values::slice).collect::<PyResult<_>>()?;
    let len = slices.iter().map(|own| own.len()).sum();
    let mut all = room(len, "parameters").map_err(exception)?;
    for own in slices {
        all.extend_from_slice(own);
    }
    Ok(all)
}

/// Whether `arrays` hold the parameters to the last bit, looking at `most` numbers, spread evenly, of each.
pub fn same<M: Parameters>(
    py: Python<'_>,
    net: &Shared<M>,
    arrays: &[Bound<'_, PyAny>],
    most: usize,
) -> PyResult<bool> {
    let values = values::<M::Number>("mapping", arrays)?;
    let slices: Vec<_> = values.iter().map(Values::slice).collect::<PyResult<_>>()?;
    let looked_at = slices.iter().map(|own| own.len().min(most)).sum();
    let net = net.get(py);
    unlocked(py, looked_at, || {
        let mut rest = net.all();
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
