//! Recurrent cells.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod dim;
pub mod error;
pub mod gates;
pub mod math;
pub mod real;
#[cfg(feature = "alloc")]
pub mod reference;
#[allow(unsafe_code)]
pub mod simd;
