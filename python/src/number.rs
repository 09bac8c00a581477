//! The two float types behind one Python class.

use crate::array::Values;
use crate::shared::Shared;
use pyo3::prelude::*;
use unrolled::Passes;
use unrolled::tape::Tape;

/// One of two things that differ in the float type.
pub enum Float<A, B> {
    F32(A),
    F64(B),
}

/// Does the same for either type.
macro_rules! each {
    ($float:expr, $name:ident => $body:expr) => {
        match $float {
            $crate::number::Float::F32($name) => $body,
            $crate::number::Float::F64($name) => $body,
        }
    };
}
pub(crate) use each;

pub type AnyTape = Float<Tape<f32>, Tape<f64>>;

/// The numbers of arrays of either type.
pub enum AnyValues<'py> {
    F32(Vec<Values<'py, f32>>),
    F64(Vec<Values<'py, f64>>),
}

/// `f32` or `f64`: what the crate computes in and NumPy has arrays of.
pub trait Number: Passes + numpy::Element {
    fn wrap(tape: Tape<Self>) -> AnyTape;
    /// The tape, if it is of this type.
    fn unwrap(tape: &AnyTape) -> Option<&Tape<Self>>;
    fn any(values: Vec<Values<'_, Self>>) -> AnyValues<'_>;
    /// The values, if they are of this type.
    fn of<'a, 'py>(values: &'a AnyValues<'py>) -> Option<&'a [Values<'py, Self>]>;
    /// Whether they are one number to the last bit, which a NaN may be and the two zeros are not.
    fn same_bits(self, other: Self) -> bool;
}

impl Number for f32 {
    fn wrap(tape: Tape<Self>) -> AnyTape {
        Float::F32(tape)
    }
    fn unwrap(tape: &AnyTape) -> Option<&Tape<Self>> {
        if let Float::F32(tape) = tape { Some(tape) } else { None }
    }
    fn any(values: Vec<Values<'_, Self>>) -> AnyValues<'_> {
        AnyValues::F32(values)
    }
    fn of<'a, 'py>(values: &'a AnyValues<'py>) -> Option<&'a [Values<'py, Self>]> {
        if let AnyValues::F32(values) = values { Some(values) } else { None }
    }
    fn same_bits(self, other: Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}

impl Number for f64 {
    fn wrap(tape: Tape<Self>) -> AnyTape {
        Float::F64(tape)
    }
    fn unwrap(tape: &AnyTape) -> Option<&Tape<Self>> {
        if let Float::F64(tape) = tape { Some(tape) } else { None }
    }
    fn any(values: Vec<Values<'_, Self>>) -> AnyValues<'_> {
        AnyValues::F64(values)
    }
    fn of<'a, 'py>(values: &'a AnyValues<'py>) -> Option<&'a [Values<'py, Self>]> {
        if let AnyValues::F64(values) = values { Some(values) } else { None }
    }
    fn same_bits(self, other: Self) -> bool {
        self.to_bits() == other.to_bits()
    }
}

/// The float type of that name.
pub fn is_double(dtype: &str) -> PyResult<bool> {
    match dtype {
        "float32" => Ok(false),
        "float64" => Ok(true),
        _ => Err(pyo3::exceptions::PyTypeError::new_err(format!(
            "dtype: expected 'float32' or 'float64', got '{dtype}'"
        ))),
    }
}

/// What differs in the float type, shared.
pub type AnyShared<A, B> = Float<Shared<A>, Shared<B>>;
