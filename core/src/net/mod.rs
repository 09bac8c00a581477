//! Nets of run-time sizes: layers, directions, dropout between layers, batches in parallel.

mod backward;
pub(crate) mod dropout;
pub(crate) mod forward;
pub(crate) mod gradients;
pub mod network;
mod pieces;
pub(crate) mod shard;
pub mod stream;
pub mod tape;
pub(crate) mod view;
