//! Neural Amp Modeler's `.nam`: the LSTM models among them.
//!
//! All weights are in one list: layer by layer the rows of `[weight_ih, weight_hh]` side by side, one bias, the initial
//! h, the initial c; and then the head, a dense layer. Gates are in PyTorch's order.

use super::LoadError;
use super::json::{Matrix, Object, refused};
use super::layers::{dense, recurrent};
use crate::gates::{CellKind, Config, Role};
use crate::sequential::Sequential;
use crate::simd::Level;
use crate::time::Passes;
use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

const TOP: [&str; 6] = ["version", "architecture", "config", "weights", "metadata", "sample_rate"];
const CONFIG: [&str; 5] =
    ["input_size", "hidden_size", "num_layers", "in_channels", "out_channels"];

pub fn load<T: Passes>(file: &Object, level: Level) -> Result<Sequential<T>, LoadError> {
    file.only("", &TOP)?;
    let version = file.text("", "version", Some("0.5.4"))?;
    if !version.starts_with("0.") {
        return Err(refused("version", "0.…, as is known here", version));
    }
    let architecture = file.text("", "architecture", None)?;
    if architecture != "LSTM" {
        return Err(refused("architecture", "LSTM, the one that is known here", architecture));
    }
    let about = file.object("", "config")?;
    about.only("config", &CONFIG)?;
    let inputs = about.size("config", "input_size", None, 1)?;
    let hidden = about.size("config", "hidden_size", None, 1)?;
    let num_layers = about.size("config", "num_layers", None, 1)?;
    let outputs = about.size("config", "out_channels", Some(1), 1)?;
    let channels = about.size("config", "in_channels", Some(inputs), 1)?;
    if channels != inputs {
        return Err(refused("config.in_channels", format!("input_size = {inputs}"), channels));
    }
    let weights = match file.get("weights") {
        Some(weights) => weights.vector::<T>("weights")?,
        None => return Err(refused("weights", "a list of numbers", "nothing")),
    };
    let config =
        Config { num_layers, ..Config::new(CellKind::Lstm { forget_gate: true }, inputs, hidden) };
    // One bias where PyTorch has two, and the two initial states.
    let wide = |of: usize| of as u128;
    let (first, above) = (wide(inputs) + wide(hidden), 2 * wide(hidden));
    let layer = |columns: u128| 4 * wide(hidden) * columns + 6 * wide(hidden);
    let total = layer(first)
        .saturating_add((wide(num_layers) - 1).saturating_mul(layer(above)))
        .saturating_add(wide(outputs) * (wide(hidden) + 1));
    if total != weights.len() as u128 {
        return Err(refused("weights", format!("{total} by config"), weights.len()));
    }

    // Where the weights of each layer begin.
    let begin = |n: usize| match n {
        0 => 0,
        n => layer(first) as usize + (n - 1) * layer(above) as usize,
    };
    let rows = 4 * hidden;
    let lstm = recurrent(config, None, level, |parameter| {
        let columns = config.layer_input_size(parameter.layer) + hidden;
        let own = &weights[begin(parameter.layer)..];
        let (both, rest) = own.split_at(rows * columns);
        let side = |columns_of: core::ops::Range<usize>| -> Vec<T> {
            both.chunks(columns).flat_map(|row| row[columns_of.clone()].iter().copied()).collect()
        };
        Ok(match parameter.role {
            Role::WeightIh => side(0..columns - hidden),
            Role::WeightHh => side(columns - hidden..columns),
            Role::BiasIh => rest[..rows].to_vec(),
            _ => vec![T::ZERO; parameter.len()],
        })
    })?;
    let of_layers = |skip: usize| -> Vec<T> {
        let end = |n: usize| begin(n) + rows * (config.layer_input_size(n) + hidden) + rows;
        (0..num_layers).flat_map(|n| weights[end(n) + skip..][..hidden].iter().copied()).collect()
    };
    let (weight, bias) = weights[begin(num_layers)..].split_at(outputs * hidden);
    let weight = Matrix { values: weight.to_vec(), rows: outputs, columns: hidden };
    let head = dense(weight, Some(bias.to_vec()), level)?;
    let initial = vec![vec![of_layers(0), of_layers(hidden)]];
    Ok(Sequential::new(vec![lstm, head])?.with_initial_state(initial)?)
}
