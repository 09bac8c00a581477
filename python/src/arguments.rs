//! What users pass, checked.
//!
//! The usual – arrays of the right type, no lengths, no resets – is checked here, in a fraction of a
//! microsecond. What has to be understood first (tensors, buffers, lists of lengths) `unrolled._arguments` makes
//! into arrays or refuses; a call in Python costs about as much as all of the rest.

use crate::array::{Steps, Values, room, still, truths};
use crate::axes::Axes;
use crate::compute::exception;
use crate::number::Number;
use numpy::prelude::*;
use numpy::{PyArrayDyn, PyUntypedArray};
use pyo3::call::PyCallArgs;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyTuple};
use unrolled::cell::MOST_STATES;
use unrolled::gates::{CellKind, Config};
use unrolled::network::{Input, StateArrays};

/// Has a function of `unrolled._arguments` do it.
pub fn in_python<'py>(
    py: Python<'py>,
    function: &str,
    arguments: impl PyCallArgs<'py>,
) -> PyResult<Bound<'py, PyAny>> {
    py.import(intern!(py, "unrolled._arguments"))?.getattr(function)?.call1(arguments)
}

/// `value` as an array of `T`.
pub fn array<'py, T: Number>(
    name: &str,
    value: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    match value.cast::<PyArrayDyn<T>>() {
        // Subclasses, such as masked arrays, are not the usual.
        Ok(array) if value.is_exact_instance_of::<PyUntypedArray>() => Ok(array.clone()),
        _ => Ok(in_python(value.py(), "array", (name, value, T::NAME))?.cast_into()?),
    }
}

/// A shape, as Python writes it.
fn written(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        _ => {
            let sizes: Vec<_> = shape.iter().map(ToString::to_string).collect();
            format!("({})", sizes.join(", "))
        }
    }
}

/// Refuses another shape than `expected`; `axes` says what the axes mean.
pub fn shaped(name: &str, got: &[usize], axes: &str, expected: &[usize]) -> PyResult<()> {
    if got == expected {
        return Ok(());
    }
    let (expected, got) = (written(expected), written(got));
    let message = format!("{name}: expected shape {axes} = {expected}, got {got}");
    Err(PyValueError::new_err(message))
}

/// What a network is called with.
pub struct Run<'py, T: Number> {
    pub axes: Axes,
    x: Steps<'py, T>,
    states: Vec<Values<'py, T>>,
    lengths: Option<Vec<usize>>,
    resets: Option<Vec<bool>>,
}

impl<'py, T: Number> Run<'py, T> {
    pub fn new(
        (config, axes, work): (&Config, Axes, usize),
        x: &Bound<'py, PyAny>,
        state: Option<&Bound<'py, PyAny>>,
        lengths: Option<&Bound<'py, PyAny>>,
        resets: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        let x = array::<T>("x", x)?;
        let (ndim, features) = (x.ndim(), config.input_size);
        if !matches!(ndim, 2 | 3) || x.shape().last() != Some(&features) {
            let axes = axes.written();
            let got = written(x.shape());
            return Err(PyValueError::new_err(format!(
                "x: expected shape ({axes}, {features}) or (T, {features}), got {got}"
            )));
        }
        let axes = Axes { unbatched: ndim == 2, ..axes };
        let (steps, batch) = axes.sizes(x.shape());
        // What may run Python first: it could change an array that is being read.
        let alone = state.is_none() && lengths.is_none() && resets.is_none();
        let state = states(config, STATE, state, batch, axes)?;
        let lengths = lengths.map(|given| row_lengths(given, steps, batch, axes)).transpose()?;
        let resets = resets.map(|given| episodes(given, steps, batch, axes)).transpose()?;
        if !alone {
            still("x", &x)?;
        }
        let x = Steps::new("x", &x, axes, work)?;
        let states = state.values()?;
        if (x.steps, x.batch) != (steps, batch) {
            return Err(PyValueError::new_err("x: expected to stay as it is, got another shape"));
        }
        Ok(Run { axes, x, states, lengths, resets })
    }

    pub fn steps(&self) -> usize {
        self.x.steps
    }

    pub fn input(&self) -> PyResult<Input<'_, T>> {
        let (steps, batch) = (self.x.steps, self.x.batch);
        let in_time = self.axes.in_time(steps, batch, 1);
        Ok(Input {
            x: self.x.view()?,
            steps,
            batch,
            states: state_arrays(&self.states)?,
            lengths: self.lengths.as_deref(),
            resets: self.resets.as_deref().map(|data| in_time.view(data)),
        })
    }
}

