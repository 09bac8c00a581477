//! `unrolled._native`: what the Python package needs of the crate `unrolled`, in thin classes.
//!
//! Nothing is computed here. A call checks what it is given, lets go of the interpreter's lock (if it takes
//! long enough), calls the crate, and gives arrays as the user ordered them; names, defaults and documentation
//! are the Python part's business.
#![forbid(unsafe_code)]

mod activation;
mod arguments;
mod array;
mod axes;
mod callback;
mod compute;
mod dense;
mod flow;
mod formula;
mod machine;
mod modules;
mod network;
mod number;
mod optimizer;
mod parameters;
mod shared;
mod stream;
mod tape;
mod train;

use pyo3::prelude::*;

/// The compiled part of `unrolled`. Use the package.
#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::activation::{activate, activate_backward};
    #[pymodule_export]
    use crate::callback::attempt;
    #[pymodule_export]
    use crate::dense::Dense;
    #[pymodule_export]
    use crate::flow::{
        gradient_by_lag, lyapunov, pull_back, push_forward, step_jacobians, transition,
    };
    #[pymodule_export]
    use crate::formula::Formula;
    #[pymodule_export]
    use crate::machine::{
        available_isas, get_num_threads, isa, measure_parts, multiply_adds, set_max_isa,
        set_num_threads,
    };
    #[pymodule_export]
    use crate::modules::{load, snapshots};
    #[pymodule_export]
    use crate::network::Network;
    #[pymodule_export]
    use crate::optimizer::{Optimizer, check_adam, check_sgd};
    #[pymodule_export]
    use crate::stream::{Stream, undo};
    #[pymodule_export]
    use crate::tape::Tape;
    #[pymodule_export]
    use crate::train::{
        binary_cross_entropy_with_logits, clip_coefficient, cross_entropy, global_norm, mse, scale,
    };

    use super::*;

    #[pymodule_init]
    fn init(m: &Bound<'_, PyModule>) -> PyResult<()> {
        m.add("MOST_THREADS", unrolled::batch::MOST_THREADS)?;
        m.add("ISAS", unrolled::simd::Isa::ALL.map(unrolled::simd::Isa::name))?;
        m.add("__version__", env!("CARGO_PKG_VERSION"))
    }
}
