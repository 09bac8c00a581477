//! The C interface of `unrolled`: models loaded from files, and streams that play them. `include/unrolled.h`, which
//! cbindgen makes of this crate, is its documentation.
//!
//! Every function checks what a C interface can know of its arguments, and lets no panic out. What it cannot know is the
//! caller's promise, made once for all functions at the header's top ("What you promise", in cbindgen.toml); SAFETY
//! comments call it what the caller says.
#![allow(clippy::missing_safety_doc)]

mod check;
mod error;
mod machine;
mod model;
mod stream;
#[cfg(test)]
mod tests;

pub use error::{Failure, MESSAGE_SIZE, Status, unrolled_status_text};
pub use machine::{unrolled_isa, unrolled_version};
pub use model::*;
pub use stream::*;
