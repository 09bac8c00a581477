//! First values of the parameters, from a seed.
//!
//! Each parameter has a random stream of its own, by seed, layer, direction and role: a net
//! with one more layer, or without biases, has the same numbers in the rest.

use super::reduce::{dot, subtract_multiple};
use super::{check, check_length};
use crate::error::Error;
use crate::gates::{Config, Gate, Parameter, Role};
use crate::real::Real;
use crate::rng::{Rng, derive};
use crate::simd::{Element, Kernel, Level, Simd};

/// How [`initialise`] draws each parameter. H is the hidden size; a block is the H rows
/// that one gate has of a weight matrix, or the whole of a projection.
///
/// | | `weight_ih` | `weight_hh` | `weight_hr` | biases |
/// |---|---|---|---|---|
/// | `Uniform` | ±1/√H | ±1/√H | ±1/√H | ±1/√H |
/// | `Orthogonal` | Xavier, by block | orthogonal, by block | orthogonal | 0 |
/// | `Xavier` | Xavier, by block | Xavier, by block | Xavier | 0 |
///
/// ±b stands for the uniform distribution from −b to b.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// As `torch.nn.LSTM`, `GRU` and `RNN` start.
    Uniform,
    /// As Keras's layers start: the state's own path neither grows nor shrinks it at first.
    Orthogonal,
    /// The spread of the sums is that of the inputs, at first.
    Xavier,
}

/// Fills `parameters`, flat in the order of [`Config::parameters`], and adds `forget_bias`
/// to the forget gate's rows of `bias_ih` (of `bias_ih` alone: the cell sees it once).
///
/// The values depend on the arguments only, not on the machine.
///
/// ```
/// use unrolled::gates::{CellKind, Config};
/// use unrolled::train::{Init, initialise};
/// let config = Config::new(CellKind::Lstm { forget_gate: true }, 3, 16);
/// let mut parameters = vec![0_f32; config.num_parameters()];
/// initialise(&config, Init::Uniform, 1.0, 42, &mut parameters)?;
/// # Ok::<(), unrolled::error::Error>(())
/// ```
///
/// # Errors
/// [`Error::Length`] where `parameters` does not fit `config`; [`Error::Invalid`] where
/// `forget_bias` is not finite, or not 0 in a net without a forget gate or without biases.
pub fn initialise<T: Element>(
    config: &Config,
    init: Init,
    forget_bias: f64,
    seed: u64,
    parameters: &mut [T],
) -> Result<(), Error> {
    check_length("parameters", config.num_parameters(), parameters.len())?;
    check("forget_bias", forget_bias.is_finite(), "a finite number")?;
    let forget = config.kind.gates().iter().position(|&gate| gate == Gate::Forget);
    let there = forget.is_some() && config.bias;
    check("forget_bias", there || forget_bias == 0.0, "0 without a forget gate and biases")?;

    let mut rest = parameters;
    for parameter in config.parameters() {
        let (values, after) = rest.split_at_mut(parameter.len());
        rest = after;
        if values.is_empty() {
            continue;
        }
        let Parameter { role, layer, reverse, .. } = parameter;
        let stream = derive(seed, 2 * layer as u64 + u64::from(reverse));
        let mut rng = Rng::new(derive(stream, role as u64));
        fill(config, init, &parameter, &mut rng, values)?;
        if let (Role::BiasIh, Some(gate)) = (role, forget) {
            let h = config.hidden_size;
            for bias in &mut values[gate * h..(gate + 1) * h] {
                *bias += T::from_f64(forget_bias);
            }
        }
    }
    Ok(())
}

fn fill<T: Element>(
    config: &Config,
    init: Init,
    parameter: &Parameter,
    rng: &mut Rng,
    values: &mut [T],
) -> Result<(), Error> {
    if init == Init::Uniform {
        uniform(1.0 / libm::sqrt(config.hidden_size as f64), rng, values);
        return Ok(());
    }
    if parameter.is_vector() {
        values.fill(T::ZERO);
        return Ok(());
    }
    let orthogonally = init == Init::Orthogonal && parameter.role != Role::WeightIh;
    let columns = parameter.columns;
    let rows = if parameter.role == Role::WeightHr { parameter.rows } else { config.hidden_size };
    for block in values.chunks_exact_mut(rows * columns) {
        if orthogonally {
            orthogonal(rows, columns, 1.0, rng, block)?;
        } else {
            xavier_uniform(rows, columns, 1.0, rng, block)?;
        }
    }
    Ok(())
}

