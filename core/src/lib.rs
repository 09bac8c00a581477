//! Recurrent cells (RNN, LSTM, GRU, and any that you write) and their exact gradients through time, for CPUs.
//!
//! # Two worlds, one source
//!
//! *Fixed sizes*, for plug-ins and microcontrollers: [`Lstm`], [`Gru`] and [`Rnn`] carry their sizes in their
//! types, are built by a `const fn`, and need neither `std` nor an allocator, forward or backward.
//!
//! ```
//! use unrolled::Lstm;
//!
//! static CELL: Lstm<f32, 1, 32> =
//!     Lstm::new([[[0.1; 1]; 32]; 4], [[[0.01; 32]; 32]; 4], [[0.0; 32]; 4], [[0.0; 32]; 4]);
//!
//! let mut state = CELL.zero_state();
//! let h: &[f32; 32] = CELL.step(&[0.5], &mut state);
//! assert!(h[0] > 0.0);
//! ```
//!
//! *Run-time sizes*, for training: a [`Network`] has layers, directions, projections, ragged batches, resets,
//! checkpoints and threads (features `alloc`, `std`, `rayon`).
//!
//! ```
//! # #[cfg(feature = "alloc")] {
//! use unrolled::network::{Input, Losses, Recording, View};
//! use unrolled::train::{Adam, Init, initialise};
//! use unrolled::{CellKind, Config, Error, Level, Network};
//!
//! let config = Config::new(CellKind::Lstm { forget_gate: true }, 3, 20);
//! let mut net = Network::<f32>::new(config, Level::best())?;
//! net.update(|p| initialise(&config, Init::Uniform, 0.0, 7, p))?;
//!
//! let (steps, batch) = (10, 4);
//! let x = vec![0.5; steps * batch * 3];
//! let x = View::time_major(&x, batch, 3);
//! let input = Input { x, steps, batch, states: None, lengths: None, resets: None };
//! let (output, tape) = net.record(&input, Recording::default(), None)?;
//!
//! // The loss is the sum of the outputs, say.
//! let d_y = vec![1.0; output.y.len()];
//! let losses = Losses { y: View::time_major(&d_y, batch, 20), states: None };
//! let g = net.backward(&tape, &losses, None, None)?;
//!
//! let adam = Adam::default();
//! let (mut m, mut v) = (vec![0.0; g.parameters.len()], vec![0.0; g.parameters.len()]);
//! net.update(|p| adam.step(1, p, &g.parameters, &mut m, &mut v))?;
//! # }
//! # Ok::<(), unrolled::Error>(())
//! ```
//!
//! Both give the same bits: one inner loop, one order of its sums, one set of formulas. A run-time step makes the
//! products of all rows and units and then their activations; a fixed one does both a few units at a time, in
//! registers.
//!
//! # A cell is a file
//!
//! A [`Cell`](cell::Cell) says which affine maps of x and of h feed its slots, and gives an elementwise function of them
//! and of the states it carries, beside the mirror of that function. Everything else – products, batches, time,
//! back-propagation, truncation, fixed sizes – is written once for all cells, and for yours. As a type in Rust it is a
//! cell of fixed sizes, [`Fixed<MyCell, …>`](fixed::Fixed), and a network, [`Network::with_cell`]. As data it is a
//! [`Formula`](cell::formula::Formula), an expression graph, whose reverse is derived; [`Network::with_formula`] runs it.
//!
//! # How it is built, from the bottom
//!
//! * [`simd`]: vectors of several widths behind one trait, and the tokens that prove an instruction set may
//!   run. The only `unsafe` code, and the one inner loop of every product (`accumulate`).
//! * [`math`]: exp, log, tanh and their like on those vectors, within a few units in the last place.
//! * `kernel`: products over rows and units, packed weights, aligned memory, and the layout of a cell's slots.
//! * [`cell`]: what a cell is, one file each; formulas; one time step of any of them.
//! * `time`: a layer over a window of time, there and back; what ends, what is reset.
//! * [`fixed`]: cells of fixed sizes.
//! * `net`: layers and directions ([`network`]), what is kept ([`tape`]), one step a call ([`stream`]).
//! * [`sequential`]: layers of several kinds as one model, fed block by block, exchanged while it plays.
//! * `formats`: models out of files (feature `formats`).
//! * [`flow`]: how far gradients reach: Jacobians, the gradient lag by lag, Lyapunov exponents.
//! * [`batch`]: the threads. [`train`], [`dense`]: losses, optimisers, first values, a read-out layer.
//! * [`peak`]: what the machine can do at most, for the benchmarks.
//! * [`reference`](mod@reference): all of it once more in plain scalar loops, the judge of the rest, which finite
//!   differences judge.
//!
//! Each imports only what stands above it here, and nothing imports what imports it.
//!
//! # Levels and reproducibility
//!
//! A program holds the kernels of several levels ([`Isa`]) and takes the best one the machine has
//! ([`Level::best`]). Results do not depend on which, as long as it fuses multiply-add, nor on the number of
//! threads; and a row's results do not depend on the batch it is in: to the last bit, in every case. The order
//! of every sum is a function of the sizes alone, and every operation is correctly rounded.
//!
//! AVX-512, AVX2 and NEON fuse multiply-add. The portable level does where the crate is compiled for AArch64, or for
//! x86-64 with `target-feature=+fma`. Elsewhere, on x86-64 as it is by default, wasm32, RISC-V and Arm's
//! microcontrollers, it rounds the product too: those give the same bits as one another. With
//! `target-feature=+relaxed-simd` on wasm32 the engine may do either, and no bits are promised.
//!
//! # Microcontrollers
//!
//! Where a target has no vectors (Cortex-M, RISC-V), the portable level takes one number at a time. `examples/cortex-m`
//! is a whole program; it says what a step takes there. Compile with `opt-level = 3`: "s" and "z" do not unroll by the sizes
//! that a cell knows, so that a step is slower, and may even be larger. A processor with hardware for f32
//! alone, as most have, wants cells of f32; f64 is computed by functions. The feature `nightly-fma` needs Rust's
//! nightly and fuses multiply-add there too, where the processor can: then the bits are those of AVX2.
#![no_std]
#![cfg_attr(feature = "nightly-fma", feature(core_float_math))]
#![deny(unsafe_code, missing_docs)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod activation;
#[cfg(feature = "alloc")]
pub mod batch;
pub mod cell;
#[cfg(feature = "alloc")]
pub mod dense;
pub mod error;
pub mod fixed;
pub mod flow;
#[cfg(feature = "formats")]
pub mod formats;
pub mod gates;
mod kernel;
pub mod laps;
pub mod math;
#[cfg(feature = "alloc")]
mod net;
pub mod peak;
pub mod real;
#[cfg(feature = "alloc")]
pub mod reference;
pub mod rng;
#[cfg(feature = "alloc")]
pub mod sequential;
#[allow(unsafe_code)]
pub mod simd;
mod time;
pub mod train;

pub use error::Error;
pub use fixed::{Gru, Lstm, Rnn};
pub use gates::{Activation, CellKind, Config};
#[cfg(feature = "alloc")]
pub use net::{network, network::Network, stream, tape};
#[cfg(feature = "alloc")]
pub use sequential::Sequential;
pub use simd::{Isa, Level};
pub use time::Passes;

/// What the benchmarks, the tests and the Python bindings look at, and no part of what the crate offers.
#[doc(hidden)]
pub mod internals {
    #[cfg(feature = "alloc")]
    pub use crate::kernel::buffer::Buffer;
    pub use crate::kernel::product::{Product, Start, Strides, chains};
    pub use crate::simd::tile::{Extent, Lhs, Rhs, accumulate};
}

/// The programs in the README at the top of the repository, run as tests.
#[cfg(all(doctest, feature = "rayon"))]
#[doc = include_str!("../../README.md")]
struct Readme;

/// The programs in docs/deploy.md.
#[cfg(all(doctest, feature = "formats", feature = "std"))]
#[doc = include_str!("../../docs/deploy.md")]
struct Deploy;
