//! Recurrent cells.
#![no_std]
#![deny(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

#[cfg(feature = "alloc")]
pub mod batch;
pub mod cell;
#[cfg(feature = "alloc")]
pub mod dense;
pub mod error;
pub mod gates;
pub mod kernel;
pub mod math;
#[cfg(feature = "alloc")]
pub mod network;
pub mod real;

#[cfg(feature = "alloc")]
pub mod reference;
pub mod rng;
pub mod sequence;
#[cfg(feature = "alloc")]
mod shard;
#[allow(unsafe_code)]
pub mod simd;
#[cfg(feature = "alloc")]
pub mod stream;
#[cfg(feature = "alloc")]
pub mod tape;
pub mod train;

pub use cell::fixed::{Gru, Lstm, Rnn};
pub use error::Error;
pub use gates::{Activation, CellKind, Config};
#[cfg(feature = "alloc")]
pub use network::Network;
pub use simd::{Isa, Level};

/// The README's programs, run as tests.
#[cfg(all(doctest, feature = "rayon"))]
#[doc = include_str!("../../README.md")]
struct Readme;
