//! What a recorded pass keeps.

use crate::number::{AnyTape, each};
use pyo3::prelude::*;

/// What a recorded pass keeps. Only its network can read it.
#[pyclass(frozen, module = "unrolled._native")]
pub struct Tape {
    pub tape: AnyTape,
    /// Whether x had no batch axis.
    pub unbatched: bool,
}

#[pymethods]
impl Tape {
    /// Memory held, in bytes.
    #[getter]
    fn nbytes(&self) -> usize {
        each!(&self.tape, tape => tape.bytes())
    }

    /// T and B.
    #[getter]
    fn shape(&self) -> (usize, usize) {
        each!(&self.tape, tape => (tape.steps(), tape.batch()))
    }

    #[getter]
    fn unbatched(&self) -> bool {
        self.unbatched
    }
}
