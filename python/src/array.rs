//! NumPy arrays to slices and back.
//!
//! An array is copied where its memory is in no order that serves, or where that is the cheapest way to it.

use crate::axes::{Axes, Strides};
use crate::compute::exception;
use numpy::ndarray::{Array, ArrayView, IntoDimension, ShapeError};
use numpy::prelude::*;
use numpy::{
    BorrowError, Element, PyArrayDyn, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArray,
};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyWeakrefReference;
use unrolled::error::Error;
use unrolled::network::View;

/// Bytes up to which copying an array costs less than borrowing it (whose book-keeping takes some 0.1 µs), or
/// than having NumPy take over a vector.
const SMALL: usize = 8192;

fn is_small<T>(len: usize) -> bool {
    len <= SMALL / size_of::<T>()
}

/// Multiply-adds for each number from which a copy takes next to nothing beside the work.
const MUCH_WORK: usize = 1000;

/// The numbers of an array in C order.
pub enum Values<'py, T: Element> {
    Copied(Vec<T>),
    Borrowed(Borrowed<'py, T>),
}

impl<'py, T: Element + Copy> Values<'py, T> {
    /// `work` is done with each number, in multiply-adds.
    ///
    /// While it is done without the interpreter's lock the user may do anything to the array: a copy is safe from
    /// that.
    pub fn new(argument: &str, array: &Bound<'py, PyArrayDyn<T>>, work: usize) -> PyResult<Self> {
        if !array.is_c_contiguous() || !array.is_aligned() {
            let copy = array.call_method0(intern!(array.py(), "copy"))?.cast_into()?;
            return Ok(Values::Borrowed(Borrowed::new(argument, copy)?));
        }
        if is_small::<T>(array.len()) {
            return Ok(Values::Copied(array.to_vec()?));
        }
        if work >= MUCH_WORK {
            let values = readonly(argument, array)?;
            return Ok(Values::Copied(copied(values.as_slice()?, "a copy").map_err(exception)?));
        }
        let view = array.call_method0(intern!(array.py(), "view"))?.cast_into()?;
        Ok(Values::Borrowed(Borrowed::new(argument, view)?))
    }

    /// Of an array that is still to be seen to be one of `T`.
    pub fn typed(argument: &str, array: &Bound<'py, PyAny>) -> PyResult<Self> {
        Self::new(argument, typed(argument, array)?, 0)
    }

    pub fn slice(&self) -> PyResult<&[T]> {
        match self {
            Values::Copied(values) => Ok(values),
            Values::Borrowed(values) => values.slice(),
        }
    }
}

fn readonly<'py, T: Element>(
    argument: &str,
    array: &Bound<'py, PyArrayDyn<T>>,
) -> PyResult<PyReadonlyArrayDyn<'py, T>> {
    array.try_readonly().map_err(|error| PyValueError::new_err(format!("{argument}: {error}")))
}

/// A borrow that can be given back whatever happens meanwhile.
///
/// The book-keeping finds a borrow by the array's address, shape, strides and item size, and by what owns the
/// memory; where it does not, it ends the process. So this is of an array that nobody else has: of a view, if the
/// user's own is, whose dtype or shape may be set. What owns the memory can lose it still (`__setstate__`): the borrow
/// is then not given back.
pub struct Borrowed<'py, T: Element> {
    array: Option<PyReadonlyArrayDyn<'py, T>>,
    owner: *mut pyo3::ffi::PyObject,
    /// NumPy never changes the size of an array that is referred to weakly, `refcheck=False` or not: its memory
    /// stays where it is.
    _fixed: Option<Bound<'py, PyWeakrefReference>>,
}

impl<'py, T: Element> Borrowed<'py, T> {
    fn new(argument: &str, array: Bound<'py, PyArrayDyn<T>>) -> PyResult<Self> {
        let owner = owner(array.as_any());
        let fixed = match owner.cast::<PyUntypedArray>() {
            Ok(owner) => Some(PyWeakrefReference::new(owner)?),
            Err(_) => None,
        };
        let array = Some(readonly(argument, &array)?);
        Ok(Borrowed { array, owner: owner.as_ptr(), _fixed: fixed })
    }

    fn slice(&self) -> PyResult<&[T]> {
        self.array.as_ref().map_or(Ok(&[]), |array| Ok(array.as_slice()?))
    }
}

impl<T: Element> Drop for Borrowed<'_, T> {
    fn drop(&mut self) {
        if let Some(array) = self.array.take()
            && owner(array.as_any()).as_ptr() != self.owner
        {
            std::mem::forget(array);
        }
    }
}

/// What a chain of views ends in, as the book-keeping of borrows sees it.
fn owner<'py>(array: &Bound<'py, PyAny>) -> Bound<'py, PyAny> {
    let base = intern!(array.py(), "base");
    let mut array = array.clone();
    loop {
        match array.getattr(base) {
            Ok(next) if next.cast::<PyUntypedArray>().is_ok() => array = next,
            Ok(next) if !next.is_none() => return next,
            _ => return array,
        }
    }
}

/// Truths, which come as bytes: a NumPy bool may hold any byte, a Rust one may not.
pub fn truths(argument: &str, array: &Bound<'_, PyAny>) -> PyResult<Vec<bool>> {
    let bytes = Values::<u8>::typed(argument, array)?;
    let bytes = bytes.slice()?;
    let mut truths = room(bytes.len(), "truths").map_err(exception)?;
    truths.extend(bytes.iter().map(|&byte| byte != 0));
    Ok(truths)
}

