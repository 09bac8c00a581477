//! Recurrent cells.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;
#[cfg(feature = "alloc")]
extern crate alloc;

pub mod dim;
pub mod math;
pub mod real;
#[allow(unsafe_code)]
pub mod simd;
