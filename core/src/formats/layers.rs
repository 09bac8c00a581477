//! Modules from parameters, which are checked against the sizes before anything of such a size is made.

use super::LoadError;
use super::json::{At, Matrix, refused};
use crate::activation::Function;
use crate::cell::formula::Formula;
use crate::dense::Dense;
use crate::gates::{CellKind, Config, Parameter, Role};
use crate::network::{Network, open_kind};
use crate::sequential::Module;
use crate::simd::Level;
use crate::time::Passes;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

/// Arrays by name, as a state dict has them.
pub trait Tensors<T> {
    /// The array of that name, which must have this shape, flat.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<T>, LoadError>;
}

/// A net whose parameters are what `of` gives for each, of its length. With a formula, `config`'s kind does not matter.
pub fn recurrent<T: Passes>(
    config: Config,
    formula: Option<&Formula>,
    level: Level,
    mut of: impl FnMut(&Parameter) -> Result<Vec<T>, LoadError>,
) -> Result<Module<T>, LoadError> {
    let kind = formula.map_or(config.kind, |formula| open_kind(formula.layout()));
    let config = Config { kind, ..config };
    let mut all = Vec::new();
    for parameter in config.parameters() {
        let own = of(&parameter)?;
        all.try_reserve(own.len()).map_err(|_| LoadError::too_large("parameters"))?;
        all.extend(own);
    }
    let net = match formula {
        Some(formula) => Network::with_formula(config, formula, level)?,
        None => Network::new(config, level)?,
    };
    Ok(Module::Recurrent(net.with_parameters(all)?))
}

/// The same out of a state dict, where their names begin so.
pub fn recurrent_of<T: Passes>(
    tensors: &mut impl Tensors<T>,
    prefix: &str,
    config: Config,
    formula: Option<&Formula>,
    level: Level,
) -> Result<Module<T>, LoadError> {
    recurrent(config, formula, level, |parameter| {
        let shape = [parameter.rows, parameter.columns];
        let axes = if parameter.is_vector() { 1 } else { 2 };
        tensors.take(&format!("{prefix}{parameter}"), &shape[..axes])
    })
}

/// y = W x + b with W (outputs, inputs).
pub fn dense<T: Passes>(
    weight: Matrix<T>,
    bias: Option<Vec<T>>,
    level: Level,
) -> Result<Module<T>, LoadError> {
    let layer = Dense::new(weight.columns, weight.rows, bias.is_some(), level)?;
    let mut parameters = weight.values;
    parameters.extend(bias.into_iter().flatten());
    Ok(Module::Dense(layer.with_parameters(parameters)?))
}

/// The same out of a state dict.
pub fn dense_of<T: Passes>(
    tensors: &mut impl Tensors<T>,
    prefix: &str,
    [inputs, outputs]: [usize; 2],
    bias: bool,
    level: Level,
) -> Result<Module<T>, LoadError> {
    let values = tensors.take(&format!("{prefix}weight"), &[outputs, inputs])?;
    let name: String = format!("{prefix}bias");
    let bias = bias.then(|| tensors.take(&name, &[outputs])).transpose()?;
    dense(Matrix { values, rows: outputs, columns: inputs }, bias, level)
}

/// A function by the name and the numbers that our files and RTNeural's have for it.
pub fn function(name: &str, alpha: Option<f64>, beta: Option<f64>) -> Option<Function> {
    Some(match name {
        "tanh" => Function::Tanh,
        "relu" => Function::Relu,
        "sigmoid" => Function::Sigmoid,
        "softmax" => Function::Softmax,
        "elu" => Function::Elu { alpha: alpha.unwrap_or(1.0) },
        "leaky_relu" => Function::LeakyRelu { alpha: alpha.unwrap_or(0.01) },
        "hard_sigmoid" => {
            Function::HardSigmoid { alpha: alpha.unwrap_or(1.0 / 6.0), beta: beta.unwrap_or(0.5) }
        }
        "softsign" => Function::Softsign,
        "silu" => Function::Silu,
        _ => return None,
    })
}

/// The list of weights of a Keras layer as a net: kernels (I, G·H) and (H, G·H), the transposes of ours, a GRU's gates
/// in the order z, r, n; a bias for each, of an LSTM only one.
pub fn from_keras<T: Passes>(
    at: At<'_>,
    kind: CellKind,
    [kernel, recurrent_kernel]: [Matrix<T>; 2],
    biases: &[T],
    level: Level,
) -> Result<Module<T>, LoadError> {
    let gates = kind.gates().len();
    let (inputs, hidden) = (kernel.rows, recurrent_kernel.rows);
    let rows = gates.saturating_mul(hidden);
    for (name, got) in [("kernel", kernel.columns), ("recurrent kernel", recurrent_kernel.columns)]
    {
        if got != rows {
            return Err(refused(at, format!("{rows} columns in the {name}"), got));
        }
    }
    let expected = if let CellKind::Gru { .. } = kind { rows * 2 } else { rows };
    if biases.len() != expected {
        return Err(refused(at, format!("{expected} biases"), biases.len()));
    }
    let config = Config::new(kind, inputs, hidden);
    // Where a gate of ours stands in Keras' order.
    let place = |gate: usize| if gates == 3 { [1, 0, 2][gate] } else { gate };
    let row = |row: usize| place(row / hidden) * hidden + row % hidden;
    let transposed = |kernel: &Matrix<T>| -> Vec<T> {
        let columns = |r: usize| kernel.values[r..].iter().step_by(rows).copied();
        (0..rows).flat_map(|r| columns(row(r))).collect()
    };
    self::recurrent(config, None, level, |parameter| {
        let bias = |from: &[T]| -> Vec<T> { (0..rows).map(|r| from[row(r)]).collect() };
        Ok(match parameter.role {
            Role::WeightIh => transposed(&kernel),
            Role::WeightHh => transposed(&recurrent_kernel),
            Role::BiasIh => bias(&biases[..rows]),
            Role::BiasHh if biases.len() > rows => bias(&biases[rows..]),
            _ => vec![T::ZERO; parameter.len()],
        })
    })
}