/// Fills `values` with numbers uniform from −`bound` to `bound`.
pub fn uniform<T: Real>(bound: f64, rng: &mut Rng, values: &mut [T]) {
    for value in values {
        *value = T::from_f64(bound * (2.0 * rng.uniform() - 1.0));
    }
}

/// Fills `matrix`, `[rows][columns]`, with numbers uniform within
/// ±`gain` · √(6 / (`rows` + `columns`)) (Glorot & Bengio, 2010).
///
/// # Errors
/// [`Error::Length`] where `matrix` is not `rows · columns` long.
pub fn xavier_uniform<T: Real>(
    rows: usize,
    columns: usize,
    gain: f64,
    rng: &mut Rng,
    matrix: &mut [T],
) -> Result<(), Error> {
    check_matrix(rows, columns, matrix)?;
    uniform(gain * libm::sqrt(6.0 / (rows as f64 + columns as f64)), rng, matrix);
    Ok(())
}

/// Fills `matrix`, `[rows][columns]`, with `gain` times a random matrix whose rows (columns
/// where they are fewer) are orthonormal, none likelier than another (Saxe et al., 2014).
///
/// These are the rows of a matrix of normal numbers after Gram and Schmidt, whose
/// coefficients are positive on the diagonal, which is what makes the result uniform
/// (Mezzadri, 2007). Takes about 4 · `rows` · `columns` · min(`rows`, `columns`) operations.
///
/// # Errors
/// [`Error::Length`] where `matrix` is not `rows · columns` long.
pub fn orthogonal<T: Element>(
    rows: usize,
    columns: usize,
    gain: f64,
    rng: &mut Rng,
    matrix: &mut [T],
) -> Result<(), Error> {
    check_matrix(rows, columns, matrix)?;
    if matrix.is_empty() {
        return Ok(());
    }
    let (count, length) = (rows.min(columns), rows.max(columns));
    T::dispatch(Level::best(), Orthonormal { length, rng, vectors: matrix });
    for value in matrix.iter_mut() {
        *value = T::from_f64(gain * value.to_f64());
    }
    if rows > columns {
        transpose(count, length, matrix);
    }
    Ok(())
}

fn check_matrix<T>(rows: usize, columns: usize, matrix: &[T]) -> Result<(), Error> {
    let expected = rows.checked_mul(columns).ok_or(Error::TooLarge { what: "matrix" })?;
    check_length("matrix", expected, matrix.len())
}

/// Fills `vectors` with orthonormal vectors of `length`, one after another.
struct Orthonormal<'a, T> {
    length: usize,
    rng: &'a mut Rng,
    vectors: &'a mut [T],
}

impl<T: Element> Kernel<T> for Orthonormal<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, _: S) {
        for at in (0..self.vectors.len()).step_by(self.length) {
            let (before, from_here) = self.vectors.split_at_mut(at);
            let vector = &mut from_here[..self.length];
            // A vector of which next to nothing is left is drawn again: its digits are
            // gone. What is left has a direction independent of its length, so this favours
            // none. One matrix in about 400 draws its last vector twice at length 1000.
            let mut left = 0.0;
            while left < 1e-4 * libm::sqrt(self.length as f64) {
                for x in vector.iter_mut() {
                    *x = T::from_f64(self.rng.normal());
                }
                // Modified Gram–Schmidt. What rounding leaves of the earlier vectors after
                // one pass grows with what was taken off; a second pass leaves an ULP or so.
                for _ in 0..2 {
                    for earlier in before.chunks_exact(self.length) {
                        subtract_multiple(vector, dot(vector, earlier), earlier);
                    }
                }
                left = libm::sqrt(dot(vector, vector));
            }
            for x in vector.iter_mut() {
                *x = T::from_f64(x.to_f64() / left);
            }
        }
    }
}

/// Turns `count` vectors of `length` into `length` rows of `count`, in place.
fn transpose<T: Copy>(count: usize, length: usize, data: &mut [T]) {
    let destination = |k: usize| k % length * count + k / length;
    for start in 0..data.len() {
        // The moves form cycles. Each is made once, from its smallest index.
        let mut k = destination(start);
        while k > start {
            k = destination(k);
        }
        if k < start {
            continue;
        }
        let mut carried = data[start];
        loop {
            k = destination(k);
            core::mem::swap(&mut carried, &mut data[k]);
            if k == start {
                break;
            }
        }
    }
}
