//! What a recorded pass keeps.

use crate::number::{AnyTape, each};
use pyo3::prelude::*;

/// What a recorded pass keeps. Only its network can read it.
#[pyclass(frozen, module = "unrolled._native")]
pub struct Tape(pub AnyTape);

#[pymethods]
impl Tape {
    /// Memory held, in bytes.
    #[getter]
    fn nbytes(&self) -> usize {
        each!(&self.0, tape => tape.bytes())
    }
}
