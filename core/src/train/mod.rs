//! What training needs beside the gradients of a net: losses, optimisers, clipping, and
//! the first values of the parameters. All of it works in the caller's buffers.
//!
//! ```
//! use unrolled::train::{Adam, clip_coefficient, global_norm, mse, scale};
//!
//! // Fit w·x to 3·x.
//! let (x, y) = ([1.0, 2.0, -1.0], [3.0, 6.0, -3.0]);
//! let (mut w, mut m, mut v) = ([0.0], [0.0], [0.0]);
//! let adam = Adam { lr: 0.1, ..Adam::default() };
//! for t in 1..=200 {
//!     let prediction = x.map(|x| w[0] * x);
//!     let mut d_prediction = [0.0; 3];
//!     mse(&prediction, &y, None, &mut d_prediction)?;
//!     let mut d_w = [x.iter().zip(d_prediction).map(|(x, d)| x * d).sum::<f64>()];
//!     let norm = global_norm([&d_w[..]]);
//!     scale(clip_coefficient(norm, 10.0)?, &mut d_w);
//!     adam.step(t, &mut w, &d_w, &mut m, &mut v)?;
//! }
//! assert!((w[0] - 3.0).abs() < 1e-3);
//! # Ok::<(), unrolled::error::Error>(())
//! ```

mod clip;
mod each;
mod init;
mod loss;
mod optimizer;
pub(crate) mod reduce;

pub use clip::{clip_coefficient, global_norm, scale};
pub use init::{Init, initialise, orthogonal, uniform, xavier_uniform};
pub use loss::{binary_cross_entropy_with_logits, cross_entropy, mse};
pub use optimizer::{Adam, AdamStep, Sgd};

use crate::error::Error;

/// Refuses `argument` where it holds `got` numbers instead of `expected`.
fn check_length(argument: &'static str, expected: usize, got: usize) -> Result<(), Error> {
    if got == expected { Ok(()) } else { Err(Error::Length { argument, expected, got }) }
}

/// Refuses `argument` unless `holds`.
fn check(argument: &'static str, holds: bool, expected: &'static str) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(Error::Invalid { argument, expected }) }
}

/// Refuses `argument` unless it is neither negative, infinite nor NaN.
fn check_not_negative(argument: &'static str, x: f64) -> Result<(), Error> {
    check(argument, x.is_finite() && x >= 0.0, "a finite number, 0 or more")
}