/// (T, B, features), with either of the first two axes the outer one in memory.
pub struct Steps<'py, T: Element> {
    pub steps: usize,
    pub batch: usize,
    strides: Strides,
    values: Values<'py, T>,
}

impl<'py, T: Element + Copy> Steps<'py, T> {
    /// `array` has the axes of `axes`, and one for the features; for `work` see [`Values::new`].
    pub fn new(
        argument: &str,
        array: &Bound<'py, PyArrayDyn<T>>,
        axes: Axes,
        work: usize,
    ) -> PyResult<Self> {
        let &[.., features] = array.shape() else {
            return Err(PyValueError::new_err(format!("{argument}: expected two or three axes")));
        };
        let (steps, batch) = axes.sizes(array.shape());
        if array.is_c_contiguous() || axes.unbatched {
            let strides = axes.in_time(steps, batch, features);
            let values = Values::new(argument, array, work)?;
            return Ok(Steps { steps, batch, strides, values });
        }
        let swapped = array.call_method1(intern!(array.py(), "swapaxes"), (0, 1))?.cast_into()?;
        let other = Axes { batch_first: !axes.batch_first, ..axes };
        let strides = other.in_time(steps, batch, features);
        Ok(Steps { steps, batch, strides, values: Values::new(argument, &swapped, work)? })
    }

    pub fn view(&self) -> PyResult<View<'_, T>> {
        Ok(self.strides.view(self.values.slice()?))
    }
}

/// Refuses an array that was seen to be one of `T`, and whose dtype has been set to another one since.
pub fn still<T: Element>(argument: &str, array: &Bound<'_, PyArrayDyn<T>>) -> PyResult<()> {
    typed::<T>(argument, array.as_any()).map(|_| ())
}

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

/// An array's numbers, to be changed before the interpreter's lock is let go.
pub enum Changing<'py, T: Element> {
    There(PyReadwriteArrayDyn<'py, T>),
    /// A copy of an array whose memory is in no order that serves.
    Apart {
        copy: Bound<'py, PyArrayDyn<T>>,
        of: Bound<'py, PyArrayDyn<T>>,
    },
}

impl<'py, T: Element> Changing<'py, T> {
    pub fn new(argument: &str, array: &Bound<'py, PyAny>) -> PyResult<Self> {
        let array = typed::<T>(argument, array)?;
        if !array.is_c_contiguous() || !array.is_aligned() {
            let copy = array.call_method0(intern!(array.py(), "copy"))?.cast_into()?;
            return Ok(Changing::Apart { copy, of: array.clone() });
        }
        let there = array.try_readwrite().map_err(|error| match error {
            BorrowError::AlreadyBorrowed => PyValueError::new_err(format!(
                "{argument}: expected arrays that no other thread computes with, each of them once"
            )),
            _ => PyValueError::new_err(format!("{argument}: {error}")),
        })?;
        Ok(Changing::There(there))
    }

    pub fn change(&mut self, change: impl FnOnce(&mut [T])) -> PyResult<()> {
        match self {
            Changing::There(array) => change(array.as_slice_mut()?),
            Changing::Apart { copy, of } => {
                change(copy.try_readwrite().map_err(PyErr::from)?.as_slice_mut()?);
                copy.copy_to(of)?;
            }
        }
        Ok(())
    }
}

/// An array of `values`, which it takes over if they are many.
pub fn to_numpy<'py, T: Element, S: IntoDimension>(
    py: Python<'py>,
    values: Vec<T>,
    shape: S,
) -> PyResult<Bound<'py, PyAny>> {
    let wrong = |error: ShapeError| PyValueError::new_err(error.to_string());
    let shape = shape.into_dimension();
    if is_small::<T>(values.len()) {
        let view = ArrayView::from_shape(shape, &values).map_err(wrong)?;
        return Ok(view.to_pyarray(py).into_any());
    }
    let array = Array::from_shape_vec(shape, values).map_err(wrong)?;
    Ok(array.into_pyarray(py).into_any())
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

impl Axes {
    /// Puts what is (T, B, …) into the user's order.
    pub fn order<T: Copy>(
        self,
        values: &mut Vec<T>,
        steps: usize,
        batch: usize,
    ) -> Result<(), Error> {
        if !self.batch_first || steps < 2 || batch < 2 || values.is_empty() {
            return Ok(());
        }
        let features = values.len() / (steps * batch);
        let mut ordered = room(values.len(), "output")?;
        for b in 0..batch {
            for row in values.chunks_exact(batch * features) {
                ordered.extend_from_slice(&row[b * features..][..features]);
            }
        }
        *values = ordered;
        Ok(())
    }

    /// An array of `values`, which are in the user's order.
    pub fn outside<'py, T: Element>(
        self,
        py: Python<'py>,
        values: Vec<T>,
        steps: usize,
        batch: usize,
        features: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        match self {
            Axes { unbatched: true, .. } => to_numpy(py, values, [steps, features]),
            Axes { batch_first: true, .. } => to_numpy(py, values, [batch, steps, features]),
            Axes { .. } => to_numpy(py, values, [steps, batch, features]),
        }
    }
}
