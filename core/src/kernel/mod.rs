//! Kernels' building blocks: products over rows, packed weights, aligned memory.

#[cfg(feature = "alloc")]
pub mod buffer;
pub mod layout;
#[cfg(feature = "alloc")]
pub mod pack;
pub mod panel;
pub mod plan;
pub mod product;
pub mod shape;
#[cfg(feature = "alloc")]
pub mod small;
pub mod states;
pub mod sum;
