//! A read-out of fixed size.

use crate::cell::product;
use crate::kernel::plan::{ROWS, Static};
use crate::kernel::product::{Product, Start, Strides};
use crate::real::Real;
use crate::simd::{Element, Extent, Kernel, Level, Lhs, Rhs, Simd};

/// y = W x + b with `I` inputs and `O` outputs: with the same results, bit for bit, as `dense::Dense`.
///
/// ```
/// use unrolled::fixed::Dense;
///
/// static READ_OUT: Dense<f32, 2, 1> = Dense::new([[0.5, -1.0]], [0.25]);
/// assert_eq!(READ_OUT.forward(&[1.0, 0.5]), [0.25]);
/// ```
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Dense<T, const I: usize, const O: usize> {
    // By what multiplies: lanes are outputs.
    weight: [[T; O]; I],
    bias: [T; O],
}

impl<T: Real, const I: usize, const O: usize> Dense<T, I, O> {
    /// A layer from PyTorch's arrays: weights by output and input.
    #[must_use]
    pub const fn new(weight: [[T; I]; O], bias: [T; O]) -> Self {
        const { assert!(I > 0 && O > 0, "a dense layer has inputs and outputs") };
        let mut by_input = [[T::ZERO; O]; I];
        let mut o = 0;
        while o < O {
            let mut i = 0;
            while i < I {
                by_input[i][o] = weight[o][i];
                i += 1;
            }
            o += 1;
        }
        Dense { weight: by_input, bias }
    }
}

impl<T: Element, const I: usize, const O: usize> Dense<T, I, O> {
    /// y.
    #[inline]
    #[must_use]
    pub fn forward(&self, x: &[T; I]) -> [T; O] {
        let mut y = [T::ZERO; O];
        T::dispatch(Level::best(), ReadOut { layer: self, x, y: &mut y });
        y
    }
}

struct ReadOut<'a, T, const I: usize, const O: usize> {
    layer: &'a Dense<T, I, O>,
    x: &'a [T; I],
    y: &'a mut [T; O],
}

impl<T: Real, const I: usize, const O: usize> Kernel<T> for ReadOut<'_, T, I, O> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Self { layer, x, y } = self;
        product::<T, S, Static<O>, ROWS>(
            s,
            1,
            Product {
                rows: 1,
                units: O,
                lhs: Lhs { data: x, row: I, step: 1, segment: 0 },
                rhs: Rhs { data: layer.weight.as_flattened(), step: O, tile: S::LANES, gate: 0 },
                extent: Extent { segments: 1, steps: I },
                chains: 1,
                start: Start::Row(&layer.bias),
                turn: false,
                out: y,
                strides: Strides { row: O, tile: S::LANES, gate: 0 },
            },
        );
    }
}