fn row_lengths(
    given: &Bound<'_, PyAny>,
    steps: usize,
    batch: usize,
    axes: Axes,
) -> PyResult<Vec<usize>> {
    if axes.unbatched {
        let message = "lengths must be None when x has no batch axis";
        return Err(PyValueError::new_err(message));
    }
    let checked = in_python(given.py(), "lengths", (given, steps, batch))?;
    let values = Values::<i64>::typed("lengths", &checked)?;
    let values = values.slice()?;
    let mut lengths = room(values.len(), "lengths").map_err(exception)?;
    // `lengths` has refused what is negative.
    lengths.extend(values.iter().map(|&length| usize::try_from(length).unwrap_or_default()));
    Ok(lengths)
}

fn episodes(
    given: &Bound<'_, PyAny>,
    steps: usize,
    batch: usize,
    axes: Axes,
) -> PyResult<Vec<bool>> {
    let py = given.py();
    let shape = PyTuple::new(py, axes.shape(steps, batch))?;
    truths("resets", &in_python(py, "resets", (given, axes.written(), shape))?)
}

/// What a state is called in messages: all of it, and its parts.
pub type Names = [&'static str; 1 + MOST_STATES];

macro_rules! names {
    ($name:literal) => {
        names!($name, 0 1 2 3 4 5 6 7)
    };
    ($name:literal, $($i:literal)*) => {
        [$name, $(concat!($name, "[", $i, "]")),*]
    };
}
pub const STATE: Names = names!("state");
pub const D_STATE: Names = names!("dstate");

/// The states, each (layers · directions, B, columns), still to be read; none if none are given.
pub struct States<'py, T: Number> {
    names: Names,
    parts: Vec<Bound<'py, PyArrayDyn<T>>>,
}

impl<'py, T: Number> States<'py, T> {
    pub fn values(&self) -> PyResult<Vec<Values<'py, T>>> {
        let alone = self.parts.len() == 1;
        let value = |(i, part)| {
            let name = self.names[if alone { 0 } else { 1 + i }];
            still(name, part)?;
            Values::new(name, part, 0)
        };
        self.parts.iter().enumerate().map(value).collect()
    }
}

/// The numbers of each, unless there are none.
pub fn state_arrays<'a, T: Number>(
    values: &'a [Values<'_, T>],
) -> PyResult<Option<StateArrays<'a, T>>> {
    if values.is_empty() {
        return Ok(None);
    }
    values.iter().map(Values::slice).collect::<PyResult<_>>().map(Some)
}

/// The parts of what a user calls a state.
pub fn states<'py, T: Number>(
    config: &Config,
    names: Names,
    given: Option<&Bound<'py, PyAny>>,
    batch: usize,
    axes: Axes,
) -> PyResult<States<'py, T>> {
    let Some(given) = given else { return Ok(States { names, parts: Vec::new() }) };
    let part = |name: &str, given: &Bound<'py, PyAny>, columns| {
        let part = array::<T>(name, given)?;
        let cells = config.num_layers * config.num_directions();
        if axes.unbatched {
            shaped(name, part.shape(), "(layers*directions, H)", &[cells, columns])?;
        } else {
            shaped(name, part.shape(), "(layers*directions, B, H)", &[cells, batch, columns])?;
        }
        Ok::<_, PyErr>(part)
    };
    let count = config.kind.states();
    if count == 1 {
        let parts = vec![part(names[0], given, config.state_size())?];
        return Ok(States { names, parts });
    }
    let found = given.cast::<PyTuple>().map(|tuple| tuple.iter().collect());
    let found: Option<Vec<_>> =
        found.or_else(|_| given.cast::<PyList>().map(|list| list.iter().collect())).ok();
    if let Some(found) = found.as_deref().filter(|found| found.len() == count) {
        let sizes = found.iter().zip(config.state_sizes());
        let parts = sizes.zip(&names[1..]).map(|((given, size), name)| part(name, given, size));
        return Ok(States { names, parts: parts.collect::<PyResult<_>>()? });
    }
    let kind = in_python(given.py(), "kind", (given,))?;
    let len = found.map(|found| format!(" of {}", found.len())).unwrap_or_default();
    let expected = match config.kind {
        CellKind::Open(_) => format!("a tuple of {count} arrays, one for each state of the cell"),
        _ => String::from("a tuple (h, c) of two arrays"),
    };
    let name = names[0];
    Err(PyTypeError::new_err(format!("{name}: expected {expected}, got {kind}{len}")))
}

/// The derivative by y, checked against the tape it is for, still to be read by [`Steps::new`].
pub fn d_y<'py, T: Number>(
    config: &Config,
    given: &Bound<'py, PyAny>,
    (steps, batch): (usize, usize),
    axes: Axes,
) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    let found = array::<T>("dy", given)?;
    let mut expected = axes.shape(steps, batch);
    expected.push(config.output_size());
    let axes = format!("({}, directions*H)", axes.written());
    shaped("dy", found.shape(), &axes, &expected)?;
    Ok(found)
}
