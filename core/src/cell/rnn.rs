//! The plain recurrent layer (Elman 1990): h' = σ(W_ih x + b_ih + W_hh h + b_hh).

use super::spec::{Cell, Derivatives};
use crate::kernel::layout::Slot;
use crate::real::Real;
use crate::simd::{Lanes, Simd};

/// A plain recurrent layer of one activation, out of the function and its slope, which is one of the function's value.
macro_rules! rnn {
    ($(#[$doc:meta])* $name:ident, |$x:ident| $y:expr, |$of:ident, $d:ident| $slope:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug)]
        pub struct $name;

        impl Cell for $name {
            type Slots<A: Copy> = [A; 1];
            type States<A: Copy> = [A; 1];
            type MapsOfX<A: Copy> = [A; 1];
            type MapsOfH<A: Copy> = [A; 1];
            type Parameters<A: Copy> = [A; 0];

            const SLOTS: &'static [Slot] = &[Slot::both(0, 0)];
            const READS_H: bool = false;
            const SHORT: bool = true;

            #[inline(always)]
            fn forward<T: Real, S: Simd<T>>(
                [slot]: &mut [Lanes<T, S>; 1],
                [h]: &mut [Lanes<T, S>; 1],
                _: &[Lanes<T, S>; 0],
            ) {
                let $x = *slot;
                *slot = $y;
                *h = *slot;
            }

            #[inline(always)]
            fn backward<T: Real, S: Simd<T>>(
                &[$of]: &[Lanes<T, S>; 1],
                _: &[Lanes<T, S>; 1],
                _: &[Lanes<T, S>; 0],
                [d_h]: &mut [Lanes<T, S>; 1],
                derivatives: &mut Derivatives<Self, T, S>,
            ) {
                let $d = *d_h;
                derivatives.slots = [$slope];
            }
        }
    };
}

rnn!(
    /// An RNN with tanh.
    Tanh,
    |x| x.tanh(),
    |y, d| d * y.neg_mul_add(y, y.like(1.0))
);
rnn!(
    /// An RNN with max(0, x).
    Relu,
    |x| x.at_least(0.0),
    |y, d| y.like(0.0).if_less(y, d, y.like(0.0))
);
rnn!(
    /// An RNN with the logistic function.
    Sigmoid,
    |x| x.sigmoid(),
    |y, d| d * (y * (y.like(1.0) - y))
);
