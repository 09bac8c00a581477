//! safetensors as `unrolled.save` writes them: parameters under PyTorch's names, and what they belong to as JSON among
//! the metadata.

use super::LoadError;
use super::cell::formula;
use super::json::{At, Json, Object, indices, join, parse, refused};
use super::layers::{Tensors, dense_of, function, recurrent_of};
use crate::cell::formula::Formula;
use crate::gates::{Activation, CellKind, Config};
use crate::real::Real;
use crate::sequential::{Module, Sequential};
use crate::simd::Level;
use crate::time::Passes;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

const METADATA: &str = "__metadata__";
const OURS: &str = "unrolled";
/// By the format's own rule.
const LONGEST_HEADER: u64 = 100_000_000;
/// What layers of any kind are made with, of which dropout, seeds and first biases matter to training alone.
const RECURRENT: [&str; 9] = [
    "input_size",
    "hidden_size",
    "num_layers",
    "bias",
    "batch_first",
    "dropout",
    "bidirectional",
    "dtype",
    "seed",
];

/// Whether there is a header's length, and then the header's first letter.
pub fn is_one(data: &[u8]) -> bool {
    header_len(data).is_some_and(|len| len <= LONGEST_HEADER) && data.get(8) == Some(&b'{')
}

fn header_len(data: &[u8]) -> Option<u64> {
    data.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

pub fn load<T: Passes>(data: &[u8], level: Level) -> Result<Sequential<T>, LoadError> {
    let (header, mut of) = Arrays::new(data)?;
    let about = match header.get(METADATA) {
        Some(Json::Object(strings)) => strings.get(OURS),
        _ => None,
    };
    let Some(Json::Text(about)) = about else {
        let expected = "a file written by unrolled.save, whose metadata say what it is";
        return Err(refused("", expected, "none of ours"));
    };
    let about = parse(about.as_bytes())?;
    about.only(OURS, &["class", "version", "config"])?;
    let (class, config) = (about.text(OURS, "class", None)?, about.object(OURS, "config")?);

    let model = if class == "Sequential" {
        sequential(&mut of, config, level)?
    } else {
        let module = layer("config", class, config, "", level, &mut of)?;
        if !matches!(module, Module::Recurrent(_) | Module::Dense(_)) {
            return Err(refused("class", "a layer with parameters, or a Sequential", class));
        }
        Sequential::new(vec![module])?
    };
    if of.taken != of.all.len() {
        let expected = format!("{} arrays by its configuration", of.taken);
        return Err(refused("", expected, of.all.len()));
    }
    Ok(model)
}

fn sequential<T: Passes>(
    of: &mut Arrays<'_>,
    config: &Object,
    level: Level,
) -> Result<Sequential<T>, LoadError> {
    config.only("config", &["layers", "initial_state"])?;
    let mut modules = Vec::new();
    // The names of a recurrent layer's states, with its place.
    let mut states: Vec<(usize, Vec<String>)> = Vec::new();
    for (n, about) in config.list("config", "layers")?.iter().enumerate() {
        let at = &format!("layers[{n}]");
        let Json::Object(about) = about else { return Err(refused(at, "an object", about)) };
        about.only(at, &["class", "config"])?;
        let (class, own) = (about.text(at, "class", None)?, about.object(at, "config")?);
        if class == "Sequential" {
            return Err(refused(at, "no model within another", class));
        }
        let module = layer(at, class, own, &format!("{n}."), level, of)?;
        if let Module::Recurrent(_) = module {
            let names = match own.get("cell") {
                Some(Json::Object(cell)) => super::cell::states(&join(at, "cell"), cell)?,
                _ if class == "LSTM" => vec!["h".to_string(), "c".to_string()],
                _ => vec!["h".to_string()],
            };
            states.push((n, names));
        }
        modules.push(module);
    }
    let model = Sequential::new(modules)?;
    if !config.flag("config", "initial_state", Some(false))? {
        return Ok(model);
    }
    let mut initial = Vec::new();
    for (net, (n, names)) in model.networks().zip(&states) {
        let config = net.config();
        let cells = config.num_layers.saturating_mul(config.num_directions());
        let of_net = names.iter().zip(config.state_sizes());
        let of_net = of_net.map(|(name, size)| of.take(&format!("{n}.{name}_0"), &[cells, size]));
        initial.push(of_net.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(model.with_initial_state(initial)?)
}

/// A layer by the name of its class in Python, and what it was made with there.
fn layer<T: Passes>(
    at: At<'_>,
    class: &str,
    config: &Object,
    prefix: &str,
    level: Level,
    of: &mut Arrays<'_>,
) -> Result<Module<T>, LoadError> {
    match class {
        "LSTM" | "GRU" | "RNN" | "Recurrent" => {
            let (about, formula) = recurrent_config::<T>(at, class, config)?;
            recurrent_of(of, prefix, about, formula.as_ref(), level)
        }
        "Dense" => {
            config.only(at, &["in_features", "out_features", "bias", "dtype", "seed"])?;
            check_dtype::<T>(at, config)?;
            let size = |key| config.size(at, key, None, 1);
            let sizes = [size("in_features")?, size("out_features")?];
            dense_of(of, prefix, sizes, config.flag(at, "bias", Some(true))?, level)
        }
        "Activation" => {
            config.only(at, &["function", "alpha", "beta"])?;
            let name = config.text(at, "function", None)?;
            let number = |key| config.get(key).map(|_| config.number(at, key)).transpose();
            let known = function(name, number("alpha")?, number("beta")?);
            let known = known.ok_or_else(|| refused(at, "a function that is known here", name))?;
            Ok(Module::Activation(known))
        }
        "Residual" => {
            config.only(at, &["since"])?;
            Ok(Module::Residual { since: config.size(at, "since", Some(0), 0)? })
        }
        _ => {
            let expected = "one of LSTM, GRU, RNN, Recurrent, Dense, Activation, Residual";
            Err(refused(at, expected, class))
        }
    }
}

/// Sizes and kind, and the formula of a cell that has one.
fn recurrent_config<T: Real>(
    at: At<'_>,
    class: &str,
    config: &Object,
) -> Result<(Config, Option<Formula>), LoadError> {
    let own: &[&str] = match class {
        "LSTM" => &["proj_size", "forget_gate", "forget_bias"],
        "GRU" => &["reset_after"],
        "RNN" => &["nonlinearity"],
        _ => &["cell"],
    };
    config.only(at, &[&RECURRENT[..], own].concat())?;
    check_dtype::<T>(at, config)?;
    let (mut kind, mut cell) = (CellKind::Rnn(Activation::Tanh), None);
    match class {
        "LSTM" => {
            kind = CellKind::Lstm { forget_gate: config.flag(at, "forget_gate", Some(true))? };
        }
        "GRU" => {
            kind = CellKind::Gru { reset_after: config.flag(at, "reset_after", Some(true))? };
        }
        "RNN" => {
            kind = CellKind::Rnn(match config.text(at, "nonlinearity", Some("tanh"))? {
                "tanh" => Activation::Tanh,
                "relu" => Activation::Relu,
                "sigmoid" => Activation::Sigmoid,
                other => {
                    let at = join(at, "nonlinearity");
                    return Err(refused(&at, "tanh, relu or sigmoid", other));
                }
            });
        }
        _ => cell = Some(formula(&join(at, "cell"), config.object(at, "cell")?)?),
    }
    let size = |key, default, least| config.size(at, key, default, least);
    let config = Config {
        proj_size: size("proj_size", Some(0), 0)?,
        num_layers: size("num_layers", Some(1), 1)?,
        bidirectional: config.flag(at, "bidirectional", Some(false))?,
        bias: config.flag(at, "bias", Some(true))?,
        ..Config::new(kind, size("input_size", None, 1)?, size("hidden_size", None, 1)?)
    };
    Ok((config, cell))
}

fn check_dtype<T: Real>(at: At<'_>, config: &Object) -> Result<(), LoadError> {
    let dtype = config.text(at, "dtype", Some("float32"))?;
    if dtype == T::NAME { Ok(()) } else { Err(refused(&join(at, "dtype"), T::NAME, dtype)) }
}

/// An array: where its numbers are.
struct Array<'a> {
    name: String,
    /// Of a type with so many bytes, if it is one that is read.
    dtype: String,
    shape: Vec<usize>,
    begin: usize,
    bytes: &'a [u8],
}

/// The arrays of a file, of which every byte belongs to one.
struct Arrays<'a> {
    all: Vec<Array<'a>>,
    taken: usize,
}

impl<'a> Arrays<'a> {
    /// The header, and what it names.
    fn new(data: &'a [u8]) -> Result<(Object, Self), LoadError> {
        let rest = data.get(8..).unwrap_or_default();
        let len = header_len(data).and_then(|len| usize::try_from(len).ok());
        let Some((header, numbers)) = len.and_then(|len| rest.split_at_checked(len)) else {
            return Err(damaged("less than its header is long"));
        };
        let header = parse(header)?;
        let mut all = Vec::new();
        for (name, entry) in header.iter().filter(|(name, _)| *name != METADATA) {
            let Json::Object(entry) = entry else { return Err(damaged(entry)) };
            all.push(Array::new(name, entry, numbers)?);
        }
        let mut by_place: Vec<_> =
            all.iter().map(|array| (array.begin, array.bytes.len())).collect();
        by_place.sort_unstable();
        let end = by_place.iter().try_fold(0, |end, &(begin, len)| {
            if begin == end { Ok(end + len) } else { Err(damaged("arrays that do not adjoin")) }
        })?;
        if end != numbers.len() {
            return Err(damaged(format!("{} bytes where {end} are named", numbers.len())));
        }
        Ok((header, Arrays { all, taken: 0 }))
    }
}

fn damaged(got: impl core::fmt::Display) -> LoadError {
    refused("", "a safetensors file", got)
}

impl<'a> Array<'a> {
    fn new(name: &str, entry: &Object, numbers: &'a [u8]) -> Result<Self, LoadError> {
        entry.only(name, &["dtype", "shape", "data_offsets"])?;
        let dtype = entry.text(name, "dtype", None)?;
        let shape = indices(&join(name, "shape"), entry.get("shape"))?;
        let places = indices(&join(name, "data_offsets"), entry.get("data_offsets"))?;
        let &[begin, end] = &places[..] else { return Err(damaged("an array without a place")) };
        let Some(bytes) = numbers.get(begin..end) else {
            return Err(damaged(format!("{} bytes of {end}", numbers.len())));
        };
        let size = match dtype {
            "F32" => Some(4),
            "F64" => Some(8),
            _ => None,
        };
        if let Some(size) = size {
            let expected = shape.iter().try_fold(size, |n: usize, &axis| n.checked_mul(axis));
            if expected != Some(bytes.len()) {
                return Err(damaged(format!("{} bytes of shape {shape:?}", bytes.len())));
            }
        }
        Ok(Array { name: name.to_string(), dtype: dtype.to_string(), shape, begin, bytes })
    }
}

impl<T: Real> Tensors<T> for Arrays<'_> {
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<T>, LoadError> {
        let Some(array) = self.all.iter().find(|array| array.name == name) else {
            return Err(refused(name, "it, by the configuration", "nothing"));
        };
        if array.shape != shape {
            let got = format!("{:?}", array.shape);
            return Err(refused(name, format!("shape {shape:?} by the configuration"), got));
        }
        let single = T::NAME == "float32";
        if array.dtype != if single { "F32" } else { "F64" } {
            return Err(refused(name, format!("{} numbers", T::NAME), &array.dtype));
        }
        let mut values = Vec::new();
        values
            .try_reserve_exact(array.bytes.len() / size_of::<T>())
            .map_err(|_| LoadError::too_large("parameters"))?;
        if single {
            let number = |b: &[u8; 4]| f64::from(f32::from_le_bytes(*b));
            values.extend(array.bytes.as_chunks().0.iter().map(|b| T::from_f64(number(b))));
        } else {
            let number = |b: &[u8; 8]| f64::from_le_bytes(*b);
            values.extend(array.bytes.as_chunks().0.iter().map(|b| T::from_f64(number(b))));
        }
        if let Some(wrong) = values.iter().find(|value| !value.is_finite()) {
            return Err(refused(name, "finite numbers", wrong));
        }
        self.taken += 1;
        Ok(values)
    }
}
