//! CoreAudioML's JSON, which Proteus, NeuralPi and Chameleon load: a recurrent layer of PyTorch's, a linear one, and
//! perhaps the first channels of the input added.

use super::LoadError;
use super::json::{Object, refused};
use super::layers::{Tensors, dense_of, recurrent_of};
use crate::gates::{Activation, CellKind, Config};
use crate::real::Real;
use crate::sequential::{Module, Sequential};
use crate::simd::Level;
use crate::time::Passes;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

const AT: &str = "model_data";
const ABOUT: [&str; 8] = [
    "model",
    "unit_type",
    "skip",
    "bias_fl",
    "input_size",
    "hidden_size",
    "num_layers",
    "output_size",
];

pub fn load<T: Passes>(file: &Object, level: Level) -> Result<Sequential<T>, LoadError> {
    let (about, arrays) = (file.object("", AT)?, file.object("", "state_dict")?);
    let model = about.text(AT, "model", None)?;
    if model != "SimpleRNN" {
        return Err(refused("model_data.model", "SimpleRNN, the one that is known here", model));
    }
    file.only("", &[AT, "state_dict"])?;
    about.only(AT, &ABOUT)?;
    let kind = match about.text(AT, "unit_type", None)? {
        "LSTM" => CellKind::Lstm { forget_gate: true },
        "GRU" => CellKind::Gru { reset_after: true },
        "RNN" => CellKind::Rnn(Activation::Tanh),
        other => return Err(refused("model_data.unit_type", "one of LSTM, GRU, RNN", other)),
    };
    let inputs = about.size(AT, "input_size", None, 1)?;
    let hidden = about.size(AT, "hidden_size", None, 1)?;
    let num_layers = about.size(AT, "num_layers", None, 1)?;
    let outputs = about.size(AT, "output_size", None, 1)?;
    let bias = about.flag(AT, "bias_fl", None)?;
    let skip = about.size(AT, "skip", None, 0)?;
    if skip > 0 && (skip != outputs || skip > inputs) {
        return Err(refused("model_data.skip", "0, or output_size where as many come", skip));
    }

    let mut of = StateDict { arrays, taken: 0 };
    let config = Config { num_layers, ..Config::new(kind, inputs, hidden) };
    let mut modules = vec![
        recurrent_of(&mut of, "rec.", config, None, level)?,
        dense_of(&mut of, "lin.", [hidden, outputs], bias, level)?,
    ];
    if of.taken != arrays.len() {
        let expected = format!("{} arrays by model_data", of.taken);
        return Err(refused("state_dict", expected, arrays.len()));
    }
    if skip > 0 {
        modules.push(Module::Residual { since: 0 });
    }
    Ok(Sequential::new(modules)?)
}

/// PyTorch's parameters as lists.
struct StateDict<'a> {
    arrays: &'a Object,
    taken: usize,
}

impl<T: Real> Tensors<T> for StateDict<'_> {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<T>, LoadError> {
        let at = format!("state_dict.{name}");
        let Some(array) = self.arrays.get(name) else {
            return Err(refused(&at, "it, by model_data", "nothing"));
        };
        let (values, got) = if shape.len() == 2 {
            let matrix = array.matrix(&at)?;
            (matrix.values, vec![matrix.rows, matrix.columns])
        } else {
            let values = array.vector(&at)?;
            let len = values.len();
            (values, vec![len])
        };
        if got != shape {
            return Err(refused(&at, format!("shape {shape:?} by model_data"), format!("{got:?}")));
        }
        self.taken += 1;
        Ok(values)
    }
}
