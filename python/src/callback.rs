//! Calls of Python functions from C, where an exception cannot pass through.

use pyo3::prelude::*;

/// What `function(argument)` returns. Where that raises, `otherwise(argument, exception)` returns
/// `(value, last)`, and the outcome is `value`, once `last()` has been called unless it is None.
///
/// In the main thread a signal handler may raise at any step of Python code, also at the very first of `function`,
/// where no `try` of its own can catch it, or inside `otherwise`, which is then called again. A `last` that is C
/// has no such steps, and none follow it here.
#[pyfunction]
pub fn attempt<'py>(
    function: &Bound<'py, PyAny>,
    otherwise: &Bound<'py, PyAny>,
    argument: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    /// Exceptions in a row; more than that are no hand on the keyboard.
    const PATIENCE: usize = 100;
    let mut raised = match function.call1((argument,)) {
        Ok(value) => return Ok(value),
        Err(raised) => raised,
    };
    for _ in 0..PATIENCE {
        match otherwise.call1((argument, raised)) {
            Ok(found) => {
                let (value, last): (Bound<'py, PyAny>, Bound<'py, PyAny>) = found.extract()?;
                if !last.is_none() {
                    last.call0()?;
                }
                return Ok(value);
            }
            Err(again) => raised = again,
        }
    }
    Err(raised)
}
