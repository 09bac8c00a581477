//! What a recorded pass keeps.

use crate::array::to_numpy;
use crate::compute::detached;
use crate::number::{AnyTape, each};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use unrolled::tape::Quantity;

/// What a recorded pass keeps. Only its network, as it was then, can go backward with it.
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

    /// What was recorded: (T, B, values). `cell` counts layers · directions; `quantity` is the number of a state, or
    /// "gates".
    fn trace<'py>(
        &self,
        py: Python<'py>,
        cell: usize,
        quantity: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let quantity = match quantity.extract::<usize>() {
            Ok(state) => Quantity::State(state),
            Err(_) if quantity.eq("gates")? => Quantity::Gates,
            Err(_) => {
                let message = "quantity: expected the number of a state, or 'gates'";
                return Err(PyValueError::new_err(message));
            }
        };
        each!(&self.tape, tape => {
            let values = detached(py, || tape.trace(cell, quantity))?;
            to_numpy(py, values, [tape.steps(), tape.batch(), tape.values(quantity)])
        })
    }
}
