//! Kernels' building blocks: products over rows, packed weights, aligned memory.

#[cfg(feature = "alloc")]
pub mod buffer;
#[cfg(feature = "alloc")]
pub mod pack;
pub mod product;
pub mod shape;
