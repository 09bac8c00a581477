//! RTNeural's JSON: a list of layers as Keras has them, weights and all.

use super::LoadError;
use super::json::{At, Json, Object, join, refused};
use super::layers::{dense, from_keras, function};
use crate::activation::Function;
use crate::gates::CellKind;
use crate::sequential::{Module, Sequential};
use crate::simd::Level;
use crate::time::Passes;
use alloc::format;
use alloc::vec::Vec;

/// `in_shape` and `layers` are RTNeural's; plug-ins keep more in such files.
const TOP: [&str; 8] = [
    "in_shape",
    "layers",
    "metadata",
    "input_batch",
    "output_batch",
    "in_skip",
    "in_gain",
    "out_gain",
];
const LAYER: [&str; 5] = ["type", "activation", "shape", "weights", "name"];

pub fn load<T: Passes>(file: &Object, level: Level) -> Result<Sequential<T>, LoadError> {
    file.only("", &TOP)?;
    for name in ["in_gain", "out_gain"] {
        if !is_nothing(file.get(name)) {
            return Err(refused(name, "0, for a gain is not known here", "another"));
        }
    }
    let mut width = file.last_size("", "in_shape")?;
    let mut modules: Vec<Module<T>> = Vec::new();
    for (n, layer) in file.list("", "layers")?.iter().enumerate() {
        let at = &format!("layers[{n}]");
        let Json::Object(layer) = layer else { return Err(refused(at, "an object", layer)) };
        for module in of_layer(at, layer, level)?.into_iter().flatten() {
            if let Some((takes, gives)) = module.sizes() {
                if takes != width {
                    return Err(refused(at, format!("{width} inputs"), takes));
                }
                width = gives;
            }
            modules.push(module);
        }
        let said = layer.last_size(at, "shape")?;
        if said != width {
            return Err(refused(&join(at, "shape"), format!("{width} at its end"), said));
        }
    }
    if modules.is_empty() {
        return Err(refused("layers", "at least one that computes something", "none"));
    }
    match file.get("in_skip") {
        skip if is_nothing(skip) => {}
        Some(Json::Number { value: 1.0, .. }) if width == 1 => {
            modules.push(Module::Residual { since: 0 });
        }
        _ => return Err(refused("in_skip", "0, or 1 in a model of one output", "another")),
    }
    Ok(Sequential::new(modules)?)
}

fn is_nothing(value: Option<&Json>) -> bool {
    matches!(value, None | Some(Json::Null | Json::Bool(false) | Json::Number { value: 0.0, .. }))
}

/// A layer, and the activation that is computed after it.
fn of_layer<T: Passes>(
    at: At<'_>,
    layer: &Object,
    level: Level,
) -> Result<[Option<Module<T>>; 2], LoadError> {
    layer.only(at, &LAYER)?;
    let kind = layer.text(at, "type", None)?;
    let kind = kind.strip_prefix("time-distributed-").unwrap_or(kind);
    let name = layer.text(at, "activation", Some(""))?;
    if kind == "activation" {
        let none = layer.get("weights").is_none_or(|weights| {
            matches!(weights, Json::Numbers { values, .. } if values.is_empty())
                || matches!(weights, Json::Null)
        });
        if !none {
            return Err(refused(&join(at, "weights"), "none in an activation", "some"));
        }
        return Ok([activation(at, name)?, None]);
    }
    let weights = layer.list(at, "weights")?;
    let part = |n: usize| format!("{at}.weights[{n}]");
    let count = |expected: usize| {
        let (at, got) = (&join(at, "weights"), weights.len());
        if got == expected { Ok(()) } else { Err(refused(at, format!("{expected} of them"), got)) }
    };
    // RTNeural computes tanh whatever is written there.
    let tanh = || {
        let known = matches!(name, "" | "tanh");
        if known { Ok(()) } else { Err(refused(&join(at, "activation"), "tanh", name)) }
    };
    match kind {
        "prelu" => {
            count(1)?;
            let slopes = weights[0].matrix::<T>(&part(0))?;
            let first = slopes.values[0];
            if !name.is_empty() || slopes.values.iter().any(|&slope| slope != first) {
                return Err(refused(at, "one slope and no activation in prelu", "others"));
            }
            let function = Function::LeakyRelu { alpha: first.to_f64() };
            Ok([Some(Module::Activation(function)), None])
        }
        "dense" => {
            // Possibly without a bias.
            count(if weights.len() == 1 { 1 } else { 2 })?;
            let kernel = weights[0].matrix::<T>(&part(0))?.transposed();
            let bias = weights.get(1).map(|bias| bias.vector(&part(1))).transpose()?;
            if let Some(bias) = &bias
                && bias.len() != kernel.rows
            {
                return Err(refused(&part(1), format!("{} biases", kernel.rows), bias.len()));
            }
            Ok([Some(dense(kernel, bias, level)?), activation(at, name)?])
        }
        "lstm" | "gru" => {
            count(3)?;
            let kernels = [weights[0].matrix(&part(0))?, weights[1].matrix(&part(1))?];
            let (kind, bias) = if kind == "lstm" {
                (CellKind::Lstm { forget_gate: true }, weights[2].vector(&part(2))?)
            } else {
                (CellKind::Gru { reset_after: true }, weights[2].matrix(&part(2))?.values)
            };
            tanh()?;
            Ok([Some(from_keras(&join(at, "weights"), kind, kernels, &bias, level)?), None])
        }
        _ => Err(refused(at, "one of dense, lstm, gru, prelu, activation", kind)),
    }
}

fn activation<T: Passes>(at: At<'_>, name: &str) -> Result<Option<Module<T>>, LoadError> {
    match name {
        "" | "linear" => Ok(None),
        "tanh" | "relu" | "sigmoid" | "softmax" | "elu" => {
            Ok(function(name, None, None).map(Module::Activation))
        }
        _ => {
            let expected = "one of tanh, relu, sigmoid, softmax, elu";
            Err(refused(&join(at, "activation"), expected, name))
        }
    }
}
