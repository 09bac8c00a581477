//! One layer y = σ(W x + b) and its Jacobian, sizes fixed when compiled.

use crate::gates::Activation;
use crate::math::{Accurate, Math};
use crate::sequence::Passes;
use crate::simd::{Kernel, Lanes, Level, Simd};

/// ∂y/∂x = diag(σ'(W x + b)) W for y = σ(W x + b), into `jacobian`. No `activation` is the identity. A relu's
/// slope at 0 is 0.
///
/// ```
/// use unrolled::Activation;
/// use unrolled::flow::layer_jacobian;
///
/// let mut jacobian = [[0.0; 2]; 1];
/// layer_jacobian(&[[2.0, -3.0]], &[0.5, 0.25], None, Some(Activation::Sigmoid), &mut jacobian);
/// let y = 1.0 / (1.0 + (-0.25_f64).exp());
/// assert!((jacobian[0][1] - y * (1.0 - y) * -3.0).abs() < 1e-15);
/// ```
pub fn layer_jacobian<T: Passes, const N: usize, const D: usize>(
    w: &[[T; D]; N],
    x: &[T; D],
    bias: Option<&[T; N]>,
    activation: Option<Activation>,
    jacobian: &mut [[T; D]; N],
) {
    let mut slope = *bias.unwrap_or(&[T::ZERO; N]);
    for (sum, row) in slope.iter_mut().zip(w) {
        for (&w, &x) in row.iter().zip(x) {
            *sum += w * x;
        }
    }
    match activation {
        Some(activation) => T::dispatch(Level::best(), Slope { activation, values: &mut slope }),
        None => slope = [T::ONE; N],
    }
    for ((to, row), slope) in jacobian.iter_mut().zip(w).zip(slope) {
        for (to, &w) in to.iter_mut().zip(row) {
            *to = slope * w;
        }
    }
}

/// From pre-activations to σ' there, in place.
struct Slope<'a, T> {
    activation: Activation,
    values: &'a mut [T],
}

impl<T: Passes> Kernel<T> for Slope<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        for values in self.values.chunks_mut(S::LANES) {
            let x = Lanes::<T, S>::read::<true>(s, values, 0);
            let (zero, one) = (x.like(0.0), x.like(1.0));
            let slope = match self.activation {
                Activation::Tanh => {
                    let y = Accurate::tanh(x);
                    y.neg_mul_add(y, one)
                }
                Activation::Relu => zero.if_less(x, one, zero),
                Activation::Sigmoid => {
                    let y = Accurate::sigmoid(x);
                    y * (one - y)
                }
            };
            slope.write::<true>(values, 0);
        }
    }
}
