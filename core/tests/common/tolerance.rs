//! The one table of permitted errors. Every test reads it; an entry is loosened only with the
//! reason beside it.
//!
//! Errors are measured against the largest magnitude in the array compared (see
//! [`super::assert_close`]): an element that is small because large terms cancel in it carries
//! their rounding errors.

use unrolled::real::Real;

/// Outputs and states of a net in `T`, against the reference in `f64`.
pub fn outputs<T: Real>() -> f64 {
    match T::NAME {
        // |h| < 1 and an activation is within 2.5 ULP (1.5e-7 at 1): some steps' worth of them.
        "float32" => 1e-6,
        // Sums of up to some hundred terms, each rounded to 1.1e-16, through tens of steps.
        _ => 1e-12,
    }
}

/// Gradients of a net in `T`, against the reference in `f64`.
pub fn gradients<T: Real>() -> f64 {
    match T::NAME {
        // Sums over every step and row, of products of steps' errors: ten times the outputs'.
        "float32" => 1e-5,
        // As the outputs: far above rounding all the same.
        _ => 1e-12,
    }
}

/// Two ways to the same numbers in `f64`, the sums in another order.
pub const REORDERED: f64 = 1e-12;

/// Half the distance of the two points of a central difference: its error is about
/// step² |f'''| / 6 + 1e-16 |f| / step, and this is near the least of that.
pub const DIFFERENCE_STEP: f64 = 1e-5;

/// A gradient against central differences: the error above, for losses of up to some tens,
/// measured against the largest element or 1.
pub const DIFFERENCE: f64 = 1e-8;

/// An `f32` loss's gradient against the `f64` one, relative: the difference of two logits up to
/// 40 apart is rounded to 2⁻²⁴ of itself before it goes through an exponential.
pub const LOSS_GRADIENT_F32: f64 = 5e-6;

/// An `f32` loss's value against the `f64` one, relative: the same error, averaged, beside the
/// exact part of the value.
pub const LOSS_VALUE_F32: f64 = 1e-7;

/// A loss and its gradient in `f64` against PyTorch's, absolute, for numbers up to some ten:
/// a few roundings each.
pub const LOSS_PYTORCH: f64 = 1e-15;

/// Parameters after ten optimiser steps against PyTorch's, in ULP: it fuses some of its
/// multiply-adds, we none. The worst is 3.4.
pub const OPTIMIZER_ULPS: f64 = 5.0;

/// A norm or a clipped gradient against PyTorch's or a plain sum, relative in `f64`: the
/// sums run in other orders.
pub const NORM: f64 = 1e-14;

/// Vᵀ V against the identity for orthonormal vectors of up to 100 elements, each rounded once.
pub fn orthonormal<T: Real>() -> f64 {
    match T::NAME {
        "float32" => 1e-6,
        _ => 2e-15,
    }
}

/// Where an array has a single number, or a few, all of it may be small because its terms (weights, inputs
/// and derivatives of order 1) cancel; errors are then measured against this.
pub const CANCELLED: f64 = 0.1;
