//! Activations between layers, forward beside backward: what stands in a network besides its cells and
//! dense layers.
//!
//! ```
//! use unrolled::activation::Function;
//! use unrolled::simd::Level;
//!
//! let mut y = [-1.0f32, 0.0, 2.0];
//! Function::Relu.apply(Level::best(), &mut y, 3);
//! assert_eq!(y, [0.0, 0.0, 2.0]);
//! ```

use crate::cell::units;
use crate::math::{exp, sigmoid, tanh};
use crate::real::Real;
use crate::simd::{Element, Kernel, Lanes, Level, Simd};

/// A function of every value on its own, but for [`Softmax`](Function::Softmax), which is one of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// tanh x
    Tanh,
    /// max(0, x); NaN for NaN.
    Relu,
    /// 1 / (1 + e⁻ˣ)
    Sigmoid,
    /// e^xᵢ / Σⱼ e^xⱼ
    Softmax,
    /// x, and alpha (eˣ − 1) below 0 (Clevert et al. 2016).
    Elu {
        /// What it tends to far below 0, negated.
        alpha: f64,
    },
    /// x, and alpha x below 0.
    LeakyRelu {
        /// The slope below 0.
        alpha: f64,
    },
    /// alpha x + beta, limited to 0 … 1.
    HardSigmoid {
        /// The slope.
        alpha: f64,
        /// The value at 0.
        beta: f64,
    },
    /// x / (1 + |x|)
    Softsign,
    /// x / (1 + e⁻ˣ), also called swish.
    Silu,
}

impl Function {
    /// Replaces `values` by the function of them. They are rows of so many (for softmax; a row of none, or one
    /// that is not whole, is left as it is).
    pub fn apply<T: Element>(self, level: Level, values: &mut [T], row: usize) {
        if let Function::Softmax = self {
            if row > 0 {
                values.chunks_exact_mut(row).for_each(|row| softmax(level, row));
            }
        } else {
            T::dispatch(level, Evaluate { function: self, values });
        }
    }

    /// The mirror: `d`, the derivative of a loss by y, becomes that by x. `x` and `y` are what went in and what
    /// came out. What the shortest of the three does not reach is left as it is.
    pub fn backward<T: Element>(self, level: Level, x: &[T], y: &[T], d: &mut [T], row: usize) {
        let len = x.len().min(y.len()).min(d.len());
        let (x, y, d) = (&x[..len], &y[..len], &mut d[..len]);
        if let Function::Softmax = self {
            if row > 0 {
                for (y, d) in y.chunks_exact(row).zip(d.chunks_exact_mut(row)) {
                    d_softmax(y, d);
                }
            }
        } else {
            T::dispatch(level, Differentiate { function: self, x, y, d });
        }
    }

    #[inline(always)]
    fn of<T: Real, S: Simd<T>>(self, x: Lanes<T, S>) -> Lanes<T, S> {
        let (zero, one) = (x.like(0.0), x.like(1.0));
        match self {
            Function::Tanh => tanh(x),
            Function::Relu => x.if_less(zero, zero, x),
            Function::Sigmoid => sigmoid(x),
            Function::Elu { alpha } => {
                // eˣ − 1 = 2t / (1 − t) with t = tanh(x/2): nothing cancels for x < 0.
                let t = tanh(x * x.like(0.5));
                x.if_less(zero, x.like(alpha) * ((t + t) / (one - t)), x)
            }
            Function::LeakyRelu { alpha } => x.if_less(zero, x.like(alpha) * x, x),
            Function::HardSigmoid { alpha, beta } => {
                (x * x.like(alpha) + x.like(beta)).at_least(0.0).at_most(1.0)
            }
            Function::Softsign => x / (one + x.abs()),
            Function::Silu => x * sigmoid(x),
            // Not a function of one value: `apply` never asks.
            Function::Softmax => x,
        }
    }

    /// The derivative, at x, where y is the function's value.
    #[inline(always)]
    fn slope<T: Real, S: Simd<T>>(self, x: Lanes<T, S>, y: Lanes<T, S>) -> Lanes<T, S> {
        let (zero, one) = (x.like(0.0), x.like(1.0));
        match self {
            Function::Tanh => (one - y) * (one + y),
            Function::Relu => zero.if_less(x, one, zero),
            Function::Sigmoid => y * (one - y),
            Function::Elu { alpha } => x.if_less(zero, y + x.like(alpha), one),
            Function::LeakyRelu { alpha } => x.if_less(zero, x.like(alpha), one),
            Function::HardSigmoid { alpha, .. } => {
                zero.if_less(y, y.if_less(one, x.like(alpha), zero), zero)
            }
            Function::Softsign => {
                let width = one + x.abs();
                one / (width * width)
            }
            Function::Silu => {
                let s = sigmoid(x);
                s + y * (one - s)
            }
            Function::Softmax => one,
        }
    }
}

struct Evaluate<'a, T> {
    function: Function,
    values: &'a mut [T],
}

impl<T: Real> Kernel<T> for Evaluate<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Self { function, values } = self;
        units!(S, values.len(), |u, PART| {
            function.of(Lanes::<T, S>::read::<PART>(s, values, u)).write::<PART>(values, u);
        });
    }
}

struct Differentiate<'a, T> {
    function: Function,
    x: &'a [T],
    y: &'a [T],
    d: &'a mut [T],
}

impl<T: Real> Kernel<T> for Differentiate<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Self { function, x, y, d } = self;
        units!(S, d.len(), |u, PART| {
            let read = |from| Lanes::<T, S>::read::<PART>(s, from, u);
            let d_x = read(d) * function.slope(read(x), read(y));
            d_x.write::<PART>(d, u);
        });
    }
}

/// e^(x − `less`)
struct Exp<'a, T> {
    values: &'a mut [T],
    less: T,
}

impl<T: Real> Kernel<T> for Exp<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Self { values, less } = self;
        let less = Lanes::new(s, s.splat(less));
        units!(S, values.len(), |u, PART| {
            let x = Lanes::<T, S>::read::<PART>(s, values, u);
            exp(x - less).write::<PART>(values, u);
        });
    }
}

/// The largest value goes to e⁰, so that nothing overflows. Sums are taken in order, whatever the level.
fn softmax<T: Element>(level: Level, row: &mut [T]) {
    let Some(&first) = row.first() else { return };
    let less = row.iter().fold(first, |most, &x| if x > most { x } else { most });
    T::dispatch(level, Exp { values: row, less });
    let sum = row.iter().fold(T::ZERO, |sum, &e| sum + e);
    row.iter_mut().for_each(|e| *e = *e / sum);
}

/// d_xᵢ = yᵢ (dᵢ − Σⱼ yⱼ dⱼ)
fn d_softmax<T: Real>(y: &[T], d: &mut [T]) {
    let mean = y.iter().zip(&*d).fold(T::ZERO, |sum, (&y, &d)| sum + y * d);
    for (d, &y) in d.iter_mut().zip(y) {
        *d = y * (*d - mean);
    }
}
