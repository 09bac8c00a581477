//! Threads and instruction sets.

use crate::number::is_double;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use unrolled::laps::{self, Part};
use unrolled::simd::{Isa, Level};
use unrolled::{batch, peak};

/// How many threads work on a batch.
#[pyfunction]
pub fn get_num_threads() -> usize {
    batch::num_threads()
}

/// 0 for the default.
#[pyfunction]
pub fn set_num_threads(n: usize) {
    batch::set_num_threads(n);
}

/// What this machine can run, lowest first.
#[pyfunction]
pub fn available_isas() -> Vec<&'static str> {
    Level::available().map(|level| level.isa().name()).collect()
}

/// What a net made now would run on.
#[pyfunction]
pub fn isa() -> &'static str {
    Level::best().isa().name()
}

#[pyfunction]
pub fn set_max_isa(name: &str) -> PyResult<()> {
    Level::set_limit(named(name)?);
    Ok(())
}

fn named(name: &str) -> PyResult<Isa> {
    Isa::from_name(name).ok_or_else(|| {
        let names: Vec<_> = Isa::ALL.iter().map(|isa| format!("'{isa}'")).collect();
        PyValueError::new_err(format!("name: expected one of {}, got '{name}'", names.join(", ")))
    })
}

/// That many rounds of multiply-adds at the best level, and how many operations they were.
#[pyfunction]
pub fn multiply_adds(py: Python<'_>, dtype: &str, rounds: usize) -> PyResult<usize> {
    let (double, level) = (is_double(dtype)?, Level::best());
    Ok(py.detach(|| {
        if double {
            peak::multiply_adds::<f64>(level, rounds)
        } else {
            peak::multiply_adds::<f32>(level, rounds)
        }
    }))
}

/// Calls `work`, and gives the seconds that each part of what it does took on this thread, by name.
#[pyfunction]
pub fn measure_parts(work: &Bound<'_, PyAny>) -> PyResult<Vec<(&'static str, f64)>> {
    let (done, parts) = laps::measure(|| work.call0());
    done?;
    let seconds = parts.into_iter().map(|part| part.as_secs_f64());
    Ok(Part::ALL.into_iter().map(Part::name).zip(seconds).collect())
}

/// The level of that name.
pub fn level(name: &str) -> PyResult<Level> {
    Level::get(named(name)?).ok_or_else(|| {
        let names = available_isas().join(", ");
        PyValueError::new_err(format!(
            "name: expected what this machine has ({names}), got '{name}'"
        ))
    })
}
