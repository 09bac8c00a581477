//! Kernels: products and elementwise passes over rows, on any level.

pub mod product;
